"""Blocking. `syncd retention`, `prune`, `scrub`, `drill`: what is kept of the past, letting go of the rest, and whether
what is kept is there."""

from __future__ import annotations

from typing import Annotated

from syncd.catalogue import Exit
from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.options import Argument, Option
from syncd.cli.session import Session, command, here, usage

Folder = Annotated[str | None, Argument(metavar="FOLDER", help="Default: the one you stand in.")]


@command(dry_run=False)
def retention(
    session: Session,
    folder: Folder = None,
    keep: Annotated[str | None, Option("--keep", metavar="TIERS", help='As "all 90d, daily 1y".')] = None,
    space: Annotated[str | None, Option("--space", metavar="SIZE", help="500M, 20G, none.")] = None,
    copies: Annotated[str | None, Option("--copies", metavar="NUMBER", help="On so many other devices.")] = None,
    everybody: Annotated[bool, Option("--everybody", help="Ask every member to keep at least that.")] = False,
) -> None:
    """Show or set how long this device keeps old versions. `--json` prints syncd.retention/1.

    `--everybody` adds to what each device promises by itself; nobody can have another device let go of anything.
    Steps are all, hourly, daily, weekly, biweekly, monthly, yearly; times are in d, w or y. What this device keeps
    for a shorter time than the folder goes only when so many other devices as `--copies` says have proved that they
    hold it (1, unless you say otherwise; never more than there are).
    """
    if everybody and keep is None and copies is None:
        raise usage("how long?", fix='--everybody --keep "all 1y", or --keep none')
    found = session.call("retention", **here(folder), keep=keep, space=space, copies=copies, everybody=everybody)
    session.show(found, lambda: _retention_lines(found))


def _retention_lines(found: Json) -> list[str]:
    space = found["space_bytes"]
    rows = [
        ["keep", found["keep"]],
        ["space", "no limit" if space is None else text.size(space)],
        ["asked of everybody", found["asked"] or "nothing"],
        ["always", found["always"]],
        ["copies", _copies_words(found)],
    ]
    return text.table(rows)


def _copies_words(found: Json) -> str:
    """As `1, on 2 other devices; asked of everybody: 2`."""
    asked = f"; asked of everybody: {found['asked_copies']}" if found["asked_copies"] else ""
    return f"{found['copies']} before something goes early, on {text.count(found['others'], 'other device')}{asked}"


@command()
def prune(session: Session, folder: Folder = None) -> None:
    """Let go of versions that no promise covers; daily it happens by itself. `--json` prints syncd.prune/1.

    `--dry-run` says what would go. Without `--yes` it asks.
    """
    if session.flags.dry_run or not session.flags.yes:
        foreseen = session.stream("prune", _silent, **here(folder), dry_run=True)
        if session.flags.dry_run:
            session.show(foreseen, lambda: _prune_lines(foreseen))
            return
        session.terminal.talk(_prune_lines(foreseen))
        session.confirm("Let go of them?")
    done = session.stream("prune", _silent, **here(folder), dry_run=False)
    session.show(done, lambda: _prune_lines(done))


def _silent(progress: Json) -> None:
    """There is nothing to say on the way."""


def _prune_lines(found: Json) -> list[str]:
    versions = text.count(found["versions"], "version")
    freed, kept = text.size(found["freed_bytes"]), text.size(found["kept_bytes"])
    going = f"{freed} to free" if found["dry_run"] else f"{freed} freed"
    lines = [f"{versions} under no promise, {going}, {kept} stay", f"promised: {found['keep']}"]
    copies = found["copies"]
    if copies["proved_blocks"]:
        proved = text.count(copies["proved_blocks"], "block")
        lines.append(f"{proved} go early: others proved to hold them, the oldest proof is of {copies['oldest_proof']}")
    if copies["kept_blocks"]:
        kept = f"{text.count(copies['kept_blocks'], 'block')}, {text.size(copies['kept_bytes'])}"
        lines.append(f"kept back: {kept}: {text.escape(copies['why'])}")
    if copies["promised_blocks"]:
        lines.append(f"{text.count(copies['promised_blocks'], 'block')} stay a week: another device was promised them")
    if found["short_of_space"]:
        lines.append("even what is always kept takes more than the space allowed")
    return lines


@command()
def scrub(session: Session, folder: Folder = None) -> int:
    """Read every pack of old versions now, and heal what is damaged from a peer. `--json` prints syncd.scrub/1.

    Exit 13 if something is lost.
    """
    found = session.stream("scrub", _silent, **here(folder))
    session.show(found, lambda: _scrub_lines(found))
    return Exit.INTEGRITY if found["lost_blocks"] else Exit.DONE


def _scrub_lines(found: Json) -> list[str]:
    lines = [f"{text.count(found['packs'], 'pack')} read, {text.size(found['bytes'])}"]
    if found["damaged"]:
        lines.append(
            f"{text.count(found['damaged'], 'pack')} damaged: {text.count(found['healed_blocks'], 'block')} came back "
            f"from peers, {text.count(found['lost_blocks'], 'block')} did not"
        )
    return lines


@command()
def drill(session: Session, folder: Folder = None) -> int:
    """Restore files of a random past moment to a scratch directory, and compare. `--json` prints syncd.drill/1.

    Daily it happens by itself. Exit 13 if something was not as it should be.
    """
    found = session.stream("drill", _silent, **here(folder))
    session.show(found, lambda: _drill_lines(found))
    return Exit.DONE if found["why"] is None else Exit.INTEGRITY


def _drill_lines(found: Json) -> list[str]:
    one = found["drill"]
    if one is None:
        return ["there is no past yet to drill with"]
    files, size = text.count(one["files"], "file"), text.size(one["bytes"])
    lines = [f"{files} of {text.clock(one['moment'], None)} restored and compared, {size}: {one['failed']} failed"]
    if one["from_peers"]:
        lines.append(f"{text.count(one['from_peers'], 'file')} of them came from peers")
    if one["not_here"]:
        lines.append(f"{text.count(one['not_here'], 'file')} drawn are neither on this device nor at a connected peer")
    return lines if found["why"] is None else [*lines, text.escape(found["why"])]
