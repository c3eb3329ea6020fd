"""Blocking. Asking the daemon: HTTP over its Unix socket, as little of it as its answers have.

One call is one connection. A method that streams answers lines of JSON: any number of `{"progress": ...}`, then one
`{"result": ...}` or `{"error": ...}`. Closing the connection early cancels the call on the other side. Python's own
client would load what reads mail and speaks TLS as well, and take longer for that than the daemon for its answer.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from syncd.catalogue import Report
from syncd.errors import SyncdError
from syncd.home import short_address

Params = Mapping[str, Any]
Json = dict[str, Any]
OnProgress = Callable[[Json], None]

ANSWER_TIMEOUT_S = 30.0
NDJSON = b"application/x-ndjson"
MAX_LINE_BYTES = 64 << 10
"""Of what stands around an answer."""


class Refused(SyncdError):
    """The daemon answered with an error; `report` is what it said."""

    def __init__(self, report: Report) -> None:
        super().__init__(report.what, id=report.id, why=report.why, fix=report.fix)
        self.report = report


class NotRunning(SyncdError):
    """Nobody answers on the socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("syncd is not running", id="SY-HOME-02", why=f"Nothing answers on {path}.")


class Silent(SyncdError):
    """Somebody listens on the socket, and says nothing."""

    def __init__(self, patience_s: float | None) -> None:
        why = f"It said nothing for {patience_s or 0:g} s."
        super().__init__("the daemon gave no valid answer", id="SY-HOME-05", why=why)


def call(
    path: Path,
    name: str,
    params: Params,
    *,
    on_progress: OnProgress | None = None,
    timeout_s: float | None = ANSWER_TIMEOUT_S,
) -> Json:
    """Ask the daemon behind the socket `path` for method `name`; `on_progress` sees what a streaming one tells.

    `timeout_s` bounds each silence, not the whole call; None waits for as long as it takes.
    Raises: NotRunning; Refused with the daemon's error; SyncdError SY-HOME-04 and SY-HOME-05.
    """
    try:
        with _connected(path, timeout_s) as connection, connection.makefile("rb") as stream:
            connection.sendall(_request(name, params))
            return _read_answer(stream, on_progress or _ignore)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NotRunning(path) from error
    except PermissionError as error:
        raise SyncdError(f"no permission to use {path}", id="SY-HOME-04") from error
    except TimeoutError as error:
        raise Silent(timeout_s) from error
    except (OSError, ValueError) as error:
        raise _no_answer(f"The connection failed: {str(error) or type(error).__name__}.") from error


def _connected(path: Path, timeout_s: float | None) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        with short_address(path) as address:
            connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def _request(name: str, params: Params) -> bytes:
    body = json.dumps(params).encode()
    head = f"POST /rpc/{name} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _read_answer(stream: BinaryIO, on_progress: OnProgress) -> Json:
    status, fields = _read_head(stream)
    parts = _parts(stream, fields)
    if fields.get(b"content-type") != NDJSON:
        answer = _object(b"".join(parts))
        return answer if status == 200 else _result_or_raise(answer)
    for line in _lines(parts):
        answer = _object(line)
        if "progress" not in answer:
            return _result_or_raise(answer)
        on_progress(answer["progress"])
    raise _no_answer("It ended in the middle of an answer.")


def _read_head(stream: BinaryIO) -> tuple[int, dict[bytes, bytes]]:
    """(status, fields by their names in small letters). Raises ValueError."""
    first = _read_line(stream).split(b" ", 2)
    if len(first) < 2 or first[0] != b"HTTP/1.1":
        raise ValueError("what answers does not speak HTTP/1.1")
    fields = {}
    while line := _read_line(stream):
        name, _, value = line.partition(b":")
        fields[name.lower()] = value.strip()
    return int(first[1]), fields


def _parts(stream: BinaryIO, fields: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """The body, as it comes. Raises ValueError when it ends too early."""
    if fields.get(b"transfer-encoding") != b"chunked":
        yield _read_exactly(stream, int(fields[b"content-length"])) if b"content-length" in fields else stream.read()
        return
    while size := int(_read_line(stream).partition(b";")[0], 16):
        yield _read_exactly(stream, size)
        _read_line(stream)


def _lines(parts: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        yield from whole
    if rest:
        yield rest


def _read_line(stream: BinaryIO) -> bytes:
    line = stream.readline(MAX_LINE_BYTES)
    if not line.endswith(b"\n"):
        raise ValueError("it ended in the middle of an answer" if line else "it was closed without an answer")
    return line.rstrip(b"\r\n")


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise ValueError("it ended in the middle of an answer")
    return data


def _result_or_raise(answer: Json) -> Json:
    if isinstance(result := answer.get("result"), dict):
        return result
    if not isinstance(error := answer.get("error"), dict):
        raise ValueError("neither a result nor an error")
    raise Refused(read_report(error))


def read_report(error: Json) -> Report:
    """The error object of the control socket as a Report. Raises ValueError."""
    try:
        return Report(error["id"], error["what"], error["why"], error["try"], int(error["exit"]))
    except (KeyError, TypeError) as fault:
        raise ValueError("not an error object") from fault


def _object(text: bytes) -> Json:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _no_answer(why: str) -> SyncdError:
    return SyncdError("the daemon gave no valid answer", id="SY-HOME-05", why=why)


def _ignore(progress: Json) -> None:
    pass
