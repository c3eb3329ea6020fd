"""Pure. What is worth keeping of what people and the daemon did: five kinds of happenings, and which calls are one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final

from ca.values import dataclass

Params = Mapping[str, Any]

MAX_WHAT: Final = 300
MAX_ACTION: Final = 64


class Kind(Enum):
    """Who would want to read it."""

    EVENT = "event"  # what became of files
    AUDIT = "audit"  # who was let in, taken out or refused
    FAULT = "fault"  # what went wrong
    ADMIN = "admin"  # what a person decided about people and settings
    OPERATOR = "operator"  # what a person did to keep things running


@dataclass(frozen=True, slots=True)
class Happening:
    """One line. `time` in unix seconds; `actor`: a member, a device, or the way by which a person came."""

    time: float
    kind: Kind
    actor: str
    action: str
    folder: str | None
    what: str
    ok: bool = True


# --- what people ask of the daemon ------------------------------------------------------------------------------------

ADMIN_METHODS: Final = frozenset(
    {
        "share", "join", "approve", "deny", "member.add", "member.remove", "member.change", "device.archive",
        "lockdown", "folder.decide", "folder.leave", "recover", "rescue", "rotate", "invite.revoke",
        "config.set", "key.backup", "key.lock", "key.passphrase", "web", "web.pin", "link.create", "link.revoke",
    }
)  # fmt: skip
OPERATOR_METHODS: Final = frozenset(
    {
        "drill", "export", "filter.change", "pause", "resume", "resolve", "folder.rescan", "folder.move", "check",
        "reoffer", "prune", "scrub", "restore", "undo", "snapshot.add", "snapshot.remove", "config.reload",
        "notify.test", "stop",
    }
)  # fmt: skip
WHEN_GIVEN: Final[Mapping[str, tuple[str, ...]]] = {
    "folder.addresses": ("allow", "deny", "clear"),
    "retention": ("keep", "space", "copies"),
    "exports": ("every_s", "stop"),
    "link.policy": ("who", "longest_s"),
}
"""Methods that only look unless one of these is given; then they are an administrator's."""
TOLD: Final = (
    "member", "device", "what", "role", "can", "cannot", "until", "name", "path", "target", "key", "value", "keep",
    "space", "reason", "id", "invite", "read_only", "for_s", "at_s", "before", "snapshot", "only", "to",
    "every_s", "stop", "allow", "deny", "clear", "expires_s", "most", "who", "longest_s", "copies", "recovery",
    "add", "remove", "filter",
)  # fmt: skip
"""Parameters that may be read later. Codes, links to join by, recovery words, PINs and passwords are not among them."""
MOMENTS: Final = ("until", "at_s")
"""Of these, times in unix seconds."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_10000: Final = 253_402_300_800


def kind_of(method: str, params: Params) -> Kind | None:
    """What kind of happening a call is; None for one that only looks, or says what it would do."""
    if params.get("dry_run"):
        return None
    if method in WHEN_GIVEN:
        return Kind.ADMIN if any(params.get(name) not in (None, [], False) for name in WHEN_GIVEN[method]) else None
    if method in ADMIN_METHODS:
        return Kind.ADMIN
    return Kind.OPERATOR if method in OPERATOR_METHODS else None


def said(params: Params) -> str:
    """The parameters of a call that may be read later, in one line."""
    given = ((name, params.get(name)) for name in TOLD)
    return short(" ".join(f"{name}={_shown(name, value)}" for name, value in given if value not in (None, [], False)))


def _shown(name: str, value: Any) -> str:
    if name in MOMENTS and isinstance(value, int | float) and 0 <= value < YEAR_10000:
        return (EPOCH + timedelta(seconds=value)).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, list):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def short(text: str) -> str:
    """One line of a length that is read."""
    line = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return line if len(line) <= MAX_WHAT else line[: MAX_WHAT - 1] + "…"


# --- in the audit log -------------------------------------------------------------------------------------------------

_ACTION = re.compile(rf"({'|'.join(kind.value for kind in Kind)})([:!])(.+)")
_WELL, _BADLY = ":", "!"


def as_line(happening: Happening) -> tuple[str, str]:
    """What was done and about what, as a line of the audit log has it: `admin:rotate`, `page: reason=lost key`."""
    action = f"{happening.kind.value}{_WELL if happening.ok else _BADLY}{happening.action}"
    return action[:MAX_ACTION], f"{happening.actor}: {happening.what}"


def of_line(time: float, folder: str | None, actor: str, action: str, about: str) -> Happening:
    """A line of the audit log; what was done at another's word carries no kind and is an audit event of its `actor`."""
    found = _ACTION.fullmatch(action)
    if found is None:
        return Happening(time, Kind.AUDIT, actor, action, folder, short(about), "refused" not in action)
    way, _, what = about.partition(": ")
    return Happening(time, Kind(found[1]), way, found[3], folder, short(what), found[2] == _WELL)
