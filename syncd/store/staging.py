"""Blocking. Contents being staged: what is already here is copied, the rest is written as it arrives, every block
checked by pid.

Nothing here touches the database, and nothing becomes visible: a staged file is a file of syncd's own until it is
complete. After a crash it is found again by its token and its blocks are checked against the list, so that only what
was in flight is fetched anew.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ca.errors import RemoteProtocolError
from syncd.model.cipher import BlockKind
from syncd.model.ids import Cid
from syncd.model.lists import ENTRY_BYTES, Entry
from syncd.model.xattrs import unpack
from syncd.seams import Tree, Writer
from syncd.store.apply import held_of
from syncd.store.folder import Needed, SourceReader
from syncd.store.hashing import SMALL_FILE_BYTES
from syncd.store.keyring import EpochKeyMissing, Keyring
from syncd.store.packs import Packs
from syncd.store.prepare import Want
from syncd.store.rows import SYMLINK
from syncd.treetypes import Attributes, NotThere, Stat, TreeError

BUFFER_BYTES = 8 * 1024 * 1024
_FRONT_BYTES = 64
"""Of a block: what is not zero there need not be looked at further."""


@dataclass(slots=True, eq=False)
class Staging:
    """One wanted content on its way. `missing`: offset -> entry of what has to be fetched."""

    want: Want
    missing: dict[int, Entry] = field(default_factory=dict)
    parts: set[Cid] = field(default_factory=set)
    """Parts of its list that have to be fetched first."""
    writer: Writer | None = None
    staged: Stat | None = None
    error: TreeError | None = None
    copied_bytes: int = 0
    is_gone: bool = False
    """Nobody waits for it any more."""
    is_fresh: bool = False
    """Its file was made just now, so that whatever was not written yet is a hole."""
    opened: bool = False
    """It counts among the files that are kept open, for the puller's bound."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held by the thread that uses the writer: blocks of one file arrive in several."""

    @property
    def wanted_cids(self) -> set[Cid]:
        """What has to come from peers."""
        return self.parts or {entry.cid for entry in self.missing.values()}

    @property
    def is_complete(self) -> bool:
        return self.staged is not None

    @property
    def is_small(self) -> bool:
        """One block: staged in one call, without keeping a file open."""
        want = self.want
        return len(want.packed) <= ENTRY_BYTES and want.size <= SMALL_FILE_BYTES and want.xattrs is None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One block that arrived, and where it goes."""

    staging: Staging
    offset: int
    entry: Entry
    ciphertext: bytes | bytearray | memoryview


@dataclass(slots=True)
class Delivered:
    """Which deliveries were good. `refused`: the peer sent something else than the block."""

    good: list[Delivery] = field(default_factory=list)
    refused: list[Cid] = field(default_factory=list)


class Stager:
    """Stages contents in one tree with one folder's keys. Its methods may run in several threads at once."""

    def __init__(self, tree: Tree, keyring: Keyring, packs: Packs) -> None:
        self._tree = tree
        self._packs = packs
        self.keyring = keyring

    def begin(self, whole: Sequence[tuple[Staging, Needed]], resumable: frozenset[bytes]) -> None:
        """Begin to stage contents, using what lies on this disk. `resumable`: tokens that were staged before."""
        reader = SourceReader(self._tree, self._packs, self.keyring)
        is_large = any(_is_large(needed) for _, needed in whole)
        buffer = memoryview(bytearray(BUFFER_BYTES if is_large else SMALL_FILE_BYTES))
        try:
            for staging, needed in whole:
                with staging.lock:
                    self._begin(staging, needed, reader, buffer, staging.want.token in resumable)
        finally:
            reader.close()

    def _begin(self, staging: Staging, needed: Needed, reader: SourceReader, buffer: memoryview, resume: bool) -> None:
        staging.missing = dict(needed.blocks)
        try:
            self._fill(staging, needed, reader, buffer, resume)
            if not staging.missing and not staging.is_complete:
                self._finish(staging)
        except TreeError as error:
            self._fail(staging, error)

    def _fill(self, staging: Staging, needed: Needed, reader: SourceReader, buffer: memoryview, resume: bool) -> None:
        want = staging.want
        if want.kind == SYMLINK:
            staging.staged = self._tree.stage_link(want.token, want.blocks)
        elif not want.packed and want.xattrs is None:
            staging.staged = self._tree.stage_small(want.token, b"", want.mode, want.mtime_ns)
        elif staging.is_small:
            for offset, entry in list(staging.missing.items()):
                view = self._local(needed, entry, reader, buffer)
                if view is not None:
                    staging.staged = self._tree.stage_small(want.token, view, want.mode, want.mtime_ns)
                    del staging.missing[offset]
                    staging.copied_bytes += entry.length
        else:
            staging.writer = self._maybe_resumed(want.token) if resume else None
            if staging.writer is None:
                staging.writer, staging.is_fresh = self._tree.stage_file(want.token), True
            else:
                self._keep_verified(staging, staging.writer)
            staging.writer.set_size(want.size)
            if needed.local:
                self._copy_local(staging, staging.writer, needed, reader, buffer)

    def _maybe_resumed(self, token: bytes) -> Writer | None:
        try:
            return self._tree.stage_file(token, resume=True)
        except NotThere:  # the stage may be emptied at any time
            return None

    def _keep_verified(self, staging: Staging, writer: Writer) -> None:
        """What an earlier attempt wrote, as far as it is what it should be."""
        buffer = memoryview(bytearray(max((entry.length for entry in staging.missing.values()), default=0)))
        size = writer.stat().size
        cipher = self.keyring.cipher()
        for offset, entry in list(staging.missing.items()):
            view = buffer[: entry.length]
            if offset + entry.length > size or writer.read_into(offset, view) != entry.length:
                continue
            if cipher.pid(BlockKind.DATA, view) == entry.pid:
                del staging.missing[offset]

    def _copy_local(
        self, staging: Staging, writer: Writer, needed: Needed, reader: SourceReader, buffer: memoryview
    ) -> None:
        for offset, entry in list(staging.missing.items()):
            view = self._local(needed, entry, reader, buffer)
            if view is not None:
                _put(staging, writer, offset, view)
                del staging.missing[offset]
                staging.copied_bytes += entry.length

    def _local(self, needed: Needed, entry: Entry, reader: SourceReader, buffer: memoryview) -> memoryview | None:
        if not needed.local:
            return None
        cipher = self.keyring.cipher()
        view = buffer[: entry.length]
        for source, offset in needed.local.get(entry.pid, ()):
            if reader.read(source, offset, entry, view) and cipher.pid(BlockKind.DATA, view) == entry.pid:
                return view
        return None

    def deliver(self, deliveries: Iterable[Delivery]) -> Delivered:
        """Check and write blocks that arrived."""
        result = Delivered()
        buffer = memoryview(bytearray(0))
        for delivery in deliveries:
            entry = delivery.entry
            if len(buffer) < entry.length:
                buffer = memoryview(bytearray(max(entry.length, SMALL_FILE_BYTES)))
            view = buffer[: entry.length]
            try:
                cipher = self.keyring.cipher_of(entry.epoch_prefix)
                cipher.open_into_untrusted(BlockKind.DATA, entry.pid, entry.length, delivery.ciphertext, view)
            except (RemoteProtocolError, EpochKeyMissing):
                result.refused.append(entry.cid)
                continue
            try:
                self._write(delivery, view)
            except TreeError as error:
                with delivery.staging.lock:
                    self._fail(delivery.staging, error)
            result.good.append(delivery)
        return result

    def _write(self, delivery: Delivery, view: memoryview) -> None:
        staging = delivery.staging
        want = staging.want
        with staging.lock:
            if staging.error is not None:
                return
            if staging.is_small:
                staging.staged = self._tree.stage_small(want.token, view, want.mode, want.mtime_ns)
            elif staging.writer is not None:  # else it was let go of meanwhile
                _put(staging, staging.writer, delivery.offset, view)

    def finish(self, stagings: Iterable[Staging]) -> None:
        """Everything has been written: give the files their attributes and close them."""
        for staging in stagings:
            with staging.lock:
                try:
                    self._finish(staging)
                except TreeError as error:
                    self._fail(staging, error)

    def _finish(self, staging: Staging) -> None:
        if staging.is_complete or staging.error is not None or staging.writer is None:
            return
        want = staging.want
        xattrs = None if want.xattrs is None else dict(unpack(want.xattrs))
        staging.writer.set_attributes(Attributes(want.mode, want.mtime_ns, xattrs))
        want.held = None if want.xattrs is None else held_of(want.xattrs, staging.writer.xattrs())
        staging.staged = staging.writer.finish()
        staging.writer = None

    def abandon(self, stagings: Iterable[Staging]) -> None:
        """Close what is open; what was written stays staged and is found again by its token."""
        for staging in stagings:
            with staging.lock:
                self._close(staging)

    def _close(self, staging: Staging) -> None:
        if staging.writer is not None:
            try:
                staging.writer.close()
            except TreeError as error:
                staging.error = staging.error or error
            staging.writer = None

    def _fail(self, staging: Staging, error: TreeError) -> None:
        staging.error = error
        self._close(staging)


def _put(staging: Staging, writer: Writer, offset: int, view: memoryview) -> None:
    """Zeros in a file that was made just now are there already: not written, they stay a hole."""
    if not (staging.is_fresh and _is_zero(view)):
        writer.write_at(offset, view)


def _is_zero(view: memoryview) -> bool:
    return not any(view[:_FRONT_BYTES]) and not bytes(view).strip(b"\0")


def _is_large(needed: Needed) -> bool:
    return bool(needed.local) and any(entry.length > SMALL_FILE_BYTES for _, entry in needed.blocks)
