"""Pure. The privacy guard of macOS (TCC): which folders it keeps from a background program, and how to let syncd in.

The guard knows a program by its binary. For a Python program that is the interpreter, so an upgrade of Python loses the
permission. It refuses with EPERM, or asks in a window that nobody sees, and it never goes away by itself: a folder that
it guards is not "busy", it is closed until a person opens it.
"""

from __future__ import annotations

GUARDED = ("Desktop", "Documents", "Downloads", "Library/Mobile Documents", "Pictures", "Movies", "Music")
PANE = "x-apple.systempreferences:com.apple.preference.security?Privacy_AllFiles"


def is_guarded(path: str, user_home: str) -> bool:
    """Whether macOS asks a person before a program may read there."""
    guarded = [f"{user_home}/{name}/" for name in GUARDED]
    return f"{path}/".startswith(("/Volumes/", *guarded))


def how_to_allow(path: str, program: str) -> list[str]:
    """What a person has to do, with the exact program and the pane of the settings."""
    return [
        f"macOS lets syncd read {path} only when you allow it:",
        f"  open {PANE!r}",
        f"  add this program to the list, and switch it on:  {program}",
        "  syncd service restart",
        "After an upgrade of Python it has to be allowed again: macOS knows the program by its file.",
    ]
