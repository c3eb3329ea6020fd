"""Blocking. All that `status` says of a folder's rows, and what its planner and scanner go by next, in one visit.

Every change ends with this, on every device that it comes to, so it is one question and not seven; and rows that nobody
has touched since are not counted again.
"""

from __future__ import annotations

from ca.values import dataclass
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
    changes: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A tally, and what does not depend on rows alone."""

    tally: Tally
    copies_wanted: int
    next_retry: float | None
    """When something that failed is due again."""


def db_standing(store: FolderStore, before: Tally | None, swept_at: float) -> Standing:
    """`before`: what was found the last time. `swept_at`: when the planner last looked at everything."""
    connection = store.connection
    db_drop_solved(connection)
    changes = connection.total_changes
    tally = before
    if tally is None or tally.changes != changes:
        has_strays = has_pending_strays(connection)
        tally = Tally(db_counts(connection), db_problems(connection), db_apart(connection), has_strays, changes)
    return Standing(tally, pruning.db_copies(store), db_next_retry(connection, swept_at))
