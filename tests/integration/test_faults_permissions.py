"""What permissions forbid, shown with a daemon that is nobody: root is refused nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.computers import Computer, free_ports, join, share, start_all, wait_equal
from tests.helpers.faults import (
    NOBODY,
    SOON_S,
    UnprivilegedComputer,
    demand_quiet_log,
    explained,
    invitation,
    look,
    refusal,
    share_another,
    wait_content,
    wait_for,
    wait_no_problem,
    wait_problem,
)

pytestmark = pytest.mark.needs("root", "linux", "setpriv")


@pytest.fixture(scope="module")
def two() -> Iterator[tuple[Computer, Computer]]:
    """Anna is root, Ben is nobody."""
    place = Path(tempfile.mkdtemp(prefix="syncd-nobody-"))  # what pytest makes is closed to others
    place.chmod(0o755)
    ports = free_ports(2)
    anna = Computer("anna", place / "anna", place / "anna" / "common", ports[0])
    ben = UnprivilegedComputer("ben", place / "ben", place / "ben" / "common", ports[1])
    try:
        start_all((anna, ben))
        join(ben, share(anna, "common"))
        yield anna, ben
        demand_quiet_log(anna)
        demand_quiet_log(ben)
    finally:
        anna.stop()
        ben.stop()
        shutil.rmtree(place)


def test_unreadable_file_is_reported_kept_and_taken_when_it_can_be_read(two: tuple[Computer, Computer]) -> None:
    shared = share_another(*two, "unreadable")
    shared.wait_equal_file("secret", b"old")
    secret = shared.there / "secret"
    os.chown(secret, 0, 0)
    secret.chmod(0o600)
    secret.write_bytes(b"new, but closed")
    wait_problem(shared.ben, "SY-FILE-01", folder="unreadable", path="secret")
    shared.wait_equal_file("other", b"other")
    assert (shared.here / "secret").read_bytes() == b"old"
    told = explained(shared.ben, secret)
    assert (told["state"], told["id"]) == ("problem", "SY-FILE-01")
    os.chown(secret, NOBODY, NOBODY)
    wait_content(shared.here / "secret", b"new, but closed")
    wait_no_problem(shared.ben, "unreadable")


def test_unreadable_directory_deletes_nothing_of_what_was_in_it(two: tuple[Computer, Computer]) -> None:
    shared = share_another(*two, "closed")
    (shared.here / "rooms").mkdir()
    (shared.here / "rooms" / "one").write_bytes(b"1")
    shared.wait_equal_file("rooms/two", b"2")
    rooms = shared.there / "rooms"
    os.chown(rooms, 0, 0)
    rooms.chmod(0o700)
    look(shared.ben, "folder.rescan", folder="closed", wait=False)
    wait_problem(shared.ben, "SY-FILE-01", folder="closed", path="rooms")
    shared.wait_equal_file("outside", b"outside")
    assert (shared.here / "rooms" / "one").read_bytes() == b"1"
    os.chown(rooms, NOBODY, NOBODY)
    wait_no_problem(shared.ben, "closed")
    shared.wait_equal_file("rooms/three", b"3")
    wait_equal((shared.here, shared.there), 20)


def test_unwritable_directory_is_reported_and_written_when_it_can_be(two: tuple[Computer, Computer]) -> None:
    shared = share_another(*two, "unwritable")
    (shared.here / "shelf").mkdir(mode=0o755)
    shared.wait_equal_file("shelf/old", b"old")
    os.chown(shared.there / "shelf", 0, 0)
    (shared.here / "shelf" / "new").write_bytes(b"new")
    wait_problem(shared.ben, "SY-FILE-02", folder="unwritable", path="shelf/new")
    shared.wait_equal_file("outside", b"outside")
    os.chown(shared.there / "shelf", NOBODY, NOBODY)
    wait_content(shared.there / "shelf" / "new", b"new")
    wait_no_problem(shared.ben, "unwritable")


@pytest.mark.long
def test_restore_into_an_unwritable_directory_is_refused_before_anything_is_touched(
    two: tuple[Computer, Computer], tmp_path: Path
) -> None:
    shared = share_another(*two, "back")
    (shared.here / "shelf").mkdir(mode=0o755)
    shared.wait_equal_file("shelf/plan", b"first")
    shared.wait_equal_file("other", b"first")
    time.sleep(1.1)
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    time.sleep(1.1)
    shared.wait_equal_file("shelf/plan", b"second")
    shared.wait_equal_file("other", b"second")
    shared.wait_synced()
    os.chown(shared.there / "shelf", 0, 0)
    command = ("restore", str(shared.there), "--at", moment)
    foreseen = shared.ben.ask(*command, "--dry-run")
    assert [one["id"] for one in foreseen["refused"]] == ["SY-FILE-02"] and "shelf" in foreseen["refused"][0]["why"]
    refused = shared.ben.run(*command, "--yes")
    assert refused.returncode != 0 and "SY-FILE-02" in refused.stderr
    assert (shared.there / "other").read_bytes() == b"second"
    closed = tmp_path / "closed"  # what pytest makes is closed to others
    foreseen = shared.ben.ask(*command, "--to", str(closed), "--dry-run")
    assert [one["id"] for one in foreseen["refused"]] == ["SY-FILE-02"]
    assert not closed.exists()
    os.chown(shared.there / "shelf", NOBODY, NOBODY)
    shared.ben.ask(*command, "--yes")
    wait_content(shared.there / "shelf" / "plan", b"first")
    wait_content(shared.there / "other", b"first")


def test_closed_root_stops_that_folder_until_it_opens(two: tuple[Computer, Computer]) -> None:
    shared = share_another(*two, "shut")
    shared.wait_equal_file("file", b"1")
    shared.wait_synced()
    os.chown(shared.there, 0, 0)
    shared.there.chmod(0o700)
    wait_problem(shared.ben, "SY-ROOT-05", folder="shut")
    (shared.here / "file").write_bytes(b"2")
    os.chown(shared.there, NOBODY, NOBODY)
    wait_content(shared.there / "file", b"2")
    wait_no_problem(shared.ben, "shut")


@pytest.mark.parametrize("put", ["closed", "link", "directory"])
def test_folder_goes_on_where_nobody_can_read_how_far_it_was_looked_at(
    two: tuple[Computer, Computer], put: str
) -> None:
    """Once nothing is deleted, as it may be an older state; then it is an ordinary folder again."""
    shared = share_another(*two, f"seen-{put}")
    shared.wait_equal_file("kept", b"1")
    shared.wait_equal_file("other", b"1")
    shared.wait_synced()
    seen = shared.there / ".syncd" / "seen"
    wait_for(seen.exists, SOON_S, "nothing says how far the folder was looked at")
    shared.ben.stop()
    aside = seen.with_name("said")
    seen.rename(aside)
    if put == "closed":
        seen.write_bytes(aside.read_bytes())
        seen.chmod(0)
    elif put == "link":
        seen.symlink_to("said")
    else:
        seen.mkdir()
    said = aside.read_bytes()
    (shared.there / "kept").unlink()
    shared.ben.start()
    wait_content(shared.there / "kept", b"1")
    wait_no_problem(shared.ben, f"seen-{put}")
    (shared.there / "kept").unlink()
    (shared.there / "other").write_bytes(b"2")
    wait_content(shared.here / "other", b"2")
    wait_for(lambda: not (shared.here / "kept").exists(), SOON_S, "what was deleted is still there")
    assert seen.is_file() and not seen.is_symlink() and aside.read_bytes() == said


def test_sharing_a_directory_that_cannot_be_used_is_refused(two: tuple[Computer, Computer]) -> None:
    anna, ben = two
    closed = ben.place / "not-mine"
    closed.mkdir(mode=0o700)
    found = refusal(ben, "share", str(closed), "--no-wait")
    assert (found.id, found.exit) == ("SY-ROOT-05", 6)
    readable = ben.place / "read-only"
    readable.mkdir(mode=0o755)
    found = refusal(ben, "share", str(readable), "--no-wait")
    assert found.id in ("SY-ROOT-05", "SY-FILE-02")
    link = invitation(anna, anna.folder)
    found = refusal(ben, "join", link, str(readable / "below"), "--yes", "--no-wait")
    assert found.id in ("SY-ROOT-05", "SY-PAIR-06")
    assert [folder["name"] for folder in ben.ask("folders")["folders"]].count("read-only") == 0
