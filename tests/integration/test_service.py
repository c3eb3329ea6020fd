"""The daemon under a service manager: what it tells it, what signals do, and how it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from syncd.controlsocket import open_control
from syncd.errors import StoreBusy
from tests.helpers.computers import SLACK, Computer, free_ports, loopback_config, share, sharing_computers, wait_until
from tests.helpers.machinetime import Stopwatch

pytestmark = pytest.mark.long


PATIENCE_S = 15.0
STOP_S = 2.0


@dataclass
class Systemd:
    """Listens where a service manager would, and keeps what it was told."""

    address: Path
    listening: socket.socket
    told: list[str] = field(default_factory=list)

    def hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self.told.append(self.listening.recv(65_536).decode())

    def wait_for(self, text: str, times: int = 1) -> None:
        def arrived() -> bool:
            self.hear()
            return "\n".join(self.told).count(text) >= times

        wait_until(arrived, PATIENCE_S, f"the service manager was not told {text!r} but {self.told}")


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(address))
        listening.setblocking(False)
        yield Systemd(address, listening)


@pytest.fixture
def anna(tmp_path: Path, systemd: Systemd) -> Iterator[Computer]:
    (port,) = free_ports(1)
    computer = Computer("anna", tmp_path / "anna", tmp_path / "anna" / "folder", port)
    computer.inside = ("env", f"NOTIFY_SOCKET={systemd.address}", "WATCHDOG_USEC=400000")
    yield computer
    computer.stop()


def process(computer: Computer) -> subprocess.Popen[bytes]:
    assert computer.daemon is not None
    return computer.daemon


def configure(computer: Computer, more: str) -> None:
    (computer.home / "config.toml").write_text(loopback_config(computer.port) + more)


def test_manager_is_told_when_it_is_ready_and_that_it_lives(anna: Computer, systemd: Systemd) -> None:
    anna.start()
    systemd.wait_for("READY=1\nSTATUS=0 folders, all in sync; 0 peers connected")
    systemd.wait_for("WATCHDOG=1", times=3)
    share(anna, "Photos")
    systemd.wait_for("STATUS=1 folders")
    anna.stop()
    systemd.wait_for("STOPPING=1")


def test_hung_event_loop_shows_no_life(anna: Computer, systemd: Systemd) -> None:
    anna.start()
    systemd.wait_for("WATCHDOG=1")
    process(anna).send_signal(signal.SIGSTOP)
    time.sleep(0.1)  # what was under way has arrived
    systemd.hear()
    heard = len(systemd.told)
    time.sleep(1.0)  # more than twice the time of the watchdog
    systemd.hear()
    process(anna).send_signal(signal.SIGCONT)
    assert systemd.told[heard:] == []
    systemd.wait_for("WATCHDOG=1", times=sum("WATCHDOG=1" in told for told in systemd.told) + 1)


def test_reload_takes_a_good_configuration(anna: Computer, systemd: Systemd) -> None:
    anna.start()
    configure(anna, '[log]\nlevel = "debug"\nformat = "json"\n')
    process(anna).send_signal(signal.SIGHUP)
    systemd.wait_for("RELOADING=1\nMONOTONIC_USEC=")
    systemd.wait_for("READY=1", times=2)
    wait_until(
        lambda: '"message": "configuration read again; changed: log_format, log_level"' in anna.log.read_text(),
        PATIENCE_S,
        "the log did not change its form",
    )


@pytest.mark.parametrize("mistake", ["[log]\nlevel = 3\n", "not toml", "[nonsense]\nx = 1\n"])
def test_reload_keeps_the_old_configuration_on_a_mistake(anna: Computer, systemd: Systemd, mistake: str) -> None:
    anna.start()
    configure(anna, mistake)
    process(anna).send_signal(signal.SIGHUP)
    systemd.wait_for("READY=1", times=2)
    assert "the configuration stays as it was" in anna.log.read_text()
    anna.demand_alive()
    assert anna.ask("status")["in_sync"]


def test_reload_says_what_takes_a_restart(anna: Computer, systemd: Systemd) -> None:
    anna.start()
    configure(anna, '[device]\nname = "other"\n')
    process(anna).send_signal(signal.SIGHUP)
    systemd.wait_for("READY=1", times=2)
    assert "change with the next start: device_name" in anna.log.read_text()
    assert anna.ask("key", "show")["name"] != "other"


def test_tasks_are_shown_on_demand(anna: Computer, systemd: Systemd) -> None:
    anna.start()
    process(anna).send_signal(signal.SIGUSR1)
    wait_until(lambda: "obey_signals" in anna.log.read_text(), PATIENCE_S, "no tree of tasks")
    anna.demand_alive()


@pytest.mark.alone
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slowest)])
def test_stopping_is_quick_with_streams_open(tmp_path: Path, number: signal.Signals) -> None:
    """Connected peers, a request for news that waits, a `wait` on the control socket, and a share that waits."""
    with sharing_computers(("anna", "ben", "carla"), tmp_path, "Photos") as group:
        first = group[0]
        watchers = [
            subprocess.Popen(first.command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for words in (["share", "Photos", "--json"], ["wait", "--for", "peer=nobody", "--timeout", "60"])
        ]
        assert watchers[0].stdout is not None
        watchers[0].stdout.readline()
        watch = Stopwatch()
        process(first).send_signal(number)
        process(first).wait(PATIENCE_S)
        took = watch.seconds()
        for watcher in watchers:
            watcher.communicate(timeout=PATIENCE_S)
        assert process(first).returncode == 0
        assert took <= STOP_S * SLACK, f"stopping took {took:.2f} s"
        assert not (first.home / "control.sock").exists()
        first.start()
        first.wait_synced(60)


def test_passed_socket_is_used_and_stays(tmp_path: Path) -> None:
    """As systemd does it: descriptor 3 listens before the daemon runs, and goes on when it ends."""
    home, path = tmp_path / "home", tmp_path / "control.sock"
    home.mkdir(mode=0o700)
    (home / "config.toml").write_text(loopback_config(0))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        program = (
            f"import os; os.dup2({listening.fileno()}, 3); os.environ.update(LISTEN_PID=str(os.getpid()), "
            f"LISTEN_FDS='1'); os.set_inheritable(3, True); from syncd.cli import execute; "
            f"raise SystemExit(execute(['--home', {str(home)!r}, '--socket', {str(path)!r}, 'run']))"
        )
        early = subprocess.Popen(  # asks before anybody could answer
            [sys.executable, "-m", "syncd", "--socket", str(path), "version", "-v"], stdout=subprocess.PIPE
        )
        daemon = subprocess.Popen(
            [sys.executable, "-c", program], pass_fds=[listening.fileno()], stderr=subprocess.DEVNULL
        )
        try:
            assert f"pid {daemon.pid}".encode() in early.communicate(timeout=PATIENCE_S)[0]
        finally:
            daemon.terminate()
            assert daemon.wait(PATIENCE_S) == 0
        assert path.exists()


WAITS_WHILE_LOADING = """
import sys
from syncd.cli import execute

class Hold:
    def find_spec(self, name, path=None, target=None):
        if name == "syncd.main":
            print("loading", flush=True)
            sys.stdin.readline()

sys.meta_path.insert(0, Hold())
raise SystemExit(execute(["--home", sys.argv[1], "run"]))
"""


def test_whoever_asks_while_a_daemon_loads_is_answered(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "config.toml").write_text(loopback_config(0))
    command = [sys.executable, "-c", WAITS_WHILE_LOADING, str(home)]
    daemon = subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert daemon.stdin is not None
    assert daemon.stdout is not None
    try:
        assert daemon.stdout.readline() == "loading\n"
        path = home / "control.sock"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(StoreBusy, match="another syncd"):
            open_control(path)
        with socket.socket(socket.AF_UNIX) as early:
            early.settimeout(PATIENCE_S)
            early.connect(str(path))
            early.sendall(b"POST /rpc/version HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
            daemon.stdin.write("\n")
            daemon.stdin.flush()
            answer = early.makefile("rb").read()
        assert f'"pid":{daemon.pid}'.encode() in answer
    finally:
        daemon.terminate()
        daemon.communicate(timeout=PATIENCE_S)
    assert daemon.returncode == 0
    assert not path.exists()


def test_modules_are_not_imported_from_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`syncd share` in a directory that others write to starts our daemon, not their `trio.py`."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "trio.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')")
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "home" / "config.toml").write_text(loopback_config(0))
    monkeypatch.chdir(folder)
    syncd = [str(Path(sys.executable).with_name("syncd")), "--home", str(tmp_path / "home")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    shared = subprocess.run(
        [*syncd, "share", ".", "--yes", "--no-wait"], capture_output=True, text=True, check=False, env=environment
    )
    subprocess.run([*syncd, "stop"], check=True, capture_output=True)
    assert (shared.returncode, (tmp_path / "was-run").exists()) == (0, False)
