"""Async. All share links of this device: in memory and on disk, which of them live, and what is cut when one ends.

Whether a link lives is asked anew at every request, and besides whenever the daemon hears of a change and twice a
minute: a link ends with its time, with the right of this device to make it, with its membership in the folder, or by a
person's word. What has ended is written down and never comes back. While its folder rests (paused, stopped, its
membership in doubt) a link opens for nobody, and opens again afterwards.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, Final

import trio

from ca.addresses import maybe_refusal
from ca.ids import FolderId
from syncd.daemon.running import RunningFolder
from syncd.engine import sharelinks
from syncd.engine.happenings import Happening, Kind
from syncd.engine.sharelinks import End, ShareLink, Sums
from syncd.errors import CodecError
from syncd.methods.witnessing import write

if TYPE_CHECKING:
    from syncd.daemon.app import Daemon

log = logging.getLogger("syncd.links")

SEEN_S: Final = 60
"""So old may be what the disk knows of the time at which a link was last looked at."""

Cut = Callable[[], None]


class LinkKeeper:
    """The links. Changes take effect in memory first, in one turn of the event loop, and then go to disk."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._own = daemon.installation
        self._links: dict[bytes, ShareLink] = {}
        self._written: dict[bytes, ShareLink] = {}
        """As the disk has them."""
        self._running: dict[bytes, dict[Cut, str]] = {}
        """Downloads of each link, and from where they are."""
        self._sums = Sums()
        self.walking = trio.Lock()
        """Held by who lists a whole directory: its folder's work has its turn in between."""

    # all of them ---------------------------------------------------------------------------------------------

    @property
    def links(self) -> list[ShareLink]:
        """All that are listed, the newest first."""
        return sorted(self._links.values(), key=lambda link: (-link.made, link.id))

    @property
    def any_lives(self) -> bool:
        return any(link.lives for link in self._links.values())

    @property
    def next_end(self) -> float:
        """When the next one ends by its time; infinity for never."""
        return min((self.expires(link) for link in self._links.values() if link.lives), default=inf)

    async def load(self) -> None:
        """Read what is on disk. What cannot be read opens for nobody."""
        for id, body in await self._own.on_disk(self._own.db.share_links):
            try:
                link = sharelinks.unpack_untrusted(body)
                if link.id != id:
                    raise CodecError("another link's id")
            except CodecError as error:
                log.error("a share link on disk is damaged and counts as ended: %s", error)
                continue
            self._links[link.id] = self._written[link.id] = link
        if self._own.db.moved_aside is not None:  # a copy took its place, which may be older than a revocation
            for link in self.links:
                await self.put(sharelinks.ended(link, End.DOUBTFUL, self._own.clock.now()))

    async def put(self, link: ShareLink) -> None:
        """A new link, or a new state of one: in memory at once, on disk when this returns."""
        self._links[link.id] = link
        await self._own.on_disk(self._own.db.put_share_link, link.id, link.folder, sharelinks.pack(link))
        self._written[link.id] = link

    async def end(self, link: ShareLink, why: End) -> ShareLink:
        """End a link: downloads are cut before this writes anything."""
        over = sharelinks.ended(self._links[link.id], why, self._own.clock.now())
        self._links[link.id] = over
        self._cut(over)
        await self.put(over)
        return over

    async def judge(self) -> None:
        """Look at all links; end what is over, write it down, and forget what ended long ago."""
        self._cut_what_is_over()  # a disk that refuses to write keeps nothing alive
        if self._links:
            here = await self._folders_here()
            for link in self.links:
                if link.lives and link.folder not in here:
                    self._links[link.id] = sharelinks.ended(link, End.LEFT, self._own.clock.now())
                    self._cut(link)
        for id in list(self._written):
            await self._keep(id, self._written[id])
        await self._tell_sums()

    def _cut_what_is_over(self) -> None:
        """End what is over, and its downloads."""
        for id, link in list(self._links.items()):
            self._links[id] = link = self._judged(link)
            is_over = not link.lives or self.rests(link) is not None
            for cut, host in tuple(self._running.get(id, {}).items()):
                if is_over or self.refuses(link, host) is not None:
                    cut()

    async def _keep(self, id: bytes, written: ShareLink) -> None:
        """Write what became of a link since it was written last, or forget it."""
        link = self._links[id]
        if link.end is not written.end or link.seen - written.seen >= SEEN_S:
            await self.put(link)
        if written.lives and not link.lives:
            await self.tell(link, "link.end", link.end.name.lower())
        if sharelinks.is_forgotten(link, self._own.clock.now()):
            await self._own.on_disk(self._own.db.drop_share_link, id)
            del self._links[id], self._written[id]

    async def _folders_here(self) -> frozenset[FolderId]:
        """Folders that this device takes part in, also those that do not run just now."""
        return frozenset(row.id for row in await self._own.on_disk(self._own.db.folders))

    def _judged(self, link: ShareLink) -> ShareLink:
        now = self._own.clock.now()
        link = sharelinks.passed(link, now)
        if link.lives and link.seen >= self.expires(link):
            return sharelinks.ended(link, End.EXPIRED, now)
        why = self._why_over(link)
        return link if why is None or not link.lives else sharelinks.ended(link, why, now)

    def _why_over(self, link: ShareLink) -> End | None:
        """Why this device may not serve a link any more; None if it may, or if that is in doubt."""
        folder = self._daemon.folder(link.folder)
        if folder is None:  # it is being moved, or could not be opened; or left, which `judge` finds out
            return None
        membership = folder.membership
        if membership.is_out or membership.roster.device(membership.device) is None:
            return End.LEFT
        if membership.roster.quarrel:
            return None
        return None if membership.may_share_links() else End.FORBIDDEN

    # one of them ---------------------------------------------------------------------------------------------

    def expires(self, link: ShareLink) -> int:
        """When a link ends by its time: a policy that became shorter since counts for it as well."""
        folder = self._daemon.folder(link.folder)
        if folder is None:
            return link.expires
        return min(link.expires, link.made + sharelinks.longest_untrusted(folder.membership.roster.settings))

    def living(self, id: bytes | None) -> ShareLink | None:
        """A link that opens for somebody in this moment."""
        known = None if id is None else self._links.get(id)
        if known is None:
            return None
        link = self._links[known.id] = self._judged(known)
        return link if link.lives and self.rests(link) is None else None

    def rests(self, link: ShareLink) -> str | None:
        """Why a link that lives opens for nobody just now."""
        folder = self._daemon.folder(link.folder)
        if folder is None or folder.task is None or folder.why_stopped is not None:
            return (
                "its folder is not running" if folder is None or folder.paused_until is None else "its folder is paused"
            )
        if folder.paused_until is not None:
            return "its folder is paused"
        if folder.membership.roster.quarrel or not folder.membership.rights().exchanges:
            return "the membership of its folder is in doubt"
        return None

    def folder(self, link: ShareLink) -> RunningFolder | None:
        return self._daemon.folder(link.folder)

    def refuses(self, link: ShareLink, host: str) -> str | None:
        """Why nobody may come from this address: the folder's own rules."""
        folder = self._daemon.folder(link.folder)
        return "no such folder" if folder is None else maybe_refusal(folder.membership.roster.addresses, host)

    async def take(self, id: bytes) -> bool:
        """Count one download more; False if there is none left. Counted in one turn, on disk before it is granted."""
        link = self.living(id)
        more = None if link is None else sharelinks.taken(link)
        if more is None:
            return False
        await self.put(more)
        return True

    # what is going on ----------------------------------------------------------------------------------------

    @contextmanager
    def running(self, id: bytes, cut: Cut, host: str) -> Iterator[None]:
        """While bytes go out for a link; it may have ended a moment ago."""
        cuts = self._running.setdefault(id, {})
        cuts[cut] = host
        if self.living(id) is None:
            cut()
        try:
            yield
        finally:
            cuts.pop(cut, None)
            if not cuts:
                self._running.pop(id, None)

    def _cut(self, link: ShareLink) -> None:
        for cut in tuple(self._running.get(link.id, ())):
            cut()

    async def tell(self, link: ShareLink, action: str, what: str, *, ok: bool = True) -> None:
        """A line of the audit log about a link. It names neither what opens it nor all of its id.

        People outside cause these lines, and none is ever taken out of that log. So of one kind about one link an hour
        has only so many; the daemon's own log has the rest, and one line here tells how many they were.
        """
        if self._sums.may_tell((link.id, action), self._own.clock.monotonic()):
            await self._write(link, action, what, ok)
        else:
            log.info("link %s: %s %s", short_id(link.id), action, what)

    async def _tell_sums(self) -> None:
        for (id, action), number in self._sums.due(self._own.clock.monotonic()):
            if (link := self._links.get(id)) is not None:
                await self._write(link, action, f"and {number:,} more within an hour", True)

    async def _write(self, link: ShareLink, action: str, what: str, ok: bool) -> None:
        way = f"link {short_id(link.id)}"
        happening = Happening(self._own.clock.now(), Kind.AUDIT, way, action, None, what, ok)
        await write(self._daemon.audit, happening, link.folder)


def short_id(id: bytes) -> str:
    """As much of an id as tells links apart."""
    return id.hex()[:8]
