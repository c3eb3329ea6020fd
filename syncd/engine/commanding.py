"""Pure. Whether this device obeys a command: who signed it, for whom, when, and whether it was seen before.

What a device remembers of commands is one number for each signer, the latest time of issue that it obeyed, and the
nonces of those that have not expired. So the same command never works twice, nor one that was issued before another
that was obeyed.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final

from ca.ids import DeviceId, EntryHash
from ca.values import dataclass
from syncd.errors import TrustError

LIFETIME_MS: Final = 15 * 60_000
"""How long a command works after it was issued."""
CLOCK_SLACK_MS: Final = 5 * 60_000
"""How far the clocks of signer and target may differ."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a command says of itself, as far as it decides whether it is obeyed."""

    target: DeviceId
    nonce: bytes
    issued_ms: int
    expires_ms: int
    roster_head: EntryHash
    signer: DeviceId


@dataclass(frozen=True, slots=True)
class Standing:
    """What this device knows when a command arrives."""

    us: DeviceId
    head: EntryHash
    signer_may: bool
    """The signer holds the right to restore for others, now."""
    opted_in: bool
    """The person at this device lets admins restore here."""
    seen: Container[bytes]
    latest_ms: Mapping[DeviceId, int]


def judge(claim: Claim, standing: Standing, now_ms: int) -> None:
    """Raises TrustError for a command that is not obeyed, with the reason."""
    if claim.target != standing.us:
        raise _refused("it is for another device")
    if not standing.signer_may:
        raise _refused("its signer may not restore for others in this folder")
    if not standing.opted_in:
        raise TrustError("this device takes no commands", id="SY-CMD-02")
    if claim.roster_head != standing.head:
        raise _refused("it was made from another state of the membership list")
    if claim.nonce in standing.seen:
        raise _refused("it was obeyed before")
    if claim.issued_ms <= standing.latest_ms.get(claim.signer, -1):
        raise _refused("a later one was obeyed already")
    if claim.issued_ms > now_ms + CLOCK_SLACK_MS:
        raise _refused("it is dated in the future of this computer's clock")
    if now_ms > claim.expires_ms or claim.expires_ms > claim.issued_ms + LIFETIME_MS:
        raise _refused("it is too old")


def _refused(why: str) -> TrustError:
    return TrustError("the command was refused", id="SY-CMD-01", why=why)
