"""Pure. The part of an HTTP/1.1 message before its body, in the one form we accept.

h11 reads leniently where several programs between client and server might disagree: bare line feeds, folded lines,
HTTP/1.0. So the raw bytes are checked here first, and only a head that can be read in one way reaches h11.
"""

from __future__ import annotations

import re
from typing import Final

from ca.values import dataclass
from syncd.errors import RemoteProtocolError

MAX_HEAD_BYTES: Final = 16 * 1024
MAX_LINE_BYTES: Final = 4 * 1024
MAX_FIELDS: Final = 64
MAX_LENGTH_DIGITS: Final = 15

END_OF_HEAD: Final = b"\r\n\r\n"

_VISIBLE = re.compile(rb"[\x20-\x7e]*")
_REQUEST_LINE = re.compile(rb"[A-Z]{1,16} [\x21-\x7e]+ (HTTP/[0-9]\.[0-9])")
_STATUS_LINE = re.compile(rb"(HTTP/[0-9]\.[0-9]) [1-5][0-9][0-9] [\x20-\x7e]{0,64}")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\x20]?([\x21-\x7e]*(?:[\x20]+[\x21-\x7e]+)*)[\x20]?")
_CANONICAL_LENGTH = re.compile(rb"0|[1-9][0-9]*")


class RequestRefused(RemoteProtocolError):
    """A request that is answered with `status` and nothing else. The words stay in our log."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status


@dataclass(frozen=True, slots=True)
class Head:
    """A parsed request head: method and target as sent, field names in lower case, no name twice."""

    method: bytes
    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]

    def maybe_field(self, name: bytes) -> bytes | None:
        """The value of a field, or None when it was not sent."""
        for other, value in self.fields:
            if other == name:
                return value
        return None


def check_request_head_untrusted(raw: bytes) -> None:
    """Check the bytes of a request head, its empty last line included. Raises RequestRefused."""
    lines = _lines_untrusted(raw)
    _check_first_line(_REQUEST_LINE, lines[0], "request")
    _check_fields(lines[1:])


def check_response_head_untrusted(raw: bytes) -> None:
    """Check the bytes of a response head, its empty last line included. Raises RemoteProtocolError."""
    lines = _lines_untrusted(raw)
    _check_first_line(_STATUS_LINE, lines[0], "status")
    _check_fields(lines[1:])


def body_length_untrusted(fields: tuple[tuple[bytes, bytes], ...]) -> int | None:
    """The announced length of a body in bytes; None when none is announced. Raises RequestRefused."""
    for name, value in fields:
        if name == b"content-length":
            _check_length(value)
            return int(value)
    return None


def _check_length(value: bytes) -> None:
    if not _CANONICAL_LENGTH.fullmatch(value) or len(value) > MAX_LENGTH_DIGITS:
        raise RequestRefused(400, "malformed content-length")


def _lines_untrusted(raw: bytes) -> list[bytes]:
    if len(raw) > MAX_HEAD_BYTES:
        raise RequestRefused(431, "head too long")
    if not raw.endswith(END_OF_HEAD):
        raise RequestRefused(400, "head without an end")
    lines = raw[: -len(END_OF_HEAD)].split(b"\r\n")
    if len(lines) - 1 > MAX_FIELDS or any(len(line) > MAX_LINE_BYTES for line in lines):
        raise RequestRefused(431, "too many or too long lines in a head")
    if not all(_VISIBLE.fullmatch(line) for line in lines):
        raise RequestRefused(400, "a byte in a head that is not printable ASCII")
    return lines


def _check_first_line(form: re.Pattern[bytes], line: bytes, name: str) -> None:
    match = form.fullmatch(line)
    if match is None:
        raise RequestRefused(400, f"malformed {name} line")
    if match[1] != b"HTTP/1.1":
        raise RequestRefused(505, "not HTTP/1.1")


def _check_fields(lines: list[bytes]) -> None:
    seen: set[bytes] = set()
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise RequestRefused(400, "malformed header field")
        name = match[1].lower()
        if name in seen:
            raise RequestRefused(400, "a header field sent twice")
        if name == b"content-length":
            _check_length(match[2])  # here, and not only where it is used: h11 takes "5, 5" for 5
        seen.add(name)
    if b"content-length" in seen and b"transfer-encoding" in seen:
        raise RequestRefused(400, "two lengths of one body")
