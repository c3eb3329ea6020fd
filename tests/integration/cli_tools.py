"""Running the command line: in this process where that is enough, as a process of its own, or on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from syncd import cli
from tests.helpers.machinetime import Stopwatch

PATIENCE_S = 20.0
SECOND_PRESS_S = 2.0
_CONTROLS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Outcome:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """NDJSON, parsed."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> Any:
        """The error object of --json."""
        return json.loads(self.err)["error"]


class Cli:
    """`syncd` on one home, in this process: real parsing, real socket, real HTTP."""

    def __init__(self, home: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self._capture = capture

    def __call__(self, *arguments: str) -> Outcome:
        self._capture.readouterr()
        code = cli.execute(["--home", str(self.home), *arguments])
        out, err = self._capture.readouterr()
        return Outcome(code, out, err)


def environment(**changed: str) -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": root, "TERM": "xterm", "LANG": "C.UTF-8", "COLUMNS": "100", **changed}


def run_process(home: Path, *arguments: str, **options: Any) -> Outcome:
    """The command as a process, without a terminal."""
    command = [sys.executable, "-m", "syncd", "--home", str(home), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(), stdin=subprocess.DEVNULL, check=False, **options
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


class Typist:
    """A person at a terminal: waits for what is shown, and types."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        command = [sys.executable, "-m", "syncd", "--home", str(home), *arguments]
        self._process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment(), start_new_session=True
        )
        os.close(slave)
        self.seen = ""

    def __enter__(self) -> Typist:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._master)

    def expect(self, text: str) -> None:
        """Read until `text` was shown."""
        watch = Stopwatch()
        while text not in self.seen:
            assert watch.seconds() < PATIENCE_S, f"{text!r} never came; shown was:\n{self.seen}"
            if not self._read():
                raise AssertionError(f"it ended without {text!r}; shown was:\n{self.seen}")

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C, and again if nothing happens: Python can miss one that comes just before it blocks in a read."""
        for _ in range(int(PATIENCE_S / SECOND_PRESS_S)):
            self._process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(SECOND_PRESS_S)
                return

    def end(self) -> int:
        """Read to the end and return the exit code."""
        watch = Stopwatch()
        while self._read():
            assert watch.seconds() < PATIENCE_S, f"it goes on and on; shown was:\n{self.seen[-2000:]}"
        return self._process.wait(PATIENCE_S * 3)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], PATIENCE_S)
        try:
            data = os.read(self._master, 65_536) if ready else b""
        except OSError:  # EIO: nobody holds the other end any more
            data = b""
        self.seen += _CONTROLS.sub("", data.decode(errors="replace")).replace("\r\n", "\n")
        return bool(data)
