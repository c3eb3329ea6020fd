"""Whether a program has a file open for writing is asked while programs open and close it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs("linux")

OPENS = """
import os, sys
while True:
    os.close(os.open(sys.argv[1], os.O_WRONLY))
"""
ASKS = """
import os, sys
from syncd.store.syscalls import is_open_for_writing
file, asked = os.open(sys.argv[1], os.O_RDONLY), {True: 0, False: 0}
while min(asked.values()) < 2000:
    asked[is_open_for_writing(file)] += 1
print("asked")
"""
PATIENCE_S = 120.0


def test_program_that_opens_a_file_while_it_is_asked_about_does_not_end_us(tmp_path: Path) -> None:
    """The kernel sends a signal to whoever holds the lease then, and SIGIO ends a process."""
    file = tmp_path / "file"
    file.write_text("a program writes this")
    with subprocess.Popen([sys.executable, "-c", OPENS, str(file)]) as opener:
        try:
            asker = subprocess.run(
                [sys.executable, "-c", ASKS, str(file)],
                capture_output=True, text=True, check=False, timeout=PATIENCE_S,
            )  # fmt: skip
        finally:
            opener.kill()
    assert (asker.returncode, asker.stdout) == (0, "asked\n"), asker.stderr
