"""Blocking. Runs a program under the restrictions of a unit file, as far as they can be had without systemd.

    python -m tests.helpers.sandbox UNIT UID WRITABLE... -- PROGRAM ARGUMENTS

Applied are: a mount name space in which everything is read-only but the WRITABLE directories (ProtectSystem=strict,
ReadWritePaths=), empty homes, a /proc of which only processes are seen, another user without capabilities, no new
privileges, limits, umask, the system call filter of the unit resolved by `systemd-analyze`, and its address families.
Needs root, Linux and libseccomp.
"""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CLONE_NEWNS = 0x00020000
PR_SET_NO_NEW_PRIVS = 38
PR_CAPBSET_DROP = 24
LAST_CAPABILITY = 40
SCMP_ACT_ALLOW = 0x7FFF0000
SCMP_ACT_ERRNO_EPERM = 0x00050001
SCMP_CMP_EQ = 4
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}


class Compare(ctypes.Structure):
    """`struct scmp_arg_cmp`: one condition on an argument of a system call."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def directives(unit: Path) -> list[tuple[str, str]]:
    """The settings of a unit file in order."""
    lines = [line.strip() for line in unit.read_text().splitlines()]
    pairs = (line.partition("=") for line in lines if line and line[0] not in "#[")
    return [(name, value) for name, _, value in pairs]


def system_calls(unit: Path) -> frozenset[str]:
    """The names that the filter of the unit lets pass."""
    allowed: frozenset[str] = frozenset()
    for name, value in directives(unit):
        if name == "SystemCallFilter":
            calls = frozenset().union(*(_group(word) for word in value.removeprefix("~").split()))
            allowed = allowed - calls if value.startswith("~") else allowed | calls
    return allowed


def _group(word: str) -> frozenset[str]:
    """The calls of `@group`, nested groups included; a plain name is itself."""
    if not word.startswith("@"):
        return frozenset({word})
    shown = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", word], capture_output=True, text=True, check=True
    ).stdout
    found = [line.strip() for line in shown.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    return frozenset().union(*(_group(one) for one in found)) if found else frozenset()


def main() -> None:
    unit, uid, rest = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    split = rest.index("--")
    settings = dict(directives(unit))
    calls = system_calls(unit)  # asked before nothing may be started any more
    _hide_and_lock(rest[:split])
    files = min(int(settings["LimitNOFILE"]), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    resource.setrlimit(resource.RLIMIT_CORE, (int(settings["LimitCORE"]),) * 2)
    os.umask(int(settings["UMask"], 8))
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(LAST_CAPABILITY + 1):
        _check(libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0))
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    _check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _filter(calls, settings["RestrictAddressFamilies"].split())
    os.environ["HOME"] = "/nonexistent"
    program = rest[split + 1 :]
    os.execvp(program[0], program)


def _hide_and_lock(writable: Sequence[str]) -> None:
    """Mounts: all read-only, homes empty, what is writable bound over itself."""
    _check(ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS))
    _mount("--make-rprivate", "/")
    for path in writable:
        _mount("--bind", path, path)
    for point in _mounts():
        if point not in writable and not point.startswith(("/proc", "/sys", "/dev")):
            _lock(point)
    for home in ("/home", "/root", "/run/user"):
        if os.path.isdir(home):
            _empty(home)
    _mount("-t", "proc", "-o", "hidepid=invisible,subset=pid", "proc", "/proc")


def _mounts() -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def _lock(point: str) -> None:
    """Makes a mount read-only, unless it is gone meanwhile: who removes a network name space unlinks the file on which
    it is mounted, and so takes the mount out of every other mount name space, too.
    """
    try:
        _mount("-o", "remount,bind,ro", point)
    except subprocess.CalledProcessError:
        if point in _mounts():
            raise


def _empty(home: str) -> None:
    """Nothing is in a home any more; but if this Python is installed in there, it stays, read-only."""
    python = sys.base_prefix
    if not python.startswith(home + "/"):
        _mount("-t", "tmpfs", "-o", "ro,mode=755", "none", home)
        return
    _mount("-t", "tmpfs", "none", "/mnt")
    os.mkdir("/mnt/python")
    _mount("--bind", python, "/mnt/python")
    _mount("-t", "tmpfs", "-o", "mode=755", "none", home)
    os.makedirs(python)
    _mount("--bind", "/mnt/python", python)
    _mount("-o", "remount,bind,ro", python)
    _mount("-o", "remount,ro", home)
    subprocess.run(["umount", "--lazy", "/mnt"], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def _filter(calls: frozenset[str], families: Sequence[str]) -> None:
    seccomp = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(SCMP_ACT_ERRNO_EPERM))
    for name in sorted(calls - {"socket"}):
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # negative: another architecture's
            _check(-seccomp.seccomp_rule_add_array(context, SCMP_ACT_ALLOW, number, 0, None))
    number = seccomp.seccomp_syscall_resolve_name(b"socket")
    for family in families:
        condition = Compare(0, SCMP_CMP_EQ, FAMILIES[family], 0)
        _check(-seccomp.seccomp_rule_add_array(context, SCMP_ACT_ALLOW, number, 1, ctypes.byref(condition)))
    _check(-seccomp.seccomp_load(context))


def _check(failed: int) -> None:
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    main()
