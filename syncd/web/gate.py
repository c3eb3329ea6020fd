"""Pure. Who may ask the page for what, before anything else looks at a request.

The page is reached by every web site that the person's browser has open, so a request proves four things: it was sent
to a name of ours (no rebinding), by a page of ours or by the person (no cross-site request), with the cookie that only
our one-use link gives, and, to change something, with the token that only our own forms carry.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import field
from hashlib import sha256
from typing import Any, Final

from ca.values import dataclass
from syncd.protocol.heads import Head

LINK_S: Final = 300.0
"""How long a link of `syncd web` may wait for its click."""
IDLE_S: Final = 12 * 3600.0
"""A session that nobody used for so long is over."""
UNLOCKED_S: Final = 15 * 60.0
"""How long one entry of the PIN holds."""
MAX_LINKS: Final = 16
MAX_SESSIONS: Final = 32
MAX_NOTES: Final = 32

READING: Final = frozenset({b"GET", b"HEAD"})
FORM: Final = b"application/x-www-form-urlencoded"
FORWARDED: Final = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip")

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = (
    (
        "content-security-policy",
        _POLICY,
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),  # with no-referrer, browsers would send `Origin: null` with our own forms
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
)
"""On every answer. Assets replace the last one."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered: what, why, what to do."""

    status: int
    what: str
    why: str
    fix: str


def hosts_of(address: str, extra: tuple[str, ...]) -> frozenset[str]:
    """The values of Host under which the page at `address` (`host:port`) may be asked for."""
    port = address.rpartition(":")[2]
    return frozenset({address, f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", *extra})


def check_untrusted(head: Head, hosts: frozenset[str]) -> Refusal | None:
    """What a request can be refused for by its head alone."""
    host = (head.maybe_field(b"host") or b"").decode("latin-1")
    if host not in hosts:
        return Refusal(
            421,
            "this page does not answer to that name",
            f"The browser asked for {host[:80]!r}, which is not in the list of names of this page.",
            f'If that name is yours, add it:  [web] hosts = ["{host[:80] or "name:port"}"]  in config.toml',
        )
    if head.method not in READING and head.method != b"POST":
        return Refusal(405, "this method is not used here", "The page knows GET, HEAD and POST.", "Go back.")
    if head.maybe_field(b"sec-fetch-site") not in (None, b"same-origin", b"none"):  # None: a browser of before 2020
        return _foreign("Another web site sent the browser here.")
    if head.maybe_field(b"sec-fetch-dest") in (b"iframe", b"frame", b"embed", b"object"):
        return _foreign("Another page tried to show this one inside itself.")
    if head.method == b"POST":
        return _check_post(head, host)
    return None


def _check_post(head: Head, host: str) -> Refusal | None:
    if head.maybe_field(b"origin") != f"http://{host}".encode("latin-1"):
        return _foreign("The form did not come from this page.")
    kind = (head.maybe_field(b"content-type") or b"").partition(b";")[0].strip().lower()
    if kind != FORM:
        return Refusal(415, "this is not a form", "Only forms of this page change something.", "Go back.")
    return None


def _foreign(why: str) -> Refusal:
    return Refusal(403, "refused, to protect you", why, "Nothing was changed. Type the address of this page yourself.")


# --- sessions ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Session:
    """One browser that came in by a link. Its cookie is known here only by its hash."""

    key: bytes
    csrf: str
    read_only: bool
    used_at: float
    unlocked_until: float = 0.0
    notes: OrderedDict[str, Mapping[str, Any]] = field(default_factory=OrderedDict)
    """What actions said, to be shown once they are done: by the random name that stands in the address."""

    def is_ours(self, token: str) -> bool:
        """Whether a form carries this session's token."""
        return hmac.compare_digest(_hash(token), _hash(self.csrf))

    def keep(self, name: str, note: Mapping[str, Any]) -> None:
        """Remember what an action said; the oldest is forgotten when there are many."""
        self.notes[name] = note
        while len(self.notes) > MAX_NOTES:
            self.notes.popitem(last=False)


class Sessions:
    """Links that were given out, and browsers that came in. Times in seconds on any steady clock."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._links: OrderedDict[bytes, tuple[float, bool]] = OrderedDict()
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    def new_link(self, now: float, *, read_only: bool) -> str:
        """A token that opens one session, once, for some minutes."""
        token = self.name()
        self._links[_hash(token)] = now + LINK_S, read_only
        while len(self._links) > MAX_LINKS:
            self._links.popitem(last=False)
        return token

    def enter(self, token: str, now: float) -> tuple[str, Session] | None:
        """Use a link up: the new cookie and its session. None when the link is unknown, used or too old."""
        until, read_only = self._links.pop(_hash(token), (0.0, True))
        if now >= until:
            return None
        cookie = self.name()
        session = Session(_hash(cookie), self.name(), read_only, now)
        self._sessions[session.key] = session
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return cookie, session

    def find(self, cookie: str, now: float) -> Session | None:
        """The session of a cookie, used now."""
        session = self._sessions.get(_hash(cookie))
        if session is None or now - session.used_at > IDLE_S:
            self._sessions.pop(_hash(cookie), None)
            return None
        session.used_at = now
        self._sessions.move_to_end(session.key)
        return session

    def end(self, session: Session) -> None:
        self._sessions.pop(session.key, None)

    def name(self) -> str:
        """256 bits that nobody guesses."""
        return self._random(32).hex()


def _hash(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


# --- the PIN -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Patience:
    """How often a PIN was wrong, and when it may be tried again."""

    free_tries: int = 5
    wrong: int = 0
    again_at: float = 0.0

    def wait_s(self, now: float) -> float:
        """How long the next try has to wait; 0 when it may come."""
        return max(0.0, self.again_at - now)

    def failed(self, now: float) -> None:
        """Thirty seconds after five wrong ones, then twice as long each time, an hour at most."""
        self.wrong += 1
        if self.wrong >= self.free_tries:
            self.again_at = now + min(3600.0, 30.0 * 2 ** (self.wrong - self.free_tries))

    def succeeded(self) -> None:
        self.wrong, self.again_at = 0, 0.0
