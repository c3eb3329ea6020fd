"""doctor, config, log, and the three questions of whoever watches a daemon."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.computers import Computer, free_ports, loopback_config, share
from tests.unit.methods.test_metrics import parse

PORT = free_ports(1)[0]


@pytest.fixture(scope="module")
def anna(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Computer]:
    place = tmp_path_factory.mktemp("anna")
    config = loopback_config(0) + f'[metrics]\nlisten = "127.0.0.1:{PORT}"\n# a comment of hers\n'
    computer = Computer("anna", place, place / "folder", 0, config)
    computer.folder.mkdir(parents=True)
    (computer.folder / "x").write_text("x")
    computer.start()
    share(computer, "Photos")
    yield computer
    computer.stop()


def ask(computer: Computer, path: str) -> tuple[int, str]:
    """GET over the control socket."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(str(computer.home / "control.sock"))
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        answer = http.client.HTTPResponse(stream)
        answer.begin()
        return answer.status, answer.read().decode()


def test_health_and_numbers_over_the_control_socket(anna: Computer) -> None:
    assert ask(anna, "/healthz") == (200, "ok\n")
    assert ask(anna, "/readyz") == (200, "ready\n")
    status, text = ask(anna, "/metrics")
    found = parse(text)
    assert status == 200
    assert found['syncd_folder_files{folder="Photos",scope="local"}'] == 1
    assert found["syncd_db_size_bytes"] > 0
    assert ask(anna, "/elsewhere")[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "host", "status"),
    [
        ("GET", "/metrics", "127.0.0.1:PORT", 200),
        ("GET", "/metrics", "localhost:PORT", 200),
        ("GET", "/metrics", "evil.example:PORT", 421),
        ("GET", "/metrics", "127.0.0.1", 421),
        ("POST", "/metrics", "127.0.0.1:PORT", 405),
        ("GET", "/rpc/status", "127.0.0.1:PORT", 404),
        ("GET", "/", "127.0.0.1:PORT", 404),
    ],
)
def test_loopback_answers_only_these_questions_by_its_own_name(
    anna: Computer, method: str, path: str, host: str, status: int
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    connection.request(method, path, headers={"Host": host.replace("PORT", str(PORT))})
    assert connection.getresponse().status == status
    connection.close()


def test_doctor_finds_nothing_wrong_with_a_healthy_computer(anna: Computer) -> None:
    done = anna.run("doctor", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"]) == (0, True), found
    names = {check["name"] for check in found["checks"]}
    assert {
        "daemon",
        "folder Photos",
        "home",
        "keys",
        "configuration",
        "databases",
        "disk",
        "watches",
        "clock",
    } <= names


def test_every_finding_says_why_and_what_to_do(anna: Computer, tmp_path: Path) -> None:
    """A computer on which much is wrong, and no daemon to ask."""
    home = tmp_path / "home"
    (home / "keys").mkdir(parents=True)
    (home / "keys" / "device.key").write_text("secret")
    (home / "keys" / "device.key").chmod(0o644)
    home.chmod(0o755)
    (home / "config.toml").write_text("[nonsense]\n")
    (home / "device.db").write_text("no database at all, but long enough to look like one" * 100)
    (home / "folder-1.db.broken-1").touch()
    broken = Computer("b", tmp_path, tmp_path, 0)
    done = broken.run("doctor", "--json")
    wrong = [check for check in json.loads(done.stdout)["checks"] if not check["ok"]]
    assert done.returncode == 1
    assert {check["name"] for check in wrong} >= {"daemon", "home", "keys", "configuration", "databases"}
    assert [check for check in wrong if not check["why"] or not check["try"] or not check["id"]] == []
    fixed = json.loads(broken.run("doctor", "--fix", "--json").stdout)
    assert len(fixed["fixed"]) == 2
    assert {check["name"] for check in fixed["checks"] if not check["ok"]} == {"daemon", "configuration", "databases"}
    assert (home / "keys" / "device.key").stat().st_mode & 0o777 == 0o600


def test_bundle_holds_no_secret(anna: Computer, tmp_path: Path) -> None:
    assert anna.run("notify", "add", "webhook", "https://chat.example/T0K3N", "--on", "stale=9d").returncode == 0
    link = anna.ask("share", "Photos", "--link", "--yes", "--no-wait")["link"]
    target = tmp_path / "bundle.zip"
    assert anna.run("doctor", "--bundle", str(target)).returncode == 0
    assert target.stat().st_mode & 0o777 == 0o600
    keys = [path.read_bytes() for path in (anna.home / "keys").iterdir()]
    with zipfile.ZipFile(target) as bundle:
        names = bundle.namelist()
        texts = [bundle.read(name) for name in names]
    assert {"about.json", "status.json", "settings.json"} <= set(names)
    for secret in (b"T0K3N", link.encode(), link.rpartition("#")[2].encode() or b"never", *keys):
        assert not any(secret in text for text in texts)
    anna.run("notify", "remove", "1")


def test_config_is_changed_in_place_and_taken_at_once(anna: Computer) -> None:
    file = anna.home / "config.toml"
    assert anna.run("config", "set", "log.level", "debug").returncode == 0
    assert "# a comment of hers" in file.read_text()
    assert "changed: log_level" in anna.log.read_text()
    (told,) = anna.ask("config", "get", "log.level")["settings"]
    assert (told["key"], told["value"], told["origin"], told["at_once"]) == ("log.level", "debug", "file", True)
    shown = {one["key"]: one for one in anna.ask("config", "show")["settings"]}
    assert shown["log.format"]["origin"] == "default"
    assert anna.run("config", "check").returncode == 0
    assert anna.run("config", "unset", "log.level").returncode == 0
    (told,) = anna.ask("config", "get", "log.level")["settings"]
    assert (told["value"], told["origin"]) == ("info", "default")
    assert "# a comment of hers" in file.read_text()


def test_one_value_is_a_list_of_one_where_a_list_is_wanted(anna: Computer) -> None:
    assert anna.run("config", "set", "network.peers", "192.0.2.7:22067", "--dry-run").returncode == 0
    assert anna.run("config", "set", "web.hosts", "anna.example").returncode == 0
    (told,) = anna.ask("config", "get", "web.hosts")["settings"]
    assert told["value"] == ["anna.example"]
    assert anna.run("config", "unset", "web.hosts").returncode == 0


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["config", "set", "log.level", "loud"], 11, "log.level cannot be loud"),
        (["config", "set", "network.listen", "127.0.0.1:99999"], 11, "'127.0.0.1:99999' is not HOST:PORT"),
        (["config", "set", "network.listen", '["x:y"]'], 11, "'x:y' is not HOST:PORT"),
        (["config", "set", "links.certificate", "/nowhere"], 11, "links: "),
        (["config", "set", "limits.up", '["a"]'], 11, "limits.up: this is not a text"),
        (["config", "set", "log.loudness", "1"], 11, "unknown"),
        (["config", "get", "nothing"], 11, "unknown"),
        (["notify", "add", "pigeon", "x"], 2, "pigeon"),
        (["notify", "add", "webhook", "ftp://x"], 2, "no http"),
        (["notify", "add", "mail", "a@b.example", "--on", "sometimes"], 2, "none of"),
        (["notify", "remove", "7"], 7, ""),
    ],
)
def test_mistake_changes_nothing(anna: Computer, words: list[str], code: int, why: str) -> None:
    before = (anna.home / "config.toml").read_bytes()
    done = anna.run(*words, "--json")
    error = json.loads(done.stderr)["error"]
    assert done.returncode == code
    assert why in error["what"] + error["why"]
    assert (anna.home / "config.toml").read_bytes() == before


def test_dry_run_of_config_changes_nothing(anna: Computer) -> None:
    before = (anna.home / "config.toml").read_bytes()
    assert anna.run("config", "set", "log.level", "error", "--dry-run").returncode == 0
    assert anna.run("notify", "add", "mail", "a@b.example", "--dry-run").returncode == 0
    assert (anna.home / "config.toml").read_bytes() == before


def test_editor_is_used_and_its_work_is_checked(anna: Computer, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "[log]" > "$1"\necho "level = 3" >> "$1"\n')
    editor.chmod(0o755)
    home = tmp_path / "other"
    home.mkdir(mode=0o700)
    done = subprocess.run(
        ["env", f"EDITOR={editor}", *Computer("c", tmp_path, tmp_path, 0).command("config", "edit", "--json")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYNCD_HOME": str(home)},
    )
    assert done.returncode == 11
    assert "line 2: log.level" in json.loads(done.stderr)["error"]["why"]


def test_log_of_the_background(tmp_path: Path) -> None:
    computer = Computer("d", tmp_path, tmp_path / "folder", 0)
    computer.folder.mkdir()
    computer.home.mkdir(mode=0o700)
    (computer.home / "config.toml").write_text(loopback_config(0))
    assert computer.run("log", "--json").returncode == 7
    assert computer.run("share", str(computer.folder), "--yes", "--no-wait").returncode == 0
    try:
        assert any("listening on" in line for line in computer.ask("log")["lines"])
    finally:
        computer.run("stop")
