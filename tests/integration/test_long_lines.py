"""Over a line with a tenth of a second there and back: what `make prove ONLY=long_lines` measures, made small."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers.computers import Computer, demand_equal, join, share, start_all, wait_until
from tests.helpers.longline import Line, far_machines
from tests.helpers.namespaces import Machine

pytestmark = [pytest.mark.needs("root", "netns", "linux"), pytest.mark.slowest]

LINE = Line(4_000_000, 500_000)
FILM_BYTES = 12_000_000
BLOCK_BYTES = 1 << 20
"""The longest block of a file of that size; two connections have one under way."""
SYNC_S = 120.0


def test_cut_costs_no_more_than_the_blocks_under_way(tmp_path: Path) -> None:
    with far_machines(LINE) as machines:
        anna, ben = group = [computer(tmp_path, name, at) for name, at in zip(("anna", "ben"), machines, strict=True)]
        try:
            start_all(group)
            (anna.folder / "film").write_bytes(os.urandom(FILM_BYTES))
            link = share(anna, "Far")
            anna.wait_synced(SYNC_S)
            join(ben, link)
            wait_until(lambda: ben.transfer()["received_bytes"] > FILM_BYTES // 4, SYNC_S, "nothing is fetched")
            anna.kill()
            assert not (ben.folder / "film").exists(), "the cut came too late to prove anything"
            anna.start()
            ben.wait_synced(SYNC_S)
            demand_equal(anna.folder, ben.folder)
            fetched = ben.transfer()
            print(fetched)  # noqa: T201
            assert fetched["duplicate_bytes"] == 0
            assert fetched["received_bytes"] <= FILM_BYTES * 1.005 + 2 * BLOCK_BYTES
        finally:
            for one in group:
                one.stop()


def computer(place: Path, name: str, machine: Machine) -> Computer:
    config = f'[network]\nlisten = ["{machine.host}:22067"]\ndiscovery = false\n'
    return Computer(name, place / name, place / name / "Far", 22067, config, tuple(machine.command()))
