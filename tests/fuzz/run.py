"""Blocking. `make fuzz SECONDS=600`: every way in, each for its share of the time; ONLY=name for one.

With atheris (Linux on x86-64; `make fuzz` installs it) coverage leads the way: each target has a process of its own, as
libFuzzer never returns, and inputs that reach something new are kept in `.fuzz` for the next time. Without it the
corpus is varied at random. An input that raises what was not declared is written to tests/fuzz/regressions, to stay.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from tests.fuzz.targets import MAX_BYTES, TARGETS, Target

ROOT: Final = Path(__file__).resolve().parents[2]
CORPUS: Final = ROOT / "tests" / "fuzz" / "corpus"
REGRESSIONS: Final = ROOT / "tests" / "fuzz" / "regressions"
GROWN: Final = ROOT / ".fuzz"
MEMORY_MIB: Final = 1024
SLOWEST_S: Final = 10
LONGEST: Final = 1 << 14


def seeds(name: str) -> list[bytes]:
    """What the repository has for a target: good inputs, and those that went wrong once."""
    places = [CORPUS / name, REGRESSIONS / name]
    return [file.read_bytes() for place in places if place.is_dir() for file in sorted(place.iterdir())]


def varied(data: bytes, others: list[bytes], random: Random) -> bytes:
    """Another input, not far from a known one."""
    made = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(made) + 1)
        match random.randrange(7):
            case 0 if made:
                made[at % len(made)] ^= 1 << random.randrange(8)
            case 1 if made:
                made[at % len(made)] = random.choice((0, 1, 0x17, 0x18, 0x5F, 0x7F, 0x80, 0x9F, 0xFF))
            case 2:
                del made[at : at + random.randint(1, 8)]
            case 3:
                made[at:at] = random.randbytes(random.randint(1, 8))
            case 4:
                other = random.choice(others)
                start = random.randrange(len(other) + 1)
                made[at:at] = other[start : start + random.randint(1, 32)]
            case 5:
                made[at:at] = made[:at][-random.randint(1, 32) :]
            case _:
                made[at : at + 4] = random.choice((0, 1, 2**31, 2**32 - 1)).to_bytes(4, "big")
    return bytes(made[:LONGEST])


def by_chance(
    target: Target, seconds: float, seed: int, note: Callable[[bytes, BaseException], None], most: int = sys.maxsize
) -> int:
    """Vary the corpus for so long, or until so many inputs; how many were tried."""
    random, known = Random(seed), [b"", *seeds(target.name)]
    ends_at, tried = time.monotonic() + seconds, 0
    while time.monotonic() < ends_at and tried < most:
        for _ in range(200):
            data = varied(random.choice(known), known, random)
            tried += 1
            try:
                if target.run(data) and len(known) < 2_000:
                    known.append(data)
            except Exception as error:
                note(data, error)
    return tried


def keep(target: Target, data: bytes, error: BaseException) -> None:
    """Write down an input that went wrong."""
    place = REGRESSIONS / target.name
    place.mkdir(parents=True, exist_ok=True)
    (place / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    print(f"  {target.name}: {type(error).__name__}: {error}"[:200], file=sys.stderr, flush=True)


def by_coverage(name: str, seconds: int, runs: int = -1) -> int:
    """Run libFuzzer in a process of its own, for so long or so many inputs; how many were tried. What went wrong is in
    the regressions."""
    grown, place = GROWN / name, REGRESSIONS / name
    grown.mkdir(parents=True, exist_ok=True)
    place.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}", f"-runs={runs}", f"-max_len={LONGEST}", f"-rss_limit_mb={MEMORY_MIB}",
        f"-timeout={SLOWEST_S}",
        f"-artifact_prefix={place}/", "-print_final_stats=1", "-verbosity=0",
    ]  # fmt: skip
    corpora = [str(grown), *[str(one) for one in (CORPUS / name,) if one.is_dir()]]
    command = [sys.executable, "-m", "tests.fuzz.instrumented", name, *options, *corpora]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, errors="replace")
    if not any(place.iterdir()):
        place.rmdir()
    if done.returncode != 0:
        print(done.stderr[-2000:], file=sys.stderr, flush=True)
    found = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    return int(found[1]) if found else 0


def has_atheris() -> bool:
    return importlib.util.find_spec("atheris") is not None


def main(arguments: list[str]) -> int:
    seconds = float(os.environ.get("SECONDS_") or 60)
    names = arguments or list(TARGETS)
    if strange := set(names) - set(TARGETS):
        print(f"no such target: {', '.join(sorted(strange))}; there are: {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    share, total, failures = max(1.0, seconds / len(names)), 0, list[str]()
    for name in names:
        before = len(seeds(name))
        if has_atheris():
            tried = by_coverage(name, int(share))
        else:
            tried = by_chance(TARGETS[name], share, time.time_ns(), partial(keep, TARGETS[name]))
        total += tried
        went_wrong = len(seeds(name)) - before
        failures += [name] if went_wrong else []
        print(f"{name}: {tried} inputs" + (f", {went_wrong} went wrong" if went_wrong else ""), flush=True)
    print(f"{total} inputs in all; " + (f"went wrong: {', '.join(failures)}" if failures else "0 uncaught"))
    return 1 if failures else 0


assert MAX_BYTES > LONGEST

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
