"""Pure. The law of registers: what all devices conclude from the same records, in whatever order these arrived.

The state of a node is a join-semilattice: `join_states` is commutative, associative and idempotent, and joining a
record is joining the state that holds nothing but this record (tests/property/test_join.py). No clock is involved:
which content versions are in conflict follows from what each one says it replaces.

A store that joins changesets in causal order, each once, meets a replaced version always after it was stored. It may
then forget `replaced`, which here makes the law hold for any set of records.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Final, Generic, TypeVar

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.model.changesets import Changeset
from syncd.model.ids import ChangesetHash, VersionId, version_id
from syncd.model.records import Attributes, Content, Place, Record

Value_co = TypeVar("Value_co", covariant=True)


@dataclass(frozen=True, slots=True, order=True)
class Stamp:
    """Who gave a value, and its rank in the total order of all records.

    The Lamport number of a changeset exceeds those of all it had seen, so a value ranks above every one it replaces.
    """

    lamport: int
    author: DeviceId
    index: int
    version: VersionId
    author_name: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Versioned(Generic[Value_co]):
    """A value of a register, and where it comes from."""

    stamp: Stamp
    value: Value_co

    @property
    def version(self) -> VersionId:
        return self.stamp.version


@dataclass(frozen=True, slots=True)
class NodeState:
    """What is known of one node. Canonical: equal knowledge is an equal value."""

    heads: tuple[Versioned[Content], ...] = ()
    """Content versions that no known record replaces, ascending by stamp."""
    replaced: frozenset[VersionId] = frozenset()
    places: tuple[Versioned[Place], ...] = ()
    """Every place it was ever given, ascending; the last is where it is, unless the view must undo that move."""
    attributes: Versioned[Attributes] | None = None

    @property
    def place(self) -> Versioned[Place] | None:
        """The greatest place, if any is known."""
        return self.places[-1] if self.places else None


UNKNOWN: Final = NodeState()


def join_record(state: NodeState, record: Record, stamp: Stamp) -> NodeState:
    """The state after one more record."""
    return join_states(state, state_of(record, stamp))


def state_of(record: Record, stamp: Stamp) -> NodeState:
    """The state of a node of which this record is all that is known."""
    return NodeState(
        heads=() if record.content is None else (Versioned(stamp, record.content),),
        replaced=frozenset(record.replaces_content),
        places=() if record.place is None else (Versioned(stamp, record.place),),
        attributes=None if record.attributes is None else Versioned(stamp, record.attributes),
    )


def join_states(one: NodeState, other: NodeState) -> NodeState:
    """What follows from both together. Linear in their sizes."""
    replaced = one.replaced | other.replaced
    heads = join_versions(one.heads, other.heads)
    return NodeState(
        heads=tuple(head for head in heads if head.version not in replaced),
        replaced=replaced,
        places=join_versions(one.places, other.places),
        attributes=later(one.attributes, other.attributes),
    )


Register = TypeVar("Register")


def join_versions(
    one: tuple[Versioned[Register], ...], other: tuple[Versioned[Register], ...]
) -> tuple[Versioned[Register], ...]:
    """Both sets of versions as one, ascending, each version once."""
    if not other:
        return one
    if not one:
        return other
    return tuple(sorted({item.version: item for item in (*one, *other)}.values(), key=_rank))


def later(one: Versioned[Register] | None, other: Versioned[Register] | None) -> Versioned[Register] | None:
    """The greater of two values: the rule for places and attributes that were set concurrently."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=_rank)


def _rank(item: Versioned[object]) -> Stamp:
    return item.stamp


def stamps(hash_: ChangesetHash, changeset: Changeset) -> Iterable[Stamp]:
    """The stamp of every record of a changeset, in order."""
    lamport, author, name = changeset.lamport, changeset.device, changeset.author_name
    for index in range(len(changeset.records)):
        yield Stamp(lamport, author, index, version_id(hash_, index), name)


# --- what the heads of one node mean ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """The content heads of one node, decided."""

    shown: Versioned[Content] | None
    """What stands under the node's own name; None if every head is a deletion, or there is none."""
    copies: tuple[Versioned[Content], ...] = ()
    """Other contents that live as conflict copies, greatest first."""

    @property
    def is_directory(self) -> bool:
        return self.shown is not None and self.shown.value.is_directory


def decide(heads: tuple[Versioned[Content], ...]) -> Verdict:
    """Which head is shown, and which are conflict copies.

    A deletion loses to every other content. Equal contents are one, represented by their greatest version. The
    greatest is shown, but a directory before any file, for the sake of what is in it.
    """
    if len(heads) == 1:  # nearly always
        return Verdict(None if heads[0].value.is_deleted else heads[0])
    distinct: dict[object, Versioned[Content]] = {}
    for head in reversed(heads):
        if not head.value.is_deleted:
            distinct.setdefault(head.value.identity, head)
    if not distinct:
        return Verdict(None)
    living = list(distinct.values())
    shown = next((head for head in living if head.value.is_directory), living[0])
    return Verdict(shown, tuple(head for head in living if head is not shown))
