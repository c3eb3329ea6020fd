"""Async. The one runner of HTTP/1.1, on any trio stream: between peers, on the control socket, for the status page.

h11 reads and writes heads and frames what we send; bodies that arrive are read here. The reason is speed: through h11 a
body would be copied three more times. It stays honest because an h11 connection lives for one exchange only: it is
given exactly the bytes of one head (checked by `protocol.heads` first), tells how the body is framed, writes the other
side's message, and is dropped. It never sees a byte of a body it did not read, and none is hidden from it that it could
miss: there is no pipelining, and the next exchange begins with a new one.

Who serves can change hands: a node that cannot listen dials, and after an answer marked `swap` the HTTP roles are
exchanged for the life of the stream.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import lru_cache
from typing import Final, Generic, Protocol, TypeAlias, TypeVar, runtime_checkable

import h11
import trio

from ca.values import dataclass
from syncd.errors import LocalProtocolError, PeerUnavailable, RemoteProtocolError
from syncd.protocol.heads import (
    END_OF_HEAD,
    MAX_HEAD_BYTES,
    Head,
    RequestRefused,
    body_length_untrusted,
    check_request_head_untrusted,
    check_response_head_untrusted,
)
from syncd.seams import Buffer

Admitted = TypeVar("Admitted")
Argument = TypeVar("Argument")
Received = TypeVar("Received")
Pieces: TypeAlias = "Buffer | Sequence[Buffer]"
Fields: TypeAlias = "tuple[tuple[str, str], ...]"

READ_BYTES: Final = 64 * 1024
HEAD_BYTES: Final = 4 * 1024  # what nearly all heads fit in, with a short body behind it
DRAIN_BYTES: Final = 64 * 1024  # what is worth reading away to keep a connection
LINGER_S: Final = 1.0  # how long a refused peer has to read our answer
LINGER_BYTES: Final = 1 << 20  # and how much we let it finish sending meanwhile
MAX_LINE_BYTES: Final = 16  # a chunk's size line: CR LF of the chunk before, up to eight digits, CR LF

_CHUNK_SIZE = re.compile(rb"0|[1-9a-f][0-9a-f]{0,7}")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long we are patient, in seconds, and how much one connection may ask."""

    first_s: float = 10.0  # until the first request begins, when nothing is known of the client yet
    idle_s: float = 75.0  # until the next one begins
    head_s: float = 10.0  # from the first byte of a head to its last
    answer_s: float = 60.0  # until the first byte of an answer
    stall_s: float = 60.0  # in which at least `stall_bytes` must move
    stall_bytes: int = 16 * 1024
    requests: int = 1_000_000  # on one connection


DEFAULT_LIMITS: Final = Limits()


@runtime_checkable
class FastStream(Protocol):
    """What `net.stream.TlsStream` can do beyond a trio stream; plain streams are adapted."""

    async def send_pieces(self, pieces: Iterable[Buffer]) -> None: ...

    async def receive_into(self, buffer: memoryview) -> int: ...

    def receive_into_nowait(self, buffer: memoryview) -> int: ...


class LastPiece(bytes):
    """The end of a streamed body: its last bytes and the word that they are the last go out together."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Response:
    """What a handler answers. A streamed body without `length` goes out in chunks, one for each item it yields."""

    status: int
    body: Buffer | AsyncIterator[Pieces] = b""
    fields: Fields = ()
    length: int | None = None
    swap: bool = False  # after this answer the HTTP roles change hands
    close: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client got. Its body must be read to the end before the next request."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: Body


class Body:
    """A message body on its way in. One reader."""

    def __init__(self, pipe: _Pipe, length: int | None) -> None:
        """`length` in bytes, or None for chunks."""
        self.length = length
        self._pipe = pipe
        self._left = length or 0  # of the chunk, or of the whole
        self._in_chunks = length is None
        self._behind_chunk = False  # its line end must stand before the next one's size
        self._finished = length == 0

    @property
    def is_finished(self) -> bool:
        """Whether all of it was read."""
        return self._finished

    async def receive_into(self, buffer: memoryview) -> int:
        """Fill the front of `buffer` with what has arrived; 0 only at the end of the body.

        Raises: PeerUnavailable when the body is cut short or stalls, RemoteProtocolError when it is malformed.
        """
        if not self._finished and self._left == 0:
            await self._next_chunk()
        if self._finished:
            return 0
        count = await self._pipe.receive_into(buffer[: self._left])
        self._left -= count
        self._finished = self._left == 0 and not self._in_chunks
        return count

    async def receive_some(self, max_bytes: int = READ_BYTES) -> bytes:
        """At least one byte; empty only at the end of the body."""
        buffer = memoryview(bytearray(max_bytes))
        return bytes(buffer[: await self.receive_into(buffer)])

    async def read(self, max_bytes: int) -> bytes:
        """All that is left. Raises RemoteProtocolError when that is more than `max_bytes`."""
        if self.length is not None and self.length > max_bytes:
            raise RemoteProtocolError(f"a body over the limit of {max_bytes} bytes")
        parts: list[bytes] = []
        total = 0
        while part := await self.receive_some(min(READ_BYTES, self._left or READ_BYTES)):
            total += len(part)
            if total > max_bytes:
                raise RemoteProtocolError(f"a body over the limit of {max_bytes} bytes")
            parts.append(part)
        return b"".join(parts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while part := await self.receive_some():
            yield part

    async def drain(self) -> bool:
        """Read a small rest away. False when more is left than that is worth."""
        drained = 0
        while not self._finished and drained + self._left <= DRAIN_BYTES:
            drained += len(await self.receive_some())
        return self._finished

    async def _next_chunk(self) -> None:
        """Read the size of the next chunk; no extensions, no trailers."""
        if self._behind_chunk and await self._pipe.read_line() != b"":
            raise RemoteProtocolError("a chunk without an end")
        line = await self._pipe.read_line()
        if not _CHUNK_SIZE.fullmatch(line):
            raise RemoteProtocolError("malformed chunk size")
        self._left = int(line, 16)
        self._behind_chunk = True
        if self._left == 0:
            if await self._pipe.read_line() != b"":
                raise RemoteProtocolError("a body with trailers")
            self._finished = True


class _Pipe:
    """A stream with what was read too far, deadlines, and errors that say what to do next."""

    def __init__(self, stream: trio.abc.Stream, limits: Limits, rest: bytes) -> None:
        self.stream = stream
        self.limits = limits
        self.rest = rest  # received, and not yet part of anything
        self._fast = stream if isinstance(stream, FastStream) else None
        self._waited_s = 0.0  # for the last `_moved` bytes
        self._moved = 0

    async def receive_into(self, buffer: memoryview) -> int:
        if not self.rest:
            if self._fast is not None:
                # What is here costs no trip through the scheduler; new bytes do, so others get their turn.
                count = self._fast.receive_into_nowait(buffer)
                return self._account(count or await self._patiently(self._fast.receive_into, buffer))
            self.rest = await self._receive(min(len(buffer), READ_BYTES))
        count = min(len(buffer), len(self.rest))
        buffer[:count] = self.rest[:count]
        self.rest = self.rest[count:]
        return count

    async def read_line(self) -> bytes:
        """Up to the next CR LF, which is taken away."""
        while (end := self.rest.find(b"\r\n")) < 0:
            if len(self.rest) >= MAX_LINE_BYTES:
                raise RemoteProtocolError("a chunk's size without an end")
            self.rest += await self._receive(MAX_LINE_BYTES)
        line, self.rest = self.rest[:end], self.rest[end + 2 :]
        return line

    async def maybe_read_head(self, begin_s: float) -> bytes | None:
        """All bytes of the next head, its empty line included; None when the stream ends or nothing begins in time.

        Raises: RequestRefused when it is too long, PeerUnavailable when it does not end in time.
        """
        data = self.rest
        if not data:
            with trio.move_on_after(begin_s), _translated():
                data = bytes(await self.stream.receive_some(HEAD_BYTES))
            if not data:
                return None
        if (end := data.find(END_OF_HEAD)) < 0:  # nearly always it is here whole, and no deadline has to be set up
            data = await self._rest_of_head(data)
            end = data.find(END_OF_HEAD)
        end += len(END_OF_HEAD)
        self.rest = data[end:]
        return data[:end]

    async def _rest_of_head(self, data: bytes) -> bytes:
        """Read on until the head has its end."""
        with _deadline(self.limits.head_s), _translated():
            searched = 0
            while data.find(END_OF_HEAD, searched) < 0:
                if len(data) > MAX_HEAD_BYTES:
                    raise RequestRefused(431, "head too long")
                searched = max(0, len(data) - len(END_OF_HEAD))
                more = await self.stream.receive_some(HEAD_BYTES)
                if not more:
                    raise PeerUnavailable("the connection ended inside a head")
                data += more
        return data

    async def send(self, pieces: Sequence[Buffer]) -> None:
        size = sum(len(piece) for piece in pieces)
        patience_s = self.limits.stall_s * (1 + size / self.limits.stall_bytes)
        with trio.CancelScope(deadline=trio.current_time() + patience_s):
            try:
                if self._fast is not None:
                    await self._fast.send_pieces(pieces)
                else:
                    await self.stream.send_all(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise PeerUnavailable("the connection was lost") from error
            return
        raise PeerUnavailable("the peer is too slow")

    async def linger(self) -> None:
        """Give the peer a moment to read our last words: closing on unread bytes would reset the connection."""
        with trio.move_on_after(LINGER_S), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            for _ in range(LINGER_BYTES // READ_BYTES):
                if not await self.stream.receive_some(READ_BYTES):
                    return

    async def _receive(self, max_bytes: int) -> bytes:
        if self._fast is not None:
            buffer = memoryview(bytearray(max_bytes))
            count = self._fast.receive_into_nowait(buffer)
            return bytes(buffer[: self._account(count or await self._patiently(self._fast.receive_into, buffer))])
        data = bytes(await self._patiently(self.stream.receive_some, max_bytes))
        self._account(len(data))
        return data

    async def _patiently(self, receive: Callable[[Argument], Awaitable[Received]], argument: Argument) -> Received:
        """Receive while patience lasts. Only waiting counts: a body may lie unread as long as *we* like.

        Written out, here and in `send`, instead of built from the context managers below: bodies come through.
        """
        begun = trio.current_time()
        with trio.CancelScope(deadline=begun + self.limits.stall_s - self._waited_s):
            try:
                received = await receive(argument)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise PeerUnavailable("the connection was lost") from error
            self._waited_s += trio.current_time() - begun
            return received
        raise PeerUnavailable("the peer is too slow")

    def _account(self, count: int) -> int:
        if count == 0:
            raise PeerUnavailable("the connection ended inside a body")
        self._moved += count
        if self._moved >= self.limits.stall_bytes:
            self._moved, self._waited_s = 0, 0.0
        return count


# --- serving -------------------------------------------------------------------------------------------------------


async def serve(
    stream: trio.abc.Stream,
    handle: Callable[[Admitted, Body], Awaitable[Response]],
    *,
    admit: Callable[[Head], Admitted],
    limits: Limits = DEFAULT_LIMITS,
    should_close: Callable[[], bool] = lambda: False,
    rest: bytes = b"",
) -> bool:
    """Answer requests one after the other until the peer leaves. Does not close the stream.

    `admit` turns a head into a request or raises RequestRefused; `handle` answers it, and may raise RemoteProtocolError
    for a malformed body. `should_close` is asked after each answer. `rest` is what `Client.hand_over` gave.

    Returns: True when an answer with `swap` was sent, and the caller is now the client on `stream`.
    Raises:  PeerUnavailable, RemoteProtocolError (both after telling the peer as far as it can be told), and what
             `handle` raises.
    """
    pipe = _Pipe(stream, limits, rest)
    patience_s = limits.first_s
    for _ in range(limits.requests):
        try:
            exchange = await _maybe_next_exchange(pipe, admit, patience_s)
            patience_s = limits.idle_s
            if exchange is None:
                return False
            response = await exchange.answer(handle)
        except RequestRefused as refusal:
            await _refuse(pipe, refusal.status)
            raise
        if response.swap:
            if pipe.rest:
                raise RemoteProtocolError("a request behind the one that gave the right to ask away")
            return True
        if not await exchange.body.drain():
            await pipe.linger()
            return False
        if exchange.is_last or response.close or should_close():
            return False
    return False


class _Exchange(Generic[Admitted]):
    """One request and its answer, on the serving side."""

    def __init__(self, pipe: _Pipe, raw: bytes, admitted: Admitted, body: Body, is_last: bool) -> None:
        """`raw`: the bytes of the request's head."""
        self.body = body
        self.is_last = is_last
        self._pipe = pipe
        self._raw = raw
        self._admitted = admitted

    async def answer(self, handle: Callable[[Admitted, Body], Awaitable[Response]]) -> Response:
        try:
            response = await handle(self._admitted, self.body)
        except PeerUnavailable:
            raise
        except RemoteProtocolError as error:
            raise RequestRefused(error.status if isinstance(error, RequestRefused) else 400, str(error)) from error
        except Exception:
            await _refuse(self._pipe, 500)
            raise
        await _send_response(self._pipe, self._raw, response, close=self.is_last or response.close)
        return response


async def _maybe_next_exchange(
    pipe: _Pipe, admit: Callable[[Head], Admitted], begin_s: float
) -> _Exchange[Admitted] | None:
    """Raises RequestRefused for what is not a request, and what `admit` raises."""
    raw = await pipe.maybe_read_head(begin_s)
    if raw is None:
        return None
    head = (_request_untrusted if len(raw) <= MAX_KEPT_BYTES else _request_untrusted.__wrapped__)(raw)
    if head.maybe_field(b"transfer-encoding") is not None:
        raise RequestRefused(501, "a request body needs a content-length")
    length = body_length_untrusted(head.fields)
    is_last = (head.maybe_field(b"connection") or b"").lower() == b"close"
    return _Exchange(pipe, raw, admit(head), Body(pipe, length or 0), is_last)


async def _send_response(pipe: _Pipe, raw: bytes, response: Response, *, close: bool) -> None:
    """`raw`: the head of the request."""
    fields: list[tuple[str, str]] = [*response.fields, _framing(response.body, response.length)]
    if close:
        fields.append(("connection", "close"))
    if isinstance(response.body, (bytes, bytearray, memoryview)) and raw.startswith(_WITH_BODY):
        await pipe.send([_response_head(response.status, tuple(fields)), response.body])
        return
    machine = _serving_machine(raw)
    with _our_bug():
        head = h11.Response(status_code=response.status, headers=fields)
    await _send_message(pipe, machine, head, response.body)


async def _refuse(pipe: _Pipe, status: int) -> None:
    """Answer with a status alone and let the peer read it. It says nothing about what was asked."""
    with suppress(PeerUnavailable):  # whoever left need not be told
        await _send_response(pipe, b"", Response(status), close=True)
        await pipe.linger()


# --- asking --------------------------------------------------------------------------------------------------------


class Client:
    """Asks on a stream, one request at a time. Does not close the stream."""

    def __init__(self, stream: trio.abc.Stream, *, host: str, limits: Limits = DEFAULT_LIMITS) -> None:
        """`host` goes into every request: between peers it is the label of the connection."""
        self.stream = stream
        self._host = host
        self._pipe = _Pipe(stream, limits, b"")
        self._body: Body | None = None  # of the last reply
        self._is_over = False  # a failed or last exchange: nobody knows what comes next on the stream

    @property
    def is_usable(self) -> bool:
        """Whether the next request may be sent."""
        return not self._is_over and (self._body is None or self._body.is_finished)

    async def request(
        self,
        method: str,
        target: str,
        *,
        fields: Fields = (),
        body: Buffer | AsyncIterator[Pieces] = b"",
        length: int | None = None,
        answer_s: float | None = None,
    ) -> Reply:
        """Send a request and wait for the head of its reply, at most `answer_s` seconds (default from the limits).

        `length` is required for a streamed body.

        Raises: PeerUnavailable, RemoteProtocolError. After either, or a cancellation, the stream is of no more use.
        """
        if not self.is_usable:
            raise LocalProtocolError("a request while another is going on, or after the connection's last")
        self._is_over = True
        if self._pipe.rest:
            raise RemoteProtocolError("an answer without a question")
        sized = (_framing(body, length),) if body or method != "GET" else ()
        fields = (("host", self._host), *fields, *sized)
        if isinstance(body, (bytes, bytearray, memoryview)):
            await self._pipe.send([_request_head(method, target, fields), body])
        else:
            machine = h11.Connection(h11.CLIENT)
            with _our_bug():
                head = h11.Request(method=method, target=target, headers=list(fields))
            await _send_message(self._pipe, machine, head, body)
        raw = await self._pipe.maybe_read_head(self._pipe.limits.answer_s if answer_s is None else answer_s)
        if raw is None:
            raise PeerUnavailable("no answer came")
        reply = self._reply_untrusted(method, raw)
        self._is_over = _field(reply.fields, b"connection") == b"close"
        return reply

    def hand_over(self) -> bytes:
        """After a reply that swaps the roles: what was already received of the peer's first request, for `serve`."""
        if not self.is_usable:
            raise LocalProtocolError("roles can only be swapped between two requests")
        self._is_over = True
        return self._pipe.rest

    def _reply_untrusted(self, method: str, raw: bytes) -> Reply:
        read = _response_untrusted if len(raw) <= MAX_KEPT_BYTES else _response_untrusted.__wrapped__
        status, fields = read(method, raw)
        if _field(fields, b"content-encoding") is not None:
            raise RemoteProtocolError("an encoded body")
        self._body = Body(self._pipe, _reply_length_untrusted(fields))
        return Reply(status, fields, self._body)


def _reply_length_untrusted(fields: tuple[tuple[bytes, bytes], ...]) -> int | None:
    """Bytes, or None for chunks. A body that would end with the connection cannot be told from one cut short."""
    length = body_length_untrusted(fields)
    if length is None and _field(fields, b"transfer-encoding") != b"chunked":
        raise RemoteProtocolError("a body without a length")
    return length


# --- heads -----------------------------------------------------------------------------------------------------------
#
# What h11 makes of a head depends on the bytes of that head and on nothing else, and those of one connection are much
# alike: so what it made of the last ones is kept. Long ones are not, whoever sends them.

MAX_KEPT_BYTES: Final = 512
KEPT: Final = 256

_WITH_BODY: Final = (b"GET ", b"POST ")
_ANY_REQUEST: Final = b"GET / HTTP/1.1\r\nhost: any\r\n\r\n"
_Fields: TypeAlias = "tuple[tuple[bytes, bytes], ...]"


@lru_cache(KEPT)
def _request_untrusted(raw: bytes) -> Head:
    """Raises RequestRefused."""
    check_request_head_untrusted(raw)
    event = _parse_untrusted(h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES), raw)
    assert isinstance(event, h11.Request)  # of a whole head h11 makes a request or an error, and nothing else
    return Head(event.method, event.target, tuple(event.headers))


@lru_cache(KEPT)
def _response_untrusted(method: str, raw: bytes) -> tuple[int, _Fields]:
    """Status and fields of the answer to a request. Raises RemoteProtocolError."""
    check_response_head_untrusted(raw)
    machine = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
    machine.send(h11.Request(method=method, target="/", headers=[("host", "any")]))
    event = _parse_untrusted(machine, raw)
    if not isinstance(event, h11.Response):
        raise RemoteProtocolError("not a final answer")
    return event.status_code, tuple(event.headers)


@lru_cache(KEPT)
def _request_head(method: str, target: str, fields: Fields) -> bytes:
    """What goes out before a body whose length is known."""
    with _our_bug():
        written = h11.Connection(h11.CLIENT).send(h11.Request(method=method, target=target, headers=list(fields)))
    assert written is not None
    return written


@lru_cache(KEPT)
def _response_head(status: int, fields: Fields) -> bytes:
    """The same in answer to a request that may have a body in its answer."""
    with _our_bug():
        written = _serving_machine(_ANY_REQUEST).send(h11.Response(status_code=status, headers=list(fields)))
    assert written is not None
    return written


def _serving_machine(raw: bytes) -> h11.Connection:
    """h11 as it is when a request has come; nothing of it (`raw` empty) when there was none to be made of what came."""
    machine = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    if raw:
        _parse_untrusted(machine, raw)
    return machine


# --- both ----------------------------------------------------------------------------------------------------------


class _Joined:
    """Several buffers that h11 frames as one: it asks for the length of what it passes through, and for nothing
    else."""

    def __init__(self, pieces: Sequence[Buffer]) -> None:
        self.pieces = pieces
        self._size = sum(len(piece) for piece in pieces)

    def __len__(self) -> int:
        return self._size


async def _send_message(
    pipe: _Pipe, machine: h11.Connection, head: h11.Request | h11.Response, body: Buffer | AsyncIterator[Pieces]
) -> None:
    waiting = _written(machine, head)
    if isinstance(body, (bytes, bytearray, memoryview)):
        waiting += _written(machine, h11.Data(data=_Joined((body,))))  # type: ignore[arg-type]  # see _Joined
    else:
        async with closing_body(body):
            async for item in body:
                pieces = (item,) if isinstance(item, (bytes, bytearray, memoryview)) else item
                waiting += _written(machine, h11.Data(data=_Joined(pieces)))  # type: ignore[arg-type]  # see _Joined
                if isinstance(item, LastPiece):
                    break
                await pipe.send(waiting)
                waiting = []
    waiting += _written(machine, h11.EndOfMessage())
    if waiting:
        await pipe.send(waiting)


def _written(machine: h11.Connection, event: h11.Event) -> list[Buffer]:
    """What h11 wants sent for an event."""
    with _our_bug():
        written = machine.send_with_data_passthrough(event) or []
    pieces: list[Buffer] = []
    for part in written:
        pieces.extend(part.pieces if isinstance(part, _Joined) else (part,))
    return [piece for piece in pieces if len(piece)]


def _framing(body: Buffer | AsyncIterator[Pieces], length: int | None) -> tuple[str, str]:
    if isinstance(body, (bytes, bytearray, memoryview)):
        return "content-length", str(len(body))
    if length is not None:
        return "content-length", str(length)
    return "transfer-encoding", "chunked"


def _parse_untrusted(machine: h11.Connection, raw: bytes) -> object:
    try:
        machine.receive_data(raw)
        return machine.next_event()
    except h11.RemoteProtocolError as error:
        raise RequestRefused(error.error_status_hint, f"malformed head: {error}") from error


def _field(fields: tuple[tuple[bytes, bytes], ...], name: bytes) -> bytes | None:
    return next((value for other, value in fields if other == name), None)


@asynccontextmanager
async def closing_body(body: AsyncIterator[Pieces]) -> AsyncIterator[None]:
    """A generator left half-way must clean up now, not when it is collected."""
    try:
        yield
    finally:
        if isinstance(body, AsyncGenerator):
            await body.aclose()


@contextmanager
def _our_bug() -> Iterator[None]:
    """h11's refusal to write something, a field that would split the message for instance, as what it is."""
    try:
        yield
    except h11.LocalProtocolError as error:
        raise LocalProtocolError(f"we tried to send what HTTP does not allow: {error}") from error


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    try:
        with trio.fail_after(max(0.0, seconds)):
            yield
    except trio.TooSlowError as error:
        raise PeerUnavailable("the peer is too slow") from error


@contextmanager
def _translated() -> Iterator[None]:
    """Trio's stream errors, as what to do next."""
    try:
        yield
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise PeerUnavailable("the connection was lost") from error
