"""Blocking. The service managers: systemd for one person or for the machine, launchd for one person.

Each does the same few things to the one service of a home. What this program changed beside the unit (lingering) is
noted in the home, so that taking the service away undoes that and nothing that somebody else had set.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Protocol

from ca.values import dataclass
from syncd.cli import units
from syncd.errors import SyncdError
from syncd.home import resolve_home

NOTE_NAME = "service.json"
TIMEOUT_S = 60.0
SYSTEM_HOME = Path("/var/lib/syncd")
HOMES = ("/home", "/root", "/run/user")
"""What the system unit empties (ProtectHome=)."""


@dataclass(frozen=True, slots=True)
class ServiceState:
    """How the service stands now."""

    kind: str
    name: str
    path: Path
    installed: bool
    enabled: bool
    running: bool


class Supervisor(Protocol):
    """A service manager, for the service of one home."""

    def state(self) -> ServiceState: ...

    def install(self) -> list[str]:
        """Write the service, switch it on and start it; what a person should know about it, line by line."""
        ...

    def uninstall(self) -> list[str]:
        """Stop it, switch it off and remove what `install` wrote."""
        ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def restart(self) -> None: ...

    def log_command(self, lines: int, *, follow: bool) -> list[str]:
        """The program that prints the log."""
        ...

    def allow(self, path: Path) -> list[str]:
        """Let the daemon write below `path`; what was done, or why nothing has to be."""
        ...


def supervisor(home: Path, *, system: bool) -> Supervisor:
    """The one of this machine. Raises SyncdError SY-SERV-01 where there is none."""
    if sys.platform == "darwin":
        return Launchd(home)
    if shutil.which("systemctl") is None:
        raise SyncdError("there is no service manager that syncd knows", id="SY-SERV-01")
    return SystemUnits() if system else UserUnit(home)


def is_available(home: Path, environ: Mapping[str, str]) -> bool:
    """Whether a service of this person could be installed and would be running right after."""
    if home != resolve_home(None, {"XDG_DATA_HOME": environ.get("XDG_DATA_HOME", "")}):
        return False  # a home that was named by hand is an experiment, not this person's syncd
    if sys.platform == "darwin":
        return True
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    return bool(runtime) and os.path.exists(f"{runtime}/systemd/private") and shutil.which("systemctl") is not None


def daemon_command(home: Path) -> list[str]:
    """The program of this installation, run for this home."""
    return [*own_program(), "--home", str(home), "run"]


def own_program() -> list[str]:
    """How to start this very installation: its script beside Python, or the module.

    -P: else Python would import modules from the directory in which the person stands, which others may write to.
    """
    program = shutil.which("syncd", path=os.path.dirname(sys.executable))
    return [program] if program else [sys.executable, "-P", "-m", "syncd"]


def service_name(home: Path) -> str:
    """`syncd` for the home that everybody has; another home has a service of its own beside it."""
    if home in (resolve_home(None, {}), resolve_home(None, os.environ)):
        return "syncd"
    return f"syncd-{hashlib.sha256(os.fsencode(home)).hexdigest()[:8]}"


def run_tool(command: Sequence[str]) -> str:
    """Run a program of the service manager. Raises SyncdError SY-SERV-02 with what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SyncdError(f"{command[0]} did not work", id="SY-SERV-02", why=str(error)) from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split()) or f"it ended with code {done.returncode}"
        raise SyncdError(f"{' '.join(command[:4])} … was refused", id="SY-SERV-02", why=said)
    return done.stdout


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False, timeout=TIMEOUT_S).returncode == 0


def _write(path: Path, content: bytes) -> None:
    """Under another name first, so that nobody reads half a unit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    new.chmod(0o644)
    new.replace(path)


# --- systemd ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UserUnit:
    """A unit of this person's service manager. It is the default: no root, and the folders are theirs anyway."""

    home: Path
    linger: bool = True

    @property
    def name(self) -> str:
        return f"{service_name(self.home)}.service"

    @property
    def path(self) -> Path:
        config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        return Path(config) / "systemd" / "user" / self.name

    def state(self) -> ServiceState:
        enabled = _succeeds(["systemctl", "--user", "is-enabled", "--quiet", self.name])
        running = _succeeds(["systemctl", "--user", "is-active", "--quiet", self.name])
        return ServiceState("systemd-user", self.name, self.path, self.path.exists(), enabled, running)

    def install(self) -> list[str]:
        unit = (files("syncd") / "units" / "user" / "syncd.service").read_text(encoding="utf-8")
        _write(self.path, units.with_command(unit, daemon_command(self.home)).encode())
        self._systemctl("daemon-reload")
        self._systemctl("enable", self.name)
        self._systemctl("restart", self.name)
        return [f"{self.name} runs now and at every login ({self.path})", *self._stay()]

    def _stay(self) -> list[str]:
        """See that it survives the log-out, as far as this person may decide that, and say so."""
        user = getpass.getuser()
        if not self.linger:
            return ["it ends when you log out; to keep it:  loginctl enable-linger"]
        if _lingers(user):
            return ["it stays after log-out, and starts with the machine"]
        if not _succeeds(["loginctl", "enable-linger", user]):
            return ["it ends when you log out; an administrator can keep it:  loginctl enable-linger " + user]
        _write(self.home / NOTE_NAME, json.dumps({"linger": user}).encode())
        return ["it stays after log-out, and starts with the machine (lingering was switched on for that)"]

    def uninstall(self) -> list[str]:
        _demand_installed(self.path)
        self._systemctl("disable", "--now", self.name)
        self.path.unlink()
        self._systemctl("daemon-reload")
        note = self.home / NOTE_NAME
        if not note.exists():
            return [f"{self.name} was stopped and removed"]
        run_tool(["loginctl", "disable-linger", json.loads(note.read_text())["linger"]])
        note.unlink()
        return [f"{self.name} was stopped and removed; lingering is off again"]

    def start(self) -> None:
        _demand_installed(self.path)
        self._systemctl("start", self.name)

    def stop(self) -> None:
        _demand_installed(self.path)
        self._systemctl("stop", self.name)

    def restart(self) -> None:
        _demand_installed(self.path)
        self._systemctl("restart", self.name)

    def log_command(self, lines: int, *, follow: bool) -> list[str]:
        return ["journalctl", "--user", "-u", self.name, "-n", str(lines), "--no-pager", *(["-f"] if follow else [])]

    def allow(self, path: Path) -> list[str]:
        return [f"nothing to do: your own service may already write to {path}"]

    def _systemctl(self, *words: str) -> None:
        run_tool(["systemctl", "--user", *words])


@dataclass(frozen=True, slots=True)
class SystemUnits:
    """The unit of the machine, for the user `syncd`, with everything that belongs to it. Needs root."""

    root: Path = Path("/etc")
    shipped: Path = Path("/usr/lib")
    """Where a package of the distribution has put the same files; then nothing is written."""

    @property
    def path(self) -> Path:
        shipped = self.shipped / "systemd" / "system" / "syncd.service"
        return shipped if shipped.exists() else self.root / "systemd" / "system" / "syncd.service"

    def state(self) -> ServiceState:
        enabled = _succeeds(["systemctl", "is-enabled", "--quiet", "syncd.service"])
        running = _succeeds(["systemctl", "is-active", "--quiet", "syncd.service"])
        return ServiceState("systemd-system", "syncd.service", self.path, self.path.exists(), enabled, running)

    def _written(self) -> dict[Path, str]:
        """The files that `install` writes, and from which it takes them."""
        system = self.root / "systemd" / "system"
        return {
            system / "syncd.service": "system/syncd.service",
            system / "syncd.socket": "system/syncd.socket",
            self.root / "sysusers.d" / "syncd.conf": "sysusers.d/syncd.conf",
            self.root / "tmpfiles.d" / "syncd.conf": "tmpfiles.d/syncd.conf",
            self.root / "sysctl.d" / "60-syncd.conf": "sysctl.d/60-syncd.conf",
        }

    def install(self) -> list[str]:
        _demand_root()
        if not self.path.is_relative_to(self.shipped):
            for path, name in self._written().items():
                text = (files("syncd") / "units" / name).read_text(encoding="utf-8")
                if name == "system/syncd.service":
                    text = units.with_command(text, daemon_command(SYSTEM_HOME))
                _write(path, text.encode())
        run_tool(["systemd-sysusers"])
        run_tool(["systemd-tmpfiles", "--create"])
        run_tool(["systemctl", "daemon-reload"])
        run_tool(["systemctl", "enable", "--now", "syncd.socket", "syncd.service"])
        return [
            f"syncd.service runs now and at every start of the machine ({self.path})",
            f"it is the user syncd, with its home in {SYSTEM_HOME}:  sudo syncd --home {SYSTEM_HOME} status",
            "it may write only there; to share a directory:  sudo syncd service allow PATH --system",
        ]

    def uninstall(self) -> list[str]:
        _demand_root()
        _demand_installed(self.path)
        run_tool(["systemctl", "disable", "--now", "syncd.socket", "syncd.service"])
        if not self.path.is_relative_to(self.shipped):
            for path in self._written():
                path.unlink(missing_ok=True)
        shutil.rmtree(self._drop_ins, ignore_errors=True)
        run_tool(["systemctl", "daemon-reload"])
        return ["syncd.service was stopped and removed; the user syncd stays"]

    def start(self) -> None:
        self._do("start")

    def stop(self) -> None:
        self._do("stop")

    def restart(self) -> None:
        self._do("restart")

    def _do(self, verb: str) -> None:
        _demand_root()
        _demand_installed(self.path)
        run_tool(["systemctl", verb, "syncd.service"])

    def log_command(self, lines: int, *, follow: bool) -> list[str]:
        return ["journalctl", "-u", "syncd.service", "-n", str(lines), "--no-pager", *(["-f"] if follow else [])]

    @property
    def _drop_ins(self) -> Path:
        return self.root / "systemd" / "system" / "syncd.service.d"

    def allow(self, path: Path) -> list[str]:
        _demand_root()
        _demand_installed(self.path)
        hidden = any(path.is_relative_to(home) for home in HOMES)
        name = f"allow-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}.conf"
        _write(self._drop_ins / name, units.allowing(str(path), hidden=hidden).encode())
        run_tool(["systemctl", "daemon-reload"])
        return [
            f"the service may write below {path} ({self._drop_ins / name})",
            "it holds from its next start on:  sudo syncd service restart --system",
            f"the user syncd needs the rights of the file system, too:  sudo setfacl -R -m u:syncd:rwX {path}",
        ]


def _lingers(user: str) -> bool:
    try:
        return "yes" in run_tool(["loginctl", "show-user", user, "--property=Linger"])
    except SyncdError:
        return False  # nobody of that name is logged in; then enabling says what is possible


def _demand_installed(path: Path) -> None:
    if not path.exists():
        raise SyncdError("syncd is not installed as a service", id="SY-SERV-03", why=f"There is no {path}.")


def _demand_root() -> None:
    if os.geteuid() != 0:
        raise SyncdError("the service of the whole machine is changed by root only", id="SY-SERV-04")


# --- launchd ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Launchd:
    """An agent of this person on macOS."""

    home: Path

    @property
    def label(self) -> str:
        return units.AGENT_LABEL.replace("syncd", service_name(self.home), 1)

    @property
    def path(self) -> Path:
        return Path(os.path.expanduser("~/Library/LaunchAgents")) / f"{self.label}.plist"

    @property
    def log(self) -> Path:
        return Path(os.path.expanduser("~/Library/Logs/syncd")) / f"{self.label}.log"

    @property
    def _domain(self) -> str:
        return f"gui/{os.getuid()}"

    def state(self) -> ServiceState:
        running = _succeeds(["launchctl", "print", f"{self._domain}/{self.label}"])
        installed = self.path.exists()
        return ServiceState("launchd", self.label, self.path, installed, installed, running)

    def install(self) -> list[str]:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.state().running:
            run_tool(["launchctl", "bootout", f"{self._domain}/{self.label}"])
        _write(self.path, units.launch_agent(self.label, daemon_command(self.home), str(self.log)))
        run_tool(["launchctl", "bootstrap", self._domain, str(self.path)])
        return [
            f"{self.label} runs now and at every login ({self.path})",
            "macOS guards Documents, Desktop and Downloads; if a folder there cannot be read:  syncd doctor",
        ]

    def uninstall(self) -> list[str]:
        _demand_installed(self.path)
        if self.state().running:
            run_tool(["launchctl", "bootout", f"{self._domain}/{self.label}"])
        self.path.unlink()
        return [f"{self.label} was stopped and removed"]

    def start(self) -> None:
        _demand_installed(self.path)
        if not self.state().running:
            run_tool(["launchctl", "bootstrap", self._domain, str(self.path)])

    def stop(self) -> None:
        _demand_installed(self.path)
        if self.state().running:
            run_tool(["launchctl", "bootout", f"{self._domain}/{self.label}"])

    def restart(self) -> None:
        _demand_installed(self.path)
        run_tool(["launchctl", "kickstart", "-k", f"{self._domain}/{self.label}"])

    def log_command(self, lines: int, *, follow: bool) -> list[str]:
        return ["tail", "-n", str(lines), *(["-f"] if follow else []), str(self.log)]

    def allow(self, path: Path) -> list[str]:
        from syncd.cli.privacy import how_to_allow

        return how_to_allow(str(path), daemon_command(self.home)[0])
