"""Files of the shelf are whole under their names, whoever puts them there at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from blake3 import blake3

from syncd.store.shelf import HomeShelf

ROUNDS = 100
THREADS = 2


def test_two_threads_put_the_very_same_file(tmp_path: Path) -> None:
    """Two restores that fetch the same blocks make the same pack."""
    shelf = HomeShelf(str(tmp_path), "f")
    together = Barrier(THREADS)

    def put(content: bytes) -> None:
        together.wait()
        shelf.put(blake3(content).hexdigest(), content)

    with ThreadPoolExecutor(THREADS) as threads:
        for number in range(ROUNDS):
            content = number.to_bytes(4, "big") * 20_000
            for done in [threads.submit(put, content) for _ in range(THREADS)]:
                done.result()
    assert len(shelf.list()) == ROUNDS
