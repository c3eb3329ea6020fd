"""Blocking. Disks that treat names, times and attributes otherwise than most: what they do, and how to mount one."""

from __future__ import annotations

import errno
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
END_S = 20.0


@dataclass(frozen=True, slots=True)
class OddDisk:
    """What a disk does otherwise. Without arguments: nothing."""

    folds_case: bool = False
    decomposes: bool = False
    """It keeps names decomposed (NFD), whichever way they were given, and takes both for the same."""
    illegal: bytes = b""
    trims: bool = False
    """It has no names that end in a dot or a space."""
    utf8_only: bool = False
    xattrs: bool = True
    time_step_ns: int = 1
    symlinks: bool = True
    links: bool = True
    modes: bool = True
    exchange: bool = True

    def key(self, name: bytes) -> str | bytes:
        """What it takes for the same name."""
        if not (self.folds_case or self.decomposes):
            return name
        text = name.decode("utf-8", "surrogateescape")
        if self.decomposes:
            text = unicodedata.normalize("NFD", text)
        return text.casefold() if self.folds_case else text

    def stored(self, name: bytes) -> bytes:
        """How it writes a new name down. OSError for one that it cannot have."""
        if len(name) > 255:
            raise OSError(errno.ENAMETOOLONG, "too long")
        if not set(self.illegal).isdisjoint(name) or (self.trims and name[-1:] in (b".", b" ")):
            raise OSError(errno.EINVAL, "no such names here")
        if not self.utf8_only:
            return name
        try:
            text = name.decode()
        except UnicodeDecodeError:
            raise OSError(errno.EILSEQ, "not UTF-8") from None
        return unicodedata.normalize("NFD", text).encode() if self.decomposes else name


ODD_DISKS = {
    "folding": OddDisk(folds_case=True, decomposes=True, utf8_only=True),
    "coarse": OddDisk(xattrs=False, time_step_ns=2_000_000_000),
    "stick": OddDisk(
        folds_case=True, illegal=bytes(range(1, 32)) + b'"*:<>?\\|', trims=True, utf8_only=True, xattrs=False,
        time_step_ns=2_000_000_000, symlinks=False, links=False, modes=False, exchange=False,
    ),
}  # fmt: skip
"""As disks of Macs were for long; as old network storage; as FAT on a USB stick."""


@contextmanager
def odd_disk(backing: Path, place: Path, name: str) -> Iterator[Path]:
    """What stands in `backing`, at `place` as that disk would have it, until the end of the block. Needs `fuse`."""
    backing.mkdir(parents=True, exist_ok=True)
    place.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.helpers.fuse", str(backing), str(place), name]
    server = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None and server.stdout is not None
    try:
        if server.stdout.readline() != b"mounted\n":
            raise OSError(errno.EIO, f"the odd disk {name} was not mounted")
        yield place
    finally:
        server.stdin.close()
        server.wait(END_S)
        server.stdout.close()


def can_mount() -> bool:
    """Whether this machine lets us do that: Linux, root, and /dev/fuse."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            with odd_disk(Path(directory, "below"), Path(directory, "shown"), "folding") as shown:
                (shown / "Name").touch()
                return (shown / "nAME").exists()
        except OSError:
            return False


if __name__ == "__main__":
    sys.exit(0 if can_mount() else "odd disks cannot be mounted here")
