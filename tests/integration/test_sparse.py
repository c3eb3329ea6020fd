"""A file that is mostly holes: nobody writes its zeros, and its bytes are what they were."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers.computers import sharing_computers, wait_equal, wait_until

SIZE = 256 << 20
MOST_ON_DISK = 24 << 20
ISLANDS = {0: b"front", 100 << 20: b"somewhere in the middle", SIZE - 4: b"end."}
SYNC_S = 120.0


def write_holes(folder: Path) -> None:
    with (folder / "image.raw").open("wb") as image:
        image.truncate(SIZE)
        for offset, content in ISLANDS.items():
            image.seek(offset)
            image.write(content)


def front_of(path: Path) -> bytes:
    with path.open("rb") as image:
        return image.read(5)


def on_disk(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_holes_stay_holes_when_a_file_arrives_and_when_it_is_replaced(tmp_path: Path) -> None:
    with sharing_computers(["anna", "ben"], tmp_path, "Images", write_holes) as (anna, ben):
        here, there = anna.folder / "image.raw", ben.folder / "image.raw"
        assert on_disk(here) < MOST_ON_DISK, "this file system keeps no holes"
        wait_equal([anna.folder, ben.folder], SYNC_S)
        assert on_disk(there) < MOST_ON_DISK
        with here.open("r+b") as image:
            image.seek(200 << 20)
            image.write(os.urandom(1 << 20))
        wait_until(lambda: there.stat().st_mtime_ns == here.stat().st_mtime_ns, SYNC_S, "the change does not arrive")
        wait_equal([anna.folder, ben.folder], SYNC_S)
        assert on_disk(there) < MOST_ON_DISK


@pytest.mark.long
def test_change_after_a_rotation_brings_no_part_of_a_long_list_that_is_here(tmp_path: Path) -> None:
    def write_long(folder: Path) -> None:
        with (folder / "image.raw").open("wb") as image:
            image.truncate(600 << 20)
            image.write(b"front")

    with sharing_computers(["anna", "ben"], tmp_path, "Images", write_long) as (anna, ben):
        here, there = anna.folder / "image.raw", ben.folder / "image.raw"
        wait_until(there.exists, SYNC_S, "the file does not arrive")
        ben.wait_synced(SYNC_S)
        anna.ask("rotate", "Images", "--yes")
        anna.wait_synced(SYNC_S)
        then = ben.transfer()["blocks_fetched"]
        with here.open("r+b") as image:
            image.write(b"FRONT")
        wait_until(lambda: front_of(there) == b"FRONT", SYNC_S, "the change does not arrive")
        assert ben.transfer()["blocks_fetched"] - then == 2, "the block, and the first of the two parts of the list"
