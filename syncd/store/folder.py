"""Blocking. One folder's database and tree together: the verbs that the folder's task calls, each a single hop to a
thread.

Methods named `db_` use the connection and must run in the folder's lane; the others touch only the tree and may run
beside them.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from functools import partial

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.engine.plan import Waiting, plan
from syncd.engine.retention import Tier
from syncd.errors import RemoteProtocolError
from syncd.model.changesets import Changeset
from syncd.model.cipher import BlockKind, max_ciphertext
from syncd.model.heads import Head, open_announced_untrusted
from syncd.model.ids import ROOT_NODE, Cid, Pid
from syncd.model.lists import BlockList, Entry, join_parts_untrusted, parse_list_untrusted
from syncd.model.records import Record
from syncd.model.xattrs import pack
from syncd.seams import Reader, Tree
from syncd.store import approvals, blocks, counts, retiring, rows
from syncd.store.apart import Called, db_note_left_out
from syncd.store.apply import Done
from syncd.store.blocks import Location, SourceKind
from syncd.store.commit import Committed, Committer
from syncd.store.contents import packed_on_disk, part_plain, parts_on_disk
from syncd.store.db import Transaction
from syncd.store.departures import Departures
from syncd.store.draft import Desk, Draft, Examined
from syncd.store.examine import Previous
from syncd.store.joining import PENDING, read_heads
from syncd.store.journal import QUARANTINED, Accepted, Journal, Kept, Membership, NoRight, Verdict, may_now
from syncd.store.judging import judge_again, let_ours_settle, lost_with, maybe_counting, number_anew
from syncd.store.keyring import EpochKeyMissing, Keyring
from syncd.store.locating import BlockSource, Name, Places, db_places_of
from syncd.store.packs import Packs, Scratch
from syncd.store.prepare import COPY_MODE, Round, Want, What, prepare, still_wanted, write_intents, write_steps
from syncd.store.publish import NotLeft, Publisher
from syncd.store.recorded import Recorded
from syncd.store.rows import DIR, FILE, ROOT_ROW, NodeRow
from syncd.store.scan import Action, Gone, Ignored, Item, Older, Walk, tick_of
from syncd.store.spelling import note_personality
from syncd.store.survey import Survey
from syncd.treetypes import NotThere, Path, Personality, Seen, TreeError

MAX_CASES = 2048
MAX_RETIRED = 4096
"""Of what is only to be retired more is planned at a time: there is little to each."""
_RETIRED = -(1 << 63)
"""Where planning goes on once all that was only to be retired is planned."""
"""So many rows are planned at a time, as values."""

log = logging.getLogger("syncd.folder")


@dataclass(frozen=True, slots=True)
class Served:
    """How one asked-for block is answered: ready bytes, or a place to read and seal anew."""

    index: int
    kind: BlockKind
    entry: Entry | None = None
    plain: bytes | None = None
    ciphertext: bytes | None = None
    places: tuple[tuple[BlockSource, int], ...] = ()

    @property
    def most_bytes(self) -> int:
        """The longest ciphertext that this can become."""
        if self.entry is not None:
            return max_ciphertext(self.entry.length)
        return 0 if self.ciphertext is None else len(self.ciphertext)


@dataclass(frozen=True, slots=True)
class Needed:
    """What a wanted content still lacks. Either `parts` of its list, or data blocks with their places in the file."""

    want: Want
    parts: tuple[Entry, ...] = ()
    blocks: tuple[tuple[int, Entry], ...] = ()
    """(offset in the file, entry)."""
    local: Mapping[Pid, tuple[tuple[BlockSource, int], ...]] | None = None
    is_false: bool = False
    """Its list is not the one that its record names: there is no such content, whoever is asked."""
    author: DeviceId | None = None
    """Who published it."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A changeset whose head's signature was checked, with its body as it travelled."""

    head: Head
    changeset: Changeset
    body: bytes


class FolderStore:
    """The folder on this disk."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        tree: Tree,
        journal: Journal,
        keyring: Keyring,
        membership: Membership,
    ) -> None:
        self.connection = connection
        self.tree = tree
        self.journal = journal
        self.keyring = keyring
        self.membership = membership
        self.packs = Packs(connection, tree.open_shelf(keyring.folder.hex()[:16]), keyring.folder)
        """What was replaced or deleted, as far as it has been packed."""
        self.asked_tiers: tuple[Tier, ...] = ()
        """What the folder's roster asks every member to keep of the past."""
        self.asked_copies = 0
        """On how many other devices the folder's roster asks every member to have what is let go of."""
        self.others: frozenset[DeviceId] = frozenset()
        """The other devices of the folder, now."""
        self.moving: set[int] = set()
        """Nodes with which something is being done on the disk that no row says yet. The scan leaves them alone."""
        self.older: Older | None = None
        """What stands here is an older state of the folder, or a copy (`store.older`), as of the last look at
        everything; None if not."""
        self.unwritten: tuple[int, Seen | None] | None = None
        """Of which root all was looked at although that cannot be written down there, and what is said there."""
        self.looked_at = 0
        """Which root that was (`Tree.opened`)."""
        self._noted: Personality | None = None
        """How the disk treats names, as it is written down."""

    def db_begin(self) -> None:
        """Make sure that the root has its row."""
        with Transaction(self.connection):
            root = NodeRow(ROOT_ROW, ROOT_NODE, kind=DIR, l_kind=DIR)
            if not rows.read_ids(self.connection, [ROOT_ROW]):
                rows.write(self.connection, [root])

    def db_begin_journal(self) -> None:
        """From here on write another journal: this database is doubtful."""
        with Transaction(self.connection):
            self.journal.begin_incarnation()

    # scanning ------------------------------------------------------------------------------------------------

    def walk(
        self,
        ignored: Ignored,
        dirty: Mapping[Path, frozenset[bytes] | None] | None,
        deep: Collection[Path] = (),
        ignored_before: Ignored | None = None,
    ) -> Walk:
        """Begin a pass (`db_`: its steps read rows)."""
        disk = self.tree.personality()
        if disk != self._noted:
            with Transaction(self.connection):
                if note_personality(self.connection, disk):  # every name may be another one here
                    self.connection.execute("UPDATE node SET pending=? WHERE pending=0 AND id<>?", (PENDING, ROOT_ROW))
            self._noted = disk
        where = self.connection, self.journal.sources, self.tree
        return Walk(*where, ignored, dirty, deep, ignored_before, older=self.older)

    def db_previous(self, items: Sequence[Item]) -> dict[Path, Previous]:
        """Earlier contents of files that changed, or that were copies of ours."""
        wanted = {item.known.row: item.path for item in items if _wants_previous(item) and item.known is not None}
        found = rows.read_ids(self.connection, wanted)
        previous = {}
        for row in found.values():
            cls = row.cls if row.l_blocks is None else row.l_cls
            packed, parts = packed_on_disk(self.connection, row), parts_on_disk(row)
            previous[wanted[row.id]] = Previous(rows.class_of(cls), packed, parts)
        return previous

    def db_publish(self, found: Sequence[Examined], now_ms: int, *, publishes: bool) -> Draft:
        """Commit findings and publish them."""
        staying: frozenset[int] = frozenset()
        while True:
            try:
                return self.db_commit_draft(partial(self._found, found, staying), now_ms, publishes=publishes)
            except NotLeft as moves:
                staying |= moves.nodes

    def _found(self, found: Sequence[Examined], staying: frozenset[int], desk: Desk) -> Draft:
        return Publisher(desk, staying, self.older).findings(found)

    def db_delete(self, gone: Sequence[Gone], now_ms: int, *, publishes: bool) -> Draft:
        """Commit and publish that names are gone."""
        may_delete = self.membership.may_delete(self.journal.device, self.membership.head)
        return self.db_commit_draft(
            lambda desk: Departures(desk).deletions(gone), now_ms, publishes=publishes and may_delete
        )

    def db_commit_draft(self, make: Callable[[Desk], Draft], now_ms: int, *, publishes: bool) -> Draft:
        """Commit and publish a draft that is made in the same transaction; twice, if a right went in this moment."""
        try:
            with Transaction(self.connection):
                desk = Desk(self.connection, self.journal.sources, publishes=publishes, moving=self.moving)
                draft = self._author(make(desk), now_ms, desk)
                desk.finish()
                return draft
        except NoRight:  # it was taken away in this moment: what was found is only here
            return self.db_commit_draft(make, now_ms, publishes=False)

    def _author(self, draft: Draft, now_ms: int, desk: Desk) -> Draft:
        if draft.records:
            now = now_ms / 1000
            passing = approvals.passing(self.connection, now)
            if passing:
                draft.put_last(passing)
            author = self.journal.author
            every = author(
                *(draft.records, self.keyring, self.membership, now_ms, draft.before_write, passing),
                *(draft.births, draft.deaths),
            )
            for joined in every:
                desk.note_births(joined.born)
            if passing:
                published = (passing[record.node] for record in draft.records if record.node in passing)
                approvals.passed(self.connection, published, now)
        return draft

    # receiving -----------------------------------------------------------------------------------------------

    def open_changeset_untrusted(self, head: Head, body: bytes) -> Changeset:
        """Decrypt and decode a changeset's body. Raises RemoteProtocolError, EpochKeyMissing."""
        return open_announced_untrusted(self.keyring.cipher(head.epoch), head, body)

    def db_unknown(self, heads: Sequence[Head], called: Called, now_ms: int) -> list[Head]:
        """Of the heads that a peer tells, in causal order, those whose changesets have to be fetched.

        What is called for calls for its predecessor."""
        lost = self.membership.lost_epochs()
        unknown = [head for head in heads if head.epoch not in lost and not self.journal.has(head)]
        for head in reversed(unknown):
            if head.changeset in called and head.counter > 1:
                called.add([head.previous])
        fill = self.journal.fill()
        wanted: list[Head] = []
        left_out: list[Head] = []
        for head in unknown:
            (left_out if self.journal.is_left_out(head, self.membership, called, fill) else wanted).append(head)
        if left_out:
            with Transaction(self.connection):
                self._note_left_out(left_out, now_ms)
        return wanted

    def db_accept(self, arrived: Sequence[Arrived], called: Called | None = None, now_ms: int = 0) -> list[Accepted]:
        """Join changesets, in order, in one transaction."""
        with Transaction(self.connection):
            return self.accept(arrived, Called() if called is None else called, now_ms)

    def accept(self, arrived: Sequence[Arrived], called: Called, now_ms: int) -> list[Accepted]:
        """The same inside a transaction."""
        return [self._accept(one, called, now_ms) for one in arrived]

    def _note_left_out(self, heads: Sequence[Head], now_ms: int) -> None:
        for device in {head.device for head in heads}:
            if db_note_left_out(self.connection, self.journal.author_id(device), now_ms):
                log.warning(
                    "folder %s: %s published more without the right to than is kept: the rest is left out",
                    self.keyring.folder.hex()[:8],
                    device.hex()[:8],
                )

    def _accept(self, arrived: Arrived, called: Called, now_ms: int) -> Accepted:
        accepted = self.journal.accept(arrived.head, arrived.changeset, arrived.body, self.membership, called)
        if accepted.verdict is Verdict.LEFT_OUT:
            self._note_left_out([arrived.head], now_ms)
        if accepted.verdict in (Verdict.APPLIED, Verdict.FORKED):
            counts.db_news_of(self.connection, accepted.nodes)
            oldest = self.journal.oldest_quarantined()
            if oldest is not None:
                self.release_past(arrived.changeset, oldest)
        return accepted

    def db_judge_again(self) -> int:
        """The roster has moved: put aside what no longer counts, and let count what does again. How many changesets
        that were."""
        with Transaction(self.connection):
            number_anew(self.connection, self.journal, self.membership, self._maybe_open)
            lost = lost_with(self.connection, self.membership.lost_epochs())
            aside = judge_again(self.connection, self.journal, self.membership, self._maybe_open, lost)
            return aside + self._let_count_again(lost)

    def _maybe_open(self, head: Head, body: bytes) -> Changeset | None:
        """A changeset that is here; None if its epoch is not open to us: we left and came back, and a fork left it
        behind."""
        try:
            return self.open_changeset_untrusted(head, body)
        except EpochKeyMissing:
            return None

    def _let_count_again(self, lost: Container[int]) -> int:
        """Somebody's rights were given back, or a history of the roster counts that did not: what newcomers take in now
        counts for those as well who had it before."""
        back = 0
        for seq in maybe_counting(self.connection, self.membership):
            if seq in lost:
                continue
            head, body = self.journal.sealed_body(seq)
            kept = self.journal.find(head.device, head.incarnation, head.counter, head.changeset)
            if kept is None or kept.state != QUARANTINED:
                continue  # let go of meanwhile, in the past of another
            changeset = self._maybe_open(head, body)
            if changeset is not None and self.journal.counts_again(seq, head, changeset, self.membership):
                counts.db_news_of(self.connection, self.journal.release(seq, head, changeset).nodes)
                back += 1
                oldest = self.journal.oldest_quarantined()
                if oldest is not None:
                    self.release_past(changeset, oldest)
        return back

    def release_past(self, changeset: Changeset, oldest: int) -> int:
        """What someone with rights has seen counts, even if its author has lost his: it lies in the causal past. How
        many changesets that were.

        The walk back ends at changesets of those who have rights: what they had seen was let go of when they came. It
        also ends before the `oldest` that is held, since what is named has the lower number.
        """
        if not self.membership.may_publish(changeset.device, self.membership.head):
            return 0
        quarantined: dict[int, tuple[Head, Changeset]] = {}
        seen: set[int] = set()
        walk = [changeset]
        while walk:
            for kept in self.named_by(walk.pop()):
                if kept.seq in seen or kept.seq < oldest:
                    continue
                seen.add(kept.seq)
                head, body = self.journal.sealed_body(kept.seq)
                if kept.state != QUARANTINED and self.membership.may_publish(head.device, self.membership.head):
                    continue
                past = self._maybe_open(head, body)
                if past is None:
                    continue
                walk.append(past)
                if kept.state == QUARANTINED and may_now(past, changeset.device, self.membership):
                    quarantined[kept.seq] = head, past
        for seq, (head, past) in sorted(quarantined.items()):
            self.journal.release(seq, head, past)
        ours = [seq for seq, (head, _) in quarantined.items() if head.device == self.journal.device]
        let_ours_settle(self.connection, ours)
        return len(quarantined)

    def named_by(self, changeset: Changeset) -> list[Kept]:
        """What a changeset names, as far as it is here: its predecessor, and heads of other journals."""
        names = [(ref.device, ref.incarnation, ref.counter, ref.changeset) for ref in changeset.heads]
        if changeset.counter > 1:
            names.append((changeset.device, changeset.incarnation, changeset.counter - 1, changeset.previous))
        return [kept for name in names if (kept := self.journal.find(*name)) is not None]

    # planning ------------------------------------------------------------------------------------------------

    def db_plan(
        self,
        after: int,
        now: float,
        busy: Container[int],
        ignored: Ignored | None = None,
        waiting: Waiting | None = None,
    ) -> tuple[Round, int | None]:
        """One page of pending nodes: what can be done about them now, and where the next page begins.

        `ignored`: the rules, if there are any; what they match is put aside (`IGNORED`). `waiting`: the same for all
        pages of one sweep. Pages of what is only to be retired come first; they end at numbers below 0.
        """
        if not self.is_pending():
            return Round(), None
        with Transaction(self.connection):
            survey = Survey(self.connection, self.journal.sources)
            if after <= 0 and ignored is None and after != _RETIRED:
                gone, following = retiring.steps(survey, -after, MAX_RETIRED, now)
                if gone:
                    write_steps(self.connection, gone)
                    if waiting is not None:
                        waiting.has_moved = True
                    return Round(gone, is_left=True), _RETIRED if following is None else -following
            cases, following = survey.cases(max(0, after), MAX_CASES, now, busy, ignored)
            planned = plan(cases, waiting, is_last=following is None)
            for node in planned.wake:
                survey.wake(node)
            round_ = prepare(self.connection, survey, planned.operations)
            self._give_copies_attributes(round_.wants)
            write_steps(self.connection, round_.steps)
            round_.woken = survey.woken
            found = ((node, survey.row(node)) for node in planned.blocked)
            round_.blocked += [(node, survey.shared_path(row)) for node, row in found if row is not None]
            round_.is_left = self.is_pending()
            return round_, following

    def is_pending(self) -> bool:
        """Whether anything waits for the planner."""
        return rows.is_pending(self.connection)

    def _give_copies_attributes(self, wants: Sequence[Want]) -> None:
        """A conflict copy has the attributes that its author published with it: what the node itself has by now
        depends on when the copy is made, and would differ between computers."""
        recorded = Recorded(self.db_records)
        for want in sorted((want for want in wants if want.what is What.COPY), key=lambda want: want.cs):
            attributes = recorded.of(want.cs, want.idx).attributes
            if attributes is not None:
                want.mode = COPY_MODE if attributes.mode is None else attributes.mode
                want.mtime_ns = want.mtime_ns if attributes.mtime_ns is None else attributes.mtime_ns
                want.xattrs = pack(attributes.xattrs) if want.kind == FILE else None

    def db_records(self, cs: int) -> Sequence[Record]:
        """All of a changeset. Who wants many asks through `Recorded`."""
        head, body = self.journal.sealed_body(cs)
        return self.open_changeset_untrusted(head, body).records

    def db_commit(self, done: Sequence[Done], now: float) -> Committed:
        """Note what was done to the disk."""
        with Transaction(self.connection):
            committed = self._commit(done, now)
            committed.is_pending = self.is_pending()
            return committed

    def db_intents(self, wants: Sequence[Want]) -> list[Want]:
        """Say what is about to be put in place; the contents for which there still is one."""
        with Transaction(self.connection):
            return self._intend(wants)

    def db_commit_and_intend(
        self, done: Sequence[Done], now: float, wants: Sequence[Want]
    ) -> tuple[Committed, list[Want]]:
        """Note what was done, and say what comes next: both become durable together."""
        with Transaction(self.connection):
            return self._commit(done, now), self._intend(wants)

    def _commit(self, done: Sequence[Done], now: float) -> Committed:
        return Committer(self.connection, self.journal.sources, now, tick_of(self.tree)).note(done)

    def _intend(self, wants: Sequence[Want]) -> list[Want]:
        survey = Survey(self.connection, self.journal.sources)
        survey.expect(want.node for want in wants)
        wanted = [want for want in wants if still_wanted(self.connection, survey, want)]
        write_intents(self.connection, wanted)
        return wanted

    def db_outdated(self, wants: Sequence[Want]) -> list[Want]:
        """Of contents on their way, those that nobody needs any more: something newer has come, or it was deleted."""
        waiting = rows.waiting_for(self.connection, {want.node for want in wants})
        other = [want for want in wants if waiting.get(want.node) != (want.cs, want.idx)]
        return [want for want in other if want.node not in waiting or not self._is_copy_of_head(want)]

    def _is_copy_of_head(self, want: Want) -> bool:
        if want.what is not What.COPY:
            return False
        [row] = rows.read_ids(self.connection, [want.node]).values()
        return any((head.cs, head.idx) == (want.cs, want.idx) for head in read_heads(self.connection, row))

    def db_needed(self, wants: Sequence[Want]) -> list[Needed]:
        """What each wanted content lacks, with places on this disk where blocks of it may lie."""
        needed = []
        for want in wants:
            if want.listed and not want.packed:
                try:
                    missing = self._assemble(want)
                except RemoteProtocolError:
                    needed.append(Needed(want, is_false=True))
                    continue
                if missing:
                    needed.append(Needed(want, parts=missing))
                    continue
            needed.append(Needed(want, blocks=_placed(want.packed), author=self.journal.sources[want.cs].device))
        pids = {entry.pid for item in needed for _, entry in item.blocks}
        found = blocks.by_pid(self.connection, pids) if pids else {}
        if not found:
            return needed
        places = self.db_places(found)
        return [
            Needed(
                item.want,
                item.parts,
                item.blocks,
                {e.pid: places[e.pid] for _, e in item.blocks if e.pid in places},
                item.is_false,
                item.author,
            )
            for item in needed
        ]

    def _assemble(self, want: Want) -> tuple[Entry, ...]:
        """Put the list of a large file together from its parts; the parts that are not here."""
        entries = list(BlockList(rows.parts_of(want.blocks)))
        plains = [part_plain(self.connection, entry.cid) for entry in entries]
        missing = tuple(entry for entry, plain in zip(entries, plains, strict=True) if plain is None)
        if not missing:
            parts = [plain for plain in plains if plain is not None]
            want.packed = join_parts_untrusted(parts, want.size, rows.digest_of(want.blocks)).packed
        return missing

    def db_keep_parts(self, parts: Iterable[tuple[Entry, bytes]]) -> None:
        """Keep fetched parts of lists: checked plaintexts."""
        with Transaction(self.connection):
            for entry, plain in parts:
                if part_plain(self.connection, entry.cid) is None:
                    packed = entry.pid + entry.cid + entry.length.to_bytes(4, "big") + entry.epoch_prefix
                    self.connection.execute("INSERT INTO list VALUES (?,?,?)", (rows.prefix(entry.cid), packed, plain))

    def open_part_untrusted(self, entry: Entry, ciphertext: bytes | memoryview) -> bytes:
        """The checked plaintext of a part of a list. Raises RemoteProtocolError, EpochKeyMissing."""
        plain = self.keyring.cipher_of(entry.epoch_prefix).open_untrusted(
            BlockKind.LIST, entry.pid, entry.length, ciphertext
        )
        parse_list_untrusted(plain)
        return plain

    # serving -------------------------------------------------------------------------------------------------

    def db_have(self, cids: Sequence[Cid]) -> bytes:
        """Bitmap, first cid in the highest bit of the first byte: which of these blocks are here."""
        known: set[Cid] = set(blocks.by_cid(self.connection, cids))
        missing = [cid for cid in cids if cid not in known]
        others = self._prefixes_of_others(missing)
        for cid in missing:
            if rows.prefix(cid) not in others:
                continue
            if part_plain(self.connection, cid) is not None or self.journal.body(cid) is not None:
                known.add(cid)
        bits = bytearray((len(cids) + 7) // 8)
        for index, cid in enumerate(cids):
            if cid in known:
                bits[index // 8] |= 0x80 >> index % 8
        return bytes(bits)

    def _prefixes_of_others(self, cids: Sequence[Cid]) -> set[int]:
        """Those under which parts of lists and changesets are kept: of blocks of files there are many more."""
        found: set[int] = set()
        for part in rows.chunks([rows.prefix(cid) for cid in cids]):
            for table in ("list", "changeset"):
                keys = self.connection.execute(f"SELECT ck FROM {table} WHERE ck IN ({rows.marks(part)})", part)
                found.update(key for (key,) in keys)
        return found

    def db_locate(self, cids: Sequence[Cid]) -> list[Served]:
        """How to answer a request for blocks; blocks that are nowhere have neither places nor bytes."""
        found = blocks.by_cid(self.connection, cids)
        places = self.db_places(found)
        served = []
        for index, cid in enumerate(cids):
            locations = found.get(cid)
            if locations is not None:
                served.append(Served(index, BlockKind.DATA, locations[0].entry, places=places[cid]))
                continue
            part = self._part_entry(cid)
            if part is not None:
                served.append(Served(index, BlockKind.LIST, part[0], plain=part[1]))
            else:
                served.append(Served(index, BlockKind.CHANGESET, ciphertext=self.journal.body(cid)))
        return served

    def _part_entry(self, cid: Cid) -> tuple[Entry, bytes] | None:
        for raw, plain in self.connection.execute("SELECT entry, plain FROM list WHERE ck=?", (rows.prefix(cid),)):
            entry = BlockList(raw)[0]
            if entry.cid == cid:
                return entry, bytes(plain)
        return None

    def db_places(self, found: Mapping[Name, Sequence[Location]]) -> dict[Name, Places]:
        """What can be read to have these blocks."""
        return db_places_of(self.connection, self.journal.sources, self.packs, found)


def _wants_previous(item: Item) -> bool:
    return item.action is Action.CHANGED and item.known is not None and not item.known.is_copy


def _placed(packed: bytes) -> tuple[tuple[int, Entry], ...]:
    placed = []
    offset = 0
    for entry in BlockList(packed):
        placed.append((offset, entry))
        offset += entry.length
    return tuple(placed)


class SourceReader:
    """Reads blocks at their places, keeping the last file open: blocks are asked for in the order of files. One object
    for each thread that reads at a time."""

    def __init__(self, tree: Tree, packs: Packs, keyring: Keyring) -> None:
        self._tree = tree
        self._packs = packs
        self._keyring = keyring
        self._scratch = Scratch()
        self._source: BlockSource | None = None
        self._reader: Reader | None = None

    def read(self, source: BlockSource, offset: int, entry: Entry, view: memoryview) -> bool:
        """Fill `view` with the plaintext of a block; False if the file is gone or shorter, or the pack damaged."""
        if source.kind is SourceKind.PACK:
            name = source.name.decode()
            return self._packs.open_block(self._keyring, name, offset, entry, source.epoch_prefix, view, self._scratch)
        return self.read_plain(source, offset, view)

    def read_plain(self, source: BlockSource, offset: int, view: memoryview) -> bool:
        """Fill `view` with what a file has there now, whatever that is; False if it is gone or shorter."""
        try:
            return self._open(source).read_into(offset, view) == len(view)
        except (NotThere, TreeError):
            return False

    def _open(self, source: BlockSource) -> Reader:
        if source != self._source or self._reader is None:
            self.close()
            match source.kind:
                case SourceKind.OLD:
                    self._reader = self._tree.open_old(source.name)
                case SourceKind.STAGED:
                    self._reader = self._tree.open_staged(source.name)
                case _:
                    self._reader = self._tree.open_read(source.path)
            self._source = source
        return self._reader

    def read_checked(self, places: Places, entry: Entry, view: memoryview) -> bool:
        """Fill `view` with the very bytes that the entry names, from the first place that has them."""
        for source, offset in places:
            if self.read(source, offset, entry, view) and (
                source.kind is SourceKind.PACK  # compared when it was decrypted
                or self._keyring.cipher().pid(BlockKind.DATA, view) == entry.pid
            ):
                return True
        return False

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader, self._source = None, None


def seal_served(
    tree: SourceReader, keyring: Keyring, served: Served, plain: memoryview, target: memoryview
) -> tuple[int, int]:
    """(frame status, bytes of ciphertext at the front of `target`) for one block: 0 ok, 1 gone, 2 changed.

    The bytes are read into `plain`, a private buffer, and that very buffer is hashed and encrypted: what leaves is what
    was checked.
    """
    if served.ciphertext is not None:
        target[: len(served.ciphertext)] = served.ciphertext
        return 0, len(served.ciphertext)
    entry = served.entry
    if entry is None:
        return 1, 0
    try:
        cipher = keyring.cipher_of(entry.epoch_prefix)
    except EpochKeyMissing:
        return 1, 0
    if served.plain is not None:
        return 0, len(cipher.seal_again(served.kind, served.plain, target)[1])
    view = plain[: entry.length]
    for source, offset in served.places:
        if tree.read(source, offset, entry, view):
            pid, ciphertext = cipher.seal_again(served.kind, view, target)
            if pid == entry.pid:
                return 0, len(ciphertext)
    return (2, 0) if served.places else (1, 0)
