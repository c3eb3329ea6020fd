"""Pure. Certificates, labels and connections for tests of the network, made without a roster."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ca.ids import EpochId, FolderId
from syncd.protocol import tls

NOW = 1_800_000_000.0  # some day in 2027; folder certificates of the tests are valid around it


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its key."""

    certificate: bytes
    key: tls.PrivateKey

    def certificate_pem(self) -> bytes:
        return x509.load_der_x509_certificate(self.certificate).public_bytes(Encoding.PEM)

    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@dataclass(frozen=True, slots=True)
class Folder:
    """What every member of a folder knows in one epoch."""

    folder_id: FolderId
    epoch_id: EpochId
    label: str
    identity: Identity

    def serve(self, table: tls.LabelTable) -> tls.Endpoint:
        return table.add_member(self.label, self.folder_id, self.epoch_id, self.identity.certificate, self.identity.key)

    def dial(self) -> tls.Outgoing:
        return tls.connect_member(
            self.label, self.folder_id, self.epoch_id, self.identity.certificate, self.identity.key
        )


def make_identity(
    key: tls.PrivateKey | None = None,
    *,
    name: str = "syncd",
    issuer: Identity | None = None,
    is_authority: bool = False,
    not_before: float = NOW - 2 * 86400,
    not_after: float = NOW + 397 * 86400,
) -> Identity:
    """A certificate: self-signed, or signed by `issuer`."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    above = subject if issuer is None else x509.load_der_x509_certificate(issuer.certificate).subject
    signer = key if issuer is None else issuer.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_datetime(not_before))
        .not_valid_after(_datetime(not_after))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    digest = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Identity(builder.sign(signer, digest).public_bytes(Encoding.DER), key)


def make_device_identity() -> Identity:
    """A certificate as a device shows it on control connections."""
    return make_identity(ed25519.Ed25519PrivateKey.generate())


def make_folder(number: int = 1, epoch: int = 1, identity: Identity | None = None) -> Folder:
    """A folder of its own, told from others by its number."""
    return Folder(
        FolderId(bytes([number]) * 32),
        EpochId(bytes([number, epoch]) * 16),
        f"f{number:02}e{epoch:02}",
        identity or make_identity(),
    )


def _datetime(moment: float) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=moment)
