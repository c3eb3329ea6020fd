"""Who joins with a large file that is equal already gives it to others like any other member."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.computers import computers, demand_equal, join, share, start_all

SIZE = 600 << 20
"""Of zeros, which are cut into blocks of 512 KiB: more than fit into one list."""
SYNC_S = 120.0


def write_image(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    with (folder / "image.raw").open("wb") as image:
        image.truncate(SIZE)
        image.write(b"both have had it for years")


@pytest.mark.long
def test_third_has_a_large_file_from_who_had_it_before_the_join(tmp_path: Path) -> None:
    with computers(["anna", "ben", "cleo"], tmp_path, "Images") as (anna, ben, cleo):
        start_all([anna, ben, cleo])
        for computer in (anna, ben):
            write_image(computer.folder)
        join(ben, share(anna, "Images"))
        ben.wait_synced(SYNC_S)
        anna.wait_in_place(ben, SYNC_S)
        assert ben.transfer()["received_bytes"] < SIZE // 100, "it was equal"
        anna.ask("member", "role", "Images", "ben", "admin", "--yes")
        ben.wait_synced(SYNC_S)
        anna.stop()
        join(cleo, share(ben, "Images"))
        cleo.wait_synced(SYNC_S)
        assert demand_equal(ben.folder, cleo.folder) == 1
