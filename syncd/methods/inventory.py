"""Pure. The keys of a folder, as `key list` and the doctor tell of them: how old, valid until when, and whose though
unused.

A device that nobody has seen for months still gets every new key. It may be a drawer's, or a thief's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ca.values import dataclass
from syncd.checks import Check
from syncd.daemon.views import moment

DAY_S: Final = 86_400
WARN_DAYS: Final = 60
"""Before the end of a certificate, which every rotation puts off. By itself that happens every 30 days."""
UNUSED_DAYS: Final = 90


@dataclass(frozen=True, slots=True)
class Holder:
    """Another device that has the keys. Unix seconds: `last_seen` from here (None: never), `since` when it has them."""

    member: str
    device: str
    last_seen: float | None
    id: str = ""
    role: str = ""
    since: int = 0
    is_connected: bool = False

    def unused_days(self, now: float) -> int | None:
        """Since it was here; since it was let in, if it never was. None while it is connected."""
        if self.is_connected:
            return None
        return max(0, int((now - (self.since if self.last_seen is None else self.last_seen)) // DAY_S))


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
    recovery: Sequence[str] = ()
    """Ids of the recovery keys that open the folder as well."""

    def as_json(self, now: float, unused_days: int) -> dict[str, object]:
        """What `key list` prints; who was not here for so many days is called unused."""
        return {
            "name": self.folder,
            "epoch": self.epoch,
            "opened": moment(self.opened_at),
            "age_days": max(0, int((now - self.opened_at) // DAY_S)),
            "valid_until": moment(self.valid_until),
            "recovery_keys": list(self.recovery),
            "holders": [_holder_json(one, now, unused_days) for one in self.holders],
        }


def _holder_json(holder: Holder, now: float, unused_days: int) -> dict[str, object]:
    days = holder.unused_days(now)
    return {
        "member": holder.member,
        "device": holder.device,
        "id": holder.id,
        "role": holder.role,
        "since": moment(holder.since),
        "last_seen": moment(holder.last_seen),
        "connected": holder.is_connected,
        "unused_days": days,
        "unused": days is not None and days >= unused_days,
    }


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
