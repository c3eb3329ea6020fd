"""Blocking. How the disk of a folder treats names, written down in its database: which it cannot hold or tell apart.

Most disks hold every name as it is; then nothing is written down, and nothing here costs anything.
"""

from __future__ import annotations

import sqlite3
import unicodedata
from collections.abc import Collection

from ca import codec
from syncd.model.naming import ANY_NAME, disk_key, holds_any
from syncd.treetypes import Personality

COLLISION_MARK = b" (name "
"""Part of every name that `model.paths.collision_name` makes."""

_KEY = "names and ends"
_KEPT = codec.array(
    *(codec.boolean, codec.boolean, codec.boolean), codec.bytes_up_to(256), codec.uint(1 << 16), codec.boolean
)


def personality_of(connection: sqlite3.Connection) -> Personality:
    """The disk of this folder, as far as names go."""
    found = _kept(connection)
    if found is None:
        return ANY_NAME
    folds, normalises, utf8_only, illegal, name_max, trims = _KEPT(codec.decode_untrusted(found, max_bytes=512))
    return Personality(folds, normalises, utf8_only, frozenset(illegal), name_max, trims=trims)


def note_personality(connection: sqlite3.Connection, disk: Personality) -> bool:
    """Write down how the disk treats names; whether it is another one than so far."""
    kept = None
    if not holds_any(disk):
        folds, illegal = (disk.case_insensitive, disk.normalising, disk.utf8_only), bytes(sorted(disk.illegal))
        kept = codec.encode((*folds, illegal, disk.name_max, disk.trims))
    if _kept(connection) == kept:
        return False
    connection.execute("DELETE FROM meta WHERE key=?", (_KEY,))
    if kept is not None:
        connection.execute("INSERT INTO meta VALUES (?,?)", (_KEY, kept))
    return True


def spellings(name: bytes, disk: Personality) -> tuple[bytes, ...]:
    """The forms in which a name that the disk shows may have been given."""
    if not disk.normalising or name.isascii():
        return (name,)
    text = name.decode("utf-8", "surrogateescape")
    forms = [unicodedata.normalize(form, text).encode("utf-8", "surrogateescape") for form in ("NFC", "NFD")]
    return tuple(dict.fromkeys((name, *forms)))


def as_named(name: bytes, known: Collection[bytes], disk: Personality) -> bytes:
    """A name as the disk shows it, in the form in which it was given: some disks change the Unicode form of names."""
    if not disk.normalising or name in known:
        return name
    form = Personality(normalising=True)
    key = disk_key(name, form)
    return next((one for one in known if disk_key(one, form) == key), name)


def _kept(connection: sqlite3.Connection) -> bytes | None:
    found = connection.execute("SELECT value FROM meta WHERE key=?", (_KEY,)).fetchone()
    return None if found is None else bytes(found[0])
