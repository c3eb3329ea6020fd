"""Three computers keep what one overwrote: a flipped bit comes back from another, and nothing goes early unproved."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.computers import SYNC_S, Computer, sharing_computers, wait_until

pytestmark = pytest.mark.slowest

BIG = 17 << 20
"""More than a pack, so that it is packed as soon as it has been old for a minute."""
PACKED_S = 240.0
MONTH_MS = 30 * 86_400_000


@pytest.fixture
def group(tmp_path: Path) -> Iterator[list[Computer]]:
    """Anna has overwritten a big file; ben and dora have packed what it was."""
    with sharing_computers(
        ("anna", "ben", "dora"), tmp_path, "Films", write=lambda folder: (folder / "reel").write_bytes(film(1))
    ) as group:
        anna, *others = group
        (anna.folder / "reel").write_bytes(film(2))
        for computer in others:
            wait_until(lambda c=computer: (c.folder / "reel").read_bytes() == film(2), SYNC_S, "no second film")  # type: ignore[misc]
        for computer in others:
            wait_until(lambda c=computer: history(c)["packs"] > 0, PACKED_S, "nothing is packed")  # type: ignore[misc]
            wait_until(lambda c=computer: history(c)["plain_files"] == 0, PACKED_S, "it stays plain as well")  # type: ignore[misc]
        yield group


def film(number: int) -> bytes:
    return b"".join((number * 1_000_000_000 + at).to_bytes(8, "big") for at in range(BIG // 8))


def history(computer: Computer) -> dict[str, Any]:
    return dict(computer.ask("status")["folders"][0]["history"])


def packs(computer: Computer) -> list[Path]:
    return sorted(path for path in (computer.home / "blocks").glob("*/*") if path.is_file())


def test_flipped_bit_in_the_store_is_found_within_one_scrub_and_healed_from_a_peer(group: list[Computer]) -> None:
    _, ben, _ = group
    pack = max(packs(ben), key=lambda path: path.stat().st_size)
    with pack.open("r+b") as file:
        file.seek(1_000_000)
        (byte,) = file.read(1)
        file.seek(1_000_000)
        file.write(bytes([byte ^ 0x10]))
    found = ben.ask("scrub", "Films", timeout_s=120)
    assert (found["damaged"], found["lost_blocks"]) == (1, 0) and found["healed_blocks"] == 1
    again = ben.ask("scrub", "Films", timeout_s=120)
    assert (again["damaged"], again["lost_blocks"]) == (0, 0)
    told = [line for line in ben.ask("audit")["audit"] if line["action"] == "history healed"]
    assert len(told) == 1 and "1 blocks from peers, 0 lost" in told[0]["what"]
    assert not ben.ask("status")["folders"][0]["problems"]
    back = ben.place / "back"
    versions = ben.ask("history", str(ben.folder / "reel"))["versions"]
    assert len(versions) == 2
    ben.ask("restore", str(ben.folder / "reel"), "--at", versions[-1]["time"], "--to", str(back), "--yes")
    (restored,) = [path for path in back.rglob("*") if path.is_file()]
    assert restored.read_bytes() == film(1)


def peers_of(computer: Computer) -> int:
    return sum(peer["connected"] for peer in computer.ask("status")["folders"][0]["peers"])


def prunable(computer: Computer) -> dict[str, Any]:
    return computer.ask("prune", "Films", "--dry-run", timeout_s=120)


def test_nothing_goes_early_before_another_has_proved_it(group: list[Computer]) -> None:
    _, ben, dora = group
    ben.stop()
    age(ben)
    ben.start()
    ben.ask("retention", "Films", "--keep", "all 1d")
    dora.stop()
    wait_until(lambda: peers_of(ben) == 1, SYNC_S, "dora does not go")
    before = history(ben)["packed_bytes"]
    kept = ben.ask("prune", "Films", "--yes", timeout_s=120)
    assert kept["copies"]["kept_bytes"] > BIG * 9 // 10 and kept["freed_bytes"] == 0
    assert "other devices have to prove" in kept["copies"]["why"]  # anna is there, and has not kept it
    assert history(ben)["packed_bytes"] == before
    assert history(ben)["copies"]["kept_bytes"] == kept["copies"]["kept_bytes"]

    dora.start()
    wait_until(lambda: peers_of(ben) == 2, SYNC_S, "dora does not come back")
    # Connected is not yet able to answer: a folder that begins is looked through first.
    wait_until(lambda: prunable(ben)["copies"]["kept_blocks"] == 0, SYNC_S, "dora proves nothing")
    foreseen = prunable(ben)
    assert foreseen["copies"]["kept_blocks"] == 0 and foreseen["freed_bytes"] > BIG * 9 // 10
    assert foreseen["copies"]["oldest_proof"] is not None
    assert history(ben)["packed_bytes"] == before
    done = ben.ask("prune", "Films", "--yes", timeout_s=120)
    assert done["freed_bytes"] == foreseen["freed_bytes"]
    assert history(ben)["packed_bytes"] < before // 10

    dora.stop()
    age(dora)
    dora.start()
    wait_until(lambda: peers_of(dora) == 2, SYNC_S, "dora does not come back")
    dora.ask("retention", "Films", "--keep", "all 1d")
    bound = dora.ask("prune", "Films", "--yes", timeout_s=120)
    assert bound["freed_bytes"] == 0 and bound["copies"]["promised_blocks"] > 0  # it promised ben to keep them
    assert history(dora)["packed_bytes"] >= BIG


def age(computer: Computer) -> None:
    """As if all of its past were a month old by every clock, and nobody had named a moment."""
    (database,) = computer.home.glob("folder-*.db")
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute(f"UPDATE moment SET at_ms=at_ms-{MONTH_MS}")
        connection.execute(f"UPDATE changeset SET time_ms=time_ms-{MONTH_MS}")
        connection.execute(f"UPDATE came SET at_ms=at_ms-{MONTH_MS}")
        connection.execute("DELETE FROM snapshot")
