"""Async. A daemon whose keys are locked: it says so to everybody who asks, and waits for the passphrase.

Until then it is nobody: it listens on no port, opens no database and looks at no folder. What answers is the control
socket, for its user alone. The passphrase comes over that socket, or lies in the directory of credentials that the
service manager hands over (`LoadCredential=syncd-passphrase:FILE`).
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Final

import trio

from ca.custody import Custody
from ca.device import device_text, device_words
from ca.ids import DeviceId
from ca.values import dataclass
from syncd import __version__, http
from syncd.checks import Check, installation_checks
from syncd.config import Settings
from syncd.daemon.systemd import ServiceManager
from syncd.daemon.tlsfiles import drop_tls_keys
from syncd.errors import ConfigError
from syncd.methods.measuring import PLAIN, Observatory
from syncd.protocol.tls import ALPN
from syncd.seams import Workers
from syncd.web.control import Api, Params, Progress, Result

log = logging.getLogger("syncd")

CREDENTIAL: Final = "syncd-passphrase"
MAX_PASSPHRASE_BYTES: Final = 4096
WAITING: Final = "locked: syncd key unlock"
WHY: Final = "A passphrase locks them, and it was not said since syncd was started."
FIX: Final = "syncd key unlock"


@dataclass(slots=True)
class Gate:
    """Implements `web.control.Api`: first for who is locked out, then by handing everything to the daemon."""

    settings: Settings
    custody: Custody
    workers: Workers
    started: float
    _api: Api | None = None
    _observatory: Observatory | None = None
    _unlocked: trio.Event = field(default_factory=trio.Event)
    _opened: trio.Event = field(default_factory=trio.Event)
    _stopped: trio.Event = field(default_factory=trio.Event)
    _one_at_a_time: trio.Lock = field(default_factory=trio.Lock)
    """Each guess takes 128 MiB."""

    def open(self, api: Api, observatory: Observatory) -> None:
        """The daemon is there; from now on it answers."""
        self._api, self._observatory = api, observatory
        self._opened.set()

    async def observe(self, path: str) -> http.Response:
        """See `web.control.serve_control`."""
        if self._observatory is not None:
            return await self._observatory.answer(path)
        if path == "/healthz":
            return http.Response(200, b"ok\n", PLAIN)
        return http.Response(503, f"{WAITING}\n".encode(), PLAIN)

    async def call(self, name: str, params: Params, progress: Progress) -> Result:
        """See `web.control.Api`."""
        if self._unlocked.is_set() and name not in ("stop", "key.unlock"):
            await self._opened.wait()  # it starts, and is not locked any more
        if self._api is not None:
            return await self._api.call(name, params, progress)
        match name:
            case "status":
                return self._status(await self._device())
            case "doctor":
                return await self._doctor()
            case "version":
                return self._version()
            case "key.unlock":
                return await self._unlock(params["passphrase"])
            case "stop":
                self._stopped.set()
                return {"schema": "syncd.stop/1", "pid": os.getpid()}
            case _:
                raise ConfigError("the keys of this device are locked", id="SY-KEY-10")

    async def try_unlock(self, passphrase: str) -> bool:
        """Whether that unlocked them; they may be open already. Raises ConfigError SY-KEY-11 if it is another."""
        async with self._one_at_a_time:
            if self._unlocked.is_set():
                await self.workers.run_blocking(self.custody.check, passphrase)
                return False
            try:
                await self.workers.run_blocking(self.custody.unlock, passphrase)
            except ConfigError as error:
                log.warning("the keys stay locked: %s", error)
                raise
            log.info("the keys are unlocked")
            self._unlocked.set()
            return True

    async def _unlock(self, passphrase: str) -> Result:
        unlocked = await self.try_unlock(passphrase)
        await self._opened.wait()
        return {"schema": "syncd.key.unlock/1", "unlocked": unlocked}

    async def _device(self) -> DeviceId:
        return await self.workers.run_blocking(self.custody.device)

    def _status(self, device: DeviceId) -> Result:
        return {
            "schema": "syncd.status/1",
            "version": __version__,
            "device": {
                "id": device_text(device),
                "words": device_words(device),
                "name": self.settings.device_name,
            },
            "in_sync": False,
            "folders": [],
            "problems": [{"id": "SY-KEY-10", "path": None, "why": f"The keys are locked. {WHY}", "try": FIX}],
            "keys": {"locked": True, "passphrase": True, "warning": None},
            "refused": {"count": 0, "hosts": 0, "most": None},
            "transfer": {
                "received_bytes": 0,
                "sent_bytes": 0,
                "duplicate_bytes": 0,
                "blocks_fetched": 0,
                "receive_rate": 0.0,
                "send_rate": 0.0,
            },
        }

    async def _doctor(self) -> Result:
        outside = await self.workers.run_blocking(_installation_checks, self.settings.home)
        checks = [Check("keys", False, f"they are locked: {WHY}", FIX, "SY-KEY-10"), *outside]
        return {"schema": "syncd.doctor/1", "ok": False, "checks": [check.as_json() for check in checks]}

    def _version(self) -> Result:
        return {
            "schema": "syncd.version/1",
            "version": __version__,
            "protocol": ALPN.decode(),
            "pid": os.getpid(),
            "home": str(self.settings.home),
            "listen": [],
            "uptime_s": round(trio.current_time() - self.started, 1),
        }

    async def prepare(self, environ: Mapping[str, str]) -> None:
        """Remove what a kill left readable, and take what the service manager handed over. That may be wrong: then a
        person has to say the right one."""
        run = self.workers.run_blocking
        try:
            await run(drop_tls_keys, self.settings.home)
        except OSError as error:
            log.error("keys that were written for a folder's certificate cannot be removed: %s", error)
        if (handed := await run(handed_passphrase, environ)) is not None:
            try:
                await self.try_unlock(handed)
            except ConfigError as error:
                log.error("the credential of the service manager: %s", error)

    async def wait_unlocked(self, manager: ServiceManager) -> bool:
        """Whether the passphrase came, and not the end. Tells the service manager that this is no failure to start."""
        log.warning("the keys are locked; waiting for:  %s", FIX)
        manager.ready(WAITING)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._obey_signals)
            nursery.start_soon(_show_life, manager)
            nursery.start_soon(self._end, self._stopped, nursery.cancel_scope)
            nursery.start_soon(self._end, self._unlocked, nursery.cancel_scope)
        return self._unlocked.is_set() and not self._stopped.is_set()

    async def end_when_stopped(self, scope: trio.CancelScope) -> None:
        """Also while the daemon starts, which may take its time: whoever was told that it ends relies on it."""
        await self._end(self._stopped, scope)

    async def _end(self, event: trio.Event, scope: trio.CancelScope) -> None:
        await event.wait()
        scope.cancel()

    async def _obey_signals(self) -> None:
        """There is nothing yet that a signal could change, but for the end."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1) as signals:
            async for number in signals:
                if number in (signal.SIGTERM, signal.SIGINT):
                    self._stopped.set()


def _installation_checks(home: Path) -> list[Check]:
    return installation_checks(home, daemon_runs=True)


async def _show_life(manager: ServiceManager) -> None:
    while manager.watchdog_s is not None:
        manager.alive()
        await trio.sleep(manager.watchdog_s / 2)


def handed_passphrase(environ: Mapping[str, str]) -> str | None:
    """The passphrase as a credential of the service manager, if there is one: the first line of that file."""
    place = environ.get("CREDENTIALS_DIRECTORY")
    if not place:
        return None
    try:
        with open(os.path.join(place, CREDENTIAL), "rb") as file:
            return file.read(MAX_PASSPHRASE_BYTES).decode("utf-8", "surrogateescape").split("\n")[0].rstrip("\r")
    except FileNotFoundError:
        return None
    except OSError as error:
        log.error("the credential %s cannot be read: %s", CREDENTIAL, error.strerror)
        return None
