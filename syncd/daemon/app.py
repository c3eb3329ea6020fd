"""Async. The daemon: one nursery, all wiring. Seams come in; everything else is made here and given what it needs.

Every folder runs in a task and a scope of its own (`daemon.running`). Connections are accepted by one doorkeeper for
all folders and served by one server; each folder has a keeper that dials its members.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace
from functools import partial

import trio

from ca.device import device_text
from ca.ids import DeviceId, FolderId
from ca.values import dataclass
from syncd.config import Settings
from syncd.daemon.answering import Pairing
from syncd.daemon.auditing import AuditLog
from syncd.daemon.beginning import load_folder
from syncd.daemon.commanding import Obedience
from syncd.daemon.devicedb import FolderRow
from syncd.daemon.duties import run_duties, watch_ends
from syncd.daemon.host import DeviceProblem, Seams, reachable
from syncd.daemon.installation import Installation
from syncd.daemon.inviting import About, AttemptFailed, Inviter, InviterEvent
from syncd.daemon.membership import FolderMembership
from syncd.daemon.rescuing import Rescue
from syncd.daemon.reviving import prepare_roots, take_over
from syncd.daemon.running import RunningFolder, database_name, marker_of, pause_of, run_folder
from syncd.daemon.securitylog import SecurityLog
from syncd.daemon.tlsfiles import forget_files
from syncd.daemon.twinning import note_twins
from syncd.engine.membership import Update
from syncd.errors import ConfigError, SyncdError
from syncd.folder.database import OpenDatabases
from syncd.folder.metering import ByteBudget, Meter, Transfers
from syncd.folder.pacing import Pace
from syncd.net.circle import Contact, Surroundings
from syncd.net.connections import Connections
from syncd.net.listen import Doorkeeper
from syncd.net.peers import PeerKeeper
from syncd.net.serve import Server
from syncd.protocol.refusals import Event
from syncd.protocol.tls import LabelTable
from syncd.protocol.twins import RUN_BYTES, Twins
from syncd.seams import Announcement, Found, Listener, Unheard
from syncd.treetypes import NameTaken, NotADirectory, TreeError

log = logging.getLogger("syncd.daemon")

PROCESS_BUDGET_BYTES = 96 << 20
"""Bytes asked for and not yet written, over all folders: part of the promise on memory."""
LIMITED_BUDGET_BYTES = 32 << 20
"""And of those besides that wait for a limit of their own."""
PORTS_TO_TRY = 10
FOUND_WAITING = 64
MARKER_BYTES = 16
SAMPLE_S, IDLE_SAMPLE_S = 1.0, 5.0
"""How often is noted what moved, while something moves and while nothing does."""


@dataclass(slots=True)
class _Started:
    """A folder that is being run, and its keeper; until it has one, as while it is paused, when its members were last
    seen."""

    folder: RunningFolder
    keeper: PeerKeeper | None = None
    seen: Mapping[DeviceId, float] = field(default_factory=dict)


class Daemon:
    """One device at work: its folders, its listener, its invitations."""

    def __init__(self, settings: Settings, seams: Seams, installation: Installation) -> None:
        self.settings = settings
        self.seams = seams
        self.installation = installation
        self.meter = Meter()
        self.problems: dict[str, DeviceProblem] = {}
        self.listening: tuple[str, ...] = ()
        self.started_at = seams.clock.now()
        self.table = LabelTable()
        self.connections = Connections()
        self.changed = trio.Event()
        budgets = ByteBudget(PROCESS_BUDGET_BYTES), ByteBudget(LIMITED_BUDGET_BYTES)
        self._transfers = Transfers(*budgets, self.meter, Pace(settings.limits))
        self._transfers.pace.names_of = self._names_of
        self.databases = OpenDatabases()
        self._started: dict[FolderId, _Started] = {}
        self._leaving: dict[FolderId, trio.Event] = {}
        """Folders that are being forgotten, until nothing of them is at work any more."""
        self._in_order: list[RunningFolder] | None = None
        """They all, by name; None: they have changed since."""
        self._heard: dict[bytes, Found] = {}
        self._nursery: trio.Nursery | None = None
        self.security_log = SecurityLog(installation)
        self.refusals = self.security_log.refusals
        self.audit = AuditLog(installation)
        self.inviter = Inviter(installation, self.table, self.membership, self._about)
        pairing = Pairing(self.inviter, installation)
        twins = Twins(seams.random.token(RUN_BYTES))
        self.server = Server(installation.keys, self.reachable_at, self.keeper, pairing, self.refusals, twins.own)
        self.rescue = self.server.rescue = Rescue(self)
        self.surroundings = Surroundings(
            network=seams.network,
            clock=seams.clock,
            keys=installation.keys,
            connections=self.connections,
            book=installation.book,
            random=seams.random,
            static=settings.peers,
            listening=self.reachable_at,
            server=self.server,
            refusals=self.refusals,
            twins=twins,
            commands=Obedience(self, self.audit),
        )
        self.inviter.on_event.append(self._invitation_moved)
        self.inviter.on_numbers.append(self._announce)
        self.listed, self.loaded = trio.Event(), trio.Event()
        """All folders of the database are known, and may be shown; and they are running."""
        self._hints: list[trio.MemorySendChannel[Found]] = []

    # folders -------------------------------------------------------------------------------------------------

    @property
    def folders(self) -> list[RunningFolder]:
        """All folders of this device, in the order of their names."""
        if self._in_order is None:
            every = (started.folder for started in self._started.values())
            self._in_order = sorted(every, key=lambda folder: (folder.name, folder.id))
        return self._in_order[:]

    def folder(self, id_: FolderId) -> RunningFolder | None:
        started = self._started.get(id_)
        return None if started is None else started.folder

    def membership(self, id_: FolderId) -> FolderMembership | None:
        folder = self.folder(id_)
        return None if folder is None else folder.membership

    def keeper(self, id_: FolderId) -> PeerKeeper | None:
        started = self._started.get(id_)
        return None if started is None else started.keeper

    def contacts(self, id_: FolderId) -> dict[DeviceId, Contact]:
        """Every other device of a folder that was ever seen, as it stands now."""
        started = self._started.get(id_)
        if started is None:
            return {}
        if started.keeper is None:
            return {device: Contact(last_seen=when) for device, when in started.seen.items()}
        return started.keeper.contacts()

    @property
    def pace(self) -> Pace:
        """How fast content may come and go."""
        return self._transfers.pace

    def _names_of(self, device: DeviceId) -> set[str]:
        """By which names people know a device: its member's, its own, its id."""
        names = {device_text(device)}
        for folder in self.folders:
            names |= {folder.membership.member_name(device), folder.membership.device_name(device)}
        return names

    def new_row(self, path: bytes, name: str) -> Callable[[FolderId], FolderRow]:
        """The row of a folder about to be made: written to disk together with its membership."""
        marker = self.seams.random.token(MARKER_BYTES)
        added = self.seams.clock.now()
        return lambda id_: FolderRow(id_, name, path, marker, self.settings.device_name, added)

    async def add_folder(
        self, membership: FolderMembership, row: FolderRow, *, joined: bool, held: bool = False
    ) -> RunningFolder:
        """Run a folder that is on disk now, and mark its root.

        `joined`: it has members that may be ahead of us, so nothing is published before one was reached. `held`: until
        `go` of its task, nothing is looked at nor changed.
        """
        await self.mark_root(row)
        return await self._start_folder(row, membership, wait_for_peer=joined, held=held)

    async def mark_root(self, row: FolderRow) -> None:
        """Write the marker that says which folder this root is. Raises TreeError where that cannot be written.

        A database of that folder which is there already is of a time in which this device was in it before. What it
        says stood under another root, and would be missed in this one: it is set aside, as absence is no deletion.

        Waits until a leaving of it is over, which would take away what is begun here.
        """
        if (leaving := self._leaving.get(row.id)) is not None:
            await leaving.wait()
        tree = self.seams.trees.open(row.path, str(self.settings.home))
        run, name = self.seams.workers.run_blocking, database_name(row.id)
        try:
            await run(tree.check_root, None)
            if self.folder(row.id) is None and await run(tree.has_database, name):
                aside = await run(tree.set_database_aside, name)
                log.warning("folder %s: its database was of an earlier time, and lies in %s now", row.name, aside)
            await run(tree.write_marker, marker_of(row, self.installation.id))
        finally:
            await run(tree.close)

    async def remove_folder(self, folder: RunningFolder) -> None:
        """Stop a folder and forget it; its files stay, only the marker's directory tells that it was one.

        What the home knew of it goes: names, journals, the certificate. Packs of old versions stay, which nobody can
        read without being a member: who comes back has them again.
        """
        folder.scope.cancel()
        folder.membership.uninstall()
        self.connections.close_folder(folder.id)
        self._take_out(folder)
        self.rescue.forget(folder.id)
        leaving = self._leaving[folder.id] = trio.Event()
        try:
            with trio.CancelScope(shield=True):
                await self.installation.on_disk(self.installation.db.forget_folder, folder.id)
                await self.installation.keep_copy()
                self._tell()
                await _wait_ended(folder)
                await self._forget_files(folder)
        finally:
            del self._leaving[folder.id]
            leaving.set()

    async def _forget_files(self, folder: RunningFolder) -> None:
        """What cannot be removed now stays: nobody believes it any more (`mark_root`)."""
        run = self.seams.workers.run_blocking
        try:
            await run(folder.tree.drop_database, database_name(folder.id))
            if self.installation.home is not None:
                await run(forget_files, self.installation.home, folder.id)
        except (TreeError, OSError) as error:
            log.warning("folder %s: not all that the home knew of it is removed: %s", folder.name, error)

    async def move_folder(self, folder: RunningFolder, path: bytes, *, is_there: bool) -> None:
        """Let a folder lie elsewhere: stop it, move its directory unless that `is_there`, and go on.

        It begins anew when all of it has ended: what a thread still does would be taken for what a crash had left.
        """
        folder.scope.cancel()
        folder.membership.uninstall()
        self._take_out(folder)
        row = replace(folder.row, path=path)
        try:
            with trio.CancelScope(shield=True):
                await _wait_ended(folder)
            if not is_there:
                await self.seams.workers.run_blocking(self.seams.trees.move_root, folder.row.path, path)
        except TreeError:
            row = folder.row
            raise
        finally:
            with trio.CancelScope(shield=True):
                await self.installation.on_disk(self.installation.db.put_folder, row)
                await self._start_folder(row, folder.membership, wait_for_peer=False)

    async def _start_folder(
        self, row: FolderRow, membership: FolderMembership, *, wait_for_peer: bool, held: bool = False
    ) -> RunningFolder:
        folder = self._list_folder(row, membership)
        await self._begin_folder(folder, wait_for_peer=wait_for_peer, held=held)
        return folder

    def _list_folder(self, row: FolderRow, membership: FolderMembership) -> RunningFolder:
        """From here on it is shown, as starting."""
        tree = self.seams.trees.open(row.path, str(self.settings.home))
        folder = RunningFolder(row, membership, tree, marker_of(row, self.installation.id))
        folder.paused_until = pause_of(row.state)
        self._started[row.id], self._in_order = _Started(folder), None
        return folder

    async def _begin_folder(self, folder: RunningFolder, *, wait_for_peer: bool, held: bool = False) -> None:
        """Answer its labels, and run it."""
        folder.membership.install(self.table)
        folder.membership.on_update.append(lambda update: self._membership_moved(folder, update))
        assert self._nursery is not None
        folder.ended = trio.Event()
        await self._nursery.start(self._run_folder, folder, wait_for_peer, held)
        started = self._started.get(folder.id)
        if started is not None and started.keeper is None:
            started.seen = await self.surroundings.book.last_seen(folder.id)
        self._announce()
        self._relabel(folder)

    def _relabel(self, folder: RunningFolder) -> None:
        if self.folder(folder.id) is folder:
            self.rescue.relabel(folder)

    def _take_out(self, folder: RunningFolder) -> None:
        self._started.pop(folder.id, None)
        self._in_order = None

    async def _run_folder(
        self, folder: RunningFolder, wait_for_peer: bool, held: bool, *, task_status: trio.TaskStatus[None]
    ) -> None:
        assert folder.ended is not None
        try:
            await run_folder(
                folder,
                self.installation,
                self.seams.trees,
                self._transfers,
                self.databases,
                wait_for_peer=wait_for_peer,
                held=held,
                attach=self._attach,
                on_change=self._tell,
                task_status=task_status,
            )
        finally:
            folder.ended.set()

    def _attach(self, folder: RunningFolder, nursery: trio.Nursery) -> None:
        assert folder.task is not None
        task = folder.task
        keeper = PeerKeeper(self.surroundings, folder.membership, task.server, task.follower.run_link)
        self._started[folder.id].keeper = keeper
        task.on_roster_needed = keeper.catch_up_soon
        task.reach_out = keeper.reaching_out
        task.puller.on_starving = keeper.starves
        task.on_audit = partial(self.audit.note, folder=folder.id)
        nursery.start_soon(keeper.run)
        nursery.start_soon(watch_ends, folder.membership)
        nursery.start_soon(run_duties, folder.membership, self.installation, task.journal_heads)

    def _membership_moved(self, folder: RunningFolder, update: Update) -> None:
        self._announce()
        self._relabel(folder)
        if update.we_are_out:
            log.warning("folder %s: this device is no longer a member", folder.name)
        if update.fork:
            log.error("folder %s: its membership has two histories; nothing is exchanged", folder.name)
        self._tell()

    def use_settings(self, settings: Settings) -> None:
        """The configuration was read again; what cannot change while running is as it was."""
        self.settings = settings
        self.surroundings.static = settings.peers
        self._transfers.pace.set_limits(settings.limits)
        for started in self._started.values():
            if started.keeper is not None:
                started.keeper.use_static()
        self._tell()

    # life ----------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Load all folders, listen, and work until cancelled. Raises ConfigError when a configured port is taken."""
        listeners = await self._listen()
        self.listening = tuple(listener.address for listener in listeners)
        doorkeeper = Doorkeeper(
            self.table,
            self.connections,
            self.seams.clock,
            self.server.handle,
            self.refusals,
            rules=self.settings.rules,
        )
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self.databases.run)
            nursery.start_soon(self.security_log.run)
            nursery.start_soon(doorkeeper.run, listeners)
            await self._load()
            self.loaded.set()
            await self.inviter.load()
            nursery.start_soon(self.inviter.run)
            nursery.start_soon(self._transfers.pace.run, self.seams.clock)
            nursery.start_soon(self._sample)
            if self.settings.discovery:
                nursery.start_soon(self._discover)
            task_status.started()

    def start(self, work: Callable[..., Awaitable[object]], *args: object) -> None:
        """Begin something that outlives whoever asked for it. It has to catch what can go wrong."""
        assert self._nursery is not None
        self._nursery.start_soon(work, *args)

    async def _load(self) -> None:
        moved = self.installation.db.moved_aside
        if moved is not None:
            why, fix = await self._what_is_left(moved)
            self.problems["database"] = DeviceProblem("SY-DB-01", why, fix)
            log.error("the device's database was damaged and lies in %s now", moved)
            if await self.installation.on_disk(self.installation.db.folders):
                await self.installation.keep_copy()  # the one there was is the database now
        left = await prepare_roots(self)
        listed = []
        for row in await self.installation.on_disk(self.installation.db.folders):
            try:
                membership = await load_folder(self.installation, row.id)
            except SyncdError as error:
                log.error("folder %s cannot be opened: %s", row.name, error)
                why = f"the folder {row.name} cannot be opened: {error}"
                self.problems[row.id.hex()] = DeviceProblem(error.id or "SY-DB-01", why, error.fix or "see the log")
                continue
            listed.append(self._list_folder(row, membership))
        self.listed.set()
        for folder in listed:
            if self.folder(folder.id) is folder:  # nobody has left it meanwhile
                await self._begin_folder(folder, wait_for_peer=bool(folder.membership.devices()))
        await take_over(self, left)

    async def _what_is_left(self, moved: str) -> tuple[str, str]:
        """Why and what to do, after the device's database was found damaged."""
        if await self.installation.on_disk(self.installation.db.folders):
            return f"its database was damaged and lies in {moved}; its copy was taken", "nothing: all folders are there"
        why = f"its database was damaged and lies in {moved}; which folders there were is not known any more"
        return why, "the files are all there: join each folder again, with an invitation of another member"

    async def _listen(self) -> Sequence[Listener]:
        listeners: list[Listener] = []
        for address in self.settings.listen:
            listeners += await self._listen_on(address)
        return listeners

    async def _listen_on(self, address: str) -> Sequence[Listener]:
        host, _, port = address.rpartition(":")
        tries = 1 if self.settings.listen_configured else PORTS_TO_TRY
        for number in range(int(port), int(port) + tries):
            try:
                return await self.seams.network.listen(f"{host}:{number}")
            except OSError as error:
                taken = error
        raise _not_listening(address, taken) from taken

    # discovery -----------------------------------------------------------------------------------------------

    async def _discover(self) -> None:
        send, receive = trio.open_memory_channel[Found | Unheard](FOUND_WAITING)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.seams.network.browse, send)
            self._announce()
            async for found in receive:
                self._found(found)

    def _found(self, found: Found | Unheard) -> None:
        if isinstance(found, Unheard):
            if found.why:
                self.problems["discovery"] = DeviceProblem("SY-NET-03", found.why, "use addresses: [network] peers")
            else:
                self.problems.pop("discovery", None)
            return
        if found.addresses:
            self._heard[found.instance] = found
        else:
            self._heard.pop(found.instance, None)
        for started in self._started.values():
            if started.keeper is not None:
                started.keeper.found(found)
        for send in self._hints:
            with suppress(trio.WouldBlock):  # hints are repeated
                send.send_nowait(found)

    def _announce(self) -> None:
        if not self.settings.discovery or not self.listening or not self.loaded.is_set():
            return
        keys = [started.folder.membership.announcement_key for started in self._started.values()]
        port = int(self.listening[0].rpartition(":")[2])
        numbers = tuple(sorted(self.inviter.numbers))
        self.seams.network.announce(Announcement(port, tuple(sorted(key for key in keys if key is not None)), numbers))

    async def announced(self, number: int) -> AsyncIterator[Sequence[str]]:
        """Addresses of everybody who announces that code number, as they are heard of."""
        send, receive = trio.open_memory_channel[Found](FOUND_WAITING)
        self._hints.append(send)
        try:
            for found in list(self._heard.values()):
                if number in found.pairing:
                    yield found.addresses
            async for found in receive:
                if number in found.pairing:
                    yield found.addresses
        finally:
            self._hints.remove(send)

    def refused_connections(self) -> dict[str, int]:
        """How many connections were turned away, by reason."""
        return {event.value: count for event, count in self.refusals.counts.items()}

    # what invitations tell -----------------------------------------------------------------------------------

    def reachable_at(self) -> tuple[str, ...]:
        """Addresses by which others may reach us, best first."""
        return reachable(self.listening, self.seams.network.local_addresses())

    def _about(self, id_: FolderId) -> About:
        folder = self.folder(id_)
        if folder is None or folder.task is None:
            return About(0, 0, ((self.installation.id, self.reachable_at()),))
        counts = folder.task.counts
        return About(counts.files, counts.size, ((self.installation.id, self.reachable_at()),))

    def _invitation_moved(self, event: InviterEvent) -> None:
        if isinstance(event, AttemptFailed):
            self.refusals.note(Event.PAIRING, event.address, "wrong words for a code")
        self._tell()

    async def make_root(self, path: bytes) -> None:
        """Make the directory of a folder about to be joined. Raises ConfigError."""
        run = self.seams.workers.run_blocking
        try:
            await run(self.seams.trees.make_root, path)
        except (NameTaken, NotADirectory) as error:
            why = "A file stands there, or above it."
            raise ConfigError("this place cannot be a folder", id="SY-SHARE-02", why=why) from error
        except TreeError as error:
            raise ConfigError(f"the directory cannot be made: {error}", id="SY-ROOT-05") from error

    async def _sample(self) -> None:
        moved = 0
        while True:
            self.meter.sample(self.seams.clock.monotonic())
            if note_twins(self.folders, self.surroundings.twins, trio.current_time()):
                self._tell()
            before, moved = moved, self.meter.received_bytes + self.meter.sent_bytes
            await trio.sleep(SAMPLE_S if moved != before else IDLE_SAMPLE_S)

    def _tell(self) -> None:
        self.changed.set()
        self.changed = trio.Event()


async def _wait_ended(folder: RunningFolder) -> None:
    """Until all that a stopped folder had open is closed."""
    if folder.ended is not None:
        await folder.ended.wait()


def _not_listening(address: str, error: OSError) -> ConfigError:
    id_ = "SY-NET-02" if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) else "SY-NET-01"
    return ConfigError(f"cannot listen on {address}: {error.strerror or error}", id=id_)
