"""Blocking. The optional PIN, of the page and of commands that change something, kept as a scrypt hash in the home.

A PIN is short, so the hash only makes a stolen file less useful; what protects the page from guessing is that wrong
ones have to wait (`gate.Patience`).
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from syncd.errors import ConfigError

NAME: Final = "web-pin"
LEAST_LENGTH: Final = 4
MOST_LENGTH: Final = 128
SALT_BYTES: Final = 16
_N, _R, _P = 1 << 14, 8, 1


def write_pin(home: Path, pin: str | None, salt: bytes) -> None:
    """Set the PIN, or take it away. Raises ConfigError SY-WEB-03 for one that is too short or too long."""
    file = home / NAME
    if pin is None:
        with suppress(FileNotFoundError):
            file.unlink()
        return
    if not LEAST_LENGTH <= len(pin) <= MOST_LENGTH:
        raise ConfigError(f"a PIN has {LEAST_LENGTH} to {MOST_LENGTH} characters", id="SY-WEB-03")
    if is_easy(pin):
        why = "It is among those that are tried first: one character again and again, or one after the other."
        raise ConfigError(
            "this PIN is too easy to guess", id="SY-WEB-03", why=why, fix="choose another:  syncd web --pin"
        )
    fresh = file.with_suffix(".new")
    with suppress(FileNotFoundError):
        fresh.unlink()
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as out:
        out.write(f"{salt.hex()} {_digest(pin, salt).hex()}\n")
        out.flush()
        os.fsync(out.fileno())
    os.replace(fresh, file)


def is_easy(pin: str) -> bool:
    """Whether all its steps from one character to the next are the same and small, as in 0000, 1234, dcba, 2468."""
    steps = {ord(after) - ord(before) for before, after in itertools.pairwise(pin)}
    return len(steps) == 1 and abs(steps.pop()) <= 2


def has_pin(home: Path) -> bool:
    return (home / NAME).exists()


def is_pin(home: Path, pin: str) -> bool:
    """Whether this is the PIN. A file that cannot be read lets nobody in: ConfigError SY-WEB-03."""
    try:
        salt, digest = (bytes.fromhex(part) for part in (home / NAME).read_text("ascii").split())
    except (OSError, ValueError) as error:
        fix = "set it again:  syncd web --pin"
        raise ConfigError("the file of the PIN cannot be read", id="SY-WEB-03", why=str(error), fix=fix) from error
    return len(pin) <= MOST_LENGTH and hmac.compare_digest(_digest(pin, salt), digest)


def _digest(pin: str, salt: bytes) -> bytes:
    return hashlib.scrypt(pin.encode("utf-8", "surrogatepass"), salt=salt, n=_N, r=_R, p=_P)
