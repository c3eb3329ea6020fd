"""Pure. What the control socket answers about folders, members and peers, as JSON values (the shapes are
`docs/cli.md`'s)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from math import floor
from typing import Any

from ca.device import device_text
from ca.ids import DeviceId
from syncd.daemon.running import RunningFolder
from syncd.folder.drilling import Drilled
from syncd.folder.folder import FolderTask
from syncd.folder.ground import Withheld
from syncd.model.ignores import SHARED_NAME
from syncd.store.counts import NOTHING, Problem
from syncd.store.scan import Older
from syncd.treetypes import RootState
from syncd.wording import size

Json = dict[str, Any]

HELD = "SY-BRAKE-01"
MOMENTS = 4096
"""So many are remembered as text: those of a thousand folders, which are the same in each answer of `status`."""
MOST_UNSURE = 20
EARLIEST_S = int(datetime(1000, 1, 2, tzinfo=UTC).timestamp())
LATEST_S = int(datetime(9999, 12, 30, tzinfo=UTC).timestamp())
"""Moments that have four digits of a year in every time zone: before and behind them Python and others know none."""
LEFT_OUT_SHOWN_S = 24 * 3600.0

EXCHANGE_NOTE = (
    "this file system cannot exchange two names in one step, so a file saved in that very moment may be lost"
)


def as_text(raw: bytes) -> str:
    """A name or path as JSON text; bytes that are no UTF-8 survive the way there and back."""
    return raw.decode("utf-8", "surrogateescape")


def moment(seconds: float | None) -> str | None:
    """RFC 3339 in UTC; None stays None. What others say may lie anywhere: the last moment that can be told stands for
    all behind it."""
    return None if seconds is None else _moment(floor(min(max(seconds, EARLIEST_S), LATEST_S)))


@lru_cache(maxsize=MOMENTS)
def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def problem_json(problem: Problem) -> Json:
    """A problem of a path, or of the folder itself (`path` null)."""
    return {
        "id": problem.code,
        "path": as_text(problem.path) if problem.path else None,
        "why": problem.why,
        "try": problem.fix,
    }


def folder_json(folder: RunningFolder, peers: Iterable[Json], requests: int) -> Json:
    """A folder as `status` shows it. `requests`: of people who would join it; what waits here is added."""
    membership, task = folder.membership, folder.task
    problems = folder_problems(folder)
    role = membership.role_of(membership.device)
    counts = (folder.counts or NOTHING) if task is None else task.counts
    return {
        "id": folder.id.hex(),
        "name": folder.name,
        "path": as_text(folder.row.path),
        "role": None if role is None else role.name.lower(),
        "state": folder.state.value,
        "epoch": membership.epoch.number,
        "epoch_id": membership.epoch.id.hex(),
        "recovery_keys": [device_text(key.id) for key in membership.roster.recovery],
        "files": counts.files,
        "bytes": counts.size,
        "need": {"files": counts.need_files, "bytes": counts.need_bytes},
        "held": counts.held,
        "conflicts": counts.conflicts,
        "only_here": counts.only_here,
        "requests": requests + sum(problem["id"] == HELD for problem in problems) + _late_requests(folder),
        "old_bytes": counts.old_bytes,
        "history": {
            "plain_files": counts.old_files,
            "plain_bytes": counts.old_bytes,
            "packs": counts.packs,
            "packed_bytes": counts.packed_bytes,
            "read_since": moment(counts.read_since),
            "live_read_since": None if task is None else moment(task.doubter.oldest_reading),
            "drill": None if task is None else drill_json(task.driller.last),
            "copies": None if task is None else copies_json(task),
            "only_here_since": None if task is None else moment(task.replication.only_here_since),
        },
        "problems": problems,
        "peers": list(peers),
    }


def drill_json(last: Drilled | None) -> Json | None:
    """What the last restore drill showed."""
    if last is None:
        return None
    return {
        "time": moment(last.at),
        "moment": moment(last.moment_ms / 1000),
        "files": last.files,
        "bytes": last.size,
        "not_here": last.not_here,
        "from_peers": last.from_peers,
        "failed": last.failed,
    }


def copies_json(task: FolderTask) -> Json:
    """On how many other devices a block has to be before it goes early, and what stays for want of that."""
    found = withheld_json(task.withheld or Withheld())
    return found | {"wanted": task.copies_wanted, "others": len(task.store.others)}


def withheld_json(withheld: Withheld) -> Json:
    """What was kept back at a collection, as far as that has been since the start."""
    return {
        "wanted": withheld.wanted,
        "proved_blocks": withheld.proved,
        "oldest_proof": moment(withheld.oldest),
        "kept_blocks": withheld.blocks,
        "kept_bytes": withheld.size,
        "why": withheld.why,
        "promised_blocks": withheld.promised,
    }


def folder_problems(folder: RunningFolder) -> list[Json]:
    """Everything that stands in the way of a folder, the worst first."""
    problems: list[Json] = []
    if folder.why_stopped is not None:
        stopped = folder.why_stopped
        problems.append(
            _device_problem(stopped.id or "SY-BUG-01", stopped.why or str(stopped), stopped.fix or "see the log")
        )
    problems += [_device_problem(*twin) for twin in folder.twins]
    for code, why in folder.membership.problems():
        problems.append(_device_problem(code, why, f"syncd help {code}"))
    if folder.database_moved is not None:
        why = f"the database was damaged; it was moved to {folder.database_moved} and the folder rejoins without it"
        problems.append(_device_problem("SY-DB-01", why, "nothing; delete the moved file when all is well"))
    if folder.watch_limited:
        why = "the system grants no more watches; changes are found by the hourly scan"
        fix = "sudo sysctl fs.inotify.max_user_watches=1048576 fs.inotify.max_user_instances=1024"
        problems.append(_device_problem("SY-WATCH-01", why, fix))
    task = folder.task
    if task is not None:
        problems += [problem_json(problem) for problem in task.problems]
        problems += [
            {"id": "SY-CONF-03", "path": path, "why": f"{line} is no rule", "try": "correct or remove it"}
            for path, line in map(_rule_of, task.ignores.problems)
        ]
        drill = task.driller.last
        if drill is not None and drill.failed:
            why = f"{drill.failed} of {drill.files} files of {moment(drill.moment_ms / 1000)}: {drill.why}"
            problems.append(_device_problem("SY-HIST-07", why, "syncd scrub; syncd drill"))
        withheld = task.withheld
        if task.plain_waiting or (task.is_over_space and withheld is not None and withheld.blocks):
            why = "space is short, and old versions stay: " + (
                f"{task.plain_waiting} old files have not been proved by enough other devices"
                if task.plain_waiting or withheld is None
                else f"{withheld.blocks} blocks, {withheld.why}"
            )
            problems.append(_device_problem("SY-HIST-09", why, "syncd peers; syncd prune --dry-run"))
        problems += _older_problems(task.store.older)
        if task.nameless:
            why = f"{task.nameless} old files in {as_text(folder.row.path)}/.syncd/old are of an earlier database"
            fix = "take what you need from there, and delete the rest"
            problems.append(_device_problem("SY-HIST-10", why, fix))
        if task.unread_old:
            where = f"{as_text(folder.row.path)}/.syncd/old"
            why = f"{task.unread_old} old files in {where} cannot be read: what was written into one is not known"
            problems.append(_device_problem("SY-DISK-03", why, "check the disk and its cable, and the kernel's log"))
        if task.replication.is_late and folder.membership.devices():
            why = f"changes since {moment(task.replication.only_here_since)} are on no other device yet"
            problems.append(_device_problem("SY-SAFE-01", why, "syncd peers; start syncd on another device"))
        now = task.clock.now()
        for apart in task.apart:
            if apart.left_out_ms is not None and now - apart.left_out_ms / 1000 < LEFT_OUT_SHOWN_S:
                who = folder.membership.member_name(apart.device) or device_text(apart.device)
                why = (
                    f"{who} publishes without the right to, more than is kept; the rest is left out and counts nowhere"
                )
                problems.append(_device_problem("SY-LATE-01", why, "syncd doctor -v; syncd members"))
        if task.counts.held:
            why = f"changes of {task.counts.held} files look like an accident; they wait for a person"
            problems.append(_device_problem(HELD, why, "syncd requests"))
    return problems


def _older_problems(older: Older | None) -> list[Json]:
    """Of a directory that is an older state of its folder: until all of it was looked at, and then of what could not
    be."""
    if older is None:
        return []
    if older.unsure is None:
        why = "what it lacks comes back, and what was not looked at yet is neither deleted nor taken back"
        return [_device_problem("SY-ROOT-07", why, "nothing")]
    why = "it could not be compared yet, and is neither deleted nor taken back; all else is an ordinary folder"
    fix = "make it readable, or let what writes to it all the time rest"
    some = sorted(older.unsure)[:MOST_UNSURE]
    return [{"id": "SY-ROOT-07", "path": as_text(b"/".join(path)), "why": why, "try": fix} for path in some]


def apart_lines(folder: RunningFolder) -> list[str]:
    """What is kept of others without counting, because they had lost the right to publish it."""
    lines = []
    for apart in () if folder.task is None else folder.task.apart:
        who = folder.membership.member_name(apart.device) or device_text(apart.device)
        left = "" if apart.left_out_ms is None else f"; more was left out, last {moment(apart.left_out_ms / 1000)}"
        lines.append(
            f"{apart.changesets} changes ({size(apart.size_bytes)}) that {who} published without the right to are kept "
            f"apart and do not count{left}"
        )
    return lines


def _late_requests(folder: RunningFolder) -> int:
    """Of how many devices something is kept apart to which nobody here has said yes or no."""
    return 0 if folder.task is None else sum(one.changesets > 0 and not one.denied for one in folder.task.apart)


def _rule_of(problem: str) -> tuple[str, str]:
    """(file of rules, line and text) of a rule that is none."""
    shared = SHARED_NAME.decode()
    return (shared, problem.removeprefix(f"{shared}: ")) if problem.startswith(shared) else (".syncd/ignore", problem)


def is_in_sync(folder: RunningFolder, other_members: int) -> bool:
    """Settled here, and, if there are other members, level with at least one of them since this start.

    Never while another daemon is this device as well: what is changed here may reach nobody.
    """
    task = folder.task
    membership = folder.membership
    if task is None or folder.why_stopped is not None or membership.is_out or membership.has_ended:
        return False
    older = task.store.older
    if task.root_state is not RootState.OK or (older is not None and older.unsure is None) or has_twin(folder):
        return False
    return task.is_settled and membership.may_read and (other_members == 0 or task.heads_reached)


def has_twin(folder: RunningFolder) -> bool:
    """Whether another daemon is known to be this very device."""
    return any(code == "SY-TWIN-01" for code, _, _ in folder.twins)


def _device_problem(code: str, why: str, fix: str) -> Json:
    return {"id": code, "path": None, "why": why, "try": fix}


def names_through(folder: RunningFolder, through: Sequence[DeviceId]) -> list[str]:
    """Members to whom a device is connected that is not connected to us: through them it gets what is changed here."""
    return sorted(folder.membership.member_name(device) for device in through)


def have_ratio(task: FolderTask | None, device: DeviceId) -> float | None:
    """How much of the folder a connected peer is known to have; None if it is not known."""
    if task is None or device not in task.links:
        return None
    told = task.peer_needs.get(device)
    if told is None:
        return None
    files, size = told
    if files == 0:
        return 1.0
    return max(
        0.0, min(0.999, 1 - (size / task.counts.size if task.counts.size else files / max(1, task.counts.files)))
    )
