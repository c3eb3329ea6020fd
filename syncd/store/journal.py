"""Blocking. The journals of a folder: writing our own, checking and accepting those of others, telling what is new.

Changesets are numbered in the order in which they were accepted here (`seq`); that order is causal, and it is what
`GET /v1/heads/{n}` counts by. A changeset is accepted only when everything it names is here already.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from blake3 import blake3

from ca.device import DeviceKeys
from ca.ids import DeviceId, EntryHash, FolderId
from syncd.errors import StoreCorrupt
from syncd.model.changesets import (
    MAX_RECORDS,
    Changeset,
    HeadRef,
    next_lamport,
    seal_changeset,
)
from syncd.model.heads import SALT_BYTES, Head, decode_head_untrusted, encode_head, sign_head
from syncd.model.ids import NO_CHANGESET, NO_CID, ChangesetHash, Cid, Incarnation
from syncd.model.records import Record
from syncd.seams import Random
from syncd.store import rows
from syncd.store.joining import Joined, Source, Sources, join_records
from syncd.store.keyring import Keyring
from syncd.store.rows import NodeRow

APPLIED, QUARANTINED, FORKED = 1, 2, 3
"""Values of `changeset.state`."""

MAX_RECORD_BYTES = 3 * 1024 * 1024
"""Of one changeset of ours: below the limit on its encoding, with room for everything around the records."""


class Verdict(Enum):
    """What became of a changeset that arrived."""

    APPLIED = "applied"
    KNOWN = "known"
    EARLY = "something it names is not here yet"
    ROSTER = "it names a roster entry that is not here yet"
    QUARANTINED = "its author had no right to publish it"
    FORKED = "its author published two changesets with one number"
    REFUSED = "it breaks a rule of the format"


class Membership(Protocol):
    """What the journal must know of the roster. Implemented over `ca.roster` by the daemon."""

    @property
    def head(self) -> EntryHash: ...

    def number_of(self, head: EntryHash) -> int | None:
        """The number of an entry on our chain; None if it is not there."""
        ...

    def sign_key(self, device: DeviceId) -> bytes | None:
        """The public signing key of a device that is, or once was, admitted."""
        ...

    def may_publish(self, device: DeviceId, head: EntryHash) -> bool:
        """Whether that device had, at that entry, a role that publishes."""
        ...

    def sealed_at(self, device: DeviceId, incarnation: Incarnation) -> int | None:
        """The last counter that still counts under rights since taken away; None when nothing was taken away."""
        ...


@dataclass(frozen=True, slots=True)
class Accepted:
    """The verdict, and the rows that a changeset touched."""

    verdict: Verdict
    seq: int = 0
    rows: Sequence[NodeRow] = ()


@dataclass(frozen=True, slots=True)
class Moved:
    """A page of what is new since a number: (seq, encoded head), and the newest number there is."""

    heads: tuple[tuple[int, bytes], ...]
    newest: int


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
    ) -> list[Joined]:
        """Publish records, in as many changesets as they need. `before_write(rows, source, first index)` per
        changeset."""
        joined = []
        start = 0
        while start < len(records):
            count = _fitting(records, start)
            joined.append(
                self._author_one(records[start : start + count], start, keyring, membership, now_ms, before_write)
            )
            start += count
        return joined

    def _author_one(
        self,
        records: Sequence[Record],
        first: int,
        keyring: Keyring,
        membership: Membership,
        now_ms: int,
        before_write: Callable[[Sequence[NodeRow], Source, int], None] | None,
    ) -> Joined:
        own = self._own_journal()
        moved = self._moved_heads(own)
        previous = self._newest(own)
        lamports = [lamport for _, lamport in moved]
        if previous is not None:
            lamports.append(previous.lamport)
        changeset = Changeset(
            self._folder,
            self.device,
            self.incarnation,
            1 if previous is None else previous.counter + 1,
            NO_CHANGESET if previous is None else previous.hash,
            tuple(sorted(ref for ref, _ in moved)),
            next_lamport(lamports),
            membership.head,
            max(0, now_ms),
            self.author_name,
            tuple(records),
        )
        cipher = keyring.cipher()
        sealed = seal_changeset(cipher, changeset)
        body = bytes(sealed.block.ciphertext)
        previous_cid = NO_CID if previous is None else previous.cid
        head = sign_head(self._keys, cipher, changeset, sealed, previous_cid, self._random.token(SALT_BYTES))
        number = membership.number_of(membership.head) or 0
        source = self._insert(own, head, changeset, body, number, APPLIED)
        self._db.execute("UPDATE journal SET told=counter WHERE id<>? AND told<>counter", (own,))

        def settle(touched: Sequence[NodeRow]) -> None:
            if before_write is not None:
                before_write(touched, source, first)

        return join_records(self._db, self.sources, source, records, settle)

    def random_name(self) -> bytes:
        """A name for a cookie file."""
        return self._random.token(8).hex().encode()

    def begin_incarnation(self) -> None:
        """Close our journal and start another: after a lost, old or cloned database."""
        self._db.execute("UPDATE journal SET closed=1 WHERE id=?", (self._own_journal(),))
        self.incarnation = Incarnation(self._random.token(16))
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('incarnation', ?)", (self.incarnation,))

    # others' -------------------------------------------------------------------------------------------------

    def accept(self, head: Head, changeset: Changeset, body: bytes, membership: Membership) -> Accepted:
        """Take in a changeset whose head's signature is good and whose body is what the head says."""
        if self.has(head):
            return Accepted(Verdict.KNOWN)
        number = membership.number_of(changeset.roster_head)
        if number is None:
            return Accepted(Verdict.ROSTER)
        if head.device == self.device and head.incarnation == self.incarnation:
            # A peer has more of our own journal than we do: this database is an older one, restored or lost. What it
            # does not know is taken in like anybody's, and from here on we write another journal.
            self.begin_incarnation()
        journal = self._journal(head.device, head.incarnation)
        newest = self._newest(journal)
        if newest is not None and head.counter <= newest.counter:
            self._insert(journal, head, changeset, body, number, FORKED)
            return Accepted(Verdict.FORKED)
        if (newest is None and head.counter != 1) or (
            newest is not None and (head.counter != newest.counter + 1 or head.previous != newest.hash)
        ):
            return Accepted(Verdict.EARLY)
        lamports = self._lamports(changeset)
        if lamports is None:
            return Accepted(Verdict.EARLY)
        if newest is not None:
            lamports.append(newest.lamport)
            if number < newest.roster_number:
                return Accepted(Verdict.REFUSED)
        if changeset.lamport != next_lamport(lamports):
            return Accepted(Verdict.REFUSED)
        if not self._has_right(head, changeset, membership):
            self._insert(journal, head, changeset, body, number, QUARANTINED)
            return Accepted(Verdict.QUARANTINED)
        source = self._insert(journal, head, changeset, body, number, APPLIED)
        joined = join_records(self._db, self.sources, source, changeset.records)
        return Accepted(Verdict.APPLIED, source.seq, joined.rows)

    def release(self, head: Head, changeset: Changeset, body: bytes, membership: Membership) -> Accepted:
        """Take in a quarantined changeset, because someone with rights had seen it."""
        journal = self._journal(head.device, head.incarnation)
        number = membership.number_of(changeset.roster_head) or 0
        source = self._insert(journal, head, changeset, body, number, APPLIED)
        joined = join_records(self._db, self.sources, source, changeset.records)
        return Accepted(Verdict.APPLIED, source.seq, joined.rows)

    def _has_right(self, head: Head, changeset: Changeset, membership: Membership) -> bool:
        if not membership.may_publish(head.device, changeset.roster_head):
            return False
        sealed = membership.sealed_at(head.device, head.incarnation)
        return sealed is None or head.counter <= sealed or membership.may_publish(head.device, membership.head)

    def has(self, head: Head) -> bool:
        """The very changeset of this head is here."""
        found = self._db.execute(
            "SELECT hash FROM changeset WHERE journal=? AND counter=?",
            (self._journal(head.device, head.incarnation), head.counter),
        )
        return any(hash_ == head.changeset for (hash_,) in found)

    def _lamports(self, changeset: Changeset) -> list[int] | None:
        """Lamport numbers of the heads it names; None if one of them is not here."""
        lamports = []
        for ref in changeset.heads:
            found = self._db.execute(
                "SELECT c.lamport FROM changeset c JOIN journal j ON j.id=c.journal JOIN author a ON a.id=j.author "
                "WHERE a.device=? AND j.incarnation=? AND c.counter=? AND c.hash=? AND c.state=1",
                (ref.device, ref.incarnation, ref.counter, ref.changeset),
            ).fetchone()
            if found is None:
                return None
            lamports.append(found[0])
        return lamports

    # telling -------------------------------------------------------------------------------------------------

    def newest_seq(self) -> int:
        (seq,) = self._db.execute("SELECT coalesce(max(seq),0) FROM changeset").fetchone()
        return int(seq)

    def moved_after(self, seq: int, most: int) -> Moved:
        """Heads accepted after a number, in causal order."""
        found = self._db.execute(
            "SELECT seq, head FROM changeset WHERE seq>? AND state=1 ORDER BY seq LIMIT ?", (seq, most)
        ).fetchall()
        return Moved(tuple(found), self.newest_seq())

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
            "SELECT c.head FROM changeset c JOIN author a ON a.id=c.author WHERE a.device=? AND c.state=1 "
            "ORDER BY c.seq DESC LIMIT 1",
            (device,),
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
            "SELECT c.counter, c.hash, c.lamport, c.roster_number, c.head FROM journal j "
            "JOIN changeset c ON c.journal=j.id AND c.counter=j.counter AND c.hash=j.hash WHERE j.id=? AND c.state=1",
            (journal,),
        ).fetchone()
        if found is None:
            return None
        counter, hash_, lamport, roster_number, head = found
        return _Newest(counter, hash_, lamport, roster_number, decode_head_untrusted(head).cid)

    def _moved_heads(self, own: int) -> list[tuple[HeadRef, int]]:
        found = self._db.execute(
            "SELECT a.device, j.incarnation, j.counter, j.hash, c.lamport "
            "FROM journal j JOIN author a ON a.id=j.author "
            "JOIN changeset c ON c.journal=j.id AND c.counter=j.counter AND c.hash=j.hash "
            "WHERE j.id<>? AND j.told<>j.counter AND j.counter>0",
            (own,),
        )
        return [(HeadRef(*ref), lamport) for *ref, lamport in found]

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
        if state == APPLIED:
            self._db.execute("UPDATE journal SET counter=?, hash=? WHERE id=?", (head.counter, head.changeset, journal))
        source = Source(cursor.lastrowid, head.changeset, changeset.lamport, head.device, changeset.author_name)
        self.sources.add(source)
        return source


@dataclass(frozen=True, slots=True)
class _Newest:
    counter: int
    hash: ChangesetHash
    lamport: int
    roster_number: int
    cid: Cid


def _fitting(records: Sequence[Record], start: int) -> int:
    """How many records from `start` fit one changeset; each node only once."""
    size, nodes = 0, set()
    for index in range(start, min(len(records), start + MAX_RECORDS)):
        record = records[index]
        content = record.content
        size += 200 + (0 if content is None else len(content.blocks) + len(content.target))
        if record.attributes is not None:
            size += sum(len(name) + len(value) for name, value in record.attributes.xattrs)
        if (index > start and size > MAX_RECORD_BYTES) or record.node in nodes:
            return index - start
        nodes.add(record.node)
    return min(len(records) - start, MAX_RECORDS)
