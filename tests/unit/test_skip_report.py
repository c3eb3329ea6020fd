"""The last line of a test run counts skips by reason, and CI=1 turns them into failures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = """
import pytest

@pytest.mark.needs("a-program-nobody-has")
def test_needs_a_program(): ...

def test_skips_itself():
    pytest.skip("no weather today")

@pytest.mark.xfail(reason="known", strict=True)
def test_known_failure():
    assert False

def test_passes(): ...
"""


def run_sample(repository: Path, folder: Path, ci: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text((repository / "tests" / "conftest.py").read_text())
    (folder / "test_sample.py").write_text(SAMPLE)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--rootdir",
        str(folder),
    ]
    command += ["-o", "markers=needs(*what): see conftest", str(folder)]
    environment = {**os.environ, "CI": ci, "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_last_line_counts_skips_by_reason(repository: Path, tmp_path: Path) -> None:
    result = run_sample(repository, tmp_path, ci="")
    last = result.stdout.strip().splitlines()[-1]
    assert "1 passed" in last
    assert "1 xfailed" in last
    assert "1 skipped: needs the program a-program-nobody-has" in last
    assert "1 skipped: no weather today" in last
    assert result.returncode == pytest.ExitCode.OK


def test_skips_fail_under_ci_and_expected_failures_do_not(repository: Path, tmp_path: Path) -> None:
    result = run_sample(repository, tmp_path, ci="1")
    last = result.stdout.strip().splitlines()[-1]
    assert "1 failed" in last  # skipped while it ran
    assert "1 error" in last  # skipped before it ran
    assert "1 xfailed" in last
    assert "needs the program a-program-nobody-has" in result.stdout
    assert result.returncode == pytest.ExitCode.TESTS_FAILED
