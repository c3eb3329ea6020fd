"""Blocking. Two hundred removals with real daemons, while files travel."""

from __future__ import annotations

import os
import random
import time
from contextlib import ExitStack
from pathlib import Path

from tests.helpers.computers import (
    Computer,
    Disappointment,
    join,
    share,
    sharing_computers,
    steal_certificate,
    wait_until,
)
from tests.helpers.foreigners import open_connection, wait_cut
from tests.helpers.progress import Progress

CLAIM = (
    "In 200 removals with real daemons, open connections and traffic, the last connection of the removed is cut within "
    "5 s (99 of 100), and it gets 0 bytes of content afterwards"
)

FOLDER = "Notes"
REMOVALS = 200
CUT_S = 5.0
NEWS_S = 30.0
SILENCE_S = 0.5
TRAFFIC_BYTES = 256 * 1024


def prove(place: Path) -> str:
    """`REMOVALS` in the environment: how many."""
    wanted = int(os.environ.get("REMOVALS") or REMOVALS)
    progress = Progress("cut_off")
    cuts: list[float] = list(progress.done.values())
    if len(cuts) < wanted:
        with sharing_computers(("anna", "ben", "carla"), place, FOLDER) as group:
            anna, ben, carla = group
            for turn, number in enumerate(range(len(cuts), wanted)):
                if turn:
                    join(carla, share(anna, FOLDER))
                cuts.append(remove_once(anna, ben, carla, number))
                progress.note(str(number), cuts[-1])
                carla.ask("folder", "leave", FOLDER, "--yes")
    cuts = sorted(cuts[:wanted])
    late = cuts[min(len(cuts) - 1, int(len(cuts) * 0.99))]
    measured = f"{len(cuts)} removals: median {cuts[len(cuts) // 2]:.2f} s, 99 of 100 within {late:.2f} s"
    if late > CUT_S:
        raise Disappointment(measured)
    return measured


def remove_once(anna: Computer, ben: Computer, carla: Computer, number: int) -> float:
    """Seconds from the command to the end of the last of carla's connections; what comes after must be nothing."""
    for server in (anna, ben):
        wait_until(lambda one=server: "carla" in connected(one), NEWS_S, f"{server.name} and carla do not meet")  # type: ignore[misc]
    held = steal_certificate(carla, FOLDER)
    for writer in (anna, ben):
        (writer.folder / f"traffic of {writer.name}").write_bytes(random.Random(number).randbytes(TRAFFIC_BYTES))
    with ExitStack() as stack:
        open_ones = [stack.enter_context(open_connection(server, held)) for server in (anna, ben)]
        began = time.monotonic()
        anna.ask("member", "remove", FOLDER, "carla", "--yes")
        wait_cut(open_ones, CUT_S)
        wait_until(lambda: not connected(carla), CUT_S, "carla is still connected")
        cut_s = time.monotonic() - began
    before = carla.transfer()["received_bytes"]
    (anna.folder / "secret").write_text(f"number {number}")
    wait_until(lambda: read(ben.folder / "secret") == f"number {number}", NEWS_S, "the others do not go on")
    time.sleep(SILENCE_S)
    if carla.transfer()["received_bytes"] != before or read(carla.folder / "secret") == f"number {number}":
        raise Disappointment(f"removal {number}: content after the cut")
    return cut_s


def connected(computer: Computer) -> set[str]:
    (folder,) = computer.ask("status")["folders"]
    return {peer["name"] for peer in folder["peers"] if peer["connected"]}


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
