"""Async. Fetching the lists of large files that were here before anybody fetched them.

Such a file is in sync, and nothing of it is lacking; but without its list this disk cannot give it to others, who may
find nobody else.
"""

from __future__ import annotations

import logging
from typing import Final

import trio

from syncd.folder.gathering import fetch
from syncd.folder.ground import Ground
from syncd.store.unlisted import db_take_names, db_unlisted

log = logging.getLogger("syncd.folder")

RETRY_S: Final = 30.0
LONGEST_WAIT_S: Final = 1800.0
"""Where nobody has it; somebody new who is linked is asked at once."""


class ListFetcher:
    """One folder's. `run` until cancelled."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def db_begin(self) -> None:
        """At a start, before `run`: whether some are left from before."""
        if db_unlisted(self._ground.store.connection, 0)[0]:
            self._ground.note_unlisted()

    async def run(self) -> None:
        """Whenever there may be such a file (`Ground.unlisted`), until none is left."""
        wait_s = RETRY_S
        while True:
            await self._ground.unlisted.wait()
            self._ground.unlisted = trio.Event()
            if self._can_ask and await self._fetch_all():
                self._ground.lacks_lists = self._ground.unlisted.is_set()
                self._ground.tell()
                wait_s = RETRY_S
            else:
                with trio.move_on_after(wait_s):
                    await self._ground.unlisted.wait()
                self._ground.unlisted.set()
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    @property
    def _can_ask(self) -> bool:
        return bool(self._ground.links) and self._ground.rights.exchanges

    async def _fetch_all(self) -> bool:
        """Ask for what is lacking; True if nothing of it is left to ask for."""
        ground, after, taken, left = self._ground, 0, 0, 0
        while True:
            page, following = await ground.db(db_unlisted, ground.store.connection, after)
            lacking = [entry for one in page for entry in one.lacking]
            came = await fetch(ground, lacking, frozenset(entry.cid for entry in lacking)) if lacking else 0
            left += len(lacking) - came
            taken += await ground.db(db_take_names, ground.store.connection, [one.row for one in page])
            if following is None:
                break
            after = following
        if taken:
            log.info("folder %s: %s files that were here already can be had from here now", ground.name, taken)
        return not left
