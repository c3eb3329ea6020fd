"""Async. The methods of the control socket: what the command line may ask, mapped to what the daemon does.

Parameters arrive checked (`web.methods`), results are the JSON shapes of `docs/cli.md`. Every refusal is a SyncdError
with an id of the catalogue. This module finds what a person named; the work is done elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import trio

from ca.device import device_text, device_words
from ca.roles import Role
from ca.state import Status
from syncd import __version__
from syncd.catalogue import CATALOGUE
from syncd.daemon.app import Daemon
from syncd.daemon.commanding import Commanding
from syncd.daemon.naming import MIN_PREFIX, not_found, one_of
from syncd.daemon.people import MemberInfo
from syncd.daemon.rescuing import Rescuing
from syncd.daemon.restoring import keys_needed
from syncd.daemon.reviving import Backups
from syncd.daemon.running import RunningFolder
from syncd.daemon.systemd import ServiceManager
from syncd.daemon.tlsfiles import folder_tls_files, roster_file
from syncd.daemon.views import (
    Json,
    as_text,
    folder_json,
    have_ratio,
    is_in_sync,
    moment,
    names_through,
)
from syncd.errors import ConfigError, SyncdError, TrustError
from syncd.folder.problems import problem_of
from syncd.methods.comparing import Comparing, conflicts
from syncd.methods.custodian import Custodian
from syncd.methods.enrolling import keys_text
from syncd.methods.entering import Entering
from syncd.methods.explaining import explain
from syncd.methods.exporting import Exports
from syncd.methods.filtering import Filtering
from syncd.methods.governing import Governing
from syncd.methods.guarding import Guarding
from syncd.methods.history import History
from syncd.methods.linking import Linking
from syncd.methods.looking import Looking
from syncd.methods.operating import Operating
from syncd.methods.promising import Promises
from syncd.methods.requesting import Requests
from syncd.methods.reviewing import Reviewing
from syncd.methods.sharing import Sharing
from syncd.methods.storing import Storing
from syncd.methods.tending import Tending
from syncd.methods.waiting import wait_for
from syncd.protocol.tls import ALPN
from syncd.store.counts import NOTHING
from syncd.treetypes import TreeError
from syncd.web.server import PageServer

T = TypeVar("T")
Params = Mapping[str, Any]
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]

REFUSALS_SHOWN_S = 3600.0
AT_ONCE = frozenset({"status", "folders", "peers", "traffic", "version", "web", "stop"})
"""What is answered also while folders are still starting, and says that they are. All else waits until they run."""


class DaemonApi:
    """Implements `web.control.Api` over a running daemon."""

    def __init__(self, daemon: Daemon, stop: Callable[[], None], manager: ServiceManager | None = None) -> None:
        self._daemon = daemon
        self._stop = stop
        self._sharing = Sharing(daemon, self.find_folder)
        self._requests = Requests(daemon, self.find_folder)
        self._entering = Entering(daemon)
        self._guarding = Guarding(daemon, self.find_folder, self._push)
        governing = Governing(daemon, self.find_folder, self._push)
        operating = Operating(daemon, manager or ServiceManager(), self.find_folder)
        self._history = History(self.find_folder, self.folder_of_path, Commanding(daemon, daemon.audit))
        tending = Tending(daemon, self.find_folder, self.folder_of_path)
        self._keeping = Promises(self.find_folder)
        self.exports = Exports(daemon, self.find_folder, self._history)
        self._looking = Looking(daemon, self.find_folder)
        comparing = Comparing(self.folder_of_path)
        self.linking = Linking(daemon, self.find_folder, self.folder_of_path, self._push)
        self._custodian = Custodian(daemon)
        filtering = Filtering(self.find_folder, daemon.seams.random)
        self.page: PageServer | None = None
        self._methods: dict[str, Callable[[Params, Progress], Awaitable[Json]]] = {
            "status": self._status,
            "folders": self._folders,
            "folder.show": self._folder_show,
            "folder.rescan": self._folder_rescan,
            "folder.leave": self._folder_leave,
            "peers": self._peers,
            "members": self._members,
            "member.remove": governing.remove,
            "member.add": governing.enroll,
            "member.change": governing.change,
            "device.archive": governing.archive,
            "lockdown": governing.lockdown,
            "folder.decide": governing.decide,
            "recover": governing.recover,
            "rescue": Rescuing(daemon).rescue,
            "rotate": governing.rotate,
            "invites": self._sharing.invites,
            "invite.revoke": self._sharing.revoke,
            "links": self.linking.links,
            "link.create": self.linking.create,
            "link.show": self.linking.show,
            "link.revoke": self.linking.revoke,
            "link.policy": self.linking.policy,
            "requests": self._requests.requests,
            "approve": self._requests.approve,
            "deny": self._requests.deny,
            "share": self._sharing.share,
            "join.find": self._entering.find,
            "join.preview": self._entering.preview,
            "join.cancel": self._entering.cancel,
            "join": self._entering.join,
            "conflicts": self._conflicts,
            "compare": comparing.compare,
            "preview": comparing.preview,
            "pause": tending.pause,
            "resume": tending.resume,
            "resolve": tending.resolve,
            "reoffer": tending.reoffer,
            "check": tending.check,
            "filter": filtering.filters,
            "filter.change": filtering.change,
            "folder.move": tending.move,
            "explain": self._explain,
            "ls": self._looking.ls,
            "storage": Storing(daemon, self.find_folder).storage,
            "audit": Reviewing(daemon, self.find_folder).audit,
            "transfers": self._looking.transfers,
            "traffic": self._looking.traffic,
            "changes": self._looking.changes,
            "web": self._web,
            "web.pin": self._web_pin,
            "wait": self._wait,
            "security": self._guarding.security,
            "folder.addresses": self._guarding.addresses,
            "history": self._history.history,
            "past": self._history.tree,
            "diff": self._history.diff,
            "search": self._history.search,
            "restore": self._history.restore,
            "export": self.exports.export,
            "exports": self.exports.jobs,
            "undo": self._history.undo,
            "undo.list": self._history.undo_list,
            "snapshots": self._keeping.snapshots,
            "retention": self._keeping.retention,
            "prune": self._keeping.prune,
            "scrub": self._keeping.scrub,
            "drill": self._keeping.drill,
            "snapshot.add": self._keeping.snapshot_add,
            "snapshot.remove": self._keeping.snapshot_remove,
            "key.show": self._key_show,
            "key.backup": Backups(daemon).backup,
            "key.list": operating.keys,
            "key.lock": self._custodian.lock,
            "key.unlock": self._custodian.unlock,
            "key.passphrase": self._custodian.passphrase,
            "doctor": operating.doctor,
            "config.show": operating.config_show,
            "config.set": operating.config_set,
            "config.reload": operating.config_reload,
            "notify.test": operating.notify_test,
            "version": self._version,
            "stop": self._stop_daemon,
        }

    async def call(self, name: str, params: Params, progress: Progress) -> Json:
        """Run one method; see `web.control.Api`."""
        if name not in AT_ONCE:
            await self._daemon.loaded.wait()
        try:
            with keys_needed():
                return await self._methods[name](params, progress)
        except TreeError as error:
            id_, _, fix = problem_of(error, reading=False)
            raise SyncdError(f"the file system refused: {error}", id=id_, why=CATALOGUE[id_].why, fix=fix) from error

    # finding what a person named -----------------------------------------------------------------------------

    def find_folder(self, name: str | None, cwd: str | None) -> RunningFolder:
        """A folder by name, id prefix, path, or by standing in it. Raises SyncdError SY-FIND-01, -02."""
        folders = self._daemon.folders
        if name is None:
            inside = self.folder_of_path(cwd) if cwd is not None else None
            if inside is not None:
                return inside
            if len(folders) == 1:
                return folders[0]
            raise not_found("folder", "", [folder.name for folder in folders])
        found = [folder for folder in folders if folder.name == name]
        if not found and len(name) >= MIN_PREFIX:
            found = [folder for folder in folders if folder.id.hex().startswith(name.lower())]
        if not found:
            path = os.path.normpath(name if os.path.isabs(name) or cwd is None else os.path.join(cwd, name))
            found = [folder for folder in folders if as_text(folder.row.path) == path]
        return one_of(
            found, "folder", name, [folder.name for folder in folders], lambda f: f"{f.name} ({f.id.hex()[:12]})"
        )

    def folder_of_path(self, path: str) -> RunningFolder | None:
        """The folder whose root contains an absolute path."""
        inside = os.path.normpath(path) + "/"
        for folder in self._daemon.folders:
            if inside.startswith(as_text(folder.row.path) + "/"):
                return folder
        return None

    def _selected(self, params: Params) -> list[RunningFolder]:
        if params["folder"] is not None:
            return [self.find_folder(params["folder"], params.get("cwd"))]
        return self._daemon.folders

    # looking -------------------------------------------------------------------------------------------------

    async def _status(self, params: Params, progress: Progress) -> Json:
        daemon = self._daemon
        folders = self._selected(params)
        meter = daemon.meter
        waiting = self._requests.waiting()
        peers = [self._peers_of(folder) for folder in folders]
        return {
            "schema": "syncd.status/1",
            "version": __version__,
            "device": {
                "id": device_text(daemon.installation.id),
                "words": device_words(daemon.installation.id),
                "name": daemon.settings.device_name,
            },
            "in_sync": all(is_in_sync(folder, len(there)) for folder, there in zip(folders, peers, strict=True)),
            "folders": [
                folder_json(folder, there, waiting.get(folder.id, 0))
                for folder, there in zip(folders, peers, strict=True)
            ],
            "problems": [
                {"id": problem.id, "path": None, "why": problem.why, "try": problem.fix}
                for problem in daemon.problems.values()
            ],
            "keys": self._custodian.state(),
            "refused": _refused_json(daemon),
            "transfer": {
                "received_bytes": meter.received_bytes,
                "sent_bytes": meter.sent_bytes,
                "duplicate_bytes": meter.duplicate_bytes,
                "blocks_fetched": meter.blocks_fetched,
                "receive_rate": meter.receive_rate(daemon.seams.clock.monotonic()),
                "send_rate": meter.send_rate(daemon.seams.clock.monotonic()),
            },
        }

    def _in_sync(self, folder: RunningFolder) -> bool:
        return is_in_sync(folder, len(folder.membership.devices()))

    def _peers_of(self, folder: RunningFolder) -> list[Json]:
        """One for each other device that is a member's."""
        devices = folder.membership.devices()
        contacts = self._daemon.contacts(folder.id)
        peers = []
        for device in devices:
            contact = contacts.get(device.id)
            role = folder.membership.role_of(device.id)
            peers.append(
                {
                    "id": device_text(device.id),
                    "name": folder.membership.member_name(device.id),
                    "role": None if role is None else role.name.lower(),
                    "connected": contact is not None and contact.connected,
                    "through": [] if contact is None else names_through(folder, contact.through),
                    "last_seen": None if contact is None else moment(contact.last_seen),
                    "have_ratio": have_ratio(folder.task, device.id),
                }
            )
        return sorted(peers, key=lambda peer: str(peer["name"]))

    async def _folders(self, params: Params, progress: Progress) -> Json:
        keys = ("id", "name", "path", "role", "state", "files", "bytes", "epoch")
        listed = []
        for folder in self._daemon.folders:
            shown = folder_json(folder, [], 0)
            listed.append({key: shown[key] for key in keys} | {"members": len(folder.membership.members())})
        return {"schema": "syncd.folders/1", "folders": listed}

    async def _folder_show(self, params: Params, progress: Progress) -> Json:
        folder = self.find_folder(params["folder"], params["cwd"])
        home = self._daemon.settings.home
        tls = await self._daemon.seams.workers.run_blocking(
            partial(folder_tls_files, with_key=self._daemon.installation.home_key is None),
            folder.membership,
            home,
            self._daemon.listening,
        )
        roster = await self._daemon.seams.workers.run_blocking(
            roster_file, folder.id, folder.membership.roster.export(), home
        )
        waiting = self._requests.waiting().get(folder.id, 0)
        return {
            "schema": "syncd.folder/1",
            **folder_json(folder, self._peers_of(folder), waiting),
            "members": len(folder.membership.members()),
            "in_sync": self._in_sync(folder),
            "oldest_reading": None if folder.task is None else moment(folder.task.doubter.oldest_reading),
            "tls": {
                "cert": str(tls.cert),
                "key": None if tls.key is None else str(tls.key),
                "sni": tls.sni,
                "listen": list(tls.listen),
                "pin": tls.pin,
            },
            "roster": str(roster),
        }

    async def _folder_rescan(self, params: Params, progress: Progress) -> Json:
        folder = self.find_folder(params["folder"], params["cwd"])
        task = folder.at_work()
        number = task.scanner.rescan()
        while params["wait"] and task.progress.scans_done < number and folder.at_work() is task:
            await task.changed()
        return {
            "schema": "syncd.folder.rescan/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "files": task.counts.files,
            "bytes": task.counts.size,
        }

    async def _folder_leave(self, params: Params, progress: Progress) -> Json:
        folder = self.find_folder(params["folder"], params["cwd"])
        task = folder.task
        counts = (folder.counts or NOTHING) if task is None else task.counts
        result = {
            "schema": "syncd.folder.leave/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "path": as_text(folder.row.path),
            "files": counts.files,
            "bytes": counts.size,
            "alone": not folder.membership.devices(),
            "old_bytes": counts.old_bytes,
            "packed_bytes": counts.packed_bytes,
            "only_here_since": None if task is None else moment(task.replication.only_here_since),
        }
        _demand_another_owner(folder)
        if not params["dry_run"]:
            if folder.membership.devices() and not folder.membership.is_out:
                heads = [] if task is None else await task.journal_heads()
                await folder.membership.leave(heads)
                keeper = self._daemon.keeper(folder.id)
                if keeper is not None:
                    with trio.move_on_after(3):
                        await keeper.push()
            await self._daemon.remove_folder(folder)
        return result

    async def _peers(self, params: Params, progress: Progress) -> Json:
        peers: dict[str, Json] = {}
        for folder in self._daemon.folders:
            contacts = self._daemon.contacts(folder.id)
            for device in folder.membership.devices():
                contact = contacts.get(device.id)
                peer = peers.setdefault(
                    device_text(device.id),
                    {
                        "id": device_text(device.id),
                        "name": folder.membership.member_name(device.id),
                        "words": device_words(device.id),
                        "folders": [],
                        "connected": False,
                        "through": [],
                        "how": None,
                        "address": None,
                        "last_seen": None,
                        "rtt_ms": None,
                    },
                )
                peer["folders"].append(folder.name)
                if contact is not None:
                    peer["connected"] = peer["connected"] or contact.connected
                    through = peer["through"] or names_through(folder, contact.through)
                    peer["through"] = [] if peer["connected"] else through
                    peer["how"] = peer["how"] or contact.how
                    peer["address"] = peer["address"] or contact.address
                    peer["last_seen"] = peer["last_seen"] or moment(contact.last_seen)
                    peer["rtt_ms"] = peer["rtt_ms"] or contact.rtt_ms
        return {"schema": "syncd.peers/1", "peers": sorted(peers.values(), key=lambda peer: str(peer["name"]))}

    async def _members(self, params: Params, progress: Progress) -> Json:
        folder = self.find_folder(params["folder"], params["cwd"])
        return {
            "schema": "syncd.members/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "members": [_member_json(member) for member in folder.membership.everybody()],
        }

    async def _key_show(self, params: Params, progress: Progress) -> Json:
        device = self._daemon.installation.id
        return {
            "schema": "syncd.key/1",
            "id": device_text(device),
            "words": device_words(device),
            "name": self._daemon.settings.device_name,
            "keys": keys_text(self._daemon.installation.keys.public),
        }

    async def _version(self, params: Params, progress: Progress) -> Json:
        daemon = self._daemon
        return {
            "schema": "syncd.version/1",
            "version": __version__,
            "protocol": ALPN.decode(),
            "pid": os.getpid(),
            "home": str(daemon.settings.home),
            "listen": list(daemon.listening),
            "uptime_s": round(daemon.seams.clock.now() - daemon.started_at, 1),
        }

    # membership ----------------------------------------------------------------------------------------------

    async def _push(self, folder: RunningFolder) -> list[str]:
        """Give the newest entry to everybody who can be reached now; the names of those who could not."""
        keeper = self._daemon.keeper(folder.id)
        others = {device.id for device in folder.membership.devices()}
        reached = set() if keeper is None else await keeper.push()
        return sorted({folder.membership.member_name(device) for device in others - set(reached)})

    # files ---------------------------------------------------------------------------------------------------

    async def _conflicts(self, params: Params, progress: Progress) -> Json:
        found: list[Json] = []
        for folder in self._selected(params):
            if folder.task is not None:
                in_folder = await conflicts(folder, folder.task)
                found += [{"folder": folder.id.hex(), "name": folder.name, **one} for one in in_folder]
        return {"schema": "syncd.conflicts/1", "conflicts": found}

    async def _explain(self, params: Params, progress: Progress) -> Json:
        folder = self.folder_of_path(params["path"])
        if folder is None:
            raise SyncdError("no folder of syncd contains this path", id="SY-FIND-03")
        contacts = self._daemon.contacts(folder.id)
        return await explain(folder, params["path"], contacts)

    async def _wait(self, params: Params, progress: Progress) -> Json:
        folders = [self.find_folder(name, params["cwd"]) for name in params["folders"]] or self._daemon.folders
        return await wait_for(self._daemon, folders, params["for"], params["timeout_s"])

    # the page ------------------------------------------------------------------------------------------------

    async def _web(self, params: Params, progress: Progress) -> Json:
        return await self._the_page().open(read_only=params["read_only"])

    async def _web_pin(self, params: Params, progress: Progress) -> Json:
        return await self._the_page().set_pin(params["pin"])

    def _the_page(self) -> PageServer:
        if self.page is None:
            raise ConfigError("this daemon has no page", id="SY-WEB-01", why="it was started without one")
        return self.page

    async def _stop_daemon(self, params: Params, progress: Progress) -> Json:
        self._stop()
        return {"schema": "syncd.stop/1", "pid": os.getpid()}


def _refused_json(daemon: Daemon) -> Json:
    """What was refused within the last hour."""
    attack = daemon.refusals.since(daemon.seams.clock.now() - REFUSALS_SHOWN_S)
    return {"count": attack.count, "hosts": attack.hosts, "most": attack.most}


def _member_json(member: MemberInfo) -> Json:
    return {
        "id": member.id.hex(),
        "name": member.name,
        "role": member.role.name.lower(),
        "status": member.status.value,
        "can": [capability.name.lower() for capability in member.capabilities if capability.name],
        "since": moment(member.since),
        "until": None if member.until is None else moment(member.until),
        "you": member.is_us,
        "devices": [
            {"id": device_text(device.id), "name": device.name, "words": device_words(device.id)}
            for device in member.devices
        ],
    }


def _demand_another_owner(folder: RunningFolder) -> None:
    """Raises TrustError where others would stay whom nobody could govern."""
    members = [member for member in folder.membership.members() if member.status is Status.ACTIVE and member.devices]
    owners = [member for member in members if member.role is Role.OWNER]
    if len(members) > 1 and len(owners) == 1 and owners[0].is_us:
        why, fix = (
            "Nobody could govern the folder any more.",
            f"syncd member role {folder.name} MEMBER owner, then leave",
        )
        raise TrustError("the last owner cannot go", id="SY-SHARE-04", why=why, fix=fix)
