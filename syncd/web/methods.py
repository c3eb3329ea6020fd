"""Pure. What the control socket can be asked: every method, the parameters it takes, and whether it streams.

The daemon behind it gets parameters that are complete and of the right type: a key that was not given is None, False or
an empty list. An unknown method or key is refused here, so that a command line of another version fails clearly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, assert_never

from ca.values import dataclass
from syncd.errors import RemoteProtocolError
from syncd.wording import escape, is_name, is_text

MAX_BODY_BYTES = 256 * 1024
TEXTS_ALONE = frozenset({"actor", "as", "before", "name", "reason", "snapshot", "text", "value"})
"""Parameters that name no file: they end in databases, entries and settings, which are UTF-8."""
UNLOCK = "unlock"
"""Beside the parameters of every method: the PIN, where there is one (`web.lock`)."""


class Kind(Enum):
    """The type of a parameter."""

    TEXT = auto()
    MAYBE_TEXT = auto()
    TEXTS = auto()
    FLAG = auto()
    COUNT = auto()
    MAYBE_COUNT = auto()
    MAYBE_SECONDS = auto()


@dataclass(frozen=True, slots=True)
class Method:
    """One thing that can be asked. `streams`: the answer is lines of progress, then the result."""

    params: Mapping[str, Kind] = field(default_factory=dict)
    streams: bool = False


_FOLDER = {"folder": Kind.MAYBE_TEXT, "cwd": Kind.MAYBE_TEXT}
_MOMENT = {"at_s": Kind.MAYBE_SECONDS, "before": Kind.MAYBE_TEXT, "snapshot": Kind.MAYBE_TEXT}
STREAMS = True

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "status": Method(_FOLDER),
        "share": Method(
            {
                "target": Kind.MAYBE_TEXT,
                "path": Kind.TEXT,
                "name": Kind.MAYBE_TEXT,
                "role": Kind.TEXT,
                "link": Kind.FLAG,
                "expires_s": Kind.MAYBE_SECONDS,
                "uses": Kind.COUNT,
                "yes": Kind.FLAG,
                "wait": Kind.FLAG,
                "dry_run": Kind.FLAG,
            },
            STREAMS,
        ),
        "join.find": Method(
            {"code": Kind.MAYBE_TEXT, "link": Kind.MAYBE_TEXT, "via": Kind.TEXTS, "as": Kind.MAYBE_TEXT}, STREAMS
        ),
        "join.preview": Method({"join": Kind.TEXT, "path": Kind.TEXT}, STREAMS),
        "join": Method(
            {
                "join": Kind.TEXT,
                "path": Kind.TEXT,
                "name": Kind.MAYBE_TEXT,
                "filter": Kind.TEXTS,
                "wait": Kind.FLAG,
            },
            STREAMS,
        ),
        "join.cancel": Method({"join": Kind.TEXT}),
        "wait": Method(
            {"folders": Kind.TEXTS, "cwd": Kind.MAYBE_TEXT, "for": Kind.TEXT, "timeout_s": Kind.MAYBE_SECONDS}, STREAMS
        ),
        "folders": Method(),
        "folder.show": Method(_FOLDER),
        "folder.rescan": Method({**_FOLDER, "wait": Kind.FLAG}, STREAMS),
        "folder.leave": Method({**_FOLDER, "dry_run": Kind.FLAG}),
        "folder.addresses": Method(
            {
                **_FOLDER,
                "allow": Kind.TEXTS,
                "deny": Kind.TEXTS,
                "device": Kind.MAYBE_TEXT,
                "clear": Kind.FLAG,
                "dry_run": Kind.FLAG,
            }
        ),
        "security": Method({"last": Kind.COUNT}),
        "peers": Method(),
        "members": Method(_FOLDER),
        "member.remove": Method({"folder": Kind.TEXT, "member": Kind.TEXT, "dry_run": Kind.FLAG}),
        "member.add": Method({"folder": Kind.TEXT, "file": Kind.TEXT, "dry_run": Kind.FLAG}),
        "member.change": Method(
            {
                "folder": Kind.TEXT,
                "member": Kind.TEXT,
                "what": Kind.TEXT,
                "role": Kind.MAYBE_TEXT,
                "can": Kind.TEXTS,
                "cannot": Kind.TEXTS,
                "until": Kind.MAYBE_SECONDS,
                "dry_run": Kind.FLAG,
            }
        ),
        "device.archive": Method({"folder": Kind.TEXT, "device": Kind.TEXT, "dry_run": Kind.FLAG}),
        "lockdown": Method({"device": Kind.TEXT, "dry_run": Kind.FLAG}),
        "folder.decide": Method({"folder": Kind.TEXT, "keep": Kind.TEXT, "dry_run": Kind.FLAG}),
        "recover": Method({**_FOLDER, "words": Kind.TEXT, "keep": Kind.TEXTS, "dry_run": Kind.FLAG}),
        "rescue": Method(
            {
                "address": Kind.TEXT,
                "words": Kind.TEXT,
                "device": Kind.MAYBE_TEXT,
                "into": Kind.MAYBE_TEXT,
                "dry_run": Kind.FLAG,
            },
            STREAMS,
        ),
        "rotate": Method({**_FOLDER, "reason": Kind.MAYBE_TEXT, "wait": Kind.FLAG}, STREAMS),
        "invites": Method(_FOLDER),
        "invite.revoke": Method({"invite": Kind.TEXT}),
        "links": Method(_FOLDER),
        "link.create": Method(
            {
                "path": Kind.TEXT,
                "expires_s": Kind.MAYBE_SECONDS,
                "password": Kind.MAYBE_TEXT,
                "most": Kind.MAYBE_COUNT,
                "dry_run": Kind.FLAG,
            }
        ),
        "link.show": Method({"id": Kind.TEXT}),
        "link.revoke": Method({"id": Kind.TEXT, "dry_run": Kind.FLAG}),
        "link.policy": Method(
            {**_FOLDER, "who": Kind.MAYBE_TEXT, "longest_s": Kind.MAYBE_SECONDS, "dry_run": Kind.FLAG}
        ),
        "requests": Method(_FOLDER),
        "approve": Method({"id": Kind.TEXT, "role": Kind.MAYBE_TEXT}),
        "deny": Method({"id": Kind.TEXT}),
        "conflicts": Method(_FOLDER),
        "compare": Method({"path": Kind.TEXT}),
        "preview": Method({"path": Kind.TEXT}),
        "pause": Method({**_FOLDER, "for_s": Kind.MAYBE_SECONDS}),
        "resume": Method(_FOLDER),
        "resolve": Method({"path": Kind.TEXT, "keep": Kind.TEXT}),
        "check": Method(_FOLDER, STREAMS),
        "filter": Method({**_FOLDER, "rules": Kind.TEXTS}),
        "filter.change": Method(
            {**_FOLDER, "add": Kind.TEXTS, "remove": Kind.TEXTS, "local": Kind.FLAG, "dry_run": Kind.FLAG}
        ),
        "folder.move": Method({**_FOLDER, "path": Kind.TEXT, "dry_run": Kind.FLAG}),
        "explain": Method({"path": Kind.TEXT}),
        "history": Method({"path": Kind.TEXT, "most": Kind.COUNT}),
        "past": Method({"path": Kind.TEXT, **_MOMENT}),
        "diff": Method({"path": Kind.TEXT, **_MOMENT, "to_s": Kind.MAYBE_SECONDS}),
        "search": Method({**_FOLDER, "text": Kind.TEXT, "most": Kind.COUNT}),
        "restore": Method(
            {
                "path": Kind.TEXT,
                **_MOMENT,
                "only": Kind.MAYBE_TEXT,
                "to": Kind.MAYBE_TEXT,
                "existing": Kind.MAYBE_TEXT,
                "changed": Kind.FLAG,
                "partial": Kind.FLAG,
                "on": Kind.MAYBE_TEXT,
                "dry_run": Kind.FLAG,
            },
            STREAMS,
        ),
        "reoffer": Method({"path": Kind.TEXT, "dry_run": Kind.FLAG}),
        "export": Method(
            {
                **_FOLDER,
                **_MOMENT,
                "to": Kind.TEXT,
                "only": Kind.MAYBE_TEXT,
                "encrypted": Kind.FLAG,
                "dry_run": Kind.FLAG,
            },
            STREAMS,
        ),
        "exports": Method(
            {
                **_FOLDER,
                "to": Kind.TEXT,
                "every_s": Kind.MAYBE_SECONDS,
                "encrypted": Kind.FLAG,
                "tar": Kind.FLAG,
                "keep": Kind.MAYBE_TEXT,
                "stop": Kind.MAYBE_TEXT,
            }
        ),
        "undo": Method({**_FOLDER, "id": Kind.MAYBE_TEXT, "dry_run": Kind.FLAG}, STREAMS),
        "undo.list": Method(_FOLDER),
        "snapshot.add": Method({**_FOLDER, "name": Kind.TEXT, "at_s": Kind.MAYBE_SECONDS}),
        "snapshot.remove": Method({**_FOLDER, "name": Kind.TEXT}),
        "snapshots": Method(_FOLDER),
        "retention": Method(
            {
                **_FOLDER,
                "keep": Kind.MAYBE_TEXT,
                "space": Kind.MAYBE_TEXT,
                "copies": Kind.MAYBE_TEXT,
                "everybody": Kind.FLAG,
            }
        ),
        "prune": Method({**_FOLDER, "dry_run": Kind.FLAG}, STREAMS),
        "scrub": Method(_FOLDER, STREAMS),
        "drill": Method(_FOLDER, STREAMS),
        "ls": Method({**_FOLDER, "path": Kind.MAYBE_TEXT, "after": Kind.MAYBE_TEXT}),
        "storage": Method(_FOLDER),
        "audit": Method(
            {
                **_FOLDER,
                "kinds": Kind.TEXTS,
                "since_s": Kind.MAYBE_SECONDS,
                "actor": Kind.MAYBE_TEXT,
                "last": Kind.COUNT,
            }
        ),
        "transfers": Method(),
        "traffic": Method({"span": Kind.TEXT}),
        "changes": Method({**_FOLDER, "most": Kind.COUNT}),
        "web": Method({"read_only": Kind.FLAG}),
        "web.pin": Method({"pin": Kind.MAYBE_TEXT}),
        "key.show": Method(),
        "key.backup": Method(
            {
                "path": Kind.TEXT,
                "passphrase": Kind.MAYBE_TEXT,
                "recovery": Kind.FLAG,
                "replace": Kind.FLAG,
                "dry_run": Kind.FLAG,
            }
        ),
        "key.list": Method({**_FOLDER, "unused_s": Kind.MAYBE_SECONDS}),
        "key.lock": Method({"passphrase": Kind.MAYBE_TEXT, "dry_run": Kind.FLAG}),
        "key.unlock": Method({"passphrase": Kind.TEXT}),
        "key.passphrase": Method({"passphrase": Kind.TEXT, "new": Kind.MAYBE_TEXT, "dry_run": Kind.FLAG}),
        "doctor": Method(),
        "config.show": Method(),
        "config.set": Method({"key": Kind.TEXT, "value": Kind.MAYBE_TEXT, "dry_run": Kind.FLAG}),
        "config.reload": Method(),
        "notify.test": Method(),
        "version": Method(),
        "stop": Method(),
    }
)


def parse_call_untrusted(name: str, body: bytes) -> tuple[dict[str, Any], str | None]:
    """Check the JSON body of a request for method `name` and complete it; and the PIN that came with it, if one did.

    Shape:  one JSON object with keys of the table; strings may hold lone surrogates (names that are not UTF-8).
    Raises: RemoteProtocolError SY-HOME-05 for everything else.
    """
    try:
        given = json.loads(body) if body else {}
    except (ValueError, RecursionError) as error:
        raise _refuse(f"the parameters of {name} are not JSON") from error
    if not isinstance(given, dict):
        raise _refuse(f"the parameters of {name} are not an object")
    typed = given.pop(UNLOCK, None)
    if typed is not None and not isinstance(typed, str):
        raise _refuse(f"the PIN that came with {name} is no text")
    kinds = METHODS[name].params
    if unknown := sorted(set(given) - set(kinds)):
        raise _refuse(f"{name} does not know the parameter {unknown[0]!r}")
    return {key: _check(name, key, kind, given.get(key)) for key, kind in kinds.items()}, typed


def parse_params_untrusted(name: str, body: bytes) -> dict[str, Any]:
    """The parameters alone. Raises as `parse_call_untrusted`."""
    params, _ = parse_call_untrusted(name, body)
    return params


def _check(name: str, key: str, kind: Kind, value: Any) -> Any:
    """The value, or what stands for a missing one. Raises RemoteProtocolError if it is of another type."""
    if key in TEXTS_ALONE and isinstance(value, str) and not is_text(value):
        why = "It has bytes that are not UTF-8, as in names of files from another system."
        raise RemoteProtocolError(f"{escape(value[:200])} is no text", id="SY-USE-01", why=why, fix="write it in UTF-8")
    if isinstance(value, str | list) and not all(is_name(one) for one in _texts(value)):
        raise RemoteProtocolError(f"{name}: the parameter {key!r} has a character that no name has", id="SY-USE-01")
    match kind:
        case Kind.TEXT if isinstance(value, str):
            return value
        case Kind.MAYBE_TEXT if value is None or isinstance(value, str):
            return value
        case Kind.TEXTS if value is None or _are_texts(value):
            return value or []
        case Kind.FLAG if value is None or isinstance(value, bool):
            return bool(value)
        case Kind.COUNT if value is None or (type(value) is int and 1 <= value <= 1_000_000):
            return value or 1
        case Kind.MAYBE_COUNT if value is None or (type(value) is int and 1 <= value <= 1_000_000):
            return value
        case Kind.MAYBE_SECONDS if value is None or (type(value) in (int, float) and 0 <= value <= 1e10):
            return value
        case Kind.TEXT | Kind.MAYBE_TEXT | Kind.TEXTS | Kind.FLAG | Kind.COUNT | Kind.MAYBE_COUNT | Kind.MAYBE_SECONDS:
            raise _refuse(f"{name}: the parameter {key!r} does not fit")
    assert_never(kind)


def _texts(value: str | list[Any]) -> list[str]:
    return [value] if isinstance(value, str) else [one for one in value if isinstance(one, str)]


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _refuse(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(what, id="SY-HOME-05", why="The command line and the daemon are of different versions.")
