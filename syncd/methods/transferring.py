"""Async. A transfer as a person follows it: how far, how fast, how long still."""

from __future__ import annotations

from collections import deque
from dataclasses import field
from typing import Any

import trio

from ca.values import dataclass
from syncd.folder.folder import FolderTask

WINDOW_S = 10.0


def arriving_bytes(task: FolderTask) -> int:
    """How much of files that are not whole yet has arrived."""
    done = 0
    for staging in task.puller.stagings:
        if not staging.parts:  # else its list is not here yet
            missing = dict(staging.missing)  # a worker thread may be taking from it
            done += max(0, staging.want.size - sum(entry.length for entry in missing.values()))
    return done


@dataclass(slots=True)
class Transfer:
    """One folder towards one peer, or towards us (`peer` None)."""

    folder: str
    peer: str | None
    _seen: deque[tuple[float, int]] = field(default_factory=deque)
    _done: int = 0
    _of: int = -1

    @property
    def has_begun(self) -> bool:
        """Whether anything was said of it."""
        return self._of >= 0

    def line(self, files_done: int, files_total: int, bytes_done: int, bytes_total: int) -> dict[str, Any]:
        """A progress line with the rate of the last ten seconds, in bytes a second.

        Of the same total no less is done than before: a file that is whole is no longer on its way, and is counted
        among those that are here only a moment later.
        """
        now = trio.current_time()
        if bytes_total == self._of:
            bytes_done = max(bytes_done, self._done)
        self._done, self._of = bytes_done, bytes_total
        self._seen.append((now, bytes_done))
        while self._seen[0][0] < now - WINDOW_S:
            self._seen.popleft()
        began, before = self._seen[0]
        rate = max(0.0, (bytes_done - before) / (now - began)) if now > began else 0.0
        left = max(0, bytes_total - bytes_done)
        return {
            "event": "transfer",
            "folder": self.folder,
            "peer": self.peer,
            "files_done": files_done,
            "files_total": files_total,
            "bytes_done": bytes_done,
            "bytes_total": bytes_total,
            "rate": round(rate),
            "eta_s": round(left / rate) if rate > 0 else None,
        }
