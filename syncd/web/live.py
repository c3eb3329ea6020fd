"""Async. One stream of events for each browser: what is new, so that an open page stays true.

An event is the whole present state in short, never a difference: the verdict, the rates, and a digest that tells
whether the page has to be fetched again. So a listener that was away or too slow has missed nothing once it has the
newest one, and for each listener at most one event waits.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import field
from typing import Any, Final

import trio

from ca.values import dataclass
from syncd.errors import SyncdError
from syncd.web.asking import digest, headline, level
from syncd.web.calling import call
from syncd.web.control import Api

POLL_S: Final = 0.5
BEAT_S: Final = 15.0
MAX_LISTENERS: Final = 16
RATES: Final = ("receive_rate", "send_rate")


@dataclass(eq=False, slots=True)
class _Listener:
    """A browser that listens."""

    news: trio.Event = field(default_factory=trio.Event)


class Live:
    """Looks at the status while somebody listens, and tells what changed."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._listeners: set[_Listener] = set()
        self._somebody = trio.Event()
        self._event: dict[str, Any] = {}

    @property
    def listening(self) -> int:
        """How many browsers listen."""
        return len(self._listeners)

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another listener."""
        return len(self._listeners) >= MAX_LISTENERS

    async def run(self) -> None:
        """Watch the status; rests while nobody listens."""
        while True:
            await self._somebody.wait()
            await self._look()
            await trio.sleep(POLL_S)

    async def _look(self) -> None:
        try:
            status = await call(self._api, "status", {"folder": None, "cwd": None})
        except SyncdError:
            return
        transfer = status["transfer"]
        event = {
            "verdict": headline(status),
            "level": level(status),
            "digest": digest(status),
            **{key: transfer.get(key, 0) for key in RATES},
        }
        if event != self._event:
            self._event = event
            for listener in self._listeners:
                listener.news.set()

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The stream of one browser: the present state, every change, and a beat."""
        listener = _Listener()
        self._listeners.add(listener)
        self._somebody.set()
        try:
            if self._event:
                listener.news.set()
            yield b"retry: 2000\n\n"
            while True:
                with trio.move_on_after(BEAT_S):
                    await listener.news.wait()
                if listener.news.is_set():
                    listener.news = trio.Event()
                    yield self._written()
                else:
                    yield b": still here\n\n"
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                self._somebody = trio.Event()

    def _written(self) -> bytes:
        data = json.dumps(self._event, separators=(",", ":"))
        return f"event: state\ndata: {data}\n\n".encode()
