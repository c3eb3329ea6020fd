"""Every way to misuse HTTP that we know of, over TLS against the real doorkeeper: the status, and what becomes of the
connection. `open` means that the very next honest request on it is answered, `closed` that nothing is any more.

The rows are numbered as in the catalogue of bad inputs (docs/threat-model.md, "HTTP"). Bad answers, to us as clients,
are at the end.
"""

from __future__ import annotations

import ast
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from syncd.errors import LocalProtocolError, PeerUnavailable, RemoteProtocolError
from syncd.http import Body, Client, Response, serve
from syncd.net.dial import dial
from syncd.net.stream import TlsStream
from syncd.protocol.heads import MAX_FIELDS, MAX_HEAD_BYTES, MAX_LINE_BYTES
from syncd.protocol.refusals import Event
from syncd.protocol.tls import LabelTable
from tests.helpers.folders import make_folder
from tests.helpers.listener import CIPHERTEXT, Listening, StillClock, listening
from tests.helpers.simnet import SimInternet

ROOT = Path(__file__).resolve().parents[2]
FOLDER = make_folder(1)
HOST = b"Host: " + FOLDER.label.encode() + b"\r\n"
TARGET = b"/v1/blocks/" + b"00" * 32
GOOD = b"GET " + TARGET + b" HTTP/1.1\r\n" + HOST + b"\r\n"

BAD = (400,)
OPEN = True
CLOSED = False


@dataclass(frozen=True, slots=True)
class Row:
    """What is sent, which status must answer it (none: the connection just ends), and what becomes of it."""

    id: str
    sent: bytes
    status: tuple[int, ...] = BAD
    stays: bool = CLOSED


def get(*fields: bytes, target: bytes = TARGET, version: bytes = b"HTTP/1.1", host: bytes = HOST) -> bytes:
    return b"GET " + target + b" " + version + b"\r\n" + host + b"".join(one + b"\r\n" for one in fields) + b"\r\n"


def post(*fields: bytes, body: bytes = b"", target: bytes = b"/v1/hello") -> bytes:
    return b"POST " + target + b" HTTP/1.1\r\n" + HOST + b"".join(one + b"\r\n" for one in fields) + b"\r\n" + body


ROWS = [
    Row("the partner", GOOD, (200,), OPEN),
    Row("an unknown block", get(target=b"/v1/blocks/" + b"ab" * 32), (404,), OPEN),
    Row("H1 no host", get(host=b"")),
    Row("H1 two hosts", get(HOST.strip())),
    Row("H1 foreign host", get(host=b"Host: example.org\r\n"), (421,)),
    Row("H1 host with port", get(host=HOST.strip() + b":443\r\n"), (421,)),
    Row("H1 empty host", get(host=b"Host: \r\n"), (400, 421)),
    Row("H2 absolute form", get(target=b"http://" + FOLDER.label.encode() + TARGET)),
    Row("H2 authority form", b"CONNECT example.org:443 HTTP/1.1\r\n" + HOST + b"\r\n", (400, 405)),
    Row("H2 asterisk form", b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", (400, 405)),
    Row("H2 asterisk with GET", get(target=b"*")),
    Row("H3 PUT", GOOD.replace(b"GET", b"PUT"), (405,)),
    Row("H3 HEAD", GOOD.replace(b"GET", b"HEAD"), (405,)),
    Row("H3 DELETE", GOOD.replace(b"GET", b"DELETE"), (405,)),
    Row("H3 POST of a block", GOOD.replace(b"GET", b"POST"), (405,)),
    Row("H3 lower case", GOOD.replace(b"GET", b"get"), (400, 405)),
    Row("H3 a method of 10 kB", b"G" * 10_000 + GOOD[3:], (400, 405, 431)),
    Row("H4 HTTP/0.9", b"GET " + TARGET + b"\r\n\r\n"),
    Row("H4 HTTP/1.0", get(version=b"HTTP/1.0"), (505,)),
    Row("H4 HTTP/1.2", get(version=b"HTTP/1.2"), (505,)),
    Row("H4 preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    Row("H5 two kinds of length", post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"hello")),
    Row("H5 transfer-encoding twice", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")),
    Row("H5 identity", post(b"Transfer-Encoding: identity", body=b"hello"), (400, 501)),
    Row("H5 lengths in a list", post(b"Content-Length: 5, 5", body=b"hello")),
    Row("H5 length twice", post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello")),
    Row("H5 length with a sign", post(b"Content-Length: +5", body=b"hello")),
    Row("H5 length with a blank", post(b"Content-Length: 1 5", body=b"hello")),
    Row("H5 length with a zero in front", post(b"Content-Length: 05", body=b"hello")),
    Row("H5 negative length", post(b"Content-Length: -5", body=b"hello")),
    Row("H5 length of 30 digits", post(b"Content-Length: " + b"9" * 30), (400, 413)),
    Row("H6 bare line feeds", GOOD.replace(b"\r\n", b"\n") + b"\r\n\r\n"),
    Row("H6 one bare line feed", get(b"A: b\nC: d")),
    Row("H6 bare carriage return", get(b"A: b\rC: d")),
    Row("H6 folded line", get(b"A: b", b" c")),
    Row("H6 blank before the colon", get(b"A : b")),
    Row("H6 NUL", get(b"A: \x00")),
    Row("H6 beyond ASCII", get("A: ä".encode())),
    Row("H6 beyond ASCII in the target", get(target="/v1/blocks/ä".encode())),
    Row("H7 too many fields", get(*[b"A%d: b" % number for number in range(MAX_FIELDS + 1)]), (431,)),
    Row("H7 too long a line", get(b"A: " + b"b" * MAX_LINE_BYTES), (431,)),
    Row("H7 too long a head", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (MAX_HEAD_BYTES // 6 + 1), (431,)),
    Row("H8 chunks", post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"), (400, 501)),
    Row("H9 body over the limit", post(b"Content-Length: 1000000000"), (413,)),
    Row("H9 body of somebody unproved", post(b"Content-Length: 100000", target=b"/v1/have"), (403,)),
    Row("H9 body without a length", post(body=b"hello"), (411,)),
    Row("H9 body of a GET", get(b"Content-Length: 5") + b"hello", (400, 413)),
    Row("H12 expectation", post(b"Content-Length: 5", b"Expect: 100-continue"), (417,)),
    Row("H12 upgrade", get(b"Connection: upgrade", b"Upgrade: websocket"), (200,), OPEN),
    Row("H12 connection names our fields", get(b"Connection: host, content-length"), (200,), OPEN),
    Row("H12 connection: close", get(b"Connection: close"), (200,), CLOSED),
    Row("H13 range", get(b"Range: bytes=0-0"), (200,), OPEN),
    Row("H13 many ranges", get(b"Range: bytes=" + b",".join([b"0-"] * 500)), (200,), OPEN),
    Row("H13 reversed range", get(b"Range: bytes=9-1"), (200,), OPEN),
    Row("H13 range of 2^63", get(b"Range: bytes=-9223372036854775808"), (200,), OPEN),
    Row("H14 percent", get(target=TARGET.replace(b"0", b"%30", 1))),
    Row("H14 percent and nothing", get(target=TARGET + b"%")),
    Row("H14 encoded slash", get(target=b"/v1%2fblocks/" + b"00" * 32), (400, 404)),
    Row("H15 upper case", get(target=b"/v1/blocks/" + b"AB" * 32)),
    Row("H15 63 digits", get(target=TARGET[:-1])),
    Row("H15 65 digits", get(target=TARGET + b"0")),
    Row("H15 digits of another script", get(target=b"/v1/blocks/" + "\u0660".encode() * 64)),
    Row("H15 sign", get(target=b"/v1/heads/+1")),
    Row("H15 zero in front", get(target=b"/v1/heads/01")),
    Row("H16 query", get(target=TARGET + b"?a=b")),
    Row("H16 empty query", get(target=TARGET + b"?")),
    Row("H16 fragment", get(target=TARGET + b"#a")),
    Row("H16 parameters", get(target=TARGET + b";a=b")),
    Row("H16 dot segments", get(target=b"/v1/./blocks/" + b"00" * 32), (400, 404)),
    Row("H16 parent segment", get(target=b"/v1/blocks/../hello"), (400, 404)),
    Row("H16 double slash", get(target=b"/" + TARGET), (400, 404)),
    Row("H17 cookie", get(b"Cookie: a=b", b"Authorization: Bearer x"), (200,), OPEN),
    Row("H17 forwarded", get(b"X-Forwarded-For: 127.0.0.1", b"Forwarded: for=127.0.0.1"), (200,), OPEN),
    Row("H18 encoded body", post(b"Content-Length: 5", b"Content-Encoding: gzip", body=b"hello"), (415,)),
]


@asynccontextmanager
async def served() -> AsyncIterator[tuple[SimInternet, Listening]]:
    internet = SimInternet(seed=3)
    table = LabelTable()
    FOLDER.serve(table)
    async with listening(table, network=internet.network("b")) as server:
        yield internet, server


async def connect(internet: SimInternet, server: Listening, host: str = "a") -> TlsStream:
    return await dial(internet.network(host), StillClock(), server.address, FOLDER.dial())


async def answer(stream: TlsStream) -> tuple[int | None, bytes]:
    """Status and body of the next answer; None when the connection ends instead."""
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            if not (more := await stream.receive_some()):
                return None, data
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))[15:])
        while len(body) < length:
            body += await stream.receive_some()
        return int(data[9:12]), body
    except trio.BrokenResourceError:
        return None, data


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
async def test_row(autojump_clock: MockClock, row: Row) -> None:
    async with served() as (internet, server):
        stream = await connect(internet, server)
        await stream.send_all(row.sent)
        status, body = await answer(stream)
        assert status in row.status
        if status != 200:
            assert body == b""  # H21: no input, no path, no version
        if row.stays:
            await stream.send_all(GOOD)
            assert await answer(stream) == (200, CIPHERTEXT)
            assert not server.refusals.counts
        else:
            with pytest.raises((trio.BrokenResourceError, AssertionError)):
                await stream.send_all(GOOD)
                assert await answer(stream) == (None, b"")
                raise trio.BrokenResourceError
            assert status == 200 or server.refusals.counts[Event.REQUEST] or status == 403
        await stream.aclose()
        other = await connect(internet, server)
        await other.send_all(GOOD)
        assert await answer(other) == (200, CIPHERTEXT)


def test_no_row_is_missing() -> None:
    """Those that are no single request have tests of their own, named after them."""
    own = {row.id.split()[0] for row in ROWS if row.id.startswith("H")}
    own |= {f"H{found[1]}" for name in globals() if (found := re.match(r"test_h(\d+)_", name)) is not None}
    assert own == {f"H{number}" for number in range(1, 23)}


@pytest.mark.parametrize(("pause_s", "within_s"), [(0.5, 11.0), (9.0, 19.0)])
async def test_h10_slow_head_is_cut(autojump_clock: MockClock, pause_s: float, within_s: float) -> None:
    async with served() as (internet, server):
        stream = await connect(internet, server)
        began = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            for byte in GOOD[:-1]:
                await stream.send_all(bytes([byte]))
                await trio.sleep(pause_s)
        assert trio.current_time() - began < within_s
        while server.doorkeeper.busy:  # noqa: ASYNC110 - until the listener has noticed
            await trio.sleep(0.1)


async def test_h10_silence_before_the_first_request_is_cut(autojump_clock: MockClock) -> None:
    async with served() as (internet, server):
        stream = await connect(internet, server)
        began = trio.current_time()
        assert await answer(stream) == (None, b"")
        assert trio.current_time() - began < 11


async def test_h10_slow_body_is_cut(autojump_clock: MockClock) -> None:
    async with served() as (internet, server):
        stream = await connect(internet, server)
        await stream.send_all(post(b"Content-Length: 30000"))
        began = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            for _ in range(30_000):
                await stream.send_all(b"x")
                await trio.sleep(1)
        assert trio.current_time() - began < 90


async def test_h10_slow_reader_is_cut(autojump_clock: MockClock) -> None:
    async with served() as (internet, server):
        stream = await connect(internet, server)
        await stream.send_all(GOOD * 40)  # four megabytes of answers, which nobody reads
        with trio.fail_after(8 * 60):
            while server.doorkeeper.busy:  # noqa: ASYNC110 - until the listener gives up
                await trio.sleep(1)
        stream.abort()


async def test_h11_pipelined_requests_are_answered_in_order(autojump_clock: MockClock) -> None:
    async with served() as (internet, server):
        stream = await connect(internet, server)
        missing = get(target=b"/v1/blocks/" + b"ab" * 32)
        await stream.send_all(missing * 999 + get(b"Connection: close", target=b"/v1/blocks/" + b"cd" * 32))
        data = b""
        with pytest.raises(trio.BrokenResourceError):
            while more := await stream.receive_some():
                data += more
            raise trio.BrokenResourceError
        assert data.count(b"HTTP/1.1 404") == data.count(b"HTTP/1.1") == 1000


async def disconnect_everywhere(count: int, seed: int) -> None:
    """Leave at so many random bytes of an exchange; nothing may be left behind. (H19; the long run: `make prove`.)"""
    random = Random(seed)
    script = post(b"Content-Length: 100", body=bytes(100)) + GOOD
    async with served() as (internet, server):
        for number in range(count):
            host = f"10.{number >> 14}.{number >> 7 & 127}.{number & 127}"
            stream = await connect(internet, server, host)
            await stream.send_all(script[: random.randrange(len(script) + 1)])
            await trio.sleep(random.random() * 0.05)
            stream.abort()
        with trio.fail_after(60):
            while server.doorkeeper.busy:  # noqa: ASYNC110 - the last ones are noticed a moment later
                await trio.sleep(0.1)
        assert len(server.connections) == 0
        last = await connect(internet, server)
        await last.send_all(GOOD)
        assert await answer(last) == (200, CIPHERTEXT)


async def test_h19_leaving_at_any_moment_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    await disconnect_everywhere(150, seed=1)


# --- what an answer may hold ---------------------------------------------------------------------------------------

SPLITTING = ["a\r\nSet-Cookie: b=c", "a\nSet-Cookie: b=c", "a\r\n\r\nHTTP/1.1 200 OK", "a\0b", "a\rb"]


@pytest.mark.parametrize("name", SPLITTING)
async def test_h20_what_would_split_an_answer_is_not_sent(name: str) -> None:
    """Should a name from outside ever get into a field: not a byte of that answer leaves."""

    async def handle(target: bytes, _body: Body) -> Response:
        return Response(200, b"fine", fields=(("x-name", name if target == b"/split" else "ben"),))

    for target, sent in ((b"/split", False), (b"/good", True)):
        ours, theirs = memory_stream_pair()
        await ours.send_all(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        try:
            await serve(theirs, handle, admit=lambda head: head.target)
        except LocalProtocolError:
            assert not sent
        await theirs.aclose()
        answered = b"".join([bytes(part) async for part in ours])
        assert (b"200" in answered) == sent and b"Set-Cookie" not in answered


@pytest.mark.parametrize("name", SPLITTING)
async def test_h20_what_would_split_a_request_is_not_sent(name: str) -> None:
    ours, theirs = memory_stream_pair()
    with pytest.raises(LocalProtocolError):
        await Client(ours, host="x").request("GET", "/", fields=(("x-name", name),))
    await ours.aclose()
    assert b"".join([bytes(part) async for part in theirs]) == b""


def test_h20_no_answer_between_peers_has_fields_of_its_own() -> None:
    for module in sorted((ROOT / "syncd/net").glob("*.py")):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Response":
                assert not any(keyword.arg == "fields" for keyword in node.keywords), f"{module.name}:{node.lineno}"
                assert len(node.args) <= 2, f"{module.name}:{node.lineno}"


@pytest.mark.parametrize(
    "sent",
    [
        get(target=b"/sesame"),
        get(target=b"/v1/blocks/sesame"),
        get(host=b"Host: sesame\r\n"),
        get(b"sesame: sesame: sesame", b"sesame: sesame: sesame"),
        GOOD.replace(b"GET", b"SESAME"),
        post(b"Content-Length: 1000000000", body=b"sesame"),
        get(target=b"/v1/blocks/" + b"ab" * 32, host=HOST + b"Cookie: sesame\r\n"),
    ],
)
async def test_h21_errors_repeat_nothing(autojump_clock: MockClock, sent: bytes) -> None:
    """No input, no path, no name or version of a program: a status and a length."""
    async with served() as (internet, server):
        stream = await connect(internet, server)
        await stream.send_all(sent)
        answered = await stream.receive_some()
        head, _, body = answered.partition(b"\r\n\r\n")
        status, *fields = head.lower().split(b"\r\n")
        assert re.fullmatch(rb"http/1\.1 4\d\d ", status) and body == b""
        assert {line.split(b":")[0] for line in fields} <= {b"content-length", b"connection"}
        assert b"sesame" not in answered.lower()
        stream.abort()


# --- what answers to us may hold -----------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"HTTP/1.1 301 Moved\r\nLocation: https://example.org/\r\n\r\n", id="redirect without a length"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, id="flood of 1xx"),
        pytest.param(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", id="other protocol"),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", id="HTTP/1.0"),
        pytest.param(OK + b"\r\nbody until the end", id="no length"),
        pytest.param(OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", id="two lengths"),
        pytest.param(OK + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", id="encoded"),
        pytest.param(OK + b"A: b\r\n" * 20_000, id="endless fields"),
        pytest.param(b"SSH-2.0-OpenSSH_9.9\r\n\r\n", id="another protocol"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n5;" + b"x" * 300 + b"\r\nhello", id="chunk extension"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n", id="chunk of 2^64"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n", id="chunk without its end"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n", id="trailers"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", id="negative chunk"),
        pytest.param(OK + b"Content-Length: 9\r\n\r\nshort", id="shorter than announced"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n<html>", id="body where there is none"),
    ],
)
async def test_h22_bad_answer_is_refused_and_never_followed(sent: bytes) -> None:
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:

        async def misbehave() -> None:
            await theirs.receive_some()
            await theirs.send_all(sent)
            await theirs.send_eof()

        nursery.start_soon(misbehave)
        client = Client(ours, host="x")
        with pytest.raises((RemoteProtocolError, PeerUnavailable)):
            reply = await client.request("GET", "/")
            await reply.body.read(1 << 20)
        assert not client.is_usable


async def test_h22_redirect_is_an_answer_like_any_other_and_not_followed() -> None:
    """One question leaves, whatever the answer points to."""
    ours, theirs = memory_stream_pair()
    await theirs.send_all(b"HTTP/1.1 302 Found\r\nLocation: https://example.org/\r\nContent-Length: 0\r\n\r\n")
    reply = await Client(ours, host="x").request("GET", "/here")
    assert (reply.status, await reply.body.read(10)) == (302, b"")
    await ours.aclose()
    asked = b"".join([bytes(part) async for part in theirs])
    assert asked.count(b"HTTP/1.1") == 1 and b"example.org" not in asked
