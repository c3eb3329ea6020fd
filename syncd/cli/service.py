"""Blocking. `syncd service`: install, uninstall, start, stop, restart, logs, allow."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from syncd.cli import text
from syncd.cli.options import Argument, Option
from syncd.cli.session import Session, command, usage
from syncd.cli.supervisors import Supervisor, SystemUnits, UserUnit, supervisor
from syncd.home import is_locked, prepare_home

SCHEMA = "syncd.service/1"
LOG_SCHEMA = "syncd.log/1"

_User = Annotated[bool, Option("--user", help="The service of this person; what happens anyway.")]
_System = Annotated[bool, Option("--system", help="The service of the whole machine (root; Linux).")]


@command()
def install(
    session: Session,
    user: _User = False,
    system: _System = False,
    no_linger: Annotated[bool, Option("--no-linger", help="Let it end when you log out.")] = False,
) -> None:
    """Run syncd as a service: now, at every login, and after a crash. `--json` prints syncd.service/1."""
    chosen = _choose(session, user, system)
    if isinstance(chosen, UserUnit):
        chosen = UserUnit(chosen.home, linger=not no_linger)
    if session.flags.dry_run:
        return _show(session, "install", chosen, [f"would write {chosen.state().path} and start it"])
    if not isinstance(chosen, SystemUnits):
        prepare_home(session.place.home)
        _hand_over(session)
    _show(session, "install", chosen, chosen.install())


def _hand_over(session: Session) -> None:
    """A daemon that was started in the background makes room for the service."""
    if is_locked(session.place.home):
        session.terminal.talk("the daemon that runs now is stopped first")
        session.call("stop")


@command()
def uninstall(session: Session, user: _User = False, system: _System = False) -> None:
    """Stop the service and remove it. Files, keys and folders stay. `--json` prints syncd.service/1."""
    chosen = _choose(session, user, system)
    home = session.place.home if not isinstance(chosen, SystemUnits) else Path("/var/lib/syncd")
    if session.flags.dry_run:
        return _show(session, "uninstall", chosen, [f"would stop it and remove {chosen.state().path}"])
    said = chosen.uninstall()
    stays = [f"your folders stay, and keys and databases in {home}; to go on by hand:  syncd run"]
    _show(session, "uninstall", chosen, [*said, *stays])


@command(dry_run=False)
def start(session: Session, user: _User = False, system: _System = False) -> None:
    """Start the service. `--json` prints syncd.service/1."""
    _act(session, "start", _choose(session, user, system))


@command(dry_run=False)
def stop(session: Session, user: _User = False, system: _System = False) -> None:
    """Stop the service until it is started again, or until the next login. `--json` prints syncd.service/1."""
    _act(session, "stop", _choose(session, user, system))


@command(dry_run=False)
def restart(session: Session, user: _User = False, system: _System = False) -> None:
    """Stop the service and start it anew. `--json` prints syncd.service/1."""
    _act(session, "restart", _choose(session, user, system))


@command()
def logs(
    session: Session,
    user: _User = False,
    system: _System = False,
    lines: Annotated[int, Option("-n", "--lines", min=1, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, Option("-f", "--follow", help="Go on until Ctrl-C.")] = False,
) -> None:
    """Show what the service wrote to its log. `--json` prints syncd.log/1; with --follow one object per line."""
    print_log(session, _choose(session, user, system).log_command(lines, follow=follow), follow=follow)


@command()
def allow(
    session: Session,
    path: Annotated[str, Argument(metavar="PATH", help="A directory that shall be shared.")],
    user: _User = False,
    system: _System = False,
) -> None:
    """Let the service read and write a directory that its sandbox keeps from it. `--json` prints syncd.service/1."""
    chosen = _choose(session, user, system)
    place = Path(os.path.abspath(os.path.expanduser(path)))
    if not place.is_dir():
        raise usage(f"{text.escape(path)} is no directory", fix="make it first, or name another")
    if session.flags.dry_run:
        return _show(session, "allow", chosen, [f"would let the service write below {place}"])
    _show(session, "allow", chosen, chosen.allow(place))


def print_log(session: Session, program: Sequence[str], *, follow: bool) -> None:
    """Print what a program prints. The log is escaped by the daemon that wrote it."""
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, errors="replace") as printing:
        assert printing.stdout is not None
        found = []
        for line in printing.stdout:
            if not session.json:
                session.terminal.result(line.rstrip("\n"))
            elif follow:
                session.terminal.result_json({"line": line.rstrip("\n")})
            else:
                found.append(line.rstrip("\n"))
    if session.json and not follow:
        session.terminal.result_json({"schema": LOG_SCHEMA, "lines": found})


def _choose(session: Session, user: bool, system: bool) -> Supervisor:
    if user and system:
        raise usage("--user and --system exclude each other")
    return supervisor(session.place.home, system=system)


def _act(session: Session, verb: str, chosen: Supervisor) -> None:
    {"start": chosen.start, "stop": chosen.stop, "restart": chosen.restart}[verb]()
    words = {"start": "runs", "stop": "is stopped", "restart": "runs again"}
    _show(session, verb, chosen, [f"{chosen.state().name} {words[verb]}"])


def _show(session: Session, action: str, chosen: Supervisor, said: list[str]) -> None:
    state = chosen.state()
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "action": action,
        "kind": state.kind,
        "name": state.name,
        "path": str(state.path),
        "installed": state.installed,
        "enabled": state.enabled,
        "running": state.running,
        "said": said,
    }
    session.show(result, lambda: said)
