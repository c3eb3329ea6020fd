"""A PIN on a real daemon: commands that change something want it, others do not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.helpers.computers import Computer, computers

PIN = "4711"
TIMEOUT_S = 30


@pytest.fixture
def anna(tmp_path: Path) -> Iterator[Computer]:
    with computers(("anna",), tmp_path, "Notes") as (anna,):
        anna.start()
        anna.ask("share", str(anna.folder), "--link", "--yes", "--no-wait")
        set_pin = subprocess.run(
            anna.command("web", "--pin"),
            input=f"{PIN}\n",
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert set_pin.returncode == 0, set_pin.stderr
        yield anna
        anna.kill()


def pause(anna: Computer, file: Path | None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({} if file is None else {"SYNCD_PIN_FILE": str(file)})}
    return subprocess.run(
        anna.command("pause", "Notes", "--json"),
        capture_output=True,
        text=True,
        env=environment,
        stdin=subprocess.DEVNULL,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_changing_wants_the_pin_and_looking_does_not(anna: Computer, tmp_path: Path) -> None:
    refused = pause(anna, None)
    assert refused.returncode == 6 and "SY-PIN-01" in refused.stdout + refused.stderr
    assert anna.ask("status")["folders"][0]["state"] != "paused"
    file = tmp_path / "pin"
    file.write_text("1470\n")
    wrong = pause(anna, file)
    assert wrong.returncode == 6 and "SY-PIN-02" in wrong.stdout + wrong.stderr
    file.write_text(f"{PIN}\n")
    assert pause(anna, file).returncode == 0
    assert anna.ask("status")["folders"][0]["state"] == "paused"


def test_person_at_a_terminal_is_asked(anna: Computer) -> None:
    program, *arguments = anna.command("pause", "Notes")
    terminal = pexpect.spawn(program, arguments, encoding="utf-8", timeout=TIMEOUT_S)
    terminal.expect("PIN: ")
    terminal.sendline(PIN)
    terminal.expect("rests")
    terminal.expect(pexpect.EOF)
    assert PIN not in str(terminal.before)


def test_pin_is_not_taken_away_without_it(anna: Computer, tmp_path: Path) -> None:
    refused = anna.run("web", "--no-pin", "--no-input")
    assert refused.returncode == 6 and "SY-PIN-01" in refused.stderr
    (anna.home / "web-pin").unlink()  # as `syncd help SY-PIN-02` says to who forgot it
    assert pause(anna, None).returncode == 0
