"""Pure. How values look to a person, in a terminal and on the page: sizes, times, names that nobody can trust.

Names come from other people's machines. A file called `\\x1b[2J` must not clear the screen and one with a right-to-left
mark must not pretend another ending, so everything that is not plainly printable is written as an escape.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

_JOINER = "\N{ZERO WIDTH JOINER}"  # emoji need it, and alone it shows nothing
_SIMPLE_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
MAX_DIGITS = 15
_DURATION_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def escape(name: str) -> str:
    """A name from anywhere as text that is safe on a terminal and cannot be mistaken for another name."""
    if name.isprintable() and "\\" not in name:
        return name
    return "".join(_escape_character(character) for character in name)


def is_text(value: str) -> bool:
    """Whether it is Unicode; a name of a file from elsewhere can hold bytes that are none, as lone surrogates."""
    return value.isprintable() or not any("\ud800" <= character <= "\udfff" for character in value)


def is_name(value: str) -> bool:
    """Whether a file could be called so: Unicode or bytes that are none, and no NUL."""
    try:
        return b"\0" not in value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False


def is_number(text: str) -> bool:
    """Whether it is a number as people type one: a few of the ten digits, and nothing else."""
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS


def _escape_character(character: str) -> str:
    code = ord(character)
    if simple := _SIMPLE_ESCAPES.get(character):
        return simple
    if character.isprintable() or character == _JOINER:
        return character
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as os.fsdecode writes it
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x1_0000 else f"\\U{code:08x}"


def dropped(name: str, not_restored: int) -> str:
    """What a no to a held wave has done; `name` of the folder, escaped here."""
    said = f"The held changes of {escape(name)} are dropped; the files stay."
    if not_restored:
        keep = f"{count(not_restored, 'file')} {'keeps' if not_restored == 1 else 'keep'}"
        said += f" {keep} what had been written before: no connected computer has the former content."
    return said


# --- numbers -------------------------------------------------------------------------------------------------------


def size(count_bytes: float) -> str:
    """`48.1 GiB`: three digits at most, IEC units."""
    value = float(count_bytes)
    for unit in _UNITS:
        if value < 1023.5 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"


def rate(bytes_per_s: float) -> str:
    """`92 MB/s`: decimal, as networks are sold."""
    for limit, unit in ((1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s")):
        if bytes_per_s >= limit:
            value = bytes_per_s / limit
            return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
    return f"{bytes_per_s:.0f} B/s"


def count(number: int, noun: str) -> str:
    """`1 file`, `12,408 files`, `2 guesses`."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number:,} {noun if number == 1 else plural}"


def files_and_bytes(files: int, count_bytes: int) -> str:
    return f"{count(files, 'file')}, {size(count_bytes)}"


def share(part: float, whole: float) -> str:
    """`3 %`. Never 100 before it is all there."""
    if whole <= 0:
        return "100 %"
    return f"{min(99, int(100 * part / whole)) if part < whole else 100} %"


# --- times ---------------------------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """`38 s`, `8 min`, `3 h`, `2 days`: one unit, rounded."""
    if seconds < 99.5:
        return f"{seconds:.0f} s" if seconds >= 9.95 or seconds == int(seconds) else f"{seconds:.1f} s"
    for limit_s, unit_s, unit in ((99.5 * 60, 60, "min"), (47.5 * 3_600, 3_600, "h")):
        if seconds < limit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return count(round(seconds / 86_400), "day")


def parse_duration(text: str) -> float:
    """`15m`, `2h`, `7d`, `1.5h`, or seconds -> seconds. Raises ValueError."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in _DURATION_UNITS_S else (text, "s")
    seconds = float(number) * _DURATION_UNITS_S[unit]
    if not 0 <= seconds <= 1e10:
        raise ValueError(f"{text!r} is not a duration")
    return seconds


def parse_time(text: str) -> datetime:
    """RFC 3339, as the daemon writes it. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def ago(text: str | None, now: datetime) -> str:
    """`3 days ago`, from an RFC 3339 time; `never` from None."""
    if text is None:
        return "never"
    seconds = round((now - parse_time(text)).total_seconds())
    return "just now" if seconds < 5 else f"{duration(seconds)} ago"


def until(text: str | None, now: datetime, zone: tzinfo | None) -> str:
    """`until 14:52` today, `until 27 Nov 14:52` else, `for good` from None."""
    if text is None:
        return "for good"
    moment, today = parse_time(text).astimezone(zone), now.astimezone(zone).date()
    return f"until {moment:%H:%M}" if moment.date() == today else f"until {moment.day} {moment:%b %H:%M}"


def clock(text: str | None, zone: tzinfo | None) -> str:
    """`2026-11-20 14:52`; `-` from None. Zone None is the local one."""
    return "-" if text is None else f"{parse_time(text).astimezone(zone):%Y-%m-%d %H:%M}"


# --- tables for a spreadsheet ----------------------------------------------------------------------------------------

COLUMNS_OF_AUDIT = ("time", "kind", "actor", "action", "folder", "what", "ok")


def spreadsheet_cell(value: object) -> str:
    """One cell in one line; what a spreadsheet could take for a formula begins with a quote."""
    text = "" if value is None else escape(str(value))
    return "'" + text if text[:1] in ("=", "+", "-", "@") else text
