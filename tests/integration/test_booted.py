"""The Debian package on a machine that systemd has booted: installed, started, watched, reloaded, stopped, removed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.booted import Booted, booted, build_package
from tests.helpers.machinetime import Stopwatch

pytestmark = [
    pytest.mark.needs("root", "netns", "mount", "linux", "dpkg-deb", "/lib/systemd/systemd", "nsenter"),
    pytest.mark.slowest,
    pytest.mark.alone,
]

HOME = "/var/lib/syncd"
AGAIN_S = 60.0
STOP_S = 2.0
SLACK = 5
"""For a machine that does other things besides."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_package(tmp_path_factory.mktemp("package") / "deb")


@pytest.fixture(scope="module")
def machine(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    with booted(package, tmp_path_factory.mktemp("machine") / "disk") as up:
        up.run("systemctl", "start", "syncd.service")
        yield up


def syncd(machine: Booted, *words: str) -> str:
    return machine.run("/usr/bin/syncd", "--home", HOME, *words)


@pytest.mark.needs("lintian")
def test_package_offends_no_rule_of_debian(package: Path) -> None:
    done = subprocess.run(
        ["lintian", "--fail-on", "error,warning", str(package)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_service_is_ready_and_says_how_it_is(machine: Booted) -> None:
    shown = machine.run("systemctl", "status", "syncd.service", "--no-pager")
    assert "active (running)" in shown
    assert 'Status: "0 folders, all in sync; 0 peers connected"' in shown
    user = machine.run("stat", "--format=%U", HOME).strip()
    assert user == "syncd"
    found = Path(f"/proc/{machine.init}/root/proc/{machine.main_pid('syncd')}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in found.splitlines() if ":\t" in line)
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    assert int(fields["CapEff"], 16) == 0


def test_folder_that_was_allowed_is_kept_and_nothing_else_can_be_written(machine: Booted) -> None:
    machine.run("mkdir", "/srv/photos")
    machine.run("sh", "-c", "echo first > /srv/photos/first; chown -R syncd:syncd /srv/photos")
    machine.run("/usr/bin/syncd", "service", "allow", "/srv/photos", "--system")
    machine.run("/usr/bin/syncd", "service", "restart", "--system")
    syncd(machine, "share", "/srv/photos", "--name", "Photos", "--no-wait")
    syncd(machine, "wait", "--for", "synced", "--timeout", "30")
    (folder,) = json.loads(syncd(machine, "status", "--json"))["folders"]
    assert (folder["state"], folder["files"]) == ("synced", 1)
    machine.run("sh", "-c", "mkdir /srv/other; chown syncd:syncd /srv/other")
    refused = machine.run("/usr/bin/syncd", "--home", HOME, "share", "/srv/other", "--no-wait", "--json", check=False)
    assert refused == ""


def test_mistake_in_the_configuration_changes_nothing(machine: Booted) -> None:
    machine.run("sh", "-c", f"printf '[nonsense]\\n' > {HOME}/config.toml; chown syncd {HOME}/config.toml")
    before = machine.main_pid("syncd")
    machine.run("systemctl", "reload", "syncd.service")
    assert machine.main_pid("syncd") == before
    assert "the configuration stays as it was" in machine.run("journalctl", "--unit=syncd", "--no-pager")
    machine.run("rm", f"{HOME}/config.toml")


def test_killed_service_comes_back(machine: Booted) -> None:
    before = machine.main_pid("syncd")
    machine.run("kill", "-9", str(before))
    machine.wait_another("syncd", before, AGAIN_S)
    assert json.loads(syncd(machine, "status", "--json"))["folders"][0]["name"] == "Photos"


def test_service_that_hangs_is_replaced(machine: Booted) -> None:
    """The watchdog of the unit, quicker than it is set: whoever does not show that he lives is started anew."""
    place = "/run/systemd/system/syncd.service.d"
    machine.run("sh", "-c", f"mkdir -p {place}; printf '[Service]\\nWatchdogSec=5\\n' > {place}/quick.conf")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "syncd.service")
    before = machine.main_pid("syncd")
    machine.run("kill", "-STOP", str(before))
    machine.wait_another("syncd", before, AGAIN_S)
    assert "Watchdog timeout" in machine.run("journalctl", "--unit=syncd", "--no-pager")


def test_stopping_is_quick_and_removing_leaves_what_is_yours(machine: Booted) -> None:
    watch = Stopwatch()
    machine.run("systemctl", "stop", "syncd.service")
    assert watch.seconds() <= STOP_S * SLACK
    machine.run("dpkg", "--remove", "syncd")
    assert not Path(f"/proc/{machine.init}/root/usr/bin/syncd").exists()
    assert machine.run("cat", "/srv/photos/first") == "first\n"
    assert machine.run("ls", f"{HOME}/keys").split(), "keys stay until a person removes them"
