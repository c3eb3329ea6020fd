"""The control socket itself: who may use it, what it survives, and that a client that leaves cancels its call."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trio

from syncd.cli import client
from syncd.cli.client import NotRunning, Refused
from syncd.errors import ConfigError, RemoteProtocolError, StoreBusy, SyncdError
from syncd.home import socket_path
from syncd.web.control import Params, Progress, Result, serve_control
from tests.helpers.control_server import VERSION, ScriptedApi, scripted_daemon, stream
from tests.integration.cli_tools import environment


def ask(home: Path, name: str, **params: object) -> Result:
    return client.call(socket_path(home), name, params)


def exchange(home: Path, request: bytes) -> bytes:
    """Send bytes as they are and read what comes back first."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(socket_path(home)))
        connection.sendall(request)
        return connection.recv(65_536)


def test_result_comes_back(tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, {}) as api:
        assert ask(tmp_path, "version") == VERSION
        assert api.calls == [("version", {})]


def test_progress_comes_before_the_result(tmp_path: Path) -> None:
    told: list[object] = []
    script = {"join": stream({"synced": True}, {"event": "phase"}, {"event": "transfer"})}
    with scripted_daemon(tmp_path, script):
        params = {"join": "j", "path": "/p"}
        assert client.call(socket_path(tmp_path), "join", params, on_progress=told.append) == {"synced": True}
    assert told == [{"event": "phase"}, {"event": "transfer"}]


def test_many_lines_from_several_tasks_stay_whole(tmp_path: Path) -> None:
    async def busy(params: Params, progress: Progress) -> Result:
        async def tell(number: int) -> None:
            for count in range(50):
                await progress({"task": number, "count": count, "filler": "x" * 1000})

        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(tell, number)
        return {}

    told: list[dict[str, object]] = []
    with scripted_daemon(tmp_path, {"wait": busy}):
        client.call(socket_path(tmp_path), "wait", {"for": "synced"}, on_progress=told.append)
    assert len(told) == 200


@pytest.mark.parametrize("name", ["peers", "wait"])
def test_error_comes_back_with_its_id(tmp_path: Path, name: str) -> None:
    script = {name: SyncdError("no", id="SY-PAIR-03", why="because")}
    with scripted_daemon(tmp_path, script), pytest.raises(Refused) as caught:
        ask(tmp_path, name, **({"for": "synced"} if name == "wait" else {}))
    assert (caught.value.report.what, caught.value.report.why, caught.value.report.exit) == ("no", "because", 9)


def test_error_inside_a_nursery_is_still_found(tmp_path: Path) -> None:
    async def step(params: Params, progress: Progress) -> Result:
        async with trio.open_nursery():
            raise SyncdError("no", id="SY-FIND-01")

    with scripted_daemon(tmp_path, {"peers": step}), pytest.raises(Refused) as caught:
        ask(tmp_path, "peers")
    assert caught.value.id == "SY-FIND-01"


def test_bug_is_told_without_its_text_and_the_daemon_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with scripted_daemon(tmp_path, {"peers": KeyError("private")}):
        with pytest.raises(Refused) as caught:
            ask(tmp_path, "peers")
        assert ask(tmp_path, "version") == VERSION
    assert caught.value.id == "SY-BUG-01"
    assert "private" not in json.dumps(caught.value.report.as_json())
    assert "control socket: peers failed" in caplog.text


def test_unknown_method_and_parameter_are_refused(tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, {}) as api:
        for name, params in (("format.disk", {}), ("version", {"x": 1}), ("explain", {})):
            with pytest.raises(Refused) as caught:
                ask(tmp_path, name, **params)
            assert caught.value.id == "SY-HOME-05"
        assert api.calls == []


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01 this is not HTTP\r\n\r\n",
        b"GET /rpc/version HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /rpc/version HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"POST /rpc/version HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n" + b" " * 999_999,
    ],
)
def test_hostile_request_ends_only_its_connection(tmp_path: Path, request_bytes: bytes) -> None:
    with scripted_daemon(tmp_path, {}) as api:
        try:
            answer = exchange(tmp_path, request_bytes)
        except (ConnectionResetError, BrokenPipeError):
            answer = b""
        assert not answer or answer.startswith(b"HTTP/1.1 4")
        assert api.calls == []
        assert ask(tmp_path, "version") == VERSION


def test_client_that_leaves_cancels_its_call(tmp_path: Path) -> None:
    started, cancelled = threading.Event(), threading.Event()

    async def endless(params: Params, progress: Progress) -> Result:
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()
        raise AssertionError

    with scripted_daemon(tmp_path, {"wait": endless}):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(socket_path(tmp_path)))
            body = b'{"for":"synced"}'
            head = f"POST /rpc/wait HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            assert started.wait(10)
        assert cancelled.wait(10)


def test_answer_leaves_even_when_the_daemon_is_cancelled(tmp_path: Path) -> None:
    """`stop` cancels the very task that answers it."""

    async def main() -> Result:
        async with trio.open_nursery() as nursery:

            class Stopping(ScriptedApi):
                async def call(self, name: str, params: Params, progress: Progress) -> Result:
                    nursery.cancel_scope.cancel()
                    return {"pid": 1}

            await nursery.start(serve_control, socket_path(tmp_path), Stopping({}))
            return await trio.to_thread.run_sync(ask, tmp_path, "stop")

    assert trio.run(main) == {"pid": 1}


def test_socket_is_private_and_removed_at_the_end(tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, {}):
        assert stat.S_IMODE(socket_path(tmp_path).stat().st_mode) == 0o600
    assert not socket_path(tmp_path).exists()
    with pytest.raises(NotRunning):
        ask(tmp_path, "version")


def test_stale_socket_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_path(tmp_path)))
    with scripted_daemon(tmp_path, {}):
        assert ask(tmp_path, "version") == VERSION


def test_socket_that_answers_is_not_replaced(tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, {}):
        with pytest.raises(ExceptionGroup) as caught, scripted_daemon(tmp_path, {}):
            pass
        assert caught.group_contains(StoreBusy)
        assert ask(tmp_path, "version") == VERSION


def test_file_in_place_of_the_socket_is_an_error_and_stays(tmp_path: Path) -> None:
    socket_path(tmp_path).write_text("mine")
    with pytest.raises(ExceptionGroup) as caught, scripted_daemon(tmp_path, {}):
        pass
    assert caught.group_contains(ConfigError)
    assert socket_path(tmp_path).read_text() == "mine"


@pytest.mark.needs("root", "setpriv")
def test_other_users_are_refused_by_the_kernels_word(tmp_path: Path) -> None:
    """Even where the modes would let them through."""
    code = (
        "import sys,pathlib\nfrom syncd.cli.client import call\nprint(call(pathlib.Path(sys.argv[1]), 'version', {}))"
    )
    with scripted_daemon(tmp_path, {}) as api:
        path = socket_path(tmp_path)
        for parent in (tmp_path, *tmp_path.parents[:-2]):
            parent.chmod(parent.stat().st_mode | 0o055)
        path.chmod(0o666)
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", code, str(path)]
        refused = subprocess.run(nobody, capture_output=True, text=True, env=environment(), check=False)
        assert "SyncdError: the daemon gave no valid answer" in refused.stderr, refused.stderr
        assert api.calls == []
        assert ask(tmp_path, "version") == VERSION


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n", b"SSH-2.0\r\n\r\n"]
)
def test_client_survives_a_daemon_that_talks_nonsense(tmp_path: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path(tmp_path)))
        listener.listen()

        def reply() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        with pytest.raises(SyncdError) as caught:
            ask(tmp_path, "version")
        thread.join()
    assert caught.value.id == "SY-HOME-05"


def test_client_gives_up_on_silence(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path(tmp_path)))
        listener.listen()
        with pytest.raises(SyncdError, match="no valid answer") as caught:
            client.call(socket_path(tmp_path), "version", {}, timeout_s=0.05)
    assert "0.05 s" in caught.value.why


def test_long_path_of_the_home_works(tmp_path: Path) -> None:
    home = tmp_path / ("long" * 30)
    home.mkdir()
    with scripted_daemon(home, {}):
        assert ask(home, "version") == VERSION
    assert os.listdir(home) == []


def test_names_that_are_not_utf8_pass_both_ways(tmp_path: Path) -> None:
    name = b"a\xff".decode(errors="surrogateescape")
    with scripted_daemon(tmp_path, {"explain": {"path": name}}) as api:
        assert ask(tmp_path, "explain", path=name) == {"path": name}
        assert api.params("explain") == {"path": name}


def test_remote_protocol_error_is_not_a_bug(tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, {"peers": RemoteProtocolError("bad")}), pytest.raises(Refused) as caught:
        ask(tmp_path, "peers")
    assert caught.value.id == "SY-PEER-02"
