"""Async. People outside who open share links: the proof, what they may see after it, and what they take.

A right secret with a right password gives a session, which is a cookie for this one link. Everything else is answered
in the same way after the same work, whatever was wrong; how often somebody may be wrong is counted before it is known.
Wrong secrets count by address and all together, wrong passwords by address and by link: so nobody who lacks the secret
can lock out those who have it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager
from dataclasses import field
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import trio

from ca.addresses import maybe_refusal
from ca.values import dataclass
from syncd.engine import sharelinks
from syncd.engine.sharelinks import GUESSES, Guesses, ShareLink
from syncd.folder.folder import FolderTask
from syncd.methods.handingout import HandedOut, all_below, zip_top, zipped
from syncd.methods.linkkeeper import LinkKeeper, short_id
from syncd.model.paths import Path, show_path
from syncd.protocol.door import owner_of
from syncd.protocol.refusals import Event
from syncd.store import shared
from syncd.store.shared import Shared
from syncd.web.linkgate import Verb
from syncd.web.linkhost import NotHere, Proved, Shown, Thing, Wrong

if TYPE_CHECKING:
    from syncd.daemon.app import Daemon

SESSION_S: Final = 12 * 3600.0
MAX_SESSIONS: Final = 2_048
MAX_OF_LINK: Final = 512
"""Sessions of one link: who has one link cannot end those of the others."""
MAX_OPENED: Final = 30
"""Right proofs from one address within a minute: each is written down, and makes a session."""
MAX_TAKEN: Final = 10_000
PAGE: Final = 100
MAX_STRANGERS: Final = 120
"""Proofs with a wrong secret within a minute, over all addresses: each costs as much as a right one."""
_EVERYBODY: Final = "everybody"
_NO_SALT: Final = bytes(sharelinks.SALT_BYTES)


@dataclass(slots=True)
class _Session:
    """A browser that proved one link. Its cookie is known here only by its hash. Times in unix seconds."""

    link: bytes
    until: float
    taken: set[tuple[Verb, Path]] = field(default_factory=set)
    taking: trio.Lock = field(default_factory=trio.Lock)


class Visits:
    """Implements `web.linkhost.Host`."""

    def __init__(self, daemon: Daemon, keeper: LinkKeeper, *, most_strangers: int = MAX_STRANGERS) -> None:
        self._daemon = daemon
        self._own = daemon.installation
        self._keeper = keeper
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()
        self._by_address, self._by_link = Guesses(), Guesses()
        self._strangers = Guesses(most_strangers)
        self._opened = Guesses(MAX_OPENED)
        self._proving = trio.Lock()

    def now(self) -> float:
        return self._own.clock.now()

    def refuses(self, host: str) -> str | None:
        """Why nobody from this address may connect: this device's own rules."""
        return maybe_refusal(self._daemon.settings.rules, host)

    def note_refusal(self, address: str, why: str) -> None:
        self._daemon.refusals.note(Event.LINK, address, why)

    # the proof -----------------------------------------------------------------------------------------------

    async def prove(self, link: str, secret: str, password: str, host: str) -> Proved | Wrong:
        """Look at a proof, if this address and this link may be tried now. One at a time: a right one that is being
        looked at keeps nobody out."""
        async with self._proving:
            return await self._prove(sharelinks.id_untrusted(link), secret, password, host)

    async def _prove(self, id: bytes | None, secret: str, password: str, host: str) -> Proved | Wrong:
        who, now = owner_of(host), self._own.clock.monotonic()
        found = self._keeper.living(id)
        if found is not None and (found.is_used_up or self._keeper.refuses(found, host) is not None):
            found = None
        shows = sharelinks.shows_secret(found, secret)
        guesses, key = (self._by_link, id) if shows else (self._strangers, _EVERYBODY)
        opened_s = self._opened.wait_s(who, now) if shows else 0.0
        if wait_s := max(self._by_address.wait_s(who, now), guesses.wait_s(key, now), opened_s):
            self.note_refusal(host, "too many tries to open a share link")
            return Wrong(wait_s)
        take_back = self._by_address.count(who, now), guesses.count(key, now)
        if not shows or found is None or found.has_password:
            # The same work for what is not there: how long it takes tells nothing.
            salt = _NO_SALT if found is None else found.salt
            digest = await self._own.workers.run_blocking(sharelinks.password_digest, password, salt)
            found = self._keeper.living(id)
            if not shows or found is None or not sharelinks.fits_password(found, digest):
                await self._note_wrong(found if shows else None, host, now)
                return Wrong()
        for take in take_back:
            take()
        self._opened.count(who, now)
        await self._keeper.tell(found, "link.open", f"from {host}")
        return self._let_in(found)

    async def _note_wrong(self, link: ShareLink | None, host: str, now: float) -> None:
        if link is None:
            self.note_refusal(host, "a proof that opens no share link")
            return
        self.note_refusal(host, f"a wrong password for share link {short_id(link.id)}")
        number = self._by_link.number(link.id, now)
        if number == 1:
            await self._keeper.tell(link, "link.password", f"wrong, from {host}", ok=False)
        elif number >= GUESSES:
            what = f"{GUESSES} were wrong within a minute, the last from {host}; it is closed for a moment"
            await self._keeper.tell(link, "link.guessed", what, ok=False)

    def _let_in(self, link: ShareLink) -> Proved:
        now = self.now()
        until = min(self._keeper.expires(link), now + SESSION_S)
        cookie = self._own.random.token(32).hex()
        for key in [key for key, session in self._sessions.items() if session.until <= now]:
            del self._sessions[key]
        same = [key for key, session in self._sessions.items() if session.link == link.id]
        if len(same) >= MAX_OF_LINK:
            del self._sessions[same[0]]
        elif len(self._sessions) >= MAX_SESSIONS:
            self._sessions.popitem(last=False)
        self._sessions[_hash(cookie)] = _Session(link.id, until)
        return Proved(cookie, max(1, int(until - now)))

    def visitor(self, link: str, cookie: str, host: str) -> Visit | None:
        """Who has this cookie; asked anew at every request."""
        key = _hash(cookie)
        session = self._sessions.get(key)
        if session is None or session.link != sharelinks.id_untrusted(link):
            return None
        found = self._keeper.living(session.link)
        if found is None or self.now() >= session.until or self._keeper.refuses(found, host) is not None:
            return None
        self._sessions.move_to_end(key)
        return Visit(self._daemon, self._keeper, session, host)


class Visit:
    """One request of somebody who proved a link. Implements `web.linkhost.Visitor`."""

    def __init__(self, daemon: Daemon, keeper: LinkKeeper, session: _Session, host: str) -> None:
        self._daemon = daemon
        self._keeper = keeper
        self._session = session
        self._host = host

    def _now(self) -> tuple[ShareLink, FolderTask]:
        """The link and the folder's task. Raises NotHere when it ended in this moment."""
        link = self._keeper.living(self._session.link)
        folder = None if link is None else self._keeper.folder(link)
        if link is None or folder is None or folder.task is None:
            raise NotHere
        return link, folder.task

    @property
    def expires(self) -> float:
        return self._keeper.expires(self._now()[0])

    @property
    def left(self) -> int | None:
        link, _ = self._now()
        return max(0, link.most - link.used) if link.most else None

    def has_taken(self, verb: Verb, path: Path) -> bool:
        return (verb, path) in self._session.taken

    async def show(self, path: Path, after: bytes) -> Shown | None:
        """What is at a path; of a directory the next hundred names."""
        link, task = self._now()
        found = await task.db(shared.db_node, task.store, link.node, path)
        if found is None:
            return None
        thing = Thing(self._name(link, found), found.is_directory, found.size)
        if not found.is_directory:
            return Shown(thing)
        inside = await task.db(shared.db_inside, task.store, found, after, PAGE + 1)
        entries = [Thing(one.name, one.is_directory, one.size) for one in inside[:PAGE]]
        return Shown(thing, entries, entries[-1].name if len(inside) > PAGE else None)

    def _name(self, link: ShareLink, found: Shared) -> bytes:
        folder = self._keeper.folder(link)
        return found.name or (b"" if folder is None else folder.name.encode("utf-8", "surrogateescape"))

    async def take(self, verb: Verb, path: Path) -> bool:
        """Begin a download. The same thing once more, by the same browser, counts for nothing."""
        session = self._session
        async with session.taking:
            if (verb, path) in session.taken:
                return True
            if len(session.taken) >= MAX_TAKEN or not await self._keeper.take(session.link):
                return False
            session.taken.add((verb, path))
            link, _ = self._now()
            what = show_path((link.name.encode("utf-8", "surrogateescape"), *path))
            await self._keeper.tell(link, "link.download", f"{what} as {verb.value}, from {self._host}")
        return True

    async def file(self, path: Path) -> HandedOut | None:
        """The content of a file, as the folder has it now."""
        link, task = self._now()
        found = await task.db(shared.db_node, task.store, link.node, path)
        if found is None or found.is_directory:
            return None
        content = await task.db(shared.db_bytes, task.store, found)
        if content is None:
            raise NotHere
        return HandedOut(task, path or (found.name,), content, task.pace.up())

    async def zip(self, path: Path) -> AsyncGenerator[memoryview, None]:
        """All of a directory. Raises NotHere, TooMany."""
        link, task = self._now()
        found = await task.db(shared.db_node, task.store, link.node, path)
        if found is None or not found.is_directory:
            raise NotHere
        top = zip_top(self._name(link, found))
        async with self._keeper.walking:
            items = await all_below(task, found)
        return zipped(task, top, items, task.pace.up())

    def running(self, cut: Callable[[], None]) -> AbstractContextManager[None]:
        return self._keeper.running(self._session.link, cut, self._host)


def _hash(cookie: str) -> bytes:
    return sha256(cookie.encode()).digest()
