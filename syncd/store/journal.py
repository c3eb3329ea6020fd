"""Blocking. The journals of a folder: writing our own, checking and accepting those of others, telling what is new.

Changesets are numbered in the order in which they were accepted here (`seq`); that order is causal, and it is what
`GET /v1/heads/{n}` counts by. A changeset is accepted only when everything it names is here already.

Whatever keeps the rules of the format is kept and told to others, so that all devices come to hold the same changesets
in whatever order they meet: those of an author whose rights were taken away (quarantined: not joined until somebody
with rights is known to have seen them), and a second one with a number that is taken (a fork: joined as well, because
both are what somebody did to files). Only what breaks a rule is refused, and the rules give every device the same
answer: nothing that one honest device keeps is refused by another.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Container, Sequence
from dataclasses import field
from enum import Enum
from functools import partial
from typing import Protocol

from blake3 import blake3

from ca.device import DeviceKeys
from ca.ids import DeviceId, EntryHash, EpochId, FolderId
from ca.values import dataclass
from syncd.errors import StoreCorrupt, TrustError
from syncd.model.changesets import (
    ITSELF,
    MAX_APPROVES,
    MAX_RECORDS,
    Changeset,
    HeadRef,
    next_lamport,
    seal_changeset,
)
from syncd.model.heads import SALT_BYTES, Head, decode_head_untrusted, encode_head, sign_head
from syncd.model.ids import NO_CHANGESET, NO_CID, ChangesetHash, Cid, Incarnation, NodeId
from syncd.model.records import Record
from syncd.seams import Random
from syncd.store import approvals, rows
from syncd.store.apart import Called, Fill, Rooms, has_left_out
from syncd.store.deaths import Deaths
from syncd.store.joining import NO_BIRTHS, Births, Joined, Source, Sources, join_records
from syncd.store.keyring import Keyring
from syncd.store.moments import count_from, note_apart, note_deletions, note_moment
from syncd.store.rows import NodeRow

APPLIED, QUARANTINED, FORKED = 1, 2, 3
"""Values of `changeset.state`. All but the quarantined are joined into the rows."""

MAX_NAMED_HEADS = 4096
"""Heads that one changeset of ours names; where more have moved, the next ones name the rest."""

MAX_RECORD_BYTES = 3 * 1024 * 1024
"""Of one changeset of ours: below the limit on its encoding, with room for everything around the records."""


class Verdict(Enum):
    """What became of a changeset that arrived."""

    APPLIED = "applied"
    KNOWN = "known"
    EARLY = "something it names is not here yet"
    ROSTER = "it names a roster entry that is not here yet"
    QUARANTINED = "its author had no right to publish it"
    LEFT_OUT = "its author had no right to publish it, and as much of that as there is room for is here already"
    FORKED = "its author published two changesets with one number; both count"
    REFUSED = "it breaks a rule of the format"


class NoRight(TrustError):
    """This device may not publish (any more): nothing was written."""


class Membership(Protocol):
    """What the journal must know of the roster. Implemented over `ca.roster` by the daemon."""

    @property
    def head(self) -> EntryHash: ...

    def number_of(self, head: EntryHash) -> int | None:
        """The number of an entry on our chain, of one in a history that lost where that parted from it; None if it is
        unknown."""
        ...

    def is_on_chain(self, head: EntryHash) -> bool:
        """Whether an entry is one of our chain, and not of a history that lost."""
        ...

    def lost_epochs(self) -> frozenset[EpochId]:
        """Epochs of a history that lost, which nobody will link: what is sealed under them only those can read who were
        there."""
        ...

    def sign_key(self, device: DeviceId) -> bytes | None:
        """The public signing key of a device that is, or once was, admitted."""
        ...

    def may_publish(self, device: DeviceId, head: EntryHash) -> bool:
        """Whether that device had, at that entry, a role that publishes."""
        ...

    def may_delete(self, device: DeviceId, head: EntryHash) -> bool:
        """Whether that device had, at that entry, the right to delete."""
        ...

    def sealed_at(self, device: DeviceId, incarnation: Incarnation) -> int | None:
        """The last counter of a journal that counts under rights since taken away. None when nothing was ever taken
        away; 0 for a journal that was unknown to those who did."""
        ...


@dataclass(frozen=True, slots=True)
class Accepted:
    """The verdict, and the rows that a changeset touched (`nodes`). `lacks`: what has to come first, if somebody with
    rights needs it."""

    verdict: Verdict
    seq: int = 0
    nodes: Sequence[int] = ()
    lacks: Sequence[ChangesetHash] = ()


@dataclass(frozen=True, slots=True)
class Moved:
    """A page of what is new since a number: (seq, encoded head), and the newest number there is."""

    heads: tuple[tuple[int, bytes], ...]
    newest: int
    bodies: tuple[bytes, ...] = ()
    """Of each the sealed changeset, empty where that is longer than was asked for."""


class Journal:
    """All journals of one folder in its database. Calls run in the folder's lane, inside the caller's transaction."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        folder: FolderId,
        keys: DeviceKeys,
        random: Random,
        author_name: str,
    ) -> None:
        self._db = connection
        self._folder = folder
        self._keys = keys
        self.device = keys.public.id
        self._random = random
        self.author_name = author_name
        self.rooms = Rooms()
        self.sources = Sources(connection)
        self.incarnation = self._load_incarnation()

    # our own -------------------------------------------------------------------------------------------------

    def author(
        self,
        records: Sequence[Record],
        keyring: Keyring,
        membership: Membership,
        now_ms: int,
        before_write: Callable[[Sequence[NodeRow], Source, int], None] | None = None,
        passing: Container[NodeId] = (),
        births: Births = NO_BIRTHS,
        deaths: Deaths | None = None,
    ) -> list[Joined]:
        """Publish records, in as many changesets as they need. `before_write(rows, source, first index)` per
        changeset; those of nodes in `passing` approve themselves, if this device may. `births`, `deaths`: as for
        `join_records`. Raises: NoRight, which rolls back the caller's transaction."""
        joined = []
        start = 0
        may_approve = membership.may_delete(self.device, membership.head)
        while start < len(records):
            count = _fitting(records, start, passing)
            approves = (ITSELF,) if may_approve and records[start].node in passing else ()
            part = records[start : start + count]
            author = partial(self._author_one, births=births, deaths=deaths)
            joined.append(author(part, start, keyring, membership, now_ms, before_write, approves))
            start += count
        return joined

    def approve(
        self, changesets: Sequence[ChangesetHash], keyring: Keyring, membership: Membership, now_ms: int
    ) -> None:
        """Say that the brake is to let these changesets pass, everywhere. Raises: NoRight."""
        if not membership.may_delete(self.device, membership.head):
            raise NoRight("your role does not allow to delete in this folder", id="SY-SHARE-04")
        named = sorted(changesets)
        for start in range(0, len(named), MAX_APPROVES):
            self._author_one((), 0, keyring, membership, now_ms, None, tuple(named[start : start + MAX_APPROVES]))

    def vouch(self, named: Sequence[Named], keyring: Keyring, membership: Membership, now_ms: int) -> None:
        """Say that we have seen these changesets, which were kept apart: they count then, everywhere.

        Raises: NoRight."""
        for start in range(0, len(named), MAX_NAMED_HEADS):
            part = named[start : start + MAX_NAMED_HEADS]
            self._author_one((), 0, keyring, membership, now_ms, None, (), part)

    def _author_one(
        self,
        records: Sequence[Record],
        first: int,
        keyring: Keyring,
        membership: Membership,
        now_ms: int,
        before_write: Callable[[Sequence[NodeRow], Source, int], None] | None,
        approves: tuple[ChangesetHash, ...],
        also: Sequence[Named] = (),
        births: Births = NO_BIRTHS,
        deaths: Deaths | None = None,
    ) -> Joined:
        roster_head = membership.head
        if not membership.may_publish(self.device, roster_head):
            raise NoRight("your role does not allow to write in this folder", id="SY-SHARE-04")
        own = self._own_journal()
        moved = self._moved_heads(own)
        previous = self._newest(own)
        seen_now = [*moved, *(one for one in also if one.ref not in {named.ref for named in moved})]
        lamports = [named.lamport for named in seen_now]
        if previous is not None:
            lamports.append(previous.lamport)
        changeset = Changeset(
            self._folder,
            self.device,
            self.incarnation,
            1 if previous is None else previous.counter + 1,
            NO_CHANGESET if previous is None else previous.hash,
            tuple(sorted(named.ref for named in seen_now)),
            next_lamport(lamports),
            roster_head,
            max(0, now_ms),
            self.author_name,
            tuple(records),
            approves,
        )
        cipher = keyring.cipher()
        sealed = seal_changeset(cipher, changeset)
        body = bytes(sealed.block.ciphertext)
        previous_cid = NO_CID if previous is None else previous.cid
        head = sign_head(self._keys, cipher, changeset, sealed, previous_cid, self._random.token(SALT_BYTES))
        number = membership.number_of(roster_head) or 0
        source = self._insert(own, head, changeset, body, number, APPLIED)
        seen = [named.seq for named in seen_now] + ([] if previous is None else [previous.seq])
        note_moment(self._db, source.seq, changeset.time_ms, seen)
        self._note_deletions(source, changeset)
        approvals.note(self._db, source.seq, source.hash, changeset)
        self._db.executemany("UPDATE journal SET told=? WHERE id=?", [(named.seq, named.journal) for named in moved])

        def settle(touched: Sequence[NodeRow]) -> None:
            if before_write is not None:
                before_write(touched, source, first)

        return join_records(self._db, self.sources, source, records, settle, births=births, deaths=deaths)

    def random(self, length: int) -> bytes:
        """Random bytes of this device."""
        return self._random.token(length)

    def random_name(self) -> bytes:
        """A name for a cookie file."""
        return self._random.token(8).hex().encode()

    def begin_incarnation(self) -> None:
        """Close our journal and start another: after a lost, old or cloned database. Its first changeset names all that
        is known here, so that it comes after that."""
        self._db.execute("UPDATE journal SET closed=1 WHERE id=?", (self._own_journal(),))
        self._db.execute("UPDATE journal SET told=0")
        self.incarnation = Incarnation(self._random.token(16))
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('incarnation', ?)", (self.incarnation,))

    # others' -------------------------------------------------------------------------------------------------

    def accept(self, head: Head, changeset: Changeset, body: bytes, membership: Membership, called: Called) -> Accepted:
        """Take in a changeset whose head's signature is good and whose body is what the head says."""
        if self.has(head):
            return Accepted(Verdict.KNOWN)
        number = membership.number_of(changeset.roster_head)
        if number is None:
            return Accepted(Verdict.ROSTER)
        is_taken = self._is_taken(head)
        counts = self._counts(head, changeset, is_taken, membership)
        past = self._past(head, changeset)
        if isinstance(past, _Lacking):
            if counts or head.changeset in called or not has_left_out(self._db):
                needs = may_now(changeset, head.device, membership) or head.changeset in called
                return Accepted(Verdict.EARLY, lacks=past.hashes if needs else ())
            return Accepted(Verdict.LEFT_OUT)  # of what it names, something was left out
        # Equality, because a Lamport number that ran ahead would win every later quarrel about a place.
        if changeset.lamport != next_lamport(past.lamports) or number < max(past.roster_numbers, default=0):
            return Accepted(Verdict.REFUSED)
        if not _had_right(changeset, membership):
            return Accepted(Verdict.REFUSED)
        if head.device == self.device and head.incarnation == self.incarnation:
            # A peer has more of our own journal than we do: this database is an older one, restored or lost. What it
            # does not know is taken in like anybody's, and from here on we write another journal.
            self.begin_incarnation()
        if not counts:
            if head.changeset not in called and not self._has_room(head, len(body), self.fill()):
                return Accepted(Verdict.LEFT_OUT)
            called.came(head.changeset)
            journal = self._journal(head.device, head.incarnation)
            source = self._insert(journal, head, changeset, body, number, QUARANTINED)
            note_apart(self._db, source.seq, changeset.time_ms, past.seqs)
            return Accepted(Verdict.QUARANTINED, source.seq)
        called.came(head.changeset)
        journal = self._journal(head.device, head.incarnation)
        source = self._insert(journal, head, changeset, body, number, FORKED if is_taken else APPLIED)
        note_moment(self._db, source.seq, changeset.time_ms, past.seqs)
        self._note_deletions(source, changeset)
        approvals.note(self._db, source.seq, source.hash, changeset)
        joined = join_records(self._db, self.sources, source, changeset.records)
        return Accepted(Verdict.FORKED if is_taken else Verdict.APPLIED, source.seq, joined.nodes)

    def fill(self) -> Fill:
        """How much is kept apart now."""
        return Fill(self._db, self.rooms)

    def _has_room(self, head: Head, body_bytes: int, fill: Fill) -> bool:
        """What is our own is always kept: an older database learns by it that it is one."""
        return head.device == self.device or fill.has_room(head.device, body_bytes + len(encode_head(head)))

    def is_left_out(self, head: Head, membership: Membership, called: Called, fill: Fill) -> bool:
        """Whether the changeset of this head would be left out, as far as can be told without its body."""
        if head.changeset in called or membership.may_publish(head.device, membership.head):
            return False
        sealed = membership.sealed_at(head.device, head.incarnation)
        if sealed is None or head.counter <= sealed:
            return False
        return not self._has_room(head, head.length, fill)

    def _note_deletions(self, source: Source, changeset: Changeset) -> None:
        count = sum(record.content is not None and record.content.is_deleted for record in changeset.records)
        name = source.hash.hex()[:8]
        note_deletions(self._db, source.seq, name, count, changeset.time_ms, changeset.author_name)

    def counts_again(self, seq: int, head: Head, changeset: Changeset, membership: Membership) -> bool:
        """Whether what was put aside would count if it came now."""
        query = "SELECT 1 FROM changeset o JOIN changeset c USING (journal, counter) WHERE c.seq=? AND o.seq<c.seq"
        is_taken = self._db.execute(query, (seq,)).fetchone() is not None
        return self._counts(head, changeset, is_taken, membership)

    def release(self, seq: int, head: Head, changeset: Changeset) -> Accepted:
        """Let a quarantined changeset count, because someone with rights had seen it."""
        journal = self._journal(head.device, head.incarnation)
        self._db.execute("UPDATE changeset SET state=? WHERE seq=?", (APPLIED, seq))
        count_from(self._db, seq, changeset.time_ms)
        self._move_tip(journal, head)
        source = Source(seq, head.changeset, changeset.lamport, head.device, changeset.author_name)
        self.sources.add(source)
        approvals.note(self._db, seq, source.hash, changeset)
        joined = join_records(self._db, self.sources, source, changeset.records)
        return Accepted(Verdict.APPLIED, seq, joined.nodes)

    def take_back_tips(self) -> None:
        """Let every journal end at what counts of it, after changesets were put aside."""
        for (journal,) in self._db.execute("SELECT id FROM journal").fetchall():
            newest = self._db.execute(
                "SELECT counter, hash FROM changeset WHERE journal=? AND state<>? "
                "ORDER BY counter DESC, hash DESC LIMIT 1",
                (journal, QUARANTINED),
            ).fetchone()
            counter, hash_ = (0, None) if newest is None else newest
            self._db.execute("UPDATE journal SET counter=?, hash=? WHERE id=?", (counter, hash_, journal))

    def oldest_quarantined(self) -> int | None:
        """The first number of what waits for somebody with rights; None if nothing does."""
        found = self._db.execute("SELECT min(seq) FROM changeset WHERE state=2").fetchone()
        return None if found is None else found[0]

    def find(self, device: DeviceId, incarnation: Incarnation, counter: int, hash_: ChangesetHash) -> Kept | None:
        """A changeset that is here, by its full name."""
        found = self._db.execute(
            "SELECT c.seq, c.state, c.lamport, c.roster_number FROM changeset c JOIN journal j ON j.id=c.journal "
            "JOIN author a ON a.id=j.author WHERE a.device=? AND j.incarnation=? AND c.counter=? AND c.hash=?",
            (device, incarnation, counter, hash_),
        ).fetchone()
        return None if found is None else Kept(*found)

    def sealed_body(self, seq: int) -> tuple[Head, bytes]:
        """Head and ciphertext of a changeset that is here."""
        head, body = self._db.execute("SELECT head, body FROM changeset WHERE seq=?", (seq,)).fetchone()
        return decode_head_untrusted(head), bytes(body)

    def _past(self, head: Head, changeset: Changeset) -> _Past | _Lacking:
        """Of what a changeset names, its predecessor included; or what of that is not here."""
        names = [(ref.device, ref.incarnation, ref.counter, ref.changeset) for ref in changeset.heads]
        if head.counter > 1:
            names.append((head.device, head.incarnation, head.counter - 1, head.previous))
        past, lacking = _Past(), []
        for name in names:
            kept = self.find(*name)
            if kept is None:
                lacking.append(name[-1])
                continue
            past.seqs.append(kept.seq)
            past.lamports.append(kept.lamport)
            past.roster_numbers.append(kept.roster_number)
        return _Lacking(lacking) if lacking else past

    def _is_taken(self, head: Head) -> bool:
        """Whether a changeset with this number is here."""
        query = (
            "SELECT 1 FROM changeset c JOIN journal j ON j.id=c.journal JOIN author a ON a.id=j.author "
            "WHERE a.device=? AND j.incarnation=? AND c.counter=? LIMIT 1"
        )
        return self._db.execute(query, (head.device, head.incarnation, head.counter)).fetchone() is not None

    def _counts(self, head: Head, changeset: Changeset, is_taken: bool, membership: Membership) -> bool:
        """What an author published counts while he may publish it, and up to the seals that were set when he no longer
        might. A second changeset with one number is none that those who sealed had seen."""
        if may_now(changeset, head.device, membership):
            return True
        sealed = membership.sealed_at(head.device, head.incarnation)
        is_seen = sealed is None or head.counter <= sealed
        return is_seen and not is_taken and _may_at(changeset, head.device, changeset.roster_head, membership)

    def has(self, head: Head) -> bool:
        """The very changeset of this head is here."""
        return self.find(head.device, head.incarnation, head.counter, head.changeset) is not None

    # telling -------------------------------------------------------------------------------------------------

    def own_seqs(self) -> set[int]:
        """The numbers of what stands in our open journal."""
        return {seq for (seq,) in self._db.execute("SELECT seq FROM changeset WHERE journal=?", (self._own_journal(),))}

    def newest_seq(self) -> int:
        (seq,) = self._db.execute("SELECT coalesce(max(seq),0) FROM changeset").fetchone()
        return int(seq)

    def moved_after(self, seq: int, most: int, body_bytes: int = 0) -> Moved:
        """Heads accepted after a number, in causal order; also of what is quarantined, for others to judge. With them
        the bodies that are no longer than `body_bytes`."""
        found = self._db.execute(
            "SELECT seq, head, CASE WHEN length(body)<=? THEN body ELSE x'' END FROM changeset WHERE seq>? "
            "ORDER BY seq LIMIT ?",
            (body_bytes, seq, most),
        ).fetchall()
        newest = found[-1][0] if 0 < len(found) < most else self.newest_seq()
        return Moved(tuple((number, head) for number, head, _ in found), newest, tuple(body for *_, body in found))

    def digest(self) -> bytes:
        """32 bytes that are equal on two devices that have the same newest changeset of every journal."""
        hasher = blake3(derive_key_context="syncd/1 journal heads")
        for device, incarnation, counter, hash_ in self.heads():
            hasher.update(device + incarnation + counter.to_bytes(8, "big") + hash_)
        return hasher.digest()

    def heads(self) -> list[tuple[DeviceId, Incarnation, int, ChangesetHash]]:
        """The newest changeset of every journal, ordered by device and incarnation."""
        return self._db.execute(
            "SELECT a.device, j.incarnation, j.counter, j.hash FROM journal j JOIN author a ON a.id=j.author "
            "WHERE j.counter>0 ORDER BY a.device, j.incarnation"
        ).fetchall()

    def body(self, cid: Cid) -> bytes | None:
        """The ciphertext of a changeset, as it was first sealed."""
        found = self._db.execute("SELECT head, body FROM changeset WHERE ck=?", (rows.prefix(cid),))
        for head, body in found:
            if decode_head_untrusted(head).cid == cid:
                return bytes(body)
        return None

    def newest_of(self, device: DeviceId) -> bytes | None:
        """The newest head of a device, by arrival, as it travels."""
        found = self._db.execute(
            "SELECT c.head FROM changeset c JOIN author a ON a.id=c.author WHERE a.device=? AND c.state<>? "
            "ORDER BY c.seq DESC LIMIT 1",
            (device, QUARANTINED),
        ).fetchone()
        return None if found is None else bytes(found[0])

    def own_head(self) -> tuple[Incarnation, int, ChangesetHash] | None:
        """Our newest changeset in the open journal."""
        newest = self._newest(self._own_journal())
        return None if newest is None else (self.incarnation, newest.counter, newest.hash)

    # rows ----------------------------------------------------------------------------------------------------

    def _load_incarnation(self) -> Incarnation:
        found = self._db.execute("SELECT value FROM meta WHERE key='incarnation'").fetchone()
        if found is not None:
            return Incarnation(found[0])
        incarnation = Incarnation(self._random.token(16))
        self._db.execute("INSERT INTO meta VALUES ('incarnation', ?)", (incarnation,))
        return incarnation

    def _own_journal(self) -> int:
        return self._journal(self.device, self.incarnation)

    def _journal(self, device: DeviceId, incarnation: Incarnation) -> int:
        author = self.author_id(device)
        found = self._db.execute(
            "SELECT id FROM journal WHERE author=? AND incarnation=?", (author, incarnation)
        ).fetchone()
        if found is not None:
            return int(found[0])
        cursor = self._db.execute("INSERT INTO journal(author, incarnation) VALUES (?,?)", (author, incarnation))
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def author_id(self, device: DeviceId) -> int:
        """The small number of an author, given to it here and now if it has none."""
        found = self._db.execute("SELECT id FROM author WHERE device=?", (device,)).fetchone()
        if found is not None:
            return int(found[0])
        cursor = self._db.execute("INSERT INTO author(device) VALUES (?)", (device,))
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _newest(self, journal: int) -> _Newest | None:
        found = self._db.execute(
            "SELECT c.seq, c.counter, c.hash, c.lamport, c.roster_number, c.head FROM journal j "
            "JOIN changeset c ON c.journal=j.id AND c.counter=j.counter AND c.hash=j.hash WHERE j.id=?",
            (journal,),
        ).fetchone()
        if found is None:
            return None
        seq, counter, hash_, lamport, roster_number, head = found
        return _Newest(seq, counter, hash_, lamport, roster_number, decode_head_untrusted(head).cid)

    def _moved_heads(self, own: int) -> list[Named]:
        """Newest changesets of other journals that ours has not named yet: at most MAX_NAMED_HEADS, the latest."""
        found = self._db.execute(
            "SELECT j.id, c.seq, c.lamport, a.device, j.incarnation, j.counter, j.hash "
            "FROM journal j JOIN author a ON a.id=j.author "
            "JOIN changeset c ON c.journal=j.id AND c.counter=j.counter AND c.hash=j.hash "
            "WHERE j.id<>? AND j.told<>c.seq AND j.counter>0 ORDER BY c.lamport DESC, c.seq DESC LIMIT ?",
            (own, MAX_NAMED_HEADS),
        )
        return [Named(journal, seq, lamport, HeadRef(*ref)) for journal, seq, lamport, *ref in found]

    def _insert(
        self, journal: int, head: Head, changeset: Changeset, body: bytes, roster_number: int, state: int
    ) -> Source:
        author = self.author_id(head.device)
        cursor = self._db.execute(
            "INSERT INTO changeset(journal, counter, hash, lamport, author, roster_number, time_ms, author_name, ck, "
            "head, body, state) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                journal,
                head.counter,
                head.changeset,
                changeset.lamport,
                author,
                roster_number,
                changeset.time_ms,
                changeset.author_name,
                rows.prefix(head.cid),
                encode_head(head),
                body,
                state,
            ),
        )
        if cursor.lastrowid is None:
            raise StoreCorrupt("the database took a changeset without giving it a number", id="SY-DB-01")
        if state != QUARANTINED:
            self._move_tip(journal, head)
        source = Source(cursor.lastrowid, head.changeset, changeset.lamport, head.device, changeset.author_name)
        self.sources.add(source)
        return source

    def _move_tip(self, journal: int, head: Head) -> None:
        """Of two changesets with one number the greater hash is the newest, on every device."""
        self._db.execute(
            "UPDATE journal SET counter=?1, hash=?2 WHERE id=?3 AND (counter, coalesce(hash, x'')) < (?1, ?2)",
            (head.counter, head.changeset, journal),
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """What the order of things needs of a changeset that is here."""

    seq: int
    state: int
    lamport: int
    roster_number: int


@dataclass(slots=True)
class _Past:
    seqs: list[int] = field(default_factory=list)
    lamports: list[int] = field(default_factory=list)
    roster_numbers: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Lacking:
    hashes: Sequence[ChangesetHash]


@dataclass(frozen=True, slots=True)
class Named:
    """A head that a changeset of ours is to name."""

    journal: int
    seq: int
    lamport: int
    ref: HeadRef


@dataclass(frozen=True, slots=True)
class _Newest:
    seq: int
    counter: int
    hash: ChangesetHash
    lamport: int
    roster_number: int
    cid: Cid


def _had_right(changeset: Changeset, membership: Membership) -> bool:
    """Whether its author could publish all of it at the roster entry that it names. The same answer everywhere: of an
    entry in a history that lost, those who took that history for the right one said yes, so nobody refuses."""
    if not membership.is_on_chain(changeset.roster_head):
        return True
    return _may_at(changeset, changeset.device, changeset.roster_head, membership)


def may_now(changeset: Changeset, device: DeviceId, membership: Membership) -> bool:
    """Whether a device may publish today all that stands in a changeset."""
    return _may_at(changeset, device, membership.head, membership)


def _may_at(changeset: Changeset, device: DeviceId, head: EntryHash, membership: Membership) -> bool:
    if not membership.may_publish(device, head):
        return False
    deletes = any(record.content is not None and record.content.is_deleted for record in changeset.records)
    return not (deletes or changeset.approves) or membership.may_delete(device, head)


def _fitting(records: Sequence[Record], start: int, passing: Container[NodeId]) -> int:
    """How many records from `start` fit one changeset; each node only once, and what passes apart from the rest."""
    size, nodes = 0, set()
    passes = records[start].node in passing
    for index in range(start, min(len(records), start + MAX_RECORDS)):
        record = records[index]
        size += _size_of(record)
        is_full = index > start and size > MAX_RECORD_BYTES
        if is_full or record.node in nodes or (record.node in passing) != passes:
            return index - start
        nodes.add(record.node)
    return min(len(records) - start, MAX_RECORDS)


def _size_of(record: Record) -> int:
    """At least the bytes of its encoding."""
    size = 160
    if record.content is not None:
        size += len(record.content.blocks) + len(record.content.target) + 32 * len(record.replaces_content)
    if record.place is not None:
        size += len(record.place.name) + 32 * len(record.replaces_place)
    if record.attributes is not None:
        size += sum(len(name) + len(value) + 6 for name, value in record.attributes.xattrs)
        size += 32 * len(record.replaces_attributes)
    return size
