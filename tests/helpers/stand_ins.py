"""Blocking. Programs of an operating system that is not here: they note how they were called, and answer as told.

A stand-in is a small script in a directory that comes first in PATH. Its answer is a file: `<name>.fails` makes it end
with code 1 and print that file; `<name>.says` is what it prints else. What a unit does in reality is not shown by them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

SCRIPT = """#!/bin/sh
here=$(dirname "$0")
name=$(basename "$0")
echo "$name${1:+ }$*" >> "$here/calls"
for failing in "$here/$name".*.fails "$here/$name.fails"; do
    [ -e "$failing" ] || continue
    verb=$(basename "$failing" .fails | cut -s -d. -f2)
    case " $* " in *" $verb "*|*" $verb") cat "$failing" >&2; exit 1;; esac
    [ -z "$verb" ] && { cat "$failing" >&2; exit 1; }
done
[ -e "$here/$name.says" ] && cat "$here/$name.says"
exit 0
"""


@dataclass(frozen=True, slots=True)
class StandIns:
    """A directory of stand-ins."""

    place: Path

    def add(self, *names: str) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        for name in names:
            (self.place / name).write_text(SCRIPT)
            (self.place / name).chmod(0o755)

    def fail(self, name: str, words: str, verb: str = "") -> None:
        """From now on the program fails; with a `verb` only when that is among its arguments."""
        (self.place / (f"{name}.{verb}.fails" if verb else f"{name}.fails")).write_text(words)

    def say(self, name: str, words: str) -> None:
        (self.place / f"{name}.says").write_text(words)

    @property
    def calls(self) -> list[str]:
        """How they were called, in order."""
        calls = self.place / "calls"
        return calls.read_text().splitlines() if calls.exists() else []

    @property
    def search_path(self) -> str:
        return f"{self.place}:{os.environ['PATH']}"
