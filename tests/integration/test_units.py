"""The files for systemd: systemd finds no fault with them, and the daemon works under what they forbid."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.computers import Computer, free_ports, join, share, wait_equal, wait_until
from tests.helpers.sandbox import directives, system_calls
from tests.helpers.sources import ROOT

SYSTEMD = ROOT / "systemd"
UNITS = sorted([*(SYSTEMD / "system").iterdir(), *(SYSTEMD / "user").iterdir()])
UID = 61_234
THRESHOLD = 14
SYNC_S = 60.0


@pytest.mark.needs("systemd-analyze")
def test_systemd_finds_no_fault_with_the_system_units(tmp_path: Path) -> None:
    """The one thing changed: ExecStart names a program that this machine has."""
    for unit in (SYSTEMD / "system").iterdir():
        (tmp_path / unit.name).write_text(unit.read_text().replace("/usr/bin/syncd", "/bin/true"))
    done = analyze("verify", *map(str, sorted(tmp_path.iterdir())))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.needs("systemd-analyze")
def test_systemd_finds_no_fault_with_the_user_unit(tmp_path: Path) -> None:
    unit = tmp_path / "syncd.service"
    unit.write_text((SYSTEMD / "user" / "syncd.service").read_text().replace("%h/.local/bin/syncd", "/bin/true"))
    done = analyze("--user", "verify", str(unit), XDG_RUNTIME_DIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.needs("systemd-analyze")
def test_system_unit_exposes_little() -> None:
    done = analyze(
        "security", "--offline=yes", f"--threshold={THRESHOLD}", "--no-pager", str(SYSTEMD / "system" / "syncd.service")
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.needs("systemd-analyze")
def test_analysis_refuses_the_unit_without_its_hardening(tmp_path: Path) -> None:
    """The partner of the test above: the same question has another answer where the lines are missing."""
    unit = tmp_path / "syncd.service"
    unit.write_text("[Service]\nType=notify\nExecStart=/bin/true\n")
    assert analyze("security", "--offline=yes", f"--threshold={THRESHOLD}", "--no-pager", str(unit)).returncode != 0


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_line_of_hardening_has_its_reason(unit: Path) -> None:
    """Each block of settings follows a comment; what needs none is named here."""
    plain = {
        "Description", "After", "StartLimitBurst", "Restart", "RestartSec", "NotifyAccess", "WantedBy", "Also",
        "ListenStream", "SocketUser", "SocketGroup", "DirectoryMode", "ExecStart",
    }  # fmt: skip
    before = ""
    for line in unit.read_text().splitlines():
        name = line.partition("=")[0]
        explained = before.startswith("#") or "=" in before
        assert not line or line[0] in "#[" or name in plain or explained, line
        before = line


def test_memory_may_be_written_and_executed() -> None:
    """pyOpenSSL's callbacks need it; a unit that forbids it would break every connection."""
    assert [unit for unit in UNITS if "MemoryDenyWriteExecute" in dict(directives(unit))] == []


def analyze(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **variables},
    )


# --- under the restrictions ------------------------------------------------------------------------------------------

restricted = pytest.mark.needs("root", "mount", "linux", "systemd-analyze")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that the user of the service can reach: pytest's own belong to root alone."""
    made = Path("/var/tmp") / f"syncd-units-{os.getpid()}"
    made.mkdir(mode=0o755)
    yield made
    shutil.rmtree(made)


def inside(*writable: Path) -> tuple[str, ...]:
    unit = SYSTEMD / "system" / "syncd.service"
    for path in writable:
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, UID, UID)
    return (sys.executable, "-m", "tests.helpers.sandbox", str(unit), str(UID), *map(str, writable), "--")


@restricted
def test_two_daemons_keep_a_folder_equal_under_the_unit(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    group = []
    for name, port in zip(("anna", "ben"), free_ports(2), strict=True):
        computer = Computer(name, place / name, place / name / "folder", port)
        computer.inside = inside(computer.place)
        group.append(computer)
    anna, ben = group
    try:
        for computer in group:
            computer.folder.mkdir()
            os.chown(computer.folder, UID, UID)
            computer.home.mkdir(mode=0o700)
            (computer.home / "config.toml").write_text(
                f'[network]\nlisten = ["127.0.0.1:{computer.port}"]\ndiscovery = true\n'
            )
            os.chown(computer.home, UID, UID)
            computer.start()
        (anna.folder / "large").write_bytes(os.urandom(3_000_000))
        os.chown(anna.folder / "large", UID, UID)
        link = share(anna, "strict")
        join(ben, link)
        ben.wait_synced(SYNC_S)
        (ben.folder / "answer").write_text("from here, too")
        os.chown(ben.folder / "answer", UID, UID)
        wait_equal([anna.folder, ben.folder], SYNC_S)
        assert (anna.folder / "answer").stat().st_uid == UID
        # Discovery works as well: netlink and multicast pass the filter.
        wait_until(lambda: not anna.ask("status")["problems"], SYNC_S, "something does not work under the unit")
    finally:
        for computer in group:
            computer.stop()


MOUNT = (
    "import ctypes, os; library = ctypes.CDLL(None, use_errno=True); library.mount(b'a', b'/', b'tmpfs', 0, None); "
    "raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))"
)


@restricted
@pytest.mark.parametrize(
    ("program", "refused"),
    [
        ("open('/etc/syncd-was-here', 'w')", "Read-only file system"),
        ("open('/home/x', 'w')", "Read-only file system"),
        ("import os; os.setuid(0)", "Operation not permitted"),
        (MOUNT, "Operation not permitted"),
        ("import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "Operation not permitted"),
        ("import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))", "Operation not permitted"),
        ("open('/proc/1/status')", "No such file"),
    ],
)  # fmt: skip
def test_unit_forbids(place: Path, monkeypatch: pytest.MonkeyPatch, program: str, refused: str) -> None:
    monkeypatch.chdir(ROOT)
    done = subprocess.run(
        [*inside(place / "state"), sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert refused in done.stderr


@restricted
def test_unit_lets_the_daemon_write_its_state(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    program = f"import os; open('{place}/state/x', 'w'); os.replace('{place}/state/x', '{place}/state/y')"
    command = [*inside(place / "state"), sys.executable, "-c", program]
    subprocess.run(command, check=True, capture_output=True)
    assert (place / "state" / "y").stat().st_mode & 0o777 == 0o600


@pytest.mark.needs("systemd-analyze")
def test_filter_has_what_the_tree_uses() -> None:
    calls = system_calls(SYSTEMD / "system" / "syncd.service")
    assert {"renameat2", "inotify_add_watch", "fsync", "copy_file_range", "utimensat", "syncfs"} <= calls
    assert not {"mount", "reboot", "bpf", "setpriority", "chroot"} & calls
