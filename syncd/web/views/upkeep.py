"""Async. The view of this computer itself: its name and key, its settings, and what the doctor finds."""

from __future__ import annotations

from syncd.web.asking import Asked, Shown, maybe_call


async def settings(asked: Asked) -> Shown:
    """Who we are to others, where things lie, and what is configured."""
    return Shown(
        "settings.html",
        {
            "version": await asked.call("version"),
            "key": await asked.call("key.show"),
            "doctor": await maybe_call(asked.api, "doctor"),
            "config": await maybe_call(asked.api, "config.show"),
        },
    )
