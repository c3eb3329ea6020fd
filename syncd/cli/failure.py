"""Blocking. How an error is told: what happened, why, what to run; with --json one object on stderr."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from syncd.catalogue import Exit, Report, report
from syncd.cli import text
from syncd.cli.client import Refused
from syncd.cli.session import working_directory
from syncd.cli.terminal import Terminal, wants_colour
from syncd.errors import SyncdError

if TYPE_CHECKING:
    import typer


def print_failure(error: Exception, arguments: Sequence[str]) -> int:
    """Print an error for a command that was called with `arguments`; returns the exit code."""
    told = describe(error)
    if wants_json(arguments):
        sys.stderr.write(json.dumps({"error": told.as_json()}) + "\n")
    else:
        Terminal(colour=wants_colour(os.environ), ascii="--ascii" in arguments).error(error_lines(told))
    if told.id == "SY-BUG-01" and not isinstance(error, SyncdError) and os.environ.get("SYNCD_TRACEBACK"):
        traceback.print_exception(error)
    return told.exit


def describe(error: Exception) -> Report:
    """An exception as a Report: the daemon's own, a wrong use of the command line, or what the catalogue says."""
    if isinstance(error, Refused):
        return error.report
    if "typer" in sys.modules:  # else it is none of Typer's, which takes longer to load than to say this
        import typer

        if isinstance(error, typer.TyperException):
            return _describe_usage(error)
    if isinstance(error, FileNotFoundError) and working_directory() is None:
        why = "What was given is meant from there."
        error = SyncdError("the directory you stand in is gone", id="SY-USE-01", why=why, fix="cd to another one")
    return report(error)


def error_lines(told: Report) -> list[str]:
    """The three lines. Text that went through a peer cannot reach the terminal raw."""
    return [
        f"error  {text.escape_line(told.what)}  [{told.id}]",
        f"why    {text.escape_line(told.why)}",
        f"try    {text.escape_line(told.fix)}",
    ]


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether --json was given, also where parsing itself failed."""
    before_rest = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in before_rest


def _describe_usage(error: typer.TyperException) -> Report:
    what = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "syncd"
    why = f"The use is:  {path} {' '.join(context.command.collect_usage_pieces(context))}" if context else what
    return Report("SY-USE-01", what[:1].lower() + what[1:], why, f"{path} --help", int(Exit.USAGE))
