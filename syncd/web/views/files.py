"""Async. The views of contents: who has which file, what is on its way, and which files have two versions."""

from __future__ import annotations

import posixpath

from syncd.web import pictures
from syncd.web.asking import Asked, Shown
from syncd.web.calling import Json, maybe_call
from syncd.web.views.home import missing

SAFE_COPIES = 2
SHOWN_CONFLICTS = 50


async def files(asked: Asked) -> Shown:
    """A directory of a folder: each entry, and which peer has it."""
    folder = asked.folder()
    if folder is None:
        return Shown("files.html", {"folder": None}) if not asked.status["folders"] else missing("No such folder.")
    path = asked.query.get("path", "").strip("/")
    listed = await maybe_call(asked.api, "ls", folder=folder["id"], path=path, after=asked.query.get("after"))
    if listed is None:
        return missing("There is no such directory in this folder.")
    steps = [part for part in path.split("/") if part]
    return Shown(
        "files.html",
        {
            "folder": folder,
            "path": path,
            "steps": [("/".join(steps[: number + 1]), step) for number, step in enumerate(steps)],
            "listed": listed,
            "copies": [_copies(entry) for entry in listed["entries"]],
            "safe_copies": SAFE_COPIES,
        },
    )


def _copies(entry: Json) -> int | None:
    """How many computers are known to have an entry, this one included; None for a directory."""
    if entry["kind"] == "directory":
        return None
    return int(entry["state"] != "waiting") + sum(has is True for has in entry["peers"].values())


async def transfers(asked: Asked) -> Shown:
    """Files on their way here, each with a strip of its blocks."""
    found = await maybe_call(asked.api, "transfers")
    running = [] if found is None else found["files"]
    return Shown("transfers.html", {"transfers": found, "strips": [pictures.strip(one["strip"]) for one in running]})


async def conflicts(asked: Asked) -> Shown:
    """Files of which two versions are kept, side by side."""
    found = await asked.call("conflicts", folder=None, cwd=None)
    roots = {folder["id"]: folder["path"] for folder in asked.status["folders"]}
    return Shown("conflicts.html", {"conflicts": found["conflicts"], "roots": roots, "most": SHOWN_CONFLICTS})


async def compare(asked: Asked) -> Shown:
    """The versions of one file: line by line if they are text, to be seen if they are pictures."""
    folder = asked.folder()
    if folder is None:
        return missing("There is no such folder here.")
    return Shown("compare.html", {"folder": folder, "compared": await asked.call("compare", path=path_of(asked))})


def path_of(asked: Asked) -> str:
    """The whole path of the file that an address names."""
    folder = asked.folder()
    inside = asked.query.get("path", "").strip("/")
    return inside if folder is None else posixpath.join(folder["path"], inside)
