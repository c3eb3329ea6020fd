"""Blocking. Collecting what no promise covers any more, out of the packs.

First every version is judged by the promise (`engine.retention`) and the blocks of those it covers are marked; then
packs that hold too little of what is marked are written anew without the rest, or go as a whole. A block goes only if
it is in no version that stands now, or stood at a promised moment. A new pack is on the shelf before its rows are
committed together with the end of the old one's, and only then does the old one go: a crash at any point costs nothing
but a second copy.

When a version stood is told by three clocks, and it stays if by any of them a promise covers it: by the law of the time
line (what a restore goes by), by the labels of its author and of whoever replaced it, and by when this device learnt of
the two. A label that is years behind moves all that it has seen in the first, and in the second what it replaces; the
third is ours.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Container, Iterator, Sequence
from dataclasses import field, replace
from datetime import tzinfo
from typing import TypeAlias

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.engine.retention import DEFAULT, DEFAULT_COPIES, Policy, Promise, Step, parse_tiers, promise, show_tiers
from syncd.model.cipher import BlockKind
from syncd.model.ids import VersionId, cid_of, version_id
from syncd.model.lists import ENTRY_BYTES, BlockList, Entry
from syncd.model.packs import Pack, PackBuilder, name_of
from syncd.model.records import Content, ContentKind
from syncd.store import proofs, snapshots
from syncd.store.blocks import SourceKind, source_of
from syncd.store.db import Transaction
from syncd.store.folder import FolderStore, SourceReader
from syncd.store.journal import QUARANTINED
from syncd.store.keyring import EpochKeyMissing
from syncd.store.moments import Arrivals, arrivals, note_arrivals
from syncd.store.past import Past
from syncd.store.restoring import Placed, db_packed
from syncd.treetypes import IoFailed, NotSupported, NotThere, TreeError

log = logging.getLogger("syncd.history")

CHANGESETS_PER_STEP = 4
WORTH_KEEPING = 0.7
"""A pack of which less is marked is written anew."""
SMALL_PACK_BYTES = 4 << 20
MANY_SMALL = 16
"""So many packs below SMALL_PACK_BYTES are put together."""
BYTES_AT_ONCE = 64 << 20


# --- the policy ------------------------------------------------------------------------------------------------------


def db_policy(store: FolderStore) -> Policy:
    """What this device promises to keep of this folder."""
    found = store.connection.execute("SELECT value FROM meta WHERE key='retention'").fetchone()
    if found is None:
        return DEFAULT
    value = json.loads(found[0])
    copies = value.get("copies", DEFAULT_COPIES)
    return Policy(parse_tiers(value["keep"]), space_bytes=value["space"], copies=copies)


def db_effective(store: FolderStore) -> Policy:
    """The same, with what the folder's roster asks of every member, and everything of the last day in any case: the
    first tier is never coarser."""
    own = db_policy(store)
    finest = tuple(tier for tier in own.floor if tier.step is Step.ALL)
    copies = max(own.copies, store.asked_copies)
    return replace(own, tiers=(*own.tiers, *store.asked_tiers, *finest), copies=copies)


def db_copies(store: FolderStore) -> int:
    """On how many other devices a block has to be before it goes early: never more than there are."""
    return copies(store, db_policy(store))


def copies(store: FolderStore, own: Policy) -> int:
    """The same, by what this device promises."""
    return min(max(own.copies, store.asked_copies), len(store.others))


def db_set_policy(store: FolderStore, policy: Policy) -> None:
    """Promise something else from now on."""
    kept = {"keep": show_tiers(policy.tiers), "space": policy.space_bytes, "copies": policy.copies}
    value = json.dumps(kept).encode()
    store.connection.execute("INSERT OR REPLACE INTO meta VALUES ('retention', ?)", (value,))


def db_promise(store: FolderStore, policy: Policy, now: float, zone: tzinfo) -> Promise:
    """The policy's promise now, with the moments that have a name."""
    pinned = [one.at_ms for one in snapshots.db_list(store)]
    return promise(policy.tiers, int(now * 1000), zone, pinned)


def db_folder_promise(store: FolderStore, policy: Policy, now: float, zone: tzinfo) -> Promise:
    """What the folder promises as a whole: what this device does at most, and what every device does that nobody has
    told otherwise. Between this and what it promises now lies what goes only if others have it."""
    return db_promise(store, replace(policy, tiers=(*policy.tiers, *DEFAULT.tiers)), now, zone)


Terms: TypeAlias = tuple[Policy, tuple[int, ...]]
"""What a promise is made of: what people and the roster want, and the moments that have a name."""


def db_terms(store: FolderStore) -> Terms:
    return db_effective(store), tuple(one.at_ms for one in snapshots.db_list(store))


def db_arrivals(store: FolderStore, now: float) -> Arrivals:
    """When each changeset came here, the latest included."""
    note_arrivals(store.connection, int(now * 1000))
    return arrivals(store.connection, int(now * 1000))


# --- marking ---------------------------------------------------------------------------------------------------------


Times: TypeAlias = tuple[int, int, int]
"""When a changeset counts by the law of the time line, by its own label, and when it came here; unix ms."""


def _either(first: Times, second: Times) -> Times:
    """The end of a version that two have replaced: nobody brings it nearer by replacing it once more."""
    return min(first[0], second[0]), max(first[1], second[1]), max(first[2], second[2])


def _covers(promise: Promise, begin: Times, end: Times | None) -> bool:
    if end is None:
        return True
    return any(promise.covers(since, max(since, until)) for since, until in zip(begin, end, strict=True))


@dataclass(slots=True)
class Marking:
    """Goes twice through all changesets, some at a time: when each version ended, then what must be kept."""

    store: FolderStore
    promise: Promise
    came: Arrivals
    terms: Terms
    """Of the promise: what people want meanwhile is not what was marked."""
    wider: Promise | None = None
    """What the folder promises as a whole, if that matters."""
    others: frozenset[DeviceId] = frozenset()
    """Who was a member when others were asked to prove what they hold."""
    ended: dict[VersionId, Times] = field(default_factory=dict)
    """Versions of one changeset share the value."""
    kept: set[bytes] = field(default_factory=set)
    """Pids of the packed blocks that a version under the promise has."""
    early: set[bytes] = field(default_factory=set)
    """Pids of the packed blocks that only the wider promise covers, or that also the narrower one does."""
    pruned: int = 0
    """Versions that no promise covers."""
    _after: int = 0
    _is_second: bool = False
    _packed: frozenset[bytes] | None = None
    """Pids of all packed blocks: of others nothing need be remembered."""
    newest_pack: int = 0
    """Packs that came later are none of this marking's business."""
    newest: int = 0
    """The last changeset that was judged; a collection is void if another has come since."""

    def db_step(self) -> bool:
        """Some more of it; False when all is marked."""
        if self._packed is None:
            entries = self.store.connection.execute("SELECT entry FROM block WHERE src%4=3")
            self._packed = frozenset(entry[:32] for (entry,) in entries)
            (self.newest_pack,) = self.store.connection.execute("SELECT coalesce(max(id),0) FROM pack").fetchone()
        found = self.store.connection.execute(
            "SELECT c.seq, m.at_ms, c.time_ms FROM changeset c JOIN moment m ON m.seq=c.seq "
            "WHERE c.seq>? ORDER BY c.seq LIMIT ?",
            (self._after, CHANGESETS_PER_STEP),
        ).fetchall()
        past = Past(self.store)
        for seq, at_ms, label_ms in found:
            self._after = seq
            times = at_ms, label_ms, self.came.of(seq)
            if self._is_second:
                self._judge(past, seq, times)
            else:
                self._note_ends(past, seq, times)
        if found:
            return True
        if self._is_second:
            return self._after < self.store.journal.newest_seq()
        self.newest = self._after
        self._is_second, self._after = True, 0
        return True

    def _is_quarantined(self, seq: int) -> bool:
        query = "SELECT 1 FROM changeset WHERE seq=? AND state=?"
        return self.store.connection.execute(query, (seq, QUARANTINED)).fetchone() is not None

    def _note_ends(self, past: Past, seq: int, times: Times) -> None:
        if self._is_quarantined(seq):
            return  # it has replaced nothing, and may yet count
        for record in past.open(seq).records:
            for version in record.replaces_content:
                before = self.ended.get(version)
                self.ended[version] = times if before is None else _either(before, times)

    def _judge(self, past: Past, seq: int, begin: Times) -> None:
        hash_ = self.store.journal.sources[seq].hash
        for index, record in enumerate(past.open(seq).records):
            content = record.content
            if content is None or content.kind is not ContentKind.FILE:
                continue
            end = self.ended.get(version_id(hash_, index))
            if _covers(self.promise, begin, end):
                self.kept.update(self._packed_of(content))
                continue
            self.pruned += 1
            if self.wider is not None and _covers(self.wider, begin, end):
                self.early.update(self._packed_of(content))

    def _packed_of(self, content: Content) -> Iterator[bytes]:
        packed = db_packed(self.store, content)
        pids = (packed[start : start + 32] for start in range(0, len(packed), ENTRY_BYTES))
        return (pid for pid in pids if self._packed and pid in self._packed)


# --- collecting ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Double:
    """A marked block that is to stay in another pack, if it is whole there; its place in both, as in a `PackUse`."""

    here: tuple[int, bytes]
    other: str
    there: tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class PackUse:
    """A pack, and what of it is marked: (offset of the ciphertext, packed entry)."""

    name: str
    size: int
    marked: tuple[tuple[int, bytes], ...]
    marked_bytes: int
    doubles: tuple[Double, ...] = ()


@dataclass(frozen=True, slots=True)
class Collection:
    """What a collection would do: packs to write anew or drop, and the bytes that this frees."""

    packs: tuple[PackUse, ...]
    freed: int
    kept_bytes: int


def db_collection(store: FolderStore, marking: Marking) -> Collection:
    """Which packs hold too little of what is marked. A block of two packs is kept in one, if it is whole there."""
    first: dict[bytes, tuple[int, tuple[int, bytes]]] = {}
    uses = []
    marked_in: dict[int, list[tuple[int, bytes]]] = {}
    doubles_in: dict[int, list[Double]] = {}
    names = dict(store.connection.execute("SELECT id*4+3, name FROM pack"))
    last = source_of(SourceKind.PACK, marking.newest_pack)
    query = "SELECT src, off, entry FROM block WHERE src%4=3 AND src<=?"
    for source, offset, entry in store.connection.execute(query, (last,)):
        pid, here = entry[:32], (offset, entry)
        if pid in first:
            other, there = first[pid]
            doubles_in.setdefault(source, []).append(Double(here, names[other], there))
        elif pid in marking.kept:
            first[pid] = source, here
            marked_in.setdefault(source, []).append(here)
    query = "SELECT id, name, size FROM pack WHERE kind=1 AND id<=? ORDER BY id"
    for pack, name, size in store.connection.execute(query, (marking.newest_pack,)):
        source = source_of(SourceKind.PACK, pack)
        marked = marked_in.get(source, [])
        length = sum(int.from_bytes(entry[64:68], "big") + 16 + ENTRY_BYTES for _, entry in marked)
        uses.append(PackUse(name, size, tuple(sorted(marked)), length, tuple(doubles_in.get(source, ()))))
    small = [use for use in uses if use.size < SMALL_PACK_BYTES]
    chosen = [use for use in uses if use.marked_bytes < WORTH_KEEPING * use.size]
    if len(small) >= MANY_SMALL:
        chosen = [use for use in uses if use in small or use.marked_bytes < WORTH_KEEPING * use.size]
    return Collection(tuple(chosen), freed_bytes(chosen), sum(use.marked_bytes for use in uses))


def freed_bytes(packs: Sequence[PackUse]) -> int:
    """What it frees to exchange these: what is only put together with others does not count."""
    freed = sum(use.size - use.marked_bytes for use in packs if use.marked_bytes < WORTH_KEEPING * use.size)
    return max(0, freed)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """Old packs, and the new ones on the shelf that hold what was marked in them."""

    old: tuple[PackUse, ...]
    new: tuple[Pack, ...]


def rewrite(store: FolderStore, packs: Sequence[PackUse]) -> Rewritten:
    """Write new packs of what is marked in old ones. Touches no row. A pack with a block that is damaged, or that the
    disk does not let be read, stays as it is, for the scrub, and delays no other. A block that is to stay in another
    pack is read there first: if that has rotted, this may be the only copy.

    Raises TreeError when the shelf takes nothing: nothing has gone then.
    """
    builder = PackBuilder(store.keyring.folder, BlockKind.DATA)
    old, new = [], []
    for use in packs:
        try:
            marked = (*use.marked, *(one.here for one in use.doubles if not is_whole(store, one.other, *one.there)))
            blocks = [(entry, _read(store, use.name, offset, entry)) for offset, entry in marked]
        except (_Damaged, EpochKeyMissing, TreeError) as error:
            log.error("a pack of old versions stays as it is: %s: %s", use.name, error)
            continue
        for entry, sealed in blocks:
            builder.add(entry, sealed)
            if builder.is_full:
                new.append(_put(store, builder))
        old.append(use)
    if not builder.is_empty:
        new.append(_put(store, builder))
    return Rewritten(tuple(old), tuple(new))


class _Damaged(Exception):
    """A block is not what its name says."""

    def __str__(self) -> str:
        return "a block in it is damaged"


def _read(store: FolderStore, name: str, offset: int, packed_entry: bytes) -> bytes:
    (entry,) = BlockList(packed_entry)
    cipher = store.keyring.cipher_of(entry.epoch_prefix)
    sealed = store.packs.read_at(name, offset, cipher.sealed_length(entry.length))
    if cid_of(sealed) != entry.cid:
        raise _Damaged
    return sealed


def is_whole(store: FolderStore, name: str, offset: int, packed_entry: bytes) -> bool:
    """Whether a pack has a block as it should be, by reading it."""
    try:
        _read(store, name, offset, packed_entry)
    except (_Damaged, EpochKeyMissing, TreeError):
        return False
    return True


def _put(store: FolderStore, builder: PackBuilder) -> Pack:
    pack = builder.finish(store.keyring.cipher())
    store.packs.shelf.put(pack.name, pack.content)
    return pack.without_content()


def db_exchange(store: FolderStore, marking: Marking, rewritten: Rewritten, now: float) -> bool:
    """Let the new packs take the place of the old ones. False, and nothing is done, if changesets have come since the
    marking, which may speak of blocks that were not marked, if one of these was promised to another device, or if
    people promise something else by now."""
    if store.journal.newest_seq() != marking.newest or not proofs.db_held(store, now) <= marking.kept:
        return False
    if db_terms(store) != marking.terms:
        return False
    if not marking.others <= store.others:  # whoever has left since may have been the one that proved it
        return False
    names = {pack.name for pack in rewritten.new}
    with Transaction(store.connection):
        for use in rewritten.old:
            if use.name not in names:
                store.packs.db_forget(use.name)
        store.packs.db_add(rewritten.new, now)
    for use in rewritten.old:
        if use.name not in names:
            store.packs.shelf.drop(use.name)
    return True


# --- scrub -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """What reading a pack showed: `good` as a whole; else its blocks that are whole, and those that are not."""

    name: str
    is_good: bool
    whole: tuple[tuple[int, bytes], ...] = ()
    damaged: tuple[bytes, ...] = ()


def db_to_scrub(
    store: FolderStore, before: float, passed: Container[str] = ()
) -> tuple[str, int, list[tuple[int, bytes]]] | None:
    """The pack that was not read for the longest time, if that was before a moment: name, size, blocks. None of
    `passed`."""
    due = store.connection.execute("SELECT id, name, size FROM pack WHERE verified<? ORDER BY verified", (before,))
    found = next((row for row in due if row[1] not in passed), None)
    if found is None:
        return None
    pack, name, size = found
    query = "SELECT off, entry FROM block WHERE src=? ORDER BY off"
    return name, size, store.connection.execute(query, (source_of(SourceKind.PACK, pack),)).fetchall()


def db_read_since(store: FolderStore) -> float | None:
    """Since when every pack was read; None without packs."""
    (oldest,) = store.connection.execute("SELECT min(verified) FROM pack").fetchone()
    return None if oldest is None else float(oldest)


def scrub(store: FolderStore, name: str, size: int, blocks: Sequence[tuple[int, bytes]]) -> Scrubbed:
    """Read every byte of a pack. Raises TreeError where that does not say what is in it: that is no damage yet."""
    try:
        content = store.packs.read_at(name, 0, size + 1)
    except NotThere:
        return Scrubbed(name, False, (), tuple(entry for _, entry in blocks))
    if len(content) == size and name_of(content) == name:
        return Scrubbed(name, True)
    whole, damaged = [], []
    for offset, packed_entry in blocks:
        try:
            _read(store, name, offset, packed_entry)
        except _Damaged:
            damaged.append(packed_entry)
        except EpochKeyMissing as error:
            raise NotSupported(f"a block in it is under a key that this device has not: {error}") from error
        else:
            whole.append((offset, packed_entry))
    return Scrubbed(name, False, tuple(whole), tuple(damaged))


def db_verified(store: FolderStore, name: str, now: float) -> None:
    """Every byte of a pack was found right."""
    store.connection.execute("UPDATE pack SET verified=? WHERE name=?", (now, name))


def db_retire_damaged(store: FolderStore, scrubbed: Scrubbed, rescued: Rewritten, now: float) -> None:
    """What was whole in a damaged pack is in another now; what was not is not offered any more. The pack goes, unless
    the other has its very bytes as they should be, and with them its name: then that has taken its place."""
    with Transaction(store.connection):
        store.packs.db_forget(scrubbed.name)
        store.packs.db_add(rescued.new, now)
    if scrubbed.name not in {pack.name for pack in rescued.new}:
        store.packs.shelf.drop(scrubbed.name)


def damaged_only(store: FolderStore, placed: Sequence[Placed]) -> list[Entry]:
    """Of blocks that were damaged in a pack, with the other places where they may lie: those that are whole nowhere on
    this disk."""
    reader = SourceReader(store.tree, store.packs, store.keyring)
    try:
        return [
            entry
            for entry, places in placed
            if not reader.read_checked(places, entry, memoryview(bytearray(entry.length)))
        ]
    finally:
        reader.close()


def rescue(store: FolderStore, scrubbed: Scrubbed) -> Rewritten:
    """Write what is whole in a damaged pack into another. Raises TreeError where that does not hold all of it."""
    rescued = rewrite(store, [PackUse(scrubbed.name, 0, scrubbed.whole, 0)])
    if not rescued.old:
        raise IoFailed("a block that was whole a moment ago cannot be read any more")
    return rescued
