"""Pure. The text that Prometheus reads, and what stands in it.

The format is Prometheus' own (text, version 0.0.4): a line of help, a line of type, samples. Labels carry names
that people gave to folders and computers, never the path or name of a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field

from ca.values import dataclass

LINK_DOWNLOAD = "audit:link.download"
"""As `methods.visiting` tells it to the audit log."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: all its samples have the same name and type. `suffix` of a sample is for summaries."""

    name: str
    kind: str
    help: str
    samples: Sequence[tuple[Labels, float]]


@dataclass(frozen=True, slots=True)
class FolderNumbers:
    """What is measured of one folder; None is not known."""

    name: str
    state: str
    files: int
    size: int
    need_files: int
    need_bytes: int
    conflicts: int
    errors: int
    epoch: int
    certificate_until: float
    scan_s: float | None
    last_synced: float | None
    watch_overflows: int
    packs: int = 0
    stored_bytes: int = 0
    read_since: float | None = None


@dataclass(frozen=True, slots=True)
class PeerNumbers:
    """What is measured of one device of others."""

    name: str
    connected: bool
    last_seen: float | None
    rtt_s: float | None
    received_bytes: int = 0
    sent_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is measured at one moment."""

    version: str
    python: str
    started: float
    ready: bool
    received_bytes: int
    sent_bytes: int
    fetched_blocks: int
    duplicate_bytes: int
    copied_bytes: int
    refused: Mapping[str, int]
    database_bytes: int
    database_s: float
    loop_lag_s: float
    folders: Sequence[FolderNumbers] = field(default_factory=tuple)
    peers: Sequence[PeerNumbers] = field(default_factory=tuple)
    refused_blocks: int = 0
    audited: Mapping[str, int] = field(default_factory=dict)


STATES = ("starting", "scanning", "syncing", "synced", "waiting", "paused", "stopped")


def families(numbers: Numbers) -> list[Family]:
    """Every metric with its samples."""
    return [*_of_program(numbers), *_of_folders(numbers.folders), *_of_peers(numbers.peers)]


def _of_program(n: Numbers) -> list[Family]:
    about = {"version": n.version, "python": n.python}
    results = [({"result": f"refused: {result}"}, float(count)) for result, count in sorted(n.refused.items())]
    audited = [({"action": action}, float(count)) for action, count in sorted(n.audited.items())]
    return [
        Family("syncd_build_info", "gauge", "The program that runs; always 1.", [(about, 1)]),
        Family("syncd_start_timestamp_seconds", "gauge", "When the daemon started.", _one(n.started)),
        Family("syncd_ready", "gauge", "1 when all folders are loaded and peers can connect.", _one(n.ready)),
        Family("syncd_received_bytes_total", "counter", "Bytes of contents received.", _one(n.received_bytes)),
        Family("syncd_sent_bytes_total", "counter", "Bytes of contents sent.", _one(n.sent_bytes)),
        Family("syncd_duplicate_bytes_total", "counter", "Bytes that were fetched twice.", _one(n.duplicate_bytes)),
        Family("syncd_copied_bytes_total", "counter", "Bytes found on this disk instead.", _one(n.copied_bytes)),
        Family("syncd_blocks_total", "counter", "Blocks fetched.", [({"source": "peer"}, n.fetched_blocks)]),
        Family(
            "syncd_block_verify_failures_total",
            "counter",
            "Blocks that were not what they were asked for as.",
            _one(n.refused_blocks),
        ),
        Family("syncd_audit_events_total", "counter", "Lines added to the audit log, by what was done.", audited),
        Family(
            "syncd_link_downloads_total",
            "counter",
            "Downloads that people outside began by share links.",
            _one(n.audited.get(LINK_DOWNLOAD, 0)),
        ),
        Family("syncd_tls_handshakes_total", "counter", "Connections that were refused, by reason.", results),
        Family("syncd_db_size_bytes", "gauge", "Size of all databases.", _one(n.database_bytes)),
        Family("syncd_db_operation_seconds", "gauge", "How long the database took to answer now.", _one(n.database_s)),
        Family("syncd_loop_lag_seconds", "gauge", "How late the event loop woke up now.", _one(n.loop_lag_s)),
    ]


def _of_folders(folders: Sequence[FolderNumbers]) -> list[Family]:
    def each(value: str) -> list[tuple[Labels, float]]:
        found = [({"folder": folder.name}, getattr(folder, value)) for folder in folders]
        return [(labels, float(number)) for labels, number in found if number is not None]

    states: list[tuple[Labels, float]] = [
        ({"folder": folder.name, "state": state}, float(folder.state == state))
        for folder in folders
        for state in STATES
    ]
    files: list[tuple[Labels, float]] = [
        ({"folder": folder.name, "scope": scope}, float(count))
        for folder in folders
        for scope, count in (
            ("local", folder.files), ("global", folder.files + folder.need_files), ("need", folder.need_files)
        )
    ]  # fmt: skip
    sizes: list[tuple[Labels, float]] = [
        ({"folder": folder.name, "scope": scope}, float(count))
        for folder in folders
        for scope, count in (
            ("local", folder.size), ("global", folder.size + folder.need_bytes), ("need", folder.need_bytes)
        )
    ]  # fmt: skip
    return [
        Family("syncd_folder_state", "gauge", "1 for the state that the folder is in.", states),
        Family("syncd_folder_files", "gauge", "Files here, of all members, and lacking here.", files),
        Family("syncd_folder_bytes", "gauge", "Bytes here, of all members, and lacking here.", sizes),
        Family("syncd_folder_conflicts", "gauge", "Files of which two versions are kept.", each("conflicts")),
        Family("syncd_folder_errors", "gauge", "What stands in the way of the folder.", each("errors")),
        Family(
            "syncd_folder_last_synced_timestamp_seconds",
            "gauge",
            "When the folder was last known to be in sync.",
            each("last_synced"),
        ),
        Family("syncd_folder_scan_duration_seconds", "gauge", "How long the last scan took.", each("scan_s")),
        Family("syncd_storage_objects", "gauge", "Packs of old versions.", each("packs")),
        Family("syncd_storage_bytes", "gauge", "Bytes of old versions.", each("stored_bytes")),
        Family(
            "syncd_storage_last_verified_timestamp_seconds",
            "gauge",
            "Every pack was read and found right since then.",
            each("read_since"),
        ),
        Family("syncd_membership_epoch", "gauge", "Number of the folder's certificate.", each("epoch")),
        Family(
            "syncd_certificate_expiry_timestamp_seconds",
            "gauge",
            "When the folder's certificate is due to be exchanged.",
            each("certificate_until"),
        ),
        Family(
            "syncd_watch_overflows_total",
            "counter",
            "How often the system could not tell every change, and all was looked at.",
            each("watch_overflows"),
        ),
    ]


def _of_peers(peers: Sequence[PeerNumbers]) -> list[Family]:
    def each(value: str) -> list[tuple[Labels, float]]:
        found = [({"peer": peer.name}, getattr(peer, value)) for peer in peers]
        return [(labels, float(number)) for labels, number in found if number is not None]

    return [
        Family("syncd_peer_connected", "gauge", "1 while a peer is connected.", each("connected")),
        Family("syncd_peer_last_seen_timestamp_seconds", "gauge", "When a peer was last seen.", each("last_seen")),
        Family("syncd_peer_rtt_seconds", "gauge", "Time there and back.", each("rtt_s")),
        Family("syncd_peer_received_bytes_total", "counter", "Contents received from a peer.", each("received_bytes")),
        Family("syncd_peer_sent_bytes_total", "counter", "Contents sent to a peer.", each("sent_bytes")),
    ]


def _one(value: float) -> list[tuple[Labels, float]]:
    return [({}, float(value))]


def render(found: Iterable[Family]) -> str:
    """The text. A metric without samples is left out: nothing is known is not the same as zero."""
    lines: list[str] = []
    for family in found:
        if not family.samples:
            continue
        lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
        lines += [f"{family.name}{_labels(labels)} {_number(value)}" for labels, value in family.samples]
    return "\n".join([*lines, ""])


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    """Backslash, quote and line break are the three that the format names; a lone surrogate is no UTF-8."""
    plain = value.encode("utf-8", "replace").decode()
    return plain.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
