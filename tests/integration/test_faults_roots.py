"""Roots that somebody else has marked, and folders that stand still: what is refused, and what nobody waits for."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest

from tests.helpers.computers import Computer
from tests.helpers.faults import (
    mount,
    problems,
    refusal,
    share_another,
    unmount,
    wait_content,
    wait_problem,
)

pytestmark = pytest.mark.long


def test_directory_of_another_home_is_not_taken_from_it(two: tuple[Computer, Computer]) -> None:
    shared = share_another(*two, "hers")
    shared.wait_equal_file("book", b"first edition")
    marker = (shared.here / ".syncd" / "folder").read_bytes()
    told = refusal(shared.ben, "share", str(shared.here), "--no-wait", "--yes")
    assert (told.id, told.exit) == ("SY-ROOT-06", 8)
    assert (shared.here / ".syncd" / "folder").read_bytes() == marker
    shared.wait_equal_file("book", b"second edition")


def test_copy_of_a_folder_becomes_one_of_its_own_when_its_marker_is_gone(two: tuple[Computer, Computer]) -> None:
    shared = share_another(*two, "copied")
    shared.wait_equal_file("book", b"first edition")
    shared.wait_synced()
    copied = shared.ben.place / "a copy of it"
    shutil.copytree(shared.here, copied)
    (copied / ".syncd" / "old" / "first draft").write_text("replaced once, and kept")
    told = refusal(shared.ben, "share", str(copied), "--no-wait", "--yes")
    assert told.id == "SY-ROOT-06"
    _, _, advice = told.fix.partition(":  ")
    subprocess.run(shlex.split(advice), check=True)
    assert shared.ben.ask("share", str(copied), "--name", "copy", "--no-wait", "--yes")["name"] == "copy"
    assert (copied / ".syncd" / "old" / "first draft").read_text() == "replaced once, and kept"
    wait_problem(shared.ben, "SY-HIST-10", folder="copy")


def test_directory_that_was_moved_by_hand_is_not_shared_as_another_folder(two: tuple[Computer, Computer]) -> None:
    shared = share_another(*two, "wandering")
    shared.wait_equal_file("book", b"first edition")
    shared.wait_synced()
    moved = shared.there.with_name("wandered")
    shared.there.rename(moved)
    told = refusal(shared.ben, "share", str(moved), "--no-wait", "--yes")
    assert (told.id, told.exit) == ("SY-SHARE-03", 8)
    _, _, advice = told.fix.partition(":  syncd ")
    shared.ben.ask(*shlex.split(advice))
    (shared.here / "book").write_bytes(b"second edition")
    wait_content(moved / "book", b"second edition")
    copied = shared.there.with_name("a copy")
    shutil.copytree(moved, copied)
    assert shared.ben.ask("share", str(copied), "--name", "copy of it", "--no-wait", "--yes")["name"] == "copy of it"
    assert not problems(shared.ben, "wandering")


def test_symlink_leads_no_folder_into_another_nor_around_a_home(two: tuple[Computer, Computer]) -> None:
    shared = share_another(*two, "outer")
    shared.wait_synced()
    (shared.there / "below").mkdir()
    link = shared.there.with_name("link")
    link.symlink_to(shared.there)
    above = shared.there.parent.with_name("above")
    above.symlink_to(shared.there.parent.parent)
    around = above / shared.there.parent.name
    assert shared.ben.home.is_relative_to(shared.there.parent)
    for path, code in ((link / "below", "SY-SHARE-03"), (around, "SY-SHARE-02")):
        assert refusal(shared.ben, "share", str(path), "--no-wait", "--yes").id == code, path
    beside = shared.there.with_name("beside")
    beside.mkdir()
    through = around / "beside"
    assert shared.ben.ask("share", str(through), "--name", "beside", "--no-wait", "--yes")["name"] == "beside"


@pytest.mark.needs("mount")
def test_directory_of_a_folder_is_not_shared_by_another_path(two: tuple[Computer, Computer]) -> None:
    shared = share_another(*two, "once")
    shared.wait_equal_file("book", b"first edition")
    shared.wait_synced()
    elsewhere = shared.there.with_name("bound")
    elsewhere.mkdir()
    mount("--bind", str(shared.there), str(elsewhere))
    try:
        told = refusal(shared.ben, "share", str(elsewhere), "--no-wait", "--yes")
        assert (told.id, told.exit) == ("SY-SHARE-03", 8)
        shared.wait_equal_file("book", b"second edition")
    finally:
        unmount(elsewhere)
    assert not problems(shared.ben, "once")


def test_folder_that_was_left_can_be_copied_into_another(two: tuple[Computer, Computer]) -> None:
    """Its `.syncd` comes along, and is nobody's."""
    shared = share_another(*two, "inside")
    shared.wait_equal_file("book", b"first edition")
    shared.wait_synced()
    shutil.copytree(shared.here, shared.ben.place / "left")
    shutil.copytree(shared.ben.place / "left", shared.there / "copied")
    (shared.there / "copied" / ".syncd" / "old" / "of before").write_text("kept here")
    wait_content(shared.here / "copied" / "book", b"first edition")
    shared.ben.stop()
    shared.ben.start()
    (shared.there / "copied" / "book").write_bytes(b"second edition")
    wait_content(shared.here / "copied" / "book", b"second edition")
    shared.wait_synced()
    assert not problems(shared.ben, "inside")
    assert not (shared.here / "copied" / ".syncd").exists()


def test_wait_without_a_limit_ends_when_the_folder_stands_still(two: tuple[Computer, Computer]) -> None:
    shared = share_another(*two, "still")
    shared.wait_equal_file("kept", b"kept")
    shared.wait_synced()
    aside = shared.there.with_name("still-aside")
    shared.there.rename(aside)
    wait_problem(shared.ben, "SY-ROOT-01", folder="still")
    done = shared.ben.run("wait", "--for", "synced", "still", timeout_s=30)
    assert done.returncode == 4, done.stderr
    aside.rename(shared.there)
    assert shared.ben.run("wait", "--for", "synced", "still", timeout_s=30).returncode == 0
