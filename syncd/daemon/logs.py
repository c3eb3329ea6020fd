"""Blocking. The log: one line a message, for a person, for the journal, or for whoever collects lines of JSON.

Names of files, folders and computers come from others: whatever is in them, a message stays in its line. Secrets are
never logged at all.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from syncd.config import LogFormat, LogLevel

_SEVERITY: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
"""RFC 5424, 6.2.1."""
_DAEMON_FACILITY: Final = 3


def start_log(level: LogLevel, chosen: LogFormat, environ: Mapping[str, str]) -> None:
    """Write the log to stderr from now on; called again, it replaces what was chosen before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(_settle(chosen, environ)))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())


def _settle(chosen: LogFormat, environ: Mapping[str, str]) -> LogFormat:
    """`auto` is for the journal where stderr is the journal's, and for people elsewhere."""
    if chosen != "auto":
        return chosen
    return "journal" if goes_to_journal(sys.stderr.fileno(), environ) else "console"


def goes_to_journal(descriptor: int, environ: Mapping[str, str]) -> bool:
    """Whether the journal reads what is written there: systemd names device and inode of its own end."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    found = os.fstat(descriptor)
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def _formatter(chosen: LogFormat) -> logging.Formatter:
    match chosen:
        case "json":
            return JsonFormatter()
        case "journal":
            return JournalFormatter("%(name)s: %(message)s")
        case "syslog":
            return SyslogFormatter("%(message)s")
        case "console" | "auto":
            return LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")


class LineFormatter(logging.Formatter):
    """One line for each message, whatever names of files, folders and computers are in it. (Tracebacks follow it.)"""

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        return line if line.isprintable() else "".join(map(_visible, line))


class JournalFormatter(LineFormatter):
    """`<6>name: message`: the journal adds the time itself and takes the severity from the front of every line."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_SEVERITY.get(record.levelno, 5)}>"
        return "\n".join(prefix + line for line in super().format(record).split("\n"))


class JsonFormatter(logging.Formatter):
    """One object a line. `time` may jump with the clock of the machine, `monotonic` does not."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, object] = {
            "time": _moment(record),
            "monotonic": round(record.relativeCreated / 1000, 3),
            "level": record.levelname.lower(),
            "area": record.name,
            "event": str(record.msg),  # the text before names are put into it: the same for the same thing
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=True)


class SyslogFormatter(LineFormatter):
    """A line of RFC 5424. Tracebacks stay in it, with their line breaks made visible."""

    def format(self, record: logging.LogRecord) -> str:
        priority = _DAEMON_FACILITY * 8 + _SEVERITY.get(record.levelno, 5)
        head = f"<{priority}>1 {_moment(record)} {platform.node() or '-'} syncd {os.getpid()}"
        line = super().format(record)
        return f"{head} {record.name} - {''.join(map(_visible, line))}"


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _visible(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode()
