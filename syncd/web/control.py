"""Async. The control socket: the command line asks the daemon here, as HTTP over a Unix socket.

`POST /rpc/<method>` with a JSON object of parameters answers one JSON object, the result or `{"error": ...}`. A method
that streams answers lines of JSON: `{"progress": ...}` as often as it likes, then `{"result": ...}` or an error.
One connection carries one request, so a client that closes it cancels what it asked for.

Who may ask: the user of the daemon, and root, who could do it anyway. The kernel says who is at the other end, and the
socket has mode 0600 as well.
"""

from __future__ import annotations

import json
import logging
import os
import pwd
import socket
import struct
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

import trio

from syncd import http
from syncd.catalogue import report
from syncd.controlsocket import open_control, remove_control
from syncd.errors import PeerUnavailable, RemoteProtocolError
from syncd.protocol.heads import Head
from syncd.web.lock import Lock
from syncd.web.methods import MAX_BODY_BYTES, METHODS, parse_call_untrusted

log = logging.getLogger(__name__)

Params = Mapping[str, Any]
Result = dict[str, Any]
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]
Observe = Callable[[str], Awaitable[http.Response]]

REQUEST_TIMEOUT_S = 10.0
LAST_WORDS_TIMEOUT_S = 2.0  # what is left to the answer of `stop`, when the daemon is already ending
MAX_CONNECTIONS = 64
MAX_LINES_WAITING = 64  # of progress, while the client does not read because a person is thinking
PREFIX = "/rpc/"
OBSERVED = frozenset({"/healthz", "/readyz", "/metrics"})
LIMITS = http.Limits(head_s=REQUEST_TIMEOUT_S, stall_s=600.0, requests=1)

_JSON = (("content-type", "application/json"),)
_NDJSON = (("content-type", "application/x-ndjson"),)
_LOCAL_PEERCRED = 1  # macOS <sys/un.h>: getsockopt(SOL_LOCAL = 0) gives struct xucred {version, uid, ...}
_ROOT = 0
_ASKER: Final[ContextVar[int | None]] = ContextVar("asker", default=None)
"""The user whose request this task answers, by the kernel's word."""


class Api(Protocol):
    """What the daemon offers."""

    async def call(self, name: str, params: Params, progress: Progress) -> Result:
        """Run method `name` of `methods.METHODS` with parameters that were checked against it.

        `progress` sends one line to the client if the method streams, and else does nothing. Cancelled when the client
        goes. Raises: any SyncdError; it becomes the error object.
        """
        ...


async def serve_control(
    path: Path,
    api: Api,
    passed: socket.socket | None = None,
    observe: Observe | None = None,
    lock: Lock | None = None,
    *,
    task_status: trio.TaskStatus[Path] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer on the Unix socket `path` until cancelled, then remove it; on one that was `passed`, which stays, instead.

    `observe` answers `GET` of `/healthz`, `/readyz` and `/metrics`. `lock` asks for the PIN, if there is one.

    Raises: StoreBusy SY-HOME-01 if somebody answers there; ConfigError SY-HOME-06 if it cannot be made.
    """
    listening = open_control(path) if passed is None else passed
    listening.setblocking(False)
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
    limiter = trio.CapacityLimiter(MAX_CONNECTIONS)

    async def handle(stream: trio.SocketStream) -> None:
        async with limiter, stream:
            await _serve_connection(stream, api, observe, lock)

    try:
        task_status.started(path)
        await trio.serve_listeners(handle, [listener])
    finally:
        if passed is None:
            remove_control(path)


# --- one connection ------------------------------------------------------------------------------------------------


def user_names() -> dict[int, str]:
    """Who may ask here, as the system calls them; the number of who has no name. It may take a moment."""
    return {uid: _user_name(uid) for uid in {os.geteuid(), _ROOT}}


def asking_user(names: Mapping[int, str]) -> str:
    """Whose request this task answers, by `user_names`; empty if it answers none of this socket."""
    uid = _ASKER.get()
    return "" if uid is None else names.get(uid, str(uid))


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def peer_uid(stream: trio.SocketStream) -> int:
    """The user at the other end of a Unix socket, as the kernel knows it."""
    if sys.platform == "darwin":
        _, uid = struct.unpack_from("=II", stream.getsockopt(0, _LOCAL_PEERCRED, 128))
    else:
        _, uid, _ = struct.unpack("=iII", stream.getsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_PEERCRED, 12))
    return int(uid)


async def _serve_connection(stream: trio.SocketStream, api: Api, observe: Observe | None, lock: Lock | None) -> None:
    """Answer the one request of a connection. Nothing that happens here may end the daemon.

    The connection is shielded, so that an answer still leaves when the daemon ends because of it; the call is not.
    """
    uid = peer_uid(stream)
    if uid not in (os.geteuid(), _ROOT):
        log.warning("control socket: user %d was refused", uid)
        return
    _ASKER.set(uid)
    async with trio.open_nursery() as nursery:
        with trio.CancelScope(shield=True) as connection, suppress(PeerUnavailable, RemoteProtocolError):
            exchange = _Exchange(stream, api, nursery, observe, lock)
            nursery.start_soon(exchange.end_when_daemon_ends, connection)
            await http.serve(stream, exchange.handle, admit=_method_name, limits=LIMITS)
        nursery.cancel_scope.cancel()


def _method_name(head: Head) -> str:
    """What a request asks for; `handle` says in words when there is no such method."""
    target = head.target.decode("ascii")
    return target.removeprefix(PREFIX) if head.method == b"POST" else target


class _Exchange:
    """One request and its answer. The call runs in `nursery`, which ends with the connection or with the daemon."""

    def __init__(
        self,
        stream: trio.SocketStream,
        api: Api,
        nursery: trio.Nursery,
        observe: Observe | None,
        lock: Lock | None,
    ) -> None:
        self._lock = lock
        self._stream = stream
        self._observe = observe
        self._api = api
        self._nursery = nursery
        self._running = trio.CancelScope()
        self._watching = trio.CancelScope()
        self._answer: tuple[int, bytes] | None = None  # HTTP status and one object, when the call has ended

    async def handle(self, name: str, body: http.Body) -> http.Response:
        params = await _read(body)
        if name in OBSERVED and self._observe is not None:
            return replace(await self._observe(name), close=True)
        if name not in METHODS:
            unknown = RemoteProtocolError(f"the daemon does not know {name!r}", id="SY-HOME-05")
            return http.Response(404, _encode({"error": report(unknown).as_json()}), _JSON, close=True)
        send, receive = trio.open_memory_channel[bytes](MAX_LINES_WAITING)
        self._nursery.start_soon(self._run, name, params, send)
        self._nursery.start_soon(self._cancel_when_client_leaves)
        lines = self._lines(receive)
        if METHODS[name].streams:
            return http.Response(200, lines, _NDJSON, close=True)
        *_, last = [line async for line in lines]
        return http.Response(self._answer[0] if self._answer else 503, last, _JSON, close=True)

    async def _run(self, name: str, body: bytes, lines: trio.MemorySendChannel[bytes]) -> None:
        """Call the daemon. Every exception becomes an error object; what nobody expected is logged whole."""

        async def tell(progress: Mapping[str, Any]) -> None:
            if METHODS[name].streams:
                await lines.send(_encode({"progress": progress}) + b"\n")

        with self._running, lines:
            try:
                params, typed = parse_call_untrusted(name, body)
                if self._lock is not None:
                    await self._lock.check(name, params, typed)
                result = await self._api.call(name, params, tell)
                self._answer = 200, _encode({"result": result} if METHODS[name].streams else result)
            except Exception as raised:  # the border of one connection
                told = report(_unwrap(raised))
                if told.id == "SY-BUG-01":
                    log.exception("control socket: %s failed", name)
                self._answer = 409, _encode({"error": told.as_json()})

    async def _lines(self, progress: trio.MemoryReceiveChannel[bytes]) -> AsyncGenerator[bytes, None]:
        """Progress as it comes, then the answer."""
        with progress:
            async for line in progress:
                yield line
        self._watching.cancel()
        yield self._answer[1] + b"\n" if self._answer else _ENDING

    async def _cancel_when_client_leaves(self) -> None:
        """What nobody waits for need not be done."""
        with self._watching:
            with suppress(trio.BrokenResourceError):  # gone as well
                await self._stream.receive_some(1)
            self._running.cancel()

    async def end_when_daemon_ends(self, connection: trio.CancelScope) -> None:
        """Give an answer that is ready a moment to leave; end everything else at once."""
        try:
            await trio.sleep_forever()
        finally:
            connection.deadline = trio.current_time() + (LAST_WORDS_TIMEOUT_S if self._answer else 0.0)


async def _read(body: http.Body) -> bytes:
    with trio.move_on_after(REQUEST_TIMEOUT_S):
        return await body.read(MAX_BODY_BYTES)
    raise PeerUnavailable("the request did not end in time")


def _unwrap(error: BaseException) -> BaseException:
    """The one exception inside the groups that nurseries put around it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _encode(value: Mapping[str, Any]) -> bytes:
    """ASCII JSON: names that are not UTF-8 pass as escaped lone surrogates."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


_ENDING = _encode({"error": report(PeerUnavailable("the daemon is ending", id="SY-HOME-05")).as_json()}) + b"\n"
