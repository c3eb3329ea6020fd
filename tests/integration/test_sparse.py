"""A file that is mostly holes: nobody writes its zeros, and its bytes are what they were."""

from __future__ import annotations

import os
from pathlib import Path

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
