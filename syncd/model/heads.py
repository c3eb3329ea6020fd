"""Pure. Heads: the signed announcement of a changeset, in two parts, because vaults may not read all of it.

    head        [open part (bytes), signature 64, member part (bytes)]
    open part   [1, folder 32, device 32, incarnation 16, counter, epoch 32, cid 32, previous cid 32, length,
                 references 32, commitment 32]
    member part [salt 16, changeset 32, previous 32, pid 32]

The signature (purpose "head") is over the open part. `commitment` is a hash of the member part, which 16 random bytes
of salt make useless to whoever does not know that part: a pid or the hash of a changeset would let a vault, together
with somebody who was once a member, confirm a guess of what it stores. `references` is zero, and reserved for the
hash of the cids that a vault may learn.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ca import codec
from ca.device import DeviceKeys, Purpose, sign, verify
from ca.digest import digest
from ca.errors import RemoteProtocolError
from ca.ids import DeviceId, EpochId, FolderId
from ca.values import dataclass
from syncd.model.changesets import MAX_COUNTER, Changeset, SealedChangeset, open_changeset_untrusted
from syncd.model.cipher import MAX_BLOCK_BYTES, BlockCipher
from syncd.model.ids import (
    HASH_BYTES,
    INCARNATION_BYTES,
    NO_CHANGESET,
    NO_CID,
    ChangesetHash,
    Cid,
    Incarnation,
    Pid,
    cid_of,
)

FORMAT: Final = 1
SALT_BYTES: Final = 16
SIGNATURE_BYTES: Final = 64
MAX_HEAD_BYTES: Final = 512

_NO_REFERENCES: Final = bytes(HASH_BYTES)


@dataclass(frozen=True, slots=True)
class Head:
    """The newest changeset of a journal, where its body is, and its author's signature."""

    folder: FolderId
    device: DeviceId
    incarnation: Incarnation
    counter: int
    epoch: EpochId
    cid: Cid
    previous_cid: Cid
    length: int
    """Bytes of the body before encryption."""
    salt: bytes
    changeset: ChangesetHash
    previous: ChangesetHash
    pid: Pid
    signature: bytes


def sign_head(
    keys: DeviceKeys, cipher: BlockCipher, changeset: Changeset, sealed: SealedChangeset, previous_cid: Cid, salt: bytes
) -> Head:
    """The head that announces a sealed changeset. `salt`: SALT_BYTES fresh random bytes; `previous_cid`: of its
    predecessor in the journal, NO_CID for the first."""
    block = sealed.block
    unsigned = Head(
        changeset.folder,
        changeset.device,
        changeset.incarnation,
        changeset.counter,
        cipher.epoch,
        block.cid,
        previous_cid,
        sealed.length,
        salt,
        sealed.hash,
        changeset.previous,
        block.pid,
        b"",
    )
    return replace(unsigned, signature=sign(keys, Purpose.HEAD, changeset.folder, _open_part(unsigned)))


def verify_head(head: Head, sign_public: bytes) -> None:
    """Check that the device with this signing key made the head. Raises: TrustError."""
    verify(sign_public, Purpose.HEAD, head.folder, _open_part(head), head.signature)


def encode_head(head: Head) -> bytes:
    """The head as it travels between members and is stored; at most MAX_HEAD_BYTES."""
    return codec.encode([_open_part(head), head.signature, _member_part(head)])


def decode_head_untrusted(encoded: bytes) -> Head:
    """A head whose parts belong together; its signature is still unchecked. Raises: RemoteProtocolError."""
    open_bytes, signature, member_bytes = _CHECK_HEAD(codec.decode_untrusted(encoded, max_bytes=MAX_HEAD_BYTES))
    fields = _CHECK_OPEN(codec.decode_untrusted(open_bytes, max_bytes=MAX_HEAD_BYTES))
    salt, changeset, previous, pid = _CHECK_MEMBER(codec.decode_untrusted(member_bytes, max_bytes=MAX_HEAD_BYTES))
    _, folder, device, incarnation, counter, epoch, cid, previous_cid, length, references, commitment = fields
    head = Head(
        folder,
        device,
        incarnation,
        counter,
        epoch,
        cid,
        previous_cid,
        length,
        salt,
        changeset,
        previous,
        pid,
        signature,
    )
    if commitment != _commitment(member_bytes) or references != _NO_REFERENCES:
        raise RemoteProtocolError("the parts of a head do not belong together")
    if (counter == 1) != (head.previous == NO_CHANGESET) or (counter == 1) != (previous_cid == NO_CID):
        raise RemoteProtocolError("a head does not begin its journal where its counter says")
    return head


def open_announced_untrusted(cipher: BlockCipher, head: Head, ciphertext: bytes | memoryview) -> Changeset:
    """The changeset that a head announces. Raises: RemoteProtocolError, and nothing else.

    If the head's signature is good, a mismatch between body and head is the author's doing; a ciphertext that does not
    decrypt is that of the peer who sent it, unless its cid is the head's.
    """
    found, changeset = open_changeset_untrusted(cipher, head.pid, head.length, ciphertext)
    if cid_of(ciphertext) != head.cid:
        raise RemoteProtocolError("a changeset has another public name than its head announces")
    announced = (head.changeset, head.folder, head.device, head.incarnation, head.counter, head.previous)
    if announced != (
        found,
        changeset.folder,
        changeset.device,
        changeset.incarnation,
        changeset.counter,
        changeset.previous,
    ):
        raise RemoteProtocolError("a changeset is not the one that its head announces")
    return changeset


def _open_part(head: Head) -> bytes:
    return codec.encode(
        [
            FORMAT,
            head.folder,
            head.device,
            head.incarnation,
            head.counter,
            head.epoch,
            head.cid,
            head.previous_cid,
            head.length,
            _NO_REFERENCES,
            _commitment(_member_part(head)),
        ]
    )


def _member_part(head: Head) -> bytes:
    return codec.encode([head.salt, head.changeset, head.previous, head.pid])


def _commitment(member_part: bytes) -> bytes:
    return digest("head", member_part)


_HASH: Final = codec.bytes_of(HASH_BYTES)
_PART: Final = codec.bytes_up_to(MAX_HEAD_BYTES)
_CHECK_HEAD: Final = codec.array(_PART, codec.bytes_of(SIGNATURE_BYTES), _PART)
_CHECK_OPEN: Final = codec.array(
    codec.uint(FORMAT, minimum=FORMAT),
    _HASH,
    _HASH,
    codec.bytes_of(INCARNATION_BYTES),
    codec.uint(MAX_COUNTER, minimum=1),
    _HASH,
    _HASH,
    _HASH,
    codec.uint(MAX_BLOCK_BYTES, minimum=1),
    _HASH,
    _HASH,
)
_CHECK_MEMBER: Final = codec.array(codec.bytes_of(SALT_BYTES), _HASH, _HASH, _HASH)
