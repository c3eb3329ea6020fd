"""Pure. Who a device is, and the one function that signs.

A device has three keys: Ed25519 to sign, ML-KEM-768 with X25519 to receive secrets, Ed25519 for control connections.
Its id is the hash of the three public keys, so an id proves which keys belong to it. The signing key signs no X.509.

Every signature covers its purpose and its folder: a signed head can never be passed off as a roster entry, nor as a
head of another folder.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import field
from enum import Enum
from functools import lru_cache
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from ca.digest import digest
from ca.errors import ConfigError, TrustError
from ca.ids import NO_FOLDER, DeviceId, FolderId
from ca.values import dataclass
from ca.words import words_of

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
SEAL_PUBLIC_BYTES: Final = 1184 + 32
"""ML-KEM-768 encapsulation key, then X25519 public key."""
SEAL_SEED_BYTES: Final = 64 + 32
"""ML-KEM-768 seed (d, z), then X25519 private key."""

_FORMAT: Final = b"\x01"


@dataclass(frozen=True, slots=True)
class PublicDevice:
    """The three public keys; `id` is their hash."""

    sign: bytes
    seal: bytes
    tls: bytes
    id: DeviceId = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if (len(self.sign), len(self.seal), len(self.tls)) != (KEY_BYTES, SEAL_PUBLIC_BYTES, KEY_BYTES):
            raise ValueError("a public key has the wrong length")
        object.__setattr__(self, "id", DeviceId(digest("device id", _FORMAT + self.sign + self.seal + self.tls)))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DeviceKeys:
    """A device's private keys, as the seeds that go to disk, and its public ones."""

    sign_seed: bytes
    seal_seed: bytes
    tls_seed: bytes
    public: PublicDevice = field(init=False)
    signing: Ed25519PrivateKey = field(init=False)

    def __post_init__(self) -> None:
        signing = Ed25519PrivateKey.from_private_bytes(self.sign_seed)
        tls = Ed25519PrivateKey.from_private_bytes(self.tls_seed)
        object.__setattr__(self, "signing", signing)
        object.__setattr__(
            self,
            "public",
            PublicDevice(
                signing.public_key().public_bytes_raw(),
                seal_public(self.seal_seed),
                tls.public_key().public_bytes_raw(),
            ),
        )

    @property
    def id(self) -> DeviceId:
        return self.public.id

    @property
    def tls(self) -> Ed25519PrivateKey:
        """The private key behind the device certificate."""
        return Ed25519PrivateKey.from_private_bytes(self.tls_seed)


def seal_public(seed: bytes) -> bytes:
    """The public sealing key of a 96-byte seed."""
    lattice, curve = split_seal_seed(seed)
    return lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()


def split_seal_seed(seed: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    """The two private keys that together open what is sealed to a device."""
    if len(seed) != SEAL_SEED_BYTES:
        raise ValueError("a sealing seed has 96 bytes")
    return MLKEM768PrivateKey.from_seed_bytes(seed[:64]), X25519PrivateKey.from_private_bytes(seed[64:])


def generate(random: Callable[[int], bytes]) -> DeviceKeys:
    """New keys out of 160 random bytes."""
    return DeviceKeys(random(KEY_BYTES), random(SEAL_SEED_BYTES), random(KEY_BYTES))


# --- signing ---------------------------------------------------------------------------------------------------------


class Purpose(Enum):
    """What a signature is for. A closed list: a new kind of signed object is a new line here."""

    ENTRY = b"entry"
    CHANGESET = b"changeset"
    HEAD = b"head"
    HELLO = b"hello"
    PAIRING = b"pairing"
    REQUEST = b"request"
    COMMAND = b"command"
    RELEASE = b"release"
    AUDIT = b"audit"
    CHECKPOINT = b"checkpoint"


def signed_bytes(purpose: Purpose, folder: FolderId | None, body: bytes) -> bytes:
    """What a signature covers.

    Shape:  "syncd/1 ", the purpose, NUL, folder id (32 bytes; zeros when it belongs to no folder), canonical body.
    """
    return b"syncd/1 " + purpose.value + b"\x00" + (folder or NO_FOLDER) + body


class HasSigningKey(Protocol):
    """Device keys, or a recovery key."""

    @property
    def signing(self) -> Ed25519PrivateKey: ...


def sign(keys: HasSigningKey, purpose: Purpose, folder: FolderId | None, body: bytes) -> bytes:
    """64 bytes: Ed25519 by the signing key of a device or of a recovery key."""
    return keys.signing.sign(signed_bytes(purpose, folder, body))


def verify(sign_public: bytes, purpose: Purpose, folder: FolderId | None, body: bytes, signature: bytes) -> None:
    """Raises TrustError unless the holder of this key signed this body for this purpose in this folder."""
    try:
        _public_key(sign_public).verify(signature, signed_bytes(purpose, folder, body))
    except (InvalidSignature, ValueError):
        raise TrustError(f"bad signature on a {purpose.value.decode()}") from None


@lru_cache(maxsize=1024)
def _public_key(raw: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(raw)


# --- text for people -------------------------------------------------------------------------------------------------

_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"
_LOOKS_LIKE: Final = str.maketrans("018", "oib")
_RUN: Final = 13  # 52 letters of base32 in four runs; each run gets its own check letter


@lru_cache(maxsize=4096)  # a status of a thousand folders names one device a thousand times
def device_text(device: DeviceId) -> str:
    """Base32 with a check letter after every 13, in 8 groups of 7: "mfzwizt-…". Any single slip is noticed."""
    return grouped(base32_checked(device))


def parse_device_text(typed: str) -> DeviceId:
    """The inverse, forgiving about case, blanks, dashes and 0, 1, 8 for o, i, b. Raises ConfigError."""
    raw = parse_base32_checked(typed)
    if len(raw) != KEY_BYTES:
        raise ConfigError("that is not a whole device id", fix="copy all 56 characters")
    return DeviceId(raw)


def device_words(device: DeviceId) -> str:
    """Two words that let two people notice that they mean the same device: "tulip-orbit". They prove nothing."""
    return "-".join(words_of(digest("device words", device)[:2]))


def base32_checked(raw: bytes) -> str:
    """Lower-case base32 without padding, with a Luhn check letter after every 13 letters (and after the rest)."""
    letters = base64.b32encode(raw).decode().rstrip("=").lower()
    runs = [letters[at : at + _RUN] for at in range(0, len(letters), _RUN)]
    return "".join(run + _check_letter(run) for run in runs)


def parse_base32_checked(typed: str) -> bytes:
    """The inverse for what a person typed. Raises ConfigError for a slip."""
    letters = "".join(typed.split()).replace("-", "").lower().translate(_LOOKS_LIKE)
    runs = [letters[at : at + _RUN + 1] for at in range(0, len(letters), _RUN + 1)]
    if set(letters) - set(_ALPHABET) or any(_check_letter(run[:-1]) != run[-1] for run in runs):
        raise ConfigError("a character is wrong or missing", fix="compare it with what was shown, group by group")
    kept = "".join(run[:-1] for run in runs).upper()
    try:
        raw = base64.b32decode(kept + "=" * (-len(kept) % 8))
    except ValueError:
        raise ConfigError("a character is missing", fix="copy all of it") from None
    if base32_checked(raw) != letters:
        raise ConfigError("the last character is wrong", fix="copy all of it")
    return raw


def grouped(letters: str) -> str:
    """Groups of seven, joined by dashes."""
    return "-".join(letters[at : at + 7] for at in range(0, len(letters), 7))


def _check_letter(run: str) -> str:
    """Luhn modulo 32: notices every wrong letter, and two neighbours exchanged (save for one pair of letters)."""
    total = 0
    for place, letter in enumerate(reversed(run)):
        doubled = _ALPHABET.index(letter) * (2 - place % 2)
        total += doubled // 32 + doubled % 32
    return _ALPHABET[-total % 32]
