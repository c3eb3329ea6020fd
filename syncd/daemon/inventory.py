"""Pure. The keys of a folder, as the doctor tells of them: how old, valid until when, and whose though unused.

A device that nobody has seen for months still gets every new key. It may be a drawer's, or a thief's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from syncd.checks import Check
from syncd.daemon.views import moment

DAY_S: Final = 86_400
WARN_DAYS: Final = 60
"""Before the end of a certificate, which every rotation puts off. By itself that happens every 30 days."""
UNUSED_DAYS: Final = 90


@dataclass(frozen=True, slots=True)
class Holder:
    """A device that has the keys. `last_seen` from here, in unix seconds; None: never."""

    member: str
    device: str
    last_seen: float | None


@dataclass(frozen=True, slots=True)
class Keys:
    """The present epoch of a folder (unix seconds), and who governs it."""

    folder: str
    epoch: int
    opened_at: int
    valid_until: int
    owners: int
    members: int
    holders: Sequence[Holder]


def key_checks(keys: Keys, now: float) -> Iterator[Check]:
    """One line about the certificate, one about owners if there is only one, one for every device that is not used."""
    name = f"folder {keys.folder}"
    age, left = int((now - keys.opened_at) // DAY_S), int((keys.valid_until - now) // DAY_S)
    why = (
        f"keys of epoch {keys.epoch}, {age} days old, certificate until {moment(keys.valid_until)}, "
        f"held by {len(keys.holders) + 1} devices"
    )
    if left < WARN_DAYS:
        yield Check(
            name, False, why, f"syncd rotate {keys.folder}  (an owner or admin; every 30 days by itself)", "SY-KEY-08"
        )
    else:
        yield Check(name, True, why)
    if keys.owners == 1 and keys.members > 1:
        yield Check(name, True, "one owner only: keep the recovery key (syncd-ca recovery), or make another owner")
    for holder in keys.holders:
        if holder.last_seen is not None and (days := int((now - holder.last_seen) // DAY_S)) >= UNUSED_DAYS:
            told = f"{holder.device} of {holder.member} has the keys and was not seen from here for {days} days"
            fix = f"if it is not used any more:  syncd device archive {keys.folder} {holder.device}"
            yield Check(name, False, told, fix, "SY-KEY-09")
