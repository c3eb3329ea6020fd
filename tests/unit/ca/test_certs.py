from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import crypto

from ca.certs import (
    DAY_S,
    MAX_TIME,
    VALID_AFTER_S,
    check_folder_certificate,
    device_certificate,
    device_tls_key_untrusted,
    folder_certificate,
    folder_point_untrusted,
    public_point,
    throwaway_certificate,
)
from ca.errors import CodecError, TrustError
from tests.helpers.rosters import NOW, keys_of, seeded

KEY = ec.derive_private_key(0xA11CE, ec.SECP256R1())
OTHER_KEY = ec.derive_private_key(0xB0B, ec.SECP256R1())
CERTIFICATE = folder_certificate(KEY, NOW)
DEVICE_CERTIFICATE = device_certificate(keys_of("ann"))


def library_certificate(
    *,
    key: ec.EllipticCurvePrivateKey = KEY,
    name: str = "syncd",
    is_ca: bool = False,
    signer: ec.EllipticCurvePrivateKey | None = None,
    extra: x509.ExtensionType | None = None,
    serial: int | None = None,
) -> bytes:
    """What a library makes of the same wishes, with one of them changed."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    opened = datetime.fromtimestamp(NOW, UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.load_der_x509_certificate(CERTIFICATE).serial_number if serial is None else serial)
        .not_valid_before(opened - timedelta(days=2))
        .not_valid_after(opened + timedelta(days=397))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(True, False, False, False, False, False, False, False, False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
    )
    if extra is not None:
        builder = builder.add_extension(extra, critical=False)
    return builder.sign(signer or key, SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.DER)


def test_library_makes_the_very_same_bytes() -> None:
    """Our layout says what a library says, so the refusals below fail for the one thing they change."""
    assert library_certificate() == CERTIFICATE


def test_folder_certificate_says_nothing_but_its_key() -> None:
    read = x509.load_der_x509_certificate(CERTIFICATE)
    read.verify_directly_issued_by(read)
    assert read.subject == read.issuer == x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "syncd")])
    assert read.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) == public_point(KEY)
    assert read.not_valid_before_utc == datetime.fromtimestamp(NOW - 2 * DAY_S, UTC)
    assert read.not_valid_after_utc == datetime.fromtimestamp(NOW + 397 * DAY_S, UTC)
    assert not read.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert [extension.critical for extension in read.extensions] == [True, True, False]


def test_right_folder_certificate_is_accepted() -> None:
    assert folder_point_untrusted(CERTIFICATE, NOW) == public_point(KEY)
    check_folder_certificate(CERTIFICATE, KEY, NOW)


WRONG_FORMS = {
    "certificate authority": library_certificate(is_ca=True),
    "other name": library_certificate(name="mallory"),
    "name with a NUL": library_certificate(name="syncd\x00.example"),
    "other serial": library_certificate(serial=1),
    "another extension": library_certificate(extra=x509.SubjectAlternativeName([x509.DNSName("a.example")])),
    "64 KiB of names": library_certificate(extra=x509.SubjectAlternativeName([x509.DNSName("a" * 60)] * 1000)),
    "other epoch's dates": folder_certificate(KEY, NOW + 1),
    "a device certificate": DEVICE_CERTIFICATE,
    "empty": b"",
    "text": b"-----BEGIN CERTIFICATE-----",
    "two certificates": CERTIFICATE + CERTIFICATE,
    "one byte behind": CERTIFICATE + b"\x00",
}


@pytest.mark.parametrize("der", WRONG_FORMS.values(), ids=WRONG_FORMS.keys())
def test_other_form_of_folder_certificate_is_refused(der: bytes) -> None:
    with pytest.raises(CodecError):
        folder_point_untrusted(der, NOW)


def test_truncated_certificates_are_refused() -> None:
    for end in range(len(CERTIFICATE)):
        with pytest.raises(CodecError):
            folder_point_untrusted(CERTIFICATE[:end], NOW)
    for end in range(len(DEVICE_CERTIFICATE)):
        with pytest.raises(CodecError):
            device_tls_key_untrusted(DEVICE_CERTIFICATE[:end])


def test_certificate_signed_by_another_key_is_refused_before_use() -> None:
    forged = library_certificate(signer=OTHER_KEY)
    assert folder_point_untrusted(forged, NOW) == public_point(KEY)  # its form is right
    with pytest.raises(TrustError, match="signed by its own key"):
        check_folder_certificate(forged, KEY, NOW)


def test_certificate_of_another_secret_is_refused_before_use() -> None:
    with pytest.raises(TrustError, match="does not belong"):
        check_folder_certificate(folder_certificate(OTHER_KEY, NOW), KEY, NOW)


@pytest.mark.parametrize("opened_at", [0, NOW, 2_524_608_000 - 397 * DAY_S, 2_524_608_000 + 3 * DAY_S, MAX_TIME])
def test_dates_of_any_time_are_read_by_a_library(opened_at: int) -> None:
    """Also around 2050, where the form of dates changes."""
    der = folder_certificate(KEY, opened_at)
    read = x509.load_der_x509_certificate(der)
    assert int(read.not_valid_after_utc.timestamp()) == opened_at + VALID_AFTER_S
    assert folder_point_untrusted(der, opened_at) == public_point(KEY)


def openssl_accepts(der: bytes, anchor: bytes) -> bool:
    store = crypto.X509Store()
    store.add_cert(crypto.load_certificate(crypto.FILETYPE_ASN1, anchor))
    store.set_time(datetime.fromtimestamp(NOW, UTC).replace(tzinfo=None))
    try:
        crypto.X509StoreContext(store, crypto.load_certificate(crypto.FILETYPE_ASN1, der)).verify_certificate()
    except crypto.X509StoreContextError:
        return False
    return True


def test_openssl_takes_the_certificate_as_its_own_anchor_but_no_child_of_it() -> None:
    child = library_certificate(key=OTHER_KEY, name="mallory", signer=KEY, serial=7)
    assert openssl_accepts(CERTIFICATE, CERTIFICATE)
    assert not openssl_accepts(child, CERTIFICATE)
    assert not openssl_accepts(folder_certificate(OTHER_KEY, NOW), CERTIFICATE)


def test_device_certificate_yields_its_key() -> None:
    ann = keys_of("ann")
    assert device_tls_key_untrusted(DEVICE_CERTIFICATE) == ann.public.tls
    read = x509.load_der_x509_certificate(DEVICE_CERTIFICATE)
    read.verify_directly_issued_by(read)
    assert device_certificate(ann) == DEVICE_CERTIFICATE


def test_throwaway_certificate_has_the_form_of_a_device_certificate() -> None:
    der, private = throwaway_certificate(seeded("pairing"))
    assert device_tls_key_untrusted(der) == private.public_key().public_bytes_raw()


def test_folder_certificate_is_no_device_certificate() -> None:
    with pytest.raises(CodecError):
        device_tls_key_untrusted(CERTIFICATE)


def test_device_certificate_with_a_changed_signature_is_refused() -> None:
    wrong = DEVICE_CERTIFICATE[:-1] + bytes([DEVICE_CERTIFICATE[-1] ^ 1])
    with pytest.raises(CodecError, match="signed"):
        device_tls_key_untrusted(wrong)


def test_device_certificate_with_a_changed_key_is_refused() -> None:
    stranger = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    with pytest.raises(CodecError):
        device_tls_key_untrusted(DEVICE_CERTIFICATE.replace(keys_of("ann").public.tls, stranger))
