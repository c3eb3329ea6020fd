"""`filter add`, `filter remove` and `join --filter`, on real daemons."""

from __future__ import annotations

import pytest

from tests.helpers.computers import Computer
from tests.helpers.faults import leave, refusal, share_another, wait_content, wait_for

pytestmark = pytest.mark.long


def test_rules_are_added_and_removed_one_at_a_time_and_their_effect_is_told(two: tuple[Computer, Computer]) -> None:
    shared = share_another(*two, "ruled")
    anna, ben = shared.anna, shared.ben
    (shared.here / ".syncdignore").write_text("# of anna\n*.old")
    shared.wait_equal_file("letter", b"a letter")
    shared.wait_equal_file("film.mkv", b"frames")

    told = anna.ask("filter", "add", "*.mkv", "*.old", "--folder", "ruled", "--dry-run")
    assert (told["file"], told["changed"], told["leave"]["paths"]) == (".syncdignore", True, ["film.mkv"])
    assert (shared.here / ".syncdignore").read_text() == "# of anna\n*.old"
    done = anna.run("filter", "add", "*.mkv", "--folder", "ruled", "--yes")
    assert "1 file, 6 B would leave (film.mkv)" in done.stderr and done.returncode == 0
    assert (shared.here / ".syncdignore").read_text() == "# of anna\n*.old\n*.mkv\n"
    wait_content(shared.there / ".syncdignore", b"# of anna\n*.old\n*.mkv\n")
    (shared.here / "film.mkv").write_bytes(b"other frames")
    shared.wait_equal_file("letter", b"another letter")
    assert (shared.there / "film.mkv").read_bytes() == b"frames"
    assert anna.ask("filter", "add", "*.mkv", "--folder", "ruled", "--yes")["changed"] is False

    ben.ask("filter", "add", "--local", "!*.mkv", "/private/", "--folder", "ruled", "--yes")
    assert (shared.there / ".syncd" / "ignore").read_text() == "!*.mkv\n/private/\n"
    (shared.there / "private").mkdir()
    (shared.there / "private" / "diary").write_text("of ben")
    assert refusal(ben, "filter", "remove", "/private/", "--folder", "ruled", "--yes").id == "SY-FIND-06"
    assert refusal(ben, "filter", "add", "size>12X", "--folder", "ruled", "--yes").id == "SY-USE-01"

    told = anna.ask("filter", "remove", "*.mkv", "--folder", "ruled", "--yes")
    assert told["enter"]["paths"] == ["film.mkv"]
    wait_content(shared.there / "film.mkv", b"other frames")
    shared.wait_equal_file("letter", b"the last letter")
    assert not (shared.here / "private").exists()
    assert list((shared.here / ".syncd" / "old").iterdir()) == []
    leave(ben, "ruled")


def test_what_a_joiner_filters_is_never_fetched(two: tuple[Computer, Computer]) -> None:
    anna, ben = two
    here, there = anna.place / "wide", ben.place / "wide"
    here.mkdir()
    (here / "letter").write_bytes(b"a letter")
    (here / "film.mkv").write_bytes(bytes(100_000))
    options = ["--name", "wide", "--role", "editor", "--link", "--yes", "--no-wait"]
    link = str(anna.ask("share", str(here), *options)["link"])
    ben.ask("join", link, str(there), "--filter", "type:video", "--filter", "*.tmp", "--yes")
    wait_content(there / "letter", b"a letter")
    wait_for(lambda: ben.ask("explain", str(there / "film.mkv"))["state"] == "ignored", 20, "no rule holds")
    assert not (there / "film.mkv").exists()
    assert (there / ".syncd" / "ignore").read_text() == "type:video\n*.tmp\n"
    assert ben.ask("filter", "list", "wide")["rules"] == ["type:video", "*.tmp"]
    leave(ben, "wide")
