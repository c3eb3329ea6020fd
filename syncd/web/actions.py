"""Pure. Everything that the page can change, each as the method of the control socket behind it and as the command that
does the same.

A form of the page becomes parameters here, and nowhere else. Whoever adds an action names its command; a test holds
that this command exists and asks for the same method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote

from ca.values import dataclass
from syncd import wording
from syncd.errors import ConfigError
from syncd.protocol.links import is_link

Json = Mapping[str, Any]
Form = Mapping[str, str]

LIFETIMES: Final = {"15m": 15 * 60, "1h": 3_600, "1d": 86_400, "7d": 7 * 86_400}
PAUSES: Final[Mapping[str, int | None]] = {"1h": 3_600, "8h": 8 * 3_600, "1d": 86_400, "always": None}
PAUSE_WORDS: Final = {"1h": "for an hour", "8h": "for eight hours", "1d": "for a day", "always": "until I say so"}
KEPT: Final = ("this", "both")
MOST_DOWNLOADS: Final = 1_000_000
GIVEN_ROLES: Final = ("editor", "viewer", "admin", "owner")


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that the page can do. `words`: the command, as `syncd.cli.commands` has it."""

    method: str
    words: str
    params: Callable[[Form], dict[str, Any]]
    says: Callable[[Json], str] = field(default=lambda done: "Done.")
    leads_to: str | None = None
    """The view to go to instead of the one the form stood in."""
    takes_long: bool = False
    """It runs in the background, and a view tells how it goes."""


def _text(form: Form, name: str) -> str:
    """A field that must be filled in. Raises ConfigError SY-WEB-02."""
    value = form.get(name, "").strip()
    if not value:
        raise ConfigError(f"the field {name!r} is empty", id="SY-WEB-02", fix="go back and fill it in")
    return value


def _exact(form: Form, name: str) -> str:
    """An id or handle out of our own form: taken as it is."""
    return form.get(name, "")


def _maybe(form: Form, name: str) -> str | None:
    return form.get(name, "").strip() or None


def _one_of(form: Form, name: str, allowed: Mapping[str, Any] | tuple[str, ...]) -> str:
    value = form.get(name, "")
    if value not in allowed:
        raise ConfigError(f"the field {name!r} has a value that is not offered", id="SY-WEB-02")
    return value


def _path(form: Form) -> str:
    path = _text(form, "path")
    if not path.startswith("/"):
        raise ConfigError(f"{path} is not a whole path", id="SY-WEB-02", fix="begin with /, as in /home/anna/Photos")
    return path


def _where(form: Form) -> str:
    """A path out of our own form, written as in an address: names that are no text come back as they were."""
    path = unquote(_exact(form, "where"), errors="surrogateescape")
    if not path.startswith("/"):
        raise ConfigError("no file was named", id="SY-WEB-02")
    return path


def _restore(form: Form) -> dict[str, Any]:
    at, before = _maybe(form, "at"), _maybe(form, "before")
    if at is not None and not wording.is_number(at):
        raise ConfigError("this moment is not understood", id="SY-WEB-02")
    if at is None and before is None:
        raise ConfigError("no moment was chosen", id="SY-WEB-02")
    moment = {"at_s": None if at is None else int(at), "before": before, "snapshot": None}
    partial = _maybe(form, "partial") is not None
    return {"path": _where(form), **moment, "only": None, "to": None, "partial": partial, "dry_run": False}


def _share(form: Form) -> dict[str, Any]:
    kind = _one_of(form, "kind", ("code", "link"))
    lifetime = _one_of(form, "expires", LIFETIMES)
    return {
        "target": None,
        "path": _path(form),
        "name": _maybe(form, "name"),
        "role": _one_of(form, "role", GIVEN_ROLES),
        "link": kind == "link",
        "expires_s": LIFETIMES[lifetime],
        "uses": 1,
    }


def _link(form: Form) -> dict[str, Any]:
    most = _maybe(form, "most")
    if most is not None and not (wording.is_number(most) and 1 <= int(most) <= MOST_DOWNLOADS):
        raise ConfigError("the number of downloads is not understood", id="SY-WEB-02")
    return {
        "path": _path(form),
        "expires_s": LIFETIMES[_one_of(form, "expires", LIFETIMES)],
        "password": form.get("password") or None,
        "most": None if most is None else int(most),
        "dry_run": False,
    }


def _find(form: Form) -> dict[str, Any]:
    text = _text(form, "code")
    via = _maybe(form, "via")
    return {
        "code": None if is_link(text) else text,
        "link": text if is_link(text) else None,
        "via": [] if via is None else [via],
        "as": _maybe(form, "as"),
    }


def _approved(done: Json) -> str:
    name = wording.escape(done["name"])
    if done["kind"] == "held":
        return f"The held changes of {name} pass now."
    return f"{wording.escape(done['member'] or '')} is a member of {name} now."


def _denied(done: Json) -> str:
    if done["kind"] == "held":
        return wording.dropped(done["name"], done["not_restored"])
    return f"{wording.escape(done['member'] or '')} was turned away."


def _member(form: Form) -> dict[str, Any]:
    return {"folder": _exact(form, "folder"), "member": _exact(form, "member"), "dry_run": False}


def _changed(done: Json) -> str:
    member, name = done["member"], wording.escape(done["name"])
    is_out = "" if member["status"] == "active" else ", suspended"
    return f"{wording.escape(member['name'])} is {member['role']}{is_out} in {name} now."


def _removed(done: Json) -> str:
    told = ", ".join(wording.escape(name) for name in done["pending"])
    rest = f" Still to be told when they are reachable: {told}." if told else ""
    member, name = wording.escape(done["member"]["name"]), wording.escape(done["name"])
    return f"{member} was removed from {name}. The folder has a new certificate, number {done['epoch']}.{rest}"


def _rests(done: Json) -> str:
    names = ", ".join(wording.escape(folder["name"]) for folder in done["folders"])
    until = "until you let it work again" if done["until"] is None else f"until {wording.clock(done['until'], None)}"
    return f"{names or 'Nothing'} rests {until}."


def _works(done: Json) -> str:
    return f"{', '.join(wording.escape(folder['name']) for folder in done['folders']) or 'Nothing'} works again."


def _resolved(done: Json) -> str:
    path = wording.escape(done["path"])
    if done["by"] is None:
        return f"{path}: all {done['versions']} versions are kept, each under a name of its own."
    return f"{path}: the version of {wording.escape(done['by'])} counts. The other one is in its history."


def _set(done: Json) -> str:
    return f"{done['key']} is changed {'now' if done['at_once'] else 'with the next start of syncd'}."


ACTIONS: Mapping[str, Action] = MappingProxyType(
    {
        "rescan": Action(
            "folder.rescan",
            "folder rescan",
            lambda form: {"folder": _exact(form, "folder"), "wait": False},
            lambda done: f"Looking at every file of {wording.escape(done['name'])} again.",
        ),
        "pause": Action(
            "pause",
            "pause",
            lambda form: {
                "folder": _maybe(form, "folder"),
                "cwd": None,
                "for_s": PAUSES[_one_of(form, "for", PAUSES)],
            },
            _rests,
        ),
        "resume": Action("resume", "resume", lambda form: {"folder": _maybe(form, "folder"), "cwd": None}, _works),
        "resolve": Action(
            "resolve",
            "resolve",
            lambda form: {"path": _where(form), "keep": _one_of(form, "keep", KEPT)},
            _resolved,
            leads_to="/conflicts",
        ),
        "leave": Action(
            "folder.leave",
            "folder leave",
            lambda form: {"folder": _exact(form, "folder"), "dry_run": False},
            lambda done: (
                f"This computer has left {wording.escape(done['name'])}. "
                f"The files stay in {wording.escape(done['path'])}."
            ),
            leads_to="/",
        ),
        "rotate": Action(
            "rotate",
            "rotate",
            lambda form: {"folder": _exact(form, "folder"), "reason": _maybe(form, "reason"), "wait": False},
            lambda done: f"{wording.escape(done['name'])} has a new certificate, number {done['epoch']}.",
        ),
        "remove": Action(
            "member.remove",
            "member remove",
            lambda form: {"folder": _exact(form, "folder"), "member": _exact(form, "member"), "dry_run": False},
            _removed,
            leads_to="/sharing",
        ),
        "role": Action(
            "member.change",
            "member role",
            lambda form: {**_member(form), "what": "role", "role": _one_of(form, "role", GIVEN_ROLES)},
            _changed,
        ),
        "suspend": Action(
            "member.change", "member suspend", lambda form: {**_member(form), "what": "suspend"}, _changed
        ),
        "reactivate": Action(
            "member.change", "member reactivate", lambda form: {**_member(form), "what": "reactivate"}, _changed
        ),
        "revoke": Action(
            "invite.revoke",
            "invite revoke",
            lambda form: {"invite": _exact(form, "invite")},
            lambda done: f"That invitation to {wording.escape(done['name'])} works no more.",
        ),
        "approve": Action(
            "approve", "approve", lambda form: {"id": _exact(form, "id"), "role": _maybe(form, "role")}, _approved
        ),
        "deny": Action("deny", "deny", lambda form: {"id": _exact(form, "id")}, _denied),
        "restore": Action("restore", "restore", _restore, leads_to="/restore", takes_long=True),
        "undo": Action(
            "undo",
            "undo",
            lambda form: {"folder": _exact(form, "folder"), "id": _exact(form, "id"), "dry_run": False},
            lambda done: f"{wording.escape(done['name'])} is as it was before: {done['names']:,} names put back.",
            leads_to="/history",
        ),
        "set": Action(
            "config.set",
            "config set",
            lambda form: {"key": _text(form, "key"), "value": _text(form, "value"), "dry_run": False},
            _set,
            leads_to="/settings",
        ),
        "unset": Action(
            "config.set",
            "config unset",
            lambda form: {"key": _text(form, "key"), "value": None, "dry_run": False},
            _set,
            leads_to="/settings",
        ),
        "retention": Action(
            "retention",
            "retention",
            lambda form: {"folder": _exact(form, "folder"), "keep": _text(form, "keep"), "space": _text(form, "space")},
            lambda done: f"{wording.escape(done['name'])} keeps {done['keep']} of the past from now on.",
            leads_to="/storage",
        ),
        "scrub": Action(
            "scrub",
            "scrub",
            lambda form: {"folder": _exact(form, "folder"), "cwd": None},
            leads_to="/storage",
            takes_long=True,
        ),
        "prune": Action(
            "prune",
            "prune",
            lambda form: {"folder": _exact(form, "folder"), "cwd": None, "dry_run": False},
            leads_to="/storage",
            takes_long=True,
        ),
        "share": Action("share", "share", _share, lambda done: "", leads_to="/invited"),
        "link": Action("link.create", "link create", _link, lambda done: "", leads_to="/linked"),
        "unlink": Action(
            "link.revoke",
            "link revoke",
            lambda form: {"id": _exact(form, "id"), "dry_run": False},
            lambda done: f"The link to {wording.escape(done['path'])} works no more.",
        ),
        "find": Action("join.find", "join", _find, leads_to="/join", takes_long=True),
        "look": Action(
            "join.preview",
            "join",
            lambda form: {"join": _exact(form, "join"), "path": _path(form)},
            leads_to="/join",
            takes_long=True,
        ),
        "join": Action(
            "join",
            "join",
            lambda form: {"join": _exact(form, "join"), "path": _path(form), "name": None, "wait": False},
            leads_to="/join",
            takes_long=True,
        ),
        "forget": Action(
            "join.cancel",
            "join",
            lambda form: {"join": _exact(form, "join")},
            lambda done: "Nothing was joined.",
            leads_to="/join",
        ),
    }
)
