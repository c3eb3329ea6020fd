"""Blocking. Starting the daemon for commands that need one and find none: as a service, else in the background.

The new process gets a session of its own, so that closing the terminal does not end it, and writes its log into the
home. It counts as started when its control socket answers.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

from syncd.catalogue import Report
from syncd.cli import client, supervisors
from syncd.cli.client import NotRunning, Refused, read_report
from syncd.cli.session import Place, Session
from syncd.errors import SyncdError
from syncd.home import LOG_NAME, prepare_home

START_TIMEOUT_S = 30.0
POLL_S = 0.05


def need_daemon(session: Session) -> None:
    """See that a daemon runs: use the one that answers, else start one; a person on a terminal is asked first.

    Raises: SyncdError SY-USE-02 with nobody to ask, SY-USE-03 after a no, SY-HOME-03 or the daemon's own error.
    """
    if answers(session.place.socket):
        return
    as_service = supervisors.is_available(session.place.home, os.environ)
    when = "now and at every login" if as_service else "now"
    question = f"syncd is not running on this machine yet. Start it {when}?"
    if not session.flags.yes and not session.terminal.confirm(question, flag="--yes"):
        raise SyncdError("syncd is not running", id="SY-HOME-02")
    if as_service:
        prepare_home(session.place.home)
        said = supervisors.supervisor(session.place.home, system=False).install()
        _wait_for_answer(session.place)
        session.terminal.talk([f"  {line}" for line in said])
    else:
        start(session.place)
        session.terminal.talk("  started (in the background, until it is stopped or the machine restarts)")


def _wait_for_answer(place: Place) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _answers_yet(place.socket):
        if time.monotonic() > deadline:
            raise SyncdError("the service does not answer", id="SY-HOME-03", fix="syncd service logs")
        time.sleep(POLL_S)


def answers(socket: Path) -> bool:
    """Whether a daemon answers there."""
    try:
        client.call(socket, "version", {}, timeout_s=START_TIMEOUT_S)
    except NotRunning:
        return False
    return True


def _answers_yet(socket: Path) -> bool:
    """Whether one that is being started answers. It listens before it has loaded; one that ends then has not answered,
    and says itself why."""
    try:
        return answers(socket)
    except SyncdError as error:
        if error.id != "SY-HOME-05":
            raise
        return False


def start(place: Place) -> None:
    """Start a daemon for this home and wait until it answers. Raises SyncdError SY-HOME-03 or what it said itself."""
    prepare_home(place.home)
    log = place.home / LOG_NAME
    # Opened for appending: a log is never cut by a second start. The mode holds from the first byte.
    with open(log, "ab", opener=_private) as output:
        begin = output.tell()
        daemon = subprocess.Popen(
            _command(place),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _answers_yet(place.socket):
        if daemon.poll() is not None:
            raise _failure(log, begin, daemon.returncode)
        if time.monotonic() > deadline:
            raise SyncdError(
                f"the daemon did not answer within {START_TIMEOUT_S:.0f} s", id="SY-HOME-03", why=f"See {log}"
            )
        time.sleep(POLL_S)


def _command(place: Place) -> list[str]:
    where = ["--home", str(place.home), "--socket", str(place.socket)]
    return [*supervisors.own_program(), *where, "--json", "run"]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _failure(log: Path, begin: int, code: int) -> SyncdError:
    """Why it ended: its error object, which `run --json` wrote last, else the last line of the log."""
    with open(log, "rb") as stream:
        stream.seek(begin)
        lines = stream.read().decode("utf-8", "replace").split("\n")
    said = [line for line in lines if line.strip()]
    if said and (report := _maybe_report(said[-1])):
        return Refused(report)
    why = f"It ended with code {code}: {said[-1] if said else 'it said nothing'}"
    return SyncdError("the daemon did not start", id="SY-HOME-03", why=why, fix=f"read {log}")


def _maybe_report(line: str) -> Report | None:
    try:
        return read_report(json.loads(line)["error"])
    except (ValueError, KeyError, TypeError):
        return None
