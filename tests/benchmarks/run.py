"""Blocking. `make bench`: syncd, Syncthing, rsync and unison side by side, as a table with ratios.

    make bench                             every workload, one run of each with every program that is installed
    make bench W=large1 RUNS=5             one of them, medians of five
    python -m tests.benchmarks.run many10k --only syncd "syncthing tuned" --budget 600

Runs take turns: every program does a workload before any does it again, so that an hour in which the machine is slow is
not blamed on one of them. What counts is the ratio within one run of this bench.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence

from tests.benchmarks import limits
from tests.benchmarks.laboratory import crowd, pair
from tests.benchmarks.programs import PROGRAMS, Program, is_installed
from tests.benchmarks.workloads import ENDS, WORKLOADS, Figures, Trial

Rows = dict[tuple[str, str], list[Figures]]
"""By phase and program."""


def main() -> None:
    parser = argparse.ArgumentParser(description="syncd beside other programs, workload by workload.")
    parser.add_argument("workload", nargs="*", help="default: all, that is " + ", ".join(WORKLOADS))
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", nargs="+", help="programs: " + ", ".join(PROGRAMS))
    parser.add_argument("--budget", type=float, default=1800.0, help="seconds after which no further trial begins")
    options = parser.parse_args()
    names = options.workload or list(WORKLOADS)
    if unknown := set(names) - WORKLOADS.keys():
        parser.error(f"no such workload: {', '.join(sorted(unknown))}")
    if os.geteuid() != 0 or sys.platform != "linux":
        parser.error("root on Linux is needed, for a network and a disk of its own")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # whatever runs is ended, the disk unmounted
    chosen = [make() for name, make in PROGRAMS.items() if options.only is None or name in options.only]
    for program in chosen:
        if not is_installed(program):
            print(f"left out: {program.name} (not installed: {', '.join(program.needs)})")
    chosen = [program for program in chosen if is_installed(program)]
    print(headline())
    bounds = limits.measure(_openssl)
    rows: Rows = {}
    began = time.monotonic()
    for run in range(options.runs):
        for name in names:
            for program in chosen:
                if time.monotonic() - began > options.budget:
                    print(f"not done within {options.budget:g} s: {name} by {program.name}, run {run + 1}")
                    continue
                for figures in trial(program, name, run):
                    rows.setdefault((figures.phase, program.name), []).append(figures)
    print("\n".join(report(rows, bounds)))


def trial(program: Program, name: str, run: int) -> Sequence[Figures]:
    """One program, one workload; the same data for every program in the same run."""
    if name in ENDS and not program.serves_many:
        return []
    with crowd(ENDS[name]) if name in ENDS else pair() as lab:
        one = Trial(program, lab, random.Random(f"{name} {run}"))
        try:
            WORKLOADS[name](one)
        except (TimeoutError, RuntimeError, AssertionError) as failure:
            print(f"  FAILED {name} by {program.name}: {failure}", flush=True)
            return one.rows
        for end in lab.ends:
            end.stop()
    for row in one.rows:
        copies = "".join(f"  {value:.3f} copies" for value in row.copies)
        print(f"  {row.phase:11} {program.name:16} {row.wall_s:8.2f} s  cpu {row.cpu_s:7.2f} s{copies}", flush=True)
    return one.rows


def headline() -> str:
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    system = f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, load {load}"
    return f"{time.strftime('%Y-%m-%d %H:%M')}, commit {commit.stdout.strip() or 'unknown'}, {system}"


def report(rows: Rows, bounds: Mapping[str, float]) -> Iterable[str]:
    """Markdown: a table for each phase, medians, and what part or multiple of syncd's it is."""
    yield ""
    for name, value in bounds.items():
        yield f"- {name}: {value:,.0f}"
    for phase in dict.fromkeys(phase for phase, _ in rows):
        yield ""
        yield f"### {phase}"
        yield ""
        yield (
            "| program | runs | wall s | of syncd's | processor s | of syncd's | wire bytes | copies | peak MiB "
            "| state kB |"
        )
        yield "|---|---|---|---|---|---|---|---|---|---|"
        ours = rows.get((phase, "syncd"))
        for (one, program), runs in rows.items():
            if one == phase:
                yield _line(program, runs, ours)


def _line(program: str, runs: Sequence[Figures], ours: Sequence[Figures] | None) -> str:
    wall, cpu = _median(run.wall_s for run in runs), _median(run.cpu_s for run in runs)
    wire = _median(run.wire_bytes for run in runs)
    peaks = " / ".join(f"{_median(run.peak_bytes[end] for run in runs) / (1 << 20):.0f}" for end in (0, 1))
    state = " / ".join(f"{_median(run.state_bytes[end] for run in runs) / 1000:,.0f}" for end in (0, 1))
    wall_ratio = cpu_ratio = ""
    if ours:
        wall_ratio = f"{wall / _median(run.wall_s for run in ours):.2f}"
        our_cpu = _median(run.cpu_s for run in ours)
        cpu_ratio = f"{cpu / our_cpu:.2f}" if our_cpu else ""
    copies = " / ".join(f"{_median(values):.3f}" for values in zip(*(run.copies for run in runs), strict=True))
    return (
        f"| {program} | {len(runs)} | {wall:.2f} | {wall_ratio} | {cpu:.2f} | {cpu_ratio} | {wire:,.0f} | {copies} | "
        f"{peaks} | {state} |"
    )


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


def _openssl(*arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
