"""Pure. The recovery key: 32 bytes on paper that open a folder when every owner's computer is gone.

Its public half stands in the genesis entry, and every epoch is sealed to it as if it were a device. It is written as 33
words (the last one checks the others) or as one line of letters, which is also what its QR code holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ca.device import (
    KEY_BYTES,
    SEAL_PUBLIC_BYTES,
    SEAL_SEED_BYTES,
    base32_checked,
    grouped,
    parse_base32_checked,
    seal_public,
)
from ca.digest import derive, digest
from ca.errors import ConfigError
from ca.ids import DeviceId
from ca.values import dataclass
from ca.words import bytes_of_words, words_of

SEED_BYTES: Final = 32
PREFIX: Final = "syncd-recovery:"


@dataclass(frozen=True, slots=True)
class PublicRecovery:
    """What genesis lists; `id` is the hash of both keys and takes the place of a device's id among recipients."""

    sign: bytes
    seal: bytes
    id: DeviceId = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if (len(self.sign), len(self.seal)) != (KEY_BYTES, SEAL_PUBLIC_BYTES):
            raise ValueError("a public key has the wrong length")
        object.__setattr__(self, "id", DeviceId(digest("recovery id", b"\x01" + self.sign + self.seal)))


@dataclass(frozen=True, slots=True, repr=False)
class RecoveryKey:
    """The seed and what follows from it."""

    seed: bytes

    @property
    def seal_seed(self) -> bytes:
        return derive(self.seed, "recovery sealing key", SEAL_SEED_BYTES)

    @property
    def signing(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(derive(self.seed, "recovery signing key"))

    @property
    def public(self) -> PublicRecovery:
        return PublicRecovery(self.signing.public_key().public_bytes_raw(), seal_public(self.seal_seed))

    @property
    def id(self) -> DeviceId:
        return self.public.id

    @property
    def words(self) -> list[str]:
        """33 words: one for each byte of the seed, one to check."""
        return words_of(self.seed + _check_byte(self.seed))

    @property
    def text(self) -> str:
        """One line: "syncd-recovery:" and letters in groups, with check letters."""
        return PREFIX + grouped(base32_checked(self.seed))


def generate(random: Callable[[int], bytes]) -> RecoveryKey:
    return RecoveryKey(random(SEED_BYTES))


def parse(typed: str) -> RecoveryKey:
    """The key from its words or its text, as a person typed it. Raises ConfigError SY-KEY-14."""
    try:
        return _parse(typed)
    except ConfigError as error:
        raise ConfigError(str(error), id="SY-KEY-14") from None


def _parse(typed: str) -> RecoveryKey:
    if typed.strip().lower().startswith(PREFIX):
        return _checked_length(parse_base32_checked(typed.strip()[len(PREFIX) :]))
    raw = bytes_of_words(typed.replace("-", " ").split())
    if raw[-1:] != _check_byte(raw[:-1]):
        raise ConfigError("a word is wrong, missing or in another order")
    return _checked_length(raw[:-1])


def _checked_length(seed: bytes) -> RecoveryKey:
    if len(seed) != SEED_BYTES:
        raise ConfigError("the recovery key is not complete", fix="type all 33 words, or the whole line")
    return RecoveryKey(seed)


def _check_byte(seed: bytes) -> bytes:
    return digest("recovery words", seed)[:1]
