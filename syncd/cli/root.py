"""Blocking. `syncd` itself: the flags before a command, the version, and the few lines that are shown without one."""

from __future__ import annotations

import inspect
from typing import Any

import typer

from syncd import __version__
from syncd.cli import session, tree

WELCOME = """\
syncd keeps folders equal on the computers of people who trust each other, without a server in the middle.

  syncd share ~/Photos     share a folder; prints a code for the other computer
  syncd join               on the other computer; asks for that code

  syncd status             is everything in sync?
  syncd help               all commands and topics"""


def _root(context: typer.Context, **values: Any) -> None:
    home, socket, version = (values.pop(name) for name in ("home", "socket", "version"))
    session.start(context, home, socket, values)
    if version:
        typer.echo(f"syncd {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(WELCOME)


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def application() -> Any:
    """The command with everything below it."""
    own = (
        _option("home", tree.HomeOption, None),
        _option("socket", tree.SocketOption, None),
        _option("version", tree.VersionOption, False),
    )
    root = session.with_flags(_root, own)
    root.__doc__ = "Keep folders equal on the computers of people who trust each other, without a server in the middle."
    return tree.build(root)
