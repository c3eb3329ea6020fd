"""What only a real file system shows: roots that go away, permissions, descriptors, other mounts, slow disks."""

from __future__ import annotations

import ast
import errno
import gc
import itertools
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path as FilePath

import pytest

from syncd.store import syscalls
from syncd.store.tree import READ_TOGETHER, DirTree
from syncd.treetypes import (
    ROOT,
    Attributes,
    Denied,
    IoFailed,
    Kind,
    LocallyChanged,
    NotAFile,
    NotSupported,
    NotThere,
    RootState,
    TreeError,
    show_path,
)
from tests.helpers.realuser import RealUser
from tests.suites.tree_suite import MARKER, MTIME_NS, A, B, D, read_old, stage

NOBODY = 65_534


def make_tree(directory: FilePath, monotonic: Callable[[], float] = time.monotonic) -> DirTree:
    (directory / "root").mkdir()
    (directory / "home").mkdir()
    return DirTree(bytes(directory / "root"), str(directory / "home"), monotonic)


@pytest.fixture
def tree(tmp_path: FilePath) -> Iterator[DirTree]:
    tree = make_tree(tmp_path)
    tree.write_marker(MARKER)
    yield tree
    tree.close()


@pytest.fixture
def root(tmp_path: FilePath) -> FilePath:
    return tmp_path / "root"


@pytest.fixture
def user(tree: DirTree, root: FilePath) -> RealUser:
    return RealUser(root)


@contextmanager
def as_nobody() -> Iterator[None]:
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


# --- the root ------------------------------------------------------------------------------------------------------


def test_root_that_was_renamed_away_is_missing_and_found_again(tree: DirTree, root: FilePath) -> None:
    os.rename(root, root.with_name("elsewhere"))
    assert tree.check_root(MARKER) is RootState.MISSING
    with pytest.raises(IoFailed):
        tree.list_dir(ROOT)
    os.rename(root.with_name("elsewhere"), root)
    assert tree.check_root(MARKER) is RootState.OK


def test_root_that_became_a_symlink_is_missing(tree: DirTree, root: FilePath) -> None:
    os.rename(root, root.with_name("elsewhere"))
    root.symlink_to("elsewhere")
    assert tree.check_root(MARKER) is RootState.MISSING


def test_root_that_became_a_file_is_missing(tree: DirTree, root: FilePath) -> None:
    os.rename(root, root.with_name("elsewhere"))
    root.write_bytes(b"")
    assert tree.check_root(MARKER) is RootState.MISSING


def test_empty_directory_in_the_place_of_the_root_has_no_marker(tree: DirTree, root: FilePath) -> None:
    os.rename(root, root.with_name("elsewhere"))
    root.mkdir()
    assert tree.check_root(MARKER) is RootState.NO_MARKER
    assert tree.read_marker() is None


def a_link(seen: FilePath) -> None:
    seen.with_name("outside").write_bytes(b"of somebody")
    seen.symlink_to("outside")


def a_directory(seen: FilePath) -> None:
    seen.mkdir()
    (seen / "kept").write_bytes(b"of somebody")


def a_directory_as_well_where_it_is_written(seen: FilePath) -> None:
    a_directory(seen)
    a_directory(seen.with_name("seen.new"))


def a_pipe(seen: FilePath) -> None:
    os.mkfifo(seen)


def nothing_in_it(seen: FilePath) -> None:
    seen.write_bytes(b"")


def no_form(seen: FilePath) -> None:
    seen.write_bytes(b"syncd seen 1\nnumber 1" + b"0" * 30 + b"\njournal " + b"a" * 32 + b"\n")


PUT_THERE: dict[Callable[[FilePath], None], int] = {
    a_link: 1,
    a_directory: 1,
    a_directory_as_well_where_it_is_written: 2,
    a_pipe: 0,
    nothing_in_it: 0,
    no_form: 0,
}
"""With how many files of somebody."""


@pytest.mark.parametrize("put", PUT_THERE)
def test_what_cannot_be_read_as_how_far_it_was_looked_at_says_nothing_and_is_replaced(
    tree: DirTree, root: FilePath, put: Callable[[FilePath], None]
) -> None:
    """Nor is anything written to where a link leads, or lost that somebody put there."""
    seen = root / ".syncd" / "seen"
    put(seen)
    assert tree.read_seen() is None
    written = tree.write_seen(3, b"j" * 16)
    assert tree.read_seen() == written and not seen.is_symlink()
    kept = [path for path in seen.parent.rglob("*") if path.name in ("kept", "outside")]
    assert len(kept) == PUT_THERE[put] and all(path.read_bytes() == b"of somebody" for path in kept)


def test_how_far_it_was_looked_at_is_not_unknown_because_this_process_lacks_something(
    tree: DirTree,
) -> None:
    tree.write_seen(3, b"j" * 16)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(IoFailed):
            tree.read_seen()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_verbs_stay_with_the_open_root_until_it_is_checked(tree: DirTree, user: RealUser, root: FilePath) -> None:
    user.write(A, b"1")
    os.rename(root, root.with_name("elsewhere"))
    root.mkdir()
    assert [name for name, _ in tree.list_dir(ROOT)] == [b"a"]


@pytest.mark.parametrize("content", [b"", b"garbage", b"x" * 5000])
def test_marker_that_says_nothing_is_wrong(tree: DirTree, root: FilePath, content: bytes) -> None:
    (root / ".syncd/folder").write_bytes(content)
    assert tree.check_root(MARKER) is RootState.WRONG_MARKER


def test_marker_that_is_a_pipe_does_not_block(tree: DirTree, root: FilePath) -> None:
    (root / ".syncd/folder").unlink()
    os.mkfifo(root / ".syncd/folder")
    assert tree.check_root(MARKER) is RootState.WRONG_MARKER


def test_private_directory_behind_a_symlink_is_not_used(tree: DirTree, root: FilePath) -> None:
    os.rename(root / ".syncd", root / "real")
    (root / ".syncd").symlink_to("real")
    assert tree.check_root(MARKER) is RootState.UNREADABLE


def test_private_directory_is_closed_to_others(tree: DirTree, root: FilePath) -> None:
    assert (root / ".syncd").stat().st_mode & 0o777 == 0o700
    (root / ".syncd").chmod(0o755)
    tree.check_root(MARKER)
    assert (root / ".syncd").stat().st_mode & 0o777 == 0o700


def test_places_that_were_deleted_come_back(tree: DirTree, root: FilePath) -> None:
    for place in ("stage", "old", "parked", "cookies"):
        (root / ".syncd" / place).rmdir()
    with pytest.raises(NotThere):
        stage(tree, b"t1")
    assert tree.check_root(MARKER) is RootState.OK
    stage(tree, b"t1")


@pytest.mark.needs("root")
def test_private_directory_of_another_user_is_not_used(tree: DirTree, root: FilePath) -> None:
    root.parent.chmod(0o777)
    os.chown(root, NOBODY, NOBODY)
    with as_nobody():
        assert tree.check_root(MARKER) is RootState.UNREADABLE


# --- permissions and modes -----------------------------------------------------------------------------------------


@pytest.mark.needs("root")
def test_unreadable_directory_is_an_error_and_not_empty(tree: DirTree, user: RealUser) -> None:
    user.mkdir(D)
    user.write((b"d", b"file"), b"1")
    user.chmod(D, 0o700)
    with as_nobody():
        with pytest.raises(Denied):
            tree.list_dir(D)
        with pytest.raises(Denied):
            tree.stat((b"d", b"file"))


@pytest.mark.needs("root")
def test_directory_that_lists_names_but_no_stats_gives_broken_entries(tree: DirTree, user: RealUser) -> None:
    user.mkdir(D)
    user.write((b"d", b"file"), b"1")
    user.chmod(D, 0o744)
    with as_nobody():
        assert [(name, stat.kind) for name, stat in tree.list_dir(D)] == [(b"file", Kind.BROKEN)]


@pytest.mark.needs("root")
def test_owner_changes_attributes_of_a_file_that_he_may_not_read(tree: DirTree, user: RealUser, root: FilePath) -> None:
    user.write(A, b"1")
    os.chown(root / "a", NOBODY, NOBODY)
    user.chmod(A, 0)
    with as_nobody():
        changed = tree.set_attributes(A, Attributes(0o640, MTIME_NS), tree.stat(A))
    assert (changed.mode, changed.mtime_ns) == (0o640, MTIME_NS)


@pytest.mark.needs("root")
@pytest.mark.parametrize("mode", [0o444, 0o200, 0])
def test_staged_file_is_gone_on_with_although_it_has_its_mode_already(tree: DirTree, root: FilePath, mode: int) -> None:
    """A content that was complete when the power failed, or when somebody wrote to what it was to replace."""
    tree.personality()
    os.chown(root / ".syncd" / "stage", NOBODY, NOBODY)
    with as_nobody():
        writer = tree.stage_file(b"t1")
        writer.write_at(0, b"12345")
        writer.set_attributes(Attributes(mode))
        writer.finish()
        with suppress(NotSupported):
            tree.dress_staged(b"t1", {b"user.a": b"1"})
        again = tree.stage_file(b"t1", resume=True)
        found = bytearray(5)
        assert again.read_into(0, found) == 5 and bytes(found) == b"12345"
        again.write_at(0, b"6")
        again.close()


@pytest.mark.needs("root")
def test_hard_link_to_the_file_of_another_user_is_not_read(tree: DirTree, user: RealUser, root: FilePath) -> None:
    secret = root.with_name("secret")
    secret.write_bytes(b"secret")
    os.chown(secret, NOBODY, NOBODY)
    os.link(secret, root / "a")
    assert tree.stat(A).kind is Kind.OTHER
    with pytest.raises(NotAFile):
        tree.open_read(A)
    assert isinstance(next(tree.read_many([A], 100)), NotAFile)
    secret.unlink()
    assert tree.stat(A).kind is Kind.FILE


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_umask_changes_no_mode(tree: DirTree, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert tree.stage_small(b"t1", b"1", 0o666, None).mode == 0o666
        assert tree.make_dir(D, 0o777).mode == 0o777
        assert tree.stage_file(b"t2").finish().mode == 0o600
    finally:
        os.umask(before)


def test_special_mode_bits_stay_with_the_directory(tree: DirTree, user: RealUser, root: FilePath) -> None:
    user.mkdir(D)
    user.chmod(D, 0o2755)
    tree.set_attributes(D, Attributes(mode=0o700), tree.stat(D))
    assert (root / "d").stat().st_mode & 0o7777 == 0o2700


# --- paths and descriptors -----------------------------------------------------------------------------------------


def test_paths_longer_than_the_kernel_takes_at_once(tree: DirTree) -> None:
    deep = tuple(b"%d" % number + b"x" * 200 for number in range(30))
    for depth in range(1, len(deep) + 1):
        tree.make_dir(deep[:depth], 0o755)
    stage(tree, b"t1", b"deep")
    tree.create(b"t1", (*deep, b"file"))
    assert [name for name, _ in tree.list_dir(deep)] == [b"file"]
    reader = tree.open_read((*deep, b"file"))
    assert reader.stat().size == 4
    reader.close()


def test_no_descriptor_is_left_open(tree: DirTree, user: RealUser) -> None:
    user.mkdir(D)
    user.symlink(B, b"d")
    user.make_other((b"fifo",))
    gc.collect()  # others may have left some to it
    before = len(os.listdir("/proc/self/fd"))
    for number in range(50):
        token = b"t%d" % number
        stage(tree, token)
        verbs: list[Callable[[], object]] = [
            lambda token=token: tree.create(token, (b"d", token)),  # type: ignore[misc]
            lambda token=token: tree.create(token, (b"b", token)),  # type: ignore[misc]
            lambda: tree.list_dir(D),
            lambda: tree.list_dir(B),
            lambda: tree.open_read(D),
            lambda: tree.open_read((b"fifo",)),
            lambda: list(tree.read_many([D, B, A, (b"fifo",)], 10)),
            lambda: tree.set_attributes((b"fifo",), Attributes(mode=0o600), tree.stat(D)),
            lambda: tree.check_root(MARKER),
            lambda: tree.check_root(None),
            lambda: tree.stage_file(b"x").finish(),
            lambda: tree.flush_dirs([D, A]),
        ]
        for verb in verbs:
            try:
                verb()
            except TreeError:
                continue
    assert len(os.listdir("/proc/self/fd")) == before


def test_root_may_be_checked_while_threads_work_below_it(tree: DirTree, user: RealUser, root: FilePath) -> None:
    user.mkdir(D)
    wrong: list[object] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            try:
                names = [name for name, _ in tree.list_dir(ROOT)]
            except IoFailed:
                continue
            if names != [b"d"]:
                wrong.append(names)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        (root / ".syncd/cookies").rmdir()  # the open places are exchanged for others
        assert tree.check_root(MARKER) is RootState.OK
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_messages_show_no_control_characters() -> None:
    assert show_path((b"a\x1b[31m", b"\xff", "\u202ex".encode())) == "a\\x1b[31m/\\xff/\\u202ex"


# --- flushing ------------------------------------------------------------------------------------------------------


def test_slow_flush_of_everything_is_followed_by_flushes_of_our_files(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = itertools.count(0.0, 3.0)
    tree = make_tree(tmp_path, lambda: next(moments))
    tree.write_marker(MARKER)
    calls: list[int] = []
    monkeypatch.setattr("syncd.store.tree.flush_file_system", calls.append)
    stage(tree, b"t1")
    tree.flush([b"t1"])
    assert len(calls) == 1
    tree.flush([b"t1"])
    assert len(calls) == 1
    tree.stage_link(b"l1", b"target")
    tree.flush([b"l1", b"t1"])  # a link among them is no failure of all of them
    assert len(calls) == 1
    with pytest.raises(NotThere):
        tree.flush([b"t1", b"gone"])
    tree.close()


@pytest.mark.needs("root")
@pytest.mark.parametrize("mode", [0o200, 0])
def test_file_that_may_not_be_read_is_flushed_with_the_others(tmp_path: FilePath, mode: int) -> None:
    """Somebody's file has a mode by which nobody but root could open it: no other waits for that."""
    moments = itertools.count(0.0, 3.0)
    tree = make_tree(tmp_path, lambda: next(moments))
    tree.write_marker(MARKER)
    tree.flush([])
    os.chown(tmp_path / "root" / ".syncd" / "stage", NOBODY, NOBODY)
    with as_nobody():
        stage(tree, b"t1")
        tree.stage_small(b"t2", b"closed", mode, None)
        tree.flush([b"t1", b"t2"])
    assert {stat.mode for name, stat in tree.list_staged() if name == b"t2"} == {mode}
    tree.close()


def test_names_in_a_directory_that_is_elsewhere_by_now_are_flushed_with_everything(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = make_tree(tmp_path, lambda: 0.0)
    tree.write_marker(MARKER)
    (tmp_path / "root" / "here").mkdir()
    everything: list[int] = []
    monkeypatch.setattr("syncd.store.tree.flush_file_system", everything.append)
    tree.flush_dirs([ROOT, (b"here",)])
    assert not everything
    (tmp_path / "root" / "here").rename(tmp_path / "root" / "there")
    tree.flush_dirs([ROOT, (b"here",)])
    assert len(everything) == 1
    tree.close()


# --- other mounts --------------------------------------------------------------------------------------------------

_IN_A_NAMESPACE = """
import os, subprocess, sys, time
from syncd.store.tree import DirTree
from syncd.treetypes import *
from tests.suites.tree_suite import MARKER

def mount(path):
    subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True)

base = sys.argv[1]
tree = DirTree(os.fsencode(base + "/root"), base + "/home", time.monotonic)
tree.write_marker(MARKER)
os.makedirs(base + "/root/d/mounted")
mount(base + "/root/d/mounted")
open(base + "/root/d/mounted/file", "w").close()
[(name, stat)] = tree.list_dir((b"d",))
assert stat.kind is Kind.DIR and stat.dev != tree.stat(ROOT).dev
for verb in (lambda: tree.list_dir((b"d", b"mounted")), lambda: tree.stat((b"d", b"mounted", b"file"))):
    try:
        verb()
    except ForeignFileSystem:
        continue
    raise AssertionError("another file system was entered")
tree.stage_small(b"t1", b"", 0o644, None)
mount(base + "/root/.syncd/stage")
assert tree.check_root(MARKER) is RootState.UNREADABLE
subprocess.run(["umount", base + "/root/.syncd/stage"], check=True)
assert tree.check_root(MARKER) is RootState.OK
os.mkdir(base + "/other")
mount(base + "/other")
other = DirTree(os.fsencode(base + "/other"), base + "/home", time.monotonic)
other.write_marker(MARKER)
assert other.personality().name == "tmpfs" and other.personality().local
open(base + "/other/file", "w").close()
subprocess.run(["mount", "-o", "remount,ro", base + "/other"], check=True)
again = DirTree(os.fsencode(base + "/other"), base + "/home", time.monotonic)
assert again.check_root(MARKER) is RootState.OK
assert [name for name, _ in again.list_dir(ROOT)] == [b"file"]
for verb in (lambda: again.stage_small(b"t1", b"", 0o644, None), again.personality):
    try:
        verb()
    except ReadOnly:
        continue
    raise AssertionError("written to a read-only file system")
mount(base + "/root")
assert tree.check_root(MARKER) is RootState.NO_MARKER
"""


@pytest.mark.needs("mount")
def test_other_file_systems_are_seen_and_not_entered(tmp_path: FilePath) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "home").mkdir()
    command = ["unshare", "--mount", sys.executable, "-c", _IN_A_NAMESPACE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- a static rule -------------------------------------------------------------------------------------------------

_BY_PATH = {
    "open", "stat", "lstat", "mkdir", "makedirs", "unlink", "remove", "rmdir", "rename", "replace", "link", "symlink",
    "readlink", "chmod", "chown", "utime", "listdir", "scandir", "walk", "truncate", "mkfifo", "mknod", "access",
    "getxattr", "setxattr", "listxattr", "removexattr",
}  # fmt: skip
_DESCRIPTORS = {"fd", "place", "opened", "private", "root"}
_HOME_AND_ROOT = {
    "open_root",
    "open_database",
    "set_database_aside",
    "has_database",
    "drop_database",
    "move_root",
}  # paths of syncd's home, and the root itself


@pytest.mark.parametrize("module", ["tree", "descent", "directory", "files", "places", "probe", "syscalls"])
def test_every_call_on_a_path_starts_at_a_descriptor(module: str) -> None:
    source = FilePath(syscalls.__file__).with_name(f"{module}.py")
    strays = [
        f"{module}.py:{call.lineno}"
        for function in ast.walk(ast.parse(source.read_text()))
        if isinstance(function, ast.FunctionDef) and function.name not in _HOME_AND_ROOT
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and _goes_by_path(call)
    ]
    assert strays == []


def _goes_by_path(call: ast.Call) -> bool:
    match call.func:
        case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in _BY_PATH:
            by_descriptor = any(word.arg in ("dir_fd", "src_dir_fd") for word in call.keywords)
            first = call.args[0]
            return not by_descriptor and not (isinstance(first, ast.Name) and first.id in _DESCRIPTORS)
    return False


# --- the last moment -------------------------------------------------------------------------------------------------


class Hasty(syscalls.Renames):
    """Somebody makes a directory of a file right before it is taken away."""

    def __init__(self, root: FilePath, *, atomic: bool = True) -> None:
        super().__init__(atomic=atomic)
        self._root: FilePath | None = root

    def _act(self, name: bytes) -> None:
        if self._root is not None and name == A[-1]:
            place = self._root / os.fsdecode(name)
            self._root = None
            place.unlink()
            place.mkdir()
            (place / "inside").write_bytes(b"of the user")

    def exchange(self, fd: int, name: bytes, other_fd: int, other: bytes) -> None:
        self._act(other)
        super().exchange(fd, name, other_fd, other)

    def noreplace(self, fd: int, name: bytes, to_fd: int, to: bytes) -> None:
        self._act(name)
        super().noreplace(fd, name, to_fd, to)


@pytest.mark.parametrize("act", ["retire", "exchange"])
def test_directory_that_takes_a_name_in_the_last_moment_stays(tmp_path: FilePath, act: str) -> None:
    make_tree(tmp_path).close()
    root = tmp_path / "root"
    tree = DirTree(bytes(root), str(tmp_path / "home"), time.monotonic, Hasty(root))
    tree.write_marker(MARKER)
    (root / os.fsdecode(A[-1])).write_bytes(b"as it was")
    before = tree.stat(A)
    stage(tree, b"t1", b"what is to replace it")
    with pytest.raises(LocallyChanged):
        tree.retire(A, b"t2", before) if act == "retire" else tree.exchange(b"t1", A, before)
    assert (root / os.fsdecode(A[-1]) / "inside").read_bytes() == b"of the user"
    assert not tree.list_old()
    assert [name for name, _ in tree.list_staged()] == [b"t1"]
    tree.close()


@pytest.mark.parametrize("act", ["retire", "exchange"])
def test_directory_whose_name_is_taken_before_it_is_back_can_be_seen_beside_it(tmp_path: FilePath, act: str) -> None:
    """Somebody moves a directory to the name of a file right before that is taken away, and right after it makes
    something else there, or deletes what took its place: all that is in it would be missed in the folder."""

    folder = tmp_path / "root"

    class Hastier(Hasty):
        def exchange(self, fd: int, name: bytes, other_fd: int, other: bytes) -> None:
            super().exchange(fd, name, other_fd, other)
            if other == A[-1]:
                (folder / "a").unlink()

        def noreplace(self, fd: int, name: bytes, to_fd: int, to: bytes) -> None:
            super().noreplace(fd, name, to_fd, to)
            if name == A[-1]:
                (folder / "a").write_bytes(b"new")

    make_tree(tmp_path).close()
    tree = DirTree(bytes(folder), str(tmp_path / "home"), time.monotonic, Hastier(folder))
    tree.write_marker(MARKER)
    (folder / "a").write_bytes(b"as it was")
    before = tree.stat(A)
    stage(tree, b"t1", b"what is to replace it")
    with pytest.raises(LocallyChanged):
        tree.retire(A, b"t2", before) if act == "retire" else tree.exchange(b"t1", A, before)
    assert not tree.list_old()
    [found] = folder.glob("*/inside")
    assert found.read_bytes() == b"of the user" and found.parent.name == ("t2" if act == "retire" else "a")
    assert act == "exchange" or (folder / "a").read_bytes() == b"new"
    tree.close()


# --- a disk that cannot exchange names, and fails --------------------------------------------------------------------


class Losing(syscalls.Renames):
    """On a disk that cannot exchange names, what was staged is gone when it is to take the name of another."""

    def __init__(self) -> None:
        super().__init__(atomic=False)
        self._moves = 0

    def noreplace(self, fd: int, name: bytes, to_fd: int, to: bytes) -> None:
        super().noreplace(fd, name, to_fd, to)
        if name == to == b"t1":
            self._moves += 1
            if self._moves == 2:  # it was tried in one step, and is back
                os.unlink(to, dir_fd=to_fd)


def refuse_link(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize("has_links", [True, False])
def test_exchange_that_fails_half_way_is_undone_and_can_be_tried_again(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    if not has_links:
        monkeypatch.setattr(os, "link", refuse_link)
    make_tree(tmp_path).close()
    tree = DirTree(bytes(tmp_path / "root"), str(tmp_path / "home"), time.monotonic, Losing())
    tree.write_marker(MARKER)
    (tmp_path / "root" / "a").write_bytes(b"as it was")
    stage(tree, b"t1", b"lost")
    with pytest.raises(NotThere):
        tree.exchange(b"t1", A, tree.stat(A))
    assert (tmp_path / "root" / "a").read_bytes() == b"as it was"
    assert not tree.list_old()
    stage(tree, b"t1", b"staged again")
    assert tree.exchange(b"t1", A, tree.stat(A)).new is not None
    assert (tmp_path / "root" / "a").read_bytes() == b"staged again"
    assert [name for name, _ in tree.list_old()] == [b"t1"]
    tree.close()


class Stuck(syscalls.Renames):
    """The disk fails at an exchange, once, and then when what was staged is to go back to the stage."""

    def __init__(self) -> None:
        super().__init__()
        self._failures = 0

    def exchange(self, fd: int, name: bytes, other_fd: int, other: bytes) -> None:
        if name == b"t1":
            self._fail_after(0)
        super().exchange(fd, name, other_fd, other)

    def noreplace(self, fd: int, name: bytes, to_fd: int, to: bytes) -> None:
        if name == to == b"t1":
            self._fail_after(1)
        super().noreplace(fd, name, to_fd, to)

    def _fail_after(self, failures: int) -> None:
        if self._failures == failures:
            self._failures += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))


class Liar(syscalls.Renames):
    """The disk says that it failed at an exchange, and has done it."""

    def exchange(self, fd: int, name: bytes, other_fd: int, other: bytes) -> None:
        super().exchange(fd, name, other_fd, other)
        if name == b"t1":
            raise OSError(errno.EIO, os.strerror(errno.EIO))


def before_an_exchange(tmp_path: FilePath, renames: syscalls.Renames) -> DirTree:
    make_tree(tmp_path).close()
    tree = DirTree(bytes(tmp_path / "root"), str(tmp_path / "home"), time.monotonic, renames)
    tree.write_marker(MARKER)
    (tmp_path / "root" / "a").write_bytes(b"as it was")
    stage(tree, b"t1", b"new")
    return tree


def test_staged_file_that_could_not_go_back_is_not_in_the_way_of_the_next_try(tmp_path: FilePath) -> None:
    tree = before_an_exchange(tmp_path, Stuck())
    with pytest.raises(IoFailed):
        tree.exchange(b"t1", A, tree.stat(A))
    stage(tree, b"t1", b"new")
    assert tree.exchange(b"t1", A, tree.stat(A)).new is not None
    assert (tmp_path / "root" / "a").read_bytes() == b"new"
    assert read_old(tree, b"t1") == b"as it was"
    tree.close()


def test_exchange_that_was_done_although_the_disk_says_otherwise_keeps_what_stood_there(tmp_path: FilePath) -> None:
    tree = before_an_exchange(tmp_path, Liar())
    assert tree.exchange(b"t1", A, tree.stat(A)).new is not None
    assert (tmp_path / "root" / "a").read_bytes() == b"new"
    assert read_old(tree, b"t1") == b"as it was", "in the stage it would be thrown away"
    tree.close()


def test_directory_that_leaves_the_folder_is_soon_read_no_more(tree: DirTree, root: FilePath) -> None:
    (root / "d").mkdir()
    paths = [(b"d", b"%d" % number) for number in range(2 * READ_TOGETHER)]
    for _, name in paths:
        (root / "d" / os.fsdecode(name)).write_bytes(b"shared")
    reads = tree.read_many(paths, 100)
    assert not isinstance(next(reads), TreeError)
    (root / "d").rename(root.parent / "private")
    assert all(isinstance(read, NotThere) for read in list(reads)[READ_TOGETHER - 1 :])
