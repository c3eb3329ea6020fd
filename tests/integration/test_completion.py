"""The Tab key: what is offered, and three real shells that ask for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncd.cli import session as sessions
from syncd.cli.completion import SCRIPTS, candidates
from syncd.cli.session import Globals, Place, Session
from tests.helpers.computers import Computer, Disappointment, loopback_config, share, wait_until
from tests.helpers.machinetime import Stopwatch

PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def anna(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Computer]:
    place = tmp_path_factory.mktemp("anna")
    computer = Computer("anna", place, place / "folder", 0, loopback_config(0))
    computer.start()
    share(computer, "Holiday Photos")
    yield computer
    computer.stop()


def offered(home: Path, *typed: str) -> list[str]:
    return candidates(_session(home), typed)


def _session(home: Path) -> Session:
    return sessions.open_session(Place(home, home / "control.sock"), Globals())


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (("sha",), ["share"]),
        (("service", "re"), ["restart"]),
        (("share", "--no-w"), ["--no-wait"]),
        (("folder", "show", "Hol"), ["Holiday Photos"]),
        (("--json", "folder", "show", "Hol"), ["Holiday Photos"]),
        (("join", "7-guitar-unc"), ["7-guitar-uncle"]),
        (("completion", "f"), ["fish"]),
        (("help", "SY-BUG"), ["SY-BUG-01"]),
        (("share", "--name", "x"), []),
        (("nonsense", "x"), []),
        (("run", "x"), []),
    ],
)
def test_offer(anna: Computer, typed: tuple[str, ...], expected: list[str]) -> None:
    """Names are left out where the daemon does not answer while a person may wait: Tab, and Tab again."""
    assert offered(anna.home, *typed) in (expected, [])
    wait_until(lambda: offered(anna.home, *typed) == expected, PATIENCE_S, f"{expected} is not offered")


def test_nothing_is_offered_and_nothing_said_without_a_daemon(tmp_path: Path) -> None:
    watch = Stopwatch()
    assert offered(tmp_path, "folder", "show", "") == []
    assert watch.seconds() < 1


SHELLS = {
    "bash": 'eval "$(syncd completion bash)"; COMP_WORDS=(syncd {words}); COMP_CWORD={number}; _syncd; '
    "printf '%s\\n' \"${{COMPREPLY[@]}}\"",
    "zsh": 'compdef() {{ :; }}; compadd() {{ shift; print -l -- "$@"; }}; _files() {{ :; }}; '
    'eval "$(syncd completion zsh)"; words=(syncd {words}); CURRENT=$(({number}+1)); _syncd',
    "fish": 'syncd completion fish | source; complete --do-complete "syncd {plain}"',
}


@pytest.mark.parametrize("shell", [pytest.param(shell, marks=pytest.mark.needs(shell)) for shell in SCRIPTS])
@pytest.mark.parametrize(
    ("words", "expected"), [(("sta",), "status"), (("folder", "show", "Hol"), "Holiday"), (("peers", "--js"), "--json")]
)
def test_shell_completes(anna: Computer, shell: str, words: tuple[str, ...], expected: str) -> None:
    script = SHELLS[shell].format(words=" ".join(words), number=len(words), plain=" ".join(words))
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SYNCD_HOME": str(anna.home),
        "HOME": str(anna.place),
    }

    said: list[str] = []

    def is_offered() -> bool:
        done = subprocess.run(
            [shell, "-c", script], capture_output=True, text=True, check=False, env=environment, timeout=60
        )
        said.append(done.stdout + done.stderr)
        return expected in done.stdout

    try:
        wait_until(is_offered, PATIENCE_S, f"{shell} does not offer {expected}")
    except Disappointment as error:
        error.add_note(said[-1])
        raise
