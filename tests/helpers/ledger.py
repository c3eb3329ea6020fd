"""Blocking. What a long proof has done already, a line for each part: an interrupted one goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]


class Ledger:
    """A file of results. What was written about another version of the code does not count: then it begins anew."""

    def __init__(self, path: Path, version: str) -> None:
        self.done: dict[str, Json] = {}
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        if lines and lines[0] == version:
            for line in lines[1:]:
                self._remember(line)
        else:
            path.write_text(version + "\n")

    def _remember(self, line: str) -> None:
        try:
            entry = json.loads(line)
        except ValueError:  # the line that was being written when it was interrupted
            return
        self.done[entry["part"]] = entry

    def add(self, part: str, result: Mapping[str, Any]) -> None:
        """Write down the result of one part."""
        entry = {"part": part, **result}
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        self.done[part] = entry


def version_of(patterns: Iterable[str]) -> str:
    """Names the code in these files of the project, byte by byte."""
    names = sorted(path for pattern in patterns for path in ROOT.glob(pattern))
    return blake2b(b"".join(path.read_bytes() for path in names), digest_size=16).hexdigest()
