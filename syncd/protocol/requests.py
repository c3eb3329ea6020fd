"""Pure. Which requests exist between peers: one table, one spelling each, everything else refused.

Not here, because it depends on who asks: whether the request is allowed (`authorize`).
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from ca.values import dataclass
from syncd.model.ids import Cid
from syncd.protocol.heads import Head, RequestRefused, body_length_untrusted

MAX_WAIT_S: Final = 55  # below what gateways and our own patience allow a silent connection
LOG_ID_BYTES: Final = 16

LOG_FIELD: Final = b"syncd-log"
WAIT_FIELD: Final = b"syncd-wait"
LEVEL_FIELD: Final = b"syncd-level"
WORD_FIELD: Final = b"syncd-word"


class Route(Enum):
    """An endpoint of design.md §4: method, form of the target, and the largest body that it takes, in bytes."""

    HELLO = (b"POST", rb"/v1/hello", 32 << 10)
    HEADS = (b"GET", rb"/v1/heads/(?P<number>0|[1-9][0-9]{0,17})", 0)
    HAVE = (b"POST", rb"/v1/have", 1 << 20)
    PROVE = (b"POST", rb"/v1/prove", 16 << 10)
    BLOCKS = (b"POST", rb"/v1/blocks", 256 << 10)
    BLOCK = (b"GET", rb"/v1/blocks/(?P<cid>[0-9a-f]{64})", 0)
    READ_ROSTER = (b"GET", rb"/v1/roster/(?P<number>0|[1-9][0-9]{0,17})", 0)
    SUBMIT_ENTRY = (b"POST", rb"/v1/roster", 13 << 20)
    NEEDS = (b"POST", rb"/v1/needs", 64)
    COMMAND = (b"POST", rb"/v1/commands", 32 << 10)
    REPORT = (b"GET", rb"/v1/commands/(?P<nonce>[0-9a-f]{32})", 0)
    KEEP = (b"POST", rb"/v1/keep", 320 << 10)
    RECOVER = (b"POST", rb"/v1/recover", 1 << 10)
    PAIR = (b"POST", rb"/v1/pair", 32 << 10)

    def __init__(self, method: bytes, target: bytes, max_body_bytes: int) -> None:
        self.method = method
        self.form = re.compile(target)
        self.max_body_bytes = max_body_bytes


_NAME: Final = re.compile(rb"/v1/([a-z]+)(?:/|\Z)")
_NAMES: Final = {name[1] for name in (_NAME.match(route.form.pattern) for route in Route) if name is not None}


@dataclass(frozen=True, slots=True)
class Request:
    """A request that exists. Its body has not been read."""

    route: Route
    content_length: int = 0
    number: int = 0  # HEADS, READ_ROSTER: what comes after this number
    cid: Cid | None = None  # BLOCK
    nonce: bytes | None = None  # REPORT: of the command that is asked about
    log_id: bytes | None = None  # HEADS: whose count of heads `number` belongs to
    wait_s: int = 0  # HEADS: how long to wait for news
    is_level: bool = False  # HEADS: the client lacks nothing of what it knows
    word: int = 0  # HEADS: number of that word among all that the client says of what it lacks; 0: it says nothing

    @property
    def method(self) -> str:
        return self.route.method.decode("ascii")


def request_untrusted(head: Head, label: str) -> Request:
    """What a head asks for, on a connection to `label`. Raises RequestRefused with the status to answer."""
    _check_host(head, label)
    _check_features(head)
    route, match = _route(head)
    groups = match.groupdict()
    cid, nonce = groups.get("cid"), groups.get("nonce")
    return Request(
        route,
        _content_length(head, route),
        number=int(groups.get("number") or 0),
        cid=None if cid is None else Cid(bytes.fromhex(cid.decode("ascii"))),
        nonce=None if nonce is None else bytes.fromhex(nonce.decode("ascii")),
        log_id=_log_id(head) if route is Route.HEADS else None,
        wait_s=_wait_s(head) if route is Route.HEADS else 0,
        is_level=route is Route.HEADS and _is_level(head),
        word=_word(head) if route is Route.HEADS else 0,
    )


def target_of(route: Route, *, number: int = 0, cid: Cid | None = None, nonce: bytes = b"") -> str:
    """The target by which a client asks for `route`."""
    match route:
        case Route.HEADS:
            return f"/v1/heads/{number}"
        case Route.READ_ROSTER:
            return f"/v1/roster/{number}"
        case Route.REPORT:
            return f"/v1/commands/{nonce.hex()}"
        case Route.BLOCK:
            if cid is None:
                raise ValueError("a block is asked for by its cid")
            return f"/v1/blocks/{cid.hex()}"
        case _:
            return route.form.pattern.decode("ascii")


def heads_fields(log_id: bytes, wait_s: int, *, word: int = 0, is_level: bool = False) -> tuple[tuple[str, str], ...]:
    """The header fields of a request for heads."""
    fields = [(LOG_FIELD, log_id.hex()), (WAIT_FIELD, str(wait_s))]
    if word:
        fields.append((WORD_FIELD, str(word)))
    if is_level:
        fields.append((LEVEL_FIELD, "1"))
    return tuple((name.decode(), value) for name, value in fields)


def _check_host(head: Head, label: str) -> None:
    host = head.maybe_field(b"host")
    if host is None:
        raise RequestRefused(400, "no host")
    if host != label.encode("ascii"):
        raise RequestRefused(421, "the host is not the name of this connection")


def _check_features(head: Head) -> None:
    """What HTTP offers and we do not take: silently ignoring it would mean something else to the sender."""
    if head.maybe_field(b"transfer-encoding") is not None:
        raise RequestRefused(501, "a request body needs a content-length")
    if head.maybe_field(b"content-encoding") is not None:
        raise RequestRefused(415, "an encoded body")
    if head.maybe_field(b"expect") is not None:
        raise RequestRefused(417, "an expectation")


def _route(head: Head) -> tuple[Route, re.Match[bytes]]:
    known_target = False
    for route in Route:
        match = route.form.fullmatch(head.target)
        if match is not None:
            if route.method == head.method:
                return route, match
            known_target = True
    if known_target or head.method not in (b"GET", b"POST"):
        raise RequestRefused(405, "no such method here")
    name = _NAME.match(head.target)
    if name is None or name[1] in _NAMES:
        raise RequestRefused(400, "malformed target")
    raise RequestRefused(404, "no such target")


def _content_length(head: Head, route: Route) -> int:
    length = body_length_untrusted(head.fields)
    if length is None:
        if route.max_body_bytes:
            raise RequestRefused(411, "a body without a length")
        return 0
    if length > route.max_body_bytes:
        raise RequestRefused(413, "body too large")
    return length


def _log_id(head: Head) -> bytes | None:
    value = head.maybe_field(LOG_FIELD)
    if value is None:
        return None
    if not re.fullmatch(rb"[0-9a-f]{%d}" % (2 * LOG_ID_BYTES), value):
        raise RequestRefused(400, "malformed log id")
    return bytes.fromhex(value.decode("ascii"))


def _wait_s(head: Head) -> int:
    value = head.maybe_field(WAIT_FIELD)
    if value is None:
        return 0
    if not re.fullmatch(rb"0|[1-9][0-9]?", value) or int(value) > MAX_WAIT_S:
        raise RequestRefused(400, "malformed wait")
    return int(value)


def _is_level(head: Head) -> bool:
    value = head.maybe_field(LEVEL_FIELD)
    if value not in (None, b"1"):
        raise RequestRefused(400, "malformed level")
    return value is not None


def _word(head: Head) -> int:
    value = head.maybe_field(WORD_FIELD)
    if value is None:
        return 0
    if not re.fullmatch(rb"[1-9][0-9]{0,18}", value):
        raise RequestRefused(400, "malformed word")
    return int(value)
