"""Async. How everything behind the page calls the daemon: by the same methods and checks as the control socket."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from syncd.errors import SyncdError
from syncd.web.control import Api
from syncd.web.methods import METHODS, parse_params_untrusted

Json = dict[str, Any]
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]


async def call(api: Api, name: str, params: Mapping[str, Any], progress: Progress | None = None) -> Json:
    """Ask the daemon with parameters that are checked and completed like those of the control socket."""
    checked = parse_params_untrusted(name, json.dumps(params).encode())
    return await api.call(name, checked, progress or _ignore)


async def maybe_call(api: Api, name: str, **params: Any) -> Json | None:
    """The same for what may fail without making the whole view fail; None then, or when nobody knows the method."""
    if name not in METHODS:
        return None
    try:
        return await call(api, name, params)
    except SyncdError:
        return None


async def _ignore(progress: Mapping[str, Any]) -> None:
    pass
