"""Blocking. The packs of one folder: what is in them, in rows; reading blocks out of them; taking in those that no row
knows.

A pack is on the shelf before its rows are committed, and its rows are gone before it leaves the shelf. So a crash
leaves packs without rows at most, and these are taken in at the next start: no block that was packed is ever lost to a
missing row. Methods named `db_` use the connection.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Iterable

from ca.errors import RemoteProtocolError
from ca.ids import FolderId
from syncd.model.cipher import BlockKind
from syncd.model.ids import Pid
from syncd.model.lists import ENTRY_BYTES, Entry
from syncd.model.packs import Pack, is_name, read_index_untrusted
from syncd.seams import Shelf
from syncd.store import rows
from syncd.store.blocks import SourceKind, source_of
from syncd.store.db import Transaction
from syncd.store.keyring import EpochKeyMissing, Keyring
from syncd.treetypes import NotThere, TreeError

log = logging.getLogger("syncd.history")


class Scratch:
    """Memory of one thread that is used again for each block: touching fresh pages costs more than decrypting them."""

    __slots__ = ("_memory",)

    def __init__(self) -> None:
        self._memory = memoryview(b"")

    def room(self, size_bytes: int) -> memoryview:
        """So many bytes, with old content in them; good until the next call."""
        if len(self._memory) < size_bytes:
            self._memory = memoryview(bytearray(1 << (size_bytes - 1).bit_length()))
        return self._memory[:size_bytes]


class Packs:
    """One folder's packs."""

    def __init__(self, connection: sqlite3.Connection, shelf: Shelf, folder: FolderId) -> None:
        self._db = connection
        self._folder = folder
        self.shelf = shelf

    def read_at(self, name: str, offset: int, length: int) -> bytes:
        """Bytes of a pack; fewer at its end. Raises TreeError."""
        buffer = memoryview(bytearray(length))
        return bytes(buffer[: self.shelf.read(name, offset, buffer)])

    def open_block(
        self,
        keyring: Keyring,
        name: str,
        offset: int,
        entry: Entry,
        epoch_prefix: bytes,
        target: memoryview,
        scratch: Scratch,
    ) -> bool:
        """Decrypt a block of kind DATA into `target`; False if it is not there, or not that block any more.

        `epoch_prefix`: of the epoch under which the pack has it, which need not be the one that `entry` names.
        """
        try:
            cipher = keyring.cipher_of(epoch_prefix)
            sealed = scratch.room(cipher.sealed_length(entry.length))
            if self.shelf.read(name, offset, sealed) < len(sealed):
                return False
            cipher.open_into_untrusted(BlockKind.DATA, entry.pid, entry.length, sealed, target)
        except (TreeError, EpochKeyMissing, RemoteProtocolError):
            return False
        return True

    # rows ----------------------------------------------------------------------------------------------------

    def db_add(self, packs: Iterable[Pack], now: float) -> None:
        """Note packs that are on the shelf. Inside the caller's transaction."""
        for pack in packs:
            self._add(pack.name, pack.kind, pack.size, pack.blocks, now)

    def db_take_in(self, packs: Collection[Pack], now: float) -> None:
        """Note packs, with their contents, that whoever put them on the shelf did without `Ground.packing`. The same
        blocks make the same pack: one of that name may have been let go of since, and this file with it. No file goes
        but on the lane of the rows, so what is here now stays. In a transaction of its own. Raises TreeError."""
        for pack in packs:
            try:
                self.read_at(pack.name, 0, 1)
            except NotThere:
                self.shelf.put(pack.name, pack.content)
        with Transaction(self._db):
            self.db_add(packs, now)

    def _add(self, name: str, kind: BlockKind, size: int, blocks: Collection[tuple[int, bytes]], now: float) -> None:
        cursor = self._db.execute(
            "INSERT OR IGNORE INTO pack(name, kind, size, blocks, made, verified) VALUES (?,?,?,?,?,?)",
            (name, int(kind), size, len(blocks), now, now),
        )
        if cursor.rowcount == 0 or cursor.lastrowid is None:
            return  # the very same bytes, packed a second time
        source = source_of(SourceKind.PACK, cursor.lastrowid)
        self._db.executemany(
            "INSERT INTO block VALUES (?,?,?,?,?)",
            [(rows.prefix(entry[32:40]), rows.prefix(entry[:8]), source, offset, entry) for offset, entry in blocks],
        )

    def db_packed(self, pids: Collection[bytes]) -> set[Pid]:
        """Which of these blocks are in a pack."""
        found: set[Pid] = set()
        for part in rows.chunks([rows.prefix(pid) for pid in pids]):
            query = f"SELECT entry FROM block WHERE pk IN ({rows.marks(part)}) AND src%4=3"
            found.update(Pid(entry[:32]) for (entry,) in self._db.execute(query, part))
        return found.intersection(pids)

    def db_places(self, pids: Collection[Pid]) -> dict[Pid, list[tuple[str, int, bytes]]]:
        """In which packs these blocks are: name, offset of the ciphertext, packed entry."""
        found: dict[Pid, list[tuple[str, int, bytes]]] = {}
        for part in rows.chunks([rows.prefix(pid) for pid in pids]):
            query = (
                "SELECT p.name, b.off, b.entry FROM block b JOIN pack p ON p.id=b.src/4 "
                f"WHERE b.pk IN ({rows.marks(part)}) AND b.src%4=3"
            )
            for name, offset, entry in self._db.execute(query, part):
                found.setdefault(Pid(entry[:32]), []).append((name, offset, entry))
        return {pid: found[pid] for pid in pids if pid in found}

    def db_size(self) -> tuple[int, int]:
        """(packs, bytes)."""
        count, size = self._db.execute("SELECT count(*), coalesce(sum(size),0) FROM pack").fetchone()
        return count, size

    def db_name(self, pack: int) -> str | None:
        found = self._db.execute("SELECT name FROM pack WHERE id=?", (pack,)).fetchone()
        return None if found is None else str(found[0])

    def db_forget(self, name: str) -> None:
        """Before a pack leaves the shelf: nothing is looked for in it any more. Inside the caller's transaction."""
        found = self._db.execute("SELECT id FROM pack WHERE name=?", (name,)).fetchone()
        if found is not None:
            self._db.execute("DELETE FROM block WHERE src=?", (source_of(SourceKind.PACK, found[0]),))
            self._db.execute("DELETE FROM pack WHERE id=?", (found[0],))

    # after a crash, or with a new database -------------------------------------------------------------------

    def db_adopt(self, keyring: Keyring, now: float) -> int:
        """Make rows and shelf agree: take in packs that no row knows, forget those that are gone. How many came."""
        known = {name for (name,) in self._db.execute("SELECT name FROM pack")}
        there = dict(self.shelf.list())
        for name in known - there.keys():
            log.error("a pack of old versions is gone: %s", name)
            with Transaction(self._db):
                self.db_forget(name)
        return sum(self._adopt(name, there[name], keyring, now) for name in sorted(there.keys() - known))

    def _adopt(self, name: str, size: int, keyring: Keyring, now: float) -> bool:
        if not is_name(name):
            return False
        try:
            index = read_index_untrusted(
                self._folder, size, lambda offset, length: self.read_at(name, offset, length), keyring.cipher_of
            )
        except (RemoteProtocolError, EpochKeyMissing, TreeError) as error:
            log.error("a pack of old versions cannot be read: %s: %s", name, error)
            return False
        with Transaction(self._db):
            self._add(name, index.kind, size, index.blocks, now)
        return True


def entries_of(packed: bytes) -> Iterable[tuple[int, bytes]]:
    """(offset in the file, packed entry) of every block of a file."""
    offset = 0
    for start in range(0, len(packed), ENTRY_BYTES):
        entry = packed[start : start + ENTRY_BYTES]
        yield offset, entry
        offset += int.from_bytes(entry[64:68], "big")
