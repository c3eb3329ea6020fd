"""Pure. What a device promises to keep of the past, and which versions that promise covers.

A policy is a list of tiers, each a step and a time: everything for a while, then the last state of each hour, day,
week, fortnight, month, year. What is promised is *moments*: at a promised moment the whole tree can be restored, so a
version is kept if it stood anywhere at any of them. A promise is by time and never by number: however many young
versions there are, they push no old one out. Where space is limited as well, the promise shrinks step by step
(`ladder`), and never below its floor. What a folder's roster asks for is added to what a device promises by itself: a
peer can ask it to keep more, never to let go.

Days, weeks, months and years are those of the calendar of a time zone, so a day may have 23 or 25 hours.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta, tzinfo
from enum import Enum
from typing import Final

from ca.values import dataclass

DAY_S: Final = 86_400
MAX_DAYS: Final = 100 * 365
_HOUR_MS: Final = 3_600_000
_MONDAY: Final = date(1970, 1, 5)


class Step(Enum):
    """How far apart the moments of a tier are."""

    ALL = "all"
    HOUR = "hourly"
    DAY = "daily"
    WEEK = "weekly"
    FORTNIGHT = "biweekly"
    MONTH = "monthly"
    YEAR = "yearly"


@dataclass(frozen=True, slots=True)
class Tier:
    """Moments of one step, back to `days` ago."""

    step: Step
    days: int


DEFAULT_COPIES: Final = 1
MAX_COPIES: Final = 16
COPIES_SETTING: Final = 8
"""The number of the roster's setting; those of tiers stand before it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is promised; `floor` also when `space_bytes` are not enough for the rest (None: no limit). `copies`: on how
    many other devices a block has to be, as these have proved, before it goes while the folder promises it."""

    tiers: tuple[Tier, ...]
    floor: tuple[Tier, ...] = (Tier(Step.ALL, 1), Tier(Step.DAY, 30))
    space_bytes: int | None = None
    copies: int = DEFAULT_COPIES


DEFAULT: Final = Policy(
    (
        Tier(Step.ALL, 90),
        Tier(Step.DAY, 365),
        Tier(Step.FORTNIGHT, 730),
        Tier(Step.MONTH, 5 * 365),
        Tier(Step.YEAR, 20 * 365),
    )
)


@dataclass(frozen=True, slots=True)
class Promise:
    """A policy at one moment of time. `since_ms`: from then on every moment; `moments`: single ones, ascending."""

    since_ms: int
    moments: tuple[int, ...]

    def covers(self, begin_ms: int, end_ms: int | None) -> bool:
        """Whether a version that stood from `begin_ms` until just before `end_ms` (None: still) has to be kept."""
        if end_ms is None or end_ms > self.since_ms:
            return True
        return bisect_left(self.moments, begin_ms) < bisect_left(self.moments, end_ms)

    def holds(self, at_ms: int) -> bool:
        """Whether the tree of a moment can be restored."""
        index = bisect_left(self.moments, at_ms)
        return at_ms >= self.since_ms or (index < len(self.moments) and self.moments[index] == at_ms)


def promise(tiers: Iterable[Tier], now_ms: int, zone: tzinfo, pinned: Iterable[int] = ()) -> Promise:
    """What tiers mean now. `pinned`: further moments, such as snapshots."""
    since_ms = now_ms
    moments = set(pinned)
    for tier in tiers:
        if tier.step is Step.ALL:
            since_ms = min(since_ms, now_ms - tier.days * DAY_S * 1000)
        else:
            moments.update(_ends(tier, now_ms, zone))
    return Promise(since_ms, tuple(sorted(moments)))


def _ends(tier: Tier, now_ms: int, zone: tzinfo) -> Iterator[int]:
    """The last millisecond of each bucket of a tier, the newest first."""
    oldest_ms = now_ms - tier.days * DAY_S * 1000
    for boundary_ms in _boundaries(tier.step, now_ms, zone):
        if boundary_ms - 1 < oldest_ms:
            return
        yield boundary_ms - 1


def _boundaries(step: Step, now_ms: int, zone: tzinfo) -> Iterator[int]:
    """Where buckets begin, the newest first. Hours are of UTC: they are whole hours everywhere that matters."""
    if step is Step.HOUR:
        boundary = now_ms - now_ms % _HOUR_MS
        while True:
            yield boundary
            boundary -= _HOUR_MS
    day = _first_day(step, datetime.fromtimestamp(now_ms / 1000, zone).date())
    while day > date(1970, 1, 1):
        yield int(datetime.combine(day, time(), zone).timestamp()) * 1000
        day = _first_day(step, day - timedelta(days=1))


def _first_day(step: Step, day: date) -> date:
    """The first day of the bucket that a day is in."""
    match step:
        case Step.WEEK:
            return day - timedelta(days=day.weekday())
        case Step.FORTNIGHT:
            return day - timedelta(days=(day - _MONDAY).days % 14)
        case Step.MONTH:
            return day.replace(day=1)
        case Step.YEAR:
            return day.replace(month=1, day=1)
        case _:
            return day


def ladder(policy: Policy) -> Iterator[tuple[Tier, ...]]:
    """The tiers, then ever fewer: first less of everything, then without the finest steps, at last the floor."""
    tiers = policy.tiers
    yield tiers
    for tier in [tier for tier in tiers if tier.step is Step.ALL]:
        days = tier.days // 2
        while days >= 1:
            yield _with_floor([replace(one, days=days) if one is tier else one for one in tiers], policy.floor)
            days //= 2
    rest = [tier for tier in tiers if tier.step is not Step.ALL]
    while rest:
        yield _with_floor(rest, policy.floor)
        rest = rest[1:]
    yield policy.floor


def _with_floor(tiers: Sequence[Tier], floor: tuple[Tier, ...]) -> tuple[Tier, ...]:
    return (*tiers, *floor)


def settings_of(tiers: Iterable[Tier]) -> tuple[tuple[int, int], ...]:
    """Tiers as settings of a folder's roster: the number of each step, and its days; 0 for a step that has none."""
    days = {tier.step: tier.days for tier in tiers}
    return tuple((number, days.get(step, 0)) for number, step in enumerate(Step, 1))


def tiers_untrusted(settings: Mapping[int, int]) -> tuple[Tier, ...]:
    """What a folder's roster asks every member to keep. Whatever stands there, it asks for a hundred years at most."""
    found = ((step, settings.get(number, 0)) for number, step in enumerate(Step, 1))
    return tuple(Tier(step, min(days, MAX_DAYS)) for step, days in found if days)


def copies_untrusted(settings: Mapping[int, int]) -> int:
    """On how many other devices the folder's roster wants to have what is let go of; whatever stands there."""
    return min(settings.get(COPIES_SETTING, 0), MAX_COPIES)


def parse_tiers(text: str) -> tuple[Tier, ...]:
    """`all 90d, daily 365d, monthly 5y`. Raises ValueError."""
    tiers = []
    for part in text.split(","):
        word, _, span = part.strip().partition(" ")
        factor = {"d": 1, "w": 7, "y": 365}[span[-1:]] if span[-1:] in "dwy" and span else 0
        is_known = word in {step.value for step in Step}
        if not is_known or not factor or not span[:-1].isdigit() or not 0 < int(span[:-1]) * factor <= MAX_DAYS:
            raise ValueError(f"{part.strip()!r} is not a step and a time")
        tiers.append(Tier(Step(word), int(span[:-1]) * factor))
    return tuple(tiers)


def show_tiers(tiers: Iterable[Tier]) -> str:
    """As `parse_tiers` reads it."""
    return ", ".join(f"{tier.step.value} {tier.days}d" for tier in tiers)
