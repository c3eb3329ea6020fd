"""Pure. What the listener of share links needs of the daemon: to prove a link, to look at what it shows, to take it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from ca.values import dataclass
from syncd.model.paths import Path
from syncd.web.linkgate import Verb


@dataclass(frozen=True, slots=True)
class Proved:
    """The proof was right: a cookie, and for how many seconds it holds."""

    cookie: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Wrong:
    """It was not, or there is no such link. Nobody is told which. `wait_s`: nothing was looked at."""

    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Thing:
    """A file or directory as it is shown."""

    name: bytes
    is_directory: bool
    size: int


@dataclass(frozen=True, slots=True)
class Shown:
    """What a link shows at a path, with the first of what is in it; `after`: the name where the rest begins."""

    thing: Thing
    entries: Sequence[Thing] = ()
    after: bytes | None = None


class NotHere(Exception):
    """What is asked for is shared, and not whole on this computer just now."""


class TooMany(Exception):
    """A directory with more names than one zip file may hold."""


class File(Protocol):
    """The content of a file: some bytes that do not change any more."""

    @property
    def size(self) -> int: ...

    @property
    def tag(self) -> str:
        """Names exactly these bytes."""
        ...

    def read(self, start: int, length: int) -> AsyncGenerator[memoryview, None]:
        """Verified bytes, at the pace that is allowed."""
        ...


class Visitor(Protocol):
    """Somebody who has proved a link that lives."""

    @property
    def expires(self) -> float: ...

    @property
    def left(self) -> int | None:
        """How many downloads may still be begun; None: any number."""
        ...

    def has_taken(self, verb: Verb, path: Path) -> bool: ...

    async def show(self, path: Path, after: bytes) -> Shown | None:
        """What is at a path. Raises NotHere when nothing can be said now."""
        ...

    async def take(self, verb: Verb, path: Path) -> bool:
        """Begin a download: counted, on disk, and in the audit log when this returns. False: there are no more."""
        ...

    async def file(self, path: Path) -> File | None:
        """The content of a file. Raises NotHere."""
        ...

    async def zip(self, path: Path) -> AsyncGenerator[memoryview, None]:
        """All of a directory as one file. Raises NotHere, TooMany; the bytes end with an exception if a file cannot be
        read."""
        ...

    def running(self, cut: Callable[[], None]) -> AbstractContextManager[None]:
        """While bytes go out: `cut` is called when the link ends."""
        ...


class Host(Protocol):
    """What the daemon does for the listener."""

    async def prove(self, link: str, secret: str, password: str, host: str) -> Proved | Wrong: ...

    def visitor(self, link: str, cookie: str, host: str) -> Visitor | None:
        """Who has this cookie, if the link it is for lives and its folder still allows it."""
        ...

    def refuses(self, host: str) -> str | None:
        """Why nobody from this address may connect at all."""
        ...

    def note_refusal(self, address: str, why: str) -> None: ...

    def now(self) -> float:
        """Unix seconds."""
        ...
