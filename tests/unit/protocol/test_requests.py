"""Pure. The table of requests: every entry in its one spelling, and nothing else."""

from __future__ import annotations

import pytest

from syncd.model.ids import Cid
from syncd.protocol.heads import Head, RequestRefused
from syncd.protocol.requests import MAX_WAIT_S, Request, Route, heads_fields, request_untrusted, target_of

LABEL = "f01e01"
CID = Cid(bytes(range(32)))
HEX = CID.hex().encode()


def head(method: bytes, target: bytes, **fields: bytes) -> Head:
    named = {name.replace("_", "-").encode(): value for name, value in ({"host": LABEL.encode()} | fields).items()}
    return Head(method, target, tuple(named.items()))


def status_of(asked: Head) -> int:
    with pytest.raises(RequestRefused) as refusal:
        request_untrusted(asked, LABEL)
    return refusal.value.status


@pytest.mark.parametrize(
    ("asked", "request_"),
    [
        (head(b"POST", b"/v1/hello", content_length=b"9"), Request(Route.HELLO, 9)),
        (head(b"GET", b"/v1/heads/0"), Request(Route.HEADS)),
        (head(b"GET", b"/v1/heads/17", syncd_wait=b"25"), Request(Route.HEADS, number=17, wait_s=25)),
        (head(b"GET", b"/v1/heads/5", syncd_log=b"ab" * 16), Request(Route.HEADS, number=5, log_id=b"\xab" * 16)),
        (head(b"POST", b"/v1/have", content_length=b"40"), Request(Route.HAVE, 40)),
        (head(b"POST", b"/v1/prove", content_length=b"80"), Request(Route.PROVE, 80)),
        (head(b"POST", b"/v1/blocks", content_length=b"40"), Request(Route.BLOCKS, 40)),
        (head(b"GET", b"/v1/blocks/" + HEX), Request(Route.BLOCK, cid=CID)),
        (head(b"GET", b"/v1/blocks/" + HEX, content_length=b"0"), Request(Route.BLOCK, cid=CID)),
        (head(b"GET", b"/v1/roster/3"), Request(Route.READ_ROSTER, number=3)),
        (head(b"POST", b"/v1/roster", content_length=b"99"), Request(Route.SUBMIT_ENTRY, 99)),
        (head(b"POST", b"/v1/commands", content_length=b"99"), Request(Route.COMMAND, 99)),
        (head(b"GET", b"/v1/commands/" + HEX[:32]), Request(Route.REPORT, nonce=bytes.fromhex(HEX[:32].decode()))),
        (head(b"POST", b"/v1/pair", content_length=b"99"), Request(Route.PAIR, 99)),
    ],
)
def test_request_in_its_one_spelling(asked: Head, request_: Request) -> None:
    assert request_untrusted(asked, LABEL) == request_


@pytest.mark.parametrize("ignored", ["cookie", "authorization", "range", "upgrade", "accept_encoding"])
def test_fields_without_meaning_are_ignored(ignored: str) -> None:
    asked = head(b"GET", b"/v1/heads/0", **{ignored: b"bytes=0-1,5-2"})
    assert request_untrusted(asked, LABEL) == Request(Route.HEADS)


@pytest.mark.parametrize(
    "target",
    [
        b"/v1/heads/00",
        b"/v1/heads/-1",
        b"/v1/heads/+1",
        b"/v1/heads/1/",
        b"/v1/heads/",
        b"/v1/heads/1?x",
        b"/v1/heads/1#x",
        b"/v1/heads/1;a=b",
        b"/v1/heads/%31",
        b"/v1/heads/" + b"9" * 19,
        b"/v1/blocks/" + HEX.upper(),
        b"/v1/blocks/" + HEX[:-1],
        b"/v1/blocks/" + HEX + b"0",
        b"/v1/blocks/" + HEX[:-2] + b"%30",
        b"/v1//blocks/" + HEX,
        b"/v1/blocks/../blocks/" + HEX,
        b"/V1/heads/0",
        b"/",
        b"*",
        b"http://f01e01/v1/heads/0",
        b"f01e01:443",
        b"/v1",
    ],
)
def test_other_spellings_are_refused(target: bytes) -> None:
    assert status_of(head(b"GET", target)) == 400


@pytest.mark.parametrize("target", [b"/v1/put", b"/v1/requests", b"/v1/nothing/at/all"])
def test_names_of_no_endpoint_are_not_found(target: bytes) -> None:
    assert status_of(head(b"GET", target)) == 404


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"CONNECT", b"TRACE", b"FOO"])
def test_other_methods_are_refused(method: bytes) -> None:
    assert status_of(head(method, b"/v1/have")) == 405


@pytest.mark.parametrize("host", [b"", b"f01e02", b"F01E01", b"f01e01:443", b"f01e01."])
def test_foreign_host_is_refused(host: bytes) -> None:
    assert status_of(head(b"GET", b"/v1/heads/0", host=host)) == 421


def test_missing_host_is_refused() -> None:
    assert status_of(Head(b"GET", b"/v1/heads/0", ())) == 400


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"transfer_encoding": b"chunked"}, 501),
        ({"content_encoding": b"gzip", "content_length": b"3"}, 415),
        ({"expect": b"100-continue", "content_length": b"3"}, 417),
        ({}, 411),
        ({"content_length": b"%d" % (Route.HAVE.max_body_bytes + 1)}, 413),
        ({"content_length": b"+3"}, 400),
    ],
)
def test_unwanted_bodies_are_refused(fields: dict[str, bytes], status: int) -> None:
    assert status_of(head(b"POST", b"/v1/have", **fields)) == status


def test_body_of_a_get_is_refused() -> None:
    assert status_of(head(b"GET", b"/v1/heads/0", content_length=b"1")) == 413


@pytest.mark.parametrize(
    "fields",
    [
        {"syncd_wait": b"%d" % (MAX_WAIT_S + 1)},
        {"syncd_wait": b"05"},
        {"syncd_wait": b"-1"},
        {"syncd_log": b"AB" * 16},
        {"syncd_log": b"ab" * 15},
    ],
)
def test_malformed_fields_of_ours_are_refused(fields: dict[str, bytes]) -> None:
    assert status_of(head(b"GET", b"/v1/heads/0", **fields)) == 400


@pytest.mark.parametrize("route", Route)
def test_what_we_ask_is_what_we_understand(route: Route) -> None:
    target = target_of(route, number=12, cid=CID, nonce=CID[:16])
    fields = {"content_length": b"1"} if route.max_body_bytes else {}
    asked = request_untrusted(head(route.method, target.encode(), **fields), LABEL)
    assert asked.route is route
    assert asked.number in (0, 12)
    assert asked.cid in (None, CID)
    assert asked.nonce in (None, CID[:16])


def test_our_fields_are_what_we_understand() -> None:
    ours = heads_fields(b"\x01" * 16, 25, word=7, is_level=True)
    fields = tuple((name.encode(), value.encode()) for name, value in ours)
    asked = request_untrusted(Head(b"GET", b"/v1/heads/0", ((b"host", LABEL.encode()), *fields)), LABEL)
    assert (asked.log_id, asked.wait_s, asked.word, asked.is_level) == (b"\x01" * 16, 25, 7, True)
