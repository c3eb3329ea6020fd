"""Blocking. What `folder show` shows as files: certificate and key of a folder for `curl`, its roster for `syncd-ca`.

Keys of epochs do not rest on disk in the open. These two files are the exception that a person asked for, so they are
0600 in a 0700 directory from their first byte and go with the next rotation. Where a passphrase locks the keys of the
home, the key is not written.
"""

from __future__ import annotations

import base64
import logging
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ca import privatefiles
from ca.authority import Secrets
from ca.ids import FolderId
from ca.roster import EpochInfo
from ca.values import dataclass
from syncd.errors import ConfigError, TrustError

log = logging.getLogger("syncd.membership")

DIRECTORY: Final = "tls"
ROSTERS: Final = "rosters"
CERT_FILE: Final = "cert.pem"
KEY_FILE: Final = "key.pem"


class Member(Protocol):
    """What is asked of a folder's membership."""

    @property
    def folder_id(self) -> FolderId: ...

    @property
    def epoch(self) -> EpochInfo: ...

    @property
    def secrets(self) -> Secrets | None: ...

    @property
    def label(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class FolderTls:
    """What `syncd folder show` prints. `pin` is base64 of SHA-256 of the public key, as curl's --pinnedpubkey wants."""

    cert: Path
    key: Path | None
    sni: str
    listen: tuple[str, ...]
    pin: str


def folder_tls_files(membership: Member, home: Path, listen: Sequence[str], *, with_key: bool = True) -> FolderTls:
    """Write certificate and key (PEM) of the current epoch. `listen`: the addresses of our port.

    Raises: TrustError while the epoch is not open here, ConfigError when the home cannot be written.
    """
    secrets, label, epoch = membership.secrets, membership.label, membership.epoch
    if secrets is None or label is None:
        raise TrustError("the newest epoch of this folder is not open here", fix="wait until it has arrived")
    key = secrets.epoch_keys().tls
    certificate = x509.load_der_x509_certificate(epoch.member_certificate)
    public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    place = _place(home, membership.folder_id)
    try:
        (home / DIRECTORY).mkdir(mode=0o700, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
        cert_file = _write(place / CERT_FILE, _pem(certificate))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        key_file = _write(place / KEY_FILE, pem) if with_key else None
    except OSError as error:
        raise ConfigError(f"cannot write the folder's certificate to {place}: {error.strerror}") from error
    pin = base64.b64encode(sha256(public).digest()).decode()
    return FolderTls(cert_file, key_file, label, tuple(listen), pin)


def roster_file(folder: FolderId, exported: bytes, home: Path) -> Path:
    """Write a folder's roster as a file for `syncd-ca`: it is public to members, and proves itself.

    Raises ConfigError when the home cannot be written.
    """
    path = _roster_path(home, folder)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return _write(path, exported)
    except OSError as error:
        raise ConfigError(f"cannot write the folder's roster to {path.parent}: {error.strerror}") from error


def drop_tls_files(home: Path, folder: FolderId, current: bytes) -> None:
    """Remove what was written for the folder, unless it is of the certificate (DER) that is current."""
    place = _place(home, folder)
    try:
        if (place / CERT_FILE).read_bytes() != _pem(x509.load_der_x509_certificate(current)):
            shutil.rmtree(place)
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("the files of an epoch that is over cannot be removed from %s: %s", place, error)


def forget_files(home: Path, folder: FolderId) -> None:
    """Remove what was written for a folder that is left. Raises OSError."""
    _roster_path(home, folder).unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        shutil.rmtree(_place(home, folder))


def drop_tls_keys(home: Path) -> None:
    """Remove every key that was written, and what it held. Raises OSError."""
    for path in (home / DIRECTORY).glob("*/key.*"):
        privatefiles.remove(path)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _roster_path(home: Path, folder: FolderId) -> Path:
    return home / ROSTERS / f"{folder.hex()[:16]}.roster"


def _place(home: Path, folder: FolderId) -> Path:
    return home / DIRECTORY / folder.hex()[:16]


def _write(path: Path, content: bytes) -> Path:
    """Write aside and rename: whoever reads the name sees a whole file, and never one with another mode."""
    aside = path.with_suffix(".new")
    aside.unlink(missing_ok=True)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
    os.replace(aside, path)
    return path
