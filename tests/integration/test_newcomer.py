"""The first five minutes of two people on two machines, who read nothing before: what they type, see and wait for.

Two network name spaces joined by a cable stand for the machines, pexpect for the hands. Everything is the default: no
configuration, no address, multicast alone. Counted are commands, questions, values carried from one machine to the
other, files that had to be edited, and the time.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pexpect
import pytest

from tests.helpers.computers import wait_equal
from tests.helpers.namespaces import Machine, two_machines

pytestmark = [pytest.mark.needs("root", "netns", "linux"), pytest.mark.alone]

SYNCD = str(Path(sys.executable).with_name("syncd"))
PATIENCE_S = 30.0
MOST_COMMANDS, MOST_QUESTIONS, LONGEST_VALUE, MOST_S, MOST_SILENT_S, EDIT_S = 2, 2, 24, 60.0, 2.0, 2.0
FILES = 1000


@dataclass
class Person:
    """Somebody at a machine, with a home directory of their own; counts what they have to do."""

    name: str
    machine: Machine
    home: Path
    commands: list[str] = field(default_factory=list)
    questions: int = 0

    def start(self, *words: str) -> pexpect.spawn[str]:
        """Type a command at a terminal."""
        self.commands.append(" ".join(words))
        program, *arguments = self.machine.command(SYNCD, *words)
        return pexpect.spawn(
            program, arguments, env=self.environment, timeout=PATIENCE_S, encoding="utf-8", dimensions=(24, 100),
            cwd=str(self.home),
        )  # fmt: skip

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A look that is no part of the path to the goal."""
        command = self.machine.command(SYNCD, *words)
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=60)

    def answer(self, terminal: pexpect.spawn[str], question: str, typed: str) -> str:
        """Wait for a question and answer it; what was shown before."""
        terminal.expect(question)
        self.questions += 1
        terminal.sendline(typed)
        return str(terminal.before)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return {**kept, "HOME": str(self.home), "TERM": "xterm", "LANG": "C.UTF-8", "COLUMNS": "100"}


@pytest.fixture
def people(tmp_path: Path) -> Iterator[tuple[Person, Person]]:
    with two_machines("10.78.0") as machines:
        both = [Person(name, machine, tmp_path / name) for name, machine in zip(("anna", "ben"), machines, strict=True)]
        for person in both:
            person.home.mkdir()
        yield both[0], both[1]
        for person in both:
            person.run("stop")


def test_two_newcomers_are_in_sync_within_a_minute(people: tuple[Person, Person]) -> None:
    anna, ben = people
    notes = anna.home / "Notes"
    notes.mkdir()
    for number in range(FILES):
        (notes / f"{number:04}.txt").write_text(f"note {number}\n")

    began = time.monotonic()
    sharing = anna.start("share", "Notes")
    anna.answer(sharing, r"Start it now.*\?", "y")
    asked = time.monotonic()
    sharing.expect(r"type this code:\s+(\d+(?:-[a-z]+){3})\s")
    assert time.monotonic() - asked <= 5, "a thousand small files are shared within five seconds"
    assert sharing.match is not None
    code = str(sharing.match[1])
    assert "syncd join" in str(sharing.before), "the command for the other machine is shown"

    joining = ben.start("join")
    ben.answer(joining, r"Start it now.*\?", "y")
    joining.expect("Code:")
    words = code.split("-")  # the last word with the Tab key, as a person would
    joining.send("-".join(words[:-1]) + "-" + words[-1][:4] + "\t")
    joining.expect(re.escape(words[-1]))
    joining.sendline("")
    joining.expect(r"Found Notes on")
    shown = ben.answer(joining, r"Where\?.*Notes\]", "")
    assert "you will be an editor" in shown
    assert "1,000 files" in shown

    question = anna.answer(sharing, r"wants to join as editor\..*Allow\?", "")
    assert re.search(r"\(.*Linux.*10\.78\.0\.2.*key [a-z]+-[a-z]+", question), (
        f"approval with name and key: {question!r}"
    )
    joining.expect("is in sync")
    joining.expect(pexpect.EOF)
    sharing.expect("is in sync")
    sharing.expect(pexpect.EOF)
    took = time.monotonic() - began

    wait_equal([notes, ben.home / "Notes"], PATIENCE_S)
    assert took <= MOST_S, f"it took {took:.1f} s"
    for person in (anna, ben):
        assert len(person.commands) <= MOST_COMMANDS, person.commands
        assert person.questions <= MOST_QUESTIONS + 1, "start, code or place, allow"
    assert len(code) <= LONGEST_VALUE, f"one value is carried over: {code}"
    assert not [file for person in (anna, ben) for file in person.home.rglob("config.toml")], "no file is edited"

    edited = time.monotonic()
    (notes / "0000.txt").write_text("edited\n")
    while (ben.home / "Notes" / "0000.txt").read_text() != "edited\n":
        assert time.monotonic() - edited < PATIENCE_S
        time.sleep(0.02)
    assert time.monotonic() - edited <= EDIT_S + 1, "an edit is there within two seconds, and one to rest"
    for person in (anna, ben):
        person.run("wait", "--for", "synced", "--timeout", "20")
        status = person.run("status", "--check")
        assert (status.returncode, status.stdout.splitlines()[0].split("  ")[0]) == (0, "All in sync.")


def test_newcomer_without_a_plan_is_told_both_commands(people: tuple[Person, Person]) -> None:
    shown = people[0].run()
    assert shown.returncode == 0
    assert len(shown.stdout.splitlines()) <= 15
    assert "syncd share" in shown.stdout and "syncd join" in shown.stdout


def test_mistakes_of_newcomers_are_told_in_three_lines(people: tuple[Person, Person]) -> None:
    """Wrong code, no daemon, nobody there: what, why, what to do; the documented exit code; no traceback."""
    anna, ben = people
    (anna.home / "Notes").mkdir()
    shared = anna.run("share", str(anna.home / "Notes"), "--yes", "--no-wait", "--json")
    number = re.search(r'"code": ?"(\d+)-', shared.stdout)
    assert number is not None
    expected = [
        (ben, ("status",), 5),
        (ben, ("join", f"{number[1]}-guitar-uncle-merit", str(ben.home / "N"), "--yes"), 9),
        (ben, ("status", "Nonsense"), 7),
        (ben, ("share", "/", "--yes", "--no-wait"), 8),
        (ben, ("share", "--role", "king", "."), 2),
    ]
    for person, words, code in expected:
        done = person.run(*words)
        assert done.returncode == code, (words, done.stderr)
        lines = [line for line in done.stderr.splitlines() if line[:5] in ("error", "why  ", "try  ")]
        assert [line[:5].strip() for line in lines] == ["error", "why", "try"], done.stderr
        assert "Traceback" not in done.stderr


def test_leaving_says_what_stays(people: tuple[Person, Person]) -> None:
    """After `folder leave` and `stop`, files and keys are where they were, and the person was told so."""
    anna, _ = people
    (anna.home / "Notes").mkdir()
    (anna.home / "Notes" / "kept").write_text("kept")
    assert anna.run("share", str(anna.home / "Notes"), "--yes", "--no-wait").returncode == 0
    left = anna.run("folder", "leave", "Notes", "--yes")
    assert left.returncode == 0 and str(anna.home / "Notes") in left.stdout + left.stderr
    assert (anna.home / "Notes" / "kept").read_text() == "kept"
