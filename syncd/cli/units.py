"""Pure. What service managers read: the unit, its drop-ins, and the agent for launchd, for one installation."""

from __future__ import annotations

import plistlib
import re
from collections.abc import Sequence

AGENT_LABEL = "org.syncd.agent"
_EXEC = re.compile(r"^ExecStart=.*$", re.MULTILINE)
_PLAIN = re.compile(r"[\w./:@+,-]+")


def with_command(unit: str, command: Sequence[str]) -> str:
    """The unit, with the program that this installation is."""
    line = "ExecStart=" + " ".join(quoted(word) for word in command)
    return _EXEC.sub(lambda match: line, unit)


def quoted(word: str) -> str:
    """A word of a command line or a path in a unit: `%` and `$` mean something there, and blanks divide."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if _PLAIN.fullmatch(word) else f'"{escaped}"'


def quoted_path(path: str) -> str:
    """A path in ReadWritePaths= and BindPaths=: `%` means something there, `:` divides, `$` is itself."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace(":", "\\:")
    return escaped if _PLAIN.fullmatch(escaped) else f'"{escaped}"'


def allowing(path: str, *, hidden: bool) -> str:
    """A drop-in of the system unit that lets the daemon write below `path`. `hidden`: it lies in a home, which the unit
    empties, so it has to be put there."""
    lines = ["# Written by `syncd service allow`. Remove this file to take it back.", "[Service]"]
    if hidden:
        lines.append(f"BindPaths={quoted_path(path)}")
    return "\n".join([*lines, f"ReadWritePaths={quoted_path(path)}", ""])


def launch_agent(label: str, command: Sequence[str], log: str) -> bytes:
    """The property list of an agent: it starts at login, and again when it crashed, but not when it was ended."""
    return plistlib.dumps(
        {
            "Label": label,
            "ProgramArguments": list(command),
            "RunAtLoad": True,
            "KeepAlive": {"Crashed": True, "SuccessfulExit": False},
            "ThrottleInterval": 10,  # seconds between two starts; launchd's own least
            "ProcessType": "Adaptive",  # as important as what a person works with, while one does
            "SoftResourceLimits": {"NumberOfFiles": 65_536, "Core": 0},
            "HardResourceLimits": {"Core": 0},
            "Umask": 0o077,
            "StandardOutPath": log,
            "StandardErrorPath": log,
        }
    )
