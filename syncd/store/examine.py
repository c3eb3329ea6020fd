"""Blocking. Looking into files that a walk found: from findings to contents, without the database.

A file is accepted only if its stat is the same before and after it was read; one that changes meanwhile is left for
later. Small files are read many at a time, since most of their cost is the call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Final

from ca.values import dataclass
from syncd.engine.ransom import SAMPLE_BYTES, looks_encrypted
from syncd.model.cutter import CutClass, choose_class
from syncd.model.ids import Pid
from syncd.model.lists import BlockList
from syncd.model.xattrs import Xattrs, portable
from syncd.seams import Reader, Tree
from syncd.store.draft import Examined
from syncd.store.hashing import SMALL_FILE_BYTES, Cutting, Hasher, entries_by_pid
from syncd.store.scan import Action, Item, Trouble
from syncd.treetypes import Kind, LocallyChanged, NotThere, Path, Read, TreeError

SHARED_BYTES: Final = 64 << 20
"""From this size on a file is worth more than one thread."""


@dataclass(frozen=True, slots=True)
class Previous:
    """What a file held before, so that its unchanged blocks, and unchanged parts of its list, keep their entries."""

    cut_class: CutClass | None
    packed: bytes
    parts: bytes = b""

    def known(self) -> dict[Pid, bytes]:
        """Entries by pid; a block and a part never have the same."""
        return entries_by_pid(self.packed) | entries_by_pid(self.parts)


@dataclass(slots=True)
class Examination:
    """Findings that were looked into, those that were moving, and those that could not be read."""

    examined: list[Examined] = field(default_factory=list)
    restless: list[Path] = field(default_factory=list)
    trouble: list[Trouble] = field(default_factory=list)
    refused: list[Item] = field(default_factory=list)
    read_bytes: int = 0

    def add(self, examined: Examined) -> None:
        self.examined.append(examined)
        self.read_bytes += examined.item.stat.size

    def refuse(self, item: Item, error: TreeError) -> None:
        """It could not be looked into, or not now."""
        self.refused.append(item)
        if isinstance(error, (LocallyChanged, NotThere)):
            self.restless += item.paths
        else:
            self.trouble.append(Trouble(item.path, error, before=item.before))


def examine(
    tree: Tree,
    hasher: Hasher,
    items: Sequence[Item],
    previous: Mapping[Path, Previous],
    now_ns: Callable[[], int],
) -> Examination:
    """Look into findings, in their order. `previous` has an entry for files whose earlier content is known."""
    result = Examination()
    seen_ns = now_ns()
    small = [_needs_content(item) and item.stat.size <= SMALL_FILE_BYTES for item in items]
    # Each is hashed as soon as it is read: its bytes are in the processor's cache then, and their memory is used again.
    paths = [item.path for item, is_small in zip(items, small, strict=True) if is_small]
    reads = tree.read_many(paths, SMALL_FILE_BYTES)
    says = _sayings_of(tree)
    for item, is_small in zip(items, small, strict=True):
        read = next(reads) if is_small else None
        try:
            result.add(_examine(tree, hasher, item, previous.get(item.path), read, seen_ns, now_ns, says))
        except TreeError as error:
            result.refuse(item, error)
    return result


def is_shared(item: Item) -> bool:
    """Whether several threads are to look into this file, by `Opened`."""
    return _needs_content(item) and item.stat.size >= SHARED_BYTES


class Opened:
    """A file that is being looked into; several threads may do the `work`."""

    def __init__(self, tree: Tree, item: Item, previous: Previous | None, now_ns: Callable[[], int]) -> None:
        """Raises TreeError."""
        self._tree, self._item = tree, item
        self._reader = tree.open_read(item.path)
        try:
            self._before = self._reader.stat()
            self._seen_ns = now_ns()
            self._is_noise = _is_noise_at_front(item, self._reader)
        except BaseException:
            self.close()
            raise
        cut_class = choose_class(self._before.size, None if previous is None else previous.cut_class)
        self._known = {} if previous is None else previous.known()
        self._cutting = Cutting(self._reader, cut_class, self._known)

    def work(self, hasher: Hasher) -> None:
        """Until nothing is left for another thread to do."""
        self._cutting.work(hasher)

    def finish(self, hasher: Hasher) -> Examined:
        """After all who worked have ended. Raises TreeError."""
        packed = self._cutting.packed()
        hashed = hasher.finish(BlockList(packed).size, self._cutting.cut_class, packed, self._known)
        xattrs = _sayings_of(self._tree)(self._reader.xattrs())
        after = self._reader.stat()
        if not self._before.same(after) or hashed.size != after.size:
            raise LocallyChanged("it changed while it was read", self._item.path, after)
        return Examined(self._item, after, self._seen_ns, hashed, is_noise=self._is_noise, xattrs=xattrs)

    def close(self) -> None:
        """Needed whatever came of it."""
        self._reader.close()


def _needs_content(item: Item) -> bool:
    return item.stat.kind is Kind.FILE and item.action in (Action.NEW, Action.CHANGED)


def _examine(
    tree: Tree,
    hasher: Hasher,
    item: Item,
    previous: Previous | None,
    read: Read | TreeError | None,
    seen_ns: int,
    now_ns: Callable[[], int],
    says: Callable[[Mapping[bytes, bytes]], Xattrs | None],
) -> Examined:
    if item.stat.kind is not Kind.SYMLINK and (
        item.action in (Action.TOUCHED, Action.MOVED) or item.stat.kind is Kind.DIR
    ):
        return Examined(item, item.stat, seen_ns, xattrs=says(tree.xattrs(item.path)))
    if item.action in (Action.TOUCHED, Action.MOVED):
        return Examined(item, item.stat, seen_ns)
    if item.stat.kind is Kind.SYMLINK:
        target = tree.read_link(item.path)
        return Examined(item, item.stat, seen_ns, target=target)
    if read is not None:
        if isinstance(read, TreeError):
            raise read
        known = {} if previous is None else previous.known()
        is_noise, xattrs = _is_noise(item, read.content), says(read.xattrs)
        return Examined(item, read.stat, seen_ns, hasher.small(read.content, known), is_noise=is_noise, xattrs=xattrs)
    opened = Opened(tree, item, previous, now_ns)
    try:
        opened.work(hasher)
        return opened.finish(hasher)
    finally:
        opened.close()


def _sayings_of(tree: Tree) -> Callable[[Mapping[bytes, bytes]], Xattrs | None]:
    """What is said of extended attributes that were found."""
    return portable if tree.personality().xattrs else _nothing_said


def _nothing_said(found: Mapping[bytes, bytes]) -> Xattrs | None:
    """By a disk that has no extended attributes, also of those that stood where the folder was before."""


def _is_noise(item: Item, content: bytes | bytearray) -> bool:
    return item.action is Action.CHANGED and looks_encrypted(item.name, content)


def _is_noise_at_front(item: Item, reader: Reader) -> bool:
    if item.action is not Action.CHANGED:
        return False
    front = bytearray(SAMPLE_BYTES)
    got = reader.read_into(0, front)
    return _is_noise(item, front[:got])
