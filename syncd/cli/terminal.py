"""Blocking. The two mouths and the ear of the command line: results, talk, questions.

The rules, once: stdout carries the result and nothing else, so that it can be piped. Progress, hints and questions go
to stderr. A question is asked only of a person: on a terminal, and not with `--no-input`; else the command ends and
names the flag that answers it. With `--json` all of stdout is JSON, and stderr is silent but for an error object.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, TextIO

from ca.values import dataclass
from syncd.cli import text
from syncd.errors import SyncdError

_CLEAR_LINE = "\r\x1b[K"
_COLOURS = {"●": "\x1b[32m●\x1b[0m", "◐": "\x1b[33m◐\x1b[0m", "○": "\x1b[2m○\x1b[0m"}
_YES, _NO = ("y", "yes"), ("n", "no")


@dataclass(slots=True)
class Terminal:
    """Where a command prints and asks, and in which manner."""

    json: bool = False
    quiet: bool = False
    colour: bool = True
    ascii: bool = False
    ask: bool = True
    stdin: TextIO = field(default_factory=lambda: sys.stdin)
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    _drawn: bool = False
    _said: set[str] = field(default_factory=set)

    # --- saying

    def result(self, lines: str | Sequence[str]) -> None:
        """Print the result for a person."""
        self.clear()
        self._print(self.stdout, lines)

    def result_json(self, value: Mapping[str, Any]) -> None:
        """Print one object on one line. Names that are not UTF-8 stay reversible (lone surrogates, escaped)."""
        self.stdout.write(json.dumps(value) + "\n")
        self.stdout.flush()

    def talk(self, lines: str | Sequence[str]) -> None:
        """Print a hint or what happens; silent with --quiet and --json."""
        if not self.quiet and not self.json:
            self.clear()
            self._print(self.stderr, lines)

    def talk_once(self, line: str) -> None:
        """A hint that need not be repeated."""
        if line not in self._said:
            self._said.add(line)
            self.talk(line)

    def error(self, lines: Sequence[str]) -> None:
        """Print what went wrong, whatever --quiet says."""
        self.clear()
        self._print(self.stderr, lines)

    def draw(self, line: str) -> None:
        """Show one line of progress in place of the last one. Only on a terminal: a log wants no such lines."""
        if self.quiet or self.json or not self.stderr.isatty():
            return
        self.stderr.write(_CLEAR_LINE + self._dress(self.stderr, line[: _columns() - 1]))
        self.stderr.flush()
        self._drawn = True

    def clear(self) -> None:
        """Take the line of progress away."""
        if self._drawn:
            self.stderr.write(_CLEAR_LINE)
            self.stderr.flush()
            self._drawn = False

    def _print(self, stream: TextIO, lines: str | Sequence[str]) -> None:
        for line in (lines,) if isinstance(lines, str) else lines:
            stream.write(self._dress(stream, line) + "\n")
        stream.flush()

    def _dress(self, stream: TextIO, line: str) -> str:
        if self.ascii or not _can_write(stream, line):
            return text.ascii_only(line)
        if self.colour and stream.isatty():
            for glyph, coloured in _COLOURS.items():
                line = line.replace(glyph, coloured)
        return line

    # --- asking

    @property
    def can_ask(self) -> bool:
        return self.ask and not self.json and self.stdin.isatty() and self.stderr.isatty()

    def confirm(self, question: str, *, flag: str, default: bool = True) -> bool:
        """A yes or no. Raises SyncdError SY-USE-02 naming `flag` when there is nobody to ask."""
        hint = "[Y/n]" if default else "[y/N]"
        while True:
            answer = self._ask(f"{question} {hint} ", question, flag).lower()
            if not answer or answer in _YES or answer in _NO:
                return default if not answer else answer in _YES

    def prompt(
        self, question: str, *, flag: str, default: str = "", complete: Callable[[str], list[str]] | None = None
    ) -> str:
        """A line of text. `complete` gives the candidates for the Tab key. Raises SY-USE-02 like `confirm`."""
        hint = f" [{default}]" if default else ":"
        while True:
            answer = self._ask(f"{question}{hint} ", question, flag, complete)
            if answer or default:
                return answer or default

    def _ask(self, prompt: str, question: str, flag: str, complete: Callable[[str], list[str]] | None = None) -> str:
        if not self.can_ask:
            raise SyncdError(
                f"an answer is needed: {question}",
                id="SY-USE-02",
                why="There is no terminal to ask on." if self.ask else "--no-input forbids questions.",
                fix=f"give {flag}",
            )
        self.clear()
        if complete is not None:
            return _ask_with_tab(self._dress(self.stdout, prompt), complete)
        self.stderr.write(self._dress(self.stderr, prompt))
        self.stderr.flush()
        answer = self.stdin.readline()
        if not answer:
            raise KeyboardInterrupt  # end of input at a question: the person walks away
        return answer.strip()


def _ask_with_tab(prompt: str, complete: Callable[[str], list[str]]) -> str:
    """Ask with line editing. `input` is what readline hooks into; it is used only when somebody sits there."""
    import readline

    def candidate(typed: str, number: int) -> str | None:
        found = complete(typed)
        return found[number] if number < len(found) else None

    readline.set_completer(candidate)
    readline.set_completer_delims(" ")
    readline.parse_and_bind("bind ^I rl_complete" if "libedit" in (readline.__doc__ or "") else "tab: complete")
    try:
        return input(prompt).strip()
    except EOFError:
        raise KeyboardInterrupt from None
    finally:
        readline.set_completer(None)


def _can_write(stream: TextIO, line: str) -> bool:
    if line.isascii():
        return True
    try:
        line.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _columns() -> int:
    """Width of the terminal; `COLUMNS` wins."""
    import shutil

    return shutil.get_terminal_size().columns


def read_hidden(question: str, *, twice: bool = False) -> str:
    """Ask a person for what nobody else may see, and a second time for what is new. Raises KeyboardInterrupt."""
    import typer  # only where somebody is asked

    try:
        return str(typer.prompt(question, hide_input=True, confirmation_prompt=twice, err=True))
    except typer.Abort:
        raise KeyboardInterrupt from None


def wants_colour(environ: Mapping[str, str]) -> bool:
    """NO_COLOR and TERM=dumb switch colours off for good."""
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def standard_streams_survive_closing() -> None:
    """After a broken pipe: point stdout at nothing, so that the interpreter does not complain while it ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def warn_root(terminal: Terminal) -> None:
    """One line for who works as root: it is allowed, but seldom meant."""
    if os.geteuid() == 0:
        terminal.talk("warning: running as root; files that arrive will belong to root")
