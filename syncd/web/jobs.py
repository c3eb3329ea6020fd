"""Async. What takes longer than a page may: calls that run behind the page, and what they have said so far."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final

import trio

from ca.values import dataclass
from syncd.catalogue import Report, report
from syncd.web.calling import Json, call
from syncd.web.control import Api

MAX_JOBS: Final = 16


@dataclass(slots=True)
class Job:
    """One call in the background."""

    owner: bytes
    """The session that began it; nobody else sees it."""
    method: str
    progress: dict[str, Any] = field(default_factory=dict)
    result: Json | None = None
    error: Report | None = None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    @property
    def is_over(self) -> bool:
        return self.result is not None or self.error is not None


class Jobs:
    """The calls in the background, a few at a time."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._jobs: OrderedDict[str, Job] = OrderedDict()

    def start(self, nursery: trio.Nursery, name: str, owner: bytes, method: str, params: Mapping[str, Any]) -> Job:
        """Begin a call under a name that nobody guesses. The oldest is given up when there are too many."""
        job = self._jobs[name] = Job(owner, method)
        while len(self._jobs) > MAX_JOBS:
            _, oldest = self._jobs.popitem(last=False)
            oldest.scope.cancel()
        nursery.start_soon(self._run, job, params)
        return job

    def find(self, name: str | None, owner: bytes) -> Job | None:
        """A call by its name, if it is this session's."""
        job = None if name is None else self._jobs.get(name)
        return job if job is not None and job.owner == owner else None

    async def _run(self, job: Job, params: Mapping[str, Any]) -> None:
        async def tell(progress: Mapping[str, Any]) -> None:
            job.progress = dict(progress)

        with job.scope:
            try:
                job.result = await call(self._api, job.method, params, tell)
            except Exception as raised:  # the border of one request, as in web.control
                job.error = report(raised)
