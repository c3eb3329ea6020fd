"""Pure. The two texts that a person carries from the inviter to the joiner: the code and the link.

A code is read out or typed: a public number that finds the inviter among the neighbours, and three words of a list of
256, 24 bits that SPAKE2 makes good for three guesses and no more (`pairing.py`). The reader forgives case, blanks and
other separators, and says which word is not in the list.

A link is copied or scanned, so it may be longer and needs no forgiveness: `syncd:` and base32 of a canonical list [1,
secret, fingerprint of the inviter's device, expiry, addresses] and four bytes of checksum. Its 128-bit secret proves
the joiner, its fingerprint the inviter. The folder is not named: the inviter says it under the secret, and a link
that is forwarded should not tell more than it must. Lower case is the form for eyes; a QR code carries the same in
upper case, for which it has a denser alphabet; a mixture is refused.
"""

from __future__ import annotations

import base64
import difflib
import ipaddress
import re
from typing import Final

from blake3 import blake3

from ca.codec import array, bytes_of, decode_untrusted, encode, list_of, uint
from ca.errors import CodecError, RemoteProtocolError
from ca.ids import DeviceId
from ca.values import dataclass
from ca.words import WORDS

SCHEME: Final = "syncd:"
WORDS_IN_CODE: Final = 3
SECRET_BYTES: Final = 16
FINGERPRINT_BYTES: Final = 16  # of a DeviceId: 128 bits against a second device that hashes to the same
MAX_ADDRESSES: Final = 8
MAX_LINK_CHARS: Final = 1_024

_FORMAT = 1
_CHECKSUM_BYTES = 4
_MAX_HOST_CHARS = 253
_MAX_EXPIRY = 1 << 40
_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")
_ADDRESS = re.compile(r"(?:\[([^\[\]]+)\]|([^\[\]:]+)):([1-9][0-9]{0,4})")
_KNOWN = frozenset(WORDS)


@dataclass(frozen=True, slots=True)
class Code:
    """Number 1 to 99 and three words."""

    number: int
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        """`7-guitar-uncle-merit`"""
        return "-".join((str(self.number), *self.words))


@dataclass(frozen=True, slots=True)
class Link:
    """A longer invitation. Whoever holds it can ask to join until it expires, is used up or is revoked."""

    secret: bytes  # 16 bytes
    fingerprint: bytes  # first 16 bytes of the inviter's DeviceId
    expires: int  # unix seconds
    addresses: tuple[str, ...]  # `host:port`, best first

    def is_from(self, device: DeviceId) -> bool:
        """Whether the link was made by this device."""
        return device[:FINGERPRINT_BYTES] == self.fingerprint


def is_link(text: str) -> bool:
    """Whether a person who typed this meant a link (and not a code)."""
    return text.strip()[: len(SCHEME)].lower() == SCHEME


# --- codes -----------------------------------------------------------------------------------------------------------


def parse_code_untrusted(text: str) -> Code:
    """The code that a person typed: case, blanks and separators are forgiven, a misspelt word is named.

    Raises: RemoteProtocolError (SY-PAIR-02), and nothing else.
    """
    parts = re.findall("[0-9a-z]+", text.lower()) if len(text) <= MAX_LINK_CHARS else []
    if len(parts) != 1 + WORDS_IN_CODE or not re.fullmatch("[1-9][0-9]?", parts[0]):
        raise RemoteProtocolError("this is no code", id="SY-PAIR-02")
    for word in parts[1:]:
        if word not in _KNOWN:
            raise RemoteProtocolError("this is no code", id="SY-PAIR-02", why=_unknown_word(word))
    return Code(int(parts[0]), tuple(parts[1:]))


def _unknown_word(word: str) -> str:
    near = difflib.get_close_matches(word[:16], WORDS, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    return f'No code contains the word "{word[:16]}"{hint}'


# --- links -----------------------------------------------------------------------------------------------------------


def format_link(link: Link) -> str:
    """The text of a link. Addresses beyond the eighth, and those that mean nothing on another machine, are left out."""
    addresses = [packed for packed in map(_maybe_pack, link.addresses) if packed is not None][:MAX_ADDRESSES]
    body = encode([_FORMAT, link.secret, link.fingerprint, link.expires, addresses])
    return SCHEME + base64.b32encode(body + _checksum(body)).decode().rstrip("=").lower()


def qr_form(text: str) -> str:
    """The text of a link as a QR code should carry it."""
    return text.upper()


def parse_link_untrusted(text: str) -> Link:
    """The link that a person pasted or scanned; blanks around it are forgiven.

    Raises: RemoteProtocolError (SY-PAIR-02), and nothing else.
    """
    raw = _decode_base32_untrusted(text.strip())
    body, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if checksum != _checksum(body):
        raise _no_link("It is incomplete or was changed on the way; copy it again.")
    try:
        shape = array(
            uint(_FORMAT, minimum=_FORMAT),
            bytes_of(SECRET_BYTES),
            bytes_of(FINGERPRINT_BYTES),
            uint(_MAX_EXPIRY),
            list_of(_address_untrusted, MAX_ADDRESSES),
        )
        _, secret, fingerprint, expires, addresses = shape(decode_untrusted(body, max_bytes=MAX_LINK_CHARS))
    except CodecError:
        raise _no_link("A newer syncd may have made it.") from None
    return Link(secret, fingerprint, expires, addresses)


def _decode_base32_untrusted(text: str) -> bytes:
    if not is_link(text) or len(text) > MAX_LINK_CHARS or text not in (text.lower(), text.upper()):
        raise _no_link("A link starts with syncd: and is one word.")
    digits = text[len(SCHEME) :].upper()
    try:
        raw = base64.b32decode(digits + "=" * (-len(digits) % 8))
    except ValueError:
        raise _no_link("It holds a character that no link has.") from None
    if base64.b32encode(raw).decode().rstrip("=") != digits:  # bits beyond the last byte: a second spelling
        raise _no_link("It is incomplete or was changed on the way; copy it again.")
    return raw


def _no_link(why: str) -> RemoteProtocolError:
    return RemoteProtocolError("this is no link", id="SY-PAIR-02", why=why)


def _checksum(body: bytes) -> bytes:
    return blake3(body, derive_key_context="syncd/1 link checksum").digest(length=_CHECKSUM_BYTES)


def _maybe_pack(address: str) -> list[bytes | str | int] | None:
    """[4 or 16 bytes or a host name, port], or None for what is no address or has a meaning only here (a scope)."""
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match[3]) >= 1 << 16:
        return None
    host, port = match[1] or match[2], int(match[3])
    try:
        numeric = ipaddress.ip_address(host)
    except ValueError:
        return [host.lower(), port] if match[1] is None and _is_host_name(host.lower()) else None
    if isinstance(numeric, ipaddress.IPv6Address) and numeric.scope_id is not None:
        return None
    return [numeric.packed, port]


def _address_untrusted(value: object) -> str:
    match value:
        case [bytes(packed), int(port)] if len(packed) in (4, 16) and 0 < port < 1 << 16:
            numeric = ipaddress.ip_address(packed)
            return f"[{numeric}]:{port}" if numeric.version == 6 else f"{numeric}:{port}"
        case [str(name), int(port)] if _is_host_name(name) and 0 < port < 1 << 16:
            return f"{name}:{port}"
        case _:
            raise CodecError("expected an address and a port")


def _is_host_name(name: str) -> bool:
    """A DNS name; one whose last part is a number would be taken for an address by whoever dials it."""
    if len(name) > _MAX_HOST_CHARS or not _NAME.fullmatch(name):
        return False
    return not name.rpartition(".")[2].isdigit()
