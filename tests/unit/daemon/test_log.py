"""What the daemon writes to its log, whoever chose the names in it."""

from __future__ import annotations

import logging

import pytest

from syncd.daemon.main import LineFormatter


@pytest.mark.parametrize("name", ["a\nERROR root: all is lost", "\x1b[2J", "\u202egpj.exe", "\udcff", "\x9b31m"])
def test_hostile_name_stays_in_its_line(name: str) -> None:
    record = logging.LogRecord("syncd", logging.INFO, "", 0, "folder %s stopped", (name,), None)
    line = LineFormatter("%(levelname)s: %(message)s").format(record)
    assert line.isprintable()
    assert line.startswith("INFO: folder ") and line.endswith(" stopped")


def test_ordinary_names_are_written_as_they_are() -> None:
    record = logging.LogRecord("syncd", logging.INFO, "", 0, "folder %s", ("Größe 图片",), None)
    assert LineFormatter("%(message)s").format(record) == "folder Größe 图片"
