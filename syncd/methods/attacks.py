"""Pure. What was refused, as the doctor tells it: how many, from where, since when, and what to do about it.

Every day brings a few refusals: a laptop that slept through a rotation, a scanner on the internet. They are listed
among what was looked at. From `MANY` within the hour it is a finding, and the doctor says that there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from syncd.checks import Check
from syncd.daemon.views import moment
from syncd.protocol.refusals import Event, Figures, Refusals

HOUR_S: Final = 3600.0
DAY_S: Final = 24 * HOUR_S
MANY: Final = 100
"""Of one kind within the hour. `status` speaks of refusals from the same number on."""

_BLOCK: Final = """keep it out:  syncd config set network.deny '["NETWORK"]'  and a restart, or at your firewall"""
_LOOK: Final = "syncd security shows the address; if it is a member's:  syncd members, then  syncd member remove"
ADVICE: Final[dict[Event, tuple[str, str]]] = {
    Event.CROWD: ("more connections than are let in at once; known devices go first", _BLOCK),
    Event.ADDRESS: ("turned away by an address rule", "nothing, the rule does its work; or  syncd folder addresses"),
    Event.HANDSHAKE: ("no certificate of a folder, or a handshake without an end", _BLOCK),
    Event.LABEL: (
        "asked for a folder that is not here under that name",
        f"nothing, if that device slept through a rotation or was removed; else {_BLOCK}",
    ),
    Event.CLOCK: ("certificates outside of their dates", "set the clocks here and there right:  syncd peers"),
    Event.REQUEST: ("malformed requests", f"{_LOOK}; else {_BLOCK}"),
    Event.RIGHT: ("asked for what their role does not allow", _LOOK),
    Event.HELLO: ("false proofs of who they are", _LOOK),
    Event.ENTRY: ("false entries for a membership list", _LOOK),
    Event.PAIRING: (
        "wrong words for an invitation",
        "a code burns by itself; for a link:  syncd invites, then  syncd invite revoke",
    ),
    Event.LINK: (
        "wrong secrets or passwords for a share link",
        "end links that you do not need:  syncd link list, then  syncd link revoke",
    ),
    Event.CONTENT: ("content that is not what its name says", f"check that computer's disk and memory; {_LOOK}"),
}


def attack_checks(refusals: Refusals, now: float) -> Iterator[Check]:
    """One line for each kind of refusal within the day; one that all is quiet if there was none."""
    today, late = refusals.figures(now - DAY_S), {one.event: one for one in refusals.figures(now - HOUR_S)}
    if not today:
        yield Check("attacks", True, "nobody was refused within the last day")
    for one in today:
        recent = late.get(one.event)
        what, fix = ADVICE[one.event]
        if recent is not None and recent.count >= MANY:
            yield Check("attacks", False, _told("hour", recent, what), fix, "SY-ATTACK-01")
        else:
            yield Check("attacks", True, _told("day", one, what))


def _told(span: str, found: Figures, what: str) -> str:
    names = ", ".join(f"{host} ({count})" for host, count in found.most)
    addresses = "1 address" if found.hosts == 1 else f"{found.hosts} addresses"
    return (
        f"{_times(found.count)} refused within the {span}: {what}; from {addresses}: {names}; "
        f"since {moment(found.began)}, last {moment(found.last)}"
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
