"""Blocking. `syncd config`: where the settings are, what they are and where from, change one, check them all.

Settings are edited in the file itself, with a person's comments and order kept; the daemon is told to read it again.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Annotated, Any

from syncd.cli import text
from syncd.cli.client import NotRunning
from syncd.cli.options import Argument
from syncd.cli.session import Session, command, usage
from syncd.config import RELOADABLE_KEYS, parse_settings, read_config, settings_with_origin
from syncd.configfile import change_setting, known, write_config
from syncd.errors import SyncdError
from syncd.home import CONFIG_NAME, prepare_home

SCHEMA = "syncd.config/1"

_Key = Annotated[str, Argument(metavar="KEY", help="As network.listen; syncd config show lists all.")]


@command()
def where(session: Session) -> None:
    """Say where the configuration is. `--json` prints syncd.config/1."""
    file = _file(session)
    session.show(_result("path", file, session), lambda: str(file))


@command()
def show(session: Session) -> None:
    """List every setting with its value, and whether it comes from the file. `--json` prints syncd.config/1."""
    result = _result("show", _file(session), session)
    rows = [[one["key"], _shown(one["value"]), one["origin"]] for one in result["settings"]]
    session.show(result, lambda: text.table(rows, heading=("KEY", "VALUE", "FROM")))


@command()
def get(session: Session, key: _Key) -> None:
    """Print one setting. `--json` prints syncd.config/1."""
    result = _result("get", _file(session), session)
    result["settings"] = [one for one in result["settings"] if one["key"] == known(key)]
    session.show(result, lambda: _shown(result["settings"][0]["value"]))


@command()
def put(
    session: Session,
    key: _Key,
    value: Annotated[str, Argument(metavar="VALUE", help='A word, true, 3, or a list as ["a:1", "b:2"].')],
) -> None:
    """Change one setting in the file and let the daemon read it. `--json` prints syncd.config/1."""
    change_key(session, key, value)
    session.show(
        _result("set", _file(session), session), lambda: f"{key} is {text.escape(value)} {_when(session, key)}"
    )


@command()
def unset(session: Session, key: _Key) -> None:
    """Take one setting out of the file, so that its default holds again. `--json` prints syncd.config/1."""
    change_key(session, key, None)
    session.show(_result("unset", _file(session), session), lambda: f"{key} has its default {_when(session, key)}")


def change_key(session: Session, key: str, value: str | None) -> None:
    """By the daemon, which takes it at once; without one, in the file alone."""
    dry_run = session.flags.dry_run
    try:
        session.call("config.set", key=known(key), value=value, dry_run=dry_run)
    except NotRunning:
        change_setting(session.place.home, key, value, dry_run=dry_run)


def _when(session: Session, key: str) -> str:
    if session.flags.dry_run:
        return "(not written: --dry-run)"
    return "now" if key in RELOADABLE_KEYS else "with the next start"


@command()
def check(session: Session) -> None:
    """Check the file; a mistake is told with its line, exit 11. `--json` prints syncd.config/1."""
    file = _file(session)
    parse_settings(read_config(file), file=file, home=session.place.home, socket=session.place.socket)
    session.show(_result("check", file, session), lambda: f"{file} has no mistake.")


@command(dry_run=False)
def edit(session: Session) -> None:
    """Open the file in your editor, and check it afterwards."""
    prepare_home(session.place.home)
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        ended = subprocess.run([*shlex.split(editor), str(_file(session))], check=False).returncode
    except OSError as error:
        raise usage(f"the editor {editor} does not start", why=str(error), fix="set EDITOR") from error
    if ended:
        raise SyncdError("the editor ended with an error", id="SY-USE-03", why=f"It ended with code {ended}.")
    file = _file(session)
    parse_settings(read_config(file), file=file, home=session.place.home, socket=session.place.socket)
    _reload(session)
    session.show(_result("edit", file, session), lambda: f"{file} has no mistake.")


def write_document(session: Session, written: str) -> None:
    """Put a new text in the place of the file, if it has no mistake, and tell the daemon. Raises ConfigError."""
    write_config(session.place.home, written, dry_run=session.flags.dry_run)
    if not session.flags.dry_run:
        _reload(session)


def _reload(session: Session) -> None:
    try:
        session.call("config.reload")
    except NotRunning:
        return  # it reads the file when it starts


def _file(session: Session) -> Path:
    return session.place.home / CONFIG_NAME


def _result(action: str, file: Path, session: Session) -> dict[str, Any]:
    found = settings_with_origin(session.place.home)
    return {"schema": SCHEMA, "action": action, "path": str(file), "exists": file.exists(), "settings": found}


def _shown(value: Any) -> str:
    return text.escape_line(value if isinstance(value, str) else json.dumps(value))
