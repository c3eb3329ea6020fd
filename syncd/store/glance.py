"""Blocking. A look at the disk from its beginning to what it first finds, in one visit to the rows. All `db_`.

Most looks are at a name or two that a watch reported, and find nothing or one file. What such a look needs to know is
asked together: the rules, what waits for a person, the rows of those names, and what stood there before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from ca.values import dataclass
from syncd.model.ignores import Ignores
from syncd.seams import Tree
from syncd.store import counts, filtering
from syncd.store.draft import Examined
from syncd.store.examine import Examination, Previous, examine
from syncd.store.folder import FolderStore
from syncd.store.older import db_is_older
from syncd.store.scan import Action, Found, Gone, Older, Trouble, Walk
from syncd.store.waves import db_held_nodes
from syncd.treetypes import ROOT, Marker, Path, RootState, TreeError

STEP = 2048
"""Names that are looked at before others may ask the rows something."""
HANDFUL, HANDFUL_BYTES = 8, 128 << 10
"""So few, and so little, is read where it was found: it takes less time than another visit to the rows."""
FEW = 64
"""What stood before under so many names is read along with them; of more it may be too much at a time."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a step of a look found. `found` None: all was looked at, this is `missing`, and of these the disk did not
    say whether they are (`refused`)."""

    found: Found | None
    previous: Mapping[Path, Previous] | None = None
    """Earlier contents, where there are few."""
    missing: Sequence[Gone] = ()
    refused: Sequence[Trouble] = ()

    @property
    def is_all_well(self) -> bool:
        """The look is over, nothing is missing, and the disk said all it was asked."""
        return self.found is None and not (self.missing or self.refused)


@dataclass(frozen=True, slots=True)
class Begun:
    """A look at the disk, and its first step. `before`: rules under which all was last looked at, if others."""

    rules: Ignores
    before: Ignores | None
    held: frozenset[int]
    walk: Walk
    first: Seen
    glimpse: Examination | None = None
    """What is in the few small files that the first step found, where nothing stands in the way of any of them."""

    @property
    def is_as_known(self) -> bool:
        """All that was found is small files that hold what they held: nobody has written anything over."""
        if self.glimpse is None or self.glimpse.trouble or self.glimpse.restless:
            return False
        return all(_holds_what_it_held(one, self.first.previous or {}) for one in self.glimpse.examined)


class RootMoved(TreeError):
    """The folder's directory is not what it was."""


def demand_root(tree: Tree, marker: Marker) -> None:
    """Raises RootMoved if the root is not there or not ours."""
    if tree.check_root(marker) is not RootState.OK:
        raise RootMoved("the folder's directory has gone", ROOT)


def db_begin(
    store: FolderStore,
    marker: Marker,
    known: Ignores,
    now_ns: Callable[[], int],
    dirty: Mapping[Path, frozenset[bytes] | None] | None,
    deep: Collection[Path],
) -> Begun:
    """Begin to look at what is `dirty` (None: everything) and at `deep` directories. `known`: the rules until now.

    Raises TreeError, `RootMoved` if the root is not there or not ours.
    """
    demand_root(store.tree, marker)
    if dirty is None:
        opened = store.tree.opened()
        if not db_is_older(store):
            store.older = None
        elif store.older is None or store.looked_at != opened:
            store.older = Older()
        store.looked_at = opened
    elif store.looked_at != store.tree.opened():
        raise RootMoved("another directory stands there now", ROOT)
    connection = store.connection
    rules = filtering.read_rules(store.tree)
    if rules != known:
        filtering.db_reconsider_elsewhere(connection)
    held, before = db_held_nodes(connection), filtering.db_rules_before(connection, rules)
    began_ns = now_ns()
    walk = store.walk(rules.at(began_ns), dirty, deep, None if before is None else before.at(began_ns))
    if dirty is None:
        counts.db_clear_all_problems(connection)
    else:
        whole = [path for path, names in dirty.items() if names is None]
        paths = [(*path, name) for path, names in dirty.items() for name in names or ()]
        counts.db_clear_problems(connection, [*deep, *whole, *paths])
    first = db_look(store, walk)
    return Begun(rules, before, held, walk, first, _maybe_glimpse(store, first, held, now_ns))


def _maybe_glimpse(
    store: FolderStore, first: Seen, held: frozenset[int], now_ns: Callable[[], int]
) -> Examination | None:
    found = first.found
    if found is None or first.previous is None or found.trouble or found.left_out or len(found.items) > HANDFUL:
        return None
    size = sum(item.stat.size for item in found.items)
    if size > HANDFUL_BYTES or any(item.known is not None and item.known.row in held for item in found.items):
        return None
    return examine(store.tree, store.keyring.hasher(), found.items, first.previous, now_ns)


def _holds_what_it_held(found: Examined, previous: Mapping[Path, Previous]) -> bool:
    item, before = found.item, previous.get(found.item.path)
    if item.action is not Action.CHANGED or item.known is None or item.known.is_copy:
        return False
    return found.hashed is not None and before is not None and found.hashed.packed == before.packed


def db_look(store: FolderStore, walk: Walk) -> Seen:
    """The next step, or if it finds nothing and is the last one what is missing."""
    found = walk.step(STEP)
    if found is None or (found.is_empty and walk.is_through):
        missing = walk.missing()
        return Seen(None, missing=missing, refused=walk.refused())
    return Seen(found, store.db_previous(found.items) if len(found.items) <= FEW else None)


def db_look_also(store: FolderStore, walk: Walk, names: Mapping[Path, frozenset[bytes] | None]) -> Seen:
    """The next step after a look that was through, at names that were told meanwhile."""
    walk.also(names)
    return db_look(store, walk)
