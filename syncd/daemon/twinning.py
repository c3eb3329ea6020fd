"""Pure. What people are told when one device turns out to be two computers."""

from __future__ import annotations

from collections.abc import Sequence

from ca.ids import DeviceId
from syncd.daemon.running import RunningFolder
from syncd.protocol.twins import Twins

_OURS = "stop syncd on one of the two; there, move its home away, and join again: its files stay and are merged"
_THEIRS = "stop syncd on one of the two computers; there, move its home away, and join again: no file is lost"


def note_twins(folders: Sequence[RunningFolder], twins: Twins, now: float) -> bool:
    """Let each folder say which of its devices are two; whether anything is new."""
    ours, several = twins.ours(now), twins.several(now)
    is_new = False
    for folder in folders:
        found = []
        if ours is not None:
            found.append(("SY-TWIN-01", _why_ours(folder, *ours), _OURS))
        for device, addresses in several.items():
            if folder.membership.role_of(device) is not None:
                name = folder.membership.member_name(device)
                why = f"{name} runs on several computers with the same keys: {', '.join(addresses)}"
                found.append(("SY-TWIN-02", why, _THEIRS))
        is_new = is_new or folder.twins != tuple(found)
        folder.twins = tuple(found)
    return is_new


def _why_ours(folder: RunningFolder, by: DeviceId | None, address: str) -> str:
    name = "" if by is None else folder.membership.member_name(by)
    heard = f", {name} says" if name else ""
    return f"another computer runs with the keys and the database of this one, at {address}{heard}"
