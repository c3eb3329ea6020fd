"""Blocking. The latest changes of a folder: when, by whom, and how many files were added, changed and deleted."""

from __future__ import annotations

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.model.changesets import ITSELF
from syncd.model.heads import decode_head_untrusted
from syncd.model.records import Record
from syncd.store.folder import FolderStore
from syncd.store.journal import QUARANTINED
from syncd.store.keyring import EpochKeyMissing
from syncd.store.moments import arrivals

MOST_BYTES = 4 << 20
"""Of changesets, as they travel, that are opened for one answer."""


@dataclass(slots=True)
class Change:
    """One changeset, counted."""

    id: str
    """The first twelve digits of its hash."""
    time_ms: int
    """When it was made, by its author's word; when it came at the latest, for nobody can have made it later."""
    author: DeviceId
    added: int = 0
    changed: int = 0
    deleted: int = 0
    moved: int = 0
    approves: bool = False
    """Whoever made it let other changesets count, or pass, that waited for a person."""


def db_changes(store: FolderStore, most: int, now_ms: int) -> list[Change]:
    """Of what came last the newest first, as many as were asked for or as fit the bound. What has no key here yet is
    left out. It goes by arrival, because what is dated ahead would else stand before all else for as long."""
    query = (
        "SELECT c.seq, c.time_ms, a.device, c.hash, c.head, c.body FROM changeset c JOIN author a ON a.id=c.author "
        "WHERE c.state<>? ORDER BY c.seq DESC LIMIT ?"
    )
    found: list[Change] = []
    size, came = 0, arrivals(store.connection, now_ms)
    for seq, time_ms, author, name, head, body in store.connection.execute(query, (QUARANTINED, most)):
        size += len(body)
        if size > MOST_BYTES and found:
            break
        change = Change(bytes(name).hex()[:12], min(time_ms, came.of(seq)), DeviceId(author))
        try:
            changeset = store.open_changeset_untrusted(decode_head_untrusted(head), bytes(body))
        except EpochKeyMissing:
            continue
        for record in changeset.records:
            _count(change, record)
        change.approves = not changeset.records or any(one != ITSELF for one in changeset.approves)
        found.append(change)
    return sorted(found, key=lambda one: one.time_ms, reverse=True)


def _count(change: Change, record: Record) -> None:
    """Directories count as files do; attributes alone count as a change."""
    if record.content is None:
        change.moved += record.place is not None
        change.changed += record.place is None
    elif record.content.is_deleted:
        change.deleted += 1
    elif record.replaces_content:
        change.changed += 1
    else:
        change.added += 1
