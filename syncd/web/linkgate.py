"""Pure. What people outside may ask of a share link, and in which form: five addresses below the one of the link.

    GET   /l/ID                 what is shared; without a proof a form that asks for one, the same for every id
    POST  /l/ID                 the proof: the secret, and the password
    GET   /l/ID/list/PATH       a directory in a shared directory
    POST  /l/ID/take            "I want to download this": what is counted, and written into the audit log
    GET   /l/ID/get/PATH, /l/ID/zip/PATH     the bytes; only for who took them before

No GET changes anything. Everything else is 404 or 405, whatever the link.
"""

from __future__ import annotations

import re
from enum import Enum
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from ca.values import dataclass
from syncd.errors import RemoteProtocolError
from syncd.model.paths import Path, validate_name_untrusted
from syncd.protocol.heads import Head

READING: Final = frozenset({b"GET", b"HEAD"})
FORM: Final = b"application/x-www-form-urlencoded"
MAX_FORM_BYTES: Final = 64 * 1024
MAX_FIELDS: Final = 8
MAX_NAMES: Final = 256
ASSETS: Final = {f"/assets/{name}": name for name in ("link.js", "page.css", "none.svg")}

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS: Final = (
    ("content-security-policy", _POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    # The address of a link goes nowhere; with no-referrer browsers would send `Origin: null` with our own forms.
    ("referrer-policy", "strict-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-robots-tag", "noindex, nofollow"),
    ("cache-control", "no-store"),
)
"""On every answer; downloads have another policy."""
SANDBOX: Final = ("content-security-policy", "sandbox; default-src 'none'; frame-ancestors 'none'")
HSTS: Final = ("strict-transport-security", "max-age=31536000")

_TARGET: Final = re.compile(
    r"/l/([0-9a-f]{32})(?:/(list|get|zip|take)(?:/([^?]*))?)?(?:\?after=([A-Za-z0-9%._~!$'()*,-]*))?"
)
_COOKIE: Final = "__Secure-link"
_TOKEN: Final = re.compile(r"[0-9a-f]{64}")
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_DECEITFUL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f/\\\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What leads elsewhere, or shows a name as another one, or as two."""
_PLAIN: Final = re.compile(r"[^A-Za-z0-9 ._+=,@()\[\]-]")


class Verb(Enum):
    """What is asked of a link."""

    SHOW = "show"
    PROVE = "prove"
    LIST = "list"
    TAKE = "take"
    GET = "get"
    ZIP = "zip"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request in the one form that counts. `after`: where the page of a list begins."""

    link: str
    verb: Verb
    path: Path = ()
    after: bytes = b""


@dataclass(frozen=True, slots=True)
class Asset:
    """One of the files that the pages load."""

    name: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that no link would answer."""

    status: int


def asked_untrusted(head: Head, origin: str | None = None) -> Asked | Asset | Refused:
    """What a request asks. It depends on nothing but its head. `origin`: another one of ours than what Host says."""
    if head.method not in READING and head.method != b"POST":
        return Refused(405)
    target = head.target.decode("ascii")
    is_post = head.method == b"POST"
    if not is_post and target in ASSETS:
        return Asset(ASSETS[target])
    found = _TARGET.fullmatch(target)
    if found is None:
        return Refused(404)
    link, word, rest, after = found.groups()
    if is_post and not _is_own_form(head, origin):
        return Refused(403)
    try:
        path, cursor = _path(rest or ""), unquote_to_bytes(after or "")
    except RemoteProtocolError:
        return Refused(404)
    return _asked(Asked(link, Verb.SHOW, path, cursor), word, is_post)


def _asked(asked: Asked, word: str | None, is_post: bool) -> Asked | Refused:
    match word, is_post:
        case None, False:
            return Asked(asked.link, Verb.SHOW, (), asked.after)
        case None, True:
            return Asked(asked.link, Verb.PROVE)
        case "take", True if not asked.path:
            return Asked(asked.link, Verb.TAKE)
        case "list" | "get" | "zip", False:
            return Asked(asked.link, Verb(word), asked.path, asked.after)
    return Refused(405)


def _is_own_form(head: Head, other: str | None) -> bool:
    """Whether a form was sent by a page of ours, or by a program that is no browser: those name no origin."""
    kind = (head.maybe_field(b"content-type") or b"").partition(b";")[0].strip().lower()
    host, origin = head.maybe_field(b"host") or b"", head.maybe_field(b"origin")
    if kind != FORM or head.maybe_field(b"sec-fetch-site") not in (None, b"same-origin", b"none"):
        return False
    return origin is None or origin == b"https://" + host or (other is not None and origin == other.lower().encode())


def _path(text: str) -> Path:
    """The names of a path as an address has them. Raises RemoteProtocolError: each is one name, and none leads up."""
    if not text:
        return ()
    parts = text.split("/")
    if len(parts) > MAX_NAMES:
        raise RemoteProtocolError("too long a path")
    return tuple(validate_name_untrusted(unquote_to_bytes(part)) for part in parts)


def in_address(path: Path) -> str:
    """The inverse: names as an address has them."""
    return "/".join(quote(name, safe="") for name in path)


def fields_untrusted(body: bytes) -> dict[str, str]:
    """The fields of a form; nothing if it is none."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="surrogateescape"
        )
    except ValueError:
        return {}
    return dict(pairs)


def wanted_untrusted(form: dict[str, str]) -> tuple[Verb, Path] | None:
    """What a form of `take` asks for; None for what no page of ours sends."""
    if form.get("what") not in ("get", "zip"):
        return None
    try:
        return Verb(form["what"]), _path(form.get("path", ""))
    except (RemoteProtocolError, UnicodeEncodeError):  # the latter for bytes that were not quoted once more
        return None


# --- cookies ---------------------------------------------------------------------------------------------------------


def cookie_untrusted(head: Head) -> str | None:
    """The session that a browser names."""
    try:
        found = SimpleCookie((head.maybe_field(b"cookie") or b"").decode("ascii")).get(_COOKIE)
    except CookieError:
        return None
    return found.value if found is not None and _TOKEN.fullmatch(found.value) else None


def set_cookie(link: str, token: str, seconds: int) -> tuple[str, str]:
    """Strict, for this link alone, and no longer than it lives. The server asks for all of it again."""
    return "set-cookie", f"{_COOKIE}={token}; Path=/l/{link}; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict"


# --- downloads -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """Which bytes go out. `start` beyond the end: none do, 416."""

    start: int
    length: int
    is_whole: bool = False

    @property
    def is_possible(self) -> bool:
        return self.length > 0 or self.is_whole


def part_untrusted(head: Head, size: int, tag: str) -> Part:
    """The one range that a client may ask for; the whole for anything that is no range, or of another content."""
    whole = Part(0, size, is_whole=True)
    condition = head.maybe_field(b"if-range")
    if condition is not None and condition != f'"{tag}"'.encode():
        return whole
    found = _RANGE.fullmatch((head.maybe_field(b"range") or b"").decode("ascii"))
    if found is None or found.group() == "bytes=-":
        return whole
    first, last = found.groups()
    if not first:  # so many of the last bytes
        length = min(int(last), size)
        return Part(size - length, length)
    start, stop = int(first), size if not last else min(int(last) + 1, size)
    if last and int(last) < int(first):
        return whole
    return Part(start, max(0, stop - start))


def disposition(name: str) -> tuple[str, str]:
    """`Content-Disposition` for a name of other people: never shown, and nothing in it leaves its quotes."""
    plain = _PLAIN.sub("_", name).strip(" .")[:120] or "download"
    exact = quote(_DECEITFUL.sub("_", name).encode("utf-8", "replace")[:800].decode("utf-8", "ignore"), safe="")
    return "content-disposition", f"attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}"
