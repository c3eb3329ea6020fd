"""Pure. How fast content may come and go, and when: two limits for everything, a schedule of other ones for parts of
the week, and further limits for single folders and peers, which hold besides.

A speed is bytes a second; None is no limit, 0 is not at all. The schedule is in local time: the first of its windows
that holds counts, and where none does the limits without a time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Final

from ca.values import dataclass

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LEAST: Final = 16_000
"""Bytes a second. Slower than that a single block takes longer than peers wait for one."""
RATE_EXAMPLES: Final = '"500 kB/s", "20 Mbit/s", "none" or "pause"'
WINDOW_EXAMPLE: Final = '"mon-fri 08:00-18:00 up=500kB/s down=pause"'

_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMG]?)(B|bit)/s")
_WINDOW: Final = re.compile(r"([a-z,-]+\s+)?(\d\d?):(\d\d)-(\d\d?):(\d\d)((?:\s+(?:up|down)=\S+)+)")
ONLY_EXAMPLE: Final = '"folder Photos up=500kB/s" or "peer ben down=1MB/s"'
_ONLY: Final = re.compile(r"(folder|peer)\s+(\S.*?)((?:\s+(?:up|down)=\S+)+)")
_SCALE: Final = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}
_MINUTES_A_DAY: Final = 24 * 60


@dataclass(frozen=True, slots=True)
class Speed:
    """What may be sent (`up`) and received (`down`), in bytes a second."""

    up: int | None = None
    down: int | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the week. `start` and `end` are minutes of the local day; an end before the start is that of the next
    day, and the day that counts is the one on which it begins."""

    days: frozenset[int]  # 0 is Monday
    start: int
    end: int
    speed: Speed

    def holds(self, local: datetime) -> bool:
        minute = local.hour * 60 + local.minute
        if self.start < self.end:
            return local.weekday() in self.days and self.start <= minute < self.end
        began_today = local.weekday() in self.days and minute >= self.start
        return began_today or ((local.weekday() - 1) % 7 in self.days and minute < self.end)


UNLIMITED: Final = Speed()


@dataclass(frozen=True, slots=True)
class Only:
    """What one folder, or one peer in all folders, may take besides what holds for everything."""

    kind: str
    """`folder` or `peer`."""
    name: str
    speed: Speed


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds always, and what instead at some times."""

    always: Speed = UNLIMITED
    schedule: tuple[Window, ...] = ()
    only: tuple[Only, ...] = ()

    def at(self, local: datetime) -> Speed:
        """What holds at a local time."""
        return next((window.speed for window in self.schedule if window.holds(local)), self.always)

    def next_change(self, local: datetime) -> datetime | None:
        """When something else holds, in local time; None: never."""
        now = self.at(local)
        minutes = {minute % _MINUTES_A_DAY for window in self.schedule for minute in (window.start, window.end)}
        for day in range(9):
            for minute in sorted(minutes):
                moment = datetime.combine(local.date() + timedelta(days=day), time(minute // 60, minute % 60))
                if moment > local and self.at(moment) != now:
                    return moment
        return None


def local_time(now: float) -> datetime:
    """Unix seconds as what the clock on the wall shows, without a zone."""
    return datetime.fromtimestamp(now, UTC).astimezone().replace(tzinfo=None)


def parse_rate(typed: str) -> int | None:
    """A speed as a person writes it. Raises ValueError."""
    words = typed.strip()
    if words in ("none", ""):
        return None
    if words == "pause":
        return 0
    found = _RATE.fullmatch(words)
    if found is None:
        raise ValueError(f"{typed!r} is no speed; write {RATE_EXAMPLES}")
    number, scale, unit = found.groups()
    rate = round(float(number) * _SCALE[scale] / (8 if unit == "bit" else 1))
    if rate < LEAST:
        raise ValueError(f"{typed!r} is less than {LEAST // 1000} kB/s, with which nothing would arrive; or pause")
    return rate


def parse_window(typed: str, always: Speed) -> Window:
    """A line of the schedule; what it does not name is as `always`. Raises ValueError."""
    found = _WINDOW.fullmatch(typed.strip())
    speeds = dict(re.findall(r"(up|down)=(\S+)", typed))
    if found is None or not speeds:
        raise ValueError(f"{typed!r} is no part of a schedule; write {WINDOW_EXAMPLE}")
    days, hour, minute, to_hour, to_minute = found.group(1), *map(int, found.group(2, 3, 4, 5))
    start, end = hour * 60 + minute, to_hour * 60 + to_minute
    if max(minute, to_minute) > 59 or start >= _MINUTES_A_DAY or end > _MINUTES_A_DAY:
        raise ValueError(f"{typed!r} names a time that does not exist")
    up = parse_rate(speeds["up"]) if "up" in speeds else always.up
    down = parse_rate(speeds["down"]) if "down" in speeds else always.down
    return Window(_days(days or "mon-sun"), start, end, Speed(up, down))


def parse_only(typed: str) -> Only:
    """The limit of one folder or peer. Raises ValueError."""
    found = _ONLY.fullmatch(typed.strip())
    if found is None:
        raise ValueError(f"{typed!r} is no limit of a folder or peer; write {ONLY_EXAMPLE}")
    speeds = dict(re.findall(r"(up|down)=(\S+)", found.group(3)))
    return Only(found.group(1), found.group(2), Speed(*(parse_rate(speeds.get(way, "none")) for way in ("up", "down"))))


def parse_limits(up: str, down: str, schedule: Sequence[str], only: Sequence[str] = ()) -> Limits:
    """Limits as the config has them. Raises ValueError."""
    always = Speed(parse_rate(up), parse_rate(down))
    return Limits(always, tuple(parse_window(line, always) for line in schedule), tuple(map(parse_only, only)))


def _days(typed: str) -> frozenset[int]:
    found: set[int] = set()
    for part in typed.strip().split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise ValueError(f"{typed!r} names no days; write them as mon-fri, or sat,sun")
        begin, count = DAYS.index(first), (DAYS.index(last or first) - DAYS.index(first)) % 7
        found.update((begin + day) % 7 for day in range(count + 1))
    return frozenset(found)


NO_LIMITS: Final = Limits()
