"""Files that are not as usual, between two real computers: hard links, special modes, programs with their own ways."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.computers import Computer, sharing_computers, wait_until

SOON_S = 60.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Computer]]:
    with sharing_computers(["anna", "ben"], tmp_path_factory.mktemp("odd"), "Odd") as two:
        yield two


def wait_text(path: Path, text: str) -> None:
    wait_until(lambda: path.exists() and path.read_text() == text, SOON_S, f"{path} is not {text!r}")


def test_hard_links_are_files_of_their_own_and_stay_right(pair: list[Computer]) -> None:
    here, there = (computer.folder for computer in pair)
    (here / "first").write_text("one inode")
    os.link(here / "first", here / "second")
    wait_text(there / "first", "one inode")
    wait_text(there / "second", "one inode")
    assert (there / "first").stat().st_ino != (there / "second").stat().st_ino
    (there / "second").write_text("only the second")  # arrives by exchange: the shared inode is not written to
    wait_text(here / "second", "only the second")
    assert (here / "first").read_text() == "one inode"
    assert (there / "first").read_text() == "one inode"


def test_edit_through_one_of_two_hard_links_is_an_edit_of_both(pair: list[Computer]) -> None:
    here, there = (computer.folder for computer in pair)
    (here / "left").write_text("as it was")
    os.link(here / "left", here / "right")
    wait_text(there / "right", "as it was")
    with (here / "left").open("w") as file:
        file.write("written in place")
    wait_text(there / "left", "written in place")
    pair[0].ask("folder", "rescan", "Odd")  # nobody tells of the other name: a look at everything finds it
    wait_text(there / "right", "written in place")


def test_special_modes_never_travel(pair: list[Computer]) -> None:
    here, there = (computer.folder for computer in pair)
    (here / "tool").write_text("#!/bin/sh\n")
    (here / "tool").chmod(0o6755)
    wait_text(there / "tool", "#!/bin/sh\n")
    wait_until(lambda: (there / "tool").stat().st_mode & 0o7777 == 0o755, SOON_S, "another mode")
    assert (here / "tool").stat().st_mode & 0o7777 == 0o6755


def has_xattrs(path: Path) -> bool:
    try:
        os.setxattr(path, "user.syncd", b"")
        os.removexattr(path, "user.syncd")
    except (AttributeError, OSError):
        return False
    return True


def test_extended_attributes_of_users_travel_and_explain_says_which_do_not(pair: list[Computer]) -> None:
    here, there = (computer.folder for computer in pair)
    (here / "photo").write_text("pixels")
    if not has_xattrs(here / "photo"):
        pytest.skip("no extended attributes here")
    os.setxattr(here / "photo", "user.rating", b"5")
    os.setxattr(here / "photo", "user.overlay.opaque", b"y")
    (here / "album").mkdir()
    os.setxattr(here / "album", "user.tag", b"sea")
    wait_text(there / "photo", "pixels")
    wait_until(lambda: os.listxattr(there / "photo") == ["user.rating"], SOON_S, "another set")
    wait_until(lambda: (there / "album").exists() and os.listxattr(there / "album") == ["user.tag"], SOON_S, "no tag")
    os.setxattr(there / "photo", "user.rating", b"4")
    wait_until(lambda: os.getxattr(here / "photo", "user.rating") == b"4", SOON_S, "the rating of before")
    os.removexattr(there / "album", "user.tag")
    wait_until(lambda: os.listxattr(here / "album") == [], SOON_S, "it has the tag still")
    (there / "photo").write_text("other pixels")
    wait_text(here / "photo", "other pixels")
    assert sorted(os.listxattr(here / "photo")) == ["user.overlay.opaque", "user.rating"]
    told = pair[0].ask("explain", str(here / "photo"))
    assert told["stays_here"] == ["user.overlay.opaque"] and told["not_here"] == []


def test_program_that_saves_by_rename_makes_a_version_and_no_second_file(pair: list[Computer]) -> None:
    here, there = (computer.folder for computer in pair)
    (here / "letter.txt").write_text("draft 0")
    wait_text(there / "letter.txt", "draft 0")
    for number in (1, 2, 3):
        (here / ".letter.txt.tmp").write_text(f"draft {number}")
        (here / ".letter.txt.tmp").rename(here / "letter.txt")
    wait_text(there / "letter.txt", "draft 3")
    assert [path.name for path in there.glob("*letter*")] == ["letter.txt"]


def test_program_that_sets_the_time_back_is_noticed(pair: list[Computer]) -> None:
    """The same size and the same mtime as before: the ctime tells."""
    here, there = (computer.folder for computer in pair)
    (here / "table.xls").write_text("sheet 1")
    wait_text(there / "table.xls", "sheet 1")
    before = (here / "table.xls").stat()
    with (here / "table.xls").open("r+") as file:
        file.write("sheet 2")
    os.utime(here / "table.xls", ns=(before.st_atime_ns, before.st_mtime_ns))
    wait_text(there / "table.xls", "sheet 2")
