"""Blocking. Which blocks of old versions other devices have proved to hold, and which we promised others to keep.

A proof counts while it is young (`protocol.possession`) and its device is a member. What was promised to another device
is written down before the answer leaves, in the lane in which packs are exchanged: so nothing leaves between the two.
Only a pack or an inode in `.syncd/old` is a place that can be promised: a file of the user's can change at any moment.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from ca.ids import DeviceId
from syncd.model.cipher import MAX_BLOCK_BYTES, BlockKind
from syncd.model.ids import Cid
from syncd.model.lists import BlockList, Entry
from syncd.protocol.frames import FrameStatus
from syncd.protocol.possession import HOLD_S, PROOF_S, proof_of
from syncd.store import rows
from syncd.store.blocks import SourceKind
from syncd.store.db import Transaction
from syncd.store.folder import FolderStore, Served, SourceReader, seal_served

KEPT_PLACES = {SourceKind.PACK, SourceKind.OLD}


# --- what others have proved -----------------------------------------------------------------------------------------


def db_known(store: FolderStore, cids: Collection[Cid], now: float) -> dict[Cid, dict[DeviceId, float]]:
    """When other members proved that they hold these blocks, as far as that still counts."""
    found: dict[Cid, dict[DeviceId, float]] = {}
    for part in rows.chunks(list(cids)):
        query = f"SELECT cid, device, at FROM proof WHERE cid IN ({rows.marks(part)})"
        for cid, device, at in store.connection.execute(query, part):
            if device in store.others and now - PROOF_S < at <= now:
                found.setdefault(Cid(cid), {})[DeviceId(device)] = at
    return found


def db_note(store: FolderStore, device: DeviceId, judged: Mapping[Cid, FrameStatus], now: float) -> None:
    """A device has answered: a right proof is worth something from now on, an older one of a block that is gone there
    nothing any more. Whoever is busy or just edits the file has said nothing."""
    proved = [(cid, device, now) for cid, status in judged.items() if status is FrameStatus.OK]
    gone = [(cid, device) for cid, status in judged.items() if status is FrameStatus.GONE]
    with Transaction(store.connection):
        store.connection.executemany("INSERT OR REPLACE INTO proof VALUES (?,?,?)", proved)
        store.connection.executemany("DELETE FROM proof WHERE cid=? AND device=?", gone)


def db_forget_old(store: FolderStore, now: float) -> None:
    """What counts no more need not be remembered."""
    with Transaction(store.connection):
        store.connection.execute("DELETE FROM proof WHERE at<?", (now - PROOF_S,))
        store.connection.execute("DELETE FROM hold WHERE until<?", (now,))


def db_proved(store: FolderStore, cids: Collection[Cid], wanted: int, now: float) -> set[Cid]:
    """Which of these blocks so many other members have proved."""
    if not wanted:
        return set(cids)
    return {cid for cid, proved in db_known(store, cids, now).items() if len(proved) >= wanted}


# --- what we promised ------------------------------------------------------------------------------------------------


def db_held(store: FolderStore, now: float) -> set[bytes]:
    """Pids of packed blocks that were promised to others, and still are."""
    held = [pid for (pid,) in store.connection.execute("SELECT pid FROM hold WHERE until>?", (now,))]
    return {bytes(pid) for pid in store.packs.db_packed(held)}


def db_promised(store: FolderStore, pids: Collection[bytes], now: float) -> bool:
    """Whether any of these blocks was promised to another device, and still is."""
    for part in rows.chunks(list(pids)):
        query = f"SELECT 1 FROM hold WHERE pid IN ({rows.marks(part)}) AND until>? LIMIT 1"
        if store.connection.execute(query, (*part, now)).fetchone() is not None:
            return True
    return False


def db_locate(store: FolderStore, cids: Sequence[Cid], hold: bool, now: float) -> list[Served]:
    """Where the asked-for blocks lie. With `hold` only where they will stay, and they are promised from here on."""
    served = store.db_locate(cids)
    if not hold:
        return served
    kept = [
        replace(one, places=tuple(place for place in one.places if place[0].kind in KEPT_PLACES))
        for one in served
        if one.kind is BlockKind.DATA
    ]
    promised = [(one.entry.pid, now, now + HOLD_S) for one in kept if one.entry is not None and one.places]
    with Transaction(store.connection):
        store.connection.executemany("INSERT OR REPLACE INTO hold VALUES (?,?,?)", promised)
    return [one for one in kept if one.places]


# --- proofs ----------------------------------------------------------------------------------------------------------


def proofs(store: FolderStore, served: Iterable[Served], key: bytes) -> dict[int, tuple[FrameStatus, bytes]]:
    """By index: what became of a block, and its proof if it is there. Makes our own proofs for others, and those by
    which theirs are judged. Touches no row."""
    plain = memoryview(bytearray(MAX_BLOCK_BYTES))
    reader = SourceReader(store.tree, store.packs, store.keyring)
    found = {}
    try:
        for one in served:
            target = memoryview(bytearray(one.most_bytes))
            status, length = seal_served(reader, store.keyring, one, plain, target)
            proof = proof_of(key, target[:length]) if status == FrameStatus.OK else b""
            found[one.index] = (FrameStatus(status), proof)
    finally:
        reader.close()
    return found


def db_packed(store: FolderStore, pids: Collection[bytes]) -> list[Entry]:
    """As what these blocks lie in packs, each once."""
    found: dict[bytes, Entry] = {}
    wanted = set(pids)
    for part in rows.chunks([rows.prefix(pid) for pid in wanted]):
        query = f"SELECT entry FROM block WHERE pk IN ({rows.marks(part)}) AND src%4=3"
        for (raw,) in store.connection.execute(query, part):
            if raw[:32] in wanted:
                found[raw[:32]] = BlockList(raw)[0]
    return list(found.values())
