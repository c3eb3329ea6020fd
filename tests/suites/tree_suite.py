"""What every `seams.Tree` must do, run on the real one and on the simulated one.

A subclass gives the fixture `world`: a tree without a marker, and the user of the same folder.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import pytest

from syncd.seams import Tree
from syncd.store.marker import LAST_NUMBER
from syncd.treetypes import (
    PRIVATE,
    ROOT,
    Attributes,
    IoFailed,
    IsADirectory,
    Kind,
    LinkInTheWay,
    LocallyChanged,
    Marker,
    NameRefused,
    NameTaken,
    NotADirectory,
    NotAFile,
    NotEmpty,
    NotThere,
    Path,
    Read,
    RootState,
    Stat,
    TooLong,
    TreeError,
)

MARKER = Marker(folder=b"f" * 32, device=b"d" * 32, random=b"r" * 16)
MTIME_NS = 1_600_000_000_123_456_789

A, B, C, D = (b"a",), (b"b",), (b"c",), (b"d",)
IN_D = (b"d", b"file")


class UserFile(Protocol):
    def write(self, content: bytes, offset: int | None = None) -> None: ...

    def close(self) -> None: ...


class User(Protocol):
    def write(self, path: Path, content: bytes) -> None: ...

    def save(self, path: Path, content: bytes) -> None: ...

    def open(self, path: Path) -> UserFile: ...

    def read(self, path: Path) -> bytes: ...

    def target(self, path: Path) -> bytes: ...

    def delete(self, path: Path) -> None: ...

    def rename(self, source: Path, target: Path) -> None: ...

    def mkdir(self, path: Path) -> None: ...

    def symlink(self, path: Path, target: bytes) -> None: ...

    def make_other(self, path: Path) -> None: ...

    def hard_link(self, source: Path, target: Path) -> None: ...

    def chmod(self, path: Path, mode: int) -> None: ...

    def utime(self, path: Path, mtime_ns: int) -> None: ...

    def stat(self, path: Path) -> Stat: ...

    def contents(self) -> dict[Path, bytes | None]: ...


@dataclass(frozen=True)
class World:
    tree: Tree
    user: User


def kept_time(tree: Tree, mtime_ns: int = MTIME_NS) -> int:
    """That time as the disk can write it down."""
    return mtime_ns - mtime_ns % tree.personality().mtime_step_ns


def kept_mode(tree: Tree, mode: int, otherwise: int = 0o644) -> int:
    """That mode, or the one that all files (or directories) of the disk have."""
    return mode if tree.personality().modes else otherwise


def has_symlinks(tree: Tree) -> bool:
    """Whether the disk has them. One that has not says so."""
    if not tree.personality().symlinks:
        with pytest.raises(TreeError):
            tree.stage_link(b"t0", b"target")
    return tree.personality().symlinks


def has_xattrs(tree: Tree, user: User) -> bool:
    """Whether the disk has them. On one that has not, nothing comes of being told to set some."""
    if not tree.personality().xattrs:
        user.write(A, b"1")
        tree.set_attributes(A, Attributes(xattrs={b"user.a": b"1"}), tree.stat(A))
        assert (tree.xattrs(A), tree.xattr_names(A)) == ({}, [])
    return tree.personality().xattrs


def stage(tree: Tree, token: bytes, content: bytes = b"new") -> None:
    tree.stage_small(token, content, 0o644, MTIME_NS)


def read_old(tree: Tree, token: bytes) -> bytes:
    reader = tree.open_old(token)
    try:
        buffer = bytearray(reader.stat().size)
        reader.read_into(0, buffer)
        return bytes(buffer)
    finally:
        reader.close()


class TreeSuite:
    """Subclass it with a fixture `world`."""

    @pytest.fixture
    def tree(self, world: World) -> Tree:
        world.tree.write_marker(MARKER)
        return world.tree

    @pytest.fixture
    def user(self, world: World) -> User:
        return world.user

    # The root.

    def test_root_without_marker_is_told_from_a_usable_one(self, world: World) -> None:
        assert world.tree.check_root(None) is RootState.OK
        assert world.tree.check_root(MARKER) is RootState.NO_MARKER
        world.tree.write_marker(MARKER)
        assert world.tree.check_root(MARKER) is RootState.OK
        assert world.tree.read_marker() == MARKER

    def test_root_of_another_folder_is_refused(self, tree: Tree) -> None:
        other = Marker(folder=b"g" * 32, device=MARKER.device, random=MARKER.random)
        assert tree.check_root(other) is RootState.WRONG_MARKER

    def test_no_verb_works_before_the_root_was_checked(self, world: World) -> None:
        with pytest.raises(IoFailed):
            world.tree.list_dir(ROOT)

    def test_no_verb_works_after_the_marker_was_lost(self, tree: Tree, user: User) -> None:
        user.delete((PRIVATE, b"folder"))
        assert tree.check_root(MARKER) is RootState.NO_MARKER
        with pytest.raises(IoFailed):
            tree.stat(ROOT)

    def test_writing_the_marker_again_replaces_it(self, tree: Tree) -> None:
        other = Marker(folder=b"g" * 32, device=MARKER.device, random=MARKER.random)
        tree.write_marker(other)
        assert tree.check_root(other) is RootState.OK

    def test_how_far_it_was_looked_at_is_said_by_another_file_each_time(self, tree: Tree, user: User) -> None:
        assert tree.read_seen() is None
        first = tree.write_seen(1, b"j" * 16)
        assert tree.read_seen() == first
        second = tree.write_seen(2, b"k" * 16)
        assert tree.read_seen() == second
        assert second[:2] == (2, b"k" * 16) and second[2:] != first[2:]
        assert tree.write_seen(LAST_NUMBER, b"k" * 16).number == LAST_NUMBER
        with pytest.raises(NotThere):
            tree.write_seen(LAST_NUMBER + 1, b"k" * 16)
        assert tree.read_seen() is None
        user.delete((PRIVATE, b"seen"))
        assert tree.read_seen() is None

    def test_root_that_is_still_there_is_not_opened_again(self, tree: Tree) -> None:
        number = tree.opened()
        assert tree.check_root(MARKER) is RootState.OK
        assert tree.opened() == number

    # Looking.

    def test_list_shows_everything_but_our_own_directory(self, tree: Tree, user: User) -> None:
        if not has_symlinks(tree):
            return
        user.write(A, b"12345")
        user.mkdir(D)
        user.write(IN_D, b"1")
        user.symlink(B, b"nowhere")
        user.make_other(C)
        listed = dict(tree.list_dir(ROOT))
        assert {name: stat.kind for name, stat in listed.items()} == {
            b"a": Kind.FILE, b"b": Kind.SYMLINK, b"c": Kind.OTHER, b"d": Kind.DIR,
        }  # fmt: skip
        assert listed[b"a"] == tree.stat(A)
        assert listed[b"a"].size == 5
        assert [name for name, _ in tree.list_dir(D)] == [b"file"]

    def test_stat_of_the_root_is_a_directory(self, tree: Tree) -> None:
        assert tree.stat(ROOT).kind is Kind.DIR

    def test_stat_many_gives_an_error_in_the_place_of_its_name(self, tree: Tree, user: User) -> None:
        user.write(A, b"1")
        found, missing, refused = tree.stat_many(ROOT, [b"a", b"b", b".."])
        assert isinstance(found, Stat)
        assert isinstance(missing, NotThere)
        assert isinstance(refused, NameRefused)

    def test_names_that_are_no_utf8_are_names(self, tree: Tree, user: User) -> None:
        if tree.personality().utf8_only:
            stage(tree, b"t1")
            with pytest.raises(TreeError):
                tree.create(b"t1", (b"\xff\xfe",))
            return
        user.write((b"\xff\xfe",), b"1")
        assert [name for name, _ in tree.list_dir(ROOT)] == [b"\xff\xfe"]
        assert tree.stat((b"\xff\xfe",)).size == 1

    def test_looking_below_a_file_is_told_from_absence(self, tree: Tree, user: User) -> None:
        user.write(A, b"1")
        with pytest.raises(NotADirectory):
            tree.stat((b"a", b"b"))
        with pytest.raises(NotThere):
            tree.stat((b"b", b"b"))

    @pytest.mark.parametrize("name", [b"", b".", b"..", b"x/y", b"x\0y", b".syncd", b".SYNCD"])
    def test_what_is_no_name_is_refused_everywhere(self, tree: Tree, user: User, name: bytes) -> None:
        user.mkdir(D)
        stage(tree, b"t")
        expected = tree.stat(D)
        for path in ((name,), (name, b"x"), (b"d", name)):
            verbs: list[Callable[[], object]] = [
                lambda path=path: tree.stat(path),  # type: ignore[misc]
                lambda path=path: tree.list_dir(path),  # type: ignore[misc]
                lambda path=path: tree.open_read(path),  # type: ignore[misc]
                lambda path=path: tree.create(b"t", path),  # type: ignore[misc]
                lambda path=path: tree.exchange(b"t", path, expected),  # type: ignore[misc]
                lambda path=path: tree.retire(path, b"u", expected),  # type: ignore[misc]
                lambda path=path: tree.make_dir(path, 0o755),  # type: ignore[misc]
                lambda path=path: tree.remove_dir(path),  # type: ignore[misc]
                lambda path=path: tree.move(D, path, expected),  # type: ignore[misc]
                lambda path=path: tree.set_attributes(path, Attributes(mode=0o700), expected),  # type: ignore[misc]
            ]
            for verb in verbs:
                with pytest.raises(NameRefused):
                    verb()

    def test_root_is_neither_replaced_nor_moved_nor_removed(self, tree: Tree, user: User) -> None:
        user.mkdir(D)
        user.write(IN_D, b"1")
        stage(tree, b"t")
        root = tree.stat(ROOT)
        verbs: list[Callable[[], object]] = [
            lambda: tree.create(b"t", ROOT),
            lambda: tree.exchange(b"t", ROOT, root),
            lambda: tree.retire(ROOT, b"u", root),
            lambda: tree.put_back(b"t", ROOT),
            lambda: tree.make_dir(ROOT, 0o755),
            lambda: tree.remove_dir(ROOT),
            lambda: tree.move(ROOT, (b"d", b"e"), root),
            lambda: tree.move(D, ROOT, tree.stat(D)),
            lambda: tree.park(ROOT, b"u", root),
            lambda: tree.unpark(b"t", ROOT),
        ]
        for verb in verbs:
            with pytest.raises(NameRefused):
                verb()
        assert user.contents() == {D: None, IN_D: b"1"}

    @pytest.mark.parametrize("token", [b"", b"a/b", b"..", b"x" * 65, b"a.b"])
    def test_what_is_no_token_is_refused(self, tree: Tree, token: bytes) -> None:
        with pytest.raises(NameRefused):
            tree.stage_file(token)
        with pytest.raises(NameRefused):
            tree.drop_old(token)

    def test_symlinks_are_never_followed(self, tree: Tree, user: User) -> None:
        if not has_symlinks(tree):
            return
        user.mkdir(D)
        user.write(IN_D, b"1")
        user.symlink(A, b"d")
        stage(tree, b"t")
        with pytest.raises(LinkInTheWay):
            tree.stat((b"a", b"file"))
        with pytest.raises(LinkInTheWay):
            tree.open_read((b"a", b"file"))
        with pytest.raises(LinkInTheWay):
            tree.open_read(A)
        with pytest.raises(LinkInTheWay):
            tree.create(b"t", (b"a", b"new"))
        with pytest.raises((LinkInTheWay, NotADirectory)):
            tree.list_dir(A)
        with pytest.raises(LinkInTheWay):
            tree.set_attributes(A, Attributes(mode=0o600), tree.stat(A))
        assert user.contents() == {D: None, IN_D: b"1", A: b"-> d"}

    # Reading.

    def test_reader_keeps_the_inode_when_the_name_goes_elsewhere(self, tree: Tree, user: User) -> None:
        user.write(A, b"first")
        reader = tree.open_read(A)
        user.save(A, b"second")
        buffer = bytearray(10)
        assert reader.read_into(0, buffer) == 5
        assert reader.read_into(3, buffer) == 2
        assert buffer[:2] == b"st"
        assert reader.stat().size == 5
        reader.close()
        reader.close()

    def test_only_files_are_opened(self, tree: Tree, user: User) -> None:
        if not has_symlinks(tree):
            return
        user.mkdir(D)
        user.make_other(C)
        with pytest.raises(IsADirectory):
            tree.open_read(D)
        with pytest.raises(IsADirectory):
            tree.open_read(ROOT)
        with pytest.raises(NotAFile):
            tree.open_read(C)

    def test_read_many_gives_contents_and_errors_in_order(self, tree: Tree, user: User) -> None:
        user.write(A, b"12")
        user.write(B, b"")
        user.write(C, b"too long")
        first, empty, missing, long = tree.read_many([A, B, IN_D, C], 4)
        assert isinstance(first, Read) and first.content == b"12" and first.stat == tree.stat(A)
        assert isinstance(empty, Read) and empty.content == b""
        assert isinstance(missing, NotThere)
        assert isinstance(long, LocallyChanged)

    def test_read_link_gives_the_target_as_it_is(self, tree: Tree, user: User) -> None:
        if not has_symlinks(tree):
            return
        user.symlink(A, b"../x\xff")
        user.write(B, b"")
        assert tree.read_link(A) == b"../x\xff"
        with pytest.raises(LocallyChanged):
            tree.read_link(B)

    # The stage.

    def test_staged_file_is_invisible_until_created(self, tree: Tree, user: User) -> None:
        writer = tree.stage_file(b"t1")
        writer.write_at(3, b"456")
        writer.write_at(0, b"123")
        writer.set_attributes(Attributes(0o640, MTIME_NS, {}))
        staged = writer.finish()
        assert (staged.size, staged.mode, staged.mtime_ns) == (6, kept_mode(tree, 0o640), kept_time(tree))
        assert user.contents() == {}
        created = tree.create(b"t1", A)
        assert user.contents() == {A: b"123456"}
        assert created == tree.stat(A)
        assert created.same_but_moved(staged)
        assert tree.list_staged() == []

    def test_stage_small_sets_everything_in_one_go(self, tree: Tree, user: User) -> None:
        staged = tree.stage_small(b"t1", b"content", 0o606, MTIME_NS)
        assert (staged.kind, staged.size) == (Kind.FILE, 7)
        assert (staged.mode, staged.mtime_ns) == (kept_mode(tree, 0o606), kept_time(tree))
        assert tree.create(b"t1", A).mode == kept_mode(tree, 0o606)
        assert user.read(A) == b"content"

    def test_staging_again_begins_anew_unless_resumed(self, tree: Tree) -> None:
        stage(tree, b"t1", b"12345")
        writer = tree.stage_file(b"t1", resume=True)
        assert writer.stat().size == 5
        writer.set_size(4)
        buffer = bytearray(5)
        assert writer.read_into(0, buffer) == 4
        writer.close()
        assert tree.stage_file(b"t1").finish().size == 0
        with pytest.raises(NotThere):
            tree.stage_file(b"t2", resume=True)

    def test_staged_file_is_copied_from_a_file_of_the_user(self, tree: Tree, user: User) -> None:
        user.write(A, b"0123456789")
        reader, writer = tree.open_read(A), tree.stage_file(b"t1")
        assert writer.copy_from(reader, 4, 0, 4) == 4
        assert writer.copy_from(reader, 8, 4, 100) == 2
        reader.close()
        writer.finish()
        tree.create(b"t1", B)
        assert user.read(B) == b"456789"

    def test_stage_is_listed_read_and_dropped(self, tree: Tree) -> None:
        if not has_symlinks(tree):
            return
        stage(tree, b"t1", b"123")
        tree.stage_link(b"t2", b"target")
        assert {token: stat.kind for token, stat in tree.list_staged()} == {b"t1": Kind.FILE, b"t2": Kind.SYMLINK}
        reader = tree.open_staged(b"t1")
        assert reader.stat().size == 3
        reader.close()
        for token in (b"t1", b"t2", b"t2"):
            tree.drop_staged(token)
        assert tree.list_staged() == []

    def test_symlink_is_created_from_the_stage(self, tree: Tree, user: User) -> None:
        if not has_symlinks(tree):
            return
        tree.stage_link(b"t1", b"/etc/passwd")
        tree.create(b"t1", A)
        assert user.target(A) == b"/etc/passwd"

    # Creating.

    def test_create_replaces_nothing(self, tree: Tree, user: User) -> None:
        if not has_symlinks(tree):
            return
        user.write(A, b"user")
        user.mkdir(D)
        user.symlink(B, b"nowhere")
        stage(tree, b"t1")
        for path in (A, B, D):
            with pytest.raises(NameTaken):
                tree.create(b"t1", path)
        assert user.read(A) == b"user"
        assert [token for token, _ in tree.list_staged()] == [b"t1"]

    def test_create_many_lets_no_item_delay_another(self, tree: Tree, user: User) -> None:
        user.mkdir(D)
        user.write(A, b"user")
        for token in (b"t1", b"t2", b"t3", b"t4"):
            stage(tree, token, token)
        results = tree.create_many([(b"t1", A), (b"t2", IN_D), (b"t3", (b"no", b"dir")), (b"t4", (b"d", b"2"))])
        assert [type(result) for result in results] == [NameTaken, Stat, NotThere, Stat]
        assert user.contents() == {A: b"user", D: None, IN_D: b"t2", (b"d", b"2"): b"t4"}

    def test_names_that_are_too_long_are_refused(self, tree: Tree) -> None:
        stage(tree, b"t1")
        with pytest.raises(TooLong):
            tree.create(b"t1", (b"x" * 256,))

    def test_create_without_anything_staged(self, tree: Tree) -> None:
        with pytest.raises(NotThere):
            tree.create(b"t1", A)

    # Replacing.

    def test_exchange_keeps_the_old_inode(self, tree: Tree, user: User) -> None:
        user.write(A, b"old")
        before = tree.stat(A)
        stage(tree, b"t1")
        replaced = tree.exchange(b"t1", A, before)
        assert user.read(A) == b"new"
        assert read_old(tree, b"t1") == b"old"
        assert not replaced.edited
        assert replaced.old == tree.stat_old(b"t1")
        assert replaced.old.same_but_moved(before)
        assert replaced.new == tree.stat(A)
        assert [token for token, _ in tree.list_old()] == [b"t1"]
        assert tree.list_staged() == []
        tree.drop_old(b"t1")
        tree.drop_old(b"t1")
        assert tree.list_old() == []

    def test_exchange_refuses_what_was_edited(self, tree: Tree, user: User) -> None:
        user.write(A, b"old")
        before = tree.stat(A)
        user.write(A, b"edited")
        stage(tree, b"t1")
        with pytest.raises(LocallyChanged) as caught:
            tree.exchange(b"t1", A, before)
        assert caught.value.actual == tree.stat(A)
        assert user.read(A) == b"edited"
        assert [token for token, _ in tree.list_staged()] == [b"t1"]

    def test_exchange_refuses_what_was_deleted(self, tree: Tree, user: User) -> None:
        user.write(A, b"old")
        before = tree.stat(A)
        user.delete(A)
        stage(tree, b"t1")
        with pytest.raises(LocallyChanged) as caught:
            tree.exchange(b"t1", A, before)
        assert caught.value.actual is None
        assert user.contents() == {}
        assert [token for token, _ in tree.list_staged()] == [b"t1"]

    def test_exchange_refuses_an_edit_that_hides_behind_size_and_time(self, tree: Tree, user: User) -> None:
        user.write(A, b"old")
        user.utime(A, MTIME_NS)
        before = tree.stat(A)
        user.save(A, b"OLD")
        user.utime(A, MTIME_NS)
        stage(tree, b"t1")
        with pytest.raises(LocallyChanged):
            tree.exchange(b"t1", A, before)

    def test_late_writer_writes_into_the_file_we_keep(self, tree: Tree, user: User) -> None:
        user.write(A, b"old")
        writer = user.open(A)
        stage(tree, b"t1")
        replaced = tree.exchange(b"t1", A, tree.stat(A))
        writer.write(b" and more")
        writer.close()
        assert user.read(A) == b"new"
        assert read_old(tree, b"t1") == b"old and more"
        assert not tree.stat_old(b"t1").same(replaced.old)

    def test_exchange_changes_the_kind(self, tree: Tree, user: User) -> None:
        if not has_symlinks(tree):
            return
        user.write(A, b"old")
        tree.stage_link(b"t1", b"target")
        tree.exchange(b"t1", A, tree.stat(A))
        assert user.target(A) == b"target"
        stage(tree, b"t2")
        tree.exchange(b"t2", A, tree.stat(A))
        assert user.read(A) == b"new"
        assert tree.read_old_link(b"t2") == b"target"

    def test_exchange_never_takes_a_directory(self, tree: Tree, user: User) -> None:
        user.mkdir(D)
        stage(tree, b"t1")
        with pytest.raises(IsADirectory):
            tree.exchange(b"t1", D, tree.stat(D))

    def test_exchange_many_lets_no_item_delay_another(self, tree: Tree, user: User) -> None:
        for path in (A, B):
            user.write(path, b"old")
            stage(tree, b"t" + path[0])
        stat = tree.stat(A)
        wrong, missing, right = tree.exchange_many([(b"tb", B, stat), (b"tc", C, stat), (b"ta", A, stat)])
        assert isinstance(wrong, LocallyChanged) and isinstance(missing, LocallyChanged)
        assert not isinstance(right, TreeError) and not right.edited
        assert user.contents() == {A: b"new", B: b"old"}

    # Deleting.

    def test_retire_keeps_the_inode_and_can_be_undone(self, tree: Tree, user: User) -> None:
        user.write(A, b"content")
        before = tree.stat(A)
        retired = tree.retire(A, b"t1", before)
        assert user.contents() == {}
        assert (retired.edited, retired.new) == (False, None)
        assert retired.old == tree.stat_old(b"t1")
        assert tree.put_back(b"t1", B).same_but_moved(before)
        assert user.contents() == {B: b"content"}

    def test_put_back_replaces_nothing(self, tree: Tree, user: User) -> None:
        user.write(A, b"1")
        tree.retire(A, b"t1", tree.stat(A))
        user.write(A, b"2")
        with pytest.raises(NameTaken):
            tree.put_back(b"t1", A)
        assert read_old(tree, b"t1") == b"1"

    def test_retire_refuses_what_is_not_expected(self, tree: Tree, user: User) -> None:
        user.write(A, b"old")
        user.mkdir(D)
        before = tree.stat(A)
        user.write(A, b"edited")
        edited, missing, directory = tree.retire_many(
            [(A, b"t1", before), (B, b"t2", before), (D, b"t3", tree.stat(D))]
        )
        assert isinstance(edited, LocallyChanged) and isinstance(missing, LocallyChanged)
        assert isinstance(directory, IsADirectory)
        assert user.contents() == {A: b"edited", D: None}

    def test_no_token_in_old_is_used_twice(self, tree: Tree, user: User) -> None:
        user.write(A, b"1")
        user.write(B, b"2")
        tree.retire(A, b"t1", tree.stat(A))
        with pytest.raises(NameTaken):
            tree.retire(B, b"t1", tree.stat(B))
        stage(tree, b"t1")
        with pytest.raises(NameTaken):
            tree.exchange(b"t1", B, tree.stat(B))
        assert user.contents() == {B: b"2"}
        assert read_old(tree, b"t1") == b"1"

    # Moving and directories.

    def test_move_takes_a_directory_with_all_that_is_in_it(self, tree: Tree, user: User) -> None:
        user.mkdir(D)
        user.write(IN_D, b"1")
        user.mkdir(A)
        before = tree.stat(D)
        user.write(IN_D, b"22")
        moved = tree.move(D, (b"a", b"e"), before)
        assert moved.ino == before.ino
        assert user.contents() == {A: None, (b"a", b"e"): None, (b"a", b"e", b"file"): b"22"}

    def test_move_replaces_nothing_and_moves_nothing_else(self, tree: Tree, user: User) -> None:
        user.write(A, b"1")
        user.write(B, b"2")
        with pytest.raises(NameTaken):
            tree.move(A, B, tree.stat(A))
        with pytest.raises(LocallyChanged):
            tree.move(A, C, tree.stat(B))
        assert user.contents() == {A: b"1", B: b"2"}

    def test_name_is_spelled_otherwise(self, tree: Tree, user: User) -> None:
        """Also where the disk takes both for the same."""
        user.write(A, b"1")
        user.mkdir(D)
        user.write(IN_D, b"2")
        tree.move(A, (b"A",), tree.stat(A))
        moved = tree.move(D, (b"D",), tree.stat(D))
        assert moved == tree.stat((b"D",))
        assert user.contents() == {(b"A",): b"1", (b"D",): None, (b"D", b"file"): b"2"}
        assert tree.list_parked() == []

    def test_directory_cannot_be_moved_into_itself(self, tree: Tree, user: User) -> None:
        user.mkdir(D)
        with pytest.raises(NameRefused):
            tree.move(D, (b"d", b"e"), tree.stat(D))

    def test_directories_are_made_and_removed(self, tree: Tree, user: User) -> None:
        assert tree.make_dir(D, 0o750).mode == kept_mode(tree, 0o750, 0o755)
        assert tree.make_dir((b"d", b"e"), 0o777).mode == kept_mode(tree, 0o777, 0o755)
        with pytest.raises(NameTaken):
            tree.make_dir(D, 0o755)
        with pytest.raises(NotEmpty):
            tree.remove_dir(D)
        tree.remove_dir((b"d", b"e"))
        tree.remove_dir(D)
        with pytest.raises(NotThere):
            tree.remove_dir(D)
        user.write(A, b"")
        with pytest.raises(NotADirectory):
            tree.remove_dir(A)

    def test_names_are_swapped_by_parking_one(self, tree: Tree, user: User) -> None:
        user.write(A, b"1")
        user.mkdir(D)
        user.write(IN_D, b"2")
        with pytest.raises(LocallyChanged):
            tree.park(D, b"t1", tree.stat(A))
        tree.park(D, b"t1", tree.stat(D))
        assert [(token, stat.kind) for token, stat in tree.list_parked()] == [(b"t1", Kind.DIR)]
        tree.move(A, D, tree.stat(A))
        tree.unpark(b"t1", A)
        assert user.contents() == {D: b"1", A: None, (b"a", b"file"): b"2"}
        assert tree.list_parked() == []

    # Attributes.

    def test_attributes_are_set_on_the_expected_object(self, tree: Tree, user: User) -> None:
        user.write(A, b"1")
        user.mkdir(D)
        changed = tree.set_attributes(A, Attributes(0o604, MTIME_NS), tree.stat(A))
        assert (changed.mode, changed.mtime_ns) == (kept_mode(tree, 0o604), kept_time(tree))
        assert changed == tree.stat(A)
        assert tree.set_attributes(D, Attributes(mode=0o711), tree.stat(D)).mode == kept_mode(tree, 0o711, 0o755)
        if not tree.personality().modes:
            return
        before = tree.stat(A)
        user.chmod(A, 0o640)
        with pytest.raises(LocallyChanged):
            tree.set_attributes(A, Attributes(mode=0o600), before)
        assert tree.stat(A).mode == 0o640

    def test_attributes_left_out_stay(self, tree: Tree, user: User) -> None:
        user.write(A, b"1")
        if tree.personality().modes:
            user.chmod(A, 0o640)
        before = tree.stat(A)
        assert tree.set_attributes(A, Attributes(), before).same_but_moved(before)

    def test_xattrs_are_set_as_a_whole(self, tree: Tree, user: User) -> None:
        if not has_xattrs(tree, user):
            return
        user.write(A, b"1")
        user.chmod(A, 0o444)
        tree.set_attributes(A, Attributes(xattrs={b"user.a": b"1", b"user.b": b"2"}), tree.stat(A))
        tree.set_attributes(A, Attributes(xattrs={b"user.b": b"3"}), tree.stat(A))
        assert tree.xattrs(A) == {b"user.b": b"3"}
        assert tree.stat(A).mode == 0o444
        reader = tree.open_read(A)
        assert reader.xattrs() == {b"user.b": b"3"}
        reader.close()
        assert b"user.b" in tree.xattr_names(A)
        (read,) = tree.read_many([A], 10)
        assert isinstance(read, Read) and read.xattrs == {b"user.b": b"3"}
        user.mkdir(B)
        tree.set_attributes(B, Attributes(xattrs={b"user.c": b""}), tree.stat(B))
        assert tree.xattrs(B) == {b"user.c": b""}

    def test_staged_file_is_given_xattrs_as_a_whole_whatever_its_mode(self, tree: Tree, user: User) -> None:
        if not has_xattrs(tree, user):
            return
        staged = tree.stage_small(b"t1", b"1", 0o444, MTIME_NS)
        assert tree.dress_staged(b"t1", {b"user.a": b"1", b"user.b": b"2"}) == {b"user.a": b"1", b"user.b": b"2"}
        assert tree.dress_staged(b"t1", {b"user.b": b"3"}) == {b"user.b": b"3"}
        assert tree.create(b"t1", B).same_but_moved(staged)
        assert tree.xattrs(B) == {b"user.b": b"3"}
        with pytest.raises(NotThere):
            tree.dress_staged(b"t2", {})

    def test_other_xattr_changes_the_ctime(self, tree: Tree, user: User) -> None:
        """By which it is noticed: neither size nor mtime tells of it."""
        if not has_xattrs(tree, user):
            return
        user.write(A, b"1")
        before = tree.stat(A)
        after, number = before, 0
        while after.ctime_ns == before.ctime_ns:  # until the disk's clock ticks
            number += 1
            after = tree.set_attributes(A, Attributes(xattrs={b"user.a": b"%d" % number}), tree.stat(A))
        assert after.mtime_ns == before.mtime_ns

    def test_special_files_and_the_root_have_no_attributes_of_ours(self, tree: Tree, user: User) -> None:
        if not has_symlinks(tree):
            return
        user.make_other(C)
        with pytest.raises(NotAFile):
            tree.set_attributes(C, Attributes(mode=0o600), tree.stat(C))
        with pytest.raises(NameRefused):
            tree.set_attributes(ROOT, Attributes(mode=0o700), tree.stat(ROOT))

    # Inodes and times.

    def test_every_change_shows_in_the_stat(self, tree: Tree, user: User) -> None:
        user.write(A, b"1")
        changes: list[Callable[[], None]] = [
            lambda: user.write(A, b"22"),
            lambda: user.save(A, b"22"),
            lambda: user.utime(A, MTIME_NS),
        ]
        if tree.personality().modes:
            changes.append(lambda: user.chmod(A, 0o600))
        for change in changes:
            before = tree.stat(A)
            change()
            assert not tree.stat(A).same(before)

    def test_directory_stays_the_same_when_its_content_changes(self, tree: Tree, user: User) -> None:
        user.mkdir(D)
        before = tree.stat(D)
        user.write(IN_D, b"1")
        assert tree.stat(D).same(before)

    def test_hard_links_are_one_inode(self, tree: Tree, user: User) -> None:
        user.write(A, b"1")
        if not tree.personality().hard_links:
            with pytest.raises(PermissionError):
                user.hard_link(A, B)
            return
        user.hard_link(A, B)
        assert tree.stat(A) == tree.stat(B)
        assert tree.stat(A).nlink == 2

    # syncd's own files, and the rest.

    def test_flushing_is_possible_with_and_without_names(self, tree: Tree) -> None:
        stage(tree, b"t1")
        tree.flush([b"t1"])
        tree.create(b"t1", A)
        tree.flush_dirs([ROOT, (b"gone",)])
        tree.flush()

    def test_ignore_file_is_read(self, tree: Tree, user: User) -> None:
        assert tree.read_ignore() is None
        user.write((PRIVATE, b"ignore"), b"*.tmp\n")
        assert tree.read_ignore() == b"*.tmp\n"
        tree.write_ignore(b"*.iso\n")
        assert tree.read_ignore() == b"*.iso\n"
        assert user.contents() == {}

    def test_cookie_leaves_nothing_behind(self, tree: Tree, user: User) -> None:
        tree.write_cookie(b"c1")
        tree.write_cookie(b"c1")
        assert user.contents() == {}

    def test_own_directory_may_be_changed_and_what_is_not_there_says_so(self, tree: Tree) -> None:
        tree.make_dir((b"d",), 0o755)
        assert tree.may_change((b"d",))
        assert tree.may_change(())
        with pytest.raises(NotThere):
            tree.may_change((b"none",))

    def test_space_is_told(self, tree: Tree) -> None:
        free, total = tree.space()
        assert 0 <= free <= total

    def test_database_is_kept_and_set_aside(self, tree: Tree) -> None:
        first = tree.open_database("folder.db")
        first.execute("CREATE TABLE t (x)")
        first.execute("INSERT INTO t VALUES (1)")
        first.close()
        second = tree.open_database("folder.db")
        assert second.execute("SELECT x FROM t").fetchall() == [(1,)]
        second.close()
        aside = tree.set_database_aside("folder.db")
        third = tree.open_database("folder.db")
        with pytest.raises(sqlite3.OperationalError):
            third.execute("SELECT x FROM t")
        third.close()
        assert tree.set_database_aside("folder.db") != aside

    def test_database_that_is_dropped_is_gone_with_all_that_was_kept_of_it(self, tree: Tree) -> None:
        tree.drop_database("folder.db")
        for name in ("folder.db", "folder.db", "folder.db2"):
            tree.open_database(name).close()
            if name == "folder.db" and not tree.has_database("folder.db.broken-1"):
                tree.set_database_aside(name)
        assert tree.has_database("folder.db") and tree.has_database("folder.db.broken-1")
        tree.drop_database("folder.db")
        assert not tree.has_database("folder.db") and not tree.has_database("folder.db.broken-1")
        assert tree.has_database("folder.db2")

    def test_nothing_works_after_close(self, tree: Tree) -> None:
        tree.close()
        with pytest.raises(IoFailed):
            tree.list_dir(ROOT)
