"""Blocking. How far a long proof has come, on disk, so that one that is interrupted goes on where it was.

What was done counts only for the sources it was done with: their digest stands in the file's name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
KEPT: Final = ROOT / ".prove"
SOURCES: Final = ("ca", "syncd", "tests")


def digest_of_sources() -> str:
    """Of every file of the program and of its tests."""
    digest = hashlib.sha256()
    for top in SOURCES:
        for path in sorted((ROOT / top).rglob("*")):
            if path.suffix in (".py", ".toml") and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


class Progress:
    """Results by key, written down one by one."""

    def __init__(self, name: str, version: str | None = None) -> None:
        """`version`: what the results hold for; without it, these very sources."""
        KEPT.mkdir(exist_ok=True)
        self._file = KEPT / f"{name}-{version or digest_of_sources()}.jsonl"
        lines = self._file.read_text().splitlines(keepends=True) if self._file.exists() else []
        whole = [line for line in lines if line.endswith("\n")]  # the last may have been cut short
        self._file.write_text("".join(whole))
        self.done: dict[str, Any] = dict(json.loads(line) for line in whole)

    def once(self, key: str, work: Callable[[], Any]) -> Any:
        """The result for this key: what stands here, or what `work` gives, which has to fit into JSON."""
        if key not in self.done:
            self.note(key, work())
        return self.done[key]

    def note(self, key: str, result: object) -> None:
        """Write a result down."""
        self.done[key] = result
        with self._file.open("a") as file:
            file.write(json.dumps([key, result]) + "\n")
