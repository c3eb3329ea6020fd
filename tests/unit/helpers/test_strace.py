"""Which calls of a log change a disk, and which of them are chosen."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.strace import Point, points_of, spread

LOG = """\
12 openat(AT_FDCWD</p>, "a", O_RDONLY) = 3
12 openat(AT_FDCWD</p>, "b", O_WRONLY|O_CREAT) = 3</p/b>
13 openat(AT_FDCWD</elsewhere>, "c", O_WRONLY|O_CREAT) = 3
12 pwrite64(3</p/b>, "1", 1, 0) = 1
12 mkdirat(AT_FDCWD</p>, "b", 0777) = -1 EEXIST (File exists)
12 pwrite64(3</p/b>, "2", 1, 1) = 1
12 pwrite64(3</p/b>, "3", 1, 2) = 1
12 pwrite64(3</p/b>, "4", 1, 3) = 1
12 pwrite64(4</p/c>, "5", 1, 3) = 1
13 fsync(3</p/b>) = 0
13 +++ killed by SIGKILL +++
12 fsync(3</p/b>) = 0
"""


def test_calls_are_counted_by_thread_and_a_row_of_writes_is_its_begin_middle_and_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(LOG)
    writes = [Point("pwrite64", nth) for nth in (1, 3, 4, 5)]
    assert points_of(log, "/p") == [Point("openat", 2), *writes, Point("fsync", 1)]


def test_rare_calls_are_all_chosen_and_of_frequent_ones_some() -> None:
    points = [Point("rename", nth) for nth in range(3)] + [Point("write", nth) for nth in range(100)]
    chosen = spread(points, 13)
    assert chosen[:3] == points[:3]
    assert [point.nth for point in chosen[3:]] == list(range(0, 100, 10))
    assert sorted(spread(points, 1000), key=points.index) == points
