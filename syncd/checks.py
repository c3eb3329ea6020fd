"""Blocking. What can be found out about an installation without asking its daemon; `syncd doctor` and the page show it.

Every finding says what to do. A check that finds nothing wrong is listed too: a person wants to see what was looked at.
"""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ca.values import dataclass
from syncd.config import load_settings
from syncd.errors import ConfigError

LEAST_FREE_SHARE = 0.05
LEAST_FREE_BYTES = 1 << 30
LEAST_FILES = 4096
LEAST_WATCHES = 100_000
OLDEST_CLOCK_S = 1_760_000_000.0  # October 2025: no computer that runs this program is older
WATCHES = Path("/proc/sys/fs/inotify/max_user_watches")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `fix` is a command where there is one; `ok` checks need none."""

    name: str
    ok: bool
    why: str
    fix: str = ""
    id: str | None = None

    def as_json(self) -> dict[str, object]:
        return {"name": self.name, "ok": self.ok, "why": self.why, "try": self.fix or None, "id": self.id}


def installation_checks(home: Path, folders: Sequence[str] = (), *, daemon_runs: bool) -> list[Check]:
    """Everything about the home, the configuration, the machine, and the disks of `folders`.

    Databases are opened only while no daemon has them open: see `store.db` on two connections to one file.
    """
    checks: list[Callable[[], Iterable[Check]]] = [
        lambda: _home(home),
        lambda: _keys(home),
        lambda: _configuration(home),
        lambda: _databases(home, daemon_runs=daemon_runs),
        lambda: _disks([str(home), *folders]),
        _limits,
        _clock,
    ]
    return [check for group in checks for check in group()]


def repair(home: Path) -> list[str]:
    """Set right what can be set right without a question; what was done."""
    done = []
    if home.is_dir() and home.stat().st_uid == os.geteuid():
        for path, mode in ((home, 0o700), *((key, 0o600) for key in _key_files(home))):
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                path.chmod(mode)
                done.append(f"{path} belongs to you alone again")
    return done


def _home(home: Path) -> Iterator[Check]:
    name = "home"
    if not home.is_dir():
        yield Check(name, True, f"{home} is not there yet; the first share or join makes it")
    elif home.stat().st_uid != os.geteuid():
        why = f"{home} belongs to user {home.stat().st_uid}"
        yield Check(name, False, why, "run syncd as that user, or choose another home with --home", "SY-HOME-04")
    elif stat.S_IMODE(home.stat().st_mode) & 0o077:
        yield Check(name, False, f"others may look into {home}, which holds keys", "syncd doctor --fix", "SY-HOME-04")
    else:
        yield Check(name, True, f"{home} is yours alone")


def _key_files(home: Path) -> list[Path]:
    return sorted(path for path in home.glob("keys/*") if path.is_file() and not path.is_symlink())


def _keys(home: Path) -> Iterator[Check]:
    open_keys = [path.name for path in _key_files(home) if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if open_keys:
        yield Check("keys", False, f"others may read {', '.join(open_keys)}", "syncd doctor --fix", "SY-KEY-02")
    else:
        locked = "locked by a passphrase" if (home / "keys" / "lock").exists() else "without a passphrase"
        yield Check("keys", True, f"{len(_key_files(home))} key files, readable by you alone, {locked}")


def _configuration(home: Path) -> Iterator[Check]:
    try:
        load_settings(home)
    except ConfigError as error:
        yield Check("configuration", False, f"{error}: {error.why}", error.fix or "syncd config check", error.id)
    else:
        yield Check("configuration", True, "config.toml has no mistake")


def _databases(home: Path, *, daemon_runs: bool) -> Iterator[Check]:
    """Whether they can be read, and whether one was ever damaged."""
    found = sorted(home.glob("*.db"))
    for path in () if daemon_runs else found:
        try:
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.Error as error:
            fix = "start syncd: it moves the damaged file aside and rebuilds it from the folder and the other members"
            yield Check("databases", False, f"{path.name}: {error}", fix, "SY-DB-01")
        else:
            connection.close()
    broken = sorted(path.name for path in home.glob("*.db.broken-*") if not path.name.endswith(("-wal", "-shm")))
    if broken:
        yield Check(
            "databases",
            False,
            f"{', '.join(broken)} was damaged and moved aside; the folder was rebuilt",
            "check the disk; delete that file when all is well",
            "SY-DB-01",
        )
    elif found:
        yield Check("databases", True, f"{len(found)} databases can be read")


def _disks(paths: Iterable[str]) -> Iterator[Check]:
    seen: set[int] = set()
    for path in paths:
        try:
            device = os.stat(path).st_dev
            if device in seen:
                continue
            seen.add(device)
            total, _, free = shutil.disk_usage(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield Check("disk", False, f"{path}: {error.strerror}", "check the disk and its permissions", "SY-DISK-03")
            continue
        if free < min(LEAST_FREE_BYTES, total * LEAST_FREE_SHARE):
            why = f"{free / (1 << 20):,.0f} MiB are free on the disk of {path}"
            yield Check("disk", False, why, "make room; transfers wait meanwhile", "SY-DISK-01")
        else:
            yield Check("disk", True, f"{free / (1 << 30):,.1f} GiB are free on the disk of {path}")


def _limits() -> Iterator[Check]:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most != resource.RLIM_INFINITY and most < LEAST_FILES:
        yield Check("open files", False, f"at most {most} files may be open", f"ulimit -n {LEAST_FILES}")
    else:
        yield Check("open files", True, "enough files may be open at once")
    if sys.platform == "linux" and WATCHES.exists():
        watches = int(WATCHES.read_text())
        if watches < LEAST_WATCHES:
            why = f"the system watches at most {watches} directories for a user; beyond that, changes wait an hour"
            yield Check("watches", False, why, "sudo sysctl fs.inotify.max_user_watches=1048576", "SY-WATCH-01")
        else:
            yield Check("watches", True, f"{watches:,} directories may be watched")


def _clock() -> Iterator[Check]:
    if time.time() < OLDEST_CLOCK_S:
        why = "the clock of this computer is far in the past"
        yield Check("clock", False, why, "set the clock, for example:  timedatectl set-ntp true", "SY-CLOCK-01")
    else:
        yield Check("clock", True, "the clock is plausible")
