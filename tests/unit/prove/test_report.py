"""The report of `make prove` is read back as it was written, so that an interrupted run goes on where it was."""

from __future__ import annotations

from tests.prove.run import FAILED, Result, parse_report, render_report

PASSED = Result("latency", "It is quick", "median 0.2 s", "9 s", "2026-11-21", "abc1234", "Linux x86_64, 2 cores")
BROKEN = Result("memory", "It is small", f"{FAILED}300 MiB", "9 s", "2026-11-21", "abc1234+", "Linux x86_64, 2 cores")


def test_report_is_read_back_as_written() -> None:
    assert parse_report(render_report([BROKEN, PASSED])) == {"latency": PASSED, "memory": BROKEN}


def test_failed_proof_is_not_taken_for_passed() -> None:
    assert PASSED.passed
    assert not BROKEN.passed


def test_cell_cannot_break_the_table() -> None:
    nasty = Result("kills", "a | b", "one\ntwo", "1 s", "2026-11-21", "abc1234", "x")
    assert parse_report(render_report([nasty]))["kills"].measured == "one two"
