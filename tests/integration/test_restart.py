"""A daemon with a large folder serves again soon after it ended, however it ended; and a look at it costs little."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.computers import SLACK, Computer, free_ports, share
from tests.helpers.machinetime import Stopwatch
from tests.helpers.paces import pace_of_status

pytestmark = [pytest.mark.alone, pytest.mark.long]

DIRECTORIES, FILES_EACH = 400, 250
SERVICE_S = 5.0
STATUS_CPU_S = 0.2
SCAN_S = 600.0


@pytest.fixture(scope="module")
def anna(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Computer]:
    """100,000 small files, scanned."""
    place = tmp_path_factory.mktemp("anna")
    computer = Computer("anna", place, place / "folder", free_ports(1)[0])
    for number in range(DIRECTORIES):
        directory = computer.folder / f"{number:03}"
        directory.mkdir(parents=True)
        for file in range(FILES_EACH):
            (directory / f"{file}").write_text(f"{number} {file}")
    computer.start()
    share(computer, "Large")
    assert computer.run("wait", "--for", "scanned", "--timeout", f"{SCAN_S:g}", timeout_s=SCAN_S).returncode == 0
    yield computer
    computer.stop()


@pytest.mark.slowest
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_service_is_back_soon(anna: Computer, how: str) -> None:
    getattr(anna, how)()
    watch = Stopwatch()
    anna.start()
    took = watch.seconds()
    (folder,) = anna.ask("status")["folders"]
    assert folder["files"] == DIRECTORIES * FILES_EACH, "it serves what it knew, before it looks at the disk again"
    assert took <= SERVICE_S * SLACK, f"{took:.1f} s"


def test_status_costs_little(anna: Computer) -> None:
    """Processor time of the command line, so that a busy machine does not count."""
    costs = []
    for _ in range(5):
        before = _children_cpu_s()
        anna.ask("status")
        costs.append(_children_cpu_s() - before)
    print(f"status took {min(costs):.3f} s of processor time")  # noqa: T201
    assert min(costs) <= STATUS_CPU_S * SLACK, costs


def test_status_answers_soon(anna: Computer, capsys: pytest.CaptureFixture[str]) -> None:
    """By the clock on the wall, with room for whatever else this machine does."""
    pace = pace_of_status(anna, lambda folder: folder["files"])
    with capsys.disabled():
        sys.stdout.write(f"\n100,000 files: {pace}\n")
    assert pace.is_quick, pace


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_look_loads_nothing_heavy(tmp_path: Path) -> None:
    """What takes long to load is not loaded by `status`."""
    code = (
        "import sys; from syncd.cli import execute; execute(['--home', sys.argv[1], 'status']); "
        "print([name for name in ('trio', 'OpenSSL', 'rich', 'sqlite_utils', 'pydantic', 'tomlkit', 'cryptography') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
