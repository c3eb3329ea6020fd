"""The two small protocols of systemd."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from syncd.daemon.systemd import ServiceManager, passed_socket, service_manager


def test_variables_do_not_reach_programs_that_are_started() -> None:
    environ = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7", "LISTEN_PID": "8", "A": "b"}
    assert service_manager(environ, 7) == ServiceManager("/run/x", 30.0)
    assert passed_socket(environ, 7) is None  # meant for another process
    assert environ == {"A": "b"}


@pytest.mark.parametrize("usec", ["", "0", "-1", "often"])
def test_no_watchdog_unless_asked(usec: str) -> None:
    assert service_manager({"WATCHDOG_USEC": usec}, 7).watchdog_s is None


def test_watchdog_of_another_process_is_not_ours() -> None:
    assert service_manager({"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "8"}, 7).watchdog_s is None


def test_abstract_address(tmp_path: Path) -> None:
    name = f"\0syncd-test-{tmp_path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name)
        ServiceManager("@" + name[1:]).status("works")
        assert listening.recv(100) == b"STATUS=works"


def test_hostile_name_is_no_second_message(tmp_path: Path) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(address))
        ServiceManager(str(address)).ready("folder\nMAINPID=1")
        assert listening.recv(100) == b"READY=1\nSTATUS=folder MAINPID=1"


def test_silent_manager_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(address))
        for _ in range(2000):
            ServiceManager(str(address)).alive()  # the queue of the kernel is full long before
    ServiceManager(str(address)).alive()  # and now nobody is there at all
    assert "does not listen" in caplog.text
