"""Disks that are full, read-only, gone or emptied: the folder on them waits and says so, nothing is lost anywhere."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.helpers.computers import Computer, snapshot, wait_equal
from tests.helpers.faults import (
    demand_others_go_on,
    leave,
    mount,
    mounted,
    problems,
    remount,
    share_another,
    show,
    unmount,
    wait_content,
    wait_for,
    wait_no_problem,
    wait_problem,
)

pytestmark = pytest.mark.long


MIB = 1 << 20


def state(computer: Computer, folder: str) -> str:
    return str(show(computer, folder)["state"])


@pytest.mark.needs("mount")
def test_full_disk_keeps_what_is_there_and_goes_on_when_there_is_room(two: tuple[Computer, Computer]) -> None:
    anna, ben = two
    with mounted(ben.place / "small", "size=8m") as small:
        shared = share_another(anna, ben, "full", there=small)
        shared.wait_equal_file("book", b"first edition")
        big = os.urandom(12 * MIB)
        (shared.here / "big").write_bytes(big)
        told = wait_problem(ben, "SY-DISK-01", folder="full")
        assert "room" in told["try"]
        assert not (shared.there / "big").exists()
        explained = ben.ask("explain", str(shared.there / "big"))
        assert (explained["state"], explained["id"], explained["try"]) == ("waiting", "SY-DISK-01", told["try"])
        assert (shared.there / "book").read_bytes() == b"first edition"
        demand_others_go_on(anna, ben)
        remount(small, "size=64m")
        wait_content(shared.there / "big", big)
        wait_no_problem(ben, "full")
        leave(ben, "full")


@pytest.mark.needs("mount")
def test_no_room_for_another_inode_is_a_full_disk(two: tuple[Computer, Computer]) -> None:
    anna, ben = two
    with mounted(ben.place / "few", "size=8m,nr_inodes=32") as few:
        shared = share_another(anna, ben, "inodes", there=few)
        shared.wait_equal_file("first", b"1")
        for number in range(40):
            (shared.here / f"file{number}").write_bytes(b"%d" % number)
        wait_problem(ben, "SY-DISK-01", folder="inodes")
        remount(few, "size=8m,nr_inodes=1000")
        wait_equal((shared.here, shared.there), 20)
        wait_no_problem(ben, "inodes")
        leave(ben, "inodes")


@pytest.mark.needs("mount")
def test_read_only_disk_is_reported_and_goes_on_when_it_is_writable(two: tuple[Computer, Computer]) -> None:
    anna, ben = two
    with mounted(ben.place / "readonly", "size=8m") as target:
        shared = share_another(anna, ben, "readonly", there=target)
        shared.wait_equal_file("book", b"first edition")
        shared.wait_equal_file("stays", b"stays")
        shared.wait_synced()
        remount(target, "ro")
        (shared.here / "book").write_bytes(b"second edition")
        (shared.here / "new").write_bytes(b"new")
        (shared.here / "stays").unlink()
        wait_for(lambda: "SY-DISK-02" in str(problems(ben, "readonly")), 20, "a read-only disk is not reported")
        assert (shared.there / "book").read_bytes() == b"first edition"
        demand_others_go_on(anna, ben)
        remount(target, "rw")
        wait_equal((shared.here, shared.there), 20)
        wait_no_problem(ben, "readonly")
        leave(ben, "readonly")


@pytest.mark.needs("mount")
def test_unmounted_root_stops_the_folder_and_deletes_nothing(two: tuple[Computer, Computer]) -> None:
    """An empty mount point looks like a folder from which everything was deleted."""
    anna, ben = two
    disk, there = ben.place / "disk", ben.place / "mountpoint"
    disk.mkdir()
    there.mkdir()
    mount("--bind", str(disk), str(there))
    shared = share_another(anna, ben, "unmounted", there=there)
    shared.wait_equal_file("kept", b"kept")
    shared.wait_synced()
    unmount(there)
    wait_problem(ben, "SY-ROOT-02", folder="unmounted")
    assert state(ben, "unmounted") == "stopped"
    (shared.here / "new").write_bytes(b"new")
    (there / "stray").write_bytes(b"written into the empty mount point")
    demand_others_go_on(anna, ben)
    assert set(snapshot(shared.here)) == {b"kept", b"new"}
    assert set(snapshot(there)) == {b"stray"}
    mount("--bind", str(disk), str(there))
    try:
        wait_content(there / "new", b"new")
        wait_no_problem(ben, "unmounted")
        assert set(snapshot(shared.here)) == {b"kept", b"new"}
    finally:
        unmount(there)


def test_emptied_root_stops_the_folder_and_deletes_nothing(two: tuple[Computer, Computer]) -> None:
    """Everything is gone, the marker too: that was no deletion by somebody who works in the folder."""
    shared = share_another(*two, "emptied")
    shared.wait_equal_file("kept", b"kept")
    shared.wait_synced()
    aside = shared.there.with_name("aside")
    shared.there.rename(aside)
    wait_problem(shared.ben, "SY-ROOT-01", folder="emptied")
    shared.there.mkdir()
    wait_problem(shared.ben, "SY-ROOT-02", folder="emptied")
    shared.there.rmdir()
    shared.there.write_bytes(b"a file now")
    wait_for(lambda: state(shared.ben, "emptied") == "stopped", 5, "it is not stopped")
    demand_others_go_on(*two)
    assert (shared.here / "kept").read_bytes() == b"kept"
    shared.there.unlink()
    aside.rename(shared.there)
    shared.wait_equal_file("new", b"new")
    wait_no_problem(shared.ben, "emptied")


def test_root_of_another_folder_in_its_place_stops_the_folder(two: tuple[Computer, Computer]) -> None:
    first = share_another(*two, "first")
    second = share_another(*two, "second")
    first.wait_equal_file("one", b"1")
    second.wait_equal_file("two", b"2")
    first.wait_synced()
    aside = first.there.with_name("first-aside")
    first.there.rename(aside)
    shutil.copytree(second.there, first.there)
    wait_problem(first.ben, "SY-ROOT-03", folder="first")
    assert set(snapshot(first.here)) == {b"one"}
    shutil.rmtree(first.there)
    aside.rename(first.there)
    wait_no_problem(first.ben, "first")


def test_copy_that_was_broken_off_takes_the_folders_place_and_deletes_nothing(two: tuple[Computer, Computer]) -> None:
    """A new disk in the place of the old one, with a part of what was there; then the old one, which lacks the rest."""
    anna, ben = two
    shared = share_another(anna, ben, "moved")
    for number in range(8):
        (shared.here / f"f{number}").write_bytes(b"content of %d" % number)
    wait_equal((shared.here, shared.there), 25)
    shared.wait_synced()
    old_disk = shared.there.with_name("moved-old-disk")
    ben.stop()
    shutil.copytree(shared.there, old_disk)
    shutil.move(shared.there, shared.there.with_name("moved-away"))
    shutil.copytree(old_disk, shared.there)
    for number in range(4):
        (shared.there / f"f{number}").unlink()
    os.truncate(shared.there / "f4", 3)
    ben.start()
    shared.wait_synced()
    wait_equal((shared.here, shared.there), 25)
    held = {path.read_bytes() for path in shared.here.glob("f*")}
    assert held == {b"content of %d" % number for number in range(8)} | {b"con"}
    (shared.here / "f5").write_bytes(b"changed")
    (shared.here / "new").write_bytes(b"new")
    wait_content(shared.there / "new", b"new")
    shared.wait_synced()
    newer = shared.there.with_name("moved-newer")
    shared.there.rename(newer)
    wait_problem(ben, "SY-ROOT-01", folder="moved")
    old_disk.rename(shared.there)
    wait_no_problem(ben, "moved")
    wait_equal((shared.here, shared.there), 25)
    assert (shared.here / "f5").read_bytes() == b"changed"
    assert (shared.here / "new").read_bytes() == b"new"
    shared.wait_synced()
    (shared.there / "f6").unlink()
    wait_for(lambda: not (shared.here / "f6").exists(), 25, "an ordinary deletion does not travel any more")
    demand_others_go_on(anna, ben)


def test_new_rights_and_links_make_no_older_state_of_a_directory(two: tuple[Computer, Computer]) -> None:
    """As by `chmod -R`, or by a backup made of links: what is done meanwhile is what a person has done."""
    anna, ben = two
    shared = share_another(anna, ben, "kept")
    for number in range(4):
        (shared.here / f"f{number}").write_bytes(b"content of %d" % number)
    wait_equal((shared.here, shared.there), 25)
    shared.wait_synced()
    seen = shared.there / ".syncd" / "seen"
    wait_for(seen.exists, 25, "nothing says how far the folder was looked at")
    ben.stop()
    before = seen.stat()
    os.link(seen, shared.there.with_name("kept-backup"))
    seen.chmod(0o640)
    assert seen.stat().st_ctime_ns > before.st_ctime_ns
    (shared.there / "f0").unlink()
    (shared.there / "f1").write_bytes(b"changed while it was away")
    ben.start()
    wait_content(shared.here / "f1", b"changed while it was away")
    shared.wait_synced()
    wait_equal((shared.here, shared.there), 25)
    assert {path.name for path in shared.here.glob("f*")} == {"f1", "f2", "f3"}


def test_directory_removed_with_everything_while_the_daemon_is_away_deletes_nothing(
    two: tuple[Computer, Computer],
) -> None:
    shared = share_another(*two, "away")
    shared.wait_equal_file("kept", b"kept")
    shared.wait_synced()
    shared.ben.stop()
    aside = shared.there.with_name("away-aside")
    shared.there.rename(aside)
    shared.ben.start()
    wait_problem(shared.ben, "SY-ROOT-01", folder="away")
    demand_others_go_on(*two)
    assert (shared.here / "kept").read_bytes() == b"kept"
    aside.rename(shared.there)
    shared.wait_equal_file("new", b"new")
    wait_no_problem(shared.ben, "away")
