"""Pure, but for the randomness that HPKE draws by itself. An epoch's secret, sealed to each device and proved complete.

A *wrap* is the secret sealed to one recipient. Wraps stand outside the roster entry, which carries only the root of a
Merkle tree over all of them: a device fetches its own with a short proof, and nobody can slip it another. What seals is
handed in as a `Sealer`, because HPKE cannot be made to repeat itself for a simulation.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from ca.codec import Encodable, array, bytes_of, decode_untrusted, encode, list_of, uint
from ca.device import split_seal_seed
from ca.digest import digest
from ca.epochs import SECRET_BYTES
from ca.errors import CodecError, TrustError
from ca.ids import DeviceId, EntryHash, FolderId
from ca.values import dataclass

MAX_WRAP_BYTES: Final = 2048
MAX_RECIPIENTS: Final = 1 << 15
_MAX_PROOF_STEPS: Final = 15


class Sealer(Protocol):
    """Public-key encryption to one recipient, bound to `info`."""

    def seal(self, seal_public: bytes, plaintext: bytes, info: bytes) -> bytes:
        """Raises TrustError when the public key is unusable."""

    def open(self, seal_seed: bytes, wrap: bytes, info: bytes) -> bytes:
        """Raises TrustError when this was not sealed to this key with this info."""


class HpkeSealer:
    """RFC 9180 in base mode with the ML-KEM-768 and X25519 hybrid: about 1.2 KB and 0.1 ms for each recipient."""

    def __init__(self) -> None:
        self._suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)

    def seal(self, seal_public: bytes, plaintext: bytes, info: bytes) -> bytes:
        try:
            lattice = MLKEM768PublicKey.from_public_bytes(seal_public[:-32])
            curve = X25519PublicKey.from_public_bytes(seal_public[-32:])
            return self._suite.encrypt(plaintext, MLKEM768X25519PublicKey(lattice, curve), info=info)
        except ValueError:
            raise TrustError("a device has a sealing key that cannot be used") from None

    def open(self, seal_seed: bytes, wrap: bytes, info: bytes) -> bytes:
        try:
            return self._suite.decrypt(wrap, MLKEM768X25519PrivateKey(*split_seal_seed(seal_seed)), info=info)
        except (InvalidTag, ValueError):
            raise TrustError("the sealed secret does not open with this device's key") from None


# --- what is sealed --------------------------------------------------------------------------------------------------


class Share(IntEnum):
    """How much of an epoch a recipient gets; the value is the code in the wrap."""

    CONTACT = 0
    VAULT = 1
    MEMBER = 2


@dataclass(frozen=True, slots=True, repr=False)
class Payload:
    """Secrets by share: MEMBER holds E and F, VAULT holds V and the contact key, CONTACT nothing and the contact key.

    CONTACT is for an admin who does not read: it can follow the roster on control connections and no more.
    """

    share: Share
    epoch: bytes
    folder: bytes

    def encode(self) -> bytes:
        return encode((self.share, self.epoch, self.folder))


_PAYLOAD: Final = array(uint(max(Share)), bytes_of(SECRET_BYTES), bytes_of(SECRET_BYTES))


def payload_untrusted(plaintext: bytes) -> Payload:
    """What a wrap held. Raises CodecError."""
    share, epoch, folder = _PAYLOAD(decode_untrusted(plaintext, max_bytes=128))
    return Payload(Share(share), epoch, folder)


def wrap_info(
    folder: FolderId, previous: EntryHash, recipient: DeviceId, member_certificate: bytes, vault_certificate: bytes
) -> bytes:
    """What a wrap is bound to: this folder, this place in its roster, this recipient, these certificates.

    In genesis the folder id is zeros, since it is the hash of an entry that contains the wraps' root.
    """
    certificates = digest("certificates", encode((member_certificate, vault_certificate)))
    return encode(("syncd/1 wrap", folder, previous, recipient, certificates))


# --- the tree over all wraps -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WrapProof:
    """The neighbours on the way from one leaf to the root; `index` of `count` leaves says on which side each stands."""

    index: int
    count: int
    steps: tuple[bytes, ...]

    def encodable(self) -> Encodable:
        return (self.index, self.count, self.steps)


_PROOF: Final = array(
    uint(MAX_RECIPIENTS - 1), uint(MAX_RECIPIENTS, minimum=1), list_of(bytes_of(32), _MAX_PROOF_STEPS)
)  # fmt: skip


def wrap_proof_untrusted(value: Any) -> WrapProof:
    """A check in the sense of `ca.codec`, for the message that carries a proof. Raises CodecError."""
    index, count, steps = _PROOF(value)
    if index >= count:
        raise CodecError("proof of a leaf beyond the last")
    return WrapProof(index, count, steps)


class WrapTree:
    """All wraps of one epoch, ordered by recipient: the root for the entry, a proof for each.

    leaf = H(0, recipient, wrap), node = H(1, left, right); the last of an odd row moves up unchanged (RFC 6962 §2.1).
    """

    def __init__(self, wraps: Mapping[DeviceId, bytes]) -> None:
        if not wraps:
            raise ValueError("an epoch without recipients")
        self._position = {recipient: place for place, recipient in enumerate(sorted(wraps))}
        row = [_leaf(recipient, wraps[recipient]) for recipient in self._position]
        self._rows = [row]
        while len(row) > 1:
            row = [_node(*row[at : at + 2]) if at + 1 < len(row) else row[at] for at in range(0, len(row), 2)]
            self._rows.append(row)

    @property
    def root(self) -> bytes:
        return self._rows[-1][0]

    def proof(self, recipient: DeviceId) -> WrapProof:
        """Raises KeyError for who has no wrap."""
        place = index = self._position[recipient]
        steps = []
        for row in self._rows[:-1]:
            if place ^ 1 < len(row):
                steps.append(row[place ^ 1])
            place //= 2
        return WrapProof(index, len(self._position), tuple(steps))


def check_wrap(root: bytes, count: int, recipient: DeviceId, wrap: bytes, proof: WrapProof) -> None:
    """Raises TrustError unless exactly this wrap of this recipient is under the root that the entry names."""
    computed, place, row = _leaf(recipient, wrap), proof.index, proof.count
    steps = iter(proof.steps)
    try:
        while row > 1:
            if place ^ 1 < row:
                neighbour = next(steps)
                computed = _node(neighbour, computed) if place & 1 else _node(computed, neighbour)
            place, row = place // 2, (row + 1) // 2
    except StopIteration:
        raise TrustError("the proof of a sealed secret is too short") from None
    if computed != root or proof.count != count or next(steps, None) is not None:
        raise TrustError("the sealed secret is not the one that the roster names")


def _leaf(recipient: DeviceId, wrap: bytes) -> bytes:
    return digest("wrap tree", b"\x00" + recipient + wrap)


def _node(left: bytes, right: bytes) -> bytes:
    return digest("wrap tree", b"\x01" + left + right)
