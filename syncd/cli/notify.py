"""Blocking. `syncd notify`: whom to tell when something needs a person: a web address, a program, a mail address, the
screen."""

from __future__ import annotations

import re
import shlex
import tomllib
from typing import Annotated, Any

import tomlkit
from tomlkit.items import AoT

from syncd.cli import text
from syncd.cli.config import write_document
from syncd.cli.options import Argument, Option
from syncd.cli.session import Session, command, usage
from syncd.config import CONDITIONS, USUAL_CONDITIONS, read_config
from syncd.configfile import check_config
from syncd.errors import ConfigError, SyncdError
from syncd.home import CONFIG_NAME

SCHEMA = "syncd.notify/1"


@command()
def add(
    session: Session,
    kind: Annotated[str, Argument(metavar="webhook|command|mail|desktop", help="How.")],
    target: Annotated[
        str, Argument(metavar="URL|COMMAND|ADDRESS", help="Whom: a command with its arguments; none for desktop.")
    ] = "",
    on: Annotated[
        str | None,
        Option("--on", metavar="CONDITIONS", help=f"Some of {CONDITIONS}."),
    ] = None,
    server: Annotated[str, Option("--server", metavar="HOST:PORT", help="Who takes the mail.")] = "localhost:25",
    sender: Annotated[str | None, Option("--sender", metavar="ADDRESS", help="From whom the mail is.")] = None,
) -> None:
    """Tell a web address, a program, a mail address or your screen when something needs a person.

    A web address gets a POST with JSON; a program gets the same on stdin, and SYNCD_EVENT and SYNCD_TEXT. `--json`
    prints syncd.notify/1.
    """
    hook = _hook(kind, target, server, sender)
    conditions = [word.strip() for word in on.split(",")] if on else [*USUAL_CONDITIONS]
    before = read_config(session.place.home / CONFIG_NAME)
    check_config(session.place.home, before)
    document = tomlkit.parse(before)
    if not document.get("notify"):  # also an empty list, behind which no table may follow
        document.pop("notify", None)
        document["notify"] = tomlkit.aot()
    hooks: Any = document["notify"]
    table = tomlkit.table() if isinstance(hooks, AoT) else tomlkit.inline_table()
    table.update({**hook, "on": conditions})
    hooks.append(table)
    try:
        write_document(session, tomlkit.dumps(document))
    except ConfigError as error:
        why = re.sub(r"^line \d+: notify\[\d+\]\.\w+(\[\d+\])?: ", "", error.why)  # of a file that was not written
        raise usage("nobody can be told like this", why=why, fix="syncd notify add --help") from error
    done = "It would be told." if session.flags.dry_run else "Told from now on:  syncd notify test"
    session.show(_result("add", _hooks(session)), lambda: done)


def _hook(kind: str, target: str, server: str, sender: str | None) -> dict[str, Any]:
    if (target == "") != (kind == "desktop"):
        raise usage(
            "whom to tell is missing" if target == "" else "the screen needs no address", fix="syncd notify --help"
        )
    try:
        words = shlex.split(target)
    except ValueError as error:
        raise usage("a quotation mark is missing in the command", why=str(error), fix="syncd notify --help") from None
    match kind:
        case "desktop":
            return {"kind": kind}
        case "webhook":
            return {"kind": kind, "url": target}
        case "command" if words:
            return {"kind": kind, "command": words}
        case "mail":
            return {"kind": kind, "to": target, "server": server, **({"sender": sender} if sender else {})}
    raise usage(f"{text.escape(kind)} is no way to tell somebody", fix="webhook, command, mail or desktop")


@command()
def show(session: Session) -> None:
    """List who is told, and on what. `--json` prints syncd.notify/1."""
    hooks = _hooks(session)
    session.show(_result("list", hooks), lambda: text.table(_rows(hooks)) or ["Nobody is told. syncd notify --help"])


@command()
def remove(session: Session, number: Annotated[int, Argument(metavar="NUMBER", help="As listed.")]) -> None:
    """Tell somebody no more. `--json` prints syncd.notify/1."""
    document = tomlkit.parse(read_config(session.place.home / CONFIG_NAME))
    hooks: Any = document.get("notify", [])
    if not 1 <= number <= len(hooks):
        raise SyncdError(f"there is no hook {number}", id="SY-FIND-01", fix="syncd notify list")
    del hooks[number - 1]
    if not hooks:
        del document["notify"]
    write_document(session, tomlkit.dumps(document))
    session.show(_result("remove", _hooks(session)), lambda: f"Hook {number} is told no more.")


@command(dry_run=False)
def test(session: Session) -> int:
    """Tell everybody something now, and say who was reached. Exit 3 if somebody was not. `--json` prints
    syncd.notify/1."""
    found = session.call("notify.test")
    rows = [
        [one["target"], "was told" if one["why"] is None else f"was not told: {one['why']}"] for one in found["told"]
    ]
    session.show({**_result("test", _hooks(session)), "told": found["told"]}, lambda: text.table(rows) or ["Nobody."])
    return 3 if any(one["why"] is not None for one in found["told"]) else 0


def _hooks(session: Session) -> list[dict[str, Any]]:
    """The tables as they stand in the file."""
    found: list[dict[str, Any]] = tomllib.loads(read_config(session.place.home / CONFIG_NAME)).get("notify", [])
    return found


def _rows(hooks: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [str(number), hook["kind"], text.escape(str(_target(hook))), ", ".join(hook.get("on", USUAL_CONDITIONS))]
        for number, hook in enumerate(hooks, 1)
    ]


def _target(hook: dict[str, Any]) -> Any:
    return hook.get("url") or hook.get("to") or (shlex.join(hook["command"]) if "command" in hook else "the screen")


def _result(action: str, hooks: list[dict[str, Any]]) -> dict[str, Any]:
    shown = [
        {"kind": hook["kind"], "target": str(_target(hook)), "on": [*hook.get("on", USUAL_CONDITIONS)]}
        for hook in hooks
    ]
    return {"schema": SCHEMA, "action": action, "hooks": shown}
