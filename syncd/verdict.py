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
    if found["in_sync"] and held:
        return f"All in sync except {wording.count(held, 'held change')}.  syncd requests"
    if found["in_sync"] and (late := behind(found)):
        return f"All is here; {_lack(late)} everything yet."
    if found["in_sync"] and (apart := alone(found)):
        of = "" if len(apart) == len(folders) else f" of {_names(apart)}"
        return f"All is here; no other member{of} is reached now."
    if found["in_sync"]:
        return "All in sync."
    if stopped := [folder for folder in folders if folder["state"] == "stopped"]:
        return f"{wording.count(len(stopped), 'folder')} stopped: {_names(stopped)}."
    if files := sum(folder["need"]["files"] for folder in folders):
        return f"All in sync except {wording.count(files, 'file')}."
    if busy := [folder for folder in folders if folder["state"] in ("starting", "scanning", "syncing")]:
        return f"Not yet known: {_names(busy)} {'is' if len(busy) == 1 else 'are'} being compared."
    if waiting := [folder for folder in folders if folder["state"] == "waiting"]:
        return f"Not known: no other member of {_names(waiting)} was reached."
    return "Not all in sync."


def behind(found: Json) -> list[str]:
    """Names of connected members who have said that they do not have all of a folder yet."""
    peers = (peer for folder in found["folders"] for peer in folder["peers"] if peer["connected"])
    return sorted({peer["name"] for peer in peers if peer["have_ratio"] is not None and peer["have_ratio"] < 1})


def alone(found: Json) -> list[Json]:
    """Folders that have other members, none of whom is reached: what they have is not known."""
    return [one for one in found["folders"] if one["peers"] and not any(map(is_reached, one["peers"]))]


def is_reached(peer: Json) -> bool:
    return bool(peer["connected"] or peer["through"])


def _lack(names: list[str]) -> str:
    return f"{wording.escape(names[0])} does not have" if len(names) == 1 else f"{len(names)} others do not have"


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
