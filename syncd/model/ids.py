"""Pure. The names of things inside a folder: all hashes or random bytes, each with a type of its own.

A `Pid` names a block's plaintext and never leaves the members; a `Cid` names its ciphertext and is public.
"""

from __future__ import annotations

from typing import Final, NewType

from blake3 import blake3

from ca.digest import digest

NodeId = NewType("NodeId", bytes)
"""One file, directory or symlink; 32 bytes; survives renames and moves."""

Pid = NewType("Pid", bytes)
"""Keyed hash of a block's plaintext; 32 bytes."""

Cid = NewType("Cid", bytes)
"""Hash of a block's ciphertext; 32 bytes."""

VersionId = NewType("VersionId", bytes)
"""One record of one changeset, and so the value that it gave to each register it sets; 32 bytes."""

ChangesetHash = NewType("ChangesetHash", bytes)
"""Hash of a changeset's canonical bytes; 32 bytes; known to members only."""

Incarnation = NewType("Incarnation", bytes)
"""16 random bytes; new for every fresh or doubtful database; (device, incarnation) names a journal."""

HASH_BYTES: Final = 32
INCARNATION_BYTES: Final = 16

ROOT_NODE: Final = NodeId(bytes(HASH_BYTES))
"""The folder's own root: always a directory, never the subject of a record."""

NO_CHANGESET: Final = ChangesetHash(bytes(HASH_BYTES))
"""What the first changeset of a journal names as its previous one."""

NO_CID: Final = Cid(bytes(HASH_BYTES))
"""What the first head of a journal names as its previous ciphertext."""


def cid_of(ciphertext: bytes | bytearray | memoryview) -> Cid:
    """The public name of an encrypted block: plain BLAKE3, so that whoever holds no key can check it too."""
    return Cid(blake3(ciphertext).digest())


def changeset_hash(encoded: bytes) -> ChangesetHash:
    """The name of a changeset: a hash of its canonical bytes."""
    return ChangesetHash(digest("changeset", encoded))


def version_id(changeset: ChangesetHash, index: int) -> VersionId:
    """The name of the record at `index` (from 0) in a changeset."""
    return VersionId(digest("version", changeset + index.to_bytes(4, "big")))


def new_node_id(parent: NodeId, name: bytes, left: VersionId | None) -> NodeId:
    """The id of a node first seen as `name` in `parent`.

    `left` is the last version known to have left that path. Devices that create one path with the same knowledge
    get the same id, so that equal directories coincide without any agreement.
    """
    return NodeId(digest("node", parent + (left or bytes(HASH_BYTES)) + name))
