"""Blocking. What is about to be published: records, and for each what to note about the disk once it has a version.

Findings (`publish`) and departures (`departures`) of one transaction write into one `Desk`, so that no node gets two
records in it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from dataclasses import field
from itertools import chain, islice

from ca.values import dataclass
from syncd.engine.detect import Known
from syncd.model.ids import NodeId, VersionId
from syncd.model.records import (
    DIRECTORY,
    MAX_REPLACES,
    Attributes,
    Content,
    Record,
    file_of,
    file_of_parts,
    symlink_to,
)
from syncd.model.xattrs import Xattrs, is_bounded, merge, pack, unpack
from syncd.store import blocks, rows
from syncd.store.blocks import SourceKind, source_of
from syncd.store.contents import disk_value, keep_parts, packed_on_disk
from syncd.store.deaths import Death
from syncd.store.hashing import Hashed
from syncd.store.joining import PENDING, HeadRow, Source, Sources, read_heads
from syncd.store.rows import DELETED, NodeRow, Value, value_of
from syncd.store.scan import Item
from syncd.treetypes import Kind, Path, Stat


@dataclass(frozen=True, slots=True)
class Examined:
    """A finding with its content: `hashed` for a file, `target` for a link, neither where only attributes or place
    matter."""

    item: Item
    stat: Stat
    seen_ns: int
    hashed: Hashed | None = None
    target: bytes | None = None
    is_noise: bool = False
    """It looks as if it had been encrypted (`engine.ransom`)."""
    xattrs: Xattrs | None = None
    """None: not looked at, or more than travels; then nothing is said of them."""


@dataclass(slots=True)
class Draft:
    """Records to be published, and for each what to note about the disk once its version is known."""

    connection: sqlite3.Connection
    records: list[Record] = field(default_factory=list)
    settle: list[Callable[[NodeRow, Source, int], None] | None] = field(default_factory=list)
    """Beside `records`; None for those of `births` and `deaths`."""
    births: dict[NodeId, Examined] = field(default_factory=dict)
    """New files that nobody knew: each has the one record that makes it, and stands on the disk as that says."""
    deaths: dict[NodeId, Death] = field(default_factory=dict)
    """Files that nobody else has changed: each has the one record that ends it, and is gone from the disk."""
    again: list[Path] = field(default_factory=list)
    """Findings overtaken by something else: look there again."""
    unchanged: int = 0

    def add(self, record: Record, settle: Callable[[NodeRow, Source, int], None]) -> None:
        self.records.append(record)
        self.settle.append(settle)

    def add_birth(self, record: Record, examined: Examined) -> None:
        self.records.append(record)
        self.settle.append(None)
        self.births[record.node] = examined

    def add_death(self, record: Record, death: Death) -> None:
        self.records.append(record)
        self.settle.append(None)
        self.deaths[record.node] = death

    def put_last(self, nodes: Container[NodeId]) -> None:
        """What is said of these nodes comes after everything else."""
        order = sorted(range(len(self.records)), key=lambda index: self.records[index].node in nodes)
        self.records = [self.records[index] for index in order]
        self.settle = [self.settle[index] for index in order]

    def before_write(self, touched: Sequence[NodeRow], source: Source, first: int) -> None:
        """For `Journal.author`: rows that say what the disk holds, and are not written yet."""
        waiting = rows.pending_of(self.connection, [row.id for row in touched])
        settles = enumerate(islice(self.settle, first, None))
        settled = ((index, settle) for index, settle in settles if settle is not None)
        for row, (index, settle) in zip(touched, settled):  # noqa: B905 - what follows belongs to the next changeset
            settle(row, source, index)
            if row.id in waiting and row.pending == 0:
                # It waited for something else as well, of which this record says nothing: a name that became free, say.
                row.pending = PENDING


class Desk:
    """The rows, and the draft that is made from them. One object per transaction."""

    def __init__(
        self, connection: sqlite3.Connection, sources: Sources, *, publishes: bool, moving: Container[int] = ()
    ) -> None:
        """`publishes` False: this device is a viewer here, its own changes are kept and shown, and go nowhere.
        `moving`: nodes whose rows do not say yet what the planner just does with them."""
        self.connection = connection
        self.sources = sources
        self.publishes = publishes
        self.moving = moving
        self.draft = Draft(connection)
        self.drafted: set[NodeId] = set()
        """Nodes that have a record in the draft."""
        self._placed: list[tuple[int, bytes]] = []
        """Sources that came, with their packed entries."""

    def current(self, known: Known) -> NodeRow | None:
        """The row, if it still says what the scan compared with."""
        return self.unless_changed(rows.read_ids(self.connection, [known.row]).get(known.row), known)

    def unless_changed(self, row: NodeRow | None, known: Known) -> NodeRow | None:
        """The same of a row that was read."""
        if row is None or row.id in self.moving:
            return None
        now = (row.l_parent, row.l_name, row.l_kind, row.l_ino, row.l_size, row.l_mtime, row.l_ctime, row.l_mode)
        was = (known.parent, known.name, known.kind, known.ino, known.size, known.mtime_ns, known.ctime_ns, known.mode)
        return row if now == was else None

    def stand(
        self,
        row: NodeRow,
        parent: int,
        examined: Examined,
        content: Content,
        source: Source,
        index: int,
        name: bytes | None = None,
    ) -> None:
        """The disk holds this version of ours."""
        self.place_on_disk(row, parent, examined, value_of(content), name)
        row.s_ccs, row.s_cidx = source.seq, index
        if (row.c_cs, row.c_idx) == (source.seq, index):
            row.l_blocks = row.l_listed = row.l_cls = None
        self.note_blocks(row.id, examined)

    def place_on_disk(
        self, row: NodeRow, parent: int, examined: Examined, value: Value, name: bytes | None = None
    ) -> None:
        """This stands there, whoever's version it is."""
        row.l_parent, row.l_name, row.l_kind = parent, name or examined.item.name, int(examined.stat.kind)
        row.l_blocks, row.l_listed, row.l_cls = value.blocks, value.listed, value.cls
        self.note_stat(row, examined.stat, examined.seen_ns)
        self.note_xattrs(row, examined)

    def note_xattrs(self, row: NodeRow, examined: Examined) -> None:
        """They stand there, and are told to others, or are those of others."""
        if examined.xattrs is not None and xattrs_said(examined, row) is not None:
            row.l_xattrs = pack(examined.xattrs)

    def note_stat(self, row: NodeRow, stat: Stat, seen_ns: int, *, moved: bool = False) -> None:
        """`moved`: only its name was looked at, so what may have happened to it besides is still to be found."""
        if moved and stat.mode != row.l_mode:
            return
        if moved and stat.kind is not Kind.DIR and (stat.size, stat.mtime_ns) != (row.l_size, row.l_mtime):
            return
        row.l_ino, row.l_size, row.l_mtime, row.l_ctime, row.l_mode = columns_of(stat)
        if not moved:
            row.l_seen = seen_ns

    def note_blocks(self, row: int, examined: Examined) -> None:
        """Its blocks can be served and used again from there."""
        hashed = examined.hashed
        if hashed is None:
            return
        self._placed.append((source_of(SourceKind.NODE, row), hashed.packed))
        if hashed.parts:
            keep_parts(self.connection, hashed.parts)

    def note_births(self, born: Iterable[tuple[int, NodeId]]) -> None:
        """These rows were made for new files of the draft."""
        births = self.draft.births
        for row, node in born:
            hashed = births[node].hashed
            assert hashed is not None
            self._placed.append((source_of(SourceKind.NODE, row), hashed.packed))

    def finish(self) -> None:
        """Write what was only noted. Call once, behind everything else of the transaction."""
        blocks.add(self.connection, self._placed)
        self._placed = []

    def forget_blocks(self, row: NodeRow) -> None:
        """Its blocks are not there any more."""
        blocks.drop(self.connection, [(source_of(SourceKind.NODE, row.id), packed_on_disk(self.connection, row))])

    def forget_all_blocks(self, gone: Iterable[NodeRow], packed: Iterable[tuple[int, bytes]]) -> None:
        """The same for many; `packed`: rows with the packed entries of what stood there."""
        of = chain(((row.id, packed_on_disk(self.connection, row)) for row in gone), packed)
        blocks.drop(self.connection, ((source_of(SourceKind.NODE, row), entries) for row, entries in of))

    def seen_contents(self, row: NodeRow) -> tuple[VersionId, ...]:
        """The versions that whoever changes what stands here has seen: all that hold these bytes, and deletions, which
        were overruled by what stands here."""
        return self.replacing(row, self.seen_of(row, self.heads_of(row)))

    def replacing(self, row: NodeRow, seen: Collection[VersionId]) -> tuple[VersionId, ...]:
        """Of these versions those that one record replaces. Others would refuse a record that names more, and all that
        follows in our journal: what there is no room for stays a version beside ours, deletions before all else."""
        if len(seen) <= MAX_REPLACES:
            return tuple(sorted(seen))
        deletions = {version for head, version in self.heads_of(row) if head.kind == DELETED}
        return tuple(sorted(sorted(seen, key=lambda version: (version in deletions, version))[:MAX_REPLACES]))

    def seen_of(self, row: NodeRow, heads: Sequence[tuple[HeadRow, VersionId]]) -> set[VersionId]:
        """The same of a node with these heads."""
        listed, on_disk = disk_value(row)
        seen = _holding(heads, rows.identity(row.l_kind, listed, on_disk))
        if row.s_ccs is not None and row.s_cidx is not None:
            known = (version for head, version in heads if (head.cs, head.idx) == (row.s_ccs, row.s_cidx))
            seen.add(next(known, None) or self.sources.version(row.s_ccs, row.s_cidx))
        return seen

    def heads_of(self, row: NodeRow) -> list[tuple[HeadRow, VersionId]]:
        """The content versions of a node that nobody has replaced."""
        return [(head, self.sources.version(head.cs, head.idx)) for head in read_heads(self.connection, row)]

    def heads_with(self, row: NodeRow, which: tuple[int, bool, bytes]) -> set[VersionId]:
        """Heads that hold these bytes, and deletions."""
        return _holding(self.heads_of(row), which)

    def synced_place(self, row: NodeRow) -> tuple[VersionId, ...]:
        """The place that a move from here replaces."""
        if row.s_pcs is None or row.s_pidx is None:
            return ()
        return (self.sources.version(row.s_pcs, row.s_pidx),)

    def synced_attributes(self, row: NodeRow) -> tuple[VersionId, ...]:
        """The attributes that a change made here replaces."""
        if row.s_acs is None or row.s_aidx is None:
            return ()
        return (self.sources.version(row.s_acs, row.s_aidx),)


def _holding(heads: Sequence[tuple[HeadRow, VersionId]], which: tuple[int, bool, bytes]) -> set[VersionId]:
    return {
        version
        for head, version in heads
        if head.kind == DELETED or rows.identity(head.kind, head.listed, head.blocks) == which
    }


def content_of(examined: Examined) -> Content | None:
    """The content register's value for a finding; None if it was not looked into."""
    match examined.stat.kind:
        case Kind.DIR:
            return DIRECTORY
        case Kind.SYMLINK:
            return None if examined.target is None else symlink_to(examined.target)
        case _:
            hashed = examined.hashed
            if hashed is None:
                return None
            if hashed.listed:
                return file_of_parts(hashed.cut_class, hashed.size, hashed.payload, hashed.digest())
            return file_of(hashed.cut_class, hashed.size, hashed.payload)


def attributes_of(examined: Examined, row: NodeRow | None = None) -> Attributes | None:
    """The attributes register's value for a finding, of a node that has the `row`. A symlink has none: where others
    have a directory or a file of that id, its attributes stay what they are.

    What nobody here has changed stays as others have it: they may have changed it meanwhile, and a disk that cannot
    hold modes or extended attributes takes none from anybody.
    """
    mode, mtime_ns, xattrs = examined.stat.mode, examined.stat.mtime_ns, xattrs_said(examined, row)
    if row is not None and row.mode is not None and mode == row.l_mode:
        mode = row.mode
    if row is not None and row.mtime is not None and mtime_ns == row.l_mtime:
        mtime_ns = row.mtime
    if xattrs is None:
        xattrs = () if row is None else unpack(row.xattrs)
    match examined.stat.kind:
        case Kind.SYMLINK:
            return None
        case Kind.DIR:
            return Attributes(mode, None, xattrs)
        case _:
            return Attributes(mode, mtime_ns, xattrs)


def stands(attributes: Attributes, examined: Examined) -> bool:
    """Whether the disk has these attributes, as far as was looked."""
    if examined.stat.kind is Kind.FILE and attributes.mtime_ns != examined.stat.mtime_ns:
        return False
    return attributes.mode == examined.stat.mode and examined.xattrs in (None, attributes.xattrs)


def xattrs_said(examined: Examined, row: NodeRow | None) -> Xattrs | None:
    """What others have, with what was changed here since; None where nothing can be said."""
    if examined.xattrs is None or row is None:
        return examined.xattrs
    said = merge(unpack(row.l_xattrs), examined.xattrs, unpack(row.xattrs))
    return said if is_bounded(said) else None


def older_xattrs(examined: Examined, row: NodeRow) -> bytes | None:
    """For its column, in an older directory: of extended attributes that others know, what stands there, as nobody here
    has changed or removed any. It gets those that others have; what nobody knows stays."""
    if examined.xattrs is None:
        return row.l_xattrs
    known = {name for name, _ in (*unpack(row.l_xattrs), *unpack(row.xattrs))}
    return pack(item for item in examined.xattrs if item[0] in known)


def columns_of(stat: Stat) -> tuple[int, int, int, int, int]:
    """The columns of a row that a stat fills."""
    return stat.ino, stat.size, stat.mtime_ns, stat.ctime_ns, stat.mode


def settle_pending(row: NodeRow) -> None:
    """After our own record: nothing is left to do unless somebody else's version stands beside or above it."""
    settled = (
        row.heads <= 1
        and (row.s_ccs, row.s_cidx) == (row.c_cs, row.c_idx)
        and (row.s_pcs, row.s_pidx) == (row.p_cs, row.p_idx)
        and (row.s_acs, row.s_aidx) == (row.a_cs, row.a_idx)
    )
    row.pending = 0 if settled else PENDING
