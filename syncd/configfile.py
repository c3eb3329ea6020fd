"""Blocking. Changing `config.toml` as a careful person would: comments and order stay, and a mistake is never written.

The command line and the page both come here, so what one refuses the other refuses, too.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import tomlkit

from syncd.config import known_keys, parse_settings, read_config
from syncd.errors import ConfigError
from syncd.home import CONFIG_NAME, prepare_home, socket_path


def change_setting(home: Path, key: str, typed: str | None, *, dry_run: bool = False) -> None:
    """Set a key to what was typed; None takes it out, so that its default holds again. Raises ConfigError."""
    written = read_config(home / CONFIG_NAME)
    check_config(home, written)
    section, _, name = known(key).partition(".")
    document = tomlkit.parse(written)
    table = document.setdefault(section, tomlkit.table())
    assert isinstance(table, MutableMapping)  # the file was checked
    if typed is None:
        table.pop(name, None)
    else:
        table[name] = parse_value(typed)
    write_config(home, tomlkit.dumps(document), dry_run=dry_run)


def write_config(home: Path, text: str, *, dry_run: bool = False) -> None:
    """Put a new text in the place of the file, if it has no mistake. Raises ConfigError."""
    check_config(home, text)
    if dry_run:
        return
    prepare_home(home)
    file = home / CONFIG_NAME
    new = file.with_name(f".{file.name}.new")
    with open(new, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)


def check_config(home: Path, text: str) -> None:
    """Raises ConfigError SY-CONF-01, -02 with the line of the mistake."""
    parse_settings(text, file=home / CONFIG_NAME, home=home, socket=socket_path(home))


def parse_value(typed: str) -> Any:
    """TOML where it is some, else a plain word: nobody should have to quote a name twice."""
    try:
        return tomllib.loads(f"value = {typed}")["value"]
    except tomllib.TOMLDecodeError:
        return typed


def known(key: str) -> str:
    """The key itself. Raises ConfigError SY-CONF-01 if there is no such setting."""
    if key in known_keys():
        return key
    shown = key.encode("unicode_escape").decode()[:80]
    what = f"there is no setting {shown}"
    raise ConfigError(what, id="SY-CONF-01", why="Its name is unknown.", fix="syncd config show")
