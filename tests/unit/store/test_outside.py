"""A tree is written where a person said and nowhere else, whatever takes a name meanwhile, and takes no name itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from syncd.daemon.commanding import refuse_outside
from syncd.engine.timeline import Seen
from syncd.errors import SyncdError, TrustError
from syncd.model.records import Attributes
from syncd.store.outside import DirectoryTarget, Existing, TarTarget
from syncd.treetypes import TreeError

SEEN = cast(Seen, SimpleNamespace(attributes=Attributes(0o640), content=SimpleNamespace(size=4)))


def evil() -> Iterator[memoryview]:
    return iter([memoryview(b"evil")])


@pytest.fixture
def below(tmp_path: Path) -> Path:
    (tmp_path / "below").mkdir()
    (tmp_path / "home").mkdir(mode=0o755)
    (tmp_path / "home" / ".bashrc").write_text("precious")
    return tmp_path / "below"


def raw(path: Path) -> bytes:
    return os.fsencode(path)


@pytest.mark.parametrize("existing", Existing)
def test_link_that_another_command_made_leads_nowhere(below: Path, existing: Existing) -> None:
    """Both commands were accepted before either began."""
    home = below.parent / "home"
    refuse_outside(raw(below / "y" / "x"), str(below), [])
    refuse_outside(raw(below / "y"), str(below), [])
    with DirectoryTarget(raw(below / "y"), Existing.KEEP, raw(below)) as target:
        target.link((b"x",), raw(home))
    with pytest.raises(TreeError):
        DirectoryTarget(raw(below / "y" / "x"), existing, raw(below))
    assert (home / ".bashrc").read_text() == "precious"


@pytest.mark.skipif(not hasattr(os, "getxattr"), reason="this system has no extended attributes of users")
def test_files_have_their_extended_attributes(below: Path) -> None:
    attributes = Attributes(0o400, 10**18, ((b"user.rating", b"5"),))
    seen = cast(Seen, SimpleNamespace(attributes=attributes, content=SimpleNamespace(size=4)))
    with DirectoryTarget(raw(below / "y")) as target:
        target.file((b"f",), seen, evil())
    assert os.getxattr(below / "y" / "f", b"user.rating") == b"5"
    stat = (below / "y" / "f").stat()
    assert (stat.st_mode & 0o777, stat.st_mtime_ns) == (0o400, 10**18)


def test_directory_where_the_link_would_be_is_written(below: Path) -> None:
    with DirectoryTarget(raw(below / "y" / "x"), Existing.ASIDE, raw(below)) as target:
        target.directory((b"d",), 0o750)
        target.file((b"d", b"f"), SEEN, evil())
    assert (below / "y" / "x" / "d" / "f").read_bytes() == b"evil"
    assert (below / "y" / "x" / "d").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("how", ["file", "link", "directory", "mode"])
def test_directory_that_becomes_a_link_on_the_way_is_not_followed(below: Path, how: str) -> None:
    home = below.parent / "home"
    target = DirectoryTarget(raw(below / "t"), Existing.ASIDE, raw(below))

    def swap_and_go_on() -> None:
        with target:
            target.directory((b"d",), 0o700)
            (below / "t" / "d").rmdir()
            (below / "t" / "d").symlink_to(home)
            match how:
                case "file":
                    target.file((b"d", b".bashrc"), SEEN, evil())
                case "link":
                    target.link((b"d", b".bashrc"), b"/evil")
                case "directory":
                    target.directory((b"d", b".bashrc"), 0o700)

    with pytest.raises((OSError, TreeError)):
        swap_and_go_on()
    assert os.listdir(home) == [".bashrc"]
    assert (home / ".bashrc").read_text() == "precious"
    assert home.stat().st_mode & 0o777 == 0o755
    assert os.listdir(below / "t") == ["d"]


def test_command_leads_straight_on_from_the_directory_that_was_named(below: Path) -> None:
    (below / "way out").symlink_to(below.parent)
    (below / "inside").symlink_to(below / "then")
    for to in (below.parent / "other", below, below / ".." / "home", below / "way out" / "x", below / "inside" / "x"):
        with pytest.raises(TrustError, match="does not let others write there"):
            refuse_outside(raw(to), str(below), [])
    with pytest.raises(TrustError):
        refuse_outside(b"relative", str(below), [])
    with pytest.raises(TrustError):
        refuse_outside(raw(below / "then"), None, [])
    refuse_outside(raw(below / "then" / "x"), str(below), [])


def test_command_writes_not_where_syncd_or_a_folder_is(below: Path) -> None:
    taken = [raw(below / "a" / "folder")]
    for to in (below / "a", below / "a" / "folder", below / "a" / "folder" / "room"):
        with pytest.raises(TrustError):
            refuse_outside(raw(to), str(below), taken)
    refuse_outside(raw(below / "a" / "folder 2"), str(below), taken)


def test_what_is_kept_or_put_aside_stays_whole(below: Path) -> None:
    (below / "f").write_text("mine")
    with DirectoryTarget(raw(below), Existing.KEEP) as target:
        target.file((b"f",), SEEN, evil())
    assert os.listdir(below) == ["f"]
    (below / "f (before restore 1)").write_text("from before")
    with DirectoryTarget(raw(below), Existing.ASIDE) as target:
        target.file((b"f",), SEEN, evil())
    assert [(below / name).read_text() for name in sorted(os.listdir(below))] == ["evil", "from before", "mine"]


def test_tar_takes_no_name_that_somebody_has(tmp_path: Path) -> None:
    for name in ("a.tar.part", "a.tar.1.part"):
        (tmp_path / name).write_text("somebody's")
    with TarTarget(raw(tmp_path / "a.tar")) as target:
        target.file((b"f",), SEEN, evil())
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "a.tar.1.part", "a.tar.part"]
    assert (tmp_path / "a.tar.part").read_text() == (tmp_path / "a.tar.1.part").read_text() == "somebody's"


def test_tar_takes_no_name_that_somebody_took_meanwhile(tmp_path: Path) -> None:
    target = TarTarget(raw(tmp_path / "a.tar"))
    (tmp_path / "a.tar").write_text("somebody's")
    with pytest.raises(SyncdError, match="is there already"), target:
        target.file((b"f",), SEEN, evil())
    assert os.listdir(tmp_path) == ["a.tar"]
    assert (tmp_path / "a.tar").read_text() == "somebody's"


def test_tar_of_a_command_goes_through_no_link(below: Path) -> None:
    (below / "out").symlink_to(below.parent / "home")
    with pytest.raises(TreeError):
        TarTarget(raw(below / "out" / "a.tar"), raw(below))
    assert os.listdir(below.parent / "home") == [".bashrc"]
    with TarTarget(raw(below / "in" / "a.tar"), raw(below)) as target:
        target.directory((b"d",), 0o700)
    assert os.listdir(below / "in") == ["a.tar"]
