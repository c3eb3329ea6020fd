"""Notifications that really go somewhere: a web server, a program, a mail server; and a daemon that tells by itself."""

from __future__ import annotations

import json
import os
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from syncd.config import Command, Desktop, Mail, Webhook
from syncd.daemon.hooks import HookFailed, deliver, described
from tests.helpers.computers import Computer, loopback_config, sharing_computers, wait_until
from tests.helpers.stand_ins import StandIns

pytestmark = pytest.mark.long


TOLD = {
    "schema": "syncd.notification/1",
    "event": "conflict",
    "text": "Photos\r\nBcc: victim@example.org: 1 file",
    "try": "syncd conflicts",
    "device": "anna\r\nX-Evil: 1",
    "time": "2026-11-21T12:00:00Z",
}
PATIENCE_S = 30.0


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Receiver(HTTPServer):
    """Keeps what was posted, and answers with `status`."""

    def __init__(self, status: int = 204) -> None:
        super().__init__(("127.0.0.1", 0), Posted)
        self.status = status
        self.got: list[tuple[str, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?key=secret"


class Posted(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Receiver)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, body))
        self.send_response(self.server.status)
        if self.server.status == 302:
            self.send_header("Location", self.server.url)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_webhook_gets_the_object() -> None:
    receiver = Receiver()
    with serving(receiver):
        deliver(Webhook(receiver.url), TOLD)
    assert receiver.got[0][0] == "/hook?key=secret"
    assert json.loads(receiver.got[0][1]) == TOLD


@pytest.mark.parametrize("status", [302, 404, 500])
def test_other_answers_are_failures_and_redirects_are_not_followed(status: int) -> None:
    receiver = Receiver(status)
    with serving(receiver), pytest.raises(HookFailed) as caught:
        deliver(Webhook(receiver.url), TOLD)
    assert str(status) in caught.value.why
    assert "secret" not in f"{caught.value}{caught.value.why}"
    assert len(receiver.got) == 1


def test_command_gets_the_object_and_no_shell(tmp_path: Path) -> None:
    out = tmp_path / "out"
    program = f"import json, os, sys; open({str(out)!r}, 'w').write(json.dumps([json.load(sys.stdin), os.environ['SYNCD_EVENT'], os.environ['SYNCD_TEXT'], sys.argv[1:]]))"  # noqa: E501
    deliver(Command((sys.executable, "-c", program, "$(touch /tmp/never); *")), TOLD)
    told, event, text, arguments = json.loads(out.read_text())
    assert (told, event, text) == (TOLD, "conflict", TOLD["text"])
    assert arguments == ["$(touch /tmp/never); *"]


def test_failing_command_says_why() -> None:
    with pytest.raises(HookFailed) as caught:
        deliver(Command((sys.executable, "-c", "raise SystemExit('no such pigeon')")), TOLD)
    assert "no such pigeon" in caught.value.why
    with pytest.raises(HookFailed):
        deliver(Command(("/nonexistent/program",)), TOLD)


class MailServer(socketserver.TCPServer):
    """As much of SMTP as a client needs to hand over one mail."""

    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), MailTaken)
        self.lines: list[str] = []


class MailTaken(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, MailServer)
        self.wfile.write(b"220 here\r\n")
        in_data = False
        for raw in self.rfile:
            line = raw.decode().rstrip("\r\n")
            self.server.lines.append(line)
            if in_data:
                in_data = line != "."
                if in_data:
                    continue
            answers = {"DATA": b"354 go on\r\n", "QUIT": b"221 bye\r\n"}
            self.wfile.write(answers.get(line.split(" ")[0].upper(), b"250 fine\r\n"))
            in_data = line.upper() == "DATA"
            if line.upper() == "QUIT":
                return


def test_mail_has_the_text_in_its_body_only() -> None:
    server = MailServer()
    with serving(server):
        deliver(Mail("anna@example.org", f"127.0.0.1:{server.server_address[1]}", "syncd@example.org"), TOLD)
    assert any(line.upper().startswith("RCPT TO:<ANNA@EXAMPLE.ORG>") for line in server.lines)
    headers = server.lines[[line.upper() for line in server.lines].index("DATA") + 1 :]
    headers = headers[: headers.index("")]
    assert "Subject: syncd on anna  X-Evil: 1: conflict" in headers
    assert not [line for line in headers if line.startswith(("Bcc", "X-Evil"))]
    assert not [line for line in server.lines if "victim" in line and line.upper().startswith("RCPT")]


@pytest.mark.parametrize(("system", "program"), [("Linux", "notify-send"), ("Darwin", "osascript")])
def test_screen_gets_the_text_as_an_argument_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, program: str
) -> None:
    tools = StandIns(tmp_path / "bin")
    tools.add(program)
    monkeypatch.setenv("PATH", tools.search_path)
    monkeypatch.setattr("platform.system", lambda: system)
    deliver(Desktop(), {**TOLD, "text": '<b>x</b> "; do shell script "y" & --help'})
    (call,) = [line for line in "\n".join(tools.calls).split("\n") if "syncd: conflict" in line]
    assert '&lt;b>x&lt;/b> "; do shell script "y" &amp; --help' in call
    tools.fail(program, "no screen is there")
    with pytest.raises(HookFailed) as caught:
        deliver(Desktop(), TOLD)
    assert "no screen is there" in caught.value.why


def test_description_keeps_the_secret_of_an_address() -> None:
    assert described(Webhook("https://chat.example/hooks/T0K3N?key=1")) == "webhook chat.example"


def test_daemon_tells_of_a_conflict_by_itself(tmp_path: Path) -> None:
    """Two computers change one file while apart; the hook of one is told once, and told when it is over."""
    receiver = Receiver()
    with serving(receiver), sharing_computers(("anna", "ben"), tmp_path, "Photos") as (anna, ben):
        assert ben.run("notify", "add", "webhook", receiver.url, "--on", "conflict").returncode == 0
        (anna.folder / "plan").write_text("first")
        wait_until(lambda: (ben.folder / "plan").exists(), PATIENCE_S, "not synced")
        ben.wait_synced(PATIENCE_S)
        anna.stop()
        (ben.folder / "plan").write_text("of ben")
        ben.run("wait", "--for", "scanned", "--timeout", "20")
        (anna.folder / "plan").write_text("of anna, longer")
        anna.start()
        wait_until(lambda: bool(receiver.got), PATIENCE_S, "nobody was told")
        told = json.loads(receiver.got[0][1])
        assert (told["event"], told["schema"]) == ("conflict", "syncd.notification/1")
        wait_until(lambda: bool(copies_in(ben.folder)), PATIENCE_S, "there is no copy")
        os.remove(copies_in(ben.folder)[0])
        wait_until(lambda: len(receiver.got) > 1, PATIENCE_S, "the end was not told")
        assert json.loads(receiver.got[1][1])["event"] == "conflict-over"


def copies_in(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if "(conflict" in path.name]


@pytest.mark.slowest
def test_daemon_sends_a_digest_each_period_and_never_its_end(tmp_path: Path) -> None:
    receiver = Receiver()
    computer = Computer("anna", tmp_path / "anna", tmp_path / "anna" / "folder", 0, loopback_config(0))
    with serving(receiver):
        try:
            computer.start()
            assert computer.run("share", str(computer.folder), "--name", "Photos", "--no-wait").returncode == 0
            assert computer.run("notify", "add", "webhook", receiver.url, "--on", "digest=1s").returncode == 0

            def told_twice() -> bool:
                computer.run("folder", "rescan", "Photos")
                return len(receiver.got) >= 2

            wait_until(told_twice, PATIENCE_S, "no digest came")
        finally:
            computer.stop()
    told = [json.loads(body) for _, body in receiver.got]
    assert {one["event"] for one in told} == {"digest"}
    assert all(one["text"].startswith("Photos: ") for one in told)


def test_hook_that_fails_is_a_problem_of_the_device(tmp_path: Path) -> None:
    computer = Computer("anna", tmp_path / "anna", tmp_path / "anna" / "folder", 0, loopback_config(0))
    try:
        computer.start()
        done = computer.run("notify", "add", "webhook", "http://127.0.0.1:9/x", "--on", "conflict")
        assert done.returncode == 0, done.stderr
        tested = computer.run("notify", "test", "--json")
        assert tested.returncode == 3
        assert json.loads(tested.stdout)["told"][0]["why"] == "Connection refused"
    finally:
        computer.stop()
