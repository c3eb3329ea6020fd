"""Blocking. `syncd limits`: how fast content may come and go, now and at other times."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from syncd.cli import text
from syncd.cli.config import change_key
from syncd.cli.session import Session, command
from syncd.config import load_settings, settings_with_origin
from syncd.engine.limits import Speed, local_time

SCHEMA = "syncd.limits/1"

_Rate = typer.Option(metavar="SPEED", help="Such as 500kB/s or 20Mbit/s; none; pause.")


@command()
def limits(
    session: Session,
    up: Annotated[str | None, _Rate] = None,
    down: Annotated[str | None, _Rate] = None,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", metavar="WINDOW", help='Another limit at times: "mon-fri 08:00-18:00 up=1MB/s".'),
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Take all limits away first.")] = False,
) -> None:
    """Show or change how fast content may be sent (`--up`) and received, and when. `--json` prints syncd.limits/1."""
    if clear:
        for key in ("up", "down", "schedule"):
            change_key(session, f"limits.{key}", None)
    for key, value in (("limits.up", up), ("limits.down", down)):
        if value is not None:
            change_key(session, key, json.dumps(value))
    if at:
        known = [] if clear else _schedule(session)
        change_key(session, "limits.schedule", json.dumps([*known, *at]))
    result = _result(session)
    session.show(result, lambda: _lines(result))


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
    }


def _speed(speed: Speed) -> dict[str, int | None]:
    return {"up": speed.up, "down": speed.down}


def _lines(result: dict[str, Any]) -> list[str]:
    until = "" if result["until"] is None else f" until {text.clock(result['until'], None)}"
    lines = [f"now: {_words(result['now'])}{until}"]
    if result["schedule"]:
        lines.append(f"else: {_words(result['always'])}")
        lines += [f"{text.escape(one['window'])}: {_words(one)}" for one in result["schedule"]]
    return lines


def _words(speed: dict[str, Any]) -> str:
    return f"up {_one(speed['up'])}, down {_one(speed['down'])}"


def _one(rate: int | None) -> str:
    if rate is None:
        return "no limit"
    return "paused" if rate == 0 else text.rate(rate)
