"""Async. Health and numbers for whoever watches this daemon: `/healthz`, `/readyz`, `/metrics`.

They are answered on the control socket, for its user, and on loopback if `[metrics] listen` says so. There, nobody is
asked who he is: what can be read are names of folders and peers and numbers, and nothing can be changed. The name by
which the address was asked for has to be the one that is listened on, so that a web page cannot read along (DNS
rebinding).
"""

from __future__ import annotations

import platform
from collections import Counter
from dataclasses import replace
from pathlib import Path

import trio

from ca.ids import FolderId
from ca.roster import ROTATION_AFTER_S
from syncd import __version__, http
from syncd.daemon.app import Daemon
from syncd.daemon.running import RunningFolder
from syncd.daemon.views import folder_problems, is_in_sync
from syncd.errors import ConfigError, PeerUnavailable, RemoteProtocolError
from syncd.methods.metrics import CONTENT_TYPE, FolderNumbers, Numbers, PeerNumbers, families, render
from syncd.protocol.heads import Head, RequestRefused

LAG_PROBE_S = 0.01
PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
MAX_CONNECTIONS = 16
LIMITS = http.Limits(head_s=5.0, stall_s=10.0, requests=100)
PLAIN = (("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff"))


class Observatory:
    """Answers the three questions. `is_stopping` is set when the daemon ends."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._last_synced: dict[FolderId, float] = {}
        self.is_stopping = False

    async def answer(self, path: str) -> http.Response:
        """The answer for one of `PATHS`."""
        if path == "/healthz":
            return http.Response(200, b"ok\n", PLAIN)  # that it came through the event loop is what it says
        if path == "/readyz":
            why = self.why_not_ready()
            return http.Response(503 if why else 200, f"{why or 'ready'}\n".encode(), PLAIN)
        text = render(families(await self._measure()))
        return http.Response(200, text.encode(), (("content-type", CONTENT_TYPE), PLAIN[1]))

    def why_not_ready(self) -> str | None:
        """None when folders are loaded, peers can connect and nobody has asked to stop."""
        if self.is_stopping:
            return "stopping"
        if not self._daemon.loaded.is_set():
            return "starting: folders are being loaded"
        return None if self._daemon.listening else "not listening"

    async def _measure(self) -> Numbers:
        daemon, clock = self._daemon, self._daemon.seams.clock
        for folder in daemon.folders:
            if is_in_sync(folder, len(folder.membership.devices())):
                self._last_synced[folder.id] = clock.now()
        began = clock.monotonic()
        await trio.sleep(LAG_PROBE_S)
        woken = clock.monotonic()
        own = daemon.installation
        await own.on_disk(own.db.touch)
        answered = clock.monotonic()
        meter = daemon.meter
        return Numbers(
            version=__version__,
            python=platform.python_version(),
            started=daemon.started_at,
            ready=self.why_not_ready() is None,
            received_bytes=meter.received_bytes,
            sent_bytes=meter.sent_bytes,
            fetched_blocks=meter.blocks_fetched,
            duplicate_bytes=meter.duplicate_bytes,
            copied_bytes=meter.copied_bytes,
            refused=daemon.refused_connections(),
            database_bytes=await daemon.seams.workers.run_blocking(_database_bytes, daemon.settings.home),
            database_s=answered - woken,
            loop_lag_s=max(0.0, woken - began - LAG_PROBE_S),
            folders=[_folder_numbers(folder, self._last_synced.get(folder.id)) for folder in daemon.folders],
            peers=_peer_numbers(daemon),
            refused_blocks=meter.refused_blocks,
            audited=dict(daemon.audit.counts),
        )


def _database_bytes(home: Path) -> int:
    return sum(path.stat().st_size for pattern in ("*.db", "*.db-wal") for path in home.glob(pattern))


def _folder_numbers(folder: RunningFolder, last_synced: float | None) -> FolderNumbers:
    task, epoch = folder.task, folder.membership.epoch
    counts = None if task is None else task.counts
    return FolderNumbers(
        name=folder.name,
        state=folder.state.value,
        files=0 if counts is None else counts.files,
        size=0 if counts is None else counts.size,
        need_files=0 if counts is None else counts.need_files,
        need_bytes=0 if counts is None else counts.need_bytes,
        conflicts=0 if counts is None else counts.conflicts,
        errors=len(folder_problems(folder)),
        epoch=epoch.number,
        certificate_until=float(epoch.opened_at + ROTATION_AFTER_S),
        scan_s=None if task is None else task.progress.scan_s,
        last_synced=last_synced,
        watch_overflows=folder.watch_overflows,
        packs=0 if counts is None else counts.packs,
        stored_bytes=0 if counts is None else counts.packed_bytes + counts.old_bytes,
        read_since=None if counts is None else counts.read_since,
    )


def _peer_numbers(daemon: Daemon) -> list[PeerNumbers]:
    """One for each name, whatever folders are shared with it; names that two devices have are told apart by number."""
    found: dict[bytes, PeerNumbers] = {}
    for folder in daemon.folders:
        contacts = daemon.contacts(folder.id)
        for device in folder.membership.devices():
            contact, before = contacts.get(device.id), found.get(device.id)
            told = (None if before is None else before.last_seen, None if contact is None else contact.last_seen)
            seen = [one for one in told if one is not None]
            rtt_ms = None if contact is None else contact.rtt_ms
            found[device.id] = PeerNumbers(
                folder.membership.member_name(device.id),
                (contact is not None and contact.connected) or (before is not None and before.connected),
                max(seen, default=None),
                rtt_ms / 1000 if rtt_ms is not None else None if before is None else before.rtt_s,
                *daemon.meter.traffic.totals.get(device.id, (0, 0)),
            )
    names = Counter(peer.name for peer in found.values())
    return [
        peer if names[peer.name] == 1 else replace(peer, name=f"{peer.name} {id_.hex()[:8]}")
        for id_, peer in sorted(found.items())
    ]


async def serve_metrics(
    address: str, observatory: Observatory, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """Answer on a loopback address until cancelled. Raises ConfigError SY-NET-01 when it is taken."""
    host, _, port = address.rpartition(":")
    try:
        listeners = await trio.open_tcp_listeners(int(port), host=host.strip("[]"))
    except OSError as error:
        raise ConfigError(f"cannot listen on {address}: {error.strerror or error}", id="SY-NET-01") from error
    number = listeners[0].socket.getsockname()[1]
    allowed = {f"{name}:{number}".encode() for name in (host, "localhost", "127.0.0.1", "[::1]")}
    limiter = trio.CapacityLimiter(MAX_CONNECTIONS)

    async def handle(stream: trio.SocketStream) -> None:
        async with limiter, stream:
            try:
                await http.serve(stream, lambda path, body: observatory.answer(path), admit=admit, limits=LIMITS)
            except (PeerUnavailable, RemoteProtocolError):
                return  # a reader that goes away, or speaks something else

    def admit(head: Head) -> str:
        path = head.target.decode("ascii", "replace")
        if head.maybe_field(b"host") not in allowed:
            raise RequestRefused(421, "asked for by another name")
        if head.method != b"GET":
            raise RequestRefused(405, "only GET is answered")
        if path not in PATHS:
            raise RequestRefused(404, "no such path")
        return path

    task_status.started(f"{host}:{number}")
    await trio.serve_listeners(handle, listeners)
