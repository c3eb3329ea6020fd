"""Pure. The one form of an HTTP head; each refusal beside the form that differs in one byte and passes."""

from __future__ import annotations

import pytest

from syncd.protocol.heads import (
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_LINE_BYTES,
    RequestRefused,
    body_length_untrusted,
    check_request_head_untrusted,
    check_response_head_untrusted,
)

GOOD = b"POST /v1/have HTTP/1.1\r\nHost: f01\r\nContent-Length: 5\r\n\r\n"


def request(*lines: bytes) -> bytes:
    return b"\r\n".join([b"GET / HTTP/1.1", *lines]) + b"\r\n\r\n"


def status_of(raw: bytes) -> int:
    with pytest.raises(RequestRefused) as refusal:
        check_request_head_untrusted(raw)
    return refusal.value.status


@pytest.mark.parametrize(
    "raw",
    [
        GOOD,
        b"GET / HTTP/1.1\r\n\r\n",
        request(b"a:b"),
        request(b"a: "),
        request(b"a:"),
        request(b"User-Agent: curl/7.88.1", b"Accept: */*"),
        request(*(b"x-%d: y" % number for number in range(MAX_FIELDS))),
    ],
)
def test_good_head_passes(raw: bytes) -> None:
    check_request_head_untrusted(raw)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (GOOD[:-2], "without an end"),
        (GOOD + b"x", "without an end"),
        (request(b"x: \x00"), "not printable"),
        (request("x: \u00e9".encode()), "not printable"),
        (request(b"x: \x7f"), "not printable"),
    ],
)
def test_refusal_says_why(raw: bytes, why: str) -> None:
    with pytest.raises(RequestRefused, match=why):
        check_request_head_untrusted(raw)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (GOOD.replace(b"\r\n", b"\n"), 400),  # bare line feeds
        (GOOD.replace(b"Host: f01\r\n", b"Host: f01\n"), 400),
        (GOOD.replace(b"f01", b"f\r01"), 400),
        (GOOD.replace(b"f01", b"f\x0001"), 400),
        (GOOD.replace(b"f01", b"f\xc3\xbc"), 400),
        (GOOD.replace(b"f01", b"f\x7f"), 400),
        (GOOD.replace(b": f01", b":\tf01"), 400),
        (GOOD.replace(b"f01\r\n", b"f01\r\n folded\r\n"), 400),
        (GOOD.replace(b"Host:", b"Host :"), 400),
        (GOOD.replace(b"Host:", b" Host:"), 400),
        (GOOD.replace(b"Host:", b":"), 400),
        (GOOD.replace(b"Host:", b"Ho st:"), 400),
        (GOOD.replace(b"Host: f01", b"Host"), 400),
        (request(b"Host: a", b"host: a"), 400),  # sent twice
        (request(b"Content-Length: 1", b"Content-Length: 1"), 400),
        (request(b"Content-Length: 1", b"Transfer-Encoding: chunked"), 400),
        (request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"), 400),
        (GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"), 505),
        (GOOD.replace(b"HTTP/1.1", b"HTTP/1.2"), 505),
        (GOOD.replace(b"HTTP/1.1", b"HTTP/2"), 400),
        (b"PRI * HTTP/2.0\r\n\r\n", 505),
        (b"GET /\r\n\r\n", 400),
        (GOOD.replace(b"POST", b"post"), 400),
        (GOOD.replace(b"POST ", b"POST  "), 400),
        (GOOD.replace(b"POST", b"P" * 10_000), 431),
        (GOOD.replace(b"POST", b"P" * 100), 400),
        (b"\r\n" + GOOD, 400),  # h11 would skip an empty line
        (GOOD[:-2], 400),
        (request(b"a: " + b"b" * MAX_LINE_BYTES), 431),
        (request(*(b"x-%d: y" % number for number in range(MAX_FIELDS + 1))), 431),
        (request(*(b"x-%d: %s" % (number, b"y" * 4000) for number in range(5))), 431),
        (b"x" * (MAX_HEAD_BYTES + 1), 431),
    ],
)
def test_other_forms_are_refused(raw: bytes, status: int) -> None:
    assert status_of(raw) == status


@pytest.mark.parametrize("raw", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n"])
def test_good_status_line_passes(raw: bytes) -> None:
    check_response_head_untrusted(raw)


@pytest.mark.parametrize(
    "raw",
    [b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 20 OK\r\n\r\n", b"HTTP/1.1 200\n\n", b"ICY 200 OK\r\n\r\n", GOOD],
)
def test_other_status_lines_are_refused(raw: bytes) -> None:
    with pytest.raises(RequestRefused):
        check_response_head_untrusted(raw)


@pytest.mark.parametrize(("value", "length"), [(b"0", 0), (b"7", 7), (b"123456789012345", 123456789012345)])
def test_canonical_length(value: bytes, length: int) -> None:
    assert body_length_untrusted(((b"content-length", value),)) == length


@pytest.mark.parametrize(
    "value", [b"", b"+3", b"-1", b"03", b"00", b"1_0", b"1 0", b"1,1", b"0x3", b"9" * 16, "²".encode(), b"1e3"]
)
def test_other_lengths_are_refused(value: bytes) -> None:
    with pytest.raises(RequestRefused):
        body_length_untrusted(((b"content-length", value),))


def test_absent_length_is_none() -> None:
    assert body_length_untrusted(((b"host", b"a"),)) is None
