"""`syncd service`, with stand-ins for systemctl, loginctl, launchctl: what is written, called and said."""

from __future__ import annotations

import os
import plistlib
import shutil
import sys
from pathlib import Path

import pytest

from syncd.cli import supervisors
from syncd.cli.privacy import how_to_allow, is_guarded
from syncd.cli.supervisors import Launchd, SystemUnits, daemon_command, is_available, service_name
from tests.helpers.stand_ins import StandIns
from tests.integration.cli_tools import Cli


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    tools = StandIns(tmp_path / "bin")
    tools.add("systemctl", "loginctl", "journalctl", "systemd-sysusers", "systemd-tmpfiles", "launchctl")
    tools.say("loginctl", "Linger=no\n")
    monkeypatch.setenv("PATH", tools.search_path)
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("SYNCD_HOME", raising=False)
    return tools


@pytest.fixture
def cli(tmp_path: Path, systemd: StandIns, capsys: pytest.CaptureFixture[str]) -> Cli:
    """A command line on the home that a person has by default."""
    return Cli(tmp_path / "person" / ".local" / "share" / "syncd", capsys)


def unit_of(tmp_path: Path) -> Path:
    return tmp_path / "person" / ".config" / "systemd" / "user" / "syncd.service"


def test_install_writes_the_unit_starts_it_and_says_so(cli: Cli, systemd: StandIns, tmp_path: Path) -> None:
    done = cli("service", "install", "--json")
    assert done.code == 0
    assert done.json["schema"] == "syncd.service/1"
    assert done.json["path"] == str(unit_of(tmp_path))
    unit = unit_of(tmp_path).read_text()
    assert f"ExecStart={' '.join(daemon_command(cli.home))}\n" in unit
    assert "%h/.local/bin/syncd" not in unit and "NoNewPrivileges=yes" in unit
    changing = [call for call in systemd.calls if "is-" not in call and "show-user" not in call]
    assert changing[:3] == [
        "systemctl --user daemon-reload",
        "systemctl --user enable syncd.service",
        "systemctl --user restart syncd.service",
    ]
    assert changing[3].startswith("loginctl enable-linger")
    assert any("lingering was switched on" in line for line in done.json["said"])


def test_uninstall_undoes_what_install_did(cli: Cli, systemd: StandIns, tmp_path: Path) -> None:
    cli("service", "install")
    before = len(systemd.calls)
    done = cli("service", "uninstall")
    assert done.code == 0
    assert not unit_of(tmp_path).exists()
    assert not (cli.home / supervisors.NOTE_NAME).exists()
    assert any(call.startswith("loginctl disable-linger") for call in systemd.calls[before:])
    assert "your folders stay" in done.out and str(cli.home) in done.out


def test_lingering_that_was_there_stays(cli: Cli, systemd: StandIns) -> None:
    systemd.say("loginctl", "Linger=yes\n")
    assert cli("service", "install").code == 0
    assert cli("service", "uninstall").code == 0
    assert not [call for call in systemd.calls if "able-linger" in call]


def test_lingering_is_left_alone_when_told(cli: Cli, systemd: StandIns) -> None:
    done = cli("service", "install", "--no-linger")
    assert "ends when you log out" in done.out
    assert not [call for call in systemd.calls if "linger" in call]


def test_refusal_of_the_service_manager_is_told_with_its_words(cli: Cli, systemd: StandIns) -> None:
    systemd.fail("systemctl", "Failed to connect to bus: No medium found", verb="daemon-reload")
    done = cli("service", "install", "--json")
    assert (done.code, done.error["id"]) == (1, "SY-SERV-02")
    assert "No medium found" in done.error["why"]


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_verbs_reach_the_service(cli: Cli, systemd: StandIns, verb: str) -> None:
    assert cli("service", verb, "--json").error["id"] == "SY-SERV-03"
    cli("service", "install")
    assert cli("service", verb).code == 0
    assert f"systemctl --user {verb} syncd.service" in systemd.calls


def test_another_home_has_a_service_of_its_own(cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = Cli(tmp_path / "other home", capsys)
    name = other("service", "install", "--json").json["name"]
    assert name.startswith("syncd-") and name != "syncd.service"
    unit = (unit_of(tmp_path).parent / name).read_text()
    assert f'--home "{tmp_path / "other home"}" run' in unit
    assert not unit_of(tmp_path).exists()


def test_dry_run_changes_nothing(cli: Cli, systemd: StandIns, tmp_path: Path) -> None:
    assert cli("service", "install", "--dry-run").code == 0
    assert not unit_of(tmp_path).exists()
    assert [call for call in systemd.calls if "is-" not in call] == []


def test_logs_are_those_of_the_journal(cli: Cli, systemd: StandIns) -> None:
    systemd.say("journalctl", "first\nsecond\n")
    assert cli("service", "logs").out == "first\nsecond\n"
    assert cli("service", "logs", "--json").json == {"schema": "syncd.log/1", "lines": ["first", "second"]}
    assert [line["line"] for line in cli("service", "logs", "-f", "--json").lines] == ["first", "second"]
    assert "journalctl --user -u syncd.service -n 50 --no-pager -f" in systemd.calls


def test_share_installs_only_for_the_home_of_this_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    runtime = tmp_path / "run"
    (runtime / "systemd").mkdir(parents=True)
    (runtime / "systemd" / "private").touch()
    own = tmp_path / ".local" / "share" / "syncd"
    environ = {"XDG_RUNTIME_DIR": str(runtime)}
    monkeypatch.setattr(shutil, "which", lambda name, **options: f"/bin/{name}")
    assert is_available(own, environ)
    assert not is_available(tmp_path / "elsewhere", environ)
    assert not is_available(own, {"XDG_RUNTIME_DIR": str(tmp_path)})
    assert service_name(own) == "syncd"


# --- the service of the machine --------------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path, systemd: StandIns, monkeypatch: pytest.MonkeyPatch) -> SystemUnits:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return SystemUnits(tmp_path / "etc", tmp_path / "usr")


def test_system_service_is_written_whole_and_removed_whole(machine: SystemUnits, systemd: StandIns) -> None:
    machine.install()
    written = sorted(str(path.relative_to(machine.root)) for path in machine.root.rglob("*") if path.is_file())
    assert written == [
        "sysctl.d/60-syncd.conf", "systemd/system/syncd.service", "systemd/system/syncd.socket",
        "sysusers.d/syncd.conf", "tmpfiles.d/syncd.conf",
    ]  # fmt: skip
    assert systemd.calls[0] == "systemd-sysusers"
    assert systemd.calls[-1] == "systemctl enable --now syncd.socket syncd.service"
    machine.allow(Path("/srv/photos"))
    machine.uninstall()
    assert [path for path in machine.root.rglob("*") if path.is_file()] == []


def test_files_of_a_package_are_not_written_again(machine: SystemUnits) -> None:
    shipped = machine.shipped / "systemd" / "system" / "syncd.service"
    shipped.parent.mkdir(parents=True)
    shipped.write_text("[Service]\n")
    machine.install()
    assert not machine.root.exists()
    machine.uninstall()
    assert shipped.exists()


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        ("/srv/photos", ["ReadWritePaths=/srv/photos"]),
        ("/home/anna/My Photos", ['BindPaths="/home/anna/My Photos"', 'ReadWritePaths="/home/anna/My Photos"']),
        ("/srv/50%:x", ['ReadWritePaths="/srv/50%%\\:x"']),
    ],
)
def test_allowing_writes_a_drop_in(machine: SystemUnits, path: str, lines: list[str]) -> None:
    machine.install()
    machine.allow(Path(path))
    (drop_in,) = (machine.root / "systemd" / "system" / "syncd.service.d").iterdir()
    assert drop_in.read_text().splitlines()[2:] == lines


def test_machine_belongs_to_root(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = cli("service", "install", "--system", "--json")
    assert (done.code, done.error["id"]) == (6, "SY-SERV-04")


# --- macOS -----------------------------------------------------------------------------------------------------------


def test_agent_is_a_valid_property_list(systemd: StandIns, tmp_path: Path) -> None:
    systemd.fail("launchctl", "not found", verb="print")
    agent = Launchd(tmp_path / "person" / ".local" / "share" / "syncd")
    agent.install()
    found = plistlib.loads(agent.path.read_bytes())
    assert found["Label"] == "org.syncd.agent" == agent.path.stem
    assert found["ProgramArguments"] == daemon_command(agent.home)
    assert found["KeepAlive"] == {"Crashed": True, "SuccessfulExit": False}
    assert (found["RunAtLoad"], found["Umask"], found["HardResourceLimits"]["Core"]) == (True, 0o077, 0)
    assert systemd.calls[-1] == f"launchctl bootstrap gui/{os.getuid()} {agent.path}"
    agent.uninstall()
    assert not agent.path.exists()


def test_running_agent_is_taken_out_before_it_is_exchanged(systemd: StandIns, tmp_path: Path) -> None:
    Launchd(tmp_path / "h").install()
    verbs = [call.split()[1] for call in systemd.calls if call.startswith("launchctl")]
    assert verbs == ["print", "bootout", "bootstrap"]


def test_privacy_guard_is_explained_with_program_and_pane() -> None:
    home = "/Users/anna"
    assert is_guarded(f"{home}/Documents", home) and is_guarded(f"{home}/Documents/Photos", home)
    assert is_guarded("/Volumes/Disk/x", home)
    assert not is_guarded(f"{home}/Photos", home) and not is_guarded(f"{home}/Documents2", home)
    said = "\n".join(how_to_allow(f"{home}/Documents", sys.executable))
    assert sys.executable in said and "x-apple.systempreferences:" in said
