"""The security log on disk: kept across restarts, private, bounded, and not fooled by spoiled lines."""

from __future__ import annotations

import stat
from pathlib import Path

from syncd.daemon.securitylog import MAX_BYTES, append, read
from syncd.protocol.refusals import MAX_KEPT, Burst, Event


def burst(number: int, count: int = 1) -> Burst:
    return Burst(number, Event.LABEL, "10.0.0.1", "no such name", 1000.0 + number, 1001.0 + number, count)


def test_what_was_written_is_read_and_the_last_counter_counts(tmp_path: Path) -> None:
    path = tmp_path / "security.log"
    append(path, [burst(0), burst(1)])
    append(path, [burst(1, 40)])
    assert read(path) == [burst(0), burst(1, 40)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_is_read_where_nothing_was_written(tmp_path: Path) -> None:
    assert read(tmp_path / "security.log") == []


def test_spoiled_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "security.log"
    append(path, [burst(0)])
    with path.open("ab") as file:
        file.write(b'{"number": 1, "event": "label"\n\xff\xfe\n[]\n{"number": "x"}\n' + b"[" * 100_000 + b"\n")
    append(path, [burst(2)])
    assert [one.began for one in read(path)] == [1000.0, 1002.0]


def test_disk_it_takes_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "security.log"
    for start in range(0, 40_000, 1000):
        append(path, [burst(number) for number in range(start, start + 1000)])
    assert sum(one.stat().st_size for one in tmp_path.iterdir()) < 3 * MAX_BYTES
    kept = read(path)
    assert len(kept) == MAX_KEPT
    assert kept[-1].began == 1000.0 + 39_999
    assert [one.number for one in kept] == list(range(MAX_KEPT))
