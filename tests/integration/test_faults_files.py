"""Single files that cannot be read, written or named: each is reported with what to do, and delays nothing else."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

from tests.helpers.computers import Computer, snapshot, wait_equal
from tests.helpers.faults import (
    demand_others_go_on,
    explained,
    share_another,
    wait_content,
    wait_for,
    wait_no_problem,
    wait_problem,
)


def test_growing_file_is_never_seen_half_written_or_mixed(two: tuple[Computer, Computer]) -> None:
    shared = share_another(*two, "growing")
    here, there = shared.here / "log", shared.there / "log"
    chunks = [os.urandom(20_000) for _ in range(150)]
    whole = b"".join(chunks)
    seen: set[int] = set()

    def write() -> None:
        with here.open("wb", buffering=0) as file:
            for chunk in chunks:
                file.write(chunk)
                time.sleep(0.02)  # it grows for three seconds: longer than a file that is open may rest unseen

    writer = threading.Thread(target=write)
    writer.start()
    shared.wait_equal_file("beside", b"this one rests")
    while writer.is_alive():
        if there.exists():
            content = there.read_bytes()
            assert whole.startswith(content)
            seen.add(len(content))
        time.sleep(0.01)
    writer.join()
    wait_content(there, whole)
    demand_others_go_on(*two)


def test_pipe_and_socket_are_reported_and_skipped(two: tuple[Computer, Computer]) -> None:
    shared = share_another(*two, "special")
    os.mkfifo(shared.here / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(shared.here / "socket"))
    shared.wait_equal_file("plain", b"plain")
    for name in ("pipe", "socket"):
        wait_problem(shared.anna, "SY-FILE-04", folder="special", path=name)
        assert not (shared.there / name).exists()
    assert explained(shared.anna, shared.here / "pipe")["id"] == "SY-FILE-04"
    for name in ("pipe", "socket"):
        (shared.here / name).unlink()
    wait_no_problem(shared.anna, "special")
    demand_others_go_on(*two)


def test_pipe_in_the_way_of_a_new_file_stays_until_somebody_removes_it(two: tuple[Computer, Computer]) -> None:
    shared = share_another(*two, "blocked")
    shared.wait_equal_file("first", b"1")
    os.mkfifo(shared.there / "wanted")
    (shared.here / "wanted").write_bytes(b"wanted")
    shared.wait_equal_file("second", b"2")
    assert (shared.there / "wanted").is_fifo()
    wait_for(
        lambda: explained(shared.ben, shared.there / "wanted")["state"] == "problem", 15, "the pipe is not reported"
    )
    (shared.there / "wanted").unlink()
    wait_content(shared.there / "wanted", b"wanted")
    wait_no_problem(shared.ben, "blocked")


def test_paths_longer_than_the_system_allows_at_once_are_carried(two: tuple[Computer, Computer]) -> None:
    """A path of 5,000 bytes cannot be opened in one call (PATH_MAX is 4,096), only step by step."""
    shared = share_another(*two, "deep")
    make_deep(shared.here, 20)
    wait_for(lambda: read_deep(shared.there, 20) == b"deep", 20, "the deep file does not arrive")
    shared.wait_equal_file("flat", b"flat")


def make_deep(root: Path, depth: int) -> None:
    """Directories of 250 bytes each, with a file at the bottom, made through directory descriptors."""
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir("d" * 250, dir_fd=at)
        below = os.open("d" * 250, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = below
    file = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=at)
    os.write(file, b"deep")
    os.close(file)
    os.close(at)


def read_deep(root: Path, depth: int) -> bytes | None:
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(depth):
            below = os.open("d" * 250, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        file = os.open("file", os.O_RDONLY, dir_fd=at)
    except FileNotFoundError:
        return None
    finally:
        os.close(at)
    try:
        return os.read(file, 100)
    finally:
        os.close(file)


def test_ignored_names_stay_here_and_cause_nothing(two: tuple[Computer, Computer]) -> None:
    shared = share_another(*two, "ignoring")
    shared.wait_equal_file("kept.txt", b"kept")
    (shared.here / ".syncd" / "ignore").write_text("*.tmp\n/build/\n!important.tmp\n[z-a]\n")
    (shared.here / "build").mkdir()
    (shared.here / "build" / "object").write_bytes(b"o")
    (shared.here / "scratch.tmp").write_bytes(b"scratch")
    shared.wait_equal_file("important.tmp", b"important")
    shared.wait_equal_file("after", b"after")
    assert set(snapshot(shared.there)) == {b"kept.txt", b"important.tmp", b"after"}
    for name in ("scratch.tmp", "build/object", "build"):
        assert explained(shared.anna, shared.here / name)["state"] == "ignored", name
    assert explained(shared.anna, shared.here / "scratch.tmp")["rule"] == "*.tmp"
    assert explained(shared.anna, shared.here / "build" / "object")["rule"] == "/build/"
    wait_problem(shared.anna, "SY-CONF-03", folder="ignoring", path=".syncd/ignore")
    (shared.here / ".syncd" / "ignore").unlink()
    wait_equal((shared.here, shared.there), 20)
    wait_no_problem(shared.anna, "ignoring")


def test_a_rule_that_hides_a_shared_file_deletes_it_nowhere(two: tuple[Computer, Computer]) -> None:
    shared = share_another(*two, "hiding")
    shared.wait_equal_file("noise.log", b"first")
    (shared.here / ".syncd" / "ignore").write_text("*.log\n")
    wait_for(
        lambda: explained(shared.anna, shared.here / "noise.log")["state"] == "ignored", 10, "the rule is not read"
    )
    (shared.there / "noise.log").write_bytes(b"second, there")
    shared.wait_equal_file("plain", b"plain")
    assert (shared.here / "noise.log").read_bytes() == b"first"
    assert (shared.there / "noise.log").read_bytes() == b"second, there"
