"""Blocking. What is written on one idle computer is on the other before one has looked up."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from tests.helpers.computers import Computer, Disappointment, computers, join, share, wait_until

CLAIM = "On an idle pair a written, renamed or deleted file of 1 KiB arrives within 0.5 s (median) and 1 s (95 of 100)"

ROUNDS = 100
SYNC_S, NEWS_S = 60.0, 10.0
IDLE_S = 0.7  # between two changes, so that each one meets an idle pair


def prove(place: Path) -> str:
    with computers(("anna", "ben"), place, "Notes") as (anna, ben):
        for computer in (anna, ben):
            computer.start()
        join(ben, share(anna, "Notes"))
        ben.wait_synced(SYNC_S)
        took: dict[str, list[float]] = {"write": [], "rename": [], "delete": []}
        for number in range(ROUNDS):
            one_round(anna, ben, number, took)
    measured = "; ".join(f"{what}: {describe(times)}" for what, times in took.items())
    if any(statistics.median(times) > 0.5 or percentile_95(times) > 1.0 for times in took.values()):
        raise Disappointment(measured)
    return measured


def one_round(anna: Computer, ben: Computer, number: int, took: dict[str, list[float]]) -> None:
    old, new = f"note {number}", f"renamed {number}"
    content = os.urandom(1024)
    took["write"].append(
        timed(
            lambda: (anna.folder / old).write_bytes(content),
            lambda: has_content(ben.folder / old, content),
        )
    )
    took["rename"].append(
        timed(
            lambda: (anna.folder / old).rename(anna.folder / new),
            lambda: (ben.folder / new).exists() and not (ben.folder / old).exists(),
        )
    )
    took["delete"].append(timed((anna.folder / new).unlink, lambda: not (ben.folder / new).exists()))


def timed(change: Callable[[], object], arrived: Callable[[], bool]) -> float:
    change()
    took_s = wait_until(arrived, NEWS_S, "a change did not arrive")
    time.sleep(IDLE_S)
    return took_s


def has_content(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except FileNotFoundError:
        return False


def percentile_95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


def describe(times: list[float]) -> str:
    return f"median {statistics.median(times):.2f} s, 95 of 100 within {percentile_95(times):.2f} s"
