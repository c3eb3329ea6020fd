"""Several hold what one lacks: every block comes once, from all of them, and the loss of one does not matter."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.computers import Computer, demand_equal, free_ports, join, share, sharing_computers, wait_until

MIB = 1 << 20
FILM_BYTES = 160 * MIB
NOTES = 300
SYNC_S = 120.0
OVERHEAD = 1.02  # changesets and lists travel too


@pytest.fixture
def holders(tmp_path: Path) -> Iterator[list[Computer]]:
    """Three that have everything, and a fourth that has nothing yet and is not started."""
    with sharing_computers(("anna", "ben", "carla"), tmp_path, "Films", write_films) as group:
        dora = Computer("dora", tmp_path / "dora", tmp_path / "dora" / "Films", free_ports(1)[0])
        try:
            dora.start()
            yield [*group, dora]
        finally:
            dora.stop()


def test_fourth_fetches_each_block_once_and_from_all_three(holders: list[Computer]) -> None:
    *group, dora = holders
    before = [holder.transfer()["sent_bytes"] for holder in group]
    dora.ask("limits", "--down", "40 MB/s")  # so that all three are met before it is over, on any machine
    join(dora, share(group[0], "Films"))
    dora.wait_synced(SYNC_S)
    demand_equal(group[0].folder, dora.folder)
    sent = [holder.transfer()["sent_bytes"] - then for holder, then in zip(group, before, strict=True)]
    fetched = dora.transfer()
    print(fetched, [f"{one / MIB:.0f} MiB" for one in sent])  # noqa: T201
    assert fetched["duplicate_bytes"] == 0
    assert fetched["received_bytes"] <= size_of(dora.folder) * OVERHEAD
    assert min(sent) > 0.05 * FILM_BYTES
    assert sum(sent) <= size_of(dora.folder) * OVERHEAD


@pytest.mark.slowest
def test_fourth_completes_when_a_holder_is_killed_in_the_middle(holders: list[Computer]) -> None:
    *group, dora = holders
    join(dora, share(group[0], "Films"))
    wait_until(lambda: dora.transfer()["received_bytes"] > FILM_BYTES // 4, SYNC_S, "nothing is fetched")
    group[1].kill()
    assert not is_complete(dora), "the kill came too late to prove anything"
    dora.wait_synced(SYNC_S)
    demand_equal(group[0].folder, dora.folder)
    assert dora.transfer()["received_bytes"] <= size_of(dora.folder) * OVERHEAD


def is_complete(computer: Computer) -> bool:
    return (computer.folder / "film").exists()


def write_films(folder: Path) -> None:
    chance = random.Random("films")
    (folder / "film").write_bytes(chance.randbytes(FILM_BYTES))
    for number in range(NOTES):
        (folder / f"note {number}").write_bytes(chance.randbytes(10_000))


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
