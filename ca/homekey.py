"""Pure. The key of a home, which seals its secret files, and the passphrase that opens it.

Three steps: the passphrase yields, by Argon2id and a random salt, a key that opens one small file, the *lock*; in it is
the *home key*, 32 random bytes; that one seals everything secret in the home. So another passphrase is another lock,
and nothing else is written anew.

Lock:    "syncd lock 1\\n" | {1: 1, 2: salt 16, 3: memory in KiB, 4: passes, 5: lanes, 6: id of the device,
         7: the home key under AES-256-GCM-SIV}; 1 to 6 are bound to it.
Sealed:  "syncd sealed 1\\n" | AES-256-GCM-SIV under a key derived from the home key, bound to the name of what it is.
         A file that OpenSSL reads by itself (.pem) keeps its form: the private key in it is encrypted, by a password
         that is derived from the home key.

Neither needs a nonce (`ca.epochs` does the same): all that is shown is that two contents of one name are equal.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from ca.codec import Encodable, bytes_of, decode_untrusted, encode, fields_untrusted, uint
from ca.digest import derive
from ca.errors import CodecError, ConfigError
from ca.ids import DeviceId
from ca.values import dataclass

LOCK_MAGIC: Final = b"syncd lock 1\n"
SEALED_MAGIC: Final = b"syncd sealed 1\n"
MIN_PASSPHRASE: Final = 12
"""Characters. Each guess costs 128 MiB and a good part of a second; the rest the passphrase has to do."""
MAX_LOCK_BYTES: Final = 256
_MEMORY_KIB: Final = 128 * 1024
_PASSES: Final = 3
_LANES: Final = 4
_MOST_MEMORY_KIB: Final = 1024 * 1024
_MOST_PASSES: Final = 64
_MOST_LANES: Final = 16
_FORMAT: Final = 1
_SALT_BYTES: Final = 16
_KEY_BYTES: Final = 32
_TAG_BYTES: Final = 16
_NO_NONCE: Final = bytes(12)
_PEM: Final = ".pem"
_PEM_KEY: Final = b"-----BEGIN PRIVATE KEY-----"
_PEM_SEALED_KEY: Final = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"

Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True, repr=False)
class HomeKey:
    """32 random bytes that seal what is secret in a home. It knows names and contents and no file."""

    secret: bytes

    def seal(self, name: str, content: bytes) -> bytes:
        """What only this key opens, and only under the same name. Raises ValueError for a .pem file without a key."""
        if name.endswith(_PEM):
            return _repacked(content, _PEM_KEY, None, BestAvailableEncryption(self.password))
        return SEALED_MAGIC + self._cipher.encrypt(_NO_NONCE, content, name.encode())

    def open(self, name: str, sealed: bytes) -> bytes:
        """Raises ValueError if it was sealed by another key, under another name, or was changed."""
        if name.endswith(_PEM):
            return _repacked(sealed, _PEM_SEALED_KEY, self.password, NoEncryption())
        try:
            return self._cipher.decrypt(_NO_NONCE, sealed.removeprefix(SEALED_MAGIC), name.encode())
        except InvalidTag:
            raise ValueError(f"{name} does not open") from None

    @property
    def password(self) -> bytes:
        """What opens the private key of a .pem file."""
        return derive(self.secret, "home key password").hex().encode()

    @property
    def _cipher(self) -> AESGCMSIV:
        return AESGCMSIV(derive(self.secret, "home key seal"))


def is_sealed(content: bytes) -> bool:
    """Whether it has the form of something that a home key sealed."""
    return content.startswith(SEALED_MAGIC) or _PEM_SEALED_KEY in content


def _repacked(pem: bytes, marker: bytes, password: bytes | None, encryption: KeySerializationEncryption) -> bytes:
    """A .pem file with its private key, which comes last, under another encryption."""
    at = pem.index(marker)
    key = load_pem_private_key(pem[at:], password)
    return pem[:at] + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


# --- the lock --------------------------------------------------------------------------------------------------------


def make_lock(key: HomeKey, passphrase: str, device: DeviceId, random: Random) -> bytes:
    """The lock that opens by this passphrase. Raises ConfigError SY-KEY-12 if that is too short."""
    if len(_typed(passphrase)) < MIN_PASSPHRASE:
        raise ConfigError(
            "the passphrase is too short",
            id="SY-KEY-12",
            why=f"Who has the disk can try passphrases without end; {MIN_PASSPHRASE} characters are the least.",
            fix="take some random words",
        )
    salt = random(_SALT_BYTES)
    bound: dict[int, Encodable] = {1: _FORMAT, 2: salt, 3: _MEMORY_KIB, 4: _PASSES, 5: _LANES, 6: bytes(device)}
    opener = AESGCMSIV(_stretched(passphrase, salt, _MEMORY_KIB, _PASSES, _LANES))
    return LOCK_MAGIC + encode({**bound, 7: opener.encrypt(_NO_NONCE, key.secret, encode(bound))})


def open_lock(lock: bytes, passphrase: str) -> HomeKey:
    """Raises ConfigError SY-KEY-11 for another passphrase, SY-KEY-01 for a lock that is damaged."""
    salt, memory, passes, lanes, device, sealed = _parsed(lock)
    bound = encode({1: _FORMAT, 2: salt, 3: memory, 4: passes, 5: lanes, 6: device})
    try:
        return HomeKey(AESGCMSIV(_stretched(passphrase, salt, memory, passes, lanes)).decrypt(_NO_NONCE, sealed, bound))
    except InvalidTag:
        raise ConfigError("that was not the passphrase of these keys", id="SY-KEY-11") from None


def locked_device(lock: bytes) -> DeviceId:
    """Whose keys are behind a lock; it says so in the open. Raises ConfigError SY-KEY-01."""
    return DeviceId(_parsed(lock)[4])


def _parsed(lock: bytes) -> tuple[bytes, int, int, int, bytes, bytes]:
    checks = {
        1: uint(_FORMAT, minimum=_FORMAT),
        2: bytes_of(_SALT_BYTES),
        3: uint(_MOST_MEMORY_KIB, minimum=8 * _MOST_LANES),
        4: uint(_MOST_PASSES, minimum=1),
        5: uint(_MOST_LANES, minimum=1),
        6: bytes_of(32),
        7: bytes_of(_KEY_BYTES + _TAG_BYTES),
    }
    try:
        if not lock.startswith(LOCK_MAGIC):
            raise CodecError("no lock")
        value = decode_untrusted(lock.removeprefix(LOCK_MAGIC), max_bytes=MAX_LOCK_BYTES)
        _, salt, memory, passes, lanes, device, sealed = fields_untrusted(value, checks)
    except CodecError:
        raise ConfigError(
            "the lock of this device's keys is damaged",
            id="SY-KEY-01",
            why="its content is not what was written, and nothing else opens these keys",
            fix="put keys/lock back from a copy of the home; or syncd key restore a backup into another home",
        ) from None
    return salt, memory, passes, lanes, device, sealed


def _typed(passphrase: str) -> str:
    """The same for every way to say it: accents composed, without the mark that some editors put before a file."""
    return unicodedata.normalize("NFC", passphrase.removeprefix("\ufeff"))


def _stretched(passphrase: str, salt: bytes, memory_kib: int, passes: int, lanes: int) -> bytes:
    typed = _typed(passphrase).encode("utf-8", "surrogatepass")
    stretching = Argon2id(salt=salt, length=_KEY_BYTES, iterations=passes, lanes=lanes, memory_cost=memory_kib)
    try:
        return stretching.derive(typed)
    except MemoryError:
        raise ConfigError(
            "there is too little memory for the passphrase",
            id="SY-KEY-03",
            why=f"to look at one takes {memory_kib // 1024} MiB, so that guesses are dear",
            fix="end another program, or give this one more memory; then try again",
        ) from None
