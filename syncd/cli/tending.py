"""Blocking. `syncd pause`, `resume`, `resolve`, `check`, `filter`, `folder move`: folders, and conflicts."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from syncd.catalogue import Exit
from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.session import Session, command, here, seconds, usage

_Folder = Annotated[str | None, typer.Argument(metavar="FOLDER", help="Default: all.")]
_OneFolder = Annotated[str | None, typer.Argument(metavar="FOLDER", help="Default: where you stand.")]
SAMPLES = 3
KEEP = ("mine", "theirs", "this", "newest", "both")


@command(dry_run=False)
def pause(
    session: Session,
    folder: _Folder = None,
    duration: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="Such as 2h; default: until resume.")
    ] = None,
) -> None:
    """Let a folder, or all, rest: nothing is looked at, sent or received until `resume`. Outlives a restart."""
    for_s = None if duration is None else seconds(duration, "--for")
    done = session.call("pause", folder=folder, cwd=os.getcwd(), for_s=for_s)
    until = "until `syncd resume`" if done["until"] is None else f"until {text.clock(done['until'], None)}"
    session.show(done, lambda: [f"{text.escape(one['name'])} rests {until}." for one in done["folders"]])


@command(dry_run=False)
def resume(session: Session, folder: _Folder = None) -> None:
    """Let a folder, or all, work again after `pause`. `--json` prints syncd.resume/1."""
    done = session.call("resume", folder=folder, cwd=os.getcwd())
    lines = [f"{text.escape(one['name'])} works again." for one in done["folders"]]
    session.show(done, lambda: lines or ["Nothing was paused."])


@command(dry_run=False)
def resolve(
    session: Session,
    path: Annotated[str, typer.Argument(metavar="PATH", help="The file, or one of its conflict copies.")],
    keep: Annotated[str, typer.Option("--keep", help="mine, theirs, this (the one named), newest, or both.")],
) -> None:
    """End a conflict: say which version of a file counts, everywhere. The others stay in its history."""
    if keep not in KEEP:
        raise usage(f"--keep is one of {', '.join(KEEP)}")
    done = session.call("resolve", path=os.path.abspath(path), keep=keep)
    name = text.escape(done["path"])
    kept = f"{name}: all {done['versions']} versions are kept, each under a name of its own."
    counts = f"{name}: the version of {text.escape(done['by'] or '')} counts."
    session.show(done, lambda: kept if done["by"] is None else counts)


@command(dry_run=False)
def check(session: Session, folder: _Folder = None) -> None:
    """Read every file and compare database, disk and blocks. Exit 13 if something is wrong; nothing is deleted."""
    done = session.stream("check", lambda told: None, folder=folder, cwd=os.getcwd())
    session.show(done, lambda: [_check_line(one) for one in done["folders"]])
    if not done["good"]:
        raise typer.Exit(Exit.INTEGRITY)


def _check_line(one: Json) -> str:
    found = []
    if one["suspect"]:
        found.append(f"{text.count(one['suspect'], 'file')} changed without a trace (looked at again in ten minutes)")
    if one["rotten"]:
        found.append(f"{text.count(one['rotten'], 'file')} rotted, healed from another member")
    found += [text.escape(problem) for problem in one["database"]]
    return f"{text.escape(one['name'])}: {text.count(one['files'], 'file')} read; {', '.join(found) or 'all is well'}"


@command()
def move(
    session: Session,
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Name, id or path.")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="Where it is to lie, or lies already.")],
) -> None:
    """Move a folder to another path on this computer, or tell that you have moved it. Nothing is sent again."""
    done = session.call("folder.move", **here(folder), path=os.path.abspath(path), dry_run=session.flags.dry_run)
    verb = "would lie" if session.flags.dry_run else "lies"
    session.show(done, lambda: f"{text.escape(done['name'])} {verb} at {text.escape(done['path'])}")


@command()
def filter_list(session: Session, folder: _OneFolder = None) -> None:
    """List the rules that hold: those of .syncdignore, which all share, then the local ones of .syncd/ignore."""
    found = session.call("filter", **here(folder), rules=[])
    lines = [*map(text.escape, found["rules"]), *(f"left out: {text.escape(one)}" for one in found["problems"])]
    session.show(found, lambda: lines or ["No rules."])


@command()
def filter_test(
    session: Session,
    rules: Annotated[
        list[str], typer.Argument(metavar="RULE...", help="As in a .gitignore, or `size>50M`; `!` takes one back.")
    ],
    folder: Annotated[str | None, typer.Option("--folder", metavar="FOLDER", help="Default: where you stand.")] = None,
) -> None:
    """Say in files and bytes what more rules would take out of a folder, or let in. Nothing happens."""
    found = session.call("filter", **here(folder), rules=rules)
    session.show(found, lambda: _effects(found))


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
