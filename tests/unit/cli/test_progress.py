"""What a person reads while something is transferred."""

from __future__ import annotations

from typing import Any

import pytest

from syncd.cli.progress import transfer_line


def line(**changed: Any) -> str:
    progress = {"files_done": 2, "files_total": 4, "bytes_done": 512, "bytes_total": 1024, "rate": 100, "eta_s": 5}
    return transfer_line({**progress, **changed})


@pytest.mark.parametrize(
    ("changed", "share"),
    [
        ({}, "50 %"),
        ({"bytes_done": 1024}, "99 %"),  # all bytes are here, two of the files are not
        ({"bytes_done": 0, "bytes_total": 0}, "99 %"),  # nothing but empty files
        ({"bytes_done": 1024, "files_done": 4}, "100 %"),
        ({"bytes_done": 1023, "files_done": 4}, "99 %"),
    ],
)
def test_all_of_it_is_said_only_of_all_files(changed: dict[str, int], share: str) -> None:
    assert line(**changed).split("  ")[0] == share


def test_line_names_the_peer_and_what_is_left() -> None:
    assert line(peer="anna") == "anna  50 %  512 B of 1.0 KiB  2 of 4 files  100 B/s  5 s left"
