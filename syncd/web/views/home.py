"""Async. The first view: is everything in sync, what stands in the way, what can be done. And one folder by itself."""

from __future__ import annotations

from syncd.web import pictures
from syncd.web.actions import PAUSE_WORDS
from syncd.web.asking import Asked, Shown, problems
from syncd.web.calling import Json, maybe_call

SHORT_SPAN = "15m"


async def home(asked: Asked) -> Shown:
    """Verdict, folders, peers, problems, rates."""
    traffic = await maybe_call(asked.api, "traffic", span=SHORT_SPAN)
    waiting = await maybe_call(asked.api, "requests", folder=None, cwd=None)
    peers = await asked.call("peers")
    return Shown(
        "home.html",
        {
            "problems": problems(asked.status),
            "warning": asked.status.get("keys", {}).get("warning"),
            "requests": [] if waiting is None else undecided(waiting["requests"]),
            "peers": peers["peers"],
            "received": None if traffic is None else pictures.sparkline(pictures.totals(traffic, "received")),
            "sent": None if traffic is None else pictures.sparkline(pictures.totals(traffic, "sent")),
        },
    )


async def folder(asked: Asked) -> Shown:
    """One folder: where it is, who has it, what is wrong with it, and what can be done with it."""
    found = asked.folder()
    if found is None:
        return missing("There is no such folder here.")
    return Shown("folder.html", {"folder": found, "pauses": PAUSE_WORDS})


async def leave(asked: Asked) -> Shown:
    """What leaving a folder would do, before it is done."""
    found = asked.folder()
    if found is None:
        return missing("There is no such folder here.")
    return Shown(
        "leave.html",
        {"folder": found, "preview": await asked.call("folder.leave", folder=found["id"], cwd=None, dry_run=True)},
    )


def undecided(requests: list[Json]) -> list[Json]:
    """What waits for a person, without what stays listed though they have said no."""
    return [one for one in requests if not is_denied(one)]


def is_denied(request: Json) -> bool:
    """Only of what is kept apart; what else was denied is gone."""
    return bool(request["kind"] == "late" and request["denied"])


def missing(what: str) -> Shown:
    """The view of what is not there."""
    problem: Json = {"id": "SY-FIND-01", "what": what, "why": "It may have been left or removed.", "fix": "Go home."}
    return Shown("error.html", {"problem": problem, "back": "/"}, 404)
