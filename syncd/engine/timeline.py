"""Pure. The time line: which tree was it at some moment, and how do two moments differ.

State at time T is made of all changesets with a time label up to T and of everything these had seen (`counting`). What
follows from their records is what always follows from records (`model.join`, `model.view`): there is no second law for
the past. A clock that is wrong can so show a change too early or too late; it can never tear a change from what it was
made upon.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import TypeVar

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.model.ids import NodeId, VersionId
from syncd.model.join import NodeState
from syncd.model.paths import Path
from syncd.model.records import DIRECTORY, Attributes, Content, ContentKind
from syncd.model.view import Item, view

Name = TypeVar("Name")


def counting(labels: Mapping[Name, int], seen: Mapping[Name, Iterable[Name]], at: int) -> set[Name]:
    """The changesets of which the state at `at` is made. `labels`: their times; `seen`: what each names."""
    found: set[Name] = set()
    waiting = [name for name, label in labels.items() if label <= at]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(seen.get(name, ()))
    return found


@dataclass(frozen=True, slots=True)
class Seen:
    """One name in a tree of the past. `version`: of the content; `author`: who wrote it; None where nobody did."""

    node: NodeId
    copy: VersionId | None
    content: Content
    attributes: Attributes
    version: VersionId | None
    author: DeviceId | None

    @property
    def is_directory(self) -> bool:
        return self.content.is_directory

    def same_as(self, other: Seen) -> bool:
        """Equal for whoever looks: bytes, mode and time. (A directory has no time; a copy's are not its own.)"""
        if not self.content.same_as(other.content):
            return False
        mine, theirs = self.attributes, other.attributes
        if self.content.kind is ContentKind.SYMLINK or self.copy is not None or other.copy is not None:
            return True
        return mine.mode == theirs.mode and (self.is_directory or mine.mtime_ns == theirs.mtime_ns)


Tree = Mapping[Path, Seen]


def tree_of(states: Mapping[NodeId, NodeState]) -> dict[Path, Seen]:
    """The tree that these states describe, under the names that all devices share; directories come first."""
    return {path: _seen(item) for path, item in view(states).walk()}


def _seen(item: Item) -> Seen:
    attributes = Attributes() if item.attributes is None else item.attributes.value
    if item.content is None:
        return Seen(item.node, item.copy, DIRECTORY, attributes, None, None)
    return Seen(item.node, item.copy, item.content.value, attributes, item.content.version, item.content.stamp.author)


def below(tree: Tree, path: Path) -> dict[Path, Seen]:
    """What stands at a path and in it."""
    return {at: seen for at, seen in tree.items() if at[: len(path)] == path}


# --- two moments -----------------------------------------------------------------------------------------------------


class Change(Enum):
    """What happened to a name between two moments."""

    ADDED = "added"
    CHANGED = "changed"
    ATTRIBUTES = "attributes"
    MOVED = "moved"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Difference:
    """One name that is not the same at both moments. `path`: at the later one, unless it is gone then."""

    change: Change
    path: Path
    before: Seen | None
    after: Seen | None
    moved_from: Path | None = None


def difference(before: Tree, after: Tree) -> list[Difference]:
    """Everything that differs, by path. A node that has another path, or stands in a moved directory, is *moved*; what
    stands at its old path is *added*, however equal it is."""
    where_before = {(seen.node, seen.copy): path for path, seen in before.items()}
    where_after = {(seen.node, seen.copy): path for path, seen in after.items()}
    found: list[Difference] = []
    for path, seen in after.items():
        was = where_before.get((seen.node, seen.copy))
        if was is not None and was != path:
            change = Change.MOVED if before[was].content.same_as(seen.content) else Change.CHANGED
            found.append(Difference(change, path, before[was], seen, was))
            continue
        there = before.get(path)
        if there is None or where_after.get((there.node, there.copy), path) != path:
            found.append(Difference(Change.ADDED, path, None, seen))
        elif not there.same_as(seen):
            same = there.content.same_as(seen.content)
            found.append(Difference(Change.ATTRIBUTES if same else Change.CHANGED, path, there, seen))
    for path, seen in before.items():
        if (seen.node, seen.copy) not in where_after and path not in after:
            found.append(Difference(Change.DELETED, path, seen, None))
    return sorted(found, key=lambda one: one.path)


def counts(differences: Sequence[Difference]) -> dict[Change, int]:
    """How many of each kind."""
    return {change: sum(one.change is change for one in differences) for change in Change}
