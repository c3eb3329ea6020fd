"""Blocking. `syncd pause`, `resume`, `resolve`, `check`, `folder move`: folders, and conflicts."""

from __future__ import annotations

import os
from typing import Annotated

from syncd.catalogue import Exit
from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.history import absolute
from syncd.cli.options import Argument, Option
from syncd.cli.session import Session, command, here, seconds, usage, working_directory

_Folder = Annotated[str | None, Argument(metavar="FOLDER", help="Default: all.")]
KEEP = ("mine", "theirs", "this", "newest", "both")


@command(dry_run=False)
def pause(
    session: Session,
    folder: _Folder = None,
    duration: Annotated[str | None, Option("--for", metavar="TIME", help="Such as 2h; default: until resume.")] = None,
) -> None:
    """Let a folder, or all, rest: nothing is looked at, sent or received until `resume`. Outlives a restart."""
    for_s = None if duration is None else seconds(duration, "--for")
    done = session.call("pause", folder=folder, cwd=working_directory(), for_s=for_s)
    until = "until `syncd resume`" if done["until"] is None else f"until {text.clock(done['until'], None)}"
    session.show(done, lambda: [f"{text.escape(one['name'])} rests {until}." for one in done["folders"]])


@command(dry_run=False)
def resume(session: Session, folder: _Folder = None) -> None:
    """Let a folder, or all, work again after `pause`. `--json` prints syncd.resume/1."""
    done = session.call("resume", folder=folder, cwd=working_directory())
    lines = [f"{text.escape(one['name'])} works again." for one in done["folders"]]
    session.show(done, lambda: lines or ["Nothing was paused."])


@command(dry_run=False)
def resolve(
    session: Session,
    path: Annotated[str, Argument(metavar="PATH", help="The file, or one of its conflict copies.")],
    keep: Annotated[str, Option("--keep", help="mine, theirs, this (the one named), newest, or both.")],
) -> None:
    """End a conflict: say which version of a file counts, everywhere. The others stay in its history."""
    if keep not in KEEP:
        raise usage(f"--keep is one of {', '.join(KEEP)}")
    done = session.call("resolve", path=absolute(session, path), keep=keep)
    name = text.escape(done["path"])
    kept = f"{name}: all {done['versions']} versions are kept, each under a name of its own."
    counts = f"{name}: the version of {text.escape(done['by'] or '')} counts."
    session.show(done, lambda: kept if done["by"] is None else counts)


@command(dry_run=False)
def check(session: Session, folder: _Folder = None) -> int:
    """Read every file and compare database, disk and blocks. Exit 13 if something is wrong; nothing is deleted."""
    done = session.stream("check", lambda told: None, folder=folder, cwd=working_directory())
    session.show(done, lambda: [_check_line(one) for one in done["folders"]])
    return Exit.DONE if done["good"] else Exit.INTEGRITY


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
    folder: Annotated[str, Argument(metavar="FOLDER", help="Name, id or path.")],
    path: Annotated[str, Argument(metavar="PATH", help="Where it is to lie, or lies already.")],
) -> None:
    """Move a folder to another path on this computer, or tell that you have moved it. Nothing is sent again."""
    done = session.call("folder.move", **here(folder), path=os.path.abspath(path), dry_run=session.flags.dry_run)
    verb = "would lie" if session.flags.dry_run else "lies"
    session.show(done, lambda: f"{text.escape(done['name'])} {verb} at {text.escape(done['path'])}")
