"""Blocking. What is kept apart, as a person is asked about it, and letting it count because that person says so.

A yes is a changeset of ours that names what was kept apart, as if we had seen it when it counted: every device lets it
count then, by the rule that it has anyway. It frees what was shown, with all its past, and nothing that came since.
"""

from __future__ import annotations

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.errors import SyncdError
from syncd.model.changesets import HeadRef
from syncd.store.apart import db_deny, db_is_denied
from syncd.store.db import Transaction
from syncd.store.folder import FolderStore
from syncd.store.journal import Named, NoRight


@dataclass(frozen=True, slots=True)
class Late:
    """What one device published without the right to. `newest`: its arrival number, as a mark of what was shown;
    `since_ms`: the time label of the oldest; `denied`: a person here has said no to all of it."""

    device: DeviceId
    author: str
    changesets: int
    size_bytes: int
    newest: int
    since_ms: int
    denied: bool


def db_late(store: FolderStore) -> list[Late]:
    """By device, the oldest first."""
    found = store.connection.execute(
        "SELECT a.device, max(c.author_name), p.changesets, p.bytes, max(c.seq), min(c.time_ms) FROM apart p "
        "JOIN author a ON a.id=p.author JOIN changeset c ON c.author=p.author AND c.state=2 "
        "WHERE p.changesets>0 GROUP BY p.author ORDER BY min(c.time_ms), a.device"
    )
    return [
        Late(device, author, changesets, kept_bytes, newest, since_ms, db_is_denied(store.connection, device))
        for device, author, changesets, kept_bytes, newest, since_ms in found.fetchall()
    ]


def db_leave_apart(store: FolderStore, late: Late) -> None:
    """It does not count, and goes on not to; nobody here is asked again until more of it comes."""
    with Transaction(store.connection):
        db_deny(store.connection, late.device, late.newest)


def db_let_count(store: FolderStore, late: Late, now_ms: int) -> int:
    """Say for all devices that it counts; how many changesets were let go of here.

    Raises: NoRight when this device may not write, or may write and not delete and nothing is left that it may."""
    with Transaction(store.connection):
        oldest = store.journal.oldest_quarantined() or 0
        store.journal.vouch(_ends(store, late), store.keyring, store.membership, now_ms)
        newest = store.journal.newest_seq()
        released = store.release_past(store.open_changeset_untrusted(*store.journal.sealed_body(newest)), oldest)
        if not released:
            raise NoRight(
                "this device may not let those changes count", id="SY-SHARE-04", why="They delete, and you may not."
            )
    return released


def _ends(store: FolderStore, late: Late) -> list[Named]:
    """Those of what was shown that no other of it has seen."""
    found = store.connection.execute(
        "SELECT j.id, c.seq, c.lamport, a.device, j.incarnation, c.counter, c.hash FROM changeset c "
        "JOIN journal j ON j.id=c.journal JOIN author a ON a.id=c.author "
        "WHERE a.device=?1 AND c.state=2 AND c.seq<=?2 AND c.seq NOT IN ("
        "SELECT s.seen FROM saw s JOIN changeset o ON o.seq=s.cs WHERE o.author=c.author AND o.state=2 AND o.seq<=?2)",
        (late.device, late.newest),
    )
    return [Named(journal, seq, lamport, HeadRef(*ref)) for journal, seq, lamport, *ref in found]


def has_grown(late: Late) -> SyncdError:
    """For an answer to what was shown before more of it came."""
    return SyncdError(
        f"{late.author or 'that device'} has published more since that was shown",
        id="SY-BRAKE-02",
        fix="syncd requests, then answer with the id that stands there now",
    )
