"""Blocking. `syncd status`: is everything in sync, and if not, what is missing and what can be done about it."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from syncd.catalogue import Exit
from syncd.cli import text
from syncd.cli.options import Argument, Option
from syncd.cli.session import Session, command, here
from syncd.verdict import state_of, verdict

REFRESH_S = 1.0
REFUSALS_SHOWN_FROM = 100
_CLEAR_SCREEN = "\x1b[H\x1b[2J\x1b[3J"
_MOVED = (("received", "received"), ("sent", "sent"), ("fetched twice", "duplicate"))

Json = Mapping[str, Any]


@command()
def status(
    session: Session,
    folder: Annotated[str | None, Argument(metavar="FOLDER", help="Name, id or path; default: all.")] = None,
    check: Annotated[bool, Option("--check", help="Exit 4 unless all is in sync.")] = False,
    watch: Annotated[bool, Option("--watch", help="Show it again every second until Ctrl-C.")] = False,
    problems: Annotated[bool, Option("--problems", help="Only the problems.")] = False,
    peers: Annotated[bool, Option("--peers", help="One line per folder and peer.")] = False,
) -> int:
    """Say whether everything is in sync, and what is not. `--json` prints syncd.status/1."""
    params = here(folder) if folder else {"folder": None, "cwd": None}
    lines = functools.partial(_lines, session, problems=problems, peers=peers)
    while True:
        found = session.call("status", **params)
        if watch and not session.json and session.terminal.stdout.isatty():
            session.terminal.stdout.write(_CLEAR_SCREEN)
        session.show(found, functools.partial(lines, found))
        if not watch:
            return Exit.NOT_IN_SYNC if check and not found["in_sync"] else Exit.DONE
        time.sleep(REFRESH_S)


def _lines(session: Session, found: Json, *, problems: bool, peers: bool) -> list[str]:
    now = datetime.now(UTC)
    if problems:
        return problem_lines(found) or ["No problems."]
    if peers:
        return peer_lines(found, now)
    return [*status_lines(found, now), *(_more_lines(found) if session.flags.verbose else [])]


# --- pure: from the answer to lines --------------------------------------------------------------------------------


def status_lines(found: Json, now: datetime) -> list[str]:
    """The whole screen: verdict, folders, requests, problems."""
    about = f"{text.escape(found['device']['name'])} · syncd {found['version']}"
    rows = [_folder_row(folder, now) for folder in found["folders"]]
    problems = problem_lines(found)
    return [
        f"{verdict(found):<66}  {about}",
        *text.table(rows),
        *_request_lines(found),
        *_refused_lines(found["refused"]),
        *_key_lines(found.get("keys")),
        *(["Problems", *problems] if problems else []),
    ]


def _folder_row(folder: Json, now: datetime) -> list[str]:
    glyph, words = state_of(folder)
    return [
        text.escape(folder["name"]),
        f"{glyph} {words}",
        *text.files_of(folder),
        "  ".join(_peer(peer, now) for peer in folder["peers"]) or "no other member",
    ]


def _peer(peer: Json, now: datetime) -> str:
    name = text.escape(peer["name"])
    if peer["connected"]:
        is_late = peer["have_ratio"] is not None and peer["have_ratio"] < 1
        return f"{name} ● has {_has(peer)}" if is_late else f"{name} ●"
    if peer["through"]:
        return f"{name} ◐ {text.through(peer['through'])}"
    return f"{name} ○ last seen {text.ago(peer['last_seen'], now)}"


def _request_lines(found: Json) -> list[str]:
    waiting = sum(folder.get("requests", 0) for folder in found["folders"])
    copies = sum(folder["conflicts"] for folder in found["folders"])
    apart = sum(folder.get("only_here", 0) for folder in found["folders"])
    lines = [f"{text.count(waiting, 'request')} for you:  syncd requests"] if waiting else []
    if apart:
        lines.append(f"{text.count(apart, 'change')} only here, made without the right to send:  syncd explain PATH")
    return [*lines, f"{text.count(copies, 'conflict')}, both versions kept:  syncd conflicts"] if copies else lines


def _refused_lines(refused: Json) -> list[str]:
    """Nothing of the few that every day brings: a laptop that slept through a rotation is refused once or twice."""
    if refused["count"] < REFUSALS_SHOWN_FROM:
        return []
    who = f"{text.count(refused['hosts'], 'address')}, most to {text.escape(refused['most'] or '?')}"
    return [f"{text.count(refused['count'], 'refusal')} within the hour to {who}:  syncd security"]


def _key_lines(keys: Json | None) -> list[str]:
    """What is lost with the passphrase of the keys, where there is one."""
    return [] if keys is None or not keys["warning"] else [f"Passphrase: {text.escape_line(keys['warning'])}"]


def problem_lines(found: Json) -> list[str]:
    """One numbered line per problem, with what to run. Problems of the device come first."""
    rows = [
        [
            f"  {number}",
            f"{where + ': ' if where else ''}{text.escape_line(problem['why'])}",
            text.escape_line(problem["try"] or ""),
        ]
        for number, (where, problem) in enumerate(_problems(found), 1)
    ]
    return ["  ".join(row).rstrip() for row in rows]


def _problems(found: Json) -> Iterator[tuple[str, Json]]:
    for problem in found.get("problems", ()):
        yield text.escape(problem["path"] or ""), problem
    for folder in found["folders"]:
        for problem in folder["problems"]:
            path = f"/{problem['path']}" if problem["path"] else ""
            yield text.escape(folder["name"] + path), problem


def peer_lines(found: Json, now: datetime) -> list[str]:
    """`--peers`: who has how much of what."""
    rows = [
        [text.escape(folder["name"]), text.escape(peer["name"]), peer.get("role", ""), _has(peer), text.seen(peer, now)]
        for folder in found["folders"]
        for peer in folder["peers"]
    ]
    return text.table(rows, heading=("FOLDER", "PEER", "ROLE", "HAS", "SEEN")) if rows else ["No other members yet."]


def _has(peer: Json) -> str:
    return "?" if peer["have_ratio"] is None else text.share(peer["have_ratio"], 1)


def _old_versions(history: Json | None) -> str:
    """As `old versions: 3 plain files, 2 MB; 1 pack, 16 MB`, and what of them waits for copies elsewhere."""
    if history is None:
        return ""
    plain = f"{text.count(history['plain_files'], 'plain file')}, {text.size(history['plain_bytes'])}"
    packed = f"{text.count(history['packs'], 'pack')}, {text.size(history['packed_bytes'])}"
    copies = history.get("copies") or {"kept_blocks": 0}
    waits = f"; {text.count(copies['kept_blocks'], 'block')} wait for copies" if copies["kept_blocks"] else ""
    return f"old versions: {plain}; {packed}{waits}"


def _more_lines(found: Json) -> list[str]:
    """`-v`: where the folders are, what was moved, what old versions take."""
    transfer = found["transfer"]
    rows = [
        [
            text.escape(folder["name"]),
            text.escape(folder["path"]),
            f"epoch {folder['epoch']}",
            _old_versions(folder.get("history")),
            folder["id"][:12],
        ]
        for folder in found["folders"]
    ]
    moved = [f"{word} {text.size(transfer[f'{key}_bytes'])}" for word, key in _MOVED]
    return [*text.table(rows), f"{', '.join(moved)}, {text.count(transfer['blocks_fetched'], 'block')}"]
