"""Blocking. The certificate that browsers see when they open a share link: one that people configured, or one that this
device made for that purpose and signed itself.

The own one has a key of its own, which has nothing to do with the device's identity or with any folder. It rests with
its key in one file of the home, 0600 from the first byte; where a passphrase locks the keys of the home, that key is
encrypted.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca.custody import LINKS_FILE
from ca.homekey import HomeKey
from ca.keyfiles import KEYS_DIRECTORY
from ca.values import dataclass
from syncd.errors import ConfigError

VALID: Final = timedelta(days=397)
EARLIER: Final = timedelta(days=2)
RENEW: Final = timedelta(days=30)
_KEY_BYTES: Final = 48
_LARGEST: Final = (1 << 255) - 1  # below the order of P-256
_MAX_FILE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class LinkCertificate:
    """What the listener shows. `fingerprint`: SHA-256, as browsers print it."""

    context: ssl.SSLContext
    fingerprint: str
    is_configured: bool


def open_certificate(
    home: Path,
    configured: tuple[str, str] | None,
    names: Sequence[str],
    now: float,
    random: Callable[[int], bytes],
    home_key: HomeKey | None = None,
) -> LinkCertificate:
    """The configured files, or the own certificate, made or renewed if need be. Raises ConfigError SY-LINK-06."""
    password = b""
    if configured is not None:
        certificate, key = configured
    else:
        certificate = key = str(_own(home, names, datetime.fromtimestamp(now, UTC), random, home_key))
        password = b"" if home_key is None else home_key.password
    try:
        with open(certificate, "rb") as file:
            first = _read(file.read(_MAX_FILE_BYTES))
        from syncd.web.linkserver import tls_context  # loads Jinja: only while a share link lives

        context = tls_context(certificate, key, password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        what = f"the certificate for share links cannot be used: {certificate}"
        raise ConfigError(what, id="SY-LINK-06", why=str(error)) from error
    digits = sha256(first.public_bytes(Encoding.DER)).hexdigest().upper()
    fingerprint = ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))
    return LinkCertificate(context, fingerprint, configured is not None)


def _own(
    home: Path, names: Sequence[str], now: datetime, random: Callable[[int], bytes], home_key: HomeKey | None
) -> Path:
    path = home / KEYS_DIRECTORY / LINKS_FILE
    if not _is_good(path, now):
        try:
            made = _make(names, now, random)
            _write(path, made if home_key is None else home_key.seal(path.name, made))
        except OSError as error:
            raise ConfigError(f"{path} cannot be written", id="SY-LINK-06", why=str(error)) from error
    return path


def _is_good(path: Path, now: datetime) -> bool:
    """Whether it is there, readable by nobody else, and holds for some time."""
    try:
        if path.is_symlink() or path.stat().st_mode & 0o077:
            return False
        found = _read(path.read_bytes())
    except (OSError, ValueError):
        return False
    return found.not_valid_before_utc <= now < found.not_valid_after_utc - RENEW


def _read(pem: bytes) -> x509.Certificate:
    """The first certificate in a file. Raises ValueError for anything else, also for a version that nobody knows."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except x509.InvalidVersion as error:
        raise ValueError(str(error)) from error


def _make(names: Sequence[str], now: datetime, random: Callable[[int], bytes]) -> bytes:
    """Key and certificate as PEM. `names`: hosts by which this computer may be reached."""
    key = derive_private_key(int.from_bytes(random(_KEY_BYTES), "big") % _LARGEST + 1, SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "syncd share links")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(random(16), "big") >> 1 | 1)
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + VALID)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_name(one) for one in dict.fromkeys(names)]), critical=False)
    )
    signed = builder.sign(key, SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return signed.public_bytes(Encoding.PEM) + private


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        aside.unlink()
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
