"""The watch that tests wait by: what the host gave to others does not count."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.helpers import machinetime

STAT = """cpu  1 2 3 4 5 6 7 {total} 0 0
cpu0 1 2 3 4 5 6 7 {first} 0 0
cpu1 1 2 3 4 5 6 7 {second} 0 0
intr 99 0 0
"""


def stat(first: int, second: int) -> str:
    return STAT.format(total=first + second, first=first, second=second)


def test_what_was_stolen_of_the_processor_that_lost_most_does_not_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file, now_s = tmp_path / "stat", [100.0]
    monkeypatch.setattr(machinetime, "_STAT", file)
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    monkeypatch.setattr(os, "sysconf", lambda _: 100)
    file.write_text(stat(500, 7000))
    watch = machinetime.Stopwatch()
    now_s[0] = 110.0
    assert watch.seconds() == 10.0
    file.write_text(stat(900, 7100))
    assert watch.seconds() == 6.0
    file.write_text(stat(500, 9000))
    assert watch.seconds() == 0.0


def test_where_the_system_does_not_tell_all_time_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machinetime, "_STAT", tmp_path / "none")
    watch = machinetime.Stopwatch()
    began = time.monotonic()
    while time.monotonic() < began + 0.01:
        pass
    assert watch.seconds() >= 0.01
