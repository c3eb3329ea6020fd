"""Async. The views of the past: what changed when, the folder as it was, the versions of a file, and going back."""

from __future__ import annotations

import posixpath
from datetime import datetime
from typing import Any

from syncd.web import pictures
from syncd.web.asking import Asked, Shown
from syncd.web.calling import Json, maybe_call
from syncd.web.views.home import missing
from syncd.wording import is_number, parse_time

MOST_CHANGES = 500
SHOWN_CHANGES = 50
SHOWN_DIFFERENCES = 100
BACK_S = {"An hour ago": 3_600, "Yesterday": 86_400, "A week ago": 7 * 86_400, "A month ago": 30 * 86_400}


async def history(asked: Asked) -> Shown:
    """What changed when, and by whom; and, for a moment that was chosen, what is different now."""
    folder = asked.folder()
    if folder is None and asked.status["folders"]:
        return missing("There is no such folder here.")
    found = None if folder is None else await maybe_call(asked.api, "changes", folder=folder["id"], most=MOST_CHANGES)
    moment = moment_of(asked)
    since = None
    if folder is not None and moment is not None:
        since = await asked.call("diff", path=folder["path"], **moment, to_s=None)
    began = found["bins"][0]["began"] if found is not None and found["bins"] else None
    return Shown(
        "history.html",
        {
            "folder": folder,
            "changes": [] if found is None else found["changes"][:SHOWN_CHANGES],
            "bars": [] if found is None else pictures.timeline(found["bins"]),
            "began": began,
            "slider": None if began is None else _slider(began, asked),
            "since": since,
            "shown": [] if since is None else since["differences"][:SHOWN_DIFFERENCES],
            "chosen": _in_address(asked),
            "back": {words: int(asked.now.timestamp()) - seconds for words, seconds in BACK_S.items()},
        },
    )


def _slider(began: str, asked: Asked) -> Json:
    """The handle on the timeline, in seconds since 1970."""
    first, last = int(parse_time(began).timestamp()), int(asked.now.timestamp())
    at = moment_of(asked) or {}
    return {"first": first, "last": max(first + 1, last), "at": int(at.get("at_s") or last)}


def moment_of(asked: Asked) -> dict[str, Any] | None:
    """The moment that an address names: by seconds, or by the change just before which it lies."""
    at, before = asked.query.get("at", ""), asked.query.get("before")
    if before:
        return {"at_s": None, "before": before, "snapshot": None}
    return {"at_s": int(at), "before": None, "snapshot": None} if is_number(at) else None


def _in_address(asked: Asked) -> Json:
    """The same moment, for addresses and forms that go on with it; and in words."""
    moment = moment_of(asked) or {"at_s": None, "before": None}
    at, before = moment["at_s"], moment["before"]
    words = f"just before {before[:12]}" if before else "" if at is None else _in_words(at, asked.now)
    return {"at": "" if at is None else str(at), "before": before or "", "words": words}


def _in_words(at: int, now: datetime) -> str:
    return f"{datetime.fromtimestamp(min(at, int(now.timestamp()))).astimezone():%Y-%m-%d %H:%M}"


async def versions(asked: Asked) -> Shown:
    """The versions of one file."""
    folder = asked.folder()
    if folder is None:
        return missing("There is no such folder here.")
    path = asked.query.get("path", "").strip("/")
    found = await asked.call("history", path=posixpath.join(folder["path"], path), most=SHOWN_DIFFERENCES)
    return Shown("versions.html", {"folder": folder, "path": path, "versions": found["versions"]})


async def restore(asked: Asked) -> Shown:
    """What going back would do, before it is done; then how it went, and how to undo it."""
    folder = asked.folder()
    moment = moment_of(asked)
    if folder is None or moment is None:
        return missing("There is no such folder here, or no moment was chosen.")
    path = asked.query.get("path", "").strip("/")
    whole = posixpath.join(folder["path"], path) if path else folder["path"]
    job = asked.jobs.find(asked.query.get("restore"), asked.session.key)
    preview = None
    if job is None:
        preview = await asked.call("restore", path=whole, **moment, only=None, to=None, dry_run=True)
    return Shown(
        "restore.html",
        {
            "folder": folder,
            "path": path,
            "whole": whole,
            "chosen": _in_address(asked),
            "preview": preview,
            "running": job is not None and not job.is_over,
            "done": None if job is None else job.result,
            "failed": None if job is None else job.error,
        },
    )
