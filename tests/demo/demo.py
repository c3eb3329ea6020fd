"""Blocking. `make demo`: real daemons on this machine, each with its own home, keep a folder equal before your eyes.

Everything here goes through the command line that people use: nothing is imported from syncd. Set N=3 for more computers.
With ONCE=1 the demonstration checks its own result, prints a summary and ends (exit 0, or 1 with the reason); otherwise the
daemons stay up until Ctrl-C, so that you can play with the folders.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SYNCD = Path(sys.executable).with_name("syncd")
NAMES = ("anna", "ben", "carla", "dora", "emil", "fritz")
FOLDER = "Notes"

SMALL_FILES = 400
BIG_FILE_BYTES = 64 << 20
START_S, SYNC_S, NEWS_S, REMOVAL_S = 30.0, 180.0, 20.0, 5.0
SILENCE_S = 3.0  # how long a removed member is watched not to receive anything
POLL_S = 0.02

MIB = 1 << 20
Snapshot = dict[str, tuple[object, ...]]


class DemoError(Exception):
    """The demonstration did not show what it promises; the message says what."""


@dataclass(slots=True)
class Computer:
    """One daemon with a home and a folder of its own."""

    name: str
    home: Path
    folder: Path
    port: int
    daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.home.mkdir(parents=True, mode=0o700)
        self.folder.mkdir(parents=True)
        (self.home / "config.toml").write_text(f'[network]\nlisten = ["127.0.0.1:{self.port}"]\ndiscovery = false\n')
        with (self.home.parent / "daemon.log").open("wb") as log:
            command = [str(SYNCD), "--home", str(self.home), "run"]
            # A session of its own: Ctrl-C reaches this script alone, which then stops the daemons one by one.
            self.daemon = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        wait_until(self._answers, START_S, f"{self.name}: the daemon does not answer")

    def _answers(self) -> bool:
        if self.daemon is not None and self.daemon.poll() is not None:
            raise DemoError(f"{self.name}: the daemon ended with exit code {self.daemon.returncode}")
        return self.run("status", "--json").returncode == 0

    def stop(self) -> None:
        if self.daemon is None or self.daemon.poll() is not None:
            return
        self.daemon.send_signal(signal.SIGTERM)
        try:
            self.daemon.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()

    def run(self, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        command = [str(SYNCD), "--home", str(self.home), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)

    def ask(self, *arguments: str, timeout_s: float = 60.0) -> dict[str, Any]:
        """Run a command with --json and return its object; DemoError when it fails."""
        done = self.run(*arguments, "--json", timeout_s=timeout_s)
        if done.returncode != 0:
            words = done.stderr.strip() or done.stdout.strip()
            raise DemoError(f"{self.name}: syncd {arguments[0]} ended with exit code {done.returncode}: {words}")
        answer = json.loads(done.stdout)
        assert isinstance(answer, dict)
        return answer

    def received_bytes(self) -> int:
        return int(self.ask("status")["transfer"]["received_bytes"])


@dataclass(slots=True)
class Summary:
    """What was measured, in the order in which it happened."""

    lines: list[tuple[str, str]] = field(default_factory=list)

    def add(self, what: str, value: str) -> None:
        self.lines.append((what, value))

    def show(self) -> None:
        print("\nSummary")
        for what, value in self.lines:
            print(f"  {what:<44} {value}")


def say(text: str) -> None:
    print(text, flush=True)


def wait_until(condition: Callable[[], bool], timeout_s: float, otherwise: str) -> float:
    """Seconds until `condition` held; DemoError when it did not in time."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > timeout_s:
            raise DemoError(f"{otherwise} (waited {timeout_s:g} s)")
        time.sleep(POLL_S)
    return time.monotonic() - started


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(one.getsockname()[1]) for one in sockets]


def write_sample(folder: Path) -> int:
    """A small library of notes with everything that names and files can be. Returns its size in bytes."""
    chance = random.Random("syncd demo")
    total = 0
    for number in range(SMALL_FILES):
        place = folder / f"year {2000 + number % 20}" / f"month {number % 12 + 1}"
        place.mkdir(parents=True, exist_ok=True)
        text = chance.randbytes(chance.randint(0, 20_000))
        (place / f"note {number}.txt").write_bytes(text)
        total += len(text)
    (folder / "film.bin").write_bytes(chance.randbytes(BIG_FILE_BYTES))
    (folder / "tea ☕ and Käse.txt").write_text("names are bytes\n")
    (folder / "script.sh").write_text("#!/bin/sh\necho hello\n")
    (folder / "script.sh").chmod(0o755)
    (folder / "empty room").mkdir()
    (folder / "newest").symlink_to("year 2019")
    return total + BIG_FILE_BYTES


def snapshot(folder: Path) -> Snapshot:
    """All that syncd promises to keep equal: kinds, bytes, modes, times of files, targets of symlinks."""
    found: Snapshot = {}
    for place, directories, files in os.walk(folder):
        if Path(place) == folder and ".syncd" in directories:
            directories.remove(".syncd")
        for name in directories + files:
            path = Path(place) / name
            found[str(path.relative_to(folder))] = describe(path)
    return found


def describe(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return ("symlink", os.readlink(path))
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        return ("directory", mode)
    with path.open("rb") as file:
        return ("file", mode, status.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest())


def demand_equal(computers: list[Computer]) -> int:
    """Number of entries that all folders have; DemoError names the first difference."""
    first = snapshot(computers[0].folder)
    for other in computers[1:]:
        theirs = snapshot(other.folder)
        for path in sorted(first.keys() | theirs.keys()):
            if first.get(path) != theirs.get(path):
                raise DemoError(
                    f"{path!r} differs: {computers[0].name} {first.get(path)}, {other.name} {theirs.get(path)}"
                )
    return len(first)


def wait_equal(computers: list[Computer], timeout_s: float = NEWS_S) -> None:
    """Until all folders are equal; the first difference that stays is the error."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            demand_equal(computers)
            return
        except (DemoError, FileNotFoundError):
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)


def show_share_and_join(computers: list[Computer], summary: Summary) -> None:
    anna, *others = computers
    size_bytes = write_sample(anna.folder)
    shared = anna.ask(
        *("share", str(anna.folder), "--name", FOLDER, "--role", "editor", "--link"),
        *("--uses", str(len(others)), "--yes", "--no-wait"),
    )
    say(f"  anna shares {anna.folder}: {SMALL_FILES} notes and a film, {size_bytes / MIB:.0f} MiB")
    say(f"  link: {shared['link'][:40]}…")
    for other in others:
        started = time.monotonic()
        other.ask("join", shared["link"], str(other.folder), "--as", other.name, "--yes", "--no-wait")
        say(f"  {other.name} joined after {time.monotonic() - started:.1f} s and fetches")
        watch_progress(other, size_bytes)
        took_s = time.monotonic() - started
        entries = demand_equal([anna, other])
        say(f"  {other.name} has all {entries} entries: bytes, modes, times and symlink targets equal")
        rate = f"{size_bytes / MIB / took_s:.0f} MiB/s, {entries / took_s:.0f} entries/s"
        summary.add(f"{other.name}: joined and in sync", f"{took_s:.1f} s ({rate})")


def watch_progress(computer: Computer, size_bytes: int) -> None:
    """Print how far a download is until the folder is in sync."""
    waiter = subprocess.Popen(
        [str(SYNCD), "--home", str(computer.home), "wait", "--for", "synced", "--timeout", f"{SYNC_S:g}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    started, before = time.monotonic(), 0
    while waiter.poll() is None:
        received = computer.received_bytes()
        if received != before:
            rate = received / MIB / max(time.monotonic() - started, 0.001)
            percent = min(100, 100 * received // size_bytes)
            say(f"    {computer.name}  {percent:3d} %  {received / MIB:6.1f} MiB  {rate:5.0f} MiB/s")
        before = received
        time.sleep(0.25)
    if waiter.returncode != 0:
        raise DemoError(f"{computer.name}: not in sync (syncd wait: exit code {waiter.returncode})")


def show_edits(computers: list[Computer], summary: Summary) -> None:
    for number, writer in enumerate(computers):
        note = f"written by {writer.name}.txt"
        started = time.monotonic()
        (writer.folder / note).write_text(f"{writer.name} was here\n")
        wait_until(partial(all_have, computers, note), NEWS_S, f"{note} did not arrive")
        took_s = time.monotonic() - started
        say(f"  {writer.name} writes a file: everywhere after {took_s:.2f} s")
        if number < 2:
            summary.add(f"a file written by {writer.name} is everywhere", f"{took_s:.2f} s")
    show_move_and_small_change(computers, summary)


def all_have(computers: list[Computer], name: str) -> bool:
    return all((computer.folder / name).exists() for computer in computers)


def show_move_and_small_change(computers: list[Computer], summary: Summary) -> None:
    anna, ben = computers[:2]
    before = ben.received_bytes()
    (anna.folder / "year 2003").rename(anna.folder / "the year 2003")
    wait_until(lambda: (ben.folder / "the year 2003").exists(), NEWS_S, "the renamed directory did not arrive")
    (ben.folder / "script.sh").unlink()
    wait_until(lambda: not (anna.folder / "script.sh").exists(), NEWS_S, "the deletion did not arrive")
    wait_equal(computers)
    moved = ben.received_bytes() - before
    say(f"  anna renames a directory, ben deletes a file: {moved / 1024:.1f} KiB travelled")
    summary.add("directory renamed and file deleted", f"{moved / 1024:.1f} KiB travelled")

    before = ben.received_bytes()
    with (anna.folder / "film.bin").open("r+b") as film:
        film.seek(BIG_FILE_BYTES // 2)
        film.write(b"one small change")
    wait_equal(computers)
    moved = ben.received_bytes() - before
    say(f"  anna changes 16 bytes in the middle of the film: {moved / 1024:.0f} KiB travelled to ben")
    summary.add("16 bytes changed in a 64 MiB file", f"{moved / 1024:.0f} KiB travelled")


def show_removal(computers: list[Computer], summary: Summary) -> None:
    anna, *_, leaver = computers
    stolen = keep_certificate(leaver)
    if not is_served(anna, stolen):
        raise DemoError("the folder's certificate was refused before the removal")
    members = {member["name"] for member in anna.ask("members", FOLDER)["members"]}
    if leaver.name not in members:
        raise DemoError(f"{leaver.name} is not among the members: {sorted(members)}")

    started = time.monotonic()
    epoch = anna.ask("member", "remove", FOLDER, leaver.name, "--yes")["epoch"]
    wait_until(lambda: not is_served(anna, stolen), REMOVAL_S, "the old certificate is still accepted")
    refused_s = time.monotonic() - started
    say(f"  anna removes {leaver.name}: epoch {epoch}, the old certificate is refused after {refused_s:.2f} s")
    summary.add(f"{leaver.name} removed, old certificate refused", f"{refused_s:.2f} s")

    (anna.folder / "after the removal.txt").write_text("not for everybody\n")
    (leaver.folder / "from outside.txt").write_text("nobody reads this\n")
    wait_equal(computers[:-1])
    time.sleep(SILENCE_S)
    if (leaver.folder / "after the removal.txt").exists():
        raise DemoError(f"a new file reached {leaver.name}, who was removed")
    if any((c.folder / "from outside.txt").exists() for c in computers[:-1]):
        raise DemoError(f"an edit of {leaver.name}, who was removed, arrived")
    say(f"  nothing new reaches {leaver.name}, nothing of {leaver.name}'s arrives; the others go on")


@dataclass(frozen=True, slots=True)
class Stolen:
    """A copy of a folder's certificate and key, as a removed member may keep one."""

    certificate: Path
    key: Path
    label: str


def keep_certificate(computer: Computer) -> Stolen:
    tls = computer.ask("folder", "show", FOLDER)["tls"]
    place = computer.home.parent
    kept = Stolen(place / "kept.crt", place / "kept.key", tls["sni"])
    shutil.copy(tls["cert"], kept.certificate)
    shutil.copy(tls["key"], kept.key)
    return kept


def is_served(server: Computer, stolen: Stolen) -> bool:
    """Whether the daemon answers a request made with this certificate (a block nobody has: 404 is an answer)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(stolen.certificate, stolen.key)
    request = f"GET /v1/blocks/{'0' * 64} HTTP/1.1\r\nHost: syncd\r\nConnection: close\r\n\r\n"
    try:
        with (
            socket.create_connection(("127.0.0.1", server.port), timeout=5) as raw,
            context.wrap_socket(raw, server_hostname=stolen.label) as stream,
        ):
            stream.sendall(request.encode())
            return stream.recv(64).startswith(b"HTTP/1.1 ")
    except OSError:  # ssl.SSLError is one: the handshake, or the first answer after it, is where TLS 1.3 refuses
        return False


@contextlib.contextmanager
def computers_up(count: int) -> Iterator[list[Computer]]:
    """`count` running daemons in a fresh place; stopped, and the place removed, at the end."""
    (ROOT / ".demo").mkdir(exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="run-", dir=ROOT / ".demo"))
    ports = free_ports(count)
    computers = [
        Computer(name, place / name / "home", place / name / FOLDER, port)
        for name, port in zip(NAMES[:count], ports, strict=True)
    ]
    try:
        yield computers
    except BaseException:
        show_logs(computers)
        raise
    finally:
        for computer in computers:
            computer.stop()
        shutil.rmtree(place)


def show_logs(computers: list[Computer]) -> None:
    if isinstance(sys.exc_info()[1], KeyboardInterrupt):
        return
    for computer in computers:
        log = computer.home.parent / "daemon.log"
        if log.exists():
            lines = log.read_text(errors="replace").splitlines()[-15:]
            print(f"--- last lines of {computer.name}'s daemon", *lines, sep="\n", file=sys.stderr)


def stay(computers: list[Computer]) -> None:
    say("\nThe daemons stay up. Change files and watch them travel:")
    for computer in computers:
        say(f"  {computer.name:<6} {computer.folder}")
    say("Ask any of them:")
    say(f"  {SYNCD} --home {computers[0].home} status")
    say("Ctrl-C ends the demonstration and removes all of it.")
    while all(c.daemon is not None and c.daemon.poll() is None for c in computers):
        time.sleep(0.5)
    raise DemoError("a daemon ended by itself")


def demonstrate(count: int, once: bool) -> None:
    summary = Summary()
    with computers_up(count) as computers:
        say(f"1  Start {count} daemons, each with its own home")
        for computer in computers:
            computer.start()
            say(f"  {computer.name} listens on 127.0.0.1:{computer.port}")
        say("2  Share and join")
        show_share_and_join(computers, summary)
        say("3  Edit on every side")
        show_edits(computers, summary)
        say("4  Remove a member")
        show_removal(computers, summary)
        summary.show()
        if not once:
            stay(computers)


def main() -> int:
    count = int(os.environ.get("N") or 2)
    once = os.environ.get("ONCE", "") not in ("", "0")
    if not 2 <= count <= len(NAMES):
        print(f"N must be between 2 and {len(NAMES)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    try:
        demonstrate(count, once)
    except DemoError as error:
        print(f"\ndemo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("\nstopped")
        return 0
    say(f"demo passed in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
