"""Blocking. The simulation's oracle notices mistakes: deliberate defects, and how many seeds each takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.helpers.computers import Disappointment
from tests.helpers.ledger import Ledger, version_of
from tests.prove.simulation import SOURCES
from tests.simulation.defective import read_defects

CLAIM = "At least 25 deliberate defects are each noticed by the simulation within 2,000 seeds"

SEEDS = 2_000
WANTED = 25
PAGE = Path(__file__).resolve().parents[2] / "docs" / "simulation.md"
BEGIN, END = "<!-- defects -->\n", "<!-- end of defects -->\n"


def prove(place: Path) -> str:
    """Goes on where it was interrupted, while the code is the same. `SEEDS` in the environment: at most so many."""
    most = int(os.environ.get("SEEDS") or SEEDS)
    ledger = Ledger(place.parent / "defects.ledger", version_of([*SOURCES, "tests/simulation/defects.toml"]))
    names = list(read_defects())
    missing = [name for name in names if name not in ledger.done]
    with ThreadPoolExecutor(int(os.environ.get("JOBS") or 2)) as pool:
        for name, found in zip(missing, pool.map(lambda name: search(name, most), missing), strict=True):
            ledger.add(name, found)
            print(f"  {name}: {found}", flush=True)
    seeds = {name: ledger.done[name].get("seed") for name in names}
    write_table({name: (ledger.done[name].get("seed"), ledger.done[name].get("why", "")) for name in names})
    noticed = {name: seed for name, seed in seeds.items() if seed is not None}
    measured = f"{len(noticed)} of {len(names)} defects noticed, after {max(noticed.values(), default=0)} seeds at most"
    if len(noticed) < WANTED:
        raise Disappointment(f"{measured}; not: {', '.join(name for name in names if name not in noticed)}")
    return measured


def search(name: str, most: int) -> dict[str, object]:
    """The first seed that notices a defect, in a process of its own: `seed` and `why`; nothing if there is none."""
    command = [sys.executable, "-m", "tests.simulation.defective", name, "1", str(most + 1)]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, cwd=PAGE.parents[1], capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise Disappointment(f"{name}: {done.stderr[-500:]}")
    return json.loads(done.stdout) if done.stdout else {}


def write_table(found: dict[str, tuple[int | None, str]]) -> None:
    """Into docs/simulation.md, easily noticed ones first."""
    rows = sorted(found.items(), key=lambda item: item[1][0] or SEEDS)
    lines = "".join(f"| {name} | {'not noticed' if seed is None else seed} |\n" for name, (seed, _) in rows)
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}| defect | seeds until noticed |\n|---|---|\n{lines}{END}{after}")
