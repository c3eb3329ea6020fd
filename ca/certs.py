"""Pure. The exact bytes of certificates: the folder's (P-256), a device's and a throw-away one (Ed25519).

All are self-signed, CA:FALSE, with one constant name: a certificate says nothing but its key. They are laid out here
byte by byte, not built by a library, because receiving is the stricter half: a certificate that came in an entry or
from a peer is accepted only if it is, to the byte, the one that this file makes for its key. That refuses in one
comparison a CA certificate, a strange curve, a long name, an odd serial, an extension too many and whatever else X.509
allows (tests/unit/ca/test_certs.py reads the result with an independent parser and lists the fields).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca.device import DeviceKeys
from ca.digest import digest
from ca.errors import CodecError, TrustError

DAY_S: Final = 24 * 3600
VALID_BEFORE_S: Final = 2 * DAY_S
"""A folder certificate is valid from two days before its epoch, for clocks that are behind."""
VALID_AFTER_S: Final = 397 * DAY_S
"""And ends 397 days after: how long a peer that is cut off together with a removed device can go on serving it."""
MAX_CERTIFICATE_BYTES: Final = 512
POINT_BYTES: Final = 65
MAX_TIME: Final = 32_503_680_000
"""Seconds: the year 3000. X.509 can write no date after 9999, and no entry needs one."""

_INTEGER, _BITS, _OCTETS, _UTF8, _UTC_TIME, _GENERAL_TIME, _SEQUENCE, _SET = 2, 3, 4, 0x0C, 0x17, 0x18, 0x30, 0x31


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    if size < 0x100:
        return bytes((tag, 0x81, size)) + content
    return bytes((tag, 0x82, size >> 8, size & 0xFF)) + content


def _oid(encoded: str) -> bytes:
    return _der(6, bytes.fromhex(encoded))


_TRUE: Final = b"\x01\x01\xff"
_CRITICAL: Final = _TRUE
_VERSION_3: Final = _der(0xA0, _der(_INTEGER, b"\x02"))
_ECDSA_SHA256: Final = _der(_SEQUENCE, _oid("2a8648ce3d040302"))
_ED25519: Final = _der(_SEQUENCE, _oid("2b6570"))
_P256: Final = _der(_SEQUENCE, _oid("2a8648ce3d0201"), _oid("2a8648ce3d030107"))
_NAME: Final = _der(_SEQUENCE, _der(_SET, _der(_SEQUENCE, _oid("550403"), _der(_UTF8, b"syncd"))))  # CN=syncd
_NOT_A_CA: Final = _der(_SEQUENCE, _oid("551d13"), _CRITICAL, _der(_OCTETS, _der(_SEQUENCE)))
_SIGNS_ONLY: Final = _der(_SEQUENCE, _oid("551d0f"), _CRITICAL, _der(_OCTETS, _der(_BITS, b"\x07\x80")))
_SERVER_AND_CLIENT: Final = _der(
    _SEQUENCE,
    _oid("551d25"),
    _der(_OCTETS, _der(_SEQUENCE, _oid("2b06010505070301"), _oid("2b06010505070302"))),
)
_EXTENSIONS: Final = _der(0xA3, _der(_SEQUENCE, _NOT_A_CA, _SIGNS_ONLY, _SERVER_AND_CLIENT))


def _time(unix_s: int) -> bytes:
    """RFC 5280 §4.1.2.5: two digits for the year until 2049, four after."""
    moment = datetime.fromtimestamp(unix_s, UTC)
    if 1950 <= moment.year < 2050:
        return _der(_UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode())
    return _der(_GENERAL_TIME, f"{moment.year:04d}{moment:%m%d%H%M%S}Z".encode())


_ALWAYS: Final = _der(_SEQUENCE, _der(_UTC_TIME, b"000101000000Z"), _der(_GENERAL_TIME, b"99991231235959Z"))


def _to_be_signed(algorithm: bytes, key_type: bytes, public: bytes, validity: bytes) -> bytes:
    key = _der(_SEQUENCE, key_type, _der(_BITS, b"\x00", public))
    serial = bytearray(digest("certificate serial", validity + public)[:16])
    serial[0] = serial[0] & 0x3F | 0x40  # positive, and always 16 bytes
    return _der(
        _SEQUENCE, _VERSION_3, _der(_INTEGER, bytes(serial)), algorithm, _NAME, validity, _NAME, key, _EXTENSIONS
    )  # fmt: skip


# --- the folder's certificate ----------------------------------------------------------------------------------------


def _folder_to_be_signed(point: bytes, opened_at: int) -> bytes:
    return _to_be_signed(_ECDSA_SHA256, _P256, point, _validity(opened_at))


@lru_cache(maxsize=16)  # every entry asks twice, and dates are the slow part of reading a long roster
def _validity(opened_at: int) -> bytes:
    return _der(_SEQUENCE, _time(opened_at - VALID_BEFORE_S), _time(opened_at + VALID_AFTER_S))


def public_point(private: EllipticCurvePrivateKey) -> bytes:
    """65 bytes: the uncompressed public key."""
    return private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def folder_certificate(private: EllipticCurvePrivateKey, opened_at: int) -> bytes:
    """The DER for an epoch opened at this time (unix seconds). The same arguments give the same bytes."""
    content = _folder_to_be_signed(public_point(private), opened_at)
    signature = private.sign(content, ECDSA(SHA256(), deterministic_signing=True))
    return _der(_SEQUENCE, content, _ECDSA_SHA256, _der(_BITS, b"\x00", signature))


def folder_point_untrusted(der: bytes, opened_at: int) -> bytes:
    """The public key (65 bytes) of a folder certificate that has our form and the dates of this epoch.

    The signature is not looked at: the entry around it is signed, and `check_folder_certificate` follows before use.
    Raises: CodecError for any other form.
    """
    end_of_point = _folder_content_end(der) - len(_EXTENSIONS)
    point = der[end_of_point - POINT_BYTES : end_of_point]
    content = _folder_to_be_signed(point, opened_at)
    tail = der[4 + len(content) :]
    start = content + _ECDSA_SHA256
    signature = tail[len(_ECDSA_SHA256) + 3 :]
    if der != _der(_SEQUENCE, start, _der(_BITS, b"\x00", signature)) or len(signature) > 72 or point[:1] != b"\x04":
        raise CodecError("folder certificate does not have the form of this epoch")
    return point


def _folder_content_end(der: bytes) -> int:
    """Where the signed part ends: after two headers of four bytes and the length that the second states."""
    if len(der) > MAX_CERTIFICATE_BYTES or der[4:6] != b"\x30\x82":
        raise CodecError("folder certificate does not have the form of this epoch")
    return 8 + int.from_bytes(der[6:8], "big")


def check_folder_certificate(der: bytes, private: EllipticCurvePrivateKey, opened_at: int) -> None:
    """Raises TrustError unless this is a certificate of this very key, rightly signed by it."""
    try:
        point = folder_point_untrusted(der, opened_at)
        content = der[4 : _folder_content_end(der)]
        signature = der[4 + len(content) + len(_ECDSA_SHA256) + 3 :]
        EllipticCurvePublicKey.from_encoded_point(SECP256R1(), point).verify(signature, content, ECDSA(SHA256()))
    except (CodecError, InvalidSignature, ValueError):
        raise TrustError("the certificate in the roster is malformed or not signed by its own key") from None
    if point != public_point(private):
        raise TrustError("the secret received does not belong to the certificate in the roster")


def is_certificate_of(der: bytes, private: EllipticCurvePrivateKey) -> bool:
    """Whether a folder certificate of whatever date names this key."""
    try:
        end_of_point = _folder_content_end(der) - len(_EXTENSIONS)
    except CodecError:
        return False
    return der[end_of_point - POINT_BYTES : end_of_point] == public_point(private)


# --- device and throw-away certificates ------------------------------------------------------------------------------


def _device_certificate(private: Ed25519PrivateKey) -> bytes:
    content = _to_be_signed(_ED25519, _ED25519, private.public_key().public_bytes_raw(), _ALWAYS)
    return _der(_SEQUENCE, content, _ED25519, _der(_BITS, b"\x00", private.sign(content)))


def device_certificate(keys: DeviceKeys) -> bytes:
    """The DER for control connections. It has no date: the roster alone says until when a device counts."""
    return _device_certificate(keys.tls)


def throwaway_certificate(random: Callable[[int], bytes]) -> tuple[bytes, Ed25519PrivateKey]:
    """DER and key for one pairing: both sides bind their exchange to the channel, so nobody need know the key."""
    private = Ed25519PrivateKey.from_private_bytes(random(32))
    return _device_certificate(private), private


def device_tls_key_untrusted(der: bytes) -> bytes:
    """The public TLS key (32 bytes) in a device or throw-away certificate. Raises CodecError for any other form."""
    end_of_key = len(der) - 64 - 3 - len(_ED25519) - len(_EXTENSIONS)
    public = der[max(0, end_of_key - 32) : max(0, end_of_key)]
    content = _to_be_signed(_ED25519, _ED25519, public, _ALWAYS)
    signature = der[-64:]
    if der != _der(_SEQUENCE, content, _ED25519, _der(_BITS, b"\x00", signature)) or len(public) != 32:
        raise CodecError("device certificate does not have our form")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, content)
    except (InvalidSignature, ValueError):
        raise CodecError("device certificate is not signed by its own key") from None
    return public
