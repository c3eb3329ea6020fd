"""Blocking. Contents being staged: what is already here is copied, the rest is written as it arrives, every block
checked by pid.

Nothing here touches the database, and nothing becomes visible: a staged file is a file of syncd's own until it is
complete. After a crash it is found again by its token and its blocks are checked against the list, so that only what
was in flight is fetched anew.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import field

from ca.errors import RemoteProtocolError
from ca.values import dataclass
from syncd.model.cipher import BlockKind
from syncd.model.ids import Cid, Pid
from syncd.model.lists import ENTRY_BYTES, Entry
from syncd.model.xattrs import unpack
from syncd.seams import Tree, Writer
from syncd.store.apply import held_of
from syncd.store.blocks import SourceKind
from syncd.store.files import PAGE_BYTES
from syncd.store.folder import Needed, SourceReader
from syncd.store.hashing import SMALL_FILE_BYTES
from syncd.store.keyring import EpochKeyMissing, Keyring
from syncd.store.locating import BlockSource, Places
from syncd.store.packs import Packs
from syncd.store.prepare import Want
from syncd.store.rows import SYMLINK
from syncd.store.writing import GATHERED_BYTES, Gathered, Memory
from syncd.treetypes import Attributes, NotThere, Stat, TreeError

BUFFER_BYTES = 8 * 1024 * 1024
IDLE_MEMORY = 3
"""As many lanes bring blocks of one peer."""
MAX_OPEN = 32
"""Files that stay open while blocks of them are on their way. Others are opened again for each batch."""
MAX_OPEN_IN_BATCH = 96
"""And while a batch is written: one of its blocks may belong into every file that is on its way."""
STAGERS = 4
"""Threads that copy what is on this disk already: reading, decrypting, hashing and writing let the others run."""
SHARE_BYTES = 16 * 1024 * 1024
"""Less than this is not worth another thread."""
SHARED_BYTES = 64 * 1024 * 1024
"""From this size on one content is copied by several threads."""
RUN_BYTES = 1024 * 1024
"""Of neighbouring blocks that are read and written in one call; more does not stay in the processor's cache."""
TRIAL_BYTES = 64 * 1024
_TRIAL_TOKEN = b"trial"
"""No content is staged under it: those have hashes."""
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
    refusals: int = 0
    """How often the disk had refused to save anything when this was begun."""
    copied_bytes: int = 0
    is_gone: bool = False
    """Nobody waits for it any more."""
    is_begun: bool = False
    """Its file is there, if nobody has taken it away."""
    is_fresh: bool = False
    """Its file was made just now, so that whatever was not written yet is a hole."""
    unwritten: set[int] = field(default_factory=set)
    """Of a large one: where blocks have to be written before it can be finished. Belongs to who holds the lock."""
    arrived: dict[Cid, tuple[int, Entry]] = field(default_factory=dict)
    """Of a large one: blocks that were fetched and lie in its file, and where. Others may have them from there."""
    to_copy: deque[Run] = field(default_factory=deque)
    """Of a large one: what lies on this disk and is still to be copied, by several threads."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held by the thread that uses the writer: blocks of one file arrive in several. Only one of them writes: four that
    wrote past the page cache at a time were a fifth as fast as one (220 against 1,200 MB/s on ext4)."""

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


class _Opened:
    """The block that was opened last: one of a file of zeros goes to very many places, and is opened once."""

    def __init__(self) -> None:
        self.ciphertext: object = None
        self.entry: Entry | None = None
        self.plain = memoryview(b"")
        self.is_zero = False

    def take(self, delivery: Delivery, plain: memoryview) -> None:
        self.ciphertext, self.entry, self.plain = delivery.ciphertext, delivery.entry, plain
        self.is_zero = _is_zero(plain)


class Stager:
    """Stages contents in one tree with one folder's keys. Its methods may run in several threads at once."""

    def __init__(self, tree: Tree, keyring: Keyring, packs: Packs) -> None:
        self._tree = tree
        self._packs = packs
        self.keyring = keyring
        self.memory = Memory(IDLE_MEMORY)
        self._open: set[Staging] = set()
        """Those with a writer. Changed by many threads, each time in one step."""

    def begin(self, whole: Sequence[tuple[Staging, Needed]], resumable: frozenset[bytes]) -> None:
        """Begin to stage contents, using what lies on this disk. `resumable`: tokens that were staged before."""
        reader = SourceReader(self._tree, self._packs, self.keyring)
        is_large = any(_is_large(needed) for _, needed in whole)
        try:
            with self.memory.lend(BUFFER_BYTES) if is_large else nullcontext(_small_memory()) as buffer:
                for staging, needed in whole:
                    self._begin(staging, needed, reader, buffer, staging.want.token in resumable)
                    if not _is_shared(needed):
                        self._copy_local(staging, needed, reader, buffer)
                        self._settle(staging)
        finally:
            reader.close()

    def copy(self, whole: Sequence[tuple[Staging, Needed]]) -> None:
        """Copy what `begin` has left to several threads, each of which calls this; then `begun`."""
        reader = SourceReader(self._tree, self._packs, self.keyring)
        try:
            with self.memory.lend(BUFFER_BYTES) as buffer:
                for staging, needed in whole:
                    self._copy_local(staging, needed, reader, buffer)
        finally:
            reader.close()

    def begun(self, whole: Sequence[tuple[Staging, Needed]]) -> None:
        """All of it was copied."""
        for staging, _ in whole:
            self._settle(staging)

    def _begin(self, staging: Staging, needed: Needed, reader: SourceReader, buffer: memoryview, resume: bool) -> None:
        with staging.lock:
            if staging.is_gone:
                return
            staging.missing = dict(needed.blocks)
            try:
                self._fill(staging, needed, reader, buffer, resume)
            except TreeError as error:
                self._fail(staging, error)

    def _settle(self, staging: Staging) -> None:
        """What could be copied is; what is missing now has to arrive."""
        if staging.is_small:
            return
        with staging.lock, self._failing(staging):
            if staging.error is None and not staging.is_gone and not staging.is_complete:
                staging.unwritten = set(staging.missing)
                if not staging.missing:
                    self._finish(staging)
                self._rest(staging)

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
            if resume and (writer := self._maybe_resumed(staging)) is not None:
                self._keep_verified(staging, writer)
                writer.set_size(want.size)
            if needed.local:
                self._writer_of(staging)
                most = GATHERED_BYTES if _is_shared(needed) else RUN_BYTES
                staging.to_copy.extend(runs(list(staging.missing.items()), needed.local, most))

    def _maybe_resumed(self, staging: Staging) -> Writer | None:
        try:
            writer = self._opened(staging, self._tree.stage_file(staging.want.token, resume=True))
        except NotThere:  # the stage may be emptied at any time
            return None
        writer.set_attributes(Attributes(xattrs={}))  # it was given those of what it was to replace then
        return writer

    def _writer_of(self, staging: Staging) -> Writer:
        """Its file, made with the first block of it: of what is only wanted yet nothing is kept open."""
        if staging.writer is not None:
            return staging.writer
        token = staging.want.token
        is_new = not staging.is_begun
        writer = self._opened(staging, self._tree.stage_file(token, resume=not is_new))
        staging.is_fresh = staging.is_fresh or is_new
        writer.set_size(staging.want.size)
        return writer

    def _opened(self, staging: Staging, writer: Writer) -> Writer:
        staging.writer, staging.is_begun = writer, True
        self._open.add(staging)
        return writer

    def _rest(self, staging: Staging, most: int = MAX_OPEN) -> None:
        """Nobody writes to it for now: it stays open if not too many are."""
        if staging.writer is not None and len(self._open) > most:
            self._close(staging)

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

    def _copy_local(self, staging: Staging, needed: Needed, reader: SourceReader, buffer: memoryview) -> None:
        while (run := _maybe_next(staging.to_copy)) is not None and staging.error is None and not staging.is_gone:
            if run.source is not None and self._copy_run(staging, run, reader, buffer):
                continue
            for offset, entry in run.blocks:
                view = self._local(needed, entry, reader, buffer)
                if view is not None and self._put(staging, offset, (view,), view):
                    self._note_copied(staging, ((offset, entry),))

    def _copy_run(self, staging: Staging, run: Run, reader: SourceReader, buffer: memoryview) -> bool:
        """Read many blocks at once and write them at once: half the time of a small read is the call."""
        assert run.source is not None
        first = run.blocks[0][0]
        view = buffer[first % PAGE_BYTES :][: run.length]
        if len(view) < run.length or not reader.read_plain(run.source, run.at, view):
            return False
        cipher = self.keyring.cipher()
        pieces, done = [], 0
        for _, entry in run.blocks:
            piece = view[done : done + entry.length]
            if cipher.pid(BlockKind.DATA, piece) != entry.pid:
                return False  # one by one then, as each may lie elsewhere too
            pieces.append(piece)
            done += entry.length
        if self._put(staging, first, pieces, view):
            self._note_copied(staging, run.blocks)
        return True

    def _put(self, staging: Staging, offset: int, pieces: Sequence[memoryview], whole: memoryview) -> bool:
        """Write neighbouring pieces, which make up `whole`, as far as they are no holes. Whether that was done."""
        with staging.lock, self._failing(staging):
            if staging.error is not None or staging.is_gone or staging.is_complete:
                return False
            writer = self._writer_of(staging)
            for begin, end in _without_holes(staging, pieces):
                writer.write_at(offset + begin, whole[begin:end])
        return staging.error is None

    def _note_copied(self, staging: Staging, blocks: Sequence[tuple[int, Entry]]) -> None:
        with staging.lock:
            for offset, entry in blocks:
                del staging.missing[offset]
                staging.copied_bytes += entry.length

    def _local(self, needed: Needed, entry: Entry, reader: SourceReader, buffer: memoryview) -> memoryview | None:
        if not needed.local:
            return None
        view = buffer[: entry.length]
        return view if reader.read_checked(needed.local.get(entry.pid, ()), entry, view) else None

    def deliver(self, deliveries: Sequence[Delivery]) -> Delivered:
        """Check and write blocks that arrived."""
        result = Delivered()
        with self.memory.lend(max((delivery.entry.length for delivery in deliveries), default=0)) as memory:
            opened, gathered = _Opened(), Gathered(memory, self._write_run)
            for delivery in deliveries:
                is_again = delivery.ciphertext is opened.ciphertext and delivery.entry == opened.entry
                if not is_again and not self._open_block(delivery, opened, gathered):
                    result.refused.append(delivery.entry.cid)
                    continue
                if is_again or delivery.staging.is_small or opened.is_zero:
                    gathered.flush()
                    self._write(delivery.staging, delivery.offset, opened)
                else:
                    gathered.keep(delivery.entry.length)
                result.good.append(delivery)
            gathered.flush()
        for staging in dict.fromkeys(delivery.staging for delivery in result.good):
            if staging.writer is not None:
                with staging.lock:
                    self._rest(staging)
        return result

    def _open_block(self, delivery: Delivery, opened: _Opened, gathered: Gathered[Staging]) -> bool:
        """Decrypt a block to where it is written from; whether it is what its entry says."""
        entry, opened.entry = delivery.entry, None
        plain = gathered.room(delivery.staging, delivery.offset, entry.length)
        try:
            cipher = self.keyring.cipher_of(entry.epoch_prefix)
            cipher.open_into_untrusted(BlockKind.DATA, entry.pid, entry.length, delivery.ciphertext, plain)
        except (RemoteProtocolError, EpochKeyMissing):
            return False
        opened.take(delivery, plain)
        return True

    def _write(self, staging: Staging, offset: int, opened: _Opened) -> None:
        """Write a block by itself."""
        want = staging.want
        if not staging.is_small:
            if self._put(staging, offset, (opened.plain,), opened.plain):
                self._note_written(staging, (offset,))
            return
        with staging.lock:
            if staging.error is None and not staging.is_gone:
                try:
                    staging.staged = self._tree.stage_small(want.token, opened.plain, want.mode, want.mtime_ns)
                except TreeError as error:
                    self._fail(staging, error)

    def _write_run(self, staging: Staging, offsets: Sequence[int], plain: memoryview) -> None:
        """Write blocks that follow one another, none of them zeros."""
        if self._put(staging, offsets[0], (plain,), plain):
            self._note_written(staging, offsets)

    def _note_written(self, staging: Staging, offsets: Sequence[int]) -> None:
        with staging.lock, self._failing(staging):
            left = len(staging.unwritten)
            staging.unwritten.difference_update(offsets)
            if left and not staging.unwritten:
                self._finish(staging)
            self._rest(staging, MAX_OPEN_IN_BATCH)

    @contextmanager
    def _failing(self, staging: Staging) -> Iterator[None]:
        """What the disk refuses is the end of this content."""
        try:
            yield
        except TreeError as error:
            self._fail(staging, error)

    def _finish(self, staging: Staging) -> None:
        """Everything has been written: give the file its attributes and close it."""
        want, writer = staging.want, self._writer_of(staging)
        xattrs = None if want.xattrs is None else dict(unpack(want.xattrs))
        writer.set_attributes(Attributes(want.mode, want.mtime_ns, xattrs))
        want.held = None if want.xattrs is None else held_of(want.xattrs, writer.xattrs())
        staging.staged = writer.finish()
        staging.writer = None
        self._open.discard(staging)

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
            self._open.discard(staging)

    def _fail(self, staging: Staging, error: TreeError) -> None:
        staging.error = error
        self._close(staging)


@dataclass(slots=True)
class Run:
    """Blocks that follow one another in a file. `source`: where they lie in the very same order from `at` on; None:
    nowhere, or each in a place of its own."""

    blocks: list[tuple[int, Entry]]
    source: BlockSource | None = None
    at: int = 0
    length: int = 0


def runs(blocks: Sequence[tuple[int, Entry]], local: Mapping[Pid, Places], most: int) -> list[Run]:
    """Blocks of a file in their order, put together where they can be read together, at most so many bytes."""
    found: list[Run] = []
    for offset, entry in blocks:
        last = found[-1] if found else None
        places = [place for place in local.get(entry.pid, ()) if place[0].kind is not SourceKind.PACK]
        if (
            last is not None
            and last.length + entry.length <= most
            and last.blocks[0][0] + last.length == offset
            and (last.source, last.at + last.length) in places
        ):
            last.blocks.append((offset, entry))
            last.length += entry.length
            continue
        source, at = places[0] if places else (None, 0)
        found.append(Run([(offset, entry)], source, at, entry.length))
    return found


def _maybe_next(left: deque[Run]) -> Run | None:
    try:
        return left.popleft()
    except IndexError:  # another thread was faster
        return None


def shares(whole: Sequence[tuple[Staging, Needed]]) -> list[list[tuple[Staging, Needed]]]:
    """Contents for `begin`, in their order, divided among as many threads as are worth it."""
    sizes = [needed.want.size if needed.local else 0 for _, needed in whole]
    share_bytes = max(SHARE_BYTES, -(-sum(sizes) // STAGERS))
    divided: list[list[tuple[Staging, Needed]]] = [[]]
    filled = 0
    for item, size in zip(whole, sizes, strict=True):
        if filled >= share_bytes:
            divided.append([])
            filled = 0
        divided[-1].append(item)
        filled += size
    return divided


def _without_holes(staging: Staging, pieces: Iterable[memoryview]) -> Iterator[tuple[int, int]]:
    """Where neighbouring pieces begin and end that have to be written: zeros in a file that was made just now are there
    already, and stay a hole."""
    begin = end = 0
    for piece in pieces:
        if staging.is_fresh and _is_zero(piece):
            if end > begin:
                yield begin, end
            begin = end + len(piece)
        end += len(piece)
    if end > begin:
        yield begin, end


def _is_zero(view: memoryview) -> bool:
    return not any(view[:_FRONT_BYTES]) and not bytes(view).strip(b"\0")


def _small_memory() -> memoryview:
    return memoryview(bytearray(SMALL_FILE_BYTES + PAGE_BYTES))


def _is_shared(needed: Needed) -> bool:
    return bool(needed.local) and needed.want.size >= SHARED_BYTES


def _is_large(needed: Needed) -> bool:
    return bool(needed.local) and any(entry.length > SMALL_FILE_BYTES for _, entry in needed.blocks)


# --- a disk that was full --------------------------------------------------------------------------------------------


def has_room(tree: Tree, size_bytes: int) -> bool:
    """Whether a disk that was full takes so much: by what it says, and by trying with little, as it says nothing of
    quotas, and of inodes little that is true."""
    try:
        if tree.space().free < size_bytes:
            return False
        try:
            tree.stage_small(_TRIAL_TOKEN, bytes(TRIAL_BYTES), 0o600, None)
        finally:
            tree.drop_staged(_TRIAL_TOKEN)
    except TreeError:
        return False
    return True
