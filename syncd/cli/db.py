"""Blocking. `syncd db`: the databases of a home, while no daemon has them open: check, copy, go back, make small."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Annotated, Any

from ca.keyfiles import KEYS_DIRECTORY
from syncd.catalogue import Exit
from syncd.cli import text
from syncd.cli.options import Argument
from syncd.cli.session import Session, command, usage
from syncd.errors import SyncdError
from syncd.home import LOCK_NAME, lock_home

SCHEMA = "syncd.db/1"


@command()
def check(session: Session) -> int:
    """Read every page of every database. Exit 13 if one is damaged. `--json` prints syncd.db/1."""
    with lock_home(_home(session)):
        found = [_checked(path) for path in _databases(session)]
    result = {"schema": SCHEMA, "action": "check", "databases": found}
    rows = [[one["name"], text.size(one["bytes"]), f"format {one['format']}", one["why"] or "whole"] for one in found]
    session.show(result, lambda: text.table(rows) if rows else ["There is no database yet."])
    return Exit.INTEGRITY if any(one["why"] for one in found) else Exit.DONE


@command()
def backup(
    session: Session, directory: Annotated[str, Argument(metavar="DIRECTORY", help="Made if it is missing.")]
) -> None:
    """Copy every database to a directory. Keys are not among them. `--json` prints syncd.db/1."""
    target = Path(os.path.abspath(os.path.expanduser(directory)))
    with lock_home(_home(session)):
        if any((target / name).exists() for name in (LOCK_NAME, KEYS_DIRECTORY)):
            why = "The copies would replace its databases, and what these know with them."
            raise usage(f"{text.escape(str(target))} is a home of syncd", why=why, fix="name another directory")
        if not session.flags.dry_run:
            _copy_all(_databases(session), target)
        found = [_about(path) for path in _databases(session)]
    verb = "would be copied to" if session.flags.dry_run else "are in"
    session.show(
        {"schema": SCHEMA, "action": "backup", "databases": found},
        lambda: f"{text.count(len(found), 'database')} {verb} {text.escape(str(target))}.",
    )


@command()
def rollback(session: Session) -> None:
    """Go back to the copies that were made before the last migration. `--json` prints syncd.db/1."""
    from syncd.store.migrating import copies, roll_back

    with lock_home(_home(session)):
        there = [path.name for path in _databases(session) if copies(path)]
        if not there:
            why, fix = "No database was migrated here.", "nothing; the version of before opens them as they are"
            raise SyncdError("there is no copy to go back to", id="SY-FIND-01", why=why, fix=fix)
        if not session.flags.dry_run:
            session.terminal.talk(f"What was noted since then is noted again from disk and peers: {', '.join(there)}")
            session.confirm("Go back?")
        done = [] if session.flags.dry_run else [*roll_back(session.place.home)]
    found: list[dict[str, Any]] = [{"name": one.name, "kept": one.kept} for one in done]
    found = found or [{"name": name, "kept": None} for name in there]
    lines = [f"{one['name']} is the one of before; the other is {one['kept']}" for one in found]
    would = [f"{name} would be the one of before" for name in there]
    session.show({"schema": SCHEMA, "action": "rollback", "databases": found}, lambda: lines if done else would)


@command()
def vacuum(session: Session) -> None:
    """Write every database anew, without the room that deleted rows left. `--json` prints syncd.db/1."""
    with lock_home(_home(session)):
        before = sum(path.stat().st_size for path in _databases(session))
        for path in () if session.flags.dry_run else _databases(session):
            _make_small(path)
        found = [_about(path) for path in _databases(session)]
    after = sum(one["bytes"] for one in found)
    session.show(
        {"schema": SCHEMA, "action": "vacuum", "databases": found},
        lambda: f"{text.size(before)} before, {text.size(after)} now",
    )


def _home(session: Session) -> Path:
    """The home, if there is one: looking makes none."""
    home = session.place.home
    if not home.is_dir():
        raise SyncdError(f"there is no home at {home}", id="SY-FIND-01", why="Nothing was shared or joined here yet.")
    return home


def _databases(session: Session) -> list[Path]:
    return sorted(session.place.home.glob("*.db"))


def _about(path: Path) -> dict[str, Any]:
    return {"name": path.name, "bytes": path.stat().st_size}


def _checked(path: Path) -> dict[str, Any]:
    """What is wrong with a database; `why` None: nothing. One that holds nothing at all was emptied, as by a disk: each
    is begun with its tables."""
    from syncd.store.migrating import is_new

    connection = sqlite3.connect(path)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        why = "empty: what it knew is gone" if is_new(connection) else _maybe_damage(connection)
    except sqlite3.DatabaseError as error:
        return {**_about(path), "format": None, "why": str(error)}
    finally:
        connection.close()
    return {**_about(path), "format": version, "why": why}


def _maybe_damage(connection: sqlite3.Connection) -> str | None:
    """The first thing that SQLite finds wrong with a database, in one line; None: nothing."""
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    return None if verdict == "ok" else " ".join(verdict.split())


def _make_small(path: Path) -> None:
    """Raises SyncdError. A database that cannot be written anew is as it was."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.OperationalError as error:
        why = f"SQLite: {error}"
        raise SyncdError(f"{path.name} was not made small and is as it was", id="SY-DISK-01", why=why) from error
    except sqlite3.DatabaseError as error:
        raise SyncdError(f"{path.name} cannot be made small", id="SY-DB-01", why=f"SQLite: {error}") from error
    finally:
        connection.close()


def _copy_all(databases: list[Path], target: Path) -> None:
    """Raises SyncdError. What was copied by then stays; of a copy that failed nothing does, and the one that was there
    before is not touched."""
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in databases:
            _copy(path, target / path.name)
    except OSError as error:
        raise usage(f"nothing can be written to {target}: {error.strerror}", fix="name another directory") from error
    except sqlite3.OperationalError as error:
        raise SyncdError(f"{target} took no copy of {path.name}", id="SY-DISK-01", why=f"SQLite: {error}") from error
    except sqlite3.DatabaseError as error:
        raise SyncdError(f"{path.name} cannot be copied", id="SY-DB-01", why=f"SQLite: {error}") from error


def _copy(path: Path, target: Path) -> None:
    """A copy of what was committed, whatever still lies in the log beside the file. Replaces an older copy whole, and
    only if it is sound: pages are copied unread, so a copy of a damaged database is as damaged."""
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    source, copy = sqlite3.connect(path), sqlite3.connect(part)
    try:
        source.backup(copy)
        if why := _maybe_damage(copy):
            raise sqlite3.DatabaseError(why)
    except BaseException:
        part.unlink()
        raise
    finally:
        copy.close()
        source.close()
    part.replace(target)
