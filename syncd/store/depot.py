"""Blocking. An exported store: a directory from which a folder can be restored with the recovery key and nothing else.

It holds what members hold, encrypted as it travels, and needs no database: packs of blocks, and for each exported
moment the tree that stood there (`docs/storage.md`, "An exported store", is all that a reader needs). Exporting another
moment into the same store adds the blocks that it has not yet. Nothing in it is ever changed but `keys.json`, which is
replaced as a whole; and what has its name is whole.
"""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from ca.ids import EpochId
from ca.recovery import PublicRecovery
from ca.values import dataclass
from ca.wraps import Sealer
from syncd.engine.timeline import Seen
from syncd.errors import RemoteProtocolError, SyncdError
from syncd.model.cipher import MAX_BLOCK_BYTES, BlockKind
from syncd.model.lists import pack_entry
from syncd.model.packs import PackBuilder, is_name, read_index_untrusted
from syncd.model.paths import Path
from syncd.model.records import ContentKind
from syncd.seams import Buffer
from syncd.store.files import read_fully, write_fully
from syncd.store.folder import SourceReader
from syncd.store.keyring import EpochKeyMissing, Keyring
from syncd.store.outside import DIR_MODE, FILE_MODE, Writing, read_block
from syncd.store.syscalls import flush_file
from syncd.treetypes import tree_error

FORMAT = b"syncd store 1\n"
MANIFEST_BLOCK_BYTES = 1 << 20
KEY_BYTES = 32


@dataclass(frozen=True, slots=True, repr=False)
class StoreKeys:
    """What opens a store: the secrets of all epochs, under a key made for this, and for whom that is sealed."""

    epochs: Mapping[EpochId, bytes]
    key: bytes
    recovery: Sequence[PublicRecovery]
    sealer: Sealer
    padding: int


class Depot:
    """One exported store, while something is added to it."""

    def __init__(self, path: bytes, keyring: Keyring) -> None:
        """Begin one, or go on with one. Raises TreeError; SyncdError for a directory that is something else."""
        self._path = path
        self._keyring = keyring
        self._builder = PackBuilder(keyring.folder, BlockKind.DATA)
        self._buffer = memoryview(bytearray(MAX_BLOCK_BYTES))
        self._lines: list[str] = []
        try:
            self._known = self._begin()
        except OSError as error:
            raise tree_error(error.errno or 0, error.strerror or "refused", (path,)) from error

    def _begin(self) -> set[bytes]:
        os.makedirs(self._path, mode=0o700, exist_ok=True)
        names = os.listdir(self._path)
        if names and b"format" not in names:
            raise _not_a_store("the directory holds something else")
        if not names:
            _put(self._at(b"format"), FORMAT)
        with open(self._at(b"format"), "rb") as file:
            if file.read(len(FORMAT) + 1) != FORMAT:
                raise _not_a_store("it was written in another format")
        for name in (b"packs", b"moments"):
            os.makedirs(self._at(name), mode=0o700, exist_ok=True)
        return {entry[:32] for name in os.listdir(self._at(b"packs")) for entry in self._entries(name)}

    def _at(self, *names: bytes) -> bytes:
        return os.path.join(self._path, *names)

    def _entries(self, name: bytes) -> list[bytes]:
        """The blocks of a pack that is whole; what else lies there counts for nothing."""
        if not is_name(name.decode("ascii", "replace")):
            return []
        fd = os.open(self._at(b"packs", name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            index = read_index_untrusted(
                self._keyring.folder,
                os.fstat(fd).st_size,
                lambda at, length: _read(fd, at, length),
                self._keyring.cipher_of,
            )
        except (RemoteProtocolError, EpochKeyMissing) as error:
            raise _not_a_store(f"one of its packs is damaged, or of another folder: {error}") from error
        finally:
            os.close(fd)
        return [entry for _, entry in index.blocks]

    # adding --------------------------------------------------------------------------------------------------

    def add(self, items: Sequence[Writing], reader: SourceReader) -> int:
        """Take in some names of a moment, with those of their blocks that are not here yet; the bytes of all their
        files. Raises TreeError, BlockMissing."""
        try:
            for item in items:
                self._add(item, reader)
        except OSError as error:
            raise tree_error(error.errno or 0, error.strerror or "refused", (self._path,)) from error
        return sum(item.seen.content.size for item in items)

    def _add(self, item: Writing, reader: SourceReader) -> None:
        packed = b""
        for entry, places in item.blocks:
            raw = pack_entry(entry.pid, entry.cid, entry.length, self._keyring.epoch(entry.epoch_prefix))
            packed += raw
            if entry.pid in self._known:
                continue
            view = self._buffer[: entry.length]
            read_block(item.path, entry, places, reader, view)
            sealed = self._keyring.cipher_of(entry.epoch_prefix).seal(BlockKind.DATA, view)
            self._builder.add(raw, sealed.ciphertext)
            self._known.add(entry.pid)
            if self._builder.is_full:
                self._close_pack()
        self._lines.append(_line(item.path, item.seen, packed))

    def _close_pack(self) -> None:
        pack = self._builder.finish(self._keyring.cipher())
        _put(self._at(b"packs", pack.name.encode()), pack.content)

    def finish(self, at_ms: int, keys: StoreKeys) -> str:
        """Write the moment down: only now does it exist. Its name."""
        try:
            if not self._builder.is_empty:
                self._close_pack()
            _put(self._at(b"keys.json"), _keys(self._keyring, keys))
            name = datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")[:-3] + "Z"
            _put(self._at(b"moments", name.encode()), self._manifest(at_ms))
        except OSError as error:
            raise tree_error(error.errno or 0, error.strerror or "refused", (self._path,)) from error
        return name

    def _manifest(self, at_ms: int) -> bytes:
        first = json.dumps({"folder": self._keyring.folder.hex(), "at": at_ms, "names": len(self._lines)})
        plain = zlib.compress("\n".join([first, *self._lines]).encode("ascii"))
        cipher = self._keyring.cipher()
        builder = PackBuilder(self._keyring.folder, BlockKind.CHECKPOINT)
        for start in range(0, len(plain), MANIFEST_BLOCK_BYTES):
            part = plain[start : start + MANIFEST_BLOCK_BYTES]
            sealed = cipher.seal(BlockKind.CHECKPOINT, part)
            builder.add(pack_entry(sealed.pid, sealed.cid, len(part), cipher.epoch), sealed.ciphertext)
        return builder.finish(cipher).content


def _line(path: Path, seen: Seen, packed: bytes) -> str:
    about: dict[str, object] = {"path": b"/".join(path).decode("utf-8", "surrogateescape")}
    mode = seen.attributes.mode
    match seen.content.kind:
        case ContentKind.DIRECTORY:
            about |= {"kind": "directory", "mode": DIR_MODE if mode is None else mode}
        case ContentKind.SYMLINK:
            about |= {"kind": "link", "target": seen.content.target.decode("utf-8", "surrogateescape")}
        case _:
            about |= {
                "kind": "file",
                "mode": FILE_MODE if mode is None else mode,
                "mtime": seen.attributes.mtime_ns or 0,
                "size": seen.content.size,
                "blocks": base64.b64encode(packed).decode(),
            }
    return json.dumps(about)


def _keys(keyring: Keyring, keys: StoreKeys) -> bytes:
    info = b"syncd/1 store" + keyring.folder
    epochs = [
        {"id": epoch.hex(), "secret": AESGCMSIV(keys.key).encrypt(bytes(12), secret, epoch).hex()}
        for epoch, secret in keys.epochs.items()
    ]
    about = {
        "folder": keyring.folder.hex(),
        "padding": keys.padding,
        "sealed": [keys.sealer.seal(recovery.seal, keys.key, info).hex() for recovery in keys.recovery],
        "epochs": epochs,
    }
    return json.dumps(about, indent=1).encode() + b"\n"


def _read(fd: int, offset: int, length: int) -> bytes:
    buffer = bytearray(length)
    return bytes(buffer[: read_fully(fd, offset, buffer)])


def _put(path: bytes, content: Buffer) -> None:
    """A whole file, on disk when this returns: written aside, flushed, renamed, and the directory flushed."""
    aside = path + b".new"
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        write_fully(fd, 0, content)
        flush_file(fd)
    finally:
        os.close(fd)
    os.rename(aside, path)
    fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flush_file(fd)
    finally:
        os.close(fd)


def _not_a_store(why: str) -> SyncdError:
    return SyncdError("that is no store of this folder", id="SY-HIST-05", why=why, fix="name another directory")
