"""Async. Share links as a person makes, lists and revokes them, and the life of their listener: the port is opened with
the first link that lives, and closed after the last one."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import trio

from ca.roles import Action, LinkPolicy
from syncd.config import host_name
from syncd.daemon.host import DeviceProblem, reachable
from syncd.daemon.running import RunningFolder
from syncd.daemon.views import Json, as_text, moment
from syncd.engine import sharelinks
from syncd.engine.sharelinks import LONGEST_SETTING, POLICY_SETTING, End, ShareLink
from syncd.errors import ConfigError, SyncdError, TrustError
from syncd.methods.explaining import inside_of
from syncd.methods.linkcert import LinkCertificate, open_certificate
from syncd.methods.linkkeeper import LinkKeeper, short_id
from syncd.methods.visiting import Visits
from syncd.model.paths import Path, show
from syncd.store import shared
from syncd.store.shared import Shared
from syncd.wording import duration

if TYPE_CHECKING:
    from syncd.daemon.app import Daemon
    from syncd.web.linkserver import LinkServer

log = logging.getLogger("syncd.links")

LOOK_S: Final = 30.0
"""A clock that is set, or a computer that slept, is noticed within that."""
SHORTEST_LOOK_S: Final = 0.2
READ_AGAIN_S: Final = 3600.0
"""So often the certificate is read again: configured ones are renewed in place, the own one a month before its end."""
MIN_ID: Final = 6
PROBLEM: Final = "share links"

Params = Mapping[str, Any]
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]
Find = Callable[[str | None, str | None], RunningFolder]

_WHY_ENDED: Final = {
    End.EXPIRED: "its time is over",
    End.REVOKED: "it was revoked",
    End.FORBIDDEN: "this device may not make links of that folder any more",
    End.LEFT: "this device is no member of that folder any more",
    End.DOUBTFUL: "the database of this computer was damaged, and its copy does not know what became of it",
}


class Linking:
    """The methods of the control socket that are about share links. They work while `run` runs."""

    def __init__(
        self,
        daemon: Daemon,
        find_folder: Find,
        folder_of_path: Callable[[str], RunningFolder | None],
        push: Callable[[RunningFolder], Awaitable[list[str]]],
    ) -> None:
        self._daemon = daemon
        self._own = daemon.installation
        self._find = find_folder
        self._folder_of_path = folder_of_path
        self._push = push
        self.keeper = LinkKeeper(daemon)
        self._visits = Visits(daemon, self.keeper)
        self._nursery: trio.Nursery | None = None
        self._server: LinkServer | None = None
        self._serving = trio.CancelScope()
        self._certificate: LinkCertificate | None = None
        self._read_at = 0.0
        self._opening = trio.Lock()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve links while some live, until cancelled."""
        await self.keeper.load()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            while True:
                changed = self._daemon.changed
                try:
                    await self.keeper.judge()
                except sqlite3.Error as error:  # it is over in memory, and written as soon as that is possible
                    log.error("what became of share links cannot be written: %s", error)
                await self._open_or_close()
                await trio.sleep(SHORTEST_LOOK_S)  # a busy folder tells of changes all the time
                wait_s = min(LOOK_S, max(SHORTEST_LOOK_S, self.keeper.next_end - self._own.clock.now()))
                with trio.move_on_after(wait_s):
                    await changed.wait()

    # the listener --------------------------------------------------------------------------------------------

    async def _open_or_close(self) -> None:
        async with self._opening:
            await self._settle()

    async def _settle(self) -> None:
        if not self.keeper.any_lives:
            self._close()
            return
        try:
            await self._open()
            self._daemon.problems.pop(PROBLEM, None)
        except ConfigError as error:
            if PROBLEM not in self._daemon.problems:
                log.error("%s: %s", error, error.why)
            fix = error.fix or "syncd help SY-LINK-01"
            self._daemon.problems[PROBLEM] = DeviceProblem(error.id or "SY-LINK-01", error.what, fix)

    async def _open(self) -> None:
        """Listen, unless that is done. Raises ConfigError SY-LINK-01, -06."""
        if self._nursery is None:
            raise ConfigError("this daemon serves no share links", id="SY-LINK-01", why="it was started without them")
        if self._server is not None:
            await self._read_again()
            return
        await self._read_certificate()
        from syncd.web.linkserver import LinkServer  # and with it Jinja: only while a share link lives

        settings = self._daemon.settings
        server = LinkServer(
            self._daemon.seams.network,
            self._visits,
            lambda: self._shown().context,
            is_strict=settings.links_certificate is not None,
            origin=settings.links_url,
        )
        await server.listen(settings.links_listen, is_configured=settings.links_listen_configured)
        self._server, self._serving = server, trio.CancelScope()
        self._nursery.start_soon(self._serve, server, self._serving)
        log.info("share links are at %s", ", ".join(self._addresses()))

    async def _serve(self, server: LinkServer, scope: trio.CancelScope) -> None:
        """Nothing that happens there may end the daemon; the next look opens the port anew."""
        try:
            with scope:
                await server.run()
        except Exception:
            log.exception("the listener of share links failed")
        finally:
            if self._server is server:
                self._server = None

    def _close(self) -> None:
        if self._server is not None:
            self._serving.cancel()
            self._server = None
            log.info("no share link lives; their port is closed")

    async def _read_again(self) -> None:
        """New certificates need no new listener; a bad one leaves the last good one in force."""
        if self._own.clock.monotonic() - self._read_at < READ_AGAIN_S:
            return
        try:
            await self._read_certificate()
        except ConfigError as error:
            self._read_at = self._own.clock.monotonic()
            log.error("%s: %s", error, error.why)

    async def _read_certificate(self) -> None:
        names = [*self._daemon.seams.network.local_addresses(), "localhost", "127.0.0.1", host_name()]
        settings, home = self._daemon.settings, self._own.home
        if home is None:
            raise ConfigError("this daemon has no home", id="SY-LINK-01")
        now, random = self._own.clock.now(), self._own.random.token
        own, configured = self._own, settings.links_certificate
        # The home key as it is in the lane, where no change of the passphrase comes between.
        self._certificate = await own.on_disk(
            lambda: open_certificate(home, configured, names, now, random, own.home_key)
        )
        self._read_at = self._own.clock.monotonic()

    def _shown(self) -> LinkCertificate:
        assert self._certificate is not None
        return self._certificate

    def _addresses(self) -> list[str]:
        """How people reach the listener, the best first: what the settings say, else every address of this machine."""
        settings, server = self._daemon.settings, self._server
        if settings.links_url is not None:
            return [settings.links_url]
        if server is None:
            return []
        local = [*self._daemon.seams.network.local_addresses()] or ["127.0.0.1"]
        return [f"https://{address}" for address in reachable(server.addresses, local)]

    # making --------------------------------------------------------------------------------------------------

    async def create(self, params: Params, progress: Progress) -> Json:
        """Make a link. The address is told here once, and is nowhere afterwards."""
        folder = self._folder_of_path(params["path"])
        if folder is None:
            raise SyncdError("no folder of syncd contains this path", id="SY-FIND-03")
        self._demand_right(folder)
        lifetime_s = self._lifetime(folder, params["expires_s"])
        if params["password"] is not None and (why := sharelinks.password_trouble(params["password"])):
            raise SyncdError("this password is too easy to guess, or too long", id="SY-LINK-05", why=why)
        inside = inside_of(folder.row.path, params["path"])
        path: Path = tuple(inside.split(b"/")) if inside else ()
        task = folder.at_work()
        thing = await task.db(shared.db_at, task.store, path)
        if thing is None:
            raise SyncdError(f"{show(path[-1]) if path else folder.name} cannot be shared", id="SY-LINK-03")
        if sum(link.lives for link in self.keeper.links) >= sharelinks.MAX_LINKS:
            raise SyncdError(f"there are {sharelinks.MAX_LINKS} links already", id="SY-LINK-04")
        secret = self._own.random.token(sharelinks.SECRET_BYTES)
        link = await self._new(folder, thing, secret, params["password"], lifetime_s, params["most"])
        if params["dry_run"]:
            return {**await self._json(link), "schema": "syncd.link/1", "url": None, **self._reached()}
        async with self._opening:  # nobody closes the port before the link lives
            await self._open()
            self._demand_right(folder)  # it may have been taken away while the port was opened
            await self.keeper.put(link)
        typed = sharelinks.secret_text(secret)
        url = f"{self._addresses()[0]}/l/{link.id.hex()}#{typed}"
        return {**await self._json(link), "schema": "syncd.link/1", "url": url, **self._reached()}

    async def _new(
        self,
        folder: RunningFolder,
        thing: Shared,
        secret: bytes,
        password: str | None,
        lifetime_s: int,
        most: int | None,
    ) -> ShareLink:
        salt, now = self._own.random.token(sharelinks.SALT_BYTES), self._own.now_s()
        digest = b""
        if password is not None:
            digest = await self._own.workers.run_blocking(sharelinks.password_digest, password, salt)
        return ShareLink(
            id=self._own.random.token(sharelinks.ID_BYTES),
            folder=folder.id,
            node=thing.node,
            name=show(thing.name) if thing.name else folder.name,
            is_directory=thing.is_directory,
            made=now,
            expires=now + lifetime_s,
            verifier=sharelinks.verifier_of(sharelinks.secret_text(secret)),
            salt=salt,
            has_password=password is not None,
            password=digest,
            most=most or 0,
            seen=now,
        )

    def _demand_right(self, folder: RunningFolder) -> None:
        if folder.membership.may_share_links():
            return
        policy = sharelinks.policy_untrusted(folder.membership.roster.settings)
        why = "The folder's policy allows links to nobody." if policy is LinkPolicy.OFF else ""
        raise TrustError(f"share links of {folder.name} are not allowed", id="SY-LINK-02", why=why)

    def _lifetime(self, folder: RunningFolder, asked_s: float | None) -> int:
        longest = sharelinks.longest_untrusted(folder.membership.roster.settings)
        if asked_s is None:
            return min(sharelinks.LIFETIME_S, longest)
        if not sharelinks.SHORTEST_S <= asked_s <= longest:
            what = f"a link of {folder.name} can live from a minute to {duration(longest)}"
            raise SyncdError(what, id="SY-LINK-04", why="The folder's policy says so.")
        return int(asked_s)

    # looking and ending --------------------------------------------------------------------------------------

    async def links(self, params: Params, progress: Progress) -> Json:
        """All links of this device, or those of one folder; those that ended for 30 days longer."""
        chosen = None if params["folder"] is None else self._find(params["folder"], params["cwd"]).id
        found = [await self._json(link) for link in self.keeper.links if chosen in (None, link.folder)]
        return {"schema": "syncd.links/1", "links": found, **self._reached()}

    async def show(self, params: Params, progress: Progress) -> Json:
        """One link. What opens it is not known here."""
        link = self._named(params["id"])
        return {**await self._json(link), "schema": "syncd.link/1", "url": None, **self._reached()}

    async def revoke(self, params: Params, progress: Progress) -> Json:
        """End a link, and every download that runs."""
        link = self._named(params["id"])
        if not params["dry_run"]:
            link = await self.keeper.end(link, End.REVOKED)
            await self._open_or_close()
        return {**await self._json(link), "schema": "syncd.link.revoke/1"}

    def _named(self, typed: str) -> ShareLink:
        found = [link for link in self.keeper.links if len(typed) >= MIN_ID and link.id.hex().startswith(typed.lower())]
        if len(found) != 1:
            known = ", ".join(short_id(link.id) for link in self.keeper.links if link.lives) or "there is none"
            raise SyncdError(f"there is no share link {typed}", id="SY-FIND-01", why=f"known here: {known}")
        return found[0]

    async def policy(self, params: Params, progress: Progress) -> Json:
        """Who may make links of a folder, and for how long; with `who` or `longest_s` that is changed first."""
        folder = self._find(params["folder"], params["cwd"])
        membership, pending = folder.membership, []
        settings = []
        if params["who"] is not None:
            settings.append((POLICY_SETTING, int(_policy(params["who"]))))
        if params["longest_s"] is not None:
            longest = int(params["longest_s"])
            if not sharelinks.SHORTEST_S <= longest <= sharelinks.MAX_LONGEST_S:
                raise SyncdError("the longest life of a link is from a minute to ten years", id="SY-USE-01")
            settings.append((LONGEST_SETTING, longest))
        if settings:
            if not membership.may(Action.SET_POLICY):
                raise TrustError("your role does not allow to set the folder's policy", id="SY-SHARE-04")
            if not params["dry_run"]:
                await membership.change_settings(settings)
                await self.keeper.judge()
                await self._open_or_close()
                pending = await self._push(folder)
        now = membership.roster.settings
        return {
            "schema": "syncd.link.policy/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "who": sharelinks.policy_untrusted(now).name.lower(),
            "longest_s": sharelinks.longest_untrusted(now),
            "you_may": membership.may_share_links(),
            "pending": pending,
        }

    # telling -------------------------------------------------------------------------------------------------

    def _reached(self) -> Json:
        certificate = self._certificate
        listens = self._server is not None
        return {
            "listen": list(self._server.addresses) if self._server is not None else [],
            "addresses": self._addresses() if listens else [],
            "fingerprint": certificate.fingerprint if certificate is not None and listens else None,
            "own_certificate": certificate is None or not certificate.is_configured,
        }

    async def _json(self, link: ShareLink) -> Json:
        folder = self.keeper.folder(link)
        where: Path | None = None
        if folder is not None and folder.task is not None:
            where = await folder.task.db(shared.db_path, folder.task.store, link.node)
        state, why = self._state(link, where)
        root = "" if folder is None else as_text(folder.row.path)
        return {
            "id": link.id.hex(),
            "folder": link.folder.hex(),
            "name": "" if folder is None else folder.name,
            "path": link.name if where is None else os.path.join(root, as_text(b"/".join(where))).rstrip("/"),
            "kind": "directory" if link.is_directory else "file",
            "made": moment(link.made),
            "expires": moment(self.keeper.expires(link)),
            "password": link.has_password,
            "most": link.most or None,
            "used": link.used,
            "state": state,
            "why": why,
        }

    def _state(self, link: ShareLink, where: Path | None) -> tuple[str, str | None]:
        if not link.lives:
            return "ended", _WHY_ENDED[link.end]
        if (why := self.keeper.rests(link)) is not None:
            return "rests", why
        if where is None:
            return "rests", "what it shows was deleted, or is not in place here"
        return ("used up", None) if link.is_used_up else ("open", None)


def _policy(word: str) -> LinkPolicy:
    try:
        return LinkPolicy[word.upper()]
    except KeyError:
        raise SyncdError(f"{word} is not a policy for links", id="SY-USE-01", fix="members, all or off") from None
