"""Pure. Bit rot told from an edit: what a content that changed under an unchanged stat is taken for.

A program that writes through a mapping of the file changes bytes and no stat for a while, and a disk that forgets does
the same for ever. So the first look only makes the file suspect: it is not published, not served, and not healed. The
second look decides.
"""

from __future__ import annotations

from enum import Enum

from ca.values import dataclass

AGAIN_S = 600.0
"""Between the two looks."""
STAT_AGE_S = 86400.0
"""A mapping that is written to has its times set by the kernel sooner or later."""


class Verdict(Enum):
    """What is to be done about a suspect file."""

    WAIT = "wait"
    """Look again later: whatever changes it is at work."""
    SOUND = "sound"
    """It is what it should be after all: it was read wrongly, and once."""
    CHANGED = "changed"
    """Its stat says that somebody wrote to it: an edit like any other."""
    EDIT = "edit"
    """Published as an edit: it cannot be told from one."""
    ROT = "rot"
    """Healed from a peer, its bytes kept aside."""


@dataclass(frozen=True, slots=True)
class Look:
    """One reading of a whole file: whether it is what its row says, and if not, what it is."""

    is_sound: bool
    is_same_stat: bool
    digest: bytes
    stat_age_s: float
    """Since the later one of its mtime and ctime."""
    is_open_for_writing: bool


def judge(first: bytes, since_s: float, look: Look, *, is_local: bool) -> Verdict:
    """After another look at a suspect file. `first`: what the look before saw, `since_s` ago."""
    if not look.is_same_stat:
        return Verdict.CHANGED
    if look.is_sound:
        return Verdict.SOUND
    if look.digest != first or look.is_open_for_writing or since_s < AGAIN_S:
        return Verdict.WAIT
    return Verdict.ROT if is_local and look.stat_age_s >= STAT_AGE_S else Verdict.EDIT
