"""Settings of the whole test run: how skips are counted, what a machine must have, how deep Hypothesis digs.

A test that needs more than Python says so: ``@pytest.mark.needs("netns", "openssl")``. Where that is missing, it is
skipped and the last line of the run counts it by reason ("412 passed, 3 skipped: needs root"). With ``CI=1`` it fails
instead: a machine that is meant to prove everything must not prove less without anybody seeing it.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest

STRICT = os.environ.get("CI", "").lower() not in ("", "0", "false", "no")
PROBE_TIMEOUT_S = 10.0
SLOWEST_TIMEOUT_S = 1_800

hypothesis.settings.register_profile("fast", max_examples=60, deadline=None, print_blob=True)
hypothesis.settings.register_profile("deep", max_examples=3_000, deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@functools.cache
def missing(need: str) -> str | None:
    """Why this machine lacks `need`, as words for the last line; None when it has it."""
    match need:
        case "root":
            return None if os.geteuid() == 0 else "needs root"
        case "netns":
            return None if _runs("unshare", "--net", "--mount", "ip", "link") else "needs network namespaces"
        case "mount":
            return None if _runs("unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt") else "needs mount"
        case "fuse":
            return None if _runs(sys.executable, "-m", "tests.helpers.odddisks") else "needs root and /dev/fuse"
        case "linux":
            return None if sys.platform == "linux" else "needs Linux"
        case _:
            return None if shutil.which(need) else f"needs the program {need}"


def _runs(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=PROBE_TIMEOUT_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@pytest.hookimpl(wrapper=True, tryfirst=True)  # waiting here does not count towards a test's timeout
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test marked `alone` measures time: while it runs, no other worker of this run has a test under way.

    Every test holds one lock, shared or exclusive. The gate before it keeps a steady flow of shared holders from
    letting an exclusive one wait for ever.
    """
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        return (yield)
    place = Path(tempfile.gettempdir()) / f"syncd-tests-{run}"
    with place.with_suffix(".gate").open("w") as gate, place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(lock, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        return (yield)


def pytest_configure() -> None:
    """What runs the tests in the background may have SIGINT ignored, and every process started here would inherit that:
    Ctrl-C, which is under test, would do nothing."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slowest"):
            item.add_marker(pytest.mark.timeout(SLOWEST_TIMEOUT_S))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if run := getattr(session.config, "workerinput", {}).get("testrunuid"):
        for suffix in (".gate", ".lock"):
            (Path(tempfile.gettempdir()) / f"syncd-tests-{run}{suffix}").unlink(missing_ok=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for need in mark.args:
            if reason := missing(need):
                pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _forbid_skip(report)
    return report


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """With CI=1 a skip is a failure. An expected failure is reported as skipped too, and stays one."""
    if STRICT and report.skipped and not hasattr(report, "wasxfail"):
        report.longrepr = f"skipped, which CI=1 forbids: {_skip_reason(report)}"
        report.outcome = "failed"


def _skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    if isinstance(report.longrepr, tuple):  # (file, line, "Skipped: reason")
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return str(report.longrepr)


def pytest_report_teststatus(report: pytest.TestReport | pytest.CollectReport) -> tuple[str, str, str] | None:
    """Give every reason for a skip its own category, so that pytest's closing line counts them apart."""
    if report.skipped and not hasattr(report, "wasxfail"):
        return f"skipped: {_skip_reason(report)}", "s", "SKIPPED"
    return None


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parent.parent
