"""Blocking. Changing `config.toml` as a careful person would: comments and order stay, and a mistake is never written.

The command line and the page both come here, so what one refuses the other refuses, too.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import tomlkit

from syncd.config import known_keys, parse_settings, read_config
from syncd.errors import ConfigError
from syncd.home import CONFIG_NAME, prepare_home, socket_path
from syncd.wording import is_text


def change_setting(home: Path, key: str, typed: str | None, *, dry_run: bool = False) -> None:
    """Set a key to what was typed; None takes it out, so that its default holds again. Where a list is wanted, one
    value is a list of one. Raises ConfigError."""
    written = read_config(home / CONFIG_NAME)
    check_config(home, written)
    known(key)
    if typed is not None and not is_text(typed):
        why = "It has bytes that are not UTF-8."
        raise ConfigError(f"{key} cannot be that", id="SY-USE-01", why=why, fix="write it in UTF-8")
    if typed is None:
        write_config(home, _with(written, key, None), dry_run=dry_run)
        return
    value = parse_value(typed)
    text = _with(written, key, value)
    try:
        check_config(home, text)
    except ConfigError as error:
        text = _with(written, key, [value])
        fault = error if isinstance(value, list | dict) else _fault(home, text)
        if fault is not None:
            deeper = fault if f"{key}[0]: " in fault.why else error  # a list is right, but what is in it is not
            what = f"{key} cannot be {typed.encode('unicode_escape').decode()[:80]}"
            why = re.sub(r"^line \d+: ", "", deeper.why)  # of a file that was not written
            fix = "syncd config show" if key in why else "syncd config edit"  # settings that go together
            raise ConfigError(what, id=error.id, why=why, fix=fix) from error
    write_config(home, text, dry_run=dry_run)


def _with(written: str, key: str, value: object) -> str:
    """The text of the file with a key set; None takes it out."""
    section, _, name = key.partition(".")
    document = tomlkit.parse(written)
    table = document.setdefault(section, tomlkit.table())
    assert isinstance(table, MutableMapping)  # the file was checked
    if value is None:
        table.pop(name, None)
    else:
        table[name] = value
    return tomlkit.dumps(document)


def _fault(home: Path, text: str) -> ConfigError | None:
    try:
        check_config(home, text)
    except ConfigError as error:
        return error
    return None


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
