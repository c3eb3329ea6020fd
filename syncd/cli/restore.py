"""Blocking. `syncd restore` brings back what was; `syncd undo` takes a restore, or a wave of deletions, back."""

from __future__ import annotations

import os
from typing import Annotated

from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.history import At, Before, Path, SnapshotName, absolute, moment_of
from syncd.cli.options import Argument, Option
from syncd.cli.session import Session, command, here, usage

_SHOWN = 20


@command()
def restore(
    session: Session,
    path: Path,
    at: At = None,
    before: Before = None,
    snapshot: SnapshotName = None,
    to: Annotated[str | None, Option("--to", metavar="DIR", help="Into a new directory, or a new .tar.")] = None,
    only: Annotated[str | None, Option("--only", metavar="GLOB", help="Only files that match.")] = None,
    keep_newer: Annotated[bool, Option("--keep-newer", help="Only what is gone; what is there stays.")] = False,
    existing: Annotated[
        str | None, Option("--existing", metavar="RULE", help="With --to: refuse, keep or aside.")
    ] = None,
    changed: Annotated[bool, Option("--changed", help="With --to: only what differs from now.")] = False,
    partial: Annotated[bool, Option("--partial", help="Leave out what cannot be restored.")] = False,
    on: Annotated[str | None, Option("--on", metavar="DEVICE", help="There, if that device lets you.")] = None,
    gone_here: Annotated[
        bool, Option("--gone-here", help="What was deleted only here, without the right to delete.")
    ] = False,
) -> None:
    """Bring a file, directory or folder back as it was. Says first what would happen. `--json` prints syncd.restore/1.

    What is there now and was not then goes, into history. Everybody who shares the folder gets the result. `--on` has
    another device do it (its `[restore] remote` has to allow it) and prints syncd.restore.remote/1.
    """
    if gone_here:
        _restore_here(session, absolute(session, path))
        return
    if at is None and before is None and snapshot is None:
        raise usage("which moment?", fix="--at TIME, --before ID or --snapshot NAME")
    if to is None and (existing or changed) and not (on and existing):
        raise usage("--existing and --changed need --to", fix="--to DIR, or --keep-newer")
    target = to if to is None or on else os.path.abspath(os.path.expanduser(to))
    request = {
        "path": absolute(session, path),
        **moment_of(session, at, before, snapshot),
        "to": target,
        "only": only,
        "existing": "keep" if keep_newer else existing,
        "changed": changed,
        "partial": partial,
        "on": on,
    }
    if on is not None:
        _restore_there(session, on, request)
        return
    if session.flags.dry_run or not session.flags.yes:
        foreseen = session.stream("restore", _silent, **request, dry_run=True)
        if session.flags.dry_run:
            session.show(foreseen, lambda: _foreseen_lines(foreseen))
            return
        session.terminal.talk(_foreseen_lines(foreseen))
        session.confirm("Restore?")
    done = session.stream("restore", _silent, **request, dry_run=False)
    session.show(done, lambda: _done_lines(done))


def _restore_here(session: Session, path: str) -> None:
    done = session.call("reoffer", path=path, dry_run=session.flags.dry_run)
    will = "would come back" if done["dry_run"] else "to come back"
    session.show(done, lambda: f"{text.count(done['files'], 'file')} {will}.")


def _restore_there(session: Session, device: str, request: Json) -> None:
    if session.flags.dry_run:
        raise usage("--on has no --dry-run", why="Only that device knows what it would do.")
    session.confirm(f"Have {text.escape(device)} restore {text.escape(request['path'])}?")

    def on_progress(progress: Json) -> None:
        done, size = text.size(progress["bytes_done"]), text.size(progress["bytes_total"])
        session.terminal.draw(f"{progress['files_done']:,} of {progress['files_total']:,} names, {done} of {size}")

    done = session.stream("restore", on_progress, **request, dry_run=False)
    session.show(done, lambda: _there_lines(done))


def _there_lines(done: Json) -> list[str]:
    where = "in place" if done["to"] is None else f"to {text.escape(done['to'])}"
    lines = [f"{text.escape(done['device']['name'])} restored {text.count(done['files'], 'name')} {where}"]
    return [*lines, f"to take it back, there: {text.escape(done['said'])}"] if done["said"] else lines


def _silent(progress: Json) -> None:
    """A restore says nothing while it is being published: `syncd status` shows how it arrives."""


def _foreseen_lines(found: Json) -> list[str]:
    counts = found["counts"]
    said = [f"{count:,} {change}" for change, count in counts.items() if count]
    lines = [", ".join(said) or "nothing would change"]
    lines[0] += f"; {text.size(found['bytes'])} to write"
    if found["from_peers"]["blocks"]:
        lines.append(f"{text.size(found['from_peers']['bytes'])} of that come from peers")
    if found["estimate_s"] is not None:
        takes = text.duration(max(1, round(found["estimate_s"])))
        lines.append(f"estimated to take {takes}, by how fast this computer was lately")
    if found["missing_blocks"]:
        lines.append(f"{found['missing_blocks']:,} blocks are nowhere to be had, so these cannot be restored now:")
        lines += [f"  {text.escape(path)}" for path in found["incomplete"][:_SHOWN]]
        if len(found["incomplete"]) > _SHOWN:
            lines.append(f"  and {len(found['incomplete']) - _SHOWN:,} more")
    lines += _refused_lines(found["refused"])
    lines += [f"  {one['change']:10} {text.escape(one['path'])}" for one in found["differences"][:_SHOWN]]
    if len(found["differences"]) > _SHOWN:
        lines.append(f"  and {len(found['differences']) - _SHOWN:,} more")
    return lines


def _refused_lines(refused: list[Json]) -> list[str]:
    return [f"it would be refused: {one['what']}" + (f" ({one['fix']})" if one["fix"] else "") for one in refused]


def _done_lines(found: Json) -> list[str]:
    if found["to"] is not None:
        return [f"restored to {text.escape(found['to'])}"]
    if found["undo"] is None:
        return ["nothing to do: it is as it was then"]
    changed = sum(found["counts"].values())
    return [f"restored {text.count(changed, 'name')}", f"to take it back: {_undo_command(found)}"]


@command()
def undo(
    session: Session,
    id_: Annotated[str | None, Argument(metavar="ID", help="Default: the newest.")] = None,
    folder: Annotated[str | None, Option("--folder", metavar="FOLDER", help="Default: where you stand.")] = None,
    list_: Annotated[bool, Option("--list", help="List what can be undone.")] = False,
) -> None:
    """Take back a restore, a resolve, an undo or a wave of deletions. What was changed since stays.

    `--json` prints syncd.undo/1.
    """
    if list_:
        found = session.call("undo.list", **here(folder))
        session.show(found, lambda: _deed_lines(found["deeds"]))
        return
    if session.flags.dry_run or not session.flags.yes:
        foreseen = session.stream("undo", _silent, **here(folder), id=id_, dry_run=True)
        if session.flags.dry_run:
            session.show(foreseen, lambda: _undo_lines(foreseen))
            return
        session.terminal.talk(_undo_lines(foreseen))
        session.confirm("Undo it?")
    done = session.stream("undo", _silent, **here(folder), id=id_, dry_run=False)
    session.show(done, lambda: _undo_lines(done))


def _deed_lines(deeds: list[Json]) -> list[str]:
    rows = [
        [
            one["id"],
            text.clock(one["time"], None),
            one["kind"],
            text.escape(one["about"]),
            "undone" if one["undone"] else "",
        ]
        for one in deeds
    ]
    return text.table(rows) or ["nothing to undo"]


def _undo_lines(found: Json) -> list[str]:
    lines = [f"{found['of']['kind']} {found['of']['id']}: {text.count(found['names'], 'name')} back as before it"]
    lines += _refused_lines(found["refused"])
    if found["changed_since"]:
        lines.append(f"{text.count(found['changed_since'], 'name')} changed since, and stay as they are")
    if found["undo"]:
        lines.append(f"to take that back: {_undo_command(found)}")
    return lines


def _undo_command(found: Json) -> str:
    """As it can be typed wherever one stands."""
    return f"syncd undo {found['undo']} --folder {text.argument(found['name'])}"
