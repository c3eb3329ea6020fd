"""What the daemon writes to its log, whoever chose the names in it."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from pathlib import Path

import pytest

from syncd.daemon.logs import JournalFormatter, JsonFormatter, LineFormatter, SyslogFormatter, goes_to_journal


@pytest.mark.parametrize("name", ["a\nERROR root: all is lost", "\x1b[2J", "\u202egpj.exe", "\udcff", "\x9b31m"])
def test_hostile_name_stays_in_its_line(name: str) -> None:
    record = logging.LogRecord("syncd", logging.INFO, "", 0, "folder %s stopped", (name,), None)
    line = LineFormatter("%(levelname)s: %(message)s").format(record)
    assert line.isprintable()
    assert line.startswith("INFO: folder ") and line.endswith(" stopped")


def test_ordinary_names_are_written_as_they_are() -> None:
    record = logging.LogRecord("syncd", logging.INFO, "", 0, "folder %s", ("Größe 图片",), None)
    assert LineFormatter("%(message)s").format(record) == "folder Größe 图片"


def record(message: str = "folder %s stopped", *names: object, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord("syncd.folder", level, "", 0, message, names, None)


def with_traceback() -> logging.LogRecord:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        return logging.LogRecord("syncd", logging.ERROR, "", 0, "fault", (), sys.exc_info())


def test_json_is_one_object_a_line() -> None:
    line = JsonFormatter().format(record("folder %s stopped", "a\nb\udcff"))
    told = json.loads(line)
    assert "\n" not in line
    assert (told["level"], told["area"], told["event"]) == ("warning", "syncd.folder", "folder %s stopped")
    assert told["message"] == "folder a\nb\udcff stopped"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told["time"]) and told["monotonic"] >= 0
    assert json.loads(JsonFormatter().format(with_traceback()))["exception"].startswith("Traceback")


def test_journal_gets_the_severity_of_every_line() -> None:
    assert JournalFormatter("%(name)s: %(message)s").format(record("x")) == "<4>syncd.folder: x"
    lines = JournalFormatter("%(message)s").format(with_traceback()).split("\n")
    assert len(lines) > 3
    assert all(line.startswith("<3>") for line in lines)


# RFC 5424, section 6: HEADER, no structured data, message.
SYSLOG = re.compile(r"<(\d{1,3})>1 (\S+Z) (\S{1,255}) (\S{1,48}) (\d{1,128}) (\S{1,32}) - (.*)")


def test_syslog_line_is_that_of_the_standard() -> None:
    for one in (record("folder %s", "a\nb"), with_traceback()):
        match = SYSLOG.fullmatch(SyslogFormatter("%(message)s").format(one))
        assert match is not None
        assert int(match[1]) // 8 == 3 and int(match[1]) % 8 in (3, 4)


def test_journal_is_recognised_by_its_stream(tmp_path: Path) -> None:
    with open(tmp_path / "x", "w") as stream:
        found = os.fstat(stream.fileno())
        assert goes_to_journal(stream.fileno(), {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        assert not goes_to_journal(stream.fileno(), {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"})
        assert not goes_to_journal(stream.fileno(), {})
