"""Async. Blocks of old versions that are not on this disk: which connected peers have them, and fetching them.

What comes is checked and goes into packs of our own, so that a restore reads everything from this disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import trio

from syncd.errors import PeerUnavailable, RemoteProtocolError
from syncd.folder.ground import Ground
from syncd.model.cipher import BlockKind, max_ciphertext
from syncd.model.ids import Cid
from syncd.model.lists import Entry, pack_entry
from syncd.model.packs import Pack, PackBuilder
from syncd.protocol.exchange import FrameStatus, Link
from syncd.store.folder import FolderStore
from syncd.store.keyring import EpochKeyMissing

POLL_AT_ONCE = 1024
FETCH_BYTES = 4 << 20
PATIENCE_S = 30.0


async def held_by_peers(task: Ground, entries: Sequence[Entry]) -> set[bytes]:
    """Cids that a connected peer says it has."""
    found = await _held_by_linked(task, entries)
    if len(found) == len(entries):
        return found
    async with task.reach_out():  # those who are not linked now may have the rest
        return found | await _held_by_linked(task, [entry for entry in entries if entry.cid not in found])


async def _held_by_linked(task: Ground, entries: Sequence[Entry]) -> set[bytes]:
    found: set[bytes] = set()
    for state in list(task.links.values()):
        found.update(await _held(state.link, [entry.cid for entry in entries if entry.cid not in found]))
    return found


async def held_by(link: Link, cids: Sequence[Cid]) -> set[Cid]:
    """Which of these blocks a peer says it has. Raises PeerUnavailable, RemoteProtocolError."""
    found: set[Cid] = set()
    for start in range(0, len(cids), POLL_AT_ONCE):
        some = cids[start : start + POLL_AT_ONCE]
        bitmap = await link.have(some)
        found.update(cid for index, cid in enumerate(some) if bitmap[index // 8] & (0x80 >> index % 8))
    return found


async def _held(link: Link, cids: Sequence[Cid]) -> set[Cid]:
    try:
        return await held_by(link, cids)
    except (PeerUnavailable, RemoteProtocolError):
        return set()  # another peer is asked


async def fetch(task: Ground, entries: Sequence[Entry], parts: frozenset[bytes]) -> int:
    """Fetch blocks, and `parts` of lists, from whoever has them; how many came."""
    left = {entry.cid: entry for entry in entries}
    await _fetch_from_linked(task, left, parts)
    if left:
        async with task.reach_out():  # those who are not linked now may have the rest
            await _fetch_from_linked(task, left, parts)
    return len(entries) - len(left)


async def _fetch_from_linked(task: Ground, left: dict[Cid, Entry], parts: frozenset[bytes]) -> None:
    """What comes is taken out of `left`."""
    for state in list(task.links.values()):
        held = await _held(state.link, list(left))
        wanted = [entry for cid, entry in left.items() if cid in held]
        for some in _batches(wanted):
            began = trio.current_time()
            try:
                got, is_in_time = await _fetch(task, state.link, some)
            except (PeerUnavailable, RemoteProtocolError):
                break
            kept = await _keep(task, got, parts)
            task.rates.fetch.note(sum(entry.length for entry, _ in got), trio.current_time() - began)
            for entry in kept:
                left.pop(entry.cid, None)
            if not is_in_time:
                break  # it hangs: asked for all the rest it would be waited for at each batch


def _batches(entries: Sequence[Entry]) -> Iterable[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and size + entry.length > FETCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.length
    if batch:
        yield batch


async def _fetch(task: Ground, link: Link, entries: Sequence[Entry]) -> tuple[list[tuple[Entry, bytes]], bool]:
    """What came, and whether nothing was waited for in vain."""
    arrived: list[tuple[Entry, bytes]] = []
    with trio.move_on_after(PATIENCE_S) as patience:
        limits = [max_ciphertext(entry.length) for entry in entries]
        async with link.blocks([entry.cid for entry in entries], limits) as frames:
            async for some in frames:
                patience.deadline = trio.current_time() + PATIENCE_S
                for frame in some:
                    if frame.status is not FrameStatus.OK:
                        continue
                    entry = entries[frame.index]
                    task.meter.received_bytes += len(frame.ciphertext)
                    arrived.append((entry, bytes(frame.ciphertext)))
    return arrived, not patience.cancelled_caught


async def _keep(task: Ground, got: Sequence[tuple[Entry, bytes]], parts: frozenset[bytes]) -> list[Entry]:
    """What of it is what it should be, and on this disk now; for the rest another peer is asked."""
    store = task.store
    opened = [(entry, _maybe_part(store, entry, sealed)) for entry, sealed in got if entry.cid in parts]
    plains = [(entry, plain) for entry, plain in opened if plain is not None]
    if plains:
        await task.db(store.db_keep_parts, plains)
    packs, kept = await task.blocking(_pack, task, [one for one in got if one[0].cid not in parts])
    await task.db(store.packs.db_take_in, packs, task.clock.now())
    return [*kept, *(entry for entry, _ in plains)]


def _maybe_part(store: FolderStore, entry: Entry, sealed: bytes) -> bytes | None:
    try:
        return store.open_part_untrusted(entry, sealed)
    except (RemoteProtocolError, EpochKeyMissing):
        return None


def _pack(task: Ground, got: Sequence[tuple[Entry, bytes]]) -> tuple[list[Pack], list[Entry]]:
    """Check each block, and put the good ones on the shelf; which these are."""
    store = task.store
    builder = PackBuilder(store.keyring.folder, BlockKind.DATA)
    good: list[Entry] = []
    for entry, sealed in got:
        try:
            cipher = store.keyring.cipher_of(entry.epoch_prefix)
            cipher.open_untrusted(BlockKind.DATA, entry.pid, entry.length, sealed)
        except (RemoteProtocolError, EpochKeyMissing):
            continue
        builder.add(pack_entry(entry.pid, entry.cid, entry.length, cipher.epoch), sealed)
        good.append(entry)
    if builder.is_empty:
        return [], []
    pack = builder.finish(store.keyring.cipher())
    store.packs.shelf.put(pack.name, pack.content)
    return [pack], good
