"""The keys of a real daemon behind a passphrase: it is nobody until somebody says it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ca import keyfiles, privatefiles
from ca.custody import Custody
from ca.device import DeviceKeys
from ca.errors import ConfigError
from ca.homekey import HomeKey, open_lock
from syncd.cli.shapes import error_schema, schema_of
from tests.helpers.computers import (
    START_S,
    SYNC_S,
    SYNCD,
    Computer,
    computers,
    contents_below,
    join,
    share,
    wait_until,
)

OLD, NEW = "nine tall ships sail", "eight small boats sink"
KILLS = 10


@pytest.fixture
def group(tmp_path: Path) -> Iterator[list[Computer]]:
    with computers(("anna", "ben"), tmp_path, "Notes") as group:
        yield group


def tell(computer: Computer, typed: str, *arguments: str) -> dict[str, Any]:
    """Run a command with these lines on its standard input; its answer, or its error."""
    command = computer.command(*arguments, "--json", "--yes")
    done = subprocess.run(command, input=typed + "\n", capture_output=True, text=True, timeout=120, check=False)
    answer = json.loads(done.stdout if done.returncode == 0 else done.stderr)
    assert isinstance(answer, dict)
    return valid(answer)


def valid(answer: dict[str, Any]) -> dict[str, Any]:
    """It has the shape that is published."""
    Draft202012Validator(schema_of(answer["schema"]) if "schema" in answer else error_schema()).validate(answer)
    return answer


def refusal(answer: dict[str, Any]) -> str:
    return str(answer["error"]["id"])


def restart(computer: Computer) -> None:
    computer.stop()
    computer.start()


def is_listening(computer: Computer) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", computer.port)) == 0


def keys_of(home: Path, key: HomeKey | None = None) -> DeviceKeys:
    return keyfiles.load_or_create(home, os.urandom, key)


def link_secret(computer: Computer) -> bytes:
    """Of the one open link, as it lies in the database of a home in the open."""
    import sqlite3

    from syncd.engine.invites import unpack_untrusted

    connection = sqlite3.connect(computer.home / "device.db")
    (body,) = connection.execute("SELECT body FROM invite").fetchone()
    connection.close()
    return unpack_untrusted(bytes(body)).secret


def everything_in(home: Path) -> bytes:
    """All bytes of all files; sockets have none."""
    return b"".join(content for _, content in contents_below(home))


@pytest.mark.slowest
def test_locked_daemon_is_nobody_until_the_passphrase_is_said(group: list[Computer]) -> None:
    anna, ben = group
    anna.start()
    ben.start()
    (anna.folder / "plan").write_text("as agreed")
    link = share(anna, "Notes", uses=3)
    join(ben, link)
    ben.wait_synced(SYNC_S)
    shown = anna.ask("folder", "show", "Notes")
    assert Path(shown["tls"]["key"]).exists()
    keys = keys_of(anna.home)
    recovery = keyfiles.load_recovery(anna.home)
    assert recovery is not None
    secrets = [keys.sign_seed, keys.seal_seed, keys.tls_seed, recovery.seed, link_secret(anna)]
    assert all(secret in everything_in(anna.home) for secret in secrets)

    told = anna.run("key", "lock", "--dry-run")
    assert "WARNING: Nobody can reset this passphrase." in told.stdout
    assert "This device is the only owner of Notes" in told.stdout and "recovery key" in told.stdout
    assert refusal(tell(anna, "too short", "key", "lock")) == "SY-KEY-12"
    for copy in ("device.db.before-1", "keys/device.key.bak"):
        (anna.home / copy).write_bytes(b"somebody's")
        (anna.home / copy).chmod(0o600)
    done = tell(anna, OLD, "key", "lock")
    assert (done["passphrase"], done["left_open"]) == (
        True,
        [
            "open invitations in device.db.before-1, which was set aside",
            "keys/device.key.bak, which somebody put there",
        ],
    )
    assert "only owner of Notes" in done["warning"]
    assert anna.ask("status")["keys"]["warning"] == done["warning"]
    assert "Passphrase: Nobody can reset" in anna.run("status").stdout
    assert not Path(shown["tls"]["key"]).exists()
    assert anna.ask("folder", "show", "Notes")["tls"]["key"] is None

    restart(anna)
    found = everything_in(anna.home)
    assert not [secret for secret in secrets if secret in found]
    assert not any(name in found for name in (b"-----BEGIN PRIVATE KEY-----", b"-----BEGIN EC PRIVATE KEY-----"))
    status = valid(anna.ask("status"))
    assert status["keys"]["locked"] and not status["in_sync"] and status["folders"] == []
    assert [problem["id"] for problem in status["problems"]] == ["SY-KEY-10"]
    assert "syncd key unlock" in anna.run("status").stdout
    assert anna.run("status", "--check").returncode == 4
    for refused in (("folders",), ("key", "show"), ("member", "remove", "Notes", "ben"), ("web",), ("key", "lock")):
        assert refusal(tell(anna, NEW, *refused)) == "SY-KEY-10", refused
    doctor = json.loads(anna.run("doctor", "--json").stdout)
    assert [check["id"] for check in doctor["checks"] if check["name"] == "keys" and not check["ok"]] == ["SY-KEY-10"]
    assert not is_listening(anna)
    (ben.folder / "from ben").write_text("while anna was locked")
    assert refusal(tell(anna, NEW, "key", "unlock")) == "SY-KEY-11"
    assert not is_listening(anna) and not (anna.folder / "from ben").exists()

    assert tell(anna, OLD, "key", "unlock")["unlocked"] is True
    assert tell(anna, OLD, "key", "unlock")["unlocked"] is False
    assert refusal(tell(anna, NEW, "key", "unlock")) == "SY-KEY-11"
    assert keys_of(anna.home, unlocked(anna, OLD)).id == keys.id
    anna.wait_synced(SYNC_S)
    wait_until(lambda: (anna.folder / "from ben").exists(), SYNC_S, "what ben wrote did not come")
    assert len(anna.ask("invites")["invites"]) == 1  # sealed, and still of use
    fresh = share(anna, "Notes", uses=1)
    assert fresh.encode() not in everything_in(anna.home)


def unlocked(computer: Computer, passphrase: str) -> HomeKey:
    lock = privatefiles.read(computer.home / "keys" / keyfiles.LOCK_FILE)
    assert lock is not None
    return open_lock(lock, passphrase)


@pytest.mark.slowest
def test_passphrase_is_changed_handed_over_and_removed(group: list[Computer], monkeypatch: pytest.MonkeyPatch) -> None:
    anna, _ = group
    anna.start()
    share(anna, "Notes")
    id_ = anna.ask("key", "show")["id"]
    assert tell(anna, OLD, "key", "lock")["passphrase"] is True
    assert refusal(tell(anna, f"{NEW}\n{OLD}", "key", "passphrase")) == "SY-KEY-11"
    assert tell(anna, f"{OLD}\n{NEW}", "key", "passphrase")["passphrase"] is True

    file = anna.place / "passphrase"
    file.write_text(f"{NEW}\n")
    file.chmod(0o600)
    restart(anna)
    assert refusal(tell(anna, OLD, "key", "unlock")) == "SY-KEY-11"
    anna.ask("key", "unlock", "--password-file", str(file))
    assert anna.ask("key", "show")["id"] == id_

    # What a service manager hands over is taken at the start; a wrong one is told, and a person is waited for.
    credentials = anna.place / "credentials"
    credentials.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    (credentials / "syncd-passphrase").write_text(OLD)
    restart(anna)
    assert anna.ask("status")["keys"]["locked"] and "the credential" in anna.last_words()
    (credentials / "syncd-passphrase").write_text(NEW + "\n")
    restart(anna)
    wait_until(lambda: not anna.ask("status")["keys"]["locked"], START_S, "the credential was not taken")

    backup = anna.place / "anna.backup"
    assert tell(anna, OLD, "key", "backup", str(backup))["opens_with"] == "passphrase"
    printed = subprocess.run(
        [str(SYNCD.with_name("syncd-ca")), "recovery", "--home", str(anna.home), "--json"],
        input=NEW + "\n", capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    words = json.loads(printed.stdout)["words"]

    assert tell(anna, NEW, "key", "passphrase", "--remove")["passphrase"] is False
    assert keys_of(anna.home).id and not (anna.home / "keys" / "lock").exists()
    recovery = keyfiles.load_recovery(anna.home)
    assert recovery is not None and list(recovery.words) == words
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    restart(anna)
    assert anna.ask("key", "show")["id"] == id_
    assert len(anna.ask("invites")["invites"]) == 1
    assert anna.ask("status")["keys"] == {"locked": False, "passphrase": False, "warning": None}

    # Who forgot a passphrase has the backup: into another home, and everything is there.
    other = Computer("other", anna.place / "other", anna.folder, anna.port)
    anna.stop()
    assert tell(other, OLD, "key", "restore", str(backup))["id"] == id_


@pytest.mark.slowest
def test_locked_daemon_ends_when_it_is_told_to(group: list[Computer]) -> None:
    anna, _ = group
    anna.start()
    assert tell(anna, OLD, "key", "lock")["passphrase"] is True
    restart(anna)
    assert anna.daemon is not None
    for number, code in ((signal.SIGHUP, None), (signal.SIGTERM, 0)):
        anna.daemon.send_signal(number)
        if code is None:
            assert anna.ask("status")["keys"]["locked"]
        else:
            assert anna.daemon.wait(START_S) == code
    anna.start()
    assert anna.run("stop").returncode == 0
    assert anna.daemon.wait(START_S) == 0
    assert not (anna.home / "control.sock").exists()


@pytest.mark.slowest
def test_daemon_killed_while_it_locks_opens_one_way_or_the_other(group: list[Computer]) -> None:
    """kill -9 at moments spread over the whole of the command. (`tests/unit/ca/test_custody.py` has every call.)"""
    anna, _ = group
    anna.start()
    share(anna, "Notes")
    (anna.folder / "plan").write_text("as agreed")
    id_ = anna.ask("key", "show")["id"]
    began = time.monotonic()
    assert tell(anna, OLD, "key", "lock")["passphrase"] is True
    takes_s = time.monotonic() - began
    assert tell(anna, OLD, "key", "passphrase", "--remove")["passphrase"] is False
    seen = set()
    for number in range(1, KILLS + 1):
        command = anna.command("key", "lock", "--json", "--yes")
        asking = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert asking.stdin is not None
        asking.stdin.write(OLD.encode() + b"\n")
        asking.stdin.close()
        if number < KILLS:
            time.sleep(takes_s * number / (KILLS - 1))
        else:
            asking.wait()  # the last one comes after the answer, however long that takes on a busy machine
        anna.kill()
        asking.wait()
        custody = Custody.open(anna.home, os.urandom)
        seen.add(custody.is_protected)
        if custody.is_protected:
            with pytest.raises(ConfigError):
                keys_of(anna.home)
            anna.start()
            assert anna.ask("status")["keys"]["locked"]
            assert tell(anna, OLD, "key", "unlock")["unlocked"] is True
            assert len(anna.ask("invites")["invites"]) == 1
            assert anna.ask("key", "show")["id"] == id_
            assert tell(anna, OLD, "key", "passphrase", "--remove")["passphrase"] is False
        else:
            anna.start()
            assert anna.ask("key", "show")["id"] == id_
    assert seen == {False, True}
