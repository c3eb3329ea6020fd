"""Pure. What the secrets of a folder yield: keys, SNI labels, private keys of certificates; and what they seal.

There are three secrets of 32 random bytes or derived from such:

F, the folder secret, is made at genesis and never changes; it serves what must stay recognisable across epochs: names
of blocks, cut points, sealed names, labels of control connections.
E, the epoch secret, is fresh with every change of membership and serves everything that a removed member must lose.
V comes from E and cannot be turned back into it: a vault gets V, so it can connect and announce, but not read.

A new E carries the one before it under a key of its own, so that who has the newest opens all that is kept.
"""

from __future__ import annotations

import base64
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, derive_private_key
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from ca.digest import derive, digest, mac
from ca.errors import TrustError
from ca.ids import DeviceId, EpochId
from ca.values import dataclass

SECRET_BYTES: Final = 32
SEALED_SECRET_BYTES: Final = SECRET_BYTES + 16
MAX_NAME_BYTES: Final = 128
NAME_STEP_BYTES: Final = 32
MAX_SEALED_NAME_BYTES: Final = MAX_NAME_BYTES + NAME_STEP_BYTES + 16

_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_NO_NONCE: Final = bytes(12)  # AES-GCM-SIV keeps its promises without one; all it shows is that two inputs are equal


@dataclass(frozen=True, slots=True, repr=False)
class FolderSecrets:
    """What F yields. A removed member keeps all of this; none of it opens anything new."""

    id_key: bytes
    cut_seed: bytes
    name_key: bytes
    contact_key: bytes

    @classmethod
    def derive(cls, folder_secret: bytes) -> FolderSecrets:
        return cls(
            derive(folder_secret, "id key"),
            derive(folder_secret, "cut seed"),
            derive(folder_secret, "name key"),
            derive(folder_secret, "contact key"),
        )


@dataclass(frozen=True, slots=True, repr=False)
class VaultSecrets:
    """What V yields."""

    secret: bytes
    tls: EllipticCurvePrivateKey
    label: str
    announcement_key: bytes

    @classmethod
    def derive(cls, vault_secret: bytes) -> VaultSecrets:
        return cls(
            vault_secret,
            _tls_key(vault_secret, "vault tls key"),
            _label(derive(vault_secret, "vault label", 20)),
            derive(vault_secret, "vault announcement key"),
        )


@dataclass(frozen=True, slots=True, repr=False)
class EpochSecrets:
    """What E yields."""

    tls: EllipticCurvePrivateKey
    content_key: bytes
    metadata_key: bytes
    label: str
    announcement_key: bytes
    vault: VaultSecrets

    @classmethod
    def derive(cls, epoch_secret: bytes) -> EpochSecrets:
        return cls(
            _tls_key(epoch_secret, "tls key"),
            derive(epoch_secret, "content key"),
            derive(epoch_secret, "metadata key"),
            _label(derive(epoch_secret, "label", 20)),
            derive(epoch_secret, "announcement key"),
            VaultSecrets.derive(derive(epoch_secret, "vault")),
        )


def commitment(folder_secret: bytes) -> bytes:
    """What genesis says about F: a later F that differs is refused."""
    return digest("folder secret commitment", folder_secret)


def member_tls_key(epoch_secret: bytes) -> EllipticCurvePrivateKey:
    """The private key of the member certificate alone, for checking a secret without deriving the rest."""
    return _tls_key(epoch_secret, "tls key")


def _tls_key(secret: bytes, purpose: str) -> EllipticCurvePrivateKey:
    """P-256: 48 derived bytes modulo (n - 1), plus 1; the 128 bits too many make the bias negligible."""
    return derive_private_key(
        int.from_bytes(derive(secret, purpose, 48), "big") % (_P256_ORDER - 1) + 1, SECP256R1()
    )  # fmt: skip


# --- SNI labels: lower-case, at most 63 characters, meaningless to who has no secret ---------------------------------


def _label(raw: bytes) -> str:
    return base64.b32encode(raw).decode().rstrip("=").lower()


def control_label(contact_key: bytes, listener: DeviceId) -> str:
    """Where `listener` answers control connections of this folder: only who was once admitted can ask for it."""
    return _label(mac(contact_key, listener)[:20])


def link_label(link_secret: bytes) -> str:
    """Where the maker of an invitation link answers its joiners."""
    return _label(derive(link_secret, "link label", 20))


def recovery_label(recovery: DeviceId) -> str:
    """Where members answer whoever holds a recovery key, whose id this is."""
    return _label(digest("recovery label", recovery)[:20])


def code_label(number: int) -> str:
    """Where the maker of a pairing code answers."""
    return f"pair-{number}"


# --- sealed under these secrets --------------------------------------------------------------------------------------


def seal_previous(secret: bytes, previous: bytes, previous_id: EpochId) -> bytes:
    """48 bytes: the epoch secret before this one, for holders of this one."""
    return AESGCMSIV(derive(secret, "previous epoch")).encrypt(_NO_NONCE, previous, previous_id)


def open_previous(secret: bytes, sealed: bytes, previous_id: EpochId) -> bytes:
    """The epoch secret before this one. Raises TrustError when this secret does not open it."""
    try:
        return AESGCMSIV(derive(secret, "previous epoch")).decrypt(_NO_NONCE, sealed, previous_id)
    except InvalidTag:
        raise TrustError("the epoch does not open the one before it") from None


def seal_linked(secret: bytes, linked: bytes, linked_id: EpochId) -> bytes:
    """48 bytes: the secret of an epoch that a fork left behind, for holders of this one."""
    return AESGCMSIV(derive(secret, "linked epoch")).encrypt(_NO_NONCE, linked, linked_id)


def open_linked(secret: bytes, sealed: bytes, linked_id: EpochId) -> bytes:
    """The inverse. Raises TrustError when this secret does not open it."""
    try:
        return AESGCMSIV(derive(secret, "linked epoch")).decrypt(_NO_NONCE, sealed, linked_id)
    except InvalidTag:
        raise TrustError("the epoch does not open the one that is linked to it") from None


def seal_name(name_key: bytes, subject: bytes, name: str) -> bytes:
    """A name that vaults cannot read; `subject` (a member's or device's id, or b"folder") is what it belongs to.

    Shape:  AES-GCM-SIV of length (1 byte), UTF-8, zeros up to a multiple of 32, so that lengths hardly show.
    Raises: ValueError for more than 128 bytes of UTF-8.
    """
    raw = name.encode("utf-8")
    if len(raw) > MAX_NAME_BYTES:
        raise ValueError(f"a name has at most {MAX_NAME_BYTES} bytes")
    padded = bytes((len(raw),)) + raw
    return AESGCMSIV(name_key).encrypt(_NO_NONCE, padded + bytes(-len(padded) % NAME_STEP_BYTES), subject)


def open_name(name_key: bytes, subject: bytes, sealed: bytes) -> str:
    """The name. Raises TrustError when it was not sealed for this subject under this key, or is no name."""
    try:
        padded = AESGCMSIV(name_key).decrypt(_NO_NONCE, sealed, subject)
        size = padded[0]
        if size > MAX_NAME_BYTES or any(padded[1 + size :]):
            raise TrustError("a sealed name is malformed")
        return padded[1 : 1 + size].decode("utf-8")
    except (InvalidTag, IndexError, UnicodeDecodeError):
        raise TrustError("a sealed name does not open") from None
