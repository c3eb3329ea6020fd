"""Blocking. What every command has in hand: the flags that hold everywhere, the terminal, the way to the daemon.

A command is a function whose first parameter is a Session. `command` gives it the flags that every command has; they
may stand before the command or after it, and what was said anywhere holds. Only `--home` and `--socket` stand before.
"""

from __future__ import annotations

import getpass
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ca.values import dataclass
from syncd.cli import client, text
from syncd.cli.client import Json, OnProgress
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
        """Ask for something that takes its time. Silence is no fault there."""
        return self._with_pin(
            lambda: client.call(
                self.place.socket,
                name,
                {**params, **self._typed},
                on_progress=on_progress,
                timeout_s=self.timeout_s,
            )
        )

    def _with_pin(self, ask: Callable[[], Json]) -> Json:
        """Ask the daemon, and once more with the PIN if it wants that."""
        try:
            return ask()
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


# --- the flags -----------------------------------------------------------------------------------------------------


def _flag(name: str, *declarations: str, kind: Any = bool, default: Any = False, **shown: Any) -> inspect.Parameter:
    annotation = Annotated[kind, typer.Option(*declarations, **shown)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_GLOBAL_FLAGS = (
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


def _take_flags(values: dict[str, Any]) -> Globals:
    return Globals(**{parameter.name: values.pop(parameter.name) for parameter in _GLOBAL_FLAGS})


def with_flags(function: Callable[..., Any], own: Sequence[inspect.Parameter]) -> Callable[..., Any]:
    """Give `function(context, **values)` the signature that typer reads: its own parameters, then the global flags."""
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [context, *own, *_GLOBAL_FLAGS]
    vars(function)["__signature__"] = inspect.Signature(parameters)
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return function


def command(*, dry_run: bool = True) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Make a function a command. `dry_run`: it changes nothing, or knows --dry-run; else that flag is refused."""

    def decorate(function: Callable[..., int | None]) -> Callable[..., int | None]:
        def run(context: typer.Context, **values: Any) -> int | None:
            given: Context = context.obj
            session = open_session(given.place, given.flags.merged(_take_flags(values)))
            if session.flags.dry_run and not dry_run:
                raise usage(
                    f"{context.command_path} has no --dry-run", why="It cannot tell beforehand what it would do."
                )
            return function(session, **values)

        signature = inspect.signature(function, eval_str=True)
        run.__name__, run.__doc__ = function.__name__, function.__doc__
        return with_flags(run, list(signature.parameters.values())[1:])

    return decorate


def group(table_help: str) -> Callable[..., None]:
    """The callback of a group such as `folder`: it only collects global flags that stand in front of its command."""

    def collect(context: typer.Context, **values: Any) -> None:
        given: Context = context.obj
        context.obj = Context(given.place, given.flags.merged(_take_flags(values)))

    collect.__doc__ = table_help
    return with_flags(collect, ())


def start(context: typer.Context, home: str | None, socket: str | None, values: dict[str, Any]) -> None:
    """The root's own part: settle which home is meant and collect the flags before the command."""
    place = resolve_home(home, os.environ)
    at = Path(os.path.abspath(os.path.expanduser(socket))) if socket else socket_path(place)
    context.obj = Context(Place(place, at), _take_flags(values))


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
