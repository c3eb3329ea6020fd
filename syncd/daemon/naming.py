"""Pure. Finding what a person named, by name or by the first letters of an id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ca.device import device_text
from syncd.daemon.people import DeviceInfo, MemberInfo, People
from syncd.errors import SyncdError

T = TypeVar("T")

MIN_PREFIX = 6


def member_named(people: People, name: str) -> MemberInfo:
    """A member, suspended ones included. Raises SyncdError SY-FIND-01, -02."""
    members = people.everybody()
    found = [member for member in members if member.name == name]
    if not found and len(name) >= MIN_PREFIX:
        found = [
            member
            for member in members
            if member.id.hex().startswith(name.lower()) or any(_is_called(device, name) for device in member.devices)
        ]
    return one_of(found, "member", name, [m.name for m in members], lambda m: f"{m.name} ({m.id.hex()[:12]})")


def device_named(people: People, name: str) -> DeviceInfo:
    """A device of a member, by its name, the name of a member who has no other, or its id. Raises SyncdError."""
    members = people.everybody()
    devices = [device for member in members for device in member.devices]
    found = [device for device in devices if device.name == name]
    if not found and len(name) >= MIN_PREFIX:
        found = [device for device in devices if _is_called(device, name)]
    if not found:
        found = [member.devices[0] for member in members if member.name == name and len(member.devices) == 1]
    return one_of(found, "device", name, [d.name for d in devices], lambda d: f"{d.name} ({device_text(d.id)[:13]})")


def _is_called(device: DeviceInfo, name: str) -> bool:
    return device.id.hex().startswith(name.lower()) or device_text(device.id).startswith(name)


def one_of(found: Sequence[T], what: str, name: str, known: Sequence[str], show: Callable[[T], str]) -> T:
    if not found:
        raise not_found(what, name, known)
    if len(found) > 1:
        candidates = ", ".join(show(one) for one in found)
        raise SyncdError(
            f"{name} is not the name of one {what} only",
            id="SY-FIND-02",
            why=f"it could be {candidates}",
            fix="give more of the id",
        )
    return found[0]


def not_found(what: str, name: str, known: Sequence[str]) -> SyncdError:
    listed = ", ".join(sorted(known)) if known else "there is none yet"
    text = f"there is no {what} {name}" if name else f"which {what}?"
    return SyncdError(text, id="SY-FIND-01", why=f"known here: {listed}")
