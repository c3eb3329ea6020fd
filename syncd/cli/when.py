"""Pure. A moment as a person types it: `2031-05-01 10:04:59`, `10:04`, `2h`, `yesterday`."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo

from syncd.cli import text

EXAMPLES = 'today "10:04", "2031-05-01 10:04:59", 2h (ago), yesterday'


def parse_when(typed: str, now: datetime, zone: tzinfo | None) -> float:
    """Seconds since 1970. What has no zone of its own is meant in `zone` (None: the local one). Raises ValueError.

    `2h` or `2h ago` is that long before now; a time alone is the last time it was that late; a day alone is its end.
    """
    words = typed.strip().removesuffix(" ago").strip()
    if words == "now":
        return now.timestamp()
    if words == "yesterday":
        return _last_of(now.astimezone(zone).date() - timedelta(days=1), zone).timestamp()
    if words[-1:] in "smhdw" and words[:-1].replace(".", "", 1).isdigit():
        return now.timestamp() - text.parse_duration(words)
    if ":" in words and "-" not in words:
        local = now.astimezone(zone)
        moment = datetime.combine(local.date(), time.fromisoformat(words.zfill(5)), tzinfo=zone)
        moment = moment if zone is not None else moment.astimezone()
        return (moment if moment <= now else moment - timedelta(days=1)).timestamp()
    moment = datetime.fromisoformat(words)
    if len(words) == len("2031-05-01"):
        return _last_of(moment.date(), zone).timestamp()
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone) if zone is not None else moment.astimezone()
    return moment.timestamp()


def _last_of(day: date, zone: tzinfo | None) -> datetime:
    """The last second of a day."""
    end = datetime.combine(day, datetime.max.time().replace(microsecond=0))
    return end.replace(tzinfo=zone) if zone is not None else end.astimezone()


def shown_zone(*, utc: bool) -> tzinfo | None:
    """The zone in which times are typed and shown; None: the local one."""
    return UTC if utc else None
