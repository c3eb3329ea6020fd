"""When a job of the export schedule is run: in time, once when runs were missed, and again after a failure."""

from __future__ import annotations

from syncd.methods.exporting import RETRY_S, RUNS_KEPT, Job, Run

HOUR = 3600.0
JOB = Job(1, "/exports", "tar", 12 * HOUR, 7)


def test_new_job_is_due_at_once_and_then_every_twelve_hours() -> None:
    assert JOB.is_due(0.0)
    done = JOB.after(Run(1000.0, "/exports/a.tar", 5))
    assert not done.is_due(1000.0 + 12 * HOUR - 1)
    assert done.is_due(1000.0 + 12 * HOUR)


def test_two_runs_a_day_under_a_clock_that_is_looked_at_every_minute() -> None:
    job, runs, now = JOB, 0, 0.0
    while now < 3 * 24 * HOUR:
        if job.is_due(now):
            job, runs = job.after(Run(now, "x")), runs + 1
        now += 60.0
    assert runs == 6


def test_missed_runs_are_made_up_for_by_one() -> None:
    asleep = JOB.after(Run(0.0, "x"))
    assert asleep.is_due(100 * HOUR)
    assert not asleep.after(Run(100 * HOUR, "x")).is_due(101 * HOUR)


def test_failed_run_is_tried_again_after_a_time_that_doubles() -> None:
    job, now, waits = JOB, 0.0, []
    for _ in range(4):
        job = job.after(Run(now, "x", why="no space"))
        wait_s = next(wait for wait in range(100_000) if job.is_due(now + wait))
        waits.append(float(wait_s))
        now += wait_s
    assert waits == [RETRY_S, 2 * RETRY_S, 4 * RETRY_S, 8 * RETRY_S]
    assert job.done is None and job.failures == 4
    assert job.after(Run(now, "x")).failures == 0


def test_job_is_due_when_the_clock_was_set_back() -> None:
    assert JOB.after(Run(1000 * HOUR, "x")).is_due(HOUR)


def test_only_the_last_runs_are_remembered() -> None:
    job = JOB
    for number in range(RUNS_KEPT + 5):
        job = job.after(Run(float(number), "x"))
    assert [run.at for run in job.runs] == [float(number) for number in range(5, RUNS_KEPT + 5)]
