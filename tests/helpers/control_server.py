"""A control socket with a scripted daemon behind it: the real server and the real HTTP, in a thread of its own.

`script` maps the name of a method to its result, to an exception to raise, or to an async function of (params,
progress). Every call is recorded in `calls`.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from syncd.home import socket_path
from syncd.web.control import Params, Progress, Result, serve_control

Step = Callable[[Params, Progress], Awaitable[Result]]
Script = Mapping[str, Result | Exception | Step]

VERSION: Result = {
    "schema": "syncd.version/1",
    "version": "0.1.0",
    "protocol": 1,
    "pid": 4711,
    "home": "/home/anna/.syncd",
    "listen": ["127.0.0.1:22067"],
    "uptime_s": 90.0,
}


@dataclass
class ScriptedApi:
    """A daemon that answers what it was told to."""

    script: Script
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def call(self, name: str, params: Params, progress: Progress) -> Result:
        self.calls.append((name, dict(params)))
        answer = self.script.get(name, VERSION if name == "version" else None)
        if answer is None:
            raise AssertionError(f"the script has no {name}")
        if isinstance(answer, Exception):
            raise answer
        return await answer(params, progress) if callable(answer) else answer

    def params(self, name: str) -> dict[str, Any]:
        """The parameters of the last call of `name`."""
        return next(params for called, params in reversed(self.calls) if called == name)

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]


@contextmanager
def scripted_daemon(home: Path, script: Script) -> Iterator[ScriptedApi]:
    """Serve `script` on the control socket of `home` while inside the `with`."""
    home.mkdir(mode=0o700, exist_ok=True)
    api = ScriptedApi(script)
    ready = threading.Event()
    running: list[tuple[trio.lowlevel.TrioToken, trio.CancelScope]] = []
    failures: list[BaseException] = []

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_control, socket_path(home), api)
            running.append((trio.lowlevel.current_trio_token(), nursery.cancel_scope))
            ready.set()

    def run() -> None:
        try:
            trio.run(serve)
        except BaseException as error:
            failures.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    try:
        if failures:
            raise failures[0]
        yield api
    finally:
        for token, scope in running:
            token.run_sync_soon(scope.cancel)
        thread.join()


def stream(result: Result, *progress: Mapping[str, Any]) -> Step:
    """A step that tells `progress` and then answers `result`."""

    async def step(params: Params, send: Progress) -> Result:
        for item in progress:
            await send(item)
        return result

    return step
