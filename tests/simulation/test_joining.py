"""What somebody who joins is told on the way."""

from __future__ import annotations

from random import Random

from tests.helpers.simulation import Simulation, simulate

FILES = 12


def test_joiner_is_not_told_that_all_of_nothing_is_here() -> None:
    """Before the list of files has come, nobody knows how much there is: a hundred percent would be untrue."""
    told: list[dict[str, object]] = []

    async def story(simulation: Simulation) -> None:
        ana, bert = simulation.computers
        for number in range(FILES):
            ana.disk.write((b"file %d" % number,), simulation.book.new(ana.name, Random(number)))
        ana.disk.flush()
        await bert.join(await ana.share(uses=1))
        told.extend(dict(line) for line in bert.told)

    simulate(story, 1, ("ana", "bert"))
    phases = [line["phase"] for line in told if line["event"] == "phase"]
    assert set(phases[phases.index("admitted") + 1 :]) == {"metadata"}
    counted = [line["files_total"] for line in told if line["event"] == "transfer"]
    assert counted, "nothing was said of the transfer"
    assert 0 not in counted
