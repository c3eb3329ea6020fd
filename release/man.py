"""Blocking. Writes the manual pages: python -m release.man DIRECTORY [--gzip]"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

from syncd.cli.help import TOPICS
from syncd.cli.manual import pages
from syncd.cli.root import application


def write_pages(target: Path, *, compressed: bool) -> list[Path]:
    """The pages below `target`, in man1, man5 and man7; compressed the same way each time."""
    written = []
    for name, text in pages(application(), TOPICS).items():
        path = target / f"man{name[-1]}" / (name + ".gz" * compressed)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode(), mtime=0) if compressed else text.encode())
        written.append(path)
    return written


if __name__ == "__main__":
    print(f"{len(write_pages(Path(sys.argv[1]), compressed='--gzip' in sys.argv))} pages in {sys.argv[1]}")
