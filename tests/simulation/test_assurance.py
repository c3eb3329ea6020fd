"""What is kept is tried out, and what nobody else has is told: drills, and the alarm after five minutes."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

import pytest
import trio

from syncd.folder.replicating import LATEST_S, LOOK_S
from syncd.store.packing import PACK_AFTER_S
from tests.helpers.simulation import SimComputer, Simulation, simulate
from tests.helpers.tasks import SeededRandom

pytestmark = pytest.mark.slowest

SEED = 14


def write(computer: SimComputer, name: bytes, content: bytes) -> None:
    computer.disk.write((name,), content)
    computer.disk.flush_file((name,))


async def problems(computer: SimComputer) -> set[str]:
    return {problem["id"] for problem in (await computer.status())["problems"]}


async def history(computer: SimComputer) -> dict[str, Any]:
    return dict((await computer.status())["history"])


def test_change_that_stays_alone_for_five_minutes_is_an_alarm_until_somebody_has_it() -> None:
    async def story(simulation: Simulation) -> None:
        await simulation.share_with_all()
        ana, bert, cleo = simulation
        await trio.sleep(LATEST_S + 3 * LOOK_S)
        assert not await problems(ana) and (await history(ana))["only_here_since"] is None
        await bert.stop()
        await cleo.stop()
        write(ana, b"alone", b"of ana")
        await trio.sleep(LATEST_S / 2)
        assert not await problems(ana) and (await history(ana))["only_here_since"] is not None
        await trio.sleep(LATEST_S / 2 + 3 * LOOK_S)
        assert await problems(ana) == {"SY-SAFE-01"}
        await simulation.start(cleo)
        await simulation.settle((ana, cleo))
        await trio.sleep(3 * LOOK_S)
        assert not await problems(ana) and (await history(ana))["only_here_since"] is None

    simulate(story, SEED)


def test_deletion_alone_is_a_change_that_others_have_to_have() -> None:
    async def story(simulation: Simulation) -> None:
        await simulation.share_with_all()
        ana, _, _ = simulation
        await trio.sleep(LATEST_S)
        ana.disk.delete(next(iter(ana.disk.contents())))
        await simulation.settle(tuple(simulation))
        await trio.sleep(3 * LOOK_S)
        assert (await history(ana))["only_here_since"] is None

    simulate(story, SEED)


def test_who_starts_anew_remembers_what_others_have() -> None:
    async def story(simulation: Simulation) -> None:
        await simulation.share_with_all()
        ana, bert, cleo = simulation
        await trio.sleep(3 * LOOK_S)
        for computer in (ana, bert, cleo):
            await computer.stop()
        await simulation.start(ana)
        await trio.sleep(LATEST_S + 3 * LOOK_S)
        assert not await problems(ana)

    simulate(story, SEED)


def test_drills_restore_what_was_and_notice_a_damaged_pack(tmp_path: FilePath) -> None:
    async def story(simulation: Simulation) -> None:
        await simulation.share_with_all()
        ana, bert, _ = simulation
        for number in range(4):
            write(ana, b"book", b"edition %d " % number * 500)
            await simulation.settle(tuple(simulation))
            await trio.sleep(3600.0)
        await trio.sleep(2 * PACK_AFTER_S)
        task = bert.folder.task
        assert task is not None
        task.driller.equip(str(tmp_path / "scratch"), SeededRandom("drills"))
        assert (await history(bert))["drill"] is None
        drilled = [await bert.call("drill") for _ in range(12)]
        assert sum(one["drill"]["files"] for one in drilled) > 12
        assert all(one["why"] is None and not one["drill"]["not_here"] for one in drilled)
        assert (await history(bert))["drill"]["failed"] == 0
        assert not (tmp_path / "scratch").exists()

        shelf = task.store.packs.shelf
        for name, size in shelf.list():
            content = bytearray(size)
            shelf.read(name, 0, content)
            content[100] ^= 1
            shelf.drop(name)
            shelf.put(name, content)
        drilled = [await bert.call("drill") for _ in range(12)]
        failed = [one for one in drilled if one["why"] is not None]
        assert failed, "damage that every drill passes over"
        while (await bert.call("drill"))["why"] is None:
            pass
        assert "SY-HIST-07" in await problems(bert)
        assert not (tmp_path / "scratch").exists()

    simulate(story, SEED)


def test_drill_tries_the_past_that_peers_keep(tmp_path: FilePath) -> None:
    """Ana wrote every edition over the last one, so that only the others have kept them."""

    async def story(simulation: Simulation) -> None:
        await simulation.share_with_all()
        ana, bert, cleo = simulation
        for number in range(4):
            write(ana, b"book", b"edition %d " % number * 500)
            await simulation.settle(tuple(simulation))
            await trio.sleep(3600.0)
        await trio.sleep(2 * PACK_AFTER_S)
        task = ana.folder.task
        assert task is not None
        task.driller.equip(str(tmp_path / "scratch"), SeededRandom("drills at a peer"))
        await bert.stop()
        await cleo.stop()
        alone = [await ana.call("drill") for _ in range(8)]
        assert sum(one["drill"]["not_here"] for one in alone) > 0
        assert all(one["why"] is None for one in alone)
        await simulation.start(cleo)
        await simulation.settle((ana, cleo))
        together = [await ana.call("drill") for _ in range(40)]
        assert sum(one["drill"]["from_peers"] for one in together) > 0
        assert all(one["why"] is None and not one["drill"]["not_here"] for one in together)
        await cleo.stop()
        assert not any([(await ana.call("drill"))["drill"]["not_here"] for _ in range(12)])  # what came has stayed

    simulate(story, SEED)


def test_what_goes_early_was_proved_over_the_wire() -> None:
    async def story(simulation: Simulation) -> None:
        await simulation.share_with_all()
        ana, bert, cleo = simulation
        for number in range(4):
            write(ana, b"book", b"edition %d " % number * 500)
            await simulation.settle(tuple(simulation))
            await trio.sleep(3600.0)
        await trio.sleep(2 * PACK_AFTER_S)
        await bert.call("retention", keep="all 1d")
        for clock in ("moment SET at_ms=at_ms", "changeset SET time_ms=time_ms", "came SET at_ms=at_ms"):
            bert.store.connection.execute(f"UPDATE {clock}-30*86400000")  # a month ago
        bert.store.connection.execute("DELETE FROM snapshot")
        await cleo.stop()
        kept = await bert.call("prune", dry_run=False)
        assert (kept["copies"]["kept_blocks"], kept["packs"]) == (3, 0)
        assert kept["copies"]["why"].endswith("1 could be asked")  # ana has none of them
        assert (await history(bert))["copies"]["kept_blocks"] == 3
        await simulation.start(cleo)
        await simulation.settle(tuple(simulation))
        foreseen = await bert.call("prune", dry_run=True)
        assert (foreseen["copies"]["proved_blocks"], foreseen["copies"]["kept_blocks"]) == (3, 0)
        assert (await history(bert))["packed_bytes"] > 0
        done = await bert.call("prune", dry_run=False)
        assert done["copies"]["proved_blocks"] == 3 and done["copies"]["oldest_proof"] is not None

    simulate(story, SEED)
