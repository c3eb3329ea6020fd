"""`pause`, `resume`, `resolve`, `folder move`, and `check`, on real daemons."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.helpers.computers import Computer
from tests.helpers.faults import (
    SOON_S,
    Shared,
    look,
    refusal,
    share_another,
    show,
    wait_content,
    wait_for,
)


def test_paused_folder_rests_through_a_restart_and_goes_on(two: tuple[Computer, Computer]) -> None:
    shared = share_another(*two, "resting")
    other = share_another(*two, "working")
    shared.wait_equal_file("book", b"first edition")
    shared.ben.ask("pause", "resting")
    assert show(shared.ben, "resting")["state"] == "paused"
    (shared.here / "book").write_bytes(b"second edition")
    (shared.there / "own").write_bytes(b"written meanwhile")
    other.wait_equal_file("flows", b"every other folder works")
    shared.ben.stop()
    shared.ben.start()
    assert show(shared.ben, "resting")["state"] == "paused"
    assert (shared.there / "book").read_bytes() == b"first edition"
    assert [one["name"] for one in shared.ben.ask("resume")["folders"]] == ["resting"]
    wait_content(shared.there / "book", b"second edition")
    wait_content(shared.here / "own", b"written meanwhile")


def test_pause_for_a_while_ends_by_itself(two: tuple[Computer, Computer]) -> None:
    shared = share_another(*two, "napping")
    shared.wait_equal_file("book", b"first edition")
    told = shared.ben.ask("pause", "napping", "--for", "2s")
    assert told["until"] is not None
    (shared.here / "book").write_bytes(b"second edition")
    wait_content(shared.there / "book", b"second edition")
    assert show(shared.ben, "napping")["state"] != "paused"


def test_folder_that_was_resumed_answers_at_once(two: tuple[Computer, Computer]) -> None:
    """A script says `syncd resume` and `syncd history` one after the other."""
    shared = share_another(*two, "rested")
    shared.wait_equal_file("book", b"first edition")
    shared.wait_synced()
    for _ in range(5):
        look(shared.ben, "pause", folder="rested", for_s=None)
        look(shared.ben, "resume", folder="rested")
        assert look(shared.ben, "changes", folder="rested")["changes"]


def conflict(two: tuple[Computer, Computer], name: str) -> Shared:
    """`book.txt` in two versions, hers and his."""
    shared = share_another(*two, name)
    shared.wait_equal_file("book.txt", b"first edition")
    shared.wait_synced()
    shared.ben.ask("pause", name)
    (shared.here / "book.txt").write_bytes(b"anna's edition")
    wait_for(lambda: b"anna" in (shared.here / "book.txt").read_bytes(), 5, "it was not written")
    shared.anna.ask("folder", "rescan", name)
    (shared.there / "book.txt").write_bytes(b"ben's edition")
    shared.ben.ask("resume", name)
    wait_for(lambda: copies(shared.here) != [] and copies(shared.there) != [], 30, "there is no conflict")
    return shared


def copies(place: Path) -> list[Path]:
    return sorted(place.glob("book (conflict*"))


@pytest.mark.parametrize(("keep", "content"), [("mine", b"ben's edition"), ("theirs", b"anna's edition")])
def test_conflict_is_resolved_everywhere(two: tuple[Computer, Computer], keep: str, content: bytes) -> None:
    shared = conflict(two, f"conflict-{keep}")
    done = shared.ben.ask("resolve", str(shared.there / "book.txt"), "--keep", keep)
    assert done["versions"] == 2
    for place in (shared.here, shared.there):
        wait_content(place / "book.txt", content)
        wait_for(lambda place=place: copies(place) == [], 20, "the copy is still there")  # type: ignore[misc]
    told = refusal(shared.ben, "resolve", str(shared.there / "book.txt"), "--keep", keep)
    assert told.id == "SY-FIND-04"


def test_both_versions_get_names_of_their_own(two: tuple[Computer, Computer]) -> None:
    shared = conflict(two, "conflict-both")
    shared.ben.ask("resolve", str(copies(shared.there)[0]), "--keep", "both")
    for place in (shared.here, shared.there):
        wait_for(lambda place=place: len(list(place.glob("book*"))) == 2 and copies(place) == [], 20, "not both")  # type: ignore[misc]
        assert {path.read_bytes() for path in place.glob("book*")} == {b"anna's edition", b"ben's edition"}
    assert not shared.ben.ask("conflicts", "conflict-both")["conflicts"]


def test_folder_moves_by_syncd_or_by_its_owner_and_goes_on(two: tuple[Computer, Computer]) -> None:
    shared = share_another(*two, "moving")
    shared.wait_equal_file("book", b"first edition")
    shared.wait_synced()
    elsewhere, further = shared.ben.place / "elsewhere", shared.ben.place / "further"
    moved = shared.ben.ask("folder", "move", "moving", str(elsewhere))
    assert (moved["path"], moved["moved"]) == (str(elsewhere), True)
    (shared.here / "book").write_bytes(b"second edition")
    wait_content(elsewhere / "book", b"second edition")
    assert not shared.there.exists()
    elsewhere.rename(further)
    assert shared.ben.ask("folder", "move", "moving", str(further))["moved"] is False
    (further / "book").write_bytes(b"third edition")
    wait_content(shared.here / "book", b"third edition")
    full = shared.ben.place / "something else"
    full.mkdir()
    assert refusal(shared.ben, "folder", "move", "moving", str(full)).id == "SY-ROOT-03"
    shutil.rmtree(full)
    for leads_to in (None, further):
        link = shared.ben.place / "a link"
        link.symlink_to(leads_to or shared.ben.place / "nowhere")
        told = refusal(shared.ben, "folder", "move", "moving", str(link))
        assert told.id == "SY-ROOT-03" and "symlink" in told.why
        link.unlink()
    nowhere = refusal(shared.ben, "folder", "move", "moving", str(shared.ben.place / "not made" / "moving"))
    assert nowhere.id == "SY-SHARE-02" and "directory above" in nowhere.fix
    (shared.here / "book").write_bytes(b"fourth edition")
    wait_content(further / "book", b"fourth edition")


def test_check_reads_everything(two: tuple[Computer, Computer]) -> None:
    shared = share_another(*two, "checked")
    for number in range(5):
        shared.wait_equal_file(f"file{number}", b"content %d" % number)
    shared.wait_synced()
    (checked,) = shared.ben.ask("check", "checked")["folders"]
    assert (checked["files"], checked["suspect"], checked["rotten"], checked["database"]) == (5, 0, 0, [])


def test_rules_are_tried_before_they_hold_and_explain_names_the_one_that_does(two: tuple[Computer, Computer]) -> None:
    shared = share_another(*two, "filtered")
    (shared.here / ".syncdignore").write_text("size>1K\nsize>nonsense\n")
    shared.wait_equal_file("growing", b"small")
    (shared.here / "large").write_bytes(bytes(2000))
    (shared.here / "film.mkv").write_bytes(b"frames")
    assert look(shared.anna, "wait", folders=["filtered"], timeout_s=SOON_S, **{"for": "scanned"})["done"]
    shared.wait_synced()
    told = shared.anna.ask("filter", "test", "type:video", "!large", "--folder", "filtered")
    assert (told["leave"]["files"], told["leave"]["bytes"], told["leave"]["paths"]) == (1, 6, ["film.mkv"])
    assert (told["enter"]["files"], told["enter"]["bytes"], told["enter"]["paths"]) == (1, 2000, ["large"])
    assert told["rules"] == ["size>1K"]
    assert told["problems"] == [".syncdignore: line 2: size>nonsense"]
    assert {"id": "SY-CONF-03", "path": ".syncdignore"}.items() <= show(shared.anna, "filtered")["problems"][0].items()
    assert refusal(shared.anna, "filter", "test", "size>12X", "--folder", "filtered").id == "SY-USE-01"
    (shared.here / "growing").write_bytes(bytes(3000))
    wait_for(lambda: shared.anna.ask("explain", str(shared.here / "growing"))["state"] == "ignored", 20, "not seen")
    told = shared.anna.ask("explain", str(shared.here / "growing"))
    assert told["rule"] == "size>1K"
    assert "2.9 KiB" in told["why"] and "5 B" in told["why"]
    assert (shared.there / "growing").read_bytes() == b"small"
    (shared.here / ".syncdignore").unlink()
    wait_content(shared.there / "growing", bytes(3000))
    wait_content(shared.there / "large", bytes(2000))
