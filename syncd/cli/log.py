"""Blocking. `syncd log`: what the daemon wrote, wherever it wrote it."""

from __future__ import annotations

from typing import Annotated

from syncd.cli.options import Option
from syncd.cli.service import print_log
from syncd.cli.session import Session, command
from syncd.cli.supervisors import supervisor
from syncd.errors import SyncdError
from syncd.home import LOG_NAME


@command()
def log(
    session: Session,
    lines: Annotated[int, Option("-n", "--lines", min=1, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, Option("-f", "--follow", help="Go on until Ctrl-C.")] = False,
) -> None:
    """Show the log: of the service, or of the daemon that runs in the background. `--json` prints syncd.log/1."""
    print_log(session, _command(session, lines, follow), follow=follow)


def _command(session: Session, lines: int, follow: bool) -> list[str]:
    """The service's log where there is a service; else the file in the home."""
    try:
        manager = supervisor(session.place.home, system=False)
        if manager.state().installed:
            return manager.log_command(lines, follow=follow)
    except SyncdError as error:
        session.terminal.talk_once(f"{error}; the log of the background is shown")
    file = session.place.home / LOG_NAME
    if not file.exists():
        raise SyncdError(
            "there is no log", id="SY-FIND-01", why=f"There is no {file}.", fix="where you started syncd run, it is"
        )
    return ["tail", "-n", str(lines), *(["-f"] if follow else []), str(file)]
