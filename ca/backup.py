"""Pure. A device's keys and state in one sealed file, opened by a passphrase or by the recovery key.

Layout:  "syncd backup 1\n" | header length u16, big-endian | header | body. The header says how the body is sealed and
is bound to it:

    {1: 1, 2: 1, 3: salt 16}   AES-256-GCM; the key is scrypt(passphrase in NFC, salt, N = 2^17, r = 8, p = 1)
    {1: 1, 2: 2, 3: id 32}     HPKE to the recovery key of that id, as epochs are sealed (`ca.wraps`)

A passphrase makes one key for one file, because the salt is random; so its nonce is zeros. The keys lie in the home in
the open, readable by their owner alone; a backup travels, so it is never written without one of the two.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ca.codec import array, bytes_of, bytes_up_to, decode_untrusted, encode, fields_untrusted, list_of, text, uint
from ca.errors import CodecError, ConfigError, TrustError
from ca.ids import DeviceId
from ca.recovery import PublicRecovery, RecoveryKey
from ca.values import dataclass
from ca.wraps import Sealer

MAGIC: Final = b"syncd backup 1\n"
MIN_PASSPHRASE: Final = 12
"""Characters. scrypt makes each guess cost 128 MiB and a third of a second; the rest the passphrase has to do."""
MAX_FILE_BYTES: Final = 1 << 30
_SALT_BYTES: Final = 16
_FORMAT: Final = 1
_BY_PASSPHRASE, _BY_RECOVERY = 1, 2
_NONCE: Final = bytes(12)
_MAX_FILES: Final = 16
_MAX_NAME_BYTES: Final = 64
_LAST_MS: Final = 253_402_300_799_999
"""The end of the year 9999, after which calendars of programs end."""
_INFO: Final = b"syncd/1 backup"

Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Backup:
    """What is in one: whose it is, when it was made (unix milliseconds), and its files by name, in order."""

    device: DeviceId
    made_ms: int
    files: tuple[tuple[str, bytes], ...]

    def encode(self) -> bytes:
        return encode({1: self.device, 2: self.made_ms, 3: self.files})

    @classmethod
    def decode_untrusted(cls, data: bytes) -> Backup:
        """Raises CodecError."""
        checks = {
            1: bytes_of(32),
            2: uint(_LAST_MS),
            3: list_of(array(text(_MAX_NAME_BYTES, minimum_bytes=1), bytes_up_to(MAX_FILE_BYTES)), _MAX_FILES),
        }
        device, made_ms, files = fields_untrusted(decode_untrusted(data, max_bytes=MAX_FILE_BYTES), checks)
        return cls(DeviceId(device), made_ms, files)


def seal_by_passphrase(backup: Backup, passphrase: str, random: Random) -> bytes:
    """Raises ConfigError for a passphrase that is too short."""
    if len(passphrase) < MIN_PASSPHRASE:
        raise ConfigError(
            "the passphrase is too short",
            id="SY-KEY-04",
            why=f"Who has the file can try passphrases without end; {MIN_PASSPHRASE} characters are the least.",
            fix="take some random words, or seal the backup to the recovery key: --recovery",
        )
    salt = random(_SALT_BYTES)
    header = encode({1: _FORMAT, 2: _BY_PASSPHRASE, 3: salt})
    return _framed(header, AESGCM(_stretched(passphrase, salt)).encrypt(_NONCE, backup.encode(), header))


def seal_to_recovery(backup: Backup, key: PublicRecovery, sealer: Sealer) -> bytes:
    """For whoever has the recovery key. Nothing secret is needed to make it, so it does not show who made it: every
    member of a folder knows the public part of its recovery keys."""
    header = encode({1: _FORMAT, 2: _BY_RECOVERY, 3: bytes(key.id)})
    return _framed(header, sealer.seal(key.seal, backup.encode(), _INFO + header))


def is_backup(start: bytes) -> bool:
    """Whether a file begins as a backup does."""
    return start.startswith(MAGIC)


def wants_recovery_key(data: bytes) -> bool:
    """Whether it opens by the recovery key, and not by a passphrase. Raises ConfigError if it is no backup."""
    kind, _, _, _ = _parsed_untrusted(data)
    return kind == _BY_RECOVERY


def open_by_passphrase(data: bytes, passphrase: str) -> Backup:
    """Raises ConfigError for another passphrase, and for a file that was changed."""
    kind, value, header, body = _parsed_untrusted(data)
    if kind != _BY_PASSPHRASE:
        raise _sealed_otherwise("the recovery key")
    try:
        plain = AESGCM(_stretched(passphrase, value)).decrypt(_NONCE, body, header)
    except InvalidTag:
        raise _does_not_open("passphrase") from None
    return _decoded(plain)


def open_by_recovery(data: bytes, key: RecoveryKey, sealer: Sealer) -> Backup:
    """Raises ConfigError for another recovery key, and for a file that was changed."""
    kind, _, header, body = _parsed_untrusted(data)
    if kind != _BY_RECOVERY:
        raise _sealed_otherwise("a passphrase")
    try:
        plain = sealer.open(key.seal_seed, body, _INFO + header)
    except TrustError:
        raise _does_not_open("recovery key") from None
    return _decoded(plain)


def _stretched(passphrase: str, salt: bytes) -> bytes:
    typed = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
    return Scrypt(salt, 32, 1 << 17, 8, 1).derive(typed)


def _framed(header: bytes, body: bytes) -> bytes:
    return MAGIC + len(header).to_bytes(2, "big") + header + body


def _parsed_untrusted(data: bytes) -> tuple[int, bytes, bytes, bytes]:
    """(kind, salt or id, header, body)."""
    begin = len(MAGIC) + 2
    end = begin + int.from_bytes(data[len(MAGIC) : begin], "big")
    try:
        if not is_backup(data) or len(data) <= end:
            raise CodecError("no backup, or cut off")
        checks = {1: uint(_FORMAT, minimum=_FORMAT), 2: uint(_BY_RECOVERY, minimum=1), 3: bytes_up_to(32, minimum=16)}
        _, kind, value = fields_untrusted(decode_untrusted(data[begin:end], max_bytes=256), checks)
    except CodecError:
        raise ConfigError("this is no backup of a device", id="SY-KEY-05") from None
    return kind, value, data[begin:end], data[end:]


def _decoded(plain: bytes) -> Backup:
    try:
        return Backup.decode_untrusted(plain)
    except CodecError as error:
        raise ConfigError("the backup is of another version of syncd", id="SY-KEY-05", why=str(error)) from error


def _sealed_otherwise(by: str) -> ConfigError:
    return ConfigError(f"this backup opens by {by}", id="SY-KEY-05")


def _does_not_open(by: str) -> ConfigError:
    return ConfigError(
        f"the backup does not open with this {by}", id="SY-KEY-05", why=f"It is another {by}, or the file was changed."
    )
