"""Blocking. `syncd limits`: how fast content may come and go, now and at other times."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

from syncd.cli import text
from syncd.cli.client import NotRunning
from syncd.cli.config import change_key
from syncd.cli.options import Option
from syncd.cli.session import Session, command, usage
from syncd.config import load_settings, settings_with_origin
from syncd.configfile import change_setting
from syncd.engine.limits import UNLIMITED, Speed, local_time, parse_rate
from syncd.errors import ConfigError

SCHEMA = "syncd.limits/1"

_SPEED = "Such as 500kB/s or 20Mbit/s; none; pause."


@command()
def limits(
    session: Session,
    up: Annotated[str | None, Option("--up", metavar="SPEED", help=_SPEED)] = None,
    down: Annotated[str | None, Option("--down", metavar="SPEED", help=_SPEED)] = None,
    at: Annotated[
        list[str] | None,
        Option("--at", metavar="WINDOW", help='Another limit at times: "mon-fri 08:00-18:00 up=1MB/s".'),
    ] = None,
    clear: Annotated[bool, Option("--clear", help="Take all limits away first.")] = False,
    folder: Annotated[str | None, Option("--folder", metavar="NAME", help="Only of this folder.")] = None,
    peer: Annotated[str | None, Option("--peer", metavar="NAME", help="Only of this member or device.")] = None,
) -> None:
    """Show or change how fast content may be sent (`--up`) and received, and when. `--json` prints syncd.limits/1.

    With `--folder` or `--peer`: what that one may take besides what holds for everything.
    """
    if folder is not None or peer is not None:
        if at or (folder is not None and peer is not None):
            raise usage("a further limit is for one folder or one peer, and for all times")
        _change_only(session, f"folder {folder}" if folder is not None else f"peer {peer}", up, down, clear=clear)
        if folder is not None and (up is not None or down is not None):
            _tell_unknown(session, folder)
    else:
        _change_all(session, up, down, at or [], clear=clear)
    result = _result(session)
    session.show(result, lambda: _lines(result))


def _change_all(session: Session, up: str | None, down: str | None, at: list[str], *, clear: bool) -> None:
    """All of it, or where one of them is a mistake nothing. Raises ConfigError."""
    changes: dict[str, str | None] = {}
    if clear:
        changes = dict.fromkeys(("limits.up", "limits.down", "limits.schedule", "limits.only"))
    changes |= {f"limits.{way}": json.dumps(one) for way, one in (("up", up), ("down", down)) if one is not None}
    if at:
        known = [] if clear else _schedule(session)
        changes["limits.schedule"] = json.dumps([*known, *at])
    for key, value in changes.items():
        change_setting(session.place.home, key, value, dry_run=True)
    for key, value in changes.items():
        change_key(session, key, value)


def _change_only(session: Session, whom: str, up: str | None, down: str | None, *, clear: bool) -> None:
    """Change what one folder or peer may take; what is not named stays."""
    lines = {f"{one.kind} {one.name}": one.speed for one in load_settings(session.place.home).limits.only}
    before = UNLIMITED if clear else lines.pop(whom, UNLIMITED)
    lines.pop(whom, None)
    try:
        speed = Speed(before.up if up is None else parse_rate(up), before.down if down is None else parse_rate(down))
    except ValueError as error:
        raise ConfigError(str(error), id="SY-CONF-01") from None
    if speed != UNLIMITED:
        lines[whom] = speed
    if up is not None or down is not None or clear:
        change_key(session, "limits.only", json.dumps([_only_line(name, one) for name, one in lines.items()]))


def _tell_unknown(session: Session, folder: str) -> None:
    """It may come later; or its name was mistyped, and nothing is held by the limit."""
    try:
        known = [one["name"] for one in session.call("folders")["folders"]]
    except NotRunning:
        return
    if folder not in known:
        names = ", ".join(map(text.escape, known)) or "none"
        session.terminal.talk(f"No folder here is called {text.escape(folder)} yet. Known here: {names}")


def _only_line(whom: str, speed: Speed) -> str:
    """As the configuration has it."""
    ways = (("up", speed.up), ("down", speed.down))
    return " ".join([whom, *(f"{way}={_typed(rate)}" for way, rate in ways if rate is not None)])


def _typed(rate: int) -> str:
    return "pause" if rate == 0 else f"{rate}B/s"


def _schedule(session: Session) -> list[str]:
    found = {one["key"]: one["value"] for one in settings_with_origin(session.place.home)}
    return list(found["limits.schedule"])


def _result(session: Session) -> dict[str, Any]:
    limits = load_settings(session.place.home).limits
    local = local_time(datetime.now(UTC).timestamp())
    change = limits.next_change(local)
    written = _schedule(session)
    return {
        "schema": SCHEMA,
        "now": _speed(limits.at(local)),
        "until": None if change is None else change.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "always": _speed(limits.always),
        "schedule": [
            {"window": line, **_speed(window.speed)} for line, window in zip(written, limits.schedule, strict=True)
        ],
        "only": [{"what": f"{one.kind} {one.name}", **_speed(one.speed)} for one in limits.only],
    }


def _speed(speed: Speed) -> dict[str, int | None]:
    return {"up": speed.up, "down": speed.down}


def _lines(result: dict[str, Any]) -> list[str]:
    until = "" if result["until"] is None else f" until {text.clock(result['until'], None)}"
    lines = [f"now: {_words(result['now'])}{until}"]
    if result["schedule"]:
        lines.append(f"else: {_words(result['always'])}")
        lines += [f"{text.escape(one['window'])}: {_words(one)}" for one in result["schedule"]]
    lines += [f"{text.escape(one['what'])}: {_words(one)}" for one in result["only"]]
    return lines


def _words(speed: dict[str, Any]) -> str:
    return f"up {_one(speed['up'])}, down {_one(speed['down'])}"


def _one(rate: int | None) -> str:
    if rate is None:
        return "no limit"
    return "paused" if rate == 0 else text.rate(rate)
