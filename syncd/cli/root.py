"""Blocking. `syncd` itself: the flags before a command, the version, and the few lines that are shown without one."""

from __future__ import annotations

from typing import Any

import typer

from syncd import __version__
from syncd.cli import tree
from syncd.cli.options import Option, Parameter
from syncd.cli.session import PLACE_FLAGS, Context, place_of, take_flags

WELCOME = """\
syncd keeps folders equal on the computers of people who trust each other, without a server in the middle.

  syncd share ~/Photos     share a folder; prints a code for the other computer
  syncd join               on the other computer; asks for that code

  syncd status             is everything in sync?
  syncd help               all commands and topics"""


def _root(context: typer.Context, **values: Any) -> None:
    home, socket, version = (values.pop(name) for name in ("home", "socket", "version"))
    context.obj = Context(place_of(home, socket), take_flags(values))
    if version:
        typer.echo(f"syncd {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(WELCOME)


def application() -> Any:
    """The command with everything below it."""
    version = Parameter("version", bool, Option("--version", help="Print the version and end."), False)
    root = tree.with_flags(_root, [*PLACE_FLAGS, version])
    root.__doc__ = "Keep folders equal on the computers of people who trust each other, without a server in the middle."
    return tree.build(root)
