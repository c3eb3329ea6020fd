"""Async. A bare machine gets its folders back: from one peer, with the recovery key.

Three parts. What is served: a member shows the holder of a folder's recovery key the roster, the secret that was sealed
to that key, and the keepsakes that others left (`Rescue`). What is left with others: this device's settings, sealed to
the recovery key, whenever they change (`Keepsakes`). And the bare machine's side (`Rescuing`): it looks, says what it
found and how old that is, and only with a person's yes makes the entry that lets it in and opens a fresh epoch. All
else is ordinary sync: with the journals comes the history.
"""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from functools import partial
from typing import Any, Final

import trio
from blake3 import blake3

from ca import authority, recovery
from ca.authority import Newcomer, Secrets, receive_wrap
from ca.device import device_text
from ca.epochs import MAX_NAME_BYTES, recovery_label
from ca.errors import CodecError
from ca.ids import DeviceId, FolderId
from ca.recovery import RecoveryKey
from ca.roles import Role
from ca.roster import Roster
from ca.values import dataclass
from syncd.daemon.beginning import begin_recovered
from syncd.daemon.host import Host
from syncd.daemon.running import RunningFolder, refuse_root
from syncd.daemon.views import Json, as_text, moment
from syncd.engine.membership import free_name
from syncd.engine.retention import DEFAULT_COPIES, Policy, parse_tiers, show_tiers
from syncd.errors import PeerUnavailable, RemoteProtocolError, SyncdError, TrustError
from syncd.folder.folder import FolderTask
from syncd.home import CONFIG_NAME
from syncd.http import Client
from syncd.net.circle import CLIENT_LIMITS
from syncd.net.dial import dial
from syncd.protocol.messages import RosterPage
from syncd.protocol.requests import Route, target_of
from syncd.protocol.rescue import (
    EXPORTER_BYTES,
    EXPORTER_LABEL,
    MAX_FOLDERS,
    MAX_KEEPSAKE_BYTES,
    MAX_PAGE_BYTES,
    Folders,
    Keepsake,
    KeptFor,
    RecoverPage,
    RecoverRequest,
    ask,
)
from syncd.protocol.tls import UnknownLabel, connect_recovery
from syncd.store import pruning, snapshots
from syncd.store.folder import FolderStore
from syncd.wording import escape

log = logging.getLogger("syncd.rescue")

Params = Mapping[str, Any]
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]

LOOK_S: Final = 15.0
MAX_PLAIN_BYTES: Final = 4 << 20


class Rescue:
    """What the holder of a recovery key is told. Implements `net.folders.Rescue`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._labels: dict[FolderId, frozenset[str]] = {}
        """Those of each folder's recovery keys."""
        self._uses: Counter[str] = Counter()
        """How many folders list the key of a label: most share one."""

    def relabel(self, folder: RunningFolder) -> None:
        """Answer the labels of the recovery keys that this folder lists now, and no others of its."""
        self._use(folder.id, frozenset(recovery_label(key.id) for key in folder.membership.roster.recovery))

    def forget(self, folder: FolderId) -> None:
        """Answer none for this folder any more."""
        self._use(folder, frozenset())
        del self._labels[folder]

    def _use(self, folder: FolderId, labels: frozenset[str]) -> None:
        own, table = self._host.installation, self._host.table
        before = self._labels.get(folder, frozenset())
        self._labels[folder] = labels
        for label in labels - before:
            self._uses[label] += 1
            if self._uses[label] == 1:
                table.add_recovery(label, own.certificate, own.keys.tls)
        for label in before - labels:
            self._uses[label] -= 1
            if not self._uses[label]:
                del self._uses[label]
                table.remove(label)

    async def answer_untrusted(self, label: str, exporter: bytes, raw: bytes) -> bytes | None:
        """The answer to a request; None: there is nothing of the kind. Raises CodecError, TrustError."""
        request = RecoverRequest.decode_untrusted(raw)
        request.check(exporter)
        found = [one for one in self._host.folders if self._lists(one, request.sign_key, label)]
        if request.folder is None:
            return Folders(tuple(one.id for one in found[:MAX_FOLDERS])).encode()
        folder = next((one for one in found if one.id == request.folder), None)
        return None if folder is None else await self._page(folder, request)

    def _lists(self, folder: RunningFolder, sign_key: bytes, label: str) -> bool:
        keys = folder.membership.roster.recovery
        return any(key.sign == sign_key and recovery_label(key.id) == label for key in keys)

    async def _page(self, folder: RunningFolder, request: RecoverRequest) -> bytes | None:
        host, own = self._host, self._host.installation
        key = next(key for key in folder.membership.roster.recovery if key.sign == request.sign_key)
        membership, wrap = folder.membership, None
        page = membership.page_for_recovery(request.held)
        if request.held + len(page.entries) > page.newest:
            if membership.secrets is None or not membership.is_current:
                return None
            wrap = await own.workers.run_blocking(
                partial(authority.seal_again, membership.roster, membership.secrets, key, own.sealer)
            )
        log.warning("folder %s: the holder of its recovery key asked for it", folder.name)
        await host.audit.note("recovery key used", "roster and sealed secret handed out", folder=folder.id)
        kept = await own.on_disk(own.db.keepsakes, folder.id) if request.held == 0 else []
        keepsakes = tuple(KeptFor(*one) for one in kept)
        return RecoverPage(page.encode(), own.id, host.reachable_at(), keepsakes, wrap).encode()

    async def keep_untrusted(self, folder: FolderId, device: DeviceId, raw: bytes) -> None:
        """A proved device leaves its keepsake with us. Raises CodecError."""
        keepsake = Keepsake.decode_untrusted(raw)
        own = self._host.installation
        await own.on_disk(own.db.put_keepsake, folder, device, keepsake.time_ms, keepsake.sealed)
        log.info("%s left its settings here", device_text(device)[:13])


# --- what is left with others ----------------------------------------------------------------------------------------


class Keepsakes:
    """Leaves this device's settings with its peers. `run` until cancelled."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._given: dict[tuple[FolderId, DeviceId], bytes] = {}

    async def run(self) -> None:
        while True:
            await trio.sleep(LOOK_S)
            await self.leave()

    async def leave(self) -> None:
        """Give every connected device what it has not of our present settings."""
        if not any(folder.task is not None and folder.task.links for folder in self._host.folders):
            return
        plain = await settings_of(self._host)
        name = blake3(plain).digest()
        for folder in self._host.folders:
            for device in [] if folder.task is None else list(folder.task.links):
                if self._given.get((folder.id, device)) == name:
                    continue
                if await self._give(folder, device, plain):
                    self._given[folder.id, device] = name

    async def _give(self, folder: RunningFolder, device: DeviceId, plain: bytes) -> bool:
        own, keeper = self._host.installation, self._host.keeper(folder.id)
        keys = folder.membership.roster.recovery
        if keeper is None or not keys:
            return False
        sealed = await own.workers.run_blocking(
            own.sealer.seal, keys[0].seal, zlib.compress(plain), _info(folder.id, own.id)
        )
        if len(sealed) > MAX_KEEPSAKE_BYTES:
            log.warning("the settings are too large to be left with others")
            return True
        keepsake = Keepsake(int(own.clock.now() * 1000), sealed)
        try:
            await keeper.ask(device, Route.KEEP, keepsake.encode)
        except (PeerUnavailable, TrustError, RemoteProtocolError) as error:
            log.debug("a keepsake was not taken: %s", error)
            return False
        return True


def _info(folder: FolderId, device: DeviceId) -> bytes:
    return b"syncd/1 keepsake" + folder + device


async def settings_of(host: Host) -> bytes:
    """What this device wants to find again on a new machine, as JSON."""
    run = host.seams.workers.run_blocking
    folders = []
    for folder in host.folders:
        about: dict[str, object] = {
            "id": folder.id.hex(),
            "name": folder.name,
            "path": as_text(folder.row.path),
        }
        if (task := folder.task) is not None:
            with suppress(SyncdError):  # it stops in this moment: as if it had before
                about |= await _history_settings(task)
        folders.append(about)
    config = await run(_config_text, host)
    value = {"device": host.settings.device_name, "config": config, "folders": folders}
    return json.dumps(value, sort_keys=True).encode("ascii")


async def _history_settings(task: FolderTask) -> dict[str, object]:
    policy: Policy = await task.db(pruning.db_policy, task.store)
    named = await task.db(snapshots.db_list, task.store)
    return {
        "keep": show_tiers(policy.tiers),
        "space": policy.space_bytes,
        "copies": policy.copies,
        "snapshots": [[one.name, one.at_ms, one.made] for one in named if not one.is_scheduled],
    }


def _config_text(host: Host) -> str:
    try:
        return (host.settings.home / CONFIG_NAME).read_text("utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return ""


# --- the bare machine ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """A folder that a peer has, as far as the recovery key opens it."""

    roster: Roster
    secrets: Secrets
    peer: DeviceId
    addresses: tuple[str, ...]
    kept: Mapping[str, Any] | None
    """The newest settings that were left with that peer by the device named."""
    kept_at_ms: int = 0
    kept_names: Sequence[str] = field(default=())

    @property
    def name(self) -> str:
        return authority.folder_name(self.roster, self.secrets)


class Rescuing:
    """A method of the control socket."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def rescue(self, params: Params, progress: Progress) -> Json:
        """By the recovery key, get every folder that a peer has for it."""
        key = recovery.parse(params["words"])
        found = await self._find(params["address"], key, params["device"])
        _demand_settings_of(params["device"], found)
        known = {folder.id for folder in self._host.folders}
        result: Json = {
            "schema": "syncd.rescue/1",
            "peer": device_text(found[0].peer),
            "address": params["address"],
            "dry_run": params["dry_run"],
            "config": None,
            "folders": [],
        }
        for one in found:
            if one.roster.folder_id in known:
                continue
            path = self._path_for(one, params["into"])
            newest = one.roster.entries[-1]
            result["folders"].append(
                {
                    "folder": one.roster.folder_id.hex(),
                    "name": one.name,
                    "path": as_text(path),
                    "state": {"date": moment(newest.time), "entry": newest.number},
                    "settings_of": None if one.kept is None else one.kept["device"],
                    "settings_date": None if one.kept is None else moment(one.kept_at_ms / 1000),
                }
            )
            if not params["dry_run"]:
                await self._take(one, key, path, params["address"])
        if not params["dry_run"]:
            result["config"] = await self._config([one.kept for one in found if one.kept is not None])
        return result

    # looking -------------------------------------------------------------------------------------------------

    async def _find(self, address: str, key: RecoveryKey, device: str | None) -> list[Found]:
        host, own = self._host, self._host.installation
        outgoing = connect_recovery(recovery_label(key.id), own.certificate, own.keys.tls)
        try:
            stream = await dial(host.seams.network, host.seams.clock, address, outgoing)
        except UnknownLabel:
            raise SyncdError(
                "no folder there knows this recovery key", id="SY-RESCUE-01", why=f"{address} answers, but not to it"
            ) from None
        with host.connections.hold(stream, address, accepted=False):
            client = Client(stream, host=stream.endpoint.label, limits=CLIENT_LIMITS)
            exporter = stream.export(EXPORTER_LABEL, EXPORTER_BYTES)
            listed = Folders.decode_untrusted(await _post(client, ask(key, exporter, None)))
            found = [await self._look(client, exporter, key, folder, device) for folder in listed.folders]
            await stream.aclose()
        if not found:
            raise SyncdError("no folder there knows this recovery key", id="SY-RESCUE-01")
        return found

    async def _look(
        self, client: Client, exporter: bytes, key: RecoveryKey, folder: FolderId, device: str | None
    ) -> Found:
        entries: list[bytes] = []
        keepsakes: tuple[KeptFor, ...] = ()
        while True:
            raw = await _post(client, ask(key, exporter, folder, len(entries)))
            answer = RecoverPage.decode_untrusted(raw)
            page = RosterPage.decode_untrusted(answer.roster)
            keepsakes = keepsakes or answer.keepsakes
            entries += page.entries
            if answer.wrap is not None:
                break
            if not page.entries:
                raise RemoteProtocolError("a roster that does not end in its epoch's secret")
        own = self._host.installation
        roster = Roster.from_entries_untrusted(entries, folder=folder)
        secrets = await own.workers.run_blocking(
            partial(receive_wrap, roster, DeviceId(key.id), key.seal_seed, answer.wrap, None, sealer=own.sealer)
        )
        opened = [_opened(own.sealer, key, folder, one) for one in keepsakes]
        kept = [(one.time_ms, value) for one, value in zip(keepsakes, opened, strict=True) if value is not None]
        named = [one for one in kept if device is None or one[1]["device"] == device]
        newest = max(named, key=lambda one: one[0], default=(0, None))
        return Found(
            roster,
            secrets,
            answer.device,
            answer.addresses,
            newest[1],
            newest[0],
            [str(one["device"]) for _, one in kept],
        )

    def _path_for(self, one: Found, into: str | None) -> bytes:
        kept = _kept_folder(one)
        if into is None and kept is not None:
            return os.fsencode(kept["path"])
        name = (one.name if kept is None else kept["name"]).replace("/", "-").strip(".") or "folder"
        return os.path.join(os.fsencode(into or os.path.expanduser("~")), os.fsencode(name))

    # taking --------------------------------------------------------------------------------------------------

    async def _take(self, one: Found, key: RecoveryKey, path: bytes, address: str) -> None:
        """Make this device a member and an owner by the recovery key, and let the folder run."""
        host, own = self._host, self._host.installation
        await refuse_root(path, host.folders, os.fsencode(host.settings.home), own.workers)
        await host.make_root(path)
        kept = _kept_folder(one)
        row = host.new_row(path, one.name if kept is None else kept["name"])
        await host.mark_root(row(one.roster.folder_id))
        taken = {authority.member_name(member, one.secrets) for member in one.roster.members.values()}
        name = free_name(host.settings.device_name, taken, MAX_NAME_BYTES)
        newcomer = Newcomer(name, Role.OWNER, [(own.keys.public, host.settings.device_name)])
        outcome = await own.workers.run_blocking(
            partial(authority.rescue, one.roster, one.secrets, own.signer(), key, newcomer)
        )
        await own.book.note(one.peer, [address, *one.addresses], "recovery")
        membership = await begin_recovered(own, outcome, also=lambda db, id_: db.put_folder(row(id_)))
        folder = await host.add_folder(membership, row(membership.folder_id), joined=True)
        await host.audit.note("recovered", "this device became an owner by the recovery key", folder=folder.id)
        keeper = host.keeper(folder.id)
        if keeper is not None:
            await keeper.push()
        if kept is not None and folder.task is not None:
            await folder.task.db(db_settings, folder.task.store, kept)

    async def _config(self, kept: Sequence[Mapping[str, Any]]) -> str | None:
        """Where the configuration that was left with others lies now. Never in its place: it names programs to run, and
        every member could have sealed this one to the recovery key."""
        text = next((str(one["config"]) for one in kept if one["config"]), None)
        if text is None:
            return None
        home = self._host.settings.home
        return str(await self._host.seams.workers.run_blocking(_write_config, home, text))


def _demand_settings_of(device: str | None, found: Sequence[Found]) -> None:
    """Raises SyncdError SY-FIND-01: the settings of a device were asked for, and of no folder there are any."""
    if device is None or any(one.kept is not None for one in found):
        return
    left = sorted({escape(name) for one in found for name in one.kept_names})
    why = f"Settings are there of {', '.join(left)}." if left else "Nobody has left any there."
    fix = "name one of them: --device NAME" if left else "syncd rescue without --device, and --into DIR"
    raise SyncdError(f"no settings of {escape(device)} are there", id="SY-FIND-01", why=why, fix=fix)


async def _post(client: Client, request: RecoverRequest) -> bytes:
    route = Route.RECOVER
    reply = await client.request(route.method.decode(), target_of(route), body=request.encode())
    if reply.status != 200:
        await reply.body.drain()
        raise PeerUnavailable(f"the peer answered with status {reply.status}")
    return await reply.body.read(MAX_PAGE_BYTES)


def _opened(sealer: Any, key: RecoveryKey, folder: FolderId, one: KeptFor) -> Mapping[str, Any] | None:
    """The settings in a keepsake; None if it is none, or was sealed for somebody else."""
    try:
        packed = sealer.open(key.seal_seed, one.sealed, _info(folder, one.device))
        plain = zlib.decompressobj().decompress(packed, MAX_PLAIN_BYTES)
        value = json.loads(plain)
        _ = value["device"], value["config"], [(kept["id"], kept["name"], kept["path"]) for kept in value["folders"]]
    except (TrustError, CodecError, zlib.error, ValueError, KeyError, TypeError):
        return None
    return dict(value)


def _kept_folder(one: Found) -> Mapping[str, Any] | None:
    folders = [] if one.kept is None else one.kept["folders"]
    return next((kept for kept in folders if kept["id"] == one.roster.folder_id.hex()), None)


def db_settings(store: FolderStore, kept: Mapping[str, Any]) -> None:
    """Take over what a folder was set to on another machine."""
    if "keep" in kept:
        copies = kept.get("copies", DEFAULT_COPIES)
        pruning.db_set_policy(store, Policy(parse_tiers(kept["keep"]), space_bytes=kept["space"], copies=copies))
    for name, at_ms, made in kept.get("snapshots", []):
        snapshots.db_add(store, name, at_ms, made)


def _write_config(home: Any, text: str) -> Any:
    path = home / f"{CONFIG_NAME}.recovered"
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    return path
