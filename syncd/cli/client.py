"""Blocking. Asking the daemon: HTTP over its Unix socket, with the standard library only, so that it starts fast.

One call is one connection. A method that streams answers lines of JSON: any number of `{"progress": ...}`, then one
`{"result": ...}` or `{"error": ...}`. Closing the connection early cancels the call on the other side.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from syncd.catalogue import Report
from syncd.errors import SyncdError
from syncd.home import short_address

Params = Mapping[str, Any]
Json = dict[str, Any]
OnProgress = Callable[[Json], None]

ANSWER_TIMEOUT_S = 30.0
NDJSON = "application/x-ndjson"


class Refused(SyncdError):
    """The daemon answered with an error; `report` is what it said."""

    def __init__(self, report: Report) -> None:
        super().__init__(report.what, id=report.id, why=report.why, fix=report.fix)
        self.report = report


class NotRunning(SyncdError):
    """Nobody answers on the socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("syncd is not running", id="SY-HOME-02", why=f"Nothing answers on {path}.")


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
    connection = _Connection(path, timeout_s)
    try:
        connection.request("POST", f"/rpc/{name}", json.dumps(params), {"Content-Type": "application/json"})
        with connection.getresponse() as response:
            return _read_answer(response, on_progress or _ignore)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NotRunning(path) from error
    except PermissionError as error:
        raise SyncdError(f"no permission to use {path}", id="SY-HOME-04") from error
    except TimeoutError as error:
        raise _no_answer(f"It said nothing for {timeout_s:g} s.") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _no_answer(f"The connection failed: {str(error) or type(error).__name__}.") from error
    finally:
        connection.close()


def _read_answer(response: http.client.HTTPResponse, on_progress: OnProgress) -> Json:
    if response.headers.get_content_type() != NDJSON:
        answer = _object(response.read())
        return answer if response.status == 200 else _result_or_raise(answer)
    for line in response:
        answer = _object(line)
        if "progress" not in answer:
            return _result_or_raise(answer)
        on_progress(answer["progress"])
    raise _no_answer("It ended in the middle of an answer.")


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


class _Connection(http.client.HTTPConnection):
    """HTTP to a Unix socket."""

    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        with short_address(self._path) as address:
            self.sock.connect(address)
