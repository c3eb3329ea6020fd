"""Blocking. What every command has in hand: the flags that hold everywhere, the terminal, the way to the daemon.

A command is a function whose first parameter is a Session. Every command has the flags of `GLOBAL_FLAGS` as well; they
may stand before the command or after it, and what was said anywhere holds. Only `--home` and `--socket` stand before.
"""

from __future__ import annotations

import gc
import getpass
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from ca.values import dataclass
from syncd.cli import client, text
from syncd.cli.client import Json, OnProgress
from syncd.cli.options import Option, Parameter
from syncd.cli.terminal import Terminal, wants_colour
from syncd.errors import SyncdError
from syncd.home import resolve_home, socket_path
from syncd.web.methods import UNLOCK


@dataclass(frozen=True, slots=True)
class Globals:
    """The flags that every command takes."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    no_color: bool = False
    ascii: bool = False
    utc: bool = False
    no_input: bool = False
    yes: bool = False
    dry_run: bool = False
    timeout: str | None = None

    def merged(self, other: Globals) -> Globals:
        """Both places count; a later timeout wins."""
        names = (name for name in self.__slots__ if name != "timeout")
        flags = {name: getattr(self, name) or getattr(other, name) for name in names}
        return replace(self, **flags, timeout=other.timeout or self.timeout)


@dataclass(frozen=True, slots=True)
class Place:
    """Which installation is meant. Given only before the command."""

    home: Path
    socket: Path


@dataclass(slots=True)
class Context:
    """What the groups pass on to their commands."""

    place: Place
    flags: Globals = field(default_factory=Globals)


@dataclass(frozen=True, slots=True)
class Session:
    """One run of one command."""

    place: Place
    flags: Globals
    terminal: Terminal
    _typed: dict[str, str] = field(default_factory=dict)
    """The PIN, once it was asked for."""

    @property
    def json(self) -> bool:
        return self.flags.json

    @property
    def timeout_s(self) -> float | None:
        """What --timeout says, in seconds."""
        return None if self.flags.timeout is None else seconds(self.flags.timeout, "--timeout")

    def call(self, name: str, /, **params: Any) -> Json:
        """Ask the daemon a short question."""
        timeout_s = self.timeout_s
        patience_s = client.ANSWER_TIMEOUT_S if timeout_s is None else timeout_s
        return self._with_pin(
            lambda: client.call(self.place.socket, name, {**params, **self._typed}, timeout_s=patience_s)
        )

    def stream(self, name: str, on_progress: OnProgress, /, **params: Any) -> Json:
        """Ask for something that takes its time. Silence is no fault there.

        With `timeout_s` among the parameters the daemon itself ends it in time, and says what was missing.
        """
        patience_s = self.timeout_s
        if patience_s is not None and "timeout_s" in params:
            patience_s += client.ANSWER_TIMEOUT_S
        return self._with_pin(
            lambda: client.call(
                self.place.socket,
                name,
                {**params, **self._typed},
                on_progress=on_progress,
                timeout_s=patience_s,
            )
        )

    def _with_pin(self, ask: Callable[[], Json]) -> Json:
        """Ask the daemon, and once more with the PIN if it wants that."""
        try:
            return ask()
        except client.Silent as silent:
            if self.flags.timeout is None:
                raise
            why = f"--timeout {text.escape(self.flags.timeout)} has passed, and what was asked for is given up."
            raise SyncdError("it is not done in time", id="SY-WAIT-01", why=why, fix="give it more time") from silent
        except client.Refused as refused:
            if refused.id != "SY-PIN-01" or self._typed:
                raise
            self._typed[UNLOCK] = self._read_pin(refused)
        return ask()

    def _read_pin(self, refused: client.Refused) -> str:
        if file := os.environ.get("SYNCD_PIN_FILE"):
            return read_first_line(file)
        if self.flags.no_input or not self.terminal.stdin.isatty():
            raise refused
        return getpass.getpass("PIN: ")

    def show(self, result: Mapping[str, Any], lines: Callable[[], str | Sequence[str]]) -> None:
        """Print a result: as it is with --json, else as the lines that `lines` makes of it."""
        if self.json:
            self.terminal.result_json(result)
        else:
            self.terminal.result(lines())

    def confirm(self, question: str, *, default: bool = False) -> None:
        """Go on only with a yes, from --yes or from a person. Raises SyncdError SY-USE-02 or SY-USE-03."""
        if self.flags.yes or self.terminal.confirm(question, flag="--yes", default=default):
            return
        raise SyncdError("nothing was changed", id="SY-USE-03")


def seconds(duration: str, flag: str) -> float:
    """A duration that a person typed. Raises SyncdError SY-USE-01."""
    try:
        return text.parse_duration(duration)
    except ValueError:
        raise usage(f"{flag} {text.escape(duration)} is not a duration", fix=f"{flag} 90, 15m, 2h or 7d") from None


def usage(what: str, *, why: str = "", fix: str = "") -> SyncdError:
    """An error of use: exit code 2."""
    return SyncdError(what, id="SY-USE-01", why=why, fix=fix)


def read_first_line(file: str) -> str:
    """The first line of a file with a PIN or a passphrase. Raises SyncdError SY-USE-01."""
    try:
        with open(file, encoding="utf-8") as stream:
            return stream.readline().rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise usage(
            f"{file} cannot be read", why=str(error), fix="name a file whose first line it is, in UTF-8"
        ) from None


def here(folder: str | None) -> dict[str, str | None]:
    """The parameters that say which folder is meant: the one that was named, or the one we stand in."""
    return {"folder": folder, "cwd": None if folder else working_directory()}


def working_directory() -> str | None:
    """Where we stand; None if that directory is gone."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


# --- commands --------------------------------------------------------------------------------------------------------


def _flag(name: str, flag: str, *others: str, kind: Any = bool, default: Any = False, **shown: Any) -> Parameter:
    return Parameter(name, kind, Option(flag, *others, **shown), default)


GLOBAL_FLAGS = (
    _flag("json", "--json", help="Print one JSON object; streams print one per line."),
    _flag("quiet", "-q", "--quiet", help="Print results and errors only."),
    _flag("verbose", "-v", "--verbose", help="Print more."),
    _flag("no_color", "--no-color", help="No colours (also NO_COLOR, TERM=dumb)."),
    _flag("ascii", "--ascii", help="Only ASCII characters."),
    _flag("utc", "--utc", help="Times in UTC instead of local time."),
    _flag("no_input", "--no-input", help="Never ask; fail if an answer is needed."),
    _flag("yes", "-y", "--yes", help="Answer yes to questions."),
    _flag("dry_run", "--dry-run", help="Show what would happen and change nothing."),
    _flag("timeout", "--timeout", kind=str | None, default=None, metavar="TIME", help="Give up after: 90, 15m, 2h."),
)
PLACE_FLAGS = (
    _flag(
        "home",
        "--home",
        kind=str | None,
        default=None,
        metavar="DIR",
        help="Where keys, databases and the socket are (or SYNCD_HOME).",
    ),
    _flag(
        "socket", "--socket", kind=str | None, default=None, metavar="PATH", help="The control socket, if elsewhere."
    ),
)


def take_flags(values: dict[str, Any]) -> Globals:
    """The flags that every command takes, taken out of all that was given; what was not is as ever."""
    return Globals(**{flag.name: values.pop(flag.name, flag.default) for flag in GLOBAL_FLAGS})


@dataclass(frozen=True, slots=True)
class Command:
    """What a word on the command line does. `dry_run`: it changes nothing, or knows --dry-run; else that is refused."""

    function: Callable[..., int | None]
    dry_run: bool

    def run(self, given: Context, path: str, values: dict[str, Any]) -> int | None:
        """Run it with what was given before it, and with its own parameters and flags. `path`: all its words."""
        session = open_session(given.place, given.flags.merged(take_flags(values)))
        if session.flags.dry_run and not self.dry_run:
            raise usage(f"{path} has no --dry-run", why="It cannot tell beforehand what it would do.")
        gc.freeze()  # all that was loaded stays
        gc.enable()
        return self.function(session, **values)


def command(*, dry_run: bool = True) -> Callable[[Callable[..., int | None]], Command]:
    """Make a function a command."""
    return lambda function: Command(function, dry_run)


def place_of(home: str | None, socket: str | None) -> Place:
    """Settle which home is meant."""
    place = resolve_home(home, os.environ)
    return Place(place, Path(os.path.abspath(os.path.expanduser(socket))) if socket else socket_path(place))


def open_session(place: Place, flags: Globals) -> Session:
    terminal = Terminal(
        json=flags.json,
        quiet=flags.quiet,
        colour=not flags.no_color and wants_colour(os.environ),
        ascii=flags.ascii or os.environ.get("TERM") == "dumb",
        ask=not flags.no_input,
        stdin=sys.stdin,
        stdout=sys.stdout,
        stderr=sys.stderr,
    )
    return Session(place, flags, terminal)
