"""Async. The backup of this device's own keys and state, and what is left to be done when one was restored.

The backup is made by the daemon, which alone has the databases open. It is opened and laid out by the command line
(`store.state`), on a home that no daemon holds. The daemon that then starts makes the roots of folders that are not
there, takes over what the folders were set to, and writes into its log that it came from a backup.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ca import backup, keyfiles
from ca.device import device_text
from ca.ids import DeviceId
from ca.recovery import PublicRecovery
from syncd.daemon.host import Host
from syncd.daemon.rescuing import db_settings, settings_of
from syncd.daemon.running import marker_of
from syncd.daemon.views import Json, moment
from syncd.errors import ConfigError, SyncdError
from syncd.store import state
from syncd.treetypes import RootState, TreeError

log = logging.getLogger("syncd.rescue")

Params = Mapping[str, Any]
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]


class Backups:
    """A method of the control socket."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def backup(self, params: Params, progress: Progress) -> Json:
        """Write a backup of this device to a file, behind a passphrase or for the recovery key."""
        host, own = self._host, self._host.installation
        path, home = Path(params["path"]), host.settings.home
        if not path.is_absolute():
            raise SyncdError(f"{path} is not an absolute path", id="SY-USE-01")
        made_ms = int(own.clock.now() * 1000)
        database, settings = await own.on_disk(own.db.for_backup), await settings_of(host)
        recovery = await self._recovery() if params["recovery"] else None

        def maybe_whose(there: bytes) -> DeviceId | None:
            """Whose backup that is, if what opens it is at hand."""
            try:
                if not backup.wants_recovery_key(there):
                    return backup.open_by_passphrase(there, params["passphrase"] or "").device
                key = keyfiles.load_recovery(home, own.home_key)
                return None if key is None else backup.open_by_recovery(there, key, own.sealer).device
            except ConfigError:
                return None

        def write() -> int:
            state.refuse_to_replace(home, path, own.id, maybe_whose, unknown=not params["replace"])
            found = state.gather(home, database, settings, own.id, made_ms, own.home_key)
            if recovery is None:
                sealed = backup.seal_by_passphrase(found, params["passphrase"] or "", own.random.token)
            else:
                sealed = backup.seal_to_recovery(found, recovery, own.sealer)
            if not params["dry_run"]:
                _write(home, path, sealed, own.random.token)
            return len(sealed)

        size = await own.workers.run_blocking(write)
        return {
            "schema": "syncd.key.backup/1",
            "id": device_text(own.id),
            "name": host.settings.device_name,
            "path": str(path),
            "made": moment(made_ms / 1000),
            "bytes": size,
            "opens_with": "passphrase" if recovery is None else "recovery key",
            "folders": [{"name": folder.name} for folder in host.folders],
            "dry_run": params["dry_run"],
        }

    async def _recovery(self) -> PublicRecovery:
        """The recovery key of this computer, else the first that one of its folders lists."""
        host, own = self._host, self._host.installation
        key = await own.workers.run_blocking(keyfiles.load_recovery, host.settings.home, own.home_key)
        if key is not None:
            return key.public
        for folder in host.folders:
            for listed in folder.membership.roster.recovery:
                return listed
        raise ConfigError("no recovery key is known here", id="SY-KEY-04")


def _write(home: Path, path: Path, sealed: bytes, random: Callable[[int], bytes]) -> None:
    try:
        state.write_backup(home, path, sealed, random)
    except OSError as error:
        raise SyncdError(f"{path} cannot be written", id="SY-KEY-03", why=error.strerror or str(error)) from error


# --- after a restore -------------------------------------------------------------------------------------------------


async def prepare_roots(host: Host) -> dict[str, Any] | None:
    """Before folders run: what a restore left to be done, if there was one. Roots that are not there are made; one
    that is there and not ours, or without its marker, is left for a person."""
    own = host.installation
    if own.home is None or (left := await own.workers.run_blocking(state.restored, own.home)) is None:
        return None
    for row in await own.on_disk(own.db.folders):
        tree = host.seams.trees.open(row.path, str(host.settings.home))
        found = await own.workers.run_blocking(tree.check_root, marker_of(row, own.id))
        await own.workers.run_blocking(tree.close)
        if found is RootState.MISSING:
            try:
                await host.make_root(row.path)
                # With a name of its own: the old directory may come back, on a disk that is mounted there later, and
                # is another one then. What is in only one of the two was not deleted.
                fresh = replace(row, marker=own.random.token(len(row.marker)))
                await own.on_disk(own.db.put_folder, fresh)
                await host.mark_root(fresh)
            except (SyncdError, TreeError) as error:
                log.error("the root of %s cannot be made: %s", row.name, error)
    return left


async def take_over(host: Host, left: dict[str, Any] | None) -> None:
    """With all folders running: what they were set to, and the line in the audit log."""
    if left is None:
        return
    kept = {str(one.get("id")): one for one in left.get("folders", [])}
    for folder in host.folders:
        if folder.task is not None and folder.id.hex() in kept:
            await folder.task.db(db_settings, folder.task.store, kept[folder.id.hex()])
    when = moment(float(left["made_ms"]) / 1000)
    log.warning("this device was restored from a backup of %s", when)
    await host.audit.note("device restored", f"from a backup of {when}; its folders begin new journals")
    await host.installation.workers.run_blocking(partial(state.forget_restored, host.settings.home))
