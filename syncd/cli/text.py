"""Pure. How values look in a terminal: what `syncd.wording` says, and what only a terminal needs."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from syncd.wording import (
    ago,
    clock,
    count,
    duration,
    escape,
    files_and_bytes,
    parse_duration,
    parse_time,
    rate,
    share,
    size,
    until,
)

__all__ = [
    "ago",
    "argument",
    "ascii_only",
    "clock",
    "count",
    "duration",
    "escape",
    "escape_line",
    "files_and_bytes",
    "files_of",
    "parse_duration",
    "parse_time",
    "rate",
    "seen",
    "share",
    "size",
    "table",
    "through",
    "until",
    "width",
]

_ASCII = str.maketrans(
    {"●": "*", "◐": "~", "○": "o", "·": "-", "…": "...", "→": "->", "–": "-", "✓": "+", "‘": "'", "’": "'"}  # noqa: RUF001 - these are what is replaced
)


def escape_line(line: str) -> str:
    """A whole message as one safe line. Backslashes stay: what went into it was escaped already, or is our own text."""
    return line if line.isprintable() else "\\".join(escape(part) for part in line.split("\\"))


def through(names: Sequence[str]) -> str:
    """Over whom a device is reached that is not connected to this one."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"through {escape(names[0])}{more}"


def seen(peer: Mapping[str, Any], now: datetime) -> str:
    """Whether a device is there: connected, reached through others, or away."""
    if peer["connected"]:
        return "● connected"
    return f"◐ {through(peer['through'])}" if peer["through"] else f"○ {ago(peer['last_seen'], now)}"


def files_of(folder: Mapping[str, Any]) -> tuple[str, str]:
    """How many files a folder has, and their size; empty of one that has not been at work since the start, as nobody
    has counted."""
    if not folder["files"] and folder["state"] in ("paused", "starting"):
        return "", ""
    return count(folder["files"], "file"), size(folder["bytes"])


def argument(name: str) -> str:
    """A name as one word of a shell command; quoted where needed, and `$'...'` where it is not printable."""
    return shlex.quote(name) if name.isprintable() else "$'" + escape(name).replace("'", "\\'") + "'"


def ascii_only(text: str) -> str:
    """The same text for terminals that know only ASCII."""
    return text.translate(_ASCII).encode("ascii", "backslashreplace").decode("ascii")


# --- layout --------------------------------------------------------------------------------------------------------


def table(rows: Iterable[Sequence[str]], *, heading: Sequence[str] = (), indent: str = "") -> list[str]:
    """Lines with columns as wide as their widest cell; the last one runs free."""
    cells = [list(heading), *map(list, rows)] if heading else [list(row) for row in rows]
    if not cells:
        return []
    widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
    return [
        (indent + "  ".join(_pad(cell, wide) for cell, wide in zip(row, widths, strict=True))).rstrip() for row in cells
    ]


def width(text: str) -> int:
    """Columns on the terminal, near enough for a table: wide East Asian characters and emoji take two."""
    if text.isascii():
        return len(text)
    import unicodedata  # only tables with foreign names pay for it

    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def _pad(text: str, columns: int) -> str:
    return text + " " * (columns - width(text))
