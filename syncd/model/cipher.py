"""Pure. The only way to encrypt a block: `BlockCipher.seal`.

Convergent on purpose: key and nonce follow from the plaintext's own keyed hash (pid), so any member that holds a plain
file makes the identical ciphertext, files are served straight from the user's folder, and one key with one nonce
never meets two plaintexts. No function takes a pid together with bytes to encrypt: a pid is always computed from the
very buffer that is encrypted.

    pid key      = BLAKE3 derive_key("syncd/1 pid KIND", id key)                 KIND: data list changeset checkpoint
    pid          = BLAKE3 keyed(pid key, plaintext)
    key | nonce  = BLAKE3 keyed(content or metadata key,                         44 bytes: 32 + 12
                                format u8 = 1 | kind u8 | folder 32 | epoch 32 | pid 32 | length u32, big-endian)
    ciphertext   = AES-256-GCM(key, nonce, plaintext + zeros up to padded_length(length)), no associated data, tag last
    cid          = BLAKE3(ciphertext)

Data and lists are under the content key; changesets and checkpoints under the metadata key.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import Final, NamedTuple

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ca.digest import derive
from ca.errors import RemoteProtocolError
from ca.ids import EpochId, FolderId
from syncd.model.ids import Cid, Pid, cid_of

Buffer = bytes | bytearray | memoryview

FORMAT: Final = 1
TAG_BYTES: Final = 16
MAX_BLOCK_BYTES: Final = 8 * 1024 * 1024
"""Most bytes of plaintext in a block of any kind; the cutter's coarsest maximum."""

_KEY_BYTES: Final = 32
_KEY_AND_NONCE_BYTES: Final = 44


class BlockRefused(RemoteProtocolError):
    """A ciphertext is not the block that it was said to be. Ask another peer; this one is wrong or lies."""


class BlockKind(IntEnum):
    """What a block holds; the value enters pid and key, so no block can pass for one of another kind."""

    DATA = 1
    LIST = 2
    CHANGESET = 3
    CHECKPOINT = 4


class Padding(IntEnum):
    """How a folder hides exact sizes; fixed at genesis."""

    NONE = 0
    PADME = 1


class Sealed(NamedTuple):
    """An encrypted block. `ciphertext` is a view of the given target, or of the cipher's buffer, valid until its next
    `seal`."""

    pid: Pid
    cid: Cid
    ciphertext: memoryview


class BlockCipher:
    """Seals and opens the blocks of one folder in one epoch. One object per thread: it owns two reused buffers.

    Reused, because encrypting into fresh memory costs more in page faults than the cipher does.
    """

    def __init__(
        self,
        folder: FolderId,
        epoch: EpochId,
        *,
        id_key: bytes,
        content_key: bytes,
        metadata_key: bytes,
        padding: Padding = Padding.NONE,
    ) -> None:
        self.folder = folder
        self.epoch = epoch
        self._padding = padding
        self._pid_keys = {kind: _pid_key(id_key, kind) for kind in BlockKind}
        # A primed hasher for each kind: everything of the key derivation that is the same for all its blocks.
        self._key_hashers = {
            kind: blake3(
                bytes((FORMAT, kind)) + folder + epoch,
                key=content_key if kind in (BlockKind.DATA, BlockKind.LIST) else metadata_key,
            )
            for kind in BlockKind
        }
        self._output = memoryview(bytearray())
        self._padded = memoryview(bytearray())

    def pid(self, kind: BlockKind, plaintext: Buffer) -> Pid:
        """The name of a plaintext, the same in every epoch of the folder."""
        return Pid(blake3(plaintext, key=self._pid_keys[kind]).digest())

    def seal(self, kind: BlockKind, plaintext: Buffer, target: memoryview | None = None) -> Sealed:
        """Encrypt a block of 1 to MAX_BLOCK_BYTES bytes, into the front of `target` if there is one. Nothing else may
        write to `plaintext` meanwhile."""
        pid, ciphertext = self.seal_again(kind, plaintext, target)
        return Sealed(pid, cid_of(ciphertext), ciphertext)

    def seal_again(
        self, kind: BlockKind, plaintext: Buffer, target: memoryview | None = None
    ) -> tuple[Pid, memoryview]:
        """The same for who knows the cid that belongs to a pid: hashing the ciphertext costs more than encrypting."""
        length = len(plaintext)
        if not 0 < length <= MAX_BLOCK_BYTES:
            raise ValueError(f"a block of {length} bytes")
        pid = Pid(blake3(plaintext, key=self._pid_keys[kind]).digest())
        aead, nonce = self._key(kind, pid, length)
        padded = plaintext if self._padding is Padding.NONE else self._pad(plaintext, length)
        size = len(padded) + TAG_BYTES
        if target is None:
            if size > len(self._output):
                self._output = memoryview(bytearray(_capacity(size)))
            target = self._output
        ciphertext = target[:size]
        aead.encrypt_into(nonce, padded, None, ciphertext)
        return pid, ciphertext

    def open_untrusted(self, kind: BlockKind, pid: Pid, length: int, ciphertext: Buffer) -> bytes:
        """The plaintext of a block whose pid and length are known. Raises: BlockRefused, and nothing else."""
        return bytes(self._open(kind, pid, length, ciphertext))

    def open_into_untrusted(
        self, kind: BlockKind, pid: Pid, length: int, ciphertext: Buffer, target: memoryview
    ) -> None:
        """As `open_untrusted`, into `target`, which has exactly `length` bytes; after a refusal its content is void."""
        if len(target) != length:
            raise ValueError("the target has another length than the block")
        self._open(kind, pid, length, ciphertext, target)

    def sealed_length(self, length: int) -> int:
        """How many bytes of ciphertext a block of `length` bytes becomes."""
        return padded_length(length, self._padding) + TAG_BYTES

    def _key(self, kind: BlockKind, pid: Pid, length: int) -> tuple[AESGCM, bytes]:
        hasher = self._key_hashers[kind].copy()
        hasher.update(pid + length.to_bytes(4, "big"))
        derived = hasher.digest(_KEY_AND_NONCE_BYTES)
        return AESGCM(derived[:_KEY_BYTES]), derived[_KEY_BYTES:]

    def _pad(self, plaintext: Buffer, length: int) -> Buffer:
        padded = padded_length(length, self._padding)
        if padded == length:
            return plaintext
        buffer = self._padding_buffer(padded)
        buffer[:length] = plaintext
        buffer[length:] = bytes(padded - length)
        return buffer

    def _open(
        self, kind: BlockKind, pid: Pid, length: int, ciphertext: Buffer, target: memoryview | None = None
    ) -> memoryview:
        if not 0 < length <= MAX_BLOCK_BYTES or len(ciphertext) != self.sealed_length(length):
            raise BlockRefused("a block has another length than its list says")
        padded = padded_length(length, self._padding)
        opened = target if target is not None and padded == length else self._padding_buffer(padded)
        aead, nonce = self._key(kind, pid, length)
        try:
            aead.decrypt_into(nonce, ciphertext, None, opened)
        except InvalidTag:
            raise BlockRefused("a block does not decrypt: it was damaged or forged") from None
        plaintext = opened[:length]
        if blake3(plaintext, key=self._pid_keys[kind]).digest() != pid:
            raise BlockRefused("a block decrypts to another content than its name says")
        if padded != length and bytes(opened[length:]).count(0) != padded - length:
            raise BlockRefused("a block is padded with something else than zeros")
        if target is not None and opened is not target:
            target[:] = plaintext
        return plaintext

    def _padding_buffer(self, size: int) -> memoryview:
        if size > len(self._padded):
            self._padded = memoryview(bytearray(_capacity(size)))
        return self._padded[:size]


def padded_length(length: int, padding: Padding) -> int:
    """The length of the plaintext that is encrypted for `length` bytes: a function of the length alone.

    Padmé (Nikitin et al., PETS 2019) keeps only the leading bits of a size: at most 12 % more, log log n bits leak.
    """
    if padding is Padding.NONE or length < 2:
        return length
    exponent = length.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (length + mask) & ~mask


@lru_cache(4096)
def max_ciphertext(length: int) -> int:
    """The longest ciphertext of a block of `length` bytes, however its folder pads."""
    return padded_length(length, Padding.PADME) + TAG_BYTES


def _pid_key(id_key: bytes, kind: BlockKind) -> bytes:
    return derive(id_key, f"pid {kind.name.lower()}")


def _capacity(size: int) -> int:
    """Buffers grow by doubling, so that a mix of sizes does not allocate one for each."""
    return 1 << max(16, (size - 1).bit_length())
