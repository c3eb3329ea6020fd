"""Blocking. What was replaced or deleted goes from `.syncd/old` into packs.

An inode that has been old for a minute and is still what it was is read once more, every byte: what is what its row
says is sealed and packed, block by block, unless a pack has that block already, and has it whole; what is not is a
local edit, and is published (`store.recovery`). Only then, and if it has not been touched in that moment either, does
the inode go.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field
from math import inf
from typing import TypeAlias

from ca.values import dataclass
from syncd.model.cipher import MAX_BLOCK_BYTES, BlockKind, max_ciphertext
from syncd.model.ids import Cid, Pid
from syncd.model.lists import ENTRY_BYTES, BlockList
from syncd.model.packs import PACK_BYTES, Pack, PackBuilder
from syncd.store import blocks, proofs, pruning
from syncd.store.blocks import SourceKind, source_of
from syncd.store.db import Transaction
from syncd.store.folder import FolderStore
from syncd.store.keyring import EpochKeyMissing
from syncd.store.recovery import COMPARED, RECHECK_AFTER_S
from syncd.treetypes import Kind, NotThere, Stat, TreeError

log = logging.getLogger("syncd.history")

PACK_AFTER_S = 1800.0
"""How long old inodes gather, so that few of them do not each make a pack of their own; more than PACK_BYTES are packed
at once. Together with one round of housekeeping that keeps the promise of an hour."""
KEEP_WHEN_SHORT_S = 86400.0
LOW_SPACE, VERY_LOW_SPACE = 0.10, 0.01
"""Of a disk. Where packs cannot be written, old inodes stay; below the first share free they go after a day, below the
second after a minute, the oldest first."""
Known: TypeAlias = Mapping[Pid, Sequence[tuple[str, int, bytes]]]
"""Where packs have blocks by the rows: pack, offset of the ciphertext, packed entry."""

OLD_PER_ROUND = 256
BYTES_PER_ROUND = 256 * 1024 * 1024
"""Old inodes, and their bytes, that are packed in one round of housekeeping."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """An inode in `.syncd/old` whose time has come, and what its row says that it holds."""

    id: int
    token: bytes
    noted: tuple[int | None, int | None, int | None]
    packed: bytes
    since: float = 0.0

    @property
    def is_known(self) -> bool:
        """Its row says what it holds; else it is a long list without its parts."""
        return len(self.packed) % ENTRY_BYTES == 0


@dataclass(slots=True)
class Comparison:
    """What became of them: still what they were (with the stat from after they were read), edited, or gone already."""

    same: list[tuple[Superseded, Stat]] = field(default_factory=list)
    edited: list[int] = field(default_factory=list)
    gone: list[Superseded] = field(default_factory=list)
    packs: list[Pack] = field(default_factory=list)
    """What was packed of them, on the shelf already; their bytes are not held in memory (`Pack.content` is empty)."""
    unpacked: set[int] = field(default_factory=set)
    """Of `same`: what is not in any pack, because none could be written."""
    unread: list[int] = field(default_factory=list)
    """What the disk does not let be read now."""
    held: list[int] = field(default_factory=list)
    """What a program has open for writing, as far as can be told: it may go on writing at any time."""
    waiting: int = 0
    """Of `unpacked`: what would go, as its disk is short, but has not been proved by enough other devices."""

    @property
    def is_stuck(self) -> bool:
        """Nothing of it could go, as it could not be packed, and so it will be the next time."""
        return bool(self.unpacked) and not self.gone


def db_superseded(store: FolderStore, now: float, passed: Collection[int] = ()) -> list[Superseded]:
    """What is to be packed now: the oldest first, once there is enough of it or it has waited for long enough; or at
    once where its disk is nearly full and packs lie on another, as people delete to make room.

    None of `passed`: what cannot be read would keep a round for itself, and all that came after it would wait."""
    found: list[Superseded] = []
    size = 0
    for old, token, since, ino, old_size, mtime, packed in store.connection.execute(
        "SELECT id, token, since, ino, size, mtime, blocks FROM old WHERE checked=? ORDER BY since LIMIT ?",
        (COMPARED, OLD_PER_ROUND + len(passed)),
    ):
        if old in passed:
            continue
        if len(found) == OLD_PER_ROUND or (found and size + (old_size or 0) > BYTES_PER_ROUND):
            break
        size += old_size or 0
        found.append(Superseded(old, token.encode(), (ino, old_size, mtime), packed or b"", since))
    if not found:
        return []
    is_due = found[0].since <= now - PACK_AFTER_S or size >= PACK_BYTES or len(found) == OLD_PER_ROUND
    return found if is_due or _makes_room(store) else []


def _makes_room(store: FolderStore) -> bool:
    """Whether packing frees what the disk of the folder is short of. Raises TreeError."""
    free, total = store.tree.space()
    return free < VERY_LOW_SPACE * total and not _is_short(store)


def db_next_due(store: FolderStore) -> float:
    """When `db_recheck_old` or `db_superseded` has something to do, in unix seconds, as long as no row changes.
    Infinity: never."""
    (due,) = store.connection.execute(
        "SELECT min(since+CASE checked WHEN 0 THEN ? ELSE ? END) FROM old WHERE checked IN (0,?)",
        (RECHECK_AFTER_S, PACK_AFTER_S, COMPARED),
    ).fetchone()
    return inf if due is None else float(due)


def db_packed_of(store: FolderStore, due: Sequence[Superseded]) -> Known:
    """Of their blocks, those that are in packs already by the rows, and where."""
    pids = {pid for one in due if one.is_known for pid in BlockList(one.packed).pids()}
    return store.packs.db_places(pids)


def pack_superseded(store: FolderStore, due: Sequence[Superseded], known: Known) -> Comparison:
    """Read them once more, every byte, and put into packs what is not whole in one that is `known`. Touches no row."""
    return _Packing(store, known).run(due)


class _Packing:
    def __init__(self, store: FolderStore, known: Known) -> None:
        self._store = store
        self._known = known
        self._packed: set[Pid] = set()
        """Blocks that are whole in a pack: read there just now, or put there."""
        self._builder = PackBuilder(store.keyring.folder, BlockKind.DATA)
        self._buffer = memoryview(bytearray(MAX_BLOCK_BYTES))
        self._failed = False
        self._open: set[int] = set()
        """Inodes with blocks in the pack that is being built, and these blocks."""
        self._gathered: set[Pid] = set()
        self.result = Comparison()

    def run(self, due: Sequence[Superseded]) -> Comparison:
        self._failed = _is_short(self._store)
        for one in due:
            self._one(one)
        self._close()
        return self.result

    def _one(self, one: Superseded) -> None:
        tree = self._store.tree
        try:
            stat = tree.stat_old(one.token)
            if _is_held(self._store, one, stat):
                self.result.held.append(one.id)
                return
            is_same = self._read(one, stat)
            after = tree.stat_old(one.token)
        except NotThere:
            self.result.gone.append(one)
        except TreeError as error:  # a disk that does not answer says nothing about what is on it
            log.warning("%s in .syncd/old cannot be read, and stays as it is: %s", one.token.decode(), error)
            self.result.unread.append(one.id)
        else:
            if is_same and after.same(stat):
                self.result.same.append((one, after))
            else:
                self.result.edited.append(one.id)

    def _read(self, one: Superseded, stat: Stat) -> bool:
        """Whether it holds what its row says. Its blocks are packed on the way."""
        if (stat.ino, stat.size, stat.mtime_ns) != one.noted:
            return False
        if stat.kind is Kind.SYMLINK:
            return self._store.tree.read_old_link(one.token) == one.packed
        return stat.kind is Kind.FILE and one.is_known and self._read_file(one)

    def _read_file(self, one: Superseded) -> bool:
        expected = BlockList(one.packed)
        cipher = self._store.keyring.cipher()
        reader = self._store.tree.open_old(one.token)
        try:
            if reader.stat().size != expected.size:
                return False
            offset = 0
            for number, entry in enumerate(expected):
                view = self._buffer[: entry.length]
                if reader.read_into(offset, view) != entry.length or cipher.pid(BlockKind.DATA, view) != entry.pid:
                    return False
                self._pack(one, number, view)
                offset += entry.length
        finally:
            reader.close()
        return True

    def _pack(self, one: Superseded, number: int, view: memoryview) -> None:
        entry = BlockList(one.packed)[number]
        if entry.pid in self._packed or self._is_whole(entry.pid):
            if entry.pid in self._gathered:
                self._open.add(one.id)
            return
        if self._failed:
            self.result.unpacked.add(one.id)
            return
        try:
            sealed = self._store.keyring.cipher_of(entry.epoch_prefix).seal(BlockKind.DATA, view)
        except EpochKeyMissing:
            self.result.unpacked.add(one.id)
            return
        self._builder.add(one.packed[number * ENTRY_BYTES : (number + 1) * ENTRY_BYTES], sealed.ciphertext)
        self._packed.add(entry.pid)
        self._gathered.add(entry.pid)
        self._open.add(one.id)
        if self._builder.is_full:
            self._close()

    def _is_whole(self, pid: Pid) -> bool:
        """Whether a pack has this block, as it should be: nobody may have read that since it rotted, and what is to go
        may be the last good copy."""
        if any(pruning.is_whole(self._store, *place) for place in self._known.get(pid, ())):
            self._packed.add(pid)
        return pid in self._packed

    def _close(self) -> None:
        """Put what was gathered on the shelf. If that fails, nothing of it leaves `.syncd/old`."""
        if self._builder.is_empty:
            return
        pack = self._builder.finish(self._store.keyring.cipher())
        try:
            self._store.packs.shelf.put(pack.name, pack.content)
        except TreeError:
            self._failed = True
            self.result.unpacked |= self._open
            self._packed -= self._gathered
        else:
            self.result.packs.append(pack.without_content())
        self._open.clear()
        self._gathered.clear()


def _is_short(store: FolderStore) -> bool:
    """The disk of the home is nearly full: databases need what is left of it."""
    try:
        free, total = store.packs.shelf.space()
    except TreeError:
        return True
    return free < VERY_LOW_SPACE * total


def db_let_go(store: FolderStore, compared: Comparison, now: float) -> None:
    """Note the packs; drop what is in them and still what it was. What is not any more is among the edited then."""
    with Transaction(store.connection):
        store.packs.db_add(compared.packs, now)
    may_go = _spare(store, compared, now)
    for one, stat in compared.same:
        if one.id in compared.unpacked and not may_go(one):
            continue
        try:
            # Asked first: whoever has closed it since it was compared has left other times on it.
            if _is_held(store, one, stat):
                compared.held.append(one.id)
                continue
            if not store.tree.stat_old(one.token).same(stat):
                compared.edited.append(one.id)
                continue
            store.tree.drop_old(one.token)
        except NotThere:
            pass  # then only its row is left
        except TreeError:
            continue
        compared.gone.append(one)
    for one in compared.gone:
        with Transaction(store.connection):
            if one.packed and one.is_known:
                blocks.drop(store.connection, [(source_of(SourceKind.OLD, one.id), one.packed)])
            store.connection.execute("DELETE FROM old WHERE id=?", (one.id,))


def _is_held(store: FolderStore, one: Superseded, stat: Stat) -> bool:
    """Whether a program has it open for writing: what that writes once the inode has no name is nowhere."""
    if stat.kind is not Kind.FILE:
        return False
    reader = store.tree.open_old(one.token)
    try:
        return reader.is_open_for_writing()
    finally:
        reader.close()


def db_pressed(store: FolderStore, compared: Comparison) -> dict[Cid, int]:
    """Blocks (and their sizes) of old inodes that could not be packed, if their own disk is short: others are to prove
    that they hold them."""
    free, total = store.tree.space()
    if free >= LOW_SPACE * total:
        return {}
    plain = (one for one, _ in compared.same if one.id in compared.unpacked and one.is_known)
    return {entry.cid: max_ciphertext(entry.length) for one in plain for entry in BlockList(one.packed)}


def _spare(store: FolderStore, compared: Comparison, now: float) -> Callable[[Superseded], bool]:
    """Whether an old inode goes although it could not be packed: only while its own disk is short, the oldest first,
    and only what enough other devices have proved to hold."""
    free, total = store.tree.space()
    freed = 0
    wanted = pruning.db_copies(store)

    def may_go(one: Superseded) -> bool:
        nonlocal freed
        least = LOW_SPACE if one.since <= now - KEEP_WHEN_SHORT_S else VERY_LOW_SPACE
        if free + freed >= least * total:
            return False
        if wanted and not (one.is_known and _is_elsewhere(store, BlockList(one.packed), wanted, now)):
            compared.waiting += 1
            return False
        freed += one.noted[1] or 0
        return True

    return may_go


def _is_elsewhere(store: FolderStore, listed: BlockList, wanted: int, now: float) -> bool:
    """Enough other devices have proved all of it, and nothing of it was promised to another."""
    cids = set(listed.cids())
    if proofs.db_proved(store, cids, wanted, now) != cids:
        return False
    return not proofs.db_promised(store, set(listed.pids()), now)
