"""Blocking. All that `status` says of a folder's rows, and what its planner and scanner go by next, in one visit.

Every change ends with this, on every device that it comes to, so it is one question and not seven; and rows that nobody
has touched since are not counted again.
"""

from __future__ import annotations

from typing import NamedTuple

from ca.values import dataclass
from syncd.engine.retention import Policy
from syncd.store import pruning
from syncd.store.apart import Apart, db_apart
from syncd.store.counts import Counts, Problem, db_counts, db_drop_solved, db_next_retry, db_problems
from syncd.store.folder import FolderStore
from syncd.store.standing import has_pending_strays


@dataclass(frozen=True, slots=True)
class Tally:
    """What the rows say of the whole folder. `changes`: SQLite's count of changed rows when they said so."""

    counts: Counts
    problems: list[Problem]
    apart: list[Apart]
    has_strays: bool
    """The planner waits for something that stands where no walk comes."""
    has_problems: bool
    promise: Policy
    """What this device promises to keep."""
    changes: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A tally, and what does not depend on rows alone."""

    tally: Tally
    copies_wanted: int
    next_retry: float | None
    """When something that failed is due again."""


class Counted(NamedTuple):
    """What was counted, and how long that took."""

    standing: Standing
    took_s: float


def db_standing(store: FolderStore, before: Tally | None, swept_at: float) -> Standing:
    """`before`: what was found the last time. `swept_at`: when the planner last looked at everything."""
    connection = store.connection
    if before is not None and before.changes == connection.total_changes and not before.has_problems:
        return Standing(before, pruning.copies(store, before.promise), None)
    has_problems = db_drop_solved(connection)
    changes = connection.total_changes
    tally = before
    if tally is None or tally.changes != changes:
        problems = db_problems(connection) if has_problems else []
        promise = pruning.db_policy(store)
        has_strays = has_pending_strays(connection)
        tally = Tally(db_counts(connection), problems, db_apart(connection), has_strays, has_problems, promise, changes)
    due = db_next_retry(connection, swept_at) if has_problems else None
    return Standing(tally, pruning.copies(store, tally.promise), due)
