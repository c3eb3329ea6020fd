"""Blocking. `make prove`: the proofs that take too long for every run, each by name, with results in docs/proof.md.

A proof is a module in this directory with a sentence `CLAIM` and a function `prove(place) -> str` that returns what was
measured, or raises Disappointment. A proof that has already passed for this very commit is not run again, so an
interrupted run goes on where it was; `make prove ONLY=name` runs one in any case.
"""

from __future__ import annotations

import datetime
import importlib
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from tests.helpers.computers import Disappointment, fresh_place

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "docs" / "proof.md"
NO_PROOFS = {"run"}
FAILED = "**failed**: "
HEAD = """# Proofs

What `make prove` measured, newest result of each proof. `tests/prove/run.py` writes this file; a `+` behind the commit
says that there were changes on top of it that were not committed.

| proof | claim | measured | took | date | commit | machine |
|---|---|---|---|---|---|---|
"""


class ProofModule(Protocol):
    CLAIM: str

    def prove(self, place: Path) -> str: ...


@dataclass(frozen=True, slots=True)
class Result:
    """One row of the report."""

    name: str
    claim: str
    measured: str
    took: str
    date: str
    commit: str
    machine: str

    @property
    def passed(self) -> bool:
        return not self.measured.startswith(FAILED)

    def row(self) -> str:
        cells = (self.name, self.claim, self.measured, self.took, self.date, self.commit, self.machine)
        return "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |"


def parse_report(text: str) -> dict[str, Result]:
    rows = (re.fullmatch(r"\| (.*) \|", line) for line in text.splitlines())
    cells = [row.group(1).split(" | ") for row in rows if row]
    return {one[0]: Result(*one) for one in cells if len(one) == 7 and one[0] != "proof"}


def render_report(results: Iterable[Result]) -> str:
    return HEAD + "".join(f"{result.row()}\n" for result in sorted(results, key=lambda result: result.name))


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def current_commit() -> str:
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/proof.md")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def run(name: str, commit: str) -> Result:
    proof = cast(ProofModule, importlib.import_module(f"tests.prove.{name}"))
    print(f"{name}: {proof.CLAIM}", flush=True)
    started = time.monotonic()
    try:
        with fresh_place(ROOT / ".prove") as place:
            measured = proof.prove(place)
    except Disappointment as error:
        measured = f"{FAILED}{error}"
    took = f"{time.monotonic() - started:.0f} s"
    print(f"  {measured} ({took})", flush=True)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return Result(name, proof.CLAIM, measured, took, today, commit, machine())


def main(only: list[str]) -> int:
    known = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NO_PROOFS)
    if strange := set(only) - set(known):
        print(f"no such proof: {', '.join(sorted(strange))}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    results = parse_report(REPORT.read_text()) if REPORT.exists() else {}
    commit = current_commit()
    for name in only or known:
        before = results.get(name)
        if not only and before is not None and before.passed and before.commit == commit:
            print(f"{name}: passed already for {commit}", flush=True)
            continue
        results[name] = run(name, commit)
        REPORT.write_text(render_report(results.values()))
    return 0 if all(results[name].passed for name in only or known) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
