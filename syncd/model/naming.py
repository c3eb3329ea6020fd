"""Pure. Names within one directory: every child gets one of its own, the same on every device where that is possible.

First the rule that all devices share: of several nodes on one name a directory keeps it before a file, an earlier
move before a later one; the others, and all conflict copies, get a conflict name. Then, for a disk that cannot tell
some of these apart or cannot hold them, this device's own: collision names, which are never published.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from ca.digest import digest
from ca.values import dataclass
from syncd.model.ids import HASH_BYTES, NodeId, VersionId
from syncd.model.join import Stamp
from syncd.model.paths import collision_name, conflict_name
from syncd.treetypes import Personality

ANY_NAME: Final = Personality()
"""A disk that holds every name as it is, such as ext4: only the rule that all devices share applies."""

_HEX_DIGITS: Final = (8, 16, 32, 64)
_TRIMMED: Final = (b".", b" ")


@dataclass(frozen=True, slots=True)
class Child:
    """A node, or a conflict copy of one, that wants a name in a directory."""

    node: NodeId
    copy: VersionId | None
    """None for the node itself, else the version that the copy shows."""
    name: bytes
    """The name that its place gives it; for a copy, that of its node."""
    is_directory: bool
    stamp: Stamp
    """Of the place, or for a copy of its version: its author and version make the conflict name."""


def name_children(
    children: Iterable[Child],
    personality: Personality = ANY_NAME,
    is_taken: Callable[[bytes], bool] = lambda name: False,
) -> dict[bytes, Child]:
    """One name for every child, distinct on a disk of this personality. A function of the set, not of its order.

    `is_taken`: whether a name is the own one of somebody who is not among these."""
    shared = _shared_names(children, is_taken)
    if holds_any(personality):
        return shared
    return _disk_names(shared, personality)


def _shared_names(children: Iterable[Child], is_taken: Callable[[bytes], bool]) -> dict[bytes, Child]:
    named: dict[bytes, Child] = {}
    rest: list[Child] = []
    for child in sorted(children, key=_claim):
        if child.copy is None and child.name not in named:
            named[child.name] = child
        else:
            rest.append(child)
    for child in rest:
        for candidate in _conflict_names(child):
            if candidate not in named and not is_taken(candidate):
                named[candidate] = child
                break
    return named


def _disk_names(shared: dict[bytes, Child], personality: Personality) -> dict[bytes, Child]:
    named: dict[bytes, Child] = {}
    taken: set[bytes] = set()
    rest: list[tuple[bytes, Child]] = []
    for name, child in sorted(shared.items(), key=lambda item: (item[0] != item[1].name, _claim(item[1]))):
        key = disk_key(name, personality)
        if key in taken or not is_legal(name, personality):
            rest.append((name, child))
        else:
            taken.add(key)
            named[name] = child
    for name, child in rest:
        for candidate in _collision_names(_legalised(name, personality), child, personality):
            key = disk_key(candidate, personality)
            if key not in taken:
                taken.add(key)
                named[candidate] = child
                break
    return named


def _claim(child: Child) -> tuple[bool, bool, Stamp, NodeId]:
    """Who comes first when two want one name."""
    return child.copy is not None, not child.is_directory, child.stamp, child.node


def _conflict_names(child: Child) -> Iterator[bytes]:
    author, version = child.stamp.author_name, child.stamp.version
    for digits in _HEX_DIGITS:
        yield conflict_name(child.name, author, version, digits)
    for other in _other_ids(child):
        yield conflict_name(child.name, author, VersionId(other))


def _collision_names(name: bytes, child: Child, personality: Personality) -> Iterator[bytes]:
    for digits in _HEX_DIGITS:
        yield collision_name(name, child.node, digits, personality.name_max)
    for other in _other_ids(child):
        yield collision_name(name, NodeId(other), limit=personality.name_max)


def _other_ids(child: Child) -> Iterator[bytes]:
    """Ever more ids of one child, for when somebody made files with all the names that it could have had."""
    seed = child.node + (child.copy or bytes(HASH_BYTES))
    while True:
        seed = digest("other name", seed)
        yield seed


# --- what a disk can hold --------------------------------------------------------------------------------------------


def disk_key(name: bytes, personality: Personality) -> bytes:
    """Equal for names that are one name on this disk. Bytes that are no UTF-8 stand for themselves."""
    if not personality.case_insensitive and not personality.normalising:
        return name
    if name.isascii():
        return name.lower() if personality.case_insensitive else name
    text = name.decode("utf-8", "surrogateescape")
    if personality.normalising:
        text = unicodedata.normalize("NFC", text)
    if personality.case_insensitive:
        # Folding can undo a normal form and the reverse; twice is stable for every character.
        text = unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold()).casefold()
        text = unicodedata.normalize("NFC", text) if personality.normalising else text
    return text.encode("utf-8", "surrogateescape")


def is_legal(name: bytes, personality: Personality) -> bool:
    """Whether this disk can hold the name."""
    if len(name) > personality.name_max or not personality.illegal.isdisjoint(name):
        return False
    if personality.trims and name.endswith(_TRIMMED):
        return False
    return not personality.utf8_only or _is_utf8(name)


def _legalised(name: bytes, personality: Personality) -> bytes:
    """The name with `_` for what this disk cannot hold; too long still."""
    if personality.utf8_only and not _is_utf8(name):
        name = name.decode("utf-8", "replace").replace("�", "_").encode()
    if personality.trims and name.endswith(_TRIMMED):
        name = name[:-1] + b"_"
    return bytes(0x5F if byte in personality.illegal else byte for byte in name)


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def holds_any(personality: Personality) -> bool:
    """Whether this disk holds every name as it is, and tells any two apart."""
    return not (
        personality.case_insensitive
        or personality.normalising
        or personality.utf8_only
        or personality.illegal
        or personality.name_max < ANY_NAME.name_max
        or personality.trims
    )
