"""What cannot be restored is said before anything is touched: why, and which names. And what can be, is."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from ca.ids import EpochId
from syncd.errors import SyncdError
from syncd.store.keyring import Keyring
from tests.helpers.simulation import SimComputer, Simulation, simulate

pytestmark = pytest.mark.long

SEED = 61


def write(computer: SimComputer, name: bytes, content: bytes) -> None:
    computer.disk.write((name,), content)
    computer.disk.flush_file((name,))


def state(computer: SimComputer) -> tuple[dict[Any, Any], int]:
    """All that a restore could touch: the tree, and what was published."""
    return computer.disk.contents(), computer.store.journal.newest_seq()


async def begin(simulation: Simulation) -> float:
    """Ana wrote two files, and later changed one and deleted the other; the moment between."""
    ana, _, _ = simulation
    await simulation.share_with_all(files=1)
    write(ana, b"plan", b"as agreed" * 1000)
    write(ana, b"list", b"one, two")
    await simulation.settle(tuple(simulation))
    await trio.sleep(2)
    moment = float(int(ana.clock.now()))
    await trio.sleep(2)
    write(ana, b"plan", b"by mistake")
    ana.disk.delete((b"list",))
    await simulation.settle(tuple(simulation))
    return moment


async def restore(computer: SimComputer, moment: float, **params: object) -> dict[str, Any]:
    return dict(await computer.call("restore", path=computer.path, at_s=moment, **params))


async def refused(computer: SimComputer, moment: float, **params: object) -> SyncdError:
    before = state(computer)
    with pytest.raises(SyncdError) as error:
        await restore(computer, moment, **params)
    assert state(computer) == before, "something was touched"
    return error.value


async def demand_restored(simulation: Simulation, computer: SimComputer, moment: float) -> None:
    await restore(computer, moment)
    await simulation.settle(tuple(simulation))
    for one in simulation:
        assert one.disk.read((b"plan",)) == b"as agreed" * 1000
        assert one.disk.read((b"list",)) == b"one, two"


def test_without_enough_space_nothing_is_touched_and_with_it_all_comes_back() -> None:
    async def story(simulation: Simulation) -> None:
        moment = await begin(simulation)
        _, bert, _ = simulation
        bert.disk.capacity = bert.disk.used + 100
        foreseen = await restore(bert, moment, dry_run=True)
        assert [one["id"] for one in foreseen["refused"]] == ["SY-HIST-03"]
        assert (await refused(bert, moment)).id == "SY-HIST-03"
        bert.disk.capacity = None
        await demand_restored(simulation, bert, moment)

    simulate(story, SEED)


def test_viewer_restores_nothing_and_an_editor_again_does() -> None:
    async def story(simulation: Simulation) -> None:
        moment = await begin(simulation)
        ana, bert, _ = simulation
        folder = ana.folder.id.hex()
        member = "bert"
        await ana.call("member.change", folder=folder, member=member, what="role", role="viewer")
        await trio.sleep(5)
        foreseen = await restore(bert, moment, dry_run=True)
        assert [one["id"] for one in foreseen["refused"]] == ["SY-SHARE-04"]
        assert (await refused(bert, moment)).id == "SY-SHARE-04"
        await ana.call("member.change", folder=folder, member=member, what="role", role="editor")
        await trio.sleep(5)
        await demand_restored(simulation, bert, moment)

    simulate(story, SEED)


def test_who_may_not_delete_restores_nothing_that_deletes_and_what_does_not() -> None:
    async def story(simulation: Simulation) -> None:
        moment = await begin(simulation)
        ana, bert, _ = simulation
        write(ana, b"since then", b"would have to go")
        await simulation.settle(tuple(simulation))
        change = {"folder": ana.folder.id.hex(), "member": "bert", "what": "role", "role": "editor"}
        await ana.call("member.change", **change, cannot=["delete"])
        await trio.sleep(5)
        assert (await refused(bert, moment)).id == "SY-SHARE-04"
        await restore(bert, moment, existing="keep")
        await simulation.settle(tuple(simulation))
        assert ana.disk.read((b"list",)) == b"one, two"
        assert ana.disk.read((b"plan",)) == b"by mistake"
        assert ana.disk.read((b"since then",)) == b"would have to go"

    simulate(story, SEED)


def test_without_the_key_of_an_old_epoch_it_says_so() -> None:
    async def story(simulation: Simulation) -> None:
        moment = await begin(simulation)
        ana, bert, _ = simulation
        await ana.call("rotate", folder=ana.folder.id.hex())
        await simulation.settle(tuple(simulation))
        task = bert.folder.task
        assert task is not None
        whole = task.store.keyring
        task.store.keyring = without_old_epochs(whole)
        assert (await refused(bert, moment)).id == "SY-HIST-08"
        task.store.keyring = whole
        await demand_restored(simulation, bert, moment)

    simulate(story, SEED)


def without_old_epochs(keyring: Keyring) -> Keyring:
    current: EpochId = keyring.current
    keys = keyring._epochs[current]
    return Keyring(
        keyring.folder, id_key=keyring._id_key, cut_seed=keyring.cut_seed, current=current, epochs={current: keys}
    )


def test_block_that_nobody_has_is_named_and_what_peers_have_is_fetched() -> None:
    async def story(simulation: Simulation) -> None:
        moment = await begin(simulation)
        ana, bert, cleo = simulation
        foreseen = await restore(ana, moment, dry_run=True)
        assert foreseen["from_peers"]["blocks"] == 2 and not foreseen["incomplete"]
        for other in (bert, cleo):
            await other.stop()
        await trio.sleep(60)
        foreseen = await restore(ana, moment, dry_run=True)
        assert sorted(foreseen["incomplete"]) == ["list", "plan"] and foreseen["missing_blocks"] == 2
        assert [one["id"] for one in foreseen["refused"]] == ["SY-HIST-02"]
        error = await refused(ana, moment)
        assert error.id == "SY-HIST-02"
        assert "of 2 names these cannot be restored: list, plan" in error.why
        await simulation.start(bert)
        await simulation.settle((ana, bert))
        await restore(ana, moment)
        await simulation.settle((ana, bert))
        assert bert.disk.read((b"list",)) == b"one, two"

    simulate(story, SEED)


def test_what_can_be_restored_is_when_the_rest_is_left_out() -> None:
    """Ana has what stood under one name in another file; of the rest nobody who is connected has anything."""

    async def story(simulation: Simulation) -> None:
        moment = await begin(simulation)
        ana, bert, cleo = simulation
        write(ana, b"copy", b"one, two")
        await simulation.settle(tuple(simulation))
        for other in (bert, cleo):
            await other.stop()
        await trio.sleep(60)
        assert (await refused(ana, moment)).id == "SY-HIST-02"
        foreseen = await restore(ana, moment, dry_run=True, partial=True)
        assert foreseen["incomplete"] == ["plan"] and not foreseen["refused"]
        assert (await restore(ana, moment, partial=True))["incomplete"] == ["plan"]
        await trio.sleep(60)
        assert ana.disk.read((b"list",)) == b"one, two"
        assert ana.disk.read((b"plan",)) == b"by mistake"

    simulate(story, SEED)


def test_dry_run_says_how_long_it_will_take() -> None:
    """By what this computer has measured: how long it waits for blocks of others comes on top."""

    async def story(simulation: Simulation) -> None:
        moment = await begin(simulation)
        ana, bert, _ = simulation
        here = (await restore(bert, moment, dry_run=True))["estimate_s"]
        there = (await restore(ana, moment, dry_run=True))["estimate_s"]
        assert here is not None
        assert there is None or there > 0, "ana has never fetched anything"
        await demand_restored(simulation, ana, moment)
        assert ana.folder.task is not None
        assert ana.folder.task.rates.fetch.work > 0

    simulate(story, SEED)
