"""Async. The view of this computer itself: its name and key, its settings, and what the doctor finds."""

from __future__ import annotations

import json

from syncd.web.asking import Asked, Shown
from syncd.web.calling import maybe_call
from syncd.web.views.home import missing


async def settings(asked: Asked) -> Shown:
    """Who we are to others, where things lie, and what is configured."""
    return Shown(
        "settings.html",
        {
            "version": await asked.call("version"),
            "key": await asked.call("key.show"),
            "custody": asked.status.get("keys", {}),
            "doctor": await maybe_call(asked.api, "doctor"),
            "config": await maybe_call(asked.api, "config.show"),
        },
    )


async def setting(asked: Asked) -> Shown:
    """One setting: what it is, what it is now, and a field for another value."""
    found = await asked.call("config.show")
    one = next((one for one in found["settings"] if one["key"] == asked.query.get("key")), None)
    if one is None:
        return missing("There is no such setting.")
    value = one["value"]
    typed = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    return Shown("setting.html", {"setting": one, "typed": typed})
