"""Blocking. How fast the disk of a folder is, tried out where nothing was measured yet; and what was measured before,
kept in a row."""

from __future__ import annotations

import json

from syncd.engine.rates import Rates
from syncd.seams import Tree
from syncd.store.folder import FolderStore

SAMPLE_BYTES = 8 << 20
_TOKEN = b"timing"


def write_sample(tree: Tree) -> int:
    """Stage and flush some bytes, and drop them again: how many. Raises TreeError."""
    writer = tree.stage_file(_TOKEN)
    try:
        writer.write_at(0, b"\xa5" * SAMPLE_BYTES)
        writer.finish()
        tree.flush([_TOKEN])
    finally:
        writer.close()
        tree.drop_staged(_TOKEN)
    return SAMPLE_BYTES


def db_take_rates(store: FolderStore, rates: Rates) -> None:
    """Go on with what was measured before the last end."""
    found = store.connection.execute("SELECT value FROM meta WHERE key='rates'").fetchone()
    if found is not None:
        rates.take(json.loads(found[0]))


def db_keep_rates(store: FolderStore, rates: Rates) -> None:
    """For the next start."""
    value = json.dumps(rates.as_json()).encode()
    store.connection.execute("INSERT OR REPLACE INTO meta VALUES ('rates', ?)", (value,))
