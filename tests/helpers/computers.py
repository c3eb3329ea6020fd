"""Blocking. Whole computers for `make demo`, the proofs and integration tests: a home, a folder, a real daemon.

Everything goes through the command line that people use; nothing is imported from syncd. All waiting has a
deadline, and what was awaited in vain is an error that says so.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.helpers.machinetime import Stopwatch

SYNCD = Path(sys.executable).with_name("syncd")
NAMES = ("anna", "ben", "carla", "dora", "emil", "fritz")

START_S = 120.0  # of a machine that is busy with other things; what takes long is measured elsewhere
STOP_S = 60.0  # how quickly it stops is measured where that is promised
COMMAND_S = 180.0
SYNC_S = 120.0
POLL_S = 0.02
SLACK = 5  # between what is promised of a machine at rest and what a test demands of one that may be busy

Snapshot = dict[bytes, tuple[object, ...]]


class Disappointment(Exception):
    """Something that was promised did not happen; the message says what."""


@dataclass(slots=True)
class Computer:
    """One daemon with a home and a folder of its own, listening on loopback unless `config` says otherwise."""

    name: str
    place: Path
    folder: Path
    port: int
    config: str | None = None
    """Text of config.toml."""
    inside: tuple[str, ...] = ()
    """The command that runs another one on the machine where this daemon lives; nothing for this machine."""
    daemon: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def home(self) -> Path:
        return self.place / "home"

    @property
    def log(self) -> Path:
        return self.place / "daemon.log"

    def start(self) -> None:
        """Start the daemon and return when it answers. Callable again after `stop` or `kill`."""
        self.launch()
        self.wait_answers()

    def launch(self) -> None:
        """Start the daemon without waiting for it."""
        self.folder.mkdir(parents=True, exist_ok=True)  # and with it the place
        if not self.home.exists():
            self.home.mkdir(mode=0o700)
            (self.home / "config.toml").write_text(self.config or loopback_config(self.port))
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C reaches the parent alone, which then stops its daemons one by one.
            self.daemon = subprocess.Popen(
                [*self.inside, *self.command("run")],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def wait_answers(self) -> None:
        try:
            wait_until(self._answers, START_S, f"{self.name}: the daemon does not answer")
        except Disappointment as error:
            raise Disappointment(f"{error}\n{self.last_words()}") from None

    def _answers(self) -> bool:
        self.demand_alive()
        return self.run("status", "--json").returncode == 0

    def demand_alive(self) -> None:
        if self.daemon is None or self.daemon.poll() is not None:
            ended = "never started" if self.daemon is None else f"ended with exit code {self.daemon.returncode}"
            raise Disappointment(f"{self.name}: the daemon {ended}\n{self.last_words()}")

    def last_words(self, lines: int = 15) -> str:
        """The end of the daemon's log."""
        with contextlib.suppress(FileNotFoundError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def stop(self) -> None:
        """End the daemon as an operating system does: politely, then not. Idempotent."""
        if self.daemon is None or self.daemon.poll() is not None:
            return
        self.daemon.send_signal(signal.SIGTERM)
        try:
            self.daemon.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """kill -9: no handler runs, nothing is flushed."""
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait()

    def command(self, *arguments: str) -> list[str]:
        return [str(SYNCD), "--home", str(self.home), *arguments]

    def run(self, *arguments: str, timeout_s: float = COMMAND_S) -> subprocess.CompletedProcess[str]:
        """Run a command, whatever comes of it."""
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=timeout_s, check=False)

    def ask(self, *arguments: str, timeout_s: float = COMMAND_S) -> dict[str, Any]:
        """Run a command with --json and return its object; Disappointment when it fails."""
        done = self.run(*arguments, "--json", timeout_s=timeout_s)
        if done.returncode != 0:
            words = done.stderr.strip() or done.stdout.strip()
            raise Disappointment(f"{self.name}: syncd {' '.join(arguments)}: exit code {done.returncode}: {words}")
        answer = json.loads(done.stdout)
        if not isinstance(answer, dict):
            raise Disappointment(f"{self.name}: syncd {arguments[0]} --json gave no object")
        return answer

    def wait_synced(self, timeout_s: float) -> None:
        self._wait_for("synced", timeout_s)

    def wait_in_place(self, peer: Computer, timeout_s: float) -> None:
        """Until this computer knows that another one has everything."""
        self._wait_for(f"peer={peer.name}", timeout_s)

    def _wait_for(self, goal: str, timeout_s: float) -> None:
        done = self.run("wait", "--for", goal, "--timeout", f"{timeout_s:g}", timeout_s=timeout_s + COMMAND_S)
        if done.returncode != 0:
            raise Disappointment(f"{self.name}: not {goal} after {timeout_s:g} s\n{done.stderr}{self.last_words()}")

    def transfer(self) -> dict[str, int]:
        """Counters since the start of the daemon: received_bytes, sent_bytes, duplicate_bytes, blocks_fetched."""
        counters = self.ask("status")["transfer"]
        return {name: int(value) for name, value in counters.items()}

    def peak_memory_bytes(self) -> int:
        """The most that was ever resident (VmHWM of Linux)."""
        self.demand_alive()
        assert self.daemon is not None
        for line in Path(f"/proc/{self.daemon.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise Disappointment("this system does not tell how much memory a process used at most")


def loopback_config(port: int) -> str:
    return f'[network]\nlisten = ["127.0.0.1:{port}"]\ndiscovery = false\n'


def start_all(group: Sequence[Computer]) -> None:
    """Start several daemons side by side and return when all answer."""
    for computer in group:
        computer.launch()
    for computer in group:
        computer.wait_answers()


@contextlib.contextmanager
def computers(names: Sequence[str], place: Path, folder_name: str) -> Iterator[list[Computer]]:
    """Computers that are not started yet; at the end their daemons are stopped."""
    made = [
        Computer(name, place / name, place / name / folder_name, port)
        for name, port in zip(names, free_ports(len(names)), strict=True)
    ]
    try:
        yield made
    finally:
        for computer in made:
            computer.stop()


@contextlib.contextmanager
def sharing_computers(
    names: Sequence[str], place: Path, folder_name: str, write: Callable[[Path], object] = lambda folder: None
) -> Iterator[list[Computer]]:
    """Running computers that share a folder and are in sync; `write` fills it on the first one before."""
    with computers(names, place, folder_name) as group:
        start_all(group)
        first, *others = group
        write(first.folder)
        link = share(first, folder_name, uses=max(1, len(others)))
        for other in others:
            join(other, link)
        for computer in others:
            computer.wait_synced(SYNC_S)
        yield group


@contextlib.contextmanager
def fresh_place(parent: Path) -> Iterator[Path]:
    """A new directory in `parent`, removed at the end."""
    parent.mkdir(exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="run-", dir=parent))
    try:
        yield place
    finally:
        shutil.rmtree(place)


def share(owner: Computer, name: str, uses: int = 1) -> str:
    """Share the owner's folder; returns a link that needs no confirmation."""
    options = ["--name", name, "--role", "editor", "--link", "--uses", str(uses), "--yes", "--no-wait"]
    return str(owner.ask("share", str(owner.folder), *options)["link"])


def join(joiner: Computer, link: str) -> None:
    joiner.ask("join", link, str(joiner.folder), "--as", joiner.name, "--yes", "--no-wait")


def share_by_code(owner: Computer, name: str) -> str:
    """Share the owner's folder; returns a code, by which nobody is let in without an approval."""
    return str(owner.ask("share", str(owner.folder), "--name", name, "--no-wait")["code"])


def join_by_code(joiner: Computer, code: str, owner: Computer) -> None:
    """Join, and let the owner approve the request that comes of it."""
    command = joiner.command("join", code, str(joiner.folder), "--as", joiner.name, "--yes", "--no-wait", "--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as joining:
        try:
            wait_until(
                lambda: joining.poll() is not None or bool(requests_of(owner)), COMMAND_S, f"{joiner.name} did not ask"
            )
            for request in requests_of(owner):
                owner.ask("approve", request)
            said = joining.communicate(timeout=COMMAND_S)[0]
        finally:
            joining.kill()
    if joining.returncode != 0:
        raise Disappointment(f"{joiner.name}: join by code: exit code {joining.returncode}: {said}")


def requests_of(owner: Computer) -> list[str]:
    """Ids of the requests that wait for the owner."""
    return [str(request["id"]) for request in owner.ask("requests")["requests"]]


def wait_until(condition: Callable[[], bool], timeout_s: float, otherwise: str) -> float:
    """Seconds that the machine had until `condition` held; Disappointment when it did not in time."""
    watch = Stopwatch()
    while not condition():
        if watch.seconds() > timeout_s:
            raise Disappointment(f"{otherwise} (waited {timeout_s:g} s)")
        time.sleep(POLL_S)
    return watch.seconds()


def free_ports(count: int) -> list[int]:
    """Ports for daemons that may be stopped and started again, while other tests and programs ask for ports as well.

    Each stays ours as long as this process lives: a socket that is bound to it and does not listen keeps the kernel
    from giving it to anybody else, and lets whoever sets SO_REUSEADDR listen there, as servers do.
    """
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", 0))
        atexit.register(one.close)
    return [int(one.getsockname()[1]) for one in held]


def snapshot(folder: Path) -> Snapshot:
    """All that syncd promises to keep equal: kinds, bytes, modes, times of files, targets of symlinks."""
    root = os.fsencode(folder)
    found: Snapshot = {}
    for place, directories, files in os.walk(root):
        if place == root and b".syncd" in directories:
            directories.remove(b".syncd")
        for name in directories + files:
            path = os.path.join(place, name)
            found[os.path.relpath(path, root)] = _describe(path)
    return found


def _describe(path: bytes) -> tuple[object, ...]:
    status = os.lstat(path)
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return ("symlink", os.readlink(path))
    if stat.S_ISDIR(status.st_mode):
        return ("directory", oct(mode))
    if not stat.S_ISREG(status.st_mode):
        return ("other", stat.S_IFMT(status.st_mode))
    with open(path, "rb") as file:
        return ("file", oct(mode), status.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest())


def demand_equal(first: Path, *others: Path) -> int:
    """Number of entries that all folders have; Disappointment names the first difference."""
    ours = snapshot(first)
    for other in others:
        theirs = snapshot(other)
        for path in sorted(ours.keys() | theirs.keys()):
            if ours.get(path) != theirs.get(path):
                raise Disappointment(f"{path!r}: {first} has {ours.get(path)}, {other} has {theirs.get(path)}")
    return len(ours)


def wait_equal(folders: Sequence[Path], timeout_s: float) -> int:
    """Wait until all folders are equal and return the number of entries; the difference that stays is the error."""
    watch = Stopwatch()
    while True:
        try:
            return demand_equal(*folders)
        except (Disappointment, FileNotFoundError):  # a file may vanish between listing and reading
            if watch.seconds() > timeout_s:
                raise
            time.sleep(POLL_S)


def contents_below(place: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below a directory with its content, but those that a daemon removes while we look."""
    for directory, _, names in os.walk(place):
        for path in (Path(directory, name) for name in sorted(names)):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file():
                    yield path, path.read_bytes()


@dataclass(frozen=True, slots=True)
class Stolen:
    """A copy of a folder's certificate and key, as a member may keep one who is removed later."""

    certificate: Path
    key: Path
    label: str


def steal_certificate(computer: Computer, folder_name: str) -> Stolen:
    tls = computer.ask("folder", "show", folder_name)["tls"]
    kept = Stolen(computer.place / "kept.crt", computer.place / "kept.key", tls["sni"])
    shutil.copy(tls["cert"], kept.certificate)
    shutil.copy(tls["key"], kept.key)
    return kept


def is_served(server: Computer, stolen: Stolen) -> bool:
    """Whether a daemon answers a request made with this certificate (for a block that nobody has: 404 is an answer)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(stolen.certificate, stolen.key)
    request = f"GET /v1/blocks/{'0' * 64} HTTP/1.1\r\nHost: {stolen.label}\r\nConnection: close\r\n\r\n"
    try:
        with (
            socket.create_connection(("127.0.0.1", server.port), timeout=5) as raw,
            context.wrap_socket(raw, server_hostname=stolen.label) as stream,
        ):
            stream.sendall(request.encode())
            return stream.recv(64).startswith(b"HTTP/1.1 ")
    except OSError:  # ssl.SSLError is one. In TLS 1.3 the refusal may come as late as the first answer.
        return False
