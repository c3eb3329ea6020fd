"""Async. How a view asks the daemon, and what it gives back to be shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from ca.values import dataclass
from syncd.verdict import alone, behind, verdict
from syncd.web.calling import Json, call
from syncd.web.control import Api
from syncd.web.gate import Session
from syncd.web.jobs import Jobs

ROLES: Final = ("owner", "admin", "editor", "viewer", "vault")
DIGEST_LENGTH: Final = 16


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for a view."""

    session: Session
    query: Mapping[str, str]
    api: Api
    jobs: Jobs
    """What this and other sessions have begun; a view finds only its own."""
    now: datetime
    status: Json
    """What `status` said; every view shows its verdict."""

    async def call(self, name: str, **params: Any) -> Json:
        """Ask the daemon, as the command line does. Raises SyncdError."""
        return await call(self.api, name, params)

    def note(self) -> Mapping[str, Any] | None:
        """What the action that led here said."""
        return self.session.notes.get(self.query.get("said", ""))

    def folder(self) -> Json | None:
        """The folder of `status` that the address names by its id; the only one if it names none."""
        folders: list[Json] = self.status["folders"]
        wanted = self.query.get("folder")
        if wanted is None and folders:
            return folders[0]
        return next((folder for folder in folders if folder["id"] == wanted), None)


@dataclass(frozen=True, slots=True)
class Shown:
    """A template and what stands in it."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


# --- what every view shows ------------------------------------------------------------------------------------------


def level(status: Json) -> str:
    """`good`, `busy`, `warn`, `bad` or `none`: the colour and the glyph of the verdict."""
    folders = status["folders"]
    if any(folder["state"] == "stopped" for folder in folders):
        return "bad"
    if problems(status):
        return "warn"
    if not folders:
        return "none"
    return "good" if status["in_sync"] and not behind(status) and not alone(status) else "busy"


def headline(status: Json) -> str:
    """The verdict as a sentence for the page."""
    return verdict(status) if status["folders"] else "No folders yet."


def problems(status: Json) -> list[Json]:
    """All problems, each with the folder that has it; those of the device first."""
    found: list[Json] = [{**problem, "folder": None} for problem in status["problems"]]
    for folder in status["folders"]:
        found += [{**problem, "folder": folder} for problem in folder["problems"]]
    return found


def digest(status: Json) -> str:
    """Changes when anything changes that a person could see, except the rates."""
    lasting = {key: value for key, value in status.items() if key != "transfer"}
    return sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()[:DIGEST_LENGTH]
