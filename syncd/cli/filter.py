"""Blocking. `syncd filter list|test|add|remove`: what is left out of a folder, and what rules would do."""

from __future__ import annotations

from typing import Annotated

from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.options import Argument, Option
from syncd.cli.session import Session, command, here

SAMPLES = 3
_Folder = Annotated[str | None, Option("--folder", metavar="FOLDER", help="Default: where you stand.")]
_Rules = Annotated[
    list[str], Argument(metavar="RULE...", help="As in a .gitignore, or `size>50M`; `!` takes one back.")
]
_Local = Annotated[bool, Option("--local", help="In .syncd/ignore, for this computer only.")]


@command()
def rules(
    session: Session,
    folder: Annotated[str | None, Argument(metavar="FOLDER", help="Default: where you stand.")] = None,
) -> None:
    """List the rules that hold: those of .syncdignore, which all share, then the local ones of .syncd/ignore."""
    found = session.call("filter", **here(folder), rules=[])
    lines = [*map(text.escape, found["rules"]), *(f"left out: {text.escape(one)}" for one in found["problems"])]
    session.show(found, lambda: lines or ["No rules."])


@command()
def test(
    session: Session,
    rules: _Rules,
    folder: _Folder = None,
) -> None:
    """Say in files and bytes what more rules would take out of a folder, or let in. Nothing happens."""
    found = session.call("filter", **here(folder), rules=rules)
    session.show(found, lambda: _effects(found))


@command()
def add(
    session: Session,
    rules: _Rules,
    local: _Local = False,
    folder: _Folder = None,
) -> None:
    """Add rules to .syncdignore, which all members share. What they would do is shown first, and nothing is deleted."""
    _change(session, rules, [], local=local, folder=folder)


@command()
def remove(
    session: Session,
    rules: Annotated[list[str], Argument(metavar="RULE...", help="As `filter list` shows it.")],
    local: _Local = False,
    folder: _Folder = None,
) -> None:
    """Take rules out of .syncdignore. What would enter the folder then is shown first."""
    _change(session, [], rules, local=local, folder=folder)


def _change(session: Session, add: list[str], remove: list[str], *, local: bool, folder: str | None) -> None:
    asked = {**here(folder), "add": add, "remove": remove, "local": local}
    found = session.call("filter.change", **asked, dry_run=True)
    if session.flags.dry_run or not found["changed"]:
        session.show(found, lambda: _effects(found) if found["changed"] else [f"{found['file']} says so already."])
        return
    session.terminal.talk(_effects(found))
    session.confirm(f"Write it to {found['file']}?", default=True)
    done = session.call("filter.change", **asked, dry_run=False)
    session.show(done, lambda: [f"{done['file']} of {text.escape(done['name'])} is changed."])


def _effects(found: Json) -> list[str]:
    lines = [_effect("would leave", found["leave"]), _effect("would enter", found["enter"])]
    others = (("not_fetched", "of others would not come"), ("fetch", "of others would come"))
    return lines + [_effect(verb, found[which]) for which, verb in others if found[which]["files"]]


def _effect(verb: str, effect: Json) -> str:
    samples = [text.escape(path) for path in effect["paths"][:SAMPLES]]
    samples += ["…"] if effect["files"] > SAMPLES else []
    return f"{text.files_and_bytes(effect['files'], effect['bytes'])} {verb}" + (
        f" ({', '.join(samples)})" if samples else ""
    )
