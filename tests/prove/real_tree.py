"""Blocking. A real source tree, a big file and hostile names arrive identical, and what the joiner had stays."""

from __future__ import annotations

import os
import shutil
import sysconfig
import time
from pathlib import Path

from tests.helpers.computers import Disappointment, computers, join, share, wait_equal

CLAIM = "The Python standard library, a 2 GiB file and hostile names arrive identical beside what the joiner had"

MIB = 1 << 20
SYNC_S = 900.0
NAMES = (
    b"with space",
    b"new\nline",
    "emoji \U0001f600".encode(),
    "caf\u00e9".encode(),
    "cafe\u0301".encode(),
    b"bad \xff\xfe",
)


def prove(place: Path) -> str:
    with computers(("anna", "ben"), place, "Source") as (anna, ben):
        for computer in (anna, ben):
            computer.start()
        write_tree(anna.folder)
        write_own_things(anna.folder, ben.folder)
        started = time.monotonic()
        join(ben, share(anna, "Source"))
        ben.wait_synced(SYNC_S)
        anna.wait_synced(SYNC_S)
        took_s = time.monotonic() - started
        entries = wait_equal([anna.folder, ben.folder], SYNC_S)
        demand_both_kept(anna.folder)
    return f"{entries} entries equal after {took_s:.0f} s"


def write_tree(folder: Path) -> None:
    shutil.copytree(
        sysconfig.get_path("stdlib"), folder / "stdlib", symlinks=True, ignore=shutil.ignore_patterns("site-packages")
    )
    (folder / "empty").mkdir()
    for name in NAMES:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(name)
    for mode in (0o400, 0o600, 0o755, 0o777):
        odd = folder / f"mode {mode:o}"
        odd.write_text("odd")
        odd.chmod(mode)
    (folder / "dangling").symlink_to("nowhere/at all")
    with (folder / "big.bin").open("wb") as file:
        for _ in range(2048):
            file.write(os.urandom(MIB))


def write_own_things(anna: Path, ben: Path) -> None:
    """Something equal, something different and something of one's own on both sides."""
    for folder, words in ((anna, "anna"), (ben, "ben")):
        (folder / "same").write_text("same")
        os.utime(folder / "same", ns=(1_700_000_000_000_000_000, 1_700_000_000_000_000_000))
        (folder / "different").write_text(words)
        (folder / f"only {words}").write_text(words)


def demand_both_kept(folder: Path) -> None:
    kept = sorted(path.read_text() for path in folder.glob("different*"))
    if kept != ["anna", "ben"]:
        raise Disappointment(f"of two different files, these were kept: {kept}")
    if not all((folder / name).exists() for name in ("only anna", "only ben")):
        raise Disappointment("a file that only one side had was lost")
    if len(list(folder.glob("same*"))) != 1:
        raise Disappointment("equal files became a conflict")
