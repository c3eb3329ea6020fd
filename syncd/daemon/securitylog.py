"""Async. The security log on disk: what was refused, as `protocol.refusals` counts it, for `syncd security`.

Shape:  one JSON object a line, in `security.log` of the home. A burst is written when it begins and again when its
        counter has grown; the last line with its number counts. At 1 MiB the file becomes `security.log.1`, and the one
        before goes, so it can be flooded, but not to fill the disk.

It can lose what happened in the second before a crash, and no more; it is no proof against whoever owns this account.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import trio

from syncd.daemon.installation import Installation
from syncd.protocol.refusals import MAX_KEPT, Burst, Event, Refusals

log = logging.getLogger(__name__)

FILE_NAME: Final = "security.log"
MAX_BYTES: Final = 1 << 20
WRITE_S: Final = 1.0


class SecurityLog:
    """The refusals of this device, kept across its restarts."""

    def __init__(self, installation: Installation) -> None:
        self.refusals = Refusals(installation.clock, _say)
        self._installation = installation
        self._has_news = trio.Event()
        self.refusals.on_changed = self._note_news

    def _note_news(self) -> None:
        self._has_news.set()

    async def run(self) -> None:
        """Bring back what is on disk, and write what comes, until cancelled. Without a home there is nothing to do."""
        own = self._installation
        if own.home is None:
            return
        path = own.home / FILE_NAME
        self.refusals.restore(await own.workers.run_blocking(read, path))
        try:
            while True:
                await self._has_news.wait()
                await trio.sleep(WRITE_S)  # what comes in a crowd is written together
                self._has_news = trio.Event()
                await self._write(path)
        finally:
            with trio.CancelScope(shield=True):
                await self._write(path)

    async def _write(self, path: Path) -> None:
        if not (changed := self.refusals.take_changed()):
            return
        try:
            await self._installation.workers.run_blocking(append, path, changed)
        except OSError as error:
            log.error("the security log cannot be written: %s", error)


def _say(burst: Burst) -> None:
    log.info("refused %s: %s: %s", burst.host, burst.event.value, burst.why)


def append(path: Path, bursts: list[Burst]) -> None:
    """Add lines, in a file that only its owner reads, and start another when it is full."""
    lines = "".join(json.dumps({**asdict(burst), "event": burst.event.value}) + "\n" for burst in bursts)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "a", encoding="ascii") as file:
        file.write(lines)
        size = file.tell()
    if size > MAX_BYTES:
        path.replace(path.with_name(path.name + ".1"))


def read(path: Path) -> list[Burst]:
    """What the files hold, oldest first, at most a thousand; lines that a crash or a hand spoiled are passed over."""
    found: dict[tuple[int, float], Burst] = {}
    for one in (path.with_name(path.name + ".1"), path):
        try:
            text = one.read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            continue
        for line in text.splitlines():
            if (burst := _maybe_burst(line)) is not None:
                found[burst.number, burst.began] = burst
    newest = sorted(found.values(), key=lambda burst: burst.began)[-MAX_KEPT:]
    for number, burst in enumerate(newest):
        burst.number = number
    return newest


def _maybe_burst(line: str) -> Burst | None:
    try:
        value: Any = json.loads(line)
        return Burst(
            int(value["number"]),
            Event(value["event"]),
            str(value["host"]),
            str(value["why"]),
            float(value["began"]),
            float(value["last"]),
            int(value["count"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
