"""Async. Conflicts as a person looks at them: which files have two versions, what differs between these, and how they
look.

Only versions of a conflict can be looked into here, and of each only its beginning.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.daemon.running import RunningFolder
from syncd.daemon.views import Json, as_text, moment
from syncd.errors import SyncdError
from syncd.folder.folder import FolderTask
from syncd.methods.explaining import inside_of
from syncd.seams import Tree
from syncd.sidebyside import BINARY, TEXT, maybe_text, media_of, side_by_side
from syncd.store import rows
from syncd.store.joining import read_heads
from syncd.store.resolving import NoConflict, conflict_at
from syncd.store.rows import NodeRow
from syncd.store.survey import Survey
from syncd.treetypes import Path, TreeError

MOST_TEXT_BYTES = 256 << 10
MOST_IMAGE_BYTES = 8 << 20
MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a file in conflict, and where it stands."""

    path: Path
    author: DeviceId
    time_ms: int
    size: int
    hash: str

    def as_json(self, author_name: Callable[[DeviceId], str]) -> Json:
        where, made = as_text(b"/".join(self.path)), moment(self.time_ms / 1000)
        by = author_name(self.author)
        return {"path": where, "by": by, "time": made, "bytes": self.size, "hash": self.hash}


async def conflicts(folder: RunningFolder, task: FolderTask) -> list[Json]:
    """Files with more than one version that nobody has replaced, and where each stands."""
    found: list[tuple[Path, list[Version]]] = await task.db(_conflicts, task)
    return [
        {
            "path": as_text(b"/".join(path)),
            "versions": [version.as_json(folder.membership.author_name) for version in versions],
        }
        for path, versions in found
    ]


def _conflicts(task: FolderTask) -> list[tuple[Path, list[Version]]]:
    survey = Survey(task.store.connection, task.store.journal.sources)
    nodes = [node for (node,) in task.store.connection.execute("SELECT DISTINCT node FROM copy ORDER BY node")]
    found = []
    for row in rows.read_ids(task.store.connection, nodes).values():
        path = survey.path(row.l_parent, row.l_name)
        if path is not None:
            found.append((path, _versions(task, survey, row, path)))
    return found


def _versions(task: FolderTask, survey: Survey, row: NodeRow, path: Path) -> list[Version]:
    """The versions that stand on this disk, that under the file's own name first."""
    connection, sources = task.store.connection, task.store.journal.sources
    places = {(row.c_cs, row.c_idx): path}
    query = "SELECT cs, idx, l_parent, l_name FROM copy WHERE node=?"
    for cs, idx, parent, name in connection.execute(query, (row.id,)):
        where = survey.path(parent, name)
        if where is not None:
            places[cs, idx] = where
    found = []
    for head in read_heads(connection, row):
        place = places.get((head.cs, head.idx))
        if place is not None:
            (time_ms,) = connection.execute("SELECT time_ms FROM changeset WHERE seq=?", (head.cs,)).fetchone()
            name = sources.version(head.cs, head.idx).hex()[:16]
            found.append(Version(place, sources[head.cs].device, time_ms, head.size or 0, name))
    return sorted(found, key=lambda version: version.path != path)


class Comparing:
    """The methods of the control socket that look into versions."""

    def __init__(self, folder_of_path: Callable[[str], RunningFolder | None]) -> None:
        self._folder_of_path = folder_of_path

    async def compare(self, params: Mapping[str, Any], progress: object) -> Json:
        """All versions of one file in conflict; each but the first line by line against the first."""
        folder, task, path, versions = await self._found(params["path"])
        contents = [await task.blocking(_beginning, task.store.tree, one.path, MOST_TEXT_BYTES) for one in versions]
        shown = []
        for version, content in zip(versions, contents, strict=True):
            differences = None
            if version is not versions[0] and content is not None and contents[0] is not None:
                differences = await task.blocking(_differences, contents[0], content)
            media = MISSING if content is None else media_of(content)
            shown.append({**version.as_json(folder.membership.author_name), "media": media, "rows": differences})
        about = {"folder": folder.id.hex(), "name": folder.name, "path": as_text(b"/".join(path))}
        return {"schema": "syncd.compare/1", **about, "versions": shown}

    async def preview(self, params: Mapping[str, Any], progress: object) -> Json:
        """One version that is an image, whole. Raises SyncdError SY-FIND-04 for anything else."""
        folder, task, _, versions = await self._found(params["path"])
        path = tuple(inside_of(folder.row.path, params["path"]).split(b"/"))
        if path in {version.path for version in versions}:
            content = await task.blocking(_beginning, task.store.tree, path, MOST_IMAGE_BYTES + 1)
            if content is not None and len(content) <= MOST_IMAGE_BYTES:
                media = media_of(content)
                if media not in (TEXT, BINARY):
                    return {"schema": "syncd.preview/1", "media": media, "data": base64.b64encode(content).decode()}
        raise SyncdError("there is no picture to be shown", id="SY-FIND-04", why="It is no image, or a large one.")

    async def _found(self, path: str) -> tuple[RunningFolder, FolderTask, Path, list[Version]]:
        folder = self._folder_of_path(path)
        if folder is None:
            raise SyncdError("no folder of syncd contains this path", id="SY-FIND-03")
        task = folder.at_work()
        inside = tuple(inside_of(folder.row.path, path).split(b"/"))
        try:
            where, versions = await task.db(_one, task, inside)
        except NoConflict as error:
            raise SyncdError(str(error), id="SY-FIND-04", fix="syncd conflicts") from error
        return folder, task, where, versions


def _one(task: FolderTask, path: Path) -> tuple[Path, list[Version]]:
    row, _ = conflict_at(task.store, path)
    survey = Survey(task.store.connection, task.store.journal.sources)
    where = survey.path(row.l_parent, row.l_name) or path
    versions = _versions(task, survey, row, where)
    if len(versions) < 2:
        raise NoConflict(f"there is one version only of {b'/'.join(path).decode('utf-8', 'backslashreplace')}")
    return where, versions


def _beginning(tree: Tree, path: Path, most: int) -> bytes | None:
    """As much of a file as is asked for; None if it cannot be read now."""
    try:
        reader = tree.open_read(path)
        try:
            buffer = bytearray(min(reader.stat().size, most))
            return bytes(buffer[: reader.read_into(0, buffer)])
        finally:
            reader.close()
    except TreeError:
        return None


def _differences(first: bytes, other: bytes) -> list[Json] | None:
    """Line by line; None unless both are text."""
    left, right = maybe_text(first), maybe_text(other)
    if left is None or right is None or media_of(first) != TEXT or media_of(other) != TEXT:
        return None
    return [asdict(row) for row in side_by_side(left, right)]
