"""Blocking. The state of a device as files of its home: gathered for a backup, laid out on a bare machine.

A backup holds the keys, the database of the device, its configuration, and what its folders were set to. It holds no
file of a user and none of the folders' databases: a device that comes back begins new journals, and what the folders
hold comes from the others, or from the directories as they stand. So an old backup takes nothing back.

What was laid out in part is nobody: the keys come last, and a home in which `restoring` stands is not run.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from ca import keyfiles, privatefiles
from ca.backup import MAGIC, MAX_FILE_BYTES, Backup, is_backup
from ca.device import device_text
from ca.digest import digest
from ca.homekey import HomeKey
from ca.ids import DeviceId
from ca.privatefiles import sync_directory
from ca.values import dataclass
from syncd.errors import ConfigError, SyncdError
from syncd.home import CONFIG_NAME

DATABASE_NAME: Final = "device.db"
SETTINGS_NAME: Final = "settings.json"
RESTORED_NAME: Final = "restored.json"
"""What the next start still has to do: roots to make, settings of folders to take over."""
UNFINISHED_NAME: Final = "restoring"
WRITTEN_NAME: Final = "backups"
"""What the backups that this device wrote last were, a line each."""
MOST_WRITTEN: Final = 64
FLEETING: Final = ("invite", "request", "share_link", "begun")
"""Tables of what must not come back: codes that were burned and links that were revoked since would work again, and the
databases of folders do not come along."""

Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class LaidOut:
    """What was put into a home: folders by name and path, and where the configuration lies, if there was one."""

    folders: tuple[tuple[str, bytes], ...]
    config: Path | None


# --- making ----------------------------------------------------------------------------------------------------------


def gather(
    home: Path, database: bytes, settings: bytes, device: DeviceId, made_ms: int, key: HomeKey | None = None
) -> Backup:
    """All that makes this device what it is. `key` opens the key files of a home that has a passphrase."""
    files = [*keyfiles.read_all(home, key), (DATABASE_NAME, database), (SETTINGS_NAME, settings)]
    if (home / CONFIG_NAME).exists():
        files.append((CONFIG_NAME, (home / CONFIG_NAME).read_bytes()))
    return Backup(device, made_ms, tuple(files))


def without_fleeting(connection: sqlite3.Connection) -> bytes:
    """The device's database as the bytes of a file, without what must not come back."""
    with closing(sqlite3.connect(":memory:")) as copy:
        connection.backup(copy)
        _drop_fleeting(copy)
        copy.commit()
        return bytes(copy.serialize())


def _drop_fleeting(connection: sqlite3.Connection) -> None:
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    for table in there.intersection(FLEETING):
        connection.execute(f"DELETE FROM {table}")


def write_private(path: Path, content: bytes, random: Random) -> None:
    """Put a file of ours in its place, 0600 from the first byte, whole or not at all. Replaces one that is there."""
    aside = path.with_name(f".{path.name}.{random(8).hex()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


# --- where a backup goes ---------------------------------------------------------------------------------------------


def write_backup(home: Path, path: Path, sealed: bytes, random: Random) -> None:
    """Put a backup in its place. That it is ours is noted before, so that the next one may take its place."""
    written = [*_written(home), _mark(sealed)]
    write_private(home / WRITTEN_NAME, "".join(f"{mark}\n" for mark in written[-MOST_WRITTEN:]).encode(), random)
    write_private(path, sealed, random)


def refuse_to_replace(
    home: Path, path: Path, own: DeviceId, maybe_whose: Callable[[bytes], DeviceId | None], *, unknown: bool
) -> None:
    """Only a backup that this device made is replaced by another. `unknown`: also refuse one of which neither what was
    noted here nor `maybe_whose`, who opens it if that can be done here, says whose it is. Raises SyncdError."""
    try:
        there = _maybe_backup(path) if os.path.lexists(path) else b""
    except OSError as error:
        raise SyncdError(f"{path} cannot be read", id="SY-KEY-03", why=error.strerror or str(error)) from error
    if there is None:
        raise SyncdError(
            f"{path} is there, and no backup of a device",
            id="SY-HIST-05",
            why="Only an older backup of this device is ever replaced by another.",
            fix="name a file that does not exist yet",
        )
    if not there or _mark(there) in _written(home) or (whose := maybe_whose(there)) == own:
        return
    if whose is not None:
        raise SyncdError(
            f"{path} is the backup of another device",
            id="SY-KEY-15",
            why=f"It is that of {device_text(whose)}, and may be the only one.",
            fix="name another file, one for each device",
        )
    if unknown:
        raise SyncdError(
            f"{path} is a backup already, and perhaps of another device",
            id="SY-KEY-15",
            why="It opens by something else, so whose it is cannot be seen; it may be the only one of its device.",
            fix="name another file; if it is an older one of this device, --yes replaces it",
        )


def _maybe_backup(path: Path) -> bytes | None:
    """What is in a backup; None if there is something else."""
    if path.is_symlink() or not path.is_file():
        return None
    with open(path, "rb") as file:
        start = file.read(len(MAGIC))
        return start + file.read(MAX_FILE_BYTES) if is_backup(start) else None


def _written(home: Path) -> list[str]:
    """What `_mark` says of the backups that were written last."""
    return (privatefiles.read(home / WRITTEN_NAME) or b"").decode("ascii", "replace").split()


def _mark(sealed: bytes) -> str:
    return digest("backup written", sealed).hex()


# --- laying out ------------------------------------------------------------------------------------------------------


def refuse_unfinished(home: Path) -> None:
    """Raises ConfigError if a restore of this home was begun and not ended."""
    if (home / UNFINISHED_NAME).exists():
        raise ConfigError(
            f"a restore into {home} was not finished",
            id="SY-KEY-06",
            why="Keys and database of a device come back together or not at all.",
            fix="run it again: syncd key restore FILE",
        )


def refuse_taken(home: Path) -> None:
    """Raises SyncdError if there is a device in this home already: it is never overwritten."""
    # A log or a copy of a database that is gone would be taken for part of the one that comes.
    keys = home / keyfiles.KEYS_DIRECTORY
    taken = [keys / keyfiles.DEVICE_FILE, keys / keyfiles.LOCK_FILE, *home.glob(f"{DATABASE_NAME}*")]
    taken += home.glob("folder-*.db*")
    if not (home / UNFINISHED_NAME).exists() and (found := [path for path in taken if path.exists()]):
        raise SyncdError(
            f"there is a device in {home} already",
            id="SY-KEY-07",
            why=f"{found[0]} is there, and no identity is ever overwritten.",
            fix="name another home: syncd --home DIR key restore FILE",
        )


def folders_in(backup: Backup, into: bytes | None) -> tuple[tuple[str, bytes], ...]:
    """The folders of a backup by name and path. Raises ConfigError."""
    with closing(_database(backup, into)) as connection:
        return tuple(connection.execute("SELECT name, path FROM folder ORDER BY added, id").fetchall())


def lay_out(home: Path, backup: Backup, random: Random, into: bytes | None, *, may_be_forged: bool = False) -> LaidOut:
    """Put everything in its place, the keys last. `into`: folders lie in that directory from now on. `may_be_forged`:
    anybody could have sealed it so; a configuration names programs to run, so a person has to look at that one first.
    The caller holds the home. Raises SyncdError, ConfigError, OSError; then it can be called again."""
    refuse_taken(home)
    files, settings = dict(backup.files), _settings(backup)
    with closing(_database(backup, into)) as connection:
        folders = tuple(connection.execute("SELECT name, path FROM folder ORDER BY added, id").fetchall())
        database = bytes(connection.serialize())
    write_private(home / UNFINISHED_NAME, b"", random)
    write_private(home / DATABASE_NAME, database, random)
    config = _lay_out_config(home, files.get(CONFIG_NAME), random, aside=may_be_forged)
    kept = json.dumps({"made_ms": backup.made_ms, "folders": settings}).encode("ascii")
    write_private(home / RESTORED_NAME, kept, random)
    keyfiles.put_back(home, files, random)
    (home / UNFINISHED_NAME).unlink()
    sync_directory(home)
    return LaidOut(folders, config)


def _settings(backup: Backup) -> list[Any]:
    """What the folders were set to. Raises ConfigError."""
    try:
        value = json.loads(dict(backup.files).get(SETTINGS_NAME, b"{}"))
    except ValueError:
        value = None
    folders = value.get("folders", []) if isinstance(value, dict) else None
    if not isinstance(folders, list) or not all(isinstance(one, dict) for one in folders):
        raise ConfigError("the backup's settings cannot be used", id="SY-KEY-05")
    return folders


def _lay_out_config(home: Path, content: bytes | None, random: Random, *, aside: bool) -> Path | None:
    if content is None:
        return None
    path = home / CONFIG_NAME
    if aside or (path.exists() and path.read_bytes() != content):
        path = home / f"{CONFIG_NAME}.recovered"
    write_private(path, content, random)
    return path


def _database(backup: Backup, into: bytes | None) -> sqlite3.Connection:
    """The backup's database, in memory. Raises ConfigError."""
    connection = sqlite3.connect(":memory:")
    try:
        raw = dict(backup.files)[DATABASE_NAME]
        connection.deserialize(raw[:18] + b"\1\1" + raw[20:])  # what is in memory has no log beside it
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        _drop_fleeting(connection)
        if into is not None:
            taken: set[bytes] = set()
            found = connection.execute("SELECT id, name, path FROM folder ORDER BY added, id").fetchall()
            for id_, name, path in found:
                where = os.path.join(into, _free(os.path.basename(bytes(path)), name, taken))
                connection.execute("UPDATE folder SET path=? WHERE id=?", (where, id_))
        connection.commit()
    except (KeyError, sqlite3.DatabaseError) as error:
        connection.close()
        raise ConfigError("the backup's database cannot be used", id="SY-KEY-05", why=str(error)) from error
    return connection


def _free(last: bytes, name: str, taken: set[bytes]) -> bytes:
    """A name for a folder's directory beside others: two that lay in different places can have had the same."""
    if last in (b"", b".", b".."):
        last = os.fsencode(name).replace(b"/", b"-").strip(b".") or b"folder"
    found, number = last, 1
    while found.lower() in taken:
        number += 1
        found = b"%s-%d" % (last, number)
    taken.add(found.lower())
    return found


# --- at the next start -----------------------------------------------------------------------------------------------


def restored(home: Path) -> dict[str, Any] | None:
    """What a restore left to be done; None: nothing."""
    try:
        value = json.loads((home / RESTORED_NAME).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def forget_restored(home: Path) -> None:
    """It is done."""
    (home / RESTORED_NAME).unlink(missing_ok=True)
