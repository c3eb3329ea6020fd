"""Pure. What the answer of `status` amounts to: the one line that people read, in a terminal and on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from syncd import wording

Json = Mapping[str, Any]

STATE_WORDS = {
    "starting": ("◐", "starting"),
    "scanning": ("◐", "looking at the files"),
    "syncing": ("◐", "syncing"),
    "synced": ("●", "in sync"),
    "waiting": ("○", "no other member reached"),
    "paused": ("○", "paused"),
    "stopped": ("○", "stopped"),
}


def verdict(found: Json) -> str:
    """The one line that people read. It never says more than is known."""
    folders = found["folders"]
    if found.get("keys", {}).get("locked"):
        return "Locked.  syncd key unlock"
    if not folders:
        return "No folders yet.  syncd share PATH, or syncd join"
    held = sum(folder["held"] for folder in folders)
    if found["in_sync"]:
        return f"All in sync except {wording.count(held, 'held change')}.  syncd requests" if held else "All in sync."
    if stopped := [folder for folder in folders if folder["state"] == "stopped"]:
        return f"{wording.count(len(stopped), 'folder')} stopped: {_names(stopped)}."
    if files := sum(folder["need"]["files"] for folder in folders):
        return f"All in sync except {wording.count(files, 'file')}."
    if busy := [folder for folder in folders if folder["state"] in ("starting", "scanning", "syncing")]:
        return f"Not yet known: {_names(busy)} {'is' if len(busy) == 1 else 'are'} being compared."
    if waiting := [folder for folder in folders if folder["state"] == "waiting"]:
        return f"Not known: no other member of {_names(waiting)} was reached."
    return "Not all in sync."


def _names(folders: list[Json]) -> str:
    return ", ".join(wording.escape(folder["name"]) for folder in folders)


def state_of(folder: Json) -> tuple[str, str]:
    """Its glyph, and in words what it is doing."""
    glyph, words = STATE_WORDS.get(folder["state"], ("○", folder["state"]))
    need = folder["need"]
    if need["files"] and folder["state"] not in ("stopped", "paused", "starting"):
        return "◐", f"{wording.count(need['files'], 'file')} waiting, {wording.size(need['bytes'])}"
    if folder["held"] and folder["state"] == "synced":
        return "◐", f"{wording.count(folder['held'], 'change')} held"
    return glyph, words
