"""Pure. Records: what one changeset says about one node.

A node has three registers: content, place, attributes. A record sets one or more of them and names, for each, the
versions that it replaces. As CBOR (shapes are arrays, for speed; `?` may be null, at least one register is not):

    record      [node 32, content?, place?, attributes?]
    content     [replaces, 1, class, size, blocks]              file; blocks: packed entries, at most 1,024
                [replaces, 2, class, size, parts, digest 32]    file; parts: packed entries of its list of lists
                [replaces, 3]                                   directory
                [replaces, 4, target]                           symlink
                [replaces, 5]                                   deleted
    place       [replaces, parent 32, name]
    attributes  [replaces, mode?, mtime_ns?, xattrs]            xattrs: [name, value, name, value, …], names ascending;
                                                                which names: `xattrs.travels`
    replaces    version ids (32 bytes each), packed, ascending, each once
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from itertools import pairwise
from typing import Any, Final, NamedTuple

from ca.codec import Encodable, Encoded, encoded_bytes, encoded_uint
from ca.errors import RemoteProtocolError
from syncd.model.cutter import CutClass
from syncd.model.ids import HASH_BYTES, ROOT_NODE, NodeId, VersionId
from syncd.model.lists import (
    ENTRY_BYTES,
    MAX_LIST_ENTRIES,
    MAX_PARTS,
    MIN_PART_ENTRIES,
    BlockList,
    check_packed_untrusted,
)
from syncd.model.paths import validate_name_untrusted
from syncd.model.xattrs import MAX_XATTRS, Xattrs, is_valid

MAX_SIZE: Final = (1 << 63) - 1
MAX_REPLACES: Final = 1024
MAX_TARGET_BYTES: Final = 4095
MODE_BITS: Final = 0o777

_MAX_TIME: Final = 1 << 63


class ContentKind(IntEnum):
    """What a node is."""

    FILE = 1
    DIRECTORY = 3
    SYMLINK = 4
    DELETED = 5


_FILE: Final = 1
_FILE_OF_PARTS: Final = 2
_DIRECTORY: Final = 3
_SYMLINK: Final = 4
_DELETED: Final = 5
_CLASSES: Final[tuple[CutClass, ...]] = tuple(CutClass)


class Content(NamedTuple):
    """A value of the content register. Build it by `file_of`, `file_of_parts`, `symlink_to`, `DIRECTORY`, `DELETED`."""

    kind: ContentKind
    cut_class: CutClass = CutClass.SMALL
    size: int = 0
    blocks: bytes = b""
    """Packed entries: the blocks of the file, or with `is_index` the parts of its list."""
    is_index: bool = False
    digest: bytes = b""
    """Only with `is_index`: `BlockList.digest()` of the whole list."""
    target: bytes = b""

    @property
    def is_deleted(self) -> bool:
        return self.kind is ContentKind.DELETED

    @property
    def is_directory(self) -> bool:
        return self.kind is ContentKind.DIRECTORY

    @property
    def list(self) -> BlockList:
        """The entries of `blocks`."""
        return BlockList(self.blocks)

    @property
    def identity(self) -> tuple[ContentKind, int, bytes]:
        """Equal for equal bytes: by pids, whatever epochs the blocks were encrypted in."""
        match self.kind:
            case ContentKind.FILE if self.is_index:
                return self.kind, self.size, self.digest
            case ContentKind.FILE:
                return self.kind, self.size, b"".join(self.list.pids())
            case _:
                return self.kind, 0, self.target

    def same_as(self, other: Content) -> bool:
        """Whether both mean the same bytes (directory, target, absence)."""
        return self is other or self.identity == other.identity


DIRECTORY: Final = Content(ContentKind.DIRECTORY)
DELETED: Final = Content(ContentKind.DELETED)
_BARE_CONTENTS: Final = {_DIRECTORY: DIRECTORY, _DELETED: DELETED}


def file_of(cut_class: CutClass, size: int, blocks: bytes) -> Content:
    """A file of at most MAX_LIST_ENTRIES blocks."""
    return Content(ContentKind.FILE, cut_class, size, blocks)


def file_of_parts(cut_class: CutClass, size: int, parts: bytes, digest: bytes) -> Content:
    """A file whose list is split: `parts` are the packed entries of the sealed parts, `digest` that of the whole."""
    return Content(ContentKind.FILE, cut_class, size, parts, is_index=True, digest=digest)


def symlink_to(target: bytes) -> Content:
    """A symbolic link; the target is data and never followed."""
    return Content(ContentKind.SYMLINK, target=target)


class Place(NamedTuple):
    """A value of the place register: the node is called `name` in `parent`."""

    parent: NodeId
    name: bytes


class Attributes(NamedTuple):
    """A value of the attributes register. A directory has no mtime, a symlink neither mode nor mtime."""

    mode: int | None = None
    mtime_ns: int | None = None
    xattrs: Xattrs = ()


Versions = tuple[VersionId, ...]


class Record(NamedTuple):
    """The registers of one node that a changeset sets, each with the versions it replaces (ascending, each once)."""

    node: NodeId
    content: Content | None = None
    replaces_content: Versions = ()
    place: Place | None = None
    replaces_place: Versions = ()
    attributes: Attributes | None = None
    replaces_attributes: Versions = ()


# --- encoding --------------------------------------------------------------------------------------------------------


_NEW_FILE: Final = b"\x84\x58\x20%b\x85\x40\x01%b%b%b\x83\x40\x58\x20%b%b\x84\x40%b%b\x80"
"""A record of a new file: node; class, size, blocks; parent, name; mode, mtime."""
_GONE: Final = b"\x84\x58\x20%b\x82\x58\x20%b\x05\xf6\xf6"
"""A record of a deletion: node; the one version that it replaces."""


def encodable(record: Record) -> Encodable:
    """What `ca.codec` takes for a record: its value. New files, which are nearly all records of a first index, and
    deletions, of which a wave is made, come encoded: piece by piece they would take several times as long."""
    node, content, replaced, place, _, attributes, _ = record
    if content is DELETED and place is None and attributes is None and len(replaced) == 1:
        return Encoded(_GONE % (node, replaced[0]))
    if (
        content is None
        or place is None
        or attributes is None
        or any(record[2::2])  # it replaces something
        or content.kind is not ContentKind.FILE
        or content.is_index
        or attributes.xattrs
        or attributes.mode is None
        or attributes.mtime_ns is None
        or attributes.mtime_ns < 0
    ):
        return record_value(record)
    return Encoded(
        _NEW_FILE
        % (
            node,
            encoded_uint(content.cut_class),
            encoded_uint(content.size),
            encoded_bytes(content.blocks),
            place.parent,
            encoded_bytes(place.name),
            encoded_uint(attributes.mode),
            encoded_uint(attributes.mtime_ns),
        )
    )


def record_value(record: Record) -> list[Encodable]:
    """The value of a record, piece by piece."""
    content, place, attributes = record.content, record.place, record.attributes
    return [
        record.node,
        None if content is None else [b"".join(record.replaces_content), *_content_fields(content)],
        None if place is None else [b"".join(record.replaces_place), place.parent, place.name],
        None
        if attributes is None
        else [
            b"".join(record.replaces_attributes),
            attributes.mode,
            attributes.mtime_ns,
            [item for pair in attributes.xattrs for item in pair],
        ],
    ]


def _content_fields(content: Content) -> tuple[Encodable, ...]:
    match content.kind:
        case ContentKind.FILE if content.is_index:
            return (_FILE_OF_PARTS, int(content.cut_class), content.size, content.blocks, content.digest)
        case ContentKind.FILE:
            return (_FILE, int(content.cut_class), content.size, content.blocks)
        case ContentKind.SYMLINK:
            return (_SYMLINK, content.target)
        case kind:
            return (int(kind),)


# --- decoding: every field is checked, so that a Record is valid wherever it turns up --------------------------------


def record_untrusted(value: Any) -> Record:
    """A record from a decoded value. Raises: RemoteProtocolError, and nothing else."""
    try:
        node, content, place, attributes = value
        _require(type(value) is list and type(node) is bytes and len(node) == HASH_BYTES and node != ROOT_NODE)
        _require(content is not None or place is not None or attributes is not None)
        return Record(
            node,
            *((None, ()) if content is None else _content_untrusted(content)),
            *((None, ()) if place is None else _place_untrusted(place, node)),
            *((None, ()) if attributes is None else _attributes_untrusted(attributes)),
        )
    except (TypeError, ValueError):  # unpacking something of another shape
        raise RemoteProtocolError("a record has another shape than the format allows") from None


def _require(condition: bool) -> None:
    if not condition:
        raise RemoteProtocolError("a record has a value that the format does not allow")


def _content_untrusted(value: Any) -> tuple[Content, Versions]:
    _require(type(value) is list and len(value) >= 2)
    replaces = _replaces_untrusted(value[0])
    tag = value[1]
    _require(type(tag) is int)
    if tag == _FILE:
        _, _, cut_class, size, blocks = value
        _require(type(size) is int and type(blocks) is bytes)
        _require(size == check_packed_untrusted(blocks, MAX_LIST_ENTRIES))
        return Content(ContentKind.FILE, _class_untrusted(cut_class), size, blocks), replaces
    if tag == _FILE_OF_PARTS:
        _, _, cut_class, size, parts, digest = value
        _require(type(size) is int and 0 < size <= MAX_SIZE and type(parts) is bytes)
        _require(type(digest) is bytes and len(digest) == HASH_BYTES)
        _check_parts_untrusted(parts)
        return Content(ContentKind.FILE, _class_untrusted(cut_class), size, parts, True, digest), replaces
    if tag == _SYMLINK:
        _, _, target = value
        _require(type(target) is bytes and 0 < len(target) <= MAX_TARGET_BYTES and b"\0" not in target)
        return symlink_to(target), replaces
    _require(len(value) == 2 and tag in _BARE_CONTENTS)
    return _BARE_CONTENTS[tag], replaces


def _check_parts_untrusted(parts: bytes) -> None:
    check_packed_untrusted(parts, MAX_PARTS)
    lengths = [entry.length for entry in BlockList(parts)]
    _require(len(lengths) > 1)
    _require(all(length % ENTRY_BYTES == 0 and length <= MAX_LIST_ENTRIES * ENTRY_BYTES for length in lengths))
    _require(all(length >= MIN_PART_ENTRIES * ENTRY_BYTES for length in lengths[:-1]))


def _class_untrusted(value: Any) -> CutClass:
    _require(type(value) is int and 0 <= value < len(_CLASSES))
    cut_class: CutClass = _CLASSES[value]
    return cut_class


def _place_untrusted(value: Any, node: bytes) -> tuple[Place, Versions]:
    replaces, parent, name = value
    _require(type(parent) is bytes and len(parent) == HASH_BYTES and parent != node and type(name) is bytes)
    return Place(NodeId(parent), validate_name_untrusted(name)), _replaces_untrusted(replaces)


def _attributes_untrusted(value: Any) -> tuple[Attributes, Versions]:
    replaces, mode, mtime_ns, xattrs = value
    _require(mode is None or (type(mode) is int and 0 <= mode <= MODE_BITS))
    _require(mtime_ns is None or (type(mtime_ns) is int and -_MAX_TIME <= mtime_ns < _MAX_TIME))
    _require(type(xattrs) is list)
    return Attributes(mode, mtime_ns, _xattrs_untrusted(xattrs) if xattrs else ()), _replaces_untrusted(replaces)


def _xattrs_untrusted(flat: list[Any]) -> Xattrs:
    _require(len(flat) % 2 == 0 and len(flat) <= 2 * MAX_XATTRS and all(type(item) is bytes for item in flat))
    xattrs = tuple(zip(flat[::2], flat[1::2], strict=True))
    _require(is_valid(xattrs))
    return xattrs


def _replaces_untrusted(packed: Any) -> Versions:
    if packed == b"" and type(packed) is bytes:
        return ()
    _require(type(packed) is bytes and len(packed) % HASH_BYTES == 0 and len(packed) <= MAX_REPLACES * HASH_BYTES)
    versions = tuple(VersionId(packed[at : at + HASH_BYTES]) for at in range(0, len(packed), HASH_BYTES))
    _require(_ascending(versions))
    return versions


def _ascending(items: Sequence[bytes]) -> bool:
    return all(earlier < later for earlier, later in pairwise(items))
