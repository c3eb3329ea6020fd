"""Who is not there any more is not said to be connected, though a request of its may still wait for an answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.computers import Computer, sharing_computers, wait_until

NEWS_WAIT_S = 5.0
"""A request for news may wait for most of a minute."""


@pytest.mark.needs("linux")
@pytest.mark.parametrize("ends", ["stop", "kill"])
def test_daemon_that_ended_is_not_connected(tmp_path: Path, ends: str) -> None:
    with sharing_computers(("anna", "ben"), tmp_path, "Notes") as (anna, ben):
        wait_until(lambda: is_connected(anna), 30, "they have not met")
        getattr(ben, ends)()
        wait_until(lambda: not is_connected(anna), NEWS_WAIT_S, "who has left is said to be connected")
        ben.start()
        wait_until(lambda: is_connected(anna), 30, "who came back is not said to be connected")


def is_connected(computer: Computer) -> bool:
    (folder,) = computer.ask("status")["folders"]
    return any(peer["connected"] for peer in folder["peers"])
