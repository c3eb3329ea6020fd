"""Async. The control socket: the command line asks the daemon here, as HTTP over a Unix socket.

`POST /rpc/<method>` with a JSON object of parameters answers one JSON object, the result or `{"error": ...}`. A method
that streams answers lines of JSON: `{"progress": ...}` as often as it likes, then `{"result": ...}` or an error.
One connection carries one request, so a client that closes it cancels what it asked for.

Who may ask: the user of the daemon, and root, who could do it anyway. The kernel says who is at the other end, and the
socket has mode 0600 as well.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
import struct
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import h11
import trio

from syncd.catalogue import report
from syncd.errors import ConfigError, RemoteProtocolError, StoreBusy
from syncd.home import short_address
from syncd.web.methods import MAX_BODY_BYTES, METHODS, parse_params_untrusted

log = logging.getLogger(__name__)

Params = Mapping[str, Any]
Result = dict[str, Any]
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]

REQUEST_TIMEOUT_S = 10.0
LAST_WORDS_TIMEOUT_S = 2.0  # for the answer to `stop`, which cancels the one who sends it
MAX_HEAD_BYTES = 16 * 1024
MAX_CONNECTIONS = 64
READ_BYTES = 64 * 1024
BACKLOG = 64
PREFIX = "/rpc/"

_JSON = (b"content-type", b"application/json")
_NDJSON = (b"content-type", b"application/x-ndjson")
_CLOSE = (b"connection", b"close")

_LOCAL_PEERCRED = 1  # macOS <sys/un.h>: getsockopt(SOL_LOCAL = 0) gives struct xucred {version, uid, ...}
_ROOT = 0


class Api(Protocol):
    """What the daemon offers."""

    async def call(self, name: str, params: Params, progress: Progress) -> Result:
        """Run method `name` of `methods.METHODS` with parameters that were checked against it.

        `progress` sends one line to the client if the method streams, and else does nothing. Cancelled when the client
        goes. Raises: any SyncdError; it becomes the error object.
        """
        ...


async def serve_control(path: Path, api: Api, *, task_status: trio.TaskStatus[Path] = trio.TASK_STATUS_IGNORED) -> None:
    """Answer on the Unix socket `path` until cancelled, then remove it.

    Raises: StoreBusy SY-HOME-01 if somebody answers there; ConfigError SY-HOME-06 if it cannot be made.
    """
    listener = await _listen(path)
    limiter = trio.CapacityLimiter(MAX_CONNECTIONS)

    async def handle(stream: trio.SocketStream) -> None:
        async with limiter, stream:
            await _serve_connection(stream, api)

    try:
        task_status.started(path)
        await trio.serve_listeners(handle, [listener])
    finally:
        _remove(path)


# --- the socket ----------------------------------------------------------------------------------------------------


async def _listen(path: Path) -> trio.SocketListener:
    """Bind `path`, replacing a socket on which nobody answers."""
    try:
        if await _somebody_answers(path):
            raise StoreBusy(f"another syncd answers on {path}", id="SY-HOME-01")
        _remove(path)
        return await _bind(path)
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(f"the control socket {path} cannot be made", id="SY-HOME-06", why=why) from error


async def _somebody_answers(path: Path) -> bool:
    with short_address(path) as address, _unix_socket() as probe:
        try:
            await probe.connect(address)
        except OSError as error:
            if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
                return False
            raise
        return True


async def _bind(path: Path) -> trio.SocketListener:
    listening = _unix_socket()
    try:
        if sys.platform == "linux":
            os.fchmod(listening.fileno(), 0o600)  # Linux makes the file with this mode; elsewhere chmod must do
        with short_address(path) as address:
            await listening.bind(address)
        os.chmod(path, 0o600)
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return trio.SocketListener(listening)


def _unix_socket() -> trio.socket.SocketType:
    return trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)


def _remove(path: Path) -> None:
    """Take a socket away; anything else at its place is somebody's, and binding will say so."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()


def peer_uid(stream: trio.SocketStream) -> int:
    """The user at the other end of a Unix socket, as the kernel knows it."""
    if sys.platform == "darwin":
        _, uid = struct.unpack_from("=II", stream.getsockopt(0, _LOCAL_PEERCRED, 128))
    else:
        _, uid, _ = struct.unpack("=iII", stream.getsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_PEERCRED, 12))
    return int(uid)


# --- one connection ------------------------------------------------------------------------------------------------


class _Gone(Exception):
    """The client closed the connection, or never spoke HTTP: there is nobody to answer."""


async def _serve_connection(stream: trio.SocketStream, api: Api) -> None:
    """Read one request and answer it. Nothing that happens here may end the daemon."""
    if peer_uid(stream) not in (os.geteuid(), _ROOT):
        log.warning("control socket: user %d was refused", peer_uid(stream))
        return
    exchange = _Exchange(stream)
    try:
        with trio.fail_after(REQUEST_TIMEOUT_S):
            request, body = await exchange.read_request()
    except (_Gone, trio.BrokenResourceError, trio.TooSlowError):
        return
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exchange.wait_for_end, nursery.cancel_scope)
        with suppress(trio.BrokenResourceError):  # the client left while we wrote
            await _answer(exchange, request, body, api)
        nursery.cancel_scope.cancel()


async def _answer(exchange: _Exchange, request: h11.Request, body: bytes, api: Api) -> None:
    name = request.target.decode("ascii", "replace").removeprefix(PREFIX)
    if request.method != b"POST" or name not in METHODS:
        unknown = RemoteProtocolError(f"the daemon does not know {name!r}", id="SY-HOME-05")
        await exchange.send_json(404, _encode({"error": report(unknown).as_json()}))
    elif METHODS[name].streams:
        await exchange.start(200, _NDJSON)
        _, answer = await _call(api, name, body, exchange.send_progress)
        await exchange.finish(answer)
    else:
        status, answer = await _call(api, name, body, _no_progress)
        await exchange.send_json(status, answer)


async def _call(api: Api, name: str, body: bytes, progress: Progress) -> tuple[int, bytes]:
    """HTTP status and answer. Every exception becomes an error object; what nobody expected is logged whole."""
    try:
        result = await api.call(name, parse_params_untrusted(name, body), progress)
        return 200, _encode({"result": result} if METHODS[name].streams else result)
    except Exception as raised:  # the border of one connection
        error = _unwrap(raised)
        if isinstance(error, trio.BrokenResourceError):
            raise error from None
        told = report(error)
        if told.id == "SY-BUG-01":
            log.exception("control socket: %s failed", name)
        return 500 if told.id == "SY-BUG-01" else 409, _encode({"error": told.as_json()})


def _unwrap(error: BaseException) -> BaseException:
    """The one exception inside the groups that nurseries put around it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def _no_progress(progress: Mapping[str, Any]) -> None:
    await trio.lowlevel.checkpoint()


class _Exchange:
    """One request and its answer, on h11."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._sending = trio.Lock()

    async def read_request(self) -> tuple[h11.Request, bytes]:
        """Head and whole body. Raises _Gone."""
        request: h11.Request | None = None
        body = bytearray()
        while True:
            match event := await self._next_event():
                case h11.Request():
                    request = event
                case h11.Data():
                    body += event.data
                    if len(body) > MAX_BODY_BYTES:
                        raise _Gone
                case h11.EndOfMessage() if request is not None:
                    return request, bytes(body)
                case _:
                    raise _Gone

    async def _next_event(self) -> Any:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._stream.receive_some(READ_BYTES))
        except h11.RemoteProtocolError:
            raise _Gone from None
        return event

    async def wait_for_end(self, scope: trio.CancelScope) -> None:
        """Cancel `scope` when the other end closes: what nobody waits for need not be done."""
        with suppress(trio.BrokenResourceError):  # gone as well
            await self._stream.receive_some(1)
        scope.cancel()

    async def start(self, status: int, *headers: tuple[bytes, bytes]) -> None:
        await self._send(h11.Response(status_code=status, headers=[*headers, _CLOSE]))

    async def send_progress(self, progress: Mapping[str, Any]) -> None:
        await self._send(h11.Data(data=_encode({"progress": progress}) + b"\n"))

    async def finish(self, last: bytes) -> None:
        """The last line of a stream."""
        with trio.move_on_after(LAST_WORDS_TIMEOUT_S, shield=True):
            await self._send(h11.Data(data=last + b"\n"), h11.EndOfMessage())

    async def send_json(self, status: int, body: bytes) -> None:
        """A whole answer in one write."""
        length = (b"content-length", str(len(body)).encode())
        head = h11.Response(status_code=status, headers=[_JSON, length, _CLOSE])
        with trio.move_on_after(LAST_WORDS_TIMEOUT_S, shield=True):
            await self._send(head, h11.Data(data=body), h11.EndOfMessage())

    async def _send(self, *events: h11.Event) -> None:
        async with self._sending:  # progress may come from several tasks
            await self._stream.send_all(b"".join(self._http.send(event) or b"" for event in events))


def _encode(value: Mapping[str, Any]) -> bytes:
    """ASCII JSON: names that are not UTF-8 pass as escaped lone surrogates."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")
