"""Async. Looking at single files for a person: why one is (not) in sync, and what a join would change."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ca.ids import DeviceId
from ca.roles import Action
from syncd.daemon.running import RunningFolder
from syncd.daemon.views import as_text, copies_json, folder_problems, names_through
from syncd.folder.folder import FolderTask, State
from syncd.folder.problems import DISK_IDS
from syncd.model.conditions import Facts
from syncd.model.xattrs import portable, travels, unpack
from syncd.store import counts, rows
from syncd.store.joining import ONLY_HERE
from syncd.store.rows import DIR, FILE, ROOT_ROW, SYMLINK, NodeRow
from syncd.store.survey import Survey
from syncd.treetypes import Kind, Path, Stat, TreeError
from syncd.wording import size

Json = dict[str, Any]


class Contact(Protocol):
    """What is asked of a peer's contact."""

    @property
    def connected(self) -> bool: ...

    @property
    def through(self) -> Sequence[DeviceId]: ...


# --- explain ---------------------------------------------------------------------------------------------------------


async def explain(folder: RunningFolder, path: str, contacts: Mapping[DeviceId, Contact]) -> Json:
    """One reason and one next step for a path of a folder."""
    inside = inside_of(folder.row.path, path)
    names: Path = tuple(inside.split(b"/")) if inside else ()
    task = None if folder.state is State.PAUSED else folder.task  # it may just be ending
    stopped = folder.why_stopped
    state, why = (
        "unknown",
        "the folder is not running" if stopped is None else f"the folder stopped: {stopped.why or stopped}",
    )
    id_: str | None = None
    stays: list[bytes] = []
    missing: list[bytes] = []
    fix: str | None = "syncd status"
    if folder.state is State.PAUSED:
        state, why, fix = "waiting", "its folder is paused", f"syncd resume {folder.name}"
    rule: str | None = None
    is_ignored = is_alone = False
    row: NodeRow | None = None
    if task is not None:
        stat = await task.blocking(_maybe_stat, task, names)
        row = await task.db(row_at, task, names)
        is_alone = row is not None and row.pending == ONLY_HERE and row.on_disk
        stays, missing = await task.blocking(_attributes_apart, task, names, row)
        is_directory, facts = _asked(stat, row)
        rule = task.ignores.rule(names, is_directory, facts, task.now_ns())
        is_ignored = task.ignores.match(names, is_directory, facts, task.now_ns())
        state, id_, why, fix = await _explain(folder, task, names, is_ignored)
        if state == "ignored" and stat is not None and row is not None and row.on_disk and row.l_size != stat.size:
            # It came in and has grown, or shrunk, since: others have it, but not like this.
            why = f"it has {size(stat.size)} by now, and a rule leaves that out; others keep what it was before"
            why += f", {size(row.l_size or 0)}"
            fix = "change the rule; then what it is now is sent"
    is_lost = id_ == "SY-FILE-11" or (task is not None and row is not None and _is_with_nobody(task, row))
    is_shared = not (is_ignored or is_alone or is_lost or state == "unknown")
    return {
        "schema": "syncd.explain/1",
        "folder": folder.id.hex(),
        "name": folder.name,
        "path": as_text(inside),
        "state": state,
        "id": id_,
        "why": why,
        "try": fix,
        "rule": rule,
        "copies": None if task is None else copies_json(task),
        "stays_here": [as_text(name) for name in stays],
        "not_here": [as_text(name) for name in missing],
        "peers": [
            {
                "name": folder.membership.member_name(device),
                "connected": contact.connected,
                "through": names_through(folder, contact.through),
                "has": True if is_shared and task is not None and task.peer_is_whole(device) else None,
            }
            for device, contact in contacts.items()
        ],
    }


def inside_of(root: bytes, path: str) -> bytes:
    """The part of an absolute path below the folder's root."""
    return os.fsencode(os.path.normpath(path))[len(root) :].strip(b"/")


def _maybe_stat(task: FolderTask, names: Path) -> Stat | None:
    try:
        return task.store.tree.stat(names)
    except TreeError:
        return None


def _attributes_apart(task: FolderTask, names: Path, row: NodeRow | None) -> tuple[list[bytes], list[bytes]]:
    """The names of extended attributes of a file or directory here that do not travel, because of what they are or
    because all together are too much; and of those of others for which this disk has no room."""
    tree = task.store.tree
    try:
        every, present = tree.xattr_names(names), tree.xattrs(names)
    except TreeError:
        return [], []
    sent = portable(present)
    stays = [name for name in every if sent is None or not travels(name)]
    is_known = row is not None and row.on_disk and row.pending == 0
    missing = [name for name, _ in unpack(row.xattrs) if name not in present] if row is not None and is_known else []
    return sorted(stays), missing


def _asked(stat: Stat | None, row: NodeRow | None) -> tuple[bool, Facts | None]:
    """(is a directory, what is known of a file): what rules are asked about a path. What stands here, else what others
    have there."""
    if stat is not None:
        has_entered = row is not None and row.l_kind == FILE
        return stat.kind is Kind.DIR, Facts(stat.size, stat.mtime_ns, has_entered) if stat.kind is Kind.FILE else None
    if row is not None and row.kind == FILE:
        return False, Facts(row.size or 0, row.mtime)
    return row is not None and row.kind == DIR, None


async def _explain(
    folder: RunningFolder, task: FolderTask, names: Path, is_ignored: bool
) -> tuple[str, str | None, str, str | None]:
    raw = b"/".join(names)
    for problem in task.problems:
        if problem.path == raw:
            return "problem", problem.code, problem.why, problem.fix
    if folder.state is State.STOPPED:
        first = (folder_problems(folder) or [{"id": None, "why": "the folder is stopped", "try": "syncd status"}])[0]
        return "problem", first["id"], str(first["why"]), str(first["try"])
    if is_ignored:
        return "ignored", None, "a rule leaves it out", "change the rule if it should be synced"
    row = await task.db(row_at, task, names)
    if row is None:
        why = "nothing of that name is known; a new file is seen within a second of being closed"
        return "unknown", None, why, "syncd folder rescan"
    if await task.db(_is_held, task, names):
        return "held", "SY-BRAKE-01", "it belongs to a wave of deletions that waits for a person", "syncd requests"
    if row.pending == ONLY_HERE:
        return _only_here(folder, row)
    if row.pending:
        problem_or_none = await task.db(counts.db_problem_of, task.store.connection, row.id)
        if problem_or_none is not None:
            problem = problem_or_none
            return "problem", problem.code, f"{problem.why} ({os.fsdecode(problem.path)})", problem.fix
        if task.links and _is_with_nobody(task, row):  # room on the disk would not bring it
            why = "nobody who is connected has kept this version"
            return "waiting", None, why, "start syncd on a computer that has it"
        for problem in task.problems:
            if not problem.path and problem.code in DISK_IDS:  # nothing can come to this disk
                return "waiting", problem.code, problem.why, problem.fix
        if not task.links:
            return "waiting", None, "no peer that may have it is connected", "start syncd on the other computer"
        return "waiting", None, "it is on its way", None
    return "synced", None, "it is the same here as everybody's newest", None


def _is_with_nobody(task: FolderTask, row: NodeRow) -> bool:
    """Whether something is lacking of it that no connected peer has."""
    return any(want.node == row.id for want, _ in task.puller.with_nobody())


def _only_here(folder: RunningFolder, row: NodeRow) -> tuple[str, str | None, str, str | None]:
    """A change that others do not get, because this device has not the right to it."""
    role = folder.membership.role_of(folder.membership.device)
    named = "none" if role is None else role.name.lower()
    if not row.on_disk and row.kind in (FILE, DIR, SYMLINK):
        why = f"it was deleted only here: your role is {named}, without the right to delete, so the others keep it"
        if folder.membership.may(Action.DELETE):
            why = "it was deleted only here, while your role did not allow that, so the others keep it"
        return "waiting", None, why, "syncd restore PATH --gone-here  brings it back"
    if folder.membership.may(Action.WRITE):
        why = "this change is only here: it was made while your role did not allow it"
        return "waiting", None, why, f"syncd folder rescan {folder.name}  sends it; if it stays, send a copy of it"
    return "waiting", None, f"this change is only here: your role is {named}, so it is kept and not sent", None


def row_at(task: FolderTask, names: Path) -> NodeRow | None:
    """The row of what stands at a path, or of what Global expects there."""
    connection = task.store.connection
    at = ROOT_ROW
    row: NodeRow | None = None
    for name in names:
        found = rows.read(connection, "WHERE l_parent=? AND l_name=? AND l_kind<>0", (at, name))
        found = found or rows.read(connection, "WHERE parent=? AND name=? ORDER BY kind IN (1,2,3) DESC", (at, name))
        if not found:
            return None
        row = found[0]
        at = row.id
    return row


def _is_held(task: FolderTask, names: Path) -> bool:
    """Whether what stood at a path, or a directory above it, waits for a person."""
    query = "SELECT 1 FROM held_node WHERE node=?"
    for depth in range(1, len(names) + 1):
        row = row_at(task, names[:depth])
        if row is not None and task.store.connection.execute(query, (row.id,)).fetchone() is not None:
            return True
    return False


# --- what a join would change ----------------------------------------------------------------------------------------


async def compare(task: FolderTask) -> Json:
    """A directory that is about to join against the folder, by content: nothing is written."""
    expected: dict[Path, NodeRow] = await task.db(_expected, task)
    here: dict[Path, int] = await task.blocking(_standing, task)
    same = 0
    fetch: list[NodeRow] = [row for path, row in expected.items() if path not in here]
    missing = len(fetch)
    for path, row in expected.items():
        if path in here:
            if await task.blocking(_same, task, path, row):
                same += 1
            else:
                fetch.append(row)
    return {
        "same": same,
        "only_here": sum(path not in expected for path in here),
        "differ": len(fetch) - missing,
        "fetch_files": len(fetch),
        "fetch_bytes": sum(row.size or 0 for row in fetch),
    }


def _expected(task: FolderTask) -> dict[Path, NodeRow]:
    """Every living file and link of Global by its path."""
    connection = task.store.connection
    survey = Survey(connection, task.store.journal.sources)
    paths: dict[int, Path] = {ROOT_ROW: ()}

    def path_of(row: NodeRow) -> Path:
        parent = survey.parent(row) or ROOT_ROW
        if parent not in paths:
            above = survey.row(parent)
            paths[parent] = () if above is None else path_of(above)
        return (*paths[parent], row.name or b"")

    return {path_of(row): row for row in rows.read(connection, "WHERE kind IN (?,?)", (FILE, SYMLINK))}


def _standing(task: FolderTask) -> dict[Path, int]:
    """Size of every file and link on the disk by its path."""
    found: dict[Path, int] = {}
    stack: list[Path] = [()]
    while stack:
        at = stack.pop()
        try:
            listed: Sequence[tuple[bytes, Any]] = task.store.tree.list_dir(at)
        except TreeError:
            continue  # what cannot be read is not compared; the scan will say so
        for name, stat in listed:
            if stat.kind is Kind.DIR:
                stack.append((*at, name))
            elif stat.kind in (Kind.FILE, Kind.SYMLINK):
                found[*at, name] = stat.size
    return found


def _same(task: FolderTask, path: Path, row: NodeRow) -> bool:
    tree = task.store.tree
    try:
        stat = tree.stat(path)
        if int(stat.kind) != row.kind:
            return False
        if row.kind == SYMLINK:
            return tree.read_link(path) == row.blocks
        if stat.size != row.size:
            return False
        hasher = task.store.keyring.hasher()
        reader = tree.open_read(path)
        try:
            hashed = hasher.large(reader, stat.size, rows.class_of(row.cls), {})
        finally:
            reader.close()
    except TreeError:
        return False
    blocks = rows.listed_blocks(hashed.digest(), hashed.payload) if hashed.listed else hashed.payload
    return rows.same_blocks(FILE, int(hashed.listed), blocks, row.listed, row.blocks)
