"""kill -9 at any moment: nothing is lost, no half file is ever visible, and what was fetched is not fetched again."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.helpers.computers import (
    Computer,
    computers,
    demand_equal,
    join,
    share,
    sharing_computers,
    start_all,
    wait_equal,
    wait_until,
)

pytestmark = pytest.mark.long

MIB = 1 << 20
KILLS = 6
FILES_A_TIME = 40
FILE_BYTES = 300_000
FILM_BYTES = 192 * MIB
IN_FLIGHT_BYTES = 64 * MIB  # what a folder may have asked for and not yet written
SYNC_S = 120.0


def test_nothing_is_lost_and_no_half_file_is_seen(tmp_path: Path) -> None:
    chance = random.Random(os.environ.get("SEED", "kills"))
    written: dict[str, bytes] = {}
    with sharing_computers(("anna", "ben"), tmp_path, "Notes") as (anna, ben):
        for number in range(KILLS):
            writer, victim = chance.choice((anna, ben)), chance.choice((anna, ben))
            written |= write_files(writer, number, chance)
            time.sleep(chance.uniform(0, 1.0))
            victim.kill()
            demand_whole_files(anna, written)
            demand_whole_files(ben, written)
            victim.start()
        wait_equal([anna.folder, ben.folder], SYNC_S)
        assert files_of(ben.folder) == written.keys()
        demand_whole_files(ben, written)


@pytest.mark.slowest
def test_overwritten_files_are_old_or_new_and_never_mixed(tmp_path: Path) -> None:
    chance = random.Random(os.environ.get("SEED", "versions"))
    with sharing_computers(("anna", "ben"), tmp_path, "Notes") as (anna, ben):
        versions: list[bytes] = []
        for _ in range(3):
            versions.append(chance.randbytes(8 * MIB))
            (anna.folder / "again and again").write_bytes(versions[-1])
            time.sleep(chance.uniform(0.1, 0.6))
            ben.kill()
            seen = ben.folder / "again and again"
            assert not seen.exists() or seen.read_bytes() in versions
            ben.start()
        wait_equal([anna.folder, ben.folder], SYNC_S)
        assert (ben.folder / "again and again").read_bytes() == versions[-1]
        assert files_of(ben.folder) == {"again and again"}


def test_killed_fetch_goes_on_where_it_was(tmp_path: Path) -> None:
    with computers(("anna", "ben"), tmp_path, "Films") as (anna, ben):
        start_all([anna, ben])
        (anna.folder / "film").write_bytes(random.Random("film").randbytes(FILM_BYTES))
        ben.ask("limits", "--down", "10 MB/s")  # so that the kill comes in the midst of it, on any machine
        join(ben, share(anna, "Films"))
        wait_until(lambda: ben.transfer()["received_bytes"] > FILM_BYTES // 2, SYNC_S, "nothing is fetched")
        ben.kill()
        assert not (ben.folder / "film").exists(), "the kill came too late to prove anything"
        ben.start()
        ben.ask("limits", "--clear")
        ben.wait_synced(SYNC_S)
        demand_equal(anna.folder, ben.folder)
        sent = anna.transfer()["sent_bytes"]
        print(f"{(sent - FILM_BYTES) / MIB:.1f} MiB again")  # noqa: T201
        assert sent <= FILM_BYTES + IN_FLIGHT_BYTES
        assert ben.transfer()["received_bytes"] < FILM_BYTES * 0.6 + IN_FLIGHT_BYTES


def write_files(computer: Computer, number: int, chance: random.Random) -> dict[str, bytes]:
    files = {f"{number}-{index}": chance.randbytes(chance.randrange(FILE_BYTES)) for index in range(FILES_A_TIME)}
    for name, content in files.items():
        (computer.folder / name).write_bytes(content)
    return files


def demand_whole_files(computer: Computer, written: Mapping[str, bytes]) -> None:
    for name in files_of(computer.folder):
        assert (computer.folder / name).read_bytes() == written[name], (
            f"{computer.name}: {name} is not what was written"
        )


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}
