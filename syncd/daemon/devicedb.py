"""Blocking. The device's database: which folders there are, their rosters and sealed secrets, where devices were seen,
invitations and requests.

Secrets of epochs never rest here in the open, only sealed to the device's key. Everything that a roster change writes
goes to disk in one transaction, before anybody acts on it. Invitations hold what lets somebody in: where a passphrase
locks the keys of the home, they are sealed as well (`guard`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeAlias

from ca.codec import array, bytes_of, bytes_up_to, decode_untrusted, encode
from ca.homekey import HomeKey, is_sealed
from ca.ids import DeviceId, EpochId, FolderId
from ca.values import dataclass
from ca.wraps import MAX_WRAP_BYTES, WrapProof, wrap_proof_untrusted
from syncd.errors import StoreCorrupt
from syncd.store.copies import DatabaseCopy
from syncd.store.db import HomeDatabase, Open, SetAside, Transaction, open_database
from syncd.store.forms import DEVICE
from syncd.store.migrating import OnProgress, is_new
from syncd.store.state import without_fleeting

DATABASE_NAME: Final = "device.db"
MAX_ADDRESSES_OF_DEVICE: Final = 16
MAX_KEEPSAKES_OF_FOLDER: Final = 16
_MAX_PROOF_BYTES: Final = 1024

ENDED: Final = "ended"
AGAIN: Final = "again"
BRANCH: Final = "branch "
LEFT: Final = "left "
"""Kinds of evidence, kept beside the chain; the last two with the hash of an entry behind them."""


@dataclass(frozen=True, slots=True)
class FolderRow:
    """A folder as this device keeps it: its name here, its root, and what recognises the root."""

    id: FolderId
    name: str
    path: bytes
    marker: bytes
    member_name: str
    added: float
    state: str = ""
    settings: bytes | None = None
    begun: bool = False
    """Its database has had its tables."""


@dataclass(frozen=True, slots=True)
class OwnWrap:
    """Our own sealed secret of an epoch, and the proof that the roster names it."""

    epoch: EpochId
    wrap: bytes
    proof: WrapProof

    def encode(self) -> bytes:
        return encode((self.epoch, self.wrap, self.proof.encodable()))


def own_wrap_untrusted(raw: bytes) -> OwnWrap:
    """The inverse of `OwnWrap.encode`. Raises CodecError."""
    value = decode_untrusted(raw, max_bytes=MAX_WRAP_BYTES + _MAX_PROOF_BYTES + 64)
    return OwnWrap(*array(bytes_of(32), bytes_up_to(MAX_WRAP_BYTES), wrap_proof_untrusted)(value))


@dataclass(frozen=True, slots=True)
class RosterChange:
    """What one step of the membership writes. `number` is that of the first of `entries`."""

    folder: FolderId
    number: int = 0
    entries: Sequence[bytes] = ()
    wraps: tuple[EpochId, Mapping[DeviceId, bytes]] | None = None
    own: OwnWrap | None = None
    evidence: Mapping[str, bytes | None] | None = None  # by kind; None takes it back
    switches: bool = False  # a fork puts other entries in the place of those from `number` on


@dataclass(frozen=True, slots=True)
class StoredRoster:
    """What was written, all of it."""

    entries: Sequence[bytes]
    wraps: tuple[EpochId, Mapping[DeviceId, bytes]] | None
    own: OwnWrap | None
    evidence: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a device was seen, when (unix seconds) and who said so."""

    address: str
    seen: float
    source: str


class DeviceDb:
    """Calls run in the database's lane, one at a time."""

    def __init__(
        self, connection: sqlite3.Connection, moved_aside: str | None = None, copy: DatabaseCopy | None = None
    ) -> None:
        """`moved_aside`: the name of a broken database in whose place this one was begun. `copy`: where it is copied
        to whenever a membership has changed, so that a damaged file does not cost a sole owner the folder."""
        self._db = connection
        self.moved_aside = moved_aside
        self._copy = copy
        self._key: HomeKey | None = None

    @classmethod
    def open(cls, open_: Open, set_aside: SetAside, tell: OnProgress = lambda line: None) -> DeviceDb:
        """Open or begin it. Raises what `store.db.open_database` raises."""
        opened = open_database(open_, set_aside, DEVICE, tell)
        return cls(opened.connection, opened.moved_aside)

    @classmethod
    def open_in(cls, home: Path, tell: OnProgress = lambda line: None) -> DeviceDb:
        """The one in a home; when it is damaged its copy takes its place, if that is sound. So it does where the file
        is gone or holds nothing at all, as a disk may leave it: the copy is made with the first folder."""
        file, copy = HomeDatabase(home, DATABASE_NAME), DatabaseCopy(home, DATABASE_NAME)

        def open_() -> sqlite3.Connection:
            connection = file.open()
            try:
                if is_new(connection) and copy.is_sound():
                    raise StoreCorrupt("the database is empty, and there is a copy of it", id="SY-DB-01")
            except BaseException:
                connection.close()
                raise
            return connection

        def set_aside() -> str:
            name = file.set_aside()
            copy.take_place()
            return name

        opened = open_database(open_, set_aside, DEVICE, tell)
        return cls(opened.connection, opened.moved_aside, copy)

    def close(self) -> None:
        self._db.close()

    def keep_copy(self) -> None:
        """Copy the database as it is now, if it has a place for that."""
        if self._copy is not None:
            self._copy.renew(self._db)

    def for_backup(self) -> bytes:
        """The whole of it as a file, without invitations and share links."""
        return without_fleeting(self._db)

    def guard(self, key: HomeKey | None) -> None:
        """Seal what lets somebody in by this key from now on, and what is there already; None: leave it open again.

        Of what was there in the open nothing stays in the files of the database or in its copy.
        """
        self._key = self._key or key  # at a start: what is sealed was sealed by the same one
        invites = [(name, self._body(name, body)) for name, body in self._invite_rows()]
        self._db.execute("PRAGMA secure_delete=ON")
        self._key = key
        with Transaction(self._db):
            for name, body in invites:
                sealed = None if body is None else self._sealed(name, body)
                self._db.execute("UPDATE invite SET body=? WHERE id=?", (sealed or b"", name))
            self._db.execute("DELETE FROM invite WHERE body=x''")
        self._db.execute("VACUUM")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.keep_copy()

    def touch(self) -> None:
        """Begin and end a transaction of writing, which writes nothing: whoever waits knows that the database works."""
        with Transaction(self._db):
            pass

    # folders -------------------------------------------------------------------------------------------------

    def folders(self) -> list[FolderRow]:
        found = self._db.execute(
            "SELECT id, name, path, marker, member_name, added, state, settings, "
            "EXISTS (SELECT 1 FROM begun b WHERE b.folder=folder.id) FROM folder ORDER BY added, id"
        )
        return [replace(FolderRow(*row), begun=bool(begun)) for *row, begun in found]

    def put_folder(self, row: FolderRow) -> None:
        """Add a folder, or write it anew; whether its database was begun is `note_begun`'s."""
        self._db.execute(
            "INSERT OR REPLACE INTO folder(id, name, path, marker, member_name, added, state, settings) "
            "VALUES (?,?,?,?,?,?,?,?)",
            (row.id, row.name, row.path, row.marker, row.member_name, row.added, row.state, row.settings),
        )

    def note_begun(self, folder: FolderId) -> None:
        """The database of this folder has its tables by now."""
        self._db.execute("INSERT OR IGNORE INTO begun(folder) VALUES (?)", (folder,))

    def forget_folder(self, folder: FolderId) -> None:
        """Everything about a folder, its roster included."""
        with Transaction(self._db):
            self._db.execute("DELETE FROM folder WHERE id=?", (folder,))
            for table in (
                "entry",
                "wrap",
                "own_wrap",
                "evidence",
                "peer",
                "invite",
                "request",
                "keepsake",
                "share_link",
                "begun",
            ):
                self._db.execute(f"DELETE FROM {table} WHERE folder=?", (folder,))

    # rosters -------------------------------------------------------------------------------------------------

    def save_roster(self, change: RosterChange, also: Sequence[Also] = ()) -> None:
        """Write a step, and what has to be on disk together with it, in one transaction."""
        with Transaction(self._db):
            self._add_entries(change)
            if change.wraps is not None:
                self._replace_wraps(change.folder, *change.wraps)
            if change.own is not None:
                own = change.own
                row = (change.folder, own.epoch, own.wrap, encode(own.proof.encodable()))
                self._db.execute("INSERT OR REPLACE INTO own_wrap(folder, epoch, wrap, proof) VALUES (?,?,?,?)", row)
            for kind, raw in (change.evidence or {}).items():
                self._put_evidence(change.folder, kind, raw)
            for write in also:
                write(self, change.folder)

    def load_roster(self, folder: FolderId) -> StoredRoster | None:
        """Everything written about a folder's membership; None when there is nothing."""
        found = self._db.execute("SELECT raw FROM entry WHERE folder=? ORDER BY number", (folder,))
        entries = [bytes(raw) for (raw,) in found]
        if not entries:
            return None
        evidence = self._db.execute("SELECT kind, raw FROM evidence WHERE folder=?", (folder,)).fetchall()
        return StoredRoster(entries, self._wraps(folder), self._own_wrap(folder), dict(evidence))

    def _add_entries(self, change: RosterChange) -> None:
        if change.switches:
            self._db.execute("DELETE FROM entry WHERE folder=? AND number>=?", (change.folder, change.number))
        self._db.executemany(
            "INSERT INTO entry(folder, number, raw) VALUES (?,?,?)",
            [(change.folder, number, raw) for number, raw in enumerate(change.entries, change.number)],
        )

    def _replace_wraps(self, folder: FolderId, epoch: EpochId, wraps: Mapping[DeviceId, bytes]) -> None:
        self._db.execute("DELETE FROM wrap WHERE folder=?", (folder,))
        self._db.executemany(
            "INSERT INTO wrap(folder, device, epoch, wrap) VALUES (?,?,?,?)",
            [(folder, device, epoch, wrap) for device, wrap in wraps.items()],
        )

    def _put_evidence(self, folder: FolderId, kind: str, raw: bytes | None) -> None:
        if raw is None:
            self._db.execute("DELETE FROM evidence WHERE folder=? AND kind=?", (folder, kind))
        else:
            self._db.execute("INSERT OR REPLACE INTO evidence(folder, kind, raw) VALUES (?,?,?)", (folder, kind, raw))

    def _wraps(self, folder: FolderId) -> tuple[EpochId, Mapping[DeviceId, bytes]] | None:
        found = self._db.execute("SELECT epoch, device, wrap FROM wrap WHERE folder=?", (folder,)).fetchall()
        return (EpochId(found[0][0]), {DeviceId(device): wrap for _, device, wrap in found}) if found else None

    def _own_wrap(self, folder: FolderId) -> OwnWrap | None:
        found = self._db.execute("SELECT epoch, wrap, proof FROM own_wrap WHERE folder=?", (folder,)).fetchone()
        if found is None:
            return None
        epoch, wrap, proof = found
        return OwnWrap(epoch, wrap, wrap_proof_untrusted(decode_untrusted(proof, max_bytes=_MAX_PROOF_BYTES)))

    # where devices are ---------------------------------------------------------------------------------------

    def note_addresses(self, device: DeviceId, addresses: Sequence[str], seen: float, source: str) -> None:
        """Remember where a device was seen; of many addresses the latest are kept."""
        with Transaction(self._db):
            self._db.executemany(
                "INSERT OR REPLACE INTO address(device, address, seen, source) VALUES (?,?,?,?)",
                [(device, address, seen, source) for address in addresses],
            )
            self._db.execute(
                "DELETE FROM address WHERE device=?1 AND address NOT IN "
                "(SELECT address FROM address WHERE device=?1 ORDER BY seen DESC, address LIMIT ?2)",
                (device, MAX_ADDRESSES_OF_DEVICE),
            )

    def addresses(self, device: DeviceId) -> list[Address]:
        """Where a device was seen, latest first."""
        found = self._db.execute(
            "SELECT address, seen, source FROM address WHERE device=? ORDER BY seen DESC, address", (device,)
        )
        return [Address(*row) for row in found]

    def note_seen(self, folder: FolderId, device: DeviceId, seen: float) -> None:
        """A device of a folder was connected at this time."""
        self._db.execute(
            "INSERT INTO peer(folder, device, last_seen) VALUES (?,?,?) "
            "ON CONFLICT DO UPDATE SET last_seen=excluded.last_seen",
            (folder, device, seen),
        )

    def last_seen(self, folder: FolderId) -> dict[DeviceId, float]:
        """When each device of a folder was last connected."""
        found = self._db.execute("SELECT device, last_seen FROM peer WHERE folder=? AND last_seen NOTNULL", (folder,))
        return {DeviceId(device): seen for device, seen in found}

    # commands and the audit log ------------------------------------------------------------------------------

    def commands(self) -> list[tuple[bytes, DeviceId, int]]:
        """Commands that were obeyed: nonce, signer, time of issue. Of those that have expired, each signer's last."""
        found = self._db.execute("SELECT nonce, signer, issued_ms FROM command")
        return [(nonce, DeviceId(signer), issued_ms) for nonce, signer, issued_ms in found]

    def put_command(self, nonce: bytes, signer: DeviceId, issued_ms: int, expires_ms: int, now_ms: int) -> None:
        """A command is about to be obeyed. Forgets those of which nothing has to be known any more."""
        with Transaction(self._db):
            self._db.execute("INSERT INTO command VALUES (?,?,?,?)", (nonce, signer, issued_ms, expires_ms))
            self._db.execute(
                "DELETE FROM command WHERE expires_ms<? AND issued_ms<"
                "(SELECT max(o.issued_ms) FROM command o WHERE o.signer=command.signer)",
                (now_ms,),
            )

    def add_audit(self, make: Callable[[int, bytes | None], bytes]) -> None:
        """Add a line to the audit log, made from its number and the line before it."""
        with Transaction(self._db):
            last = self._db.execute("SELECT number, raw FROM audit ORDER BY number DESC LIMIT 1").fetchone()
            number, raw = (-1, None) if last is None else last
            self._db.execute("INSERT INTO audit VALUES (?,?)", (number + 1, make(number + 1, raw)))

    def audit(self) -> list[bytes]:
        """Every line of the audit log, the oldest first."""
        return [raw for (raw,) in self._db.execute("SELECT raw FROM audit ORDER BY number")]

    # what others left here -----------------------------------------------------------------------------------

    def put_keepsake(self, folder: FolderId, device: DeviceId, time_ms: int, sealed: bytes) -> None:
        """What a device wants to find again; of many devices the latest are kept."""
        with Transaction(self._db):
            self._db.execute("INSERT OR REPLACE INTO keepsake VALUES (?,?,?,?)", (folder, device, time_ms, sealed))
            self._db.execute(
                "DELETE FROM keepsake WHERE folder=?1 AND device NOT IN "
                "(SELECT device FROM keepsake WHERE folder=?1 ORDER BY time_ms DESC, device LIMIT ?2)",
                (folder, MAX_KEEPSAKES_OF_FOLDER),
            )

    def keepsakes(self, folder: FolderId) -> list[tuple[DeviceId, int, bytes]]:
        """Whose, of when, and what, the newest first."""
        query = "SELECT device, time_ms, sealed FROM keepsake WHERE folder=? ORDER BY time_ms DESC, device"
        return [(DeviceId(device), time_ms, sealed) for device, time_ms, sealed in self._db.execute(query, (folder,))]

    # invitations and requests ----------------------------------------------------------------------------------

    def invites(self) -> list[bytes]:
        """All invitations, as `engine.invites.pack` wrote them."""
        opened = [self._body(name, body) for name, body in self._invite_rows()]
        return [body for body in opened if body is not None]

    def put_invite(self, id: bytes, folder: FolderId, body: bytes) -> None:
        row = (id.hex(), folder, self._sealed(id.hex(), body))
        self._db.execute("INSERT OR REPLACE INTO invite(id, folder, body) VALUES (?,?,?)", row)

    def _invite_rows(self) -> list[tuple[str, bytes]]:
        found = self._db.execute("SELECT id, body FROM invite ORDER BY id").fetchall()
        return [(name, bytes(body)) for name, body in found]

    def _sealed(self, name: str, body: bytes) -> bytes:
        return body if self._key is None else self._key.seal(f"invite {name}", body)

    def _body(self, name: str, body: bytes) -> bytes | None:
        """None for one that was sealed by another key: it came with an older copy of the database, and is of no use."""
        if not is_sealed(body):
            return body
        try:
            return None if self._key is None else self._key.open(f"invite {name}", body)
        except ValueError:
            return None

    def drop_invite(self, id: bytes) -> None:
        self._db.execute("DELETE FROM invite WHERE id=?", (id.hex(),))

    def requests(self) -> list[tuple[str, bytes]]:
        """All requests to join: id and body."""
        return [(id, bytes(body)) for id, body in self._db.execute("SELECT id, body FROM request ORDER BY id")]

    def put_request(self, id: str, folder: FolderId, body: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO request(id, folder, body) VALUES (?,?,?)", (id, folder, body))

    def drop_request(self, id: str) -> None:
        self._db.execute("DELETE FROM request WHERE id=?", (id,))

    # share links ---------------------------------------------------------------------------------------------

    def share_links(self) -> list[tuple[bytes, bytes]]:
        """All share links: id, and what `engine.sharelinks.pack` wrote."""
        return [(id, bytes(body)) for id, body in self._db.execute("SELECT id, body FROM share_link ORDER BY id")]

    def put_share_link(self, id: bytes, folder: FolderId, body: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO share_link(id, folder, body) VALUES (?,?,?)", (id, folder, body))

    def drop_share_link(self, id: bytes) -> None:
        self._db.execute("DELETE FROM share_link WHERE id=?", (id,))


Also: TypeAlias = Callable[[DeviceDb, FolderId], None]
"""Something that must reach the disk in the same transaction as a step of a roster."""
