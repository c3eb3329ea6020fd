"""Blocking. kill -9 at any moment loses nothing, shows no half file, and is forgotten after the restart."""

from __future__ import annotations

import random
import time
from pathlib import Path

from tests.helpers.computers import Computer, Disappointment, computers, join, share, wait_equal

CLAIM = "Daemons killed with -9 at random moments while files travel both ways lose nothing and converge"

KILLS = 30
FILE_BYTES = 300_000
SYNC_S = 300.0


def prove(place: Path) -> str:
    chance = random.Random("kills")
    written: dict[str, bytes] = {}
    with computers(("anna", "ben"), place, "Notes") as (anna, ben):
        for computer in (anna, ben):
            computer.start()
        join(ben, share(anna, "Notes"))
        for number in range(KILLS):
            writer, victim = chance.choice((anna, ben)), chance.choice((anna, ben))
            written |= write_files(writer, number, chance)
            time.sleep(chance.uniform(0, 1.5))
            victim.kill()
            demand_whole_files((anna, ben), written)
            victim.start()
        entries = wait_equal([anna.folder, ben.folder], SYNC_S)
        demand_everything(ben, written)
    return f"{KILLS} kills, {entries} entries equal, every one of {len(written)} files whole"


def write_files(computer: Computer, number: int, chance: random.Random) -> dict[str, bytes]:
    files = {f"{number}-{index}": chance.randbytes(chance.randrange(FILE_BYTES)) for index in range(40)}
    for name, content in files.items():
        (computer.folder / name).write_bytes(content)
    return files


def demand_whole_files(group: tuple[Computer, ...], written: dict[str, bytes]) -> None:
    for computer in group:
        for path in computer.folder.iterdir():
            if path.is_file() and path.read_bytes() != written.get(path.name):
                raise Disappointment(f"{computer.name}: {path.name} is not what was written")


def demand_everything(computer: Computer, written: dict[str, bytes]) -> None:
    if lost := [name for name in written if not (computer.folder / name).exists()]:
        raise Disappointment(f"lost: {lost[:5]} and {len(lost)} in all")
