"""Blocking. Faults for real daemons, and what a person is told about them.

A fault is only dealt with well if the words are complete (what, why, what to do), no traceback gets out, and nothing
else stands still. The checks of that are here, so that every test of a fault makes them. What a person is told comes
through the command line; what is looked at again and again comes straight from the control socket.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncd.catalogue import CATALOGUE
from syncd.cli.client import call
from syncd.home import socket_path
from tests.helpers.computers import Computer, computers, join, loopback_config, share, start_all, wait_until

NOBODY = 65534
"""User and group without any rights of their own. Root is refused nothing, so what permissions forbid is tested as this
user."""
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
SOON_S = 25.0
COMMAND_S = 180.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as a script sees it."""

    id: str
    what: str
    why: str
    fix: str
    exit: int


@dataclass(slots=True)
class UnprivilegedComputer(Computer):
    """A daemon, and the person in front of it, that are nobody."""

    def command(self, *arguments: str) -> list[str]:
        return [*AS_NOBODY, *Computer.command(self, *arguments)]

    def launch(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.home.exists():
            self.home.mkdir(mode=0o700)
            (self.home / "config.toml").write_text(self.config or loopback_config(self.port))
        give_to_nobody(self.place)
        Computer.launch(self)


def give_to_nobody(place: Path) -> None:
    """Everything in a directory, and itself."""
    for directory, names, files in os.walk(place):
        os.lchown(directory, NOBODY, NOBODY)
        for name in [*names, *files]:
            os.lchown(os.path.join(directory, name), NOBODY, NOBODY)


def refusal(computer: Computer, *arguments: str) -> Refusal:
    """Run a command that must fail, and check the form of what it says: one object, complete, no traceback."""
    done = computer.run(*arguments, "--json", timeout_s=COMMAND_S)
    return told(done)


def told(done: subprocess.CompletedProcess[str]) -> Refusal:
    """The error that a command with --json ended with."""
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stderr, done.stderr
    lines = done.stderr.strip().splitlines()
    error = json.loads(lines[-1])["error"]
    found = Refusal(error["id"], error["what"], error["why"], error["try"], error["exit"])
    assert found.exit == done.returncode
    assert found.exit == CATALOGUE[found.id].exit
    assert found.what
    assert found.why
    assert found.fix
    return found


def start_refusal(computer: Computer) -> Refusal:
    """A daemon that must not start; what it says in three lines, and its exit code."""
    done = computer.run("run", timeout_s=COMMAND_S)
    assert done.returncode != 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    first, second, third = [line for line in done.stderr.splitlines() if line[:6] in ("error ", "why   ", "try   ")]
    what, _, id_ = first.removeprefix("error").rpartition("[")
    found = Refusal(
        id_.rstrip("]"),
        what.strip(),
        second.removeprefix("why").strip(),
        third.removeprefix("try").strip(),
        done.returncode,
    )
    assert found.exit == CATALOGUE[found.id].exit
    assert found.what
    assert found.why
    assert found.fix
    return found


def look(computer: Computer, method: str, **params: object) -> dict[str, Any]:
    """Ask the daemon over its control socket; `folder` and `cwd` are null unless given."""
    return call(socket_path(computer.home), method, params, timeout_s=COMMAND_S)


def show(computer: Computer, folder: str) -> dict[str, Any]:
    """A folder as `folder show` has it."""
    return look(computer, "folder.show", folder=folder)


def explained(computer: Computer, path: Path) -> dict[str, Any]:
    return look(computer, "explain", path=str(path))


def leave(computer: Computer, folder: str) -> None:
    look(computer, "folder.leave", folder=folder, dry_run=False)


def wait_for(condition: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
    """`wait_until` for questions that cost the daemon something."""

    def patiently() -> bool:
        if condition():
            return True
        time.sleep(0.05)
        return False

    wait_until(patiently, timeout_s, otherwise)


def problems(computer: Computer, folder: str | None = None) -> list[dict[str, Any]]:
    """The problems that `status` shows: of the device and of every folder, or of one folder."""
    status = look(computer, "status")
    found = [] if folder else list(status["problems"])
    for one in status["folders"]:
        if folder in (None, one["name"]):
            found += one["problems"]
    return found


def wait_problem(
    computer: Computer, id_: str, *, folder: str | None = None, path: str | None = None, timeout_s: float = SOON_S
) -> dict[str, Any]:
    """Wait until `status` shows this problem (of this path, or of the folder itself), and check its words."""
    seen: list[dict[str, Any]] = []

    def is_there() -> bool:
        seen[:] = [one for one in problems(computer, folder) if one["id"] == id_ and one["path"] == path]
        return bool(seen)

    try:
        wait_for(is_there, timeout_s, f"{computer.name} does not show {id_} for {path}")
    except Exception as error:
        error.add_note(f"it shows {problems(computer)}\n{computer.last_words()}")
        raise
    assert seen[0]["why"]
    assert seen[0]["try"]
    return seen[0]


def wait_no_problem(computer: Computer, folder: str | None = None, timeout_s: float = SOON_S) -> None:
    """Wait until `status` shows nothing in the way."""
    try:
        wait_for(lambda: not problems(computer, folder), timeout_s, f"{computer.name} still shows problems")
    except Exception as error:
        error.add_note(f"it shows {problems(computer, folder)}\n{computer.last_words()}")
        raise


def wait_content(path: Path, content: bytes | None, timeout_s: float = SOON_S) -> None:
    """Wait until a file has this content; None: until it is gone."""

    def is_so() -> bool:
        try:
            return path.read_bytes() == content
        except (FileNotFoundError, NotADirectoryError):
            return content is None

    wait_for(is_so, timeout_s, f"{path} has not become {'gone' if content is None else f'{len(content)} bytes'}")


def demand_quiet_log(computer: Computer) -> None:
    """No traceback and no fault of our own came into the log."""
    log = computer.log.read_text(errors="replace")
    assert "Traceback" not in log, log
    assert "SY-BUG" not in log, log


@contextlib.contextmanager
def pair(place: Path) -> Iterator[tuple[Computer, Computer]]:
    """Two computers that run and share the folder `common`."""
    with computers(("anna", "ben"), place, "common") as (anna, ben):
        start_all((anna, ben))
        join(ben, share(anna, "common"))
        yield anna, ben


@dataclass(frozen=True, slots=True)
class Shared:
    """One more folder of a pair."""

    name: str
    anna: Computer
    ben: Computer
    here: Path
    """Its root at Anna's."""
    there: Path
    """Its root at Ben's."""

    def wait_synced(self) -> None:
        """Wait until Ben's side is settled, whatever is the matter with other folders."""
        done = look(self.ben, "wait", folders=[self.name], timeout_s=SOON_S, **{"for": "synced"})
        assert done["done"], done

    def wait_equal_file(self, name: str, content: bytes, timeout_s: float = SOON_S) -> None:
        """Write a file at Anna's and wait until Ben has it."""
        (self.here / name).write_bytes(content)
        wait_content(self.there / name, content, timeout_s)


def share_another(
    anna: Computer, ben: Computer, name: str, here: Path | None = None, there: Path | None = None
) -> Shared:
    """A folder of its own for one fault, so that every other folder can show that it goes on."""
    here = here or anna.place / name
    there = there or ben.place / name
    here.mkdir(exist_ok=True)
    link = invitation(anna, here, name)
    found = look(ben, "join.find", link=link)
    look(ben, "join", join=found["join"], path=str(there), wait=False)
    return Shared(name, anna, ben, here, there)


def invitation(anna: Computer, root: Path, name: str | None = None) -> str:
    """A link, good for one, that needs no confirmation."""
    options = {"role": "editor", "link": True, "uses": 1, "yes": True, "wait": False}
    return str(look(anna, "share", path=str(root), name=name, **options)["link"])


def demand_others_go_on(anna: Computer, ben: Computer) -> None:
    """The pair's common folder carries a new file, whatever has happened to another folder."""
    name = f"still-{os.urandom(4).hex()}"
    (anna.folder / name).write_text(name)
    wait_content(ben.folder / name, name.encode())


@contextlib.contextmanager
def mounted(where: Path, *options: str) -> Iterator[Path]:
    """A small file system of its own (tmpfs) with these mount options."""
    where.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", ",".join(("mode=755", *options)), "none", str(where))
    try:
        yield where
    finally:
        unmount(where)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True, timeout=COMMAND_S)


def remount(where: Path, *options: str) -> None:
    mount("-o", ",".join(("remount", *options)), str(where))


def unmount(where: Path) -> None:
    """Lazily: a daemon may hold the root."""
    subprocess.run(["umount", "--lazy", str(where)], check=True, capture_output=True, timeout=COMMAND_S)
