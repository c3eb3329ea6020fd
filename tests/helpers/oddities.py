"""Blocking. Trees as people really have them: a real project, and everything that a name, a mode and a link can be."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

ODD_NAMES = (
    b"with space",
    b" leading and trailing ",
    b"new\nline",
    b"tab\tand\x01control",
    "emoji \U0001f600".encode(),
    "caf\u00e9".encode(),
    "cafe\u0301".encode(),
    b"bad \xff\xfe",
    b"-rf",
    b"quote ' \" `$(true)`",
    b"back\\slash",
    b"n" * 255,
)
ODD_MODES = (0o400, 0o600, 0o640, 0o755, 0o777)
EARLY_NS = 1_000_000_000_123_456_789  # a time with nanoseconds that no clock shows by chance
BEFORE_1970_NS = -86_400_000_000_001


def copy_standard_library(folder: Path, *without: str) -> None:
    """The Python standard library of this interpreter, without what was installed into it and what is compiled."""
    leave_out = shutil.ignore_patterns("site-packages", "__pycache__", *without)
    shutil.copytree(sysconfig.get_path("stdlib"), folder / "stdlib", symlinks=True, ignore=leave_out)


def write_oddities(folder: Path) -> None:
    """Odd names, empty directories, modes, times and links."""
    root = os.fsencode(folder)
    for name in ODD_NAMES:
        with open(os.path.join(root, name), "wb") as file:
            file.write(name)
        os.makedirs(os.path.join(root, b"directories", name, b"empty"))
    for mode in ODD_MODES:
        odd = folder / f"mode {mode:o}"
        odd.write_text("odd")
        odd.chmod(mode)
        (folder / f"room {mode:o}").mkdir()
        (folder / f"room {mode:o}").chmod(mode | 0o700)
    for when in (EARLY_NS, BEFORE_1970_NS):
        (folder / f"of {when}").touch()
        os.utime(folder / f"of {when}", ns=(when, when))
    (folder / "nothing in it").touch()
    _write_links(root)


def _write_links(root: bytes) -> None:
    for name, target in (
        (b"dangling", b"nowhere/at all"),
        (b"to a file", b"with space"),
        (b"to a directory", b"directories"),
        (b"to itself", b"to itself"),
        (b"far up", b"../../../../etc/hostname"),
        (b"absolute", b"/etc/hostname"),
        (b"odd target", b"bad \xff\nline"),
        (b"long target", b"x/" * 1000),
    ):
        os.symlink(target, os.path.join(root, name))
