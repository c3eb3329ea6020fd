"""Pure. What `--json` prints, command by command: the shapes, and the JSON Schema that is made of them.

The schema is published as docs/schema.json, and `syncd help json` prints it. What stands here is a promise: within a
version a field is never taken away and never means something else. New fields may come, so whoever reads must not mind
what it does not know.

A shape is a word for a value (`text`, `int`, `num`, `bool`, `any`; with `?` it may be null), a tuple of words that the
text is one of, a list with the shape of its items, or an object: its names with their shapes, a name with `?` may be
missing, and `*` stands for names that nobody knows beforehand.
"""

from __future__ import annotations

from typing import Any

from syncd.web.methods import METHODS, Method

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_WORDS = {"text": "string", "int": "integer", "num": "number", "bool": "boolean"}
_STATE = ("starting", "scanning", "syncing", "synced", "waiting", "paused", "stopped")
_COUNTED = {"files": "int", "bytes": "int"}
_PROBLEM = {"id": "text", "path": "text?", "why": "text", "try": "text?"}
_PEER = {
    "id": "text", "name": "text", "connected": "bool", "through": ["text"], "last_seen": "text?", "have_ratio": "num?",
    "role": "text?",
}  # fmt: skip
_FOLDER = {
    "id": "text", "name": "text", "path": "text", "role": "text?", "state": _STATE, "epoch": "int", "epoch_id": "text",
    **_COUNTED, "need": _COUNTED, "held": "int", "conflicts": "int", "requests": "int", "problems": [_PROBLEM],
    "peers": [_PEER], "recovery_keys": ["text"], "only_here": "int",
}  # fmt: skip
_SPEED = {"up": "int?", "down": "int?"}
_OF_FOLDER = {"folder": "text", "name": "text"}
_RULES = {
    "rules": ["text"],
    "problems": ["text"],
    "leave": "any",
    "enter": "any",
    "not_fetched": "any",
    "fetch": "any",
}
_DEVICE = {"id": "text", "name": "text", "words": "text"}
_MEMBER = {"id": "text", "name": "text", "role": "text"}
_EPOCH = {"epoch": "int", "epoch_id": "text"}
_REFUSAL = {"id": "text", "what": "text", "why": "text", "fix": "text"}
_CHECK = {"name": "text", "ok": "bool", "why": "text", "try": "text?", "id": "text?"}
_HOOK = {"kind": ("webhook", "command", "mail", "desktop"), "target": "text", "on": ["text"]}
_SHARE_LINK = {
    "id": "text", **_OF_FOLDER, "path": "text", "kind": ("file", "directory"), "made": "text", "expires": "text",
    "password": "bool", "most": "int?", "used": "int", "state": ("open", "rests", "used up", "ended"), "why": "text?",
}  # fmt: skip
_LINKS_AT = {"listen": ["text"], "addresses": ["text"], "fingerprint": "text?", "own_certificate": "bool"}
_CHANGED = {**_OF_FOLDER, "member": _MEMBER, **_EPOCH, "pending": ["text"]}

SHAPES: dict[str, Any] = {
    "syncd.status/1": {
        "version": "text",
        "device": _DEVICE,
        "in_sync": "bool",
        "folders": [_FOLDER],
        "problems": [_PROBLEM],
        "keys": {"locked": "bool", "passphrase": "bool", "warning": "text?"},
        "refused": {"count": "int", "hosts": "int", "most": "text?"},
        "transfer": {
            "received_bytes": "int",
            "sent_bytes": "int",
            "duplicate_bytes": "int",
            "blocks_fetched": "int",
            "receive_rate": "num",
            "send_rate": "num",
        },
    },
    "syncd.limits/1": {
        "now": _SPEED,
        "until": "text?",
        "always": _SPEED,
        "schedule": [{"window": "text", **_SPEED}],
        "only": [{"what": "text", **_SPEED}],
    },
    "syncd.wait/1": {
        "done": "bool",
        "waited_s": "num",
        "folders": [{"id": "text", "name": "text", "state": _STATE, "done": "bool", "need": _COUNTED, "why": "text?"}],
    },
    "syncd.folders/1": {
        "folders": [
            {
                "id": "text",
                "name": "text",
                "path": "text",
                "role": "text?",
                "state": _STATE,
                **_COUNTED,
                "epoch": "int",
                "members": "int",
            }
        ]
    },
    "syncd.ls/1": {
        **_OF_FOLDER,
        "path": "text",
        "peers": [{"id": "text", "name": "text", "connected": "bool", "have_ratio": "num?"}],
        "entries": [
            {
                "name": "text",
                "kind": "text",
                "bytes": "int?",
                "mtime": "text?",
                "state": "text",
                "peers": {"*": "bool?"},
            }
        ],
        "after": "text?",
    },
    "syncd.transfers/1": {
        "receive_rate": "num",
        "total": "int",
        "need_bytes": "int",
        "eta_s": "num?",
        "files": ["any"],
    },
    "syncd.traffic/1": {
        "span": "text",
        "step_s": "num",
        "began": "text",
        "peers": [{"id": "text", "name": "text", "received": ["num"], "sent": ["num"]}],
    },
    "syncd.folder/1": {
        **_FOLDER,
        "members": "int",
        "in_sync": "bool",
        "tls": {"cert": "text", "key": "text?", "sni": "text", "listen": ["text"], "pin": "text"},
        "roster": "text",
    },
    "syncd.folder.rescan/1": {**_OF_FOLDER, **_COUNTED},
    "syncd.folder.leave/1": {
        **_OF_FOLDER,
        "path": "text",
        **_COUNTED,
        "alone": "bool",
        "old_bytes": "int",
        "packed_bytes": "int",
        "only_here_since": "text?",
    },
    "syncd.folder.addresses/1": {**_OF_FOLDER, "rules": ["any"], "pending": ["text"]},
    "syncd.folder.decide/1": {"folder": "text"},
    "syncd.security/1": {"refusals": ["any"]},
    "syncd.rescue/1": {"address": "text", "config": "text?", "dry_run": "bool", "folders": ["any"]},
    "syncd.peers/1": {
        "peers": [
            {
                "id": "text",
                "name": "text",
                "words": "text",
                "folders": ["text"],
                "connected": "bool",
                "through": ["text"],
                "how": "text?",
                "address": "text?",
                "last_seen": "text?",
                "rtt_ms": "num?",
            }
        ]
    },
    "syncd.members/1": {
        **_OF_FOLDER,
        "members": [{**_MEMBER, "since": "text", "you": "bool", "devices": [_DEVICE]}],
    },
    "syncd.member.add/1": {**_OF_FOLDER, "added": ["text"], "known": "int", **_EPOCH, "pending": ["text"]},
    "syncd.member.change/1": _CHANGED,
    "syncd.member.remove/1": _CHANGED,
    "syncd.device.archive/1": {"folder": "text"},
    "syncd.lockdown/1": {},
    "syncd.recover/1": {},
    "syncd.rotate/1": {**_OF_FOLDER, "from": "int", **_EPOCH, "peers": [{"name": "text", "has": "bool"}]},
    "syncd.invites/1": {
        "invites": [
            {
                "id": "text",
                **_OF_FOLDER,
                "kind": ("code", "link"),
                "code": "text?",
                "role": "text",
                "uses_left": "int",
                "attempts_left": "int?",
                "opened": "text",
                "expires": "text",
            }
        ]
    },
    "syncd.invite.revoke/1": {},
    "syncd.link/1": {**_SHARE_LINK, "url": "text?", **_LINKS_AT},
    "syncd.links/1": {"links": [_SHARE_LINK], **_LINKS_AT},
    "syncd.link.revoke/1": _SHARE_LINK,
    "syncd.link.policy/1": {
        **_OF_FOLDER,
        "who": ("members", "all", "off"),
        "longest_s": "int",
        "you_may": "bool",
        "pending": ["text"],
    },
    "syncd.requests/1": {"requests": [{"id": "text", **_OF_FOLDER, "since": "text"}]},
    "syncd.approve/1": {"everywhere": "bool?"},
    "syncd.deny/1": {"not_restored": "int"},
    "syncd.share/1": {
        **_OF_FOLDER,
        "path": "text",
        "role": "text",
        "code": "text?",
        "link": "text?",
        "expires": "text?",
        "uses": "int?",
        **_COUNTED,
    },
    "syncd.join/1": {**_OF_FOLDER, "path": "text"},
    "syncd.conflicts/1": {"conflicts": [{**_OF_FOLDER, "path": "text"}]},
    "syncd.compare/1": {
        **_OF_FOLDER,
        "path": "text",
        "versions": [
            {
                "path": "text",
                "by": "text",
                "time": "text?",
                "bytes": "int",
                "hash": "text",
                "media": "text",
                "rows": "any",
            }
        ],
    },
    "syncd.explain/1": {
        **_OF_FOLDER,
        "path": "text",
        "state": "text",
        "id": "text?",
        "why": "text?",
        "try": "text?",
        "rule": "text?",
        "stays_here": ["text"],
        "not_here": ["text"],
        "peers": [{"name": "text", "connected": "bool", "through": ["text"], "has": "bool?"}],
    },
    "syncd.history/1": {
        **_OF_FOLDER,
        "path": "text",
        "versions": [
            {
                "id": "text",
                "time": "text?",
                "by": "text",
                "device": "text",
                "action": "text",
                "size": "int?",
                "current": "bool",
            }
        ],
    },
    "syncd.past/1": {**_OF_FOLDER, "path": "text"},
    "syncd.diff/1": {
        **_OF_FOLDER,
        "path": "text",
        "counts": {"*": "int"},
        "differences": [
            {"change": "text", "path": "text", "from": "text?", "by": "text", "size_before": "int?", "size": "int?"}
        ],
    },
    "syncd.search/1": {**_OF_FOLDER, "found": [{"path": "text", "exists": "bool"}]},
    "syncd.restore/1": {
        **_OF_FOLDER,
        "path": "text",
        "to": "text?",
        "counts": {"*": "int"},
        "bytes": "int",
        "from_peers": {"blocks": "int", "bytes": "int"},
        "missing_blocks": "int",
        "incomplete": ["text"],
        "differences": [{"change": "text", "path": "text"}],
        "estimate_s": "num?",
        "refused": [_REFUSAL],
        "dry_run": "bool",
        "undo": "text?",
    },
    "syncd.restore.remote/1": {
        **_OF_FOLDER,
        "path": "text",
        "device": {"id": "text", "name": "text"},
        "to": "text?",
        "files": "int",
        "bytes": "int",
        "said": "text",
    },
    "syncd.export/1": {
        **_OF_FOLDER,
        "to": "text",
        "form": ("directory", "tar", "store"),
        "names": "int",
        "bytes": "int",
        "missing_blocks": "int",
        "dry_run": "bool",
    },
    "syncd.exports/1": {**_OF_FOLDER, "exports": ["any"]},
    "syncd.undo/1": {
        **_OF_FOLDER,
        "names": "int",
        "deletes": "int",
        "bytes": "int",
        "refused": [_REFUSAL],
        "dry_run": "bool",
        "undo": "text?",
    },
    "syncd.undo.list/1": {**_OF_FOLDER, "deeds": ["any"]},
    "syncd.snapshots/1": {
        **_OF_FOLDER,
        "others": "int",
        "snapshots": [{"name": "text", "time": "text?", "made": "text?", "scheduled": "bool"}],
    },
    "syncd.changes/1": {
        **_OF_FOLDER,
        "path": "text",
        "bins": ["any"],
        "changes": [{"id": "text", "time": "text?", "by": "text"}],
    },
    "syncd.pause/1": {"until": "text?", "folders": [{"id": "text", "name": "text"}]},
    "syncd.resume/1": {"folders": [{"id": "text", "name": "text"}]},
    "syncd.folder.move/1": {**_OF_FOLDER, "from": "text", "path": "text", "moved": "bool"},
    "syncd.check/1": {"good": "bool", "folders": ["any"]},
    "syncd.resolve/1": {"folder": "text", "path": "text", "kept": "text", "undo": "text?"},
    "syncd.filter/1": {**_OF_FOLDER, **_RULES},
    "syncd.filter.change/1": {**_OF_FOLDER, "file": "text", "changed": "bool", **_RULES},
    "syncd.storage/1": {
        "folders": [
            {
                "id": "text",
                "name": "text",
                "path": "text",
                **_COUNTED,
                "plain": _COUNTED,
                "packs": {"packs": "int", "bytes": "int", "read_since": "text?"},
                "keep": "text",
                "always": "text",
                "space_bytes": "int?",
                "newest_snapshot": "text?",
                "newest_change": "text?",
                "database_bytes": "int",
                "days": [{"began": "text", "packs": "int"}],
                "free_bytes": "int?",
                "disk_bytes": "int?",
                "copies": [
                    {
                        "id": "text",
                        "name": "text",
                        "role": "text?",
                        "connected": "bool",
                        "whole_at": "text?",
                        "fresh": "bool",
                    }
                ],
                "level": ("good", "warn", "bad"),
                "why": "text",
            }
        ]
    },
    "syncd.audit/1": {
        "lines": "int",
        "wrong": "text?",
        "audit": [
            {
                "time": "text",
                "kind": ("event", "audit", "fault", "admin", "operator"),
                "actor": "text",
                "action": "text",
                "folder": "text?",
                "what": "text",
                "ok": "bool",
            }
        ],
        "total": "int",
        "days": ["any"],
    },
    "syncd.retention/1": {**_OF_FOLDER, "space_bytes": "int?", "copies": "int", "asked_copies": "int", "others": "int"},
    "syncd.prune/1": {
        **_OF_FOLDER,
        "versions": "int",
        "freed_bytes": "int",
        "copies": {
            "wanted": "int",
            "proved_blocks": "int",
            "oldest_proof": "text?",
            "kept_blocks": "int",
            "kept_bytes": "int",
            "why": "text",
            "promised_blocks": "int",
        },
        "dry_run": "bool",
    },
    "syncd.restore.here/1": {**_OF_FOLDER, "path": "text", "files": "int", "dry_run": "bool"},
    "syncd.scrub/1": {**_OF_FOLDER, "packs": "int", "bytes": "int"},
    "syncd.drill/1": {**_OF_FOLDER, "drill": "any", "why": "text?"},
    "syncd.key/1": {**_DEVICE, "keys": "text"},
    "syncd.key.backup/1": {
        "id": "text",
        "name": "text",
        "path": "text",
        "made": "text",
        "bytes": "int",
        "opens_with": ("passphrase", "recovery key"),
        "folders": [{"name": "text"}],
        "dry_run": "bool",
    },
    "syncd.key.list/1": {
        "folders": [
            {
                **_OF_FOLDER,
                "epoch": "int",
                "opened": "text",
                "age_days": "int",
                "valid_until": "text",
                "recovery_keys": ["text"],
                "holders": [
                    {
                        "member": "text",
                        "device": "text",
                        "id": "text",
                        "role": "text",
                        "since": "text",
                        "last_seen": "text?",
                        "connected": "bool",
                        "unused_days": "int?",
                        "unused": "bool",
                    }
                ],
            }
        ]
    },
    "syncd.key.lock/1": {
        "passphrase": "bool",
        "warning": "text",
        "recovery_key_here": "bool",
        "left_open": ["text"],
        "dry_run": "bool",
    },
    "syncd.key.unlock/1": {"unlocked": "bool"},
    "syncd.key.passphrase/1": {"passphrase": "bool", "warning": "text?", "dry_run": "bool"},
    "syncd.key.restore/1": {
        "id": "text",
        "home": "text",
        "made": "text",
        "config": "text?",
        "folders": [{"name": "text", "path": "text"}],
        "dry_run": "bool",
    },
    "syncd.service/1": {
        "action": ("install", "uninstall", "start", "stop", "restart", "allow"),
        "kind": ("systemd-user", "systemd-system", "launchd"),
        "name": "text",
        "path": "text",
        "installed": "bool",
        "enabled": "bool",
        "running": "bool",
        "said": ["text"],
    },
    "syncd.log/1": {"lines": ["text"]},
    "syncd.doctor/1": {"ok": "bool", "fixed": ["text"], "checks": [_CHECK]},
    "syncd.config/1": {
        "action": ("path", "show", "get", "set", "unset", "check", "edit"),
        "path": "text",
        "exists": "bool",
        "settings": [{"key": "text", "value": "any", "origin": ("default", "file")}],
    },
    "syncd.notify/1": {
        "action": ("add", "list", "remove", "test"),
        "hooks": [_HOOK],
        "told?": [{"target": "text", "why": "text?"}],
    },
    "syncd.db/1": {
        "action": ("check", "backup", "rollback", "vacuum"),
        "databases": [{"name": "text", "bytes?": "int", "format?": "int?", "why?": "text?", "kept?": "text?"}],
    },
    "syncd.completion/1": {"shell": "text?", "text": "text"},
    "syncd.stop/1": {"pid": "int"},
    "syncd.web/1": {"url": "text", "read_only": "bool"},
    "syncd.version/1": {"version": "text", "python": "text", "daemon": "any"},
    "syncd.help/1": {"topic": "text?", "text": "text"},
    "syncd.notification/1": {
        "event": "text",
        "text": "text",
        "try": "text",
        "device": "text",
        "time": "text",
    },
}

COMMANDS: dict[str, tuple[str, ...]] = {
    "share": ("syncd.share/1",),
    "join": ("syncd.join/1",),
    "status": ("syncd.status/1",),
    "wait": ("syncd.wait/1",),
    "folders": ("syncd.folders/1",),
    "ls": ("syncd.ls/1", "syncd.past/1"),
    "transfers": ("syncd.transfers/1",),
    "traffic": ("syncd.traffic/1",),
    "folder show": ("syncd.folder/1",),
    "folder rescan": ("syncd.folder.rescan/1",),
    "folder leave": ("syncd.folder.leave/1",),
    "folder addresses": ("syncd.folder.addresses/1",),
    "folder decide": ("syncd.folder.decide/1",),
    "security": ("syncd.security/1",),
    "peers": ("syncd.peers/1",),
    "members": ("syncd.members/1",),
    "member add": ("syncd.member.add/1",),
    "member role": ("syncd.member.change/1",),
    "member suspend": ("syncd.member.change/1",),
    "member reactivate": ("syncd.member.change/1",),
    "member expire": ("syncd.member.change/1",),
    "member remove": ("syncd.member.remove/1",),
    "device archive": ("syncd.device.archive/1",),
    "lockdown": ("syncd.lockdown/1",),
    "recover": ("syncd.recover/1",),
    "rescue": ("syncd.rescue/1",),
    "rotate": ("syncd.rotate/1",),
    "invites": ("syncd.invites/1",),
    "invite revoke": ("syncd.invite.revoke/1",),
    "link create": ("syncd.link/1",),
    "link list": ("syncd.links/1",),
    "link show": ("syncd.link/1",),
    "link revoke": ("syncd.link.revoke/1",),
    "link policy": ("syncd.link.policy/1",),
    "requests": ("syncd.requests/1",),
    "approve": ("syncd.approve/1",),
    "deny": ("syncd.deny/1",),
    "conflicts": ("syncd.conflicts/1",),
    "compare": ("syncd.compare/1",),
    "pause": ("syncd.pause/1",),
    "resume": ("syncd.resume/1",),
    "limits": ("syncd.limits/1",),
    "folder move": ("syncd.folder.move/1",),
    "check": ("syncd.check/1",),
    "resolve": ("syncd.resolve/1",),
    "changes": ("syncd.changes/1",),
    "storage list": ("syncd.storage/1",),
    "audit": ("syncd.audit/1",),
    "retention": ("syncd.retention/1",),
    "prune": ("syncd.prune/1",),
    "scrub": ("syncd.scrub/1",),
    "drill": ("syncd.drill/1",),
    **{f"filter {word}": ("syncd.filter/1",) for word in ("list", "test")},
    **{f"filter {word}": ("syncd.filter.change/1",) for word in ("add", "remove")},
    "history": ("syncd.history/1",),
    "diff": ("syncd.diff/1",),
    "search": ("syncd.search/1",),
    "restore": ("syncd.restore/1", "syncd.restore.remote/1", "syncd.restore.here/1"),
    "export": ("syncd.export/1", "syncd.exports/1"),
    "undo": ("syncd.undo/1", "syncd.undo.list/1"),
    **{f"snapshot {word}": ("syncd.snapshots/1",) for word in ("list", "add", "remove")},
    "explain": ("syncd.explain/1",),
    "key show": ("syncd.key/1",),
    "key backup": ("syncd.key.backup/1",),
    "key restore": ("syncd.key.restore/1",),
    "key list": ("syncd.key.list/1",),
    "key lock": ("syncd.key.lock/1",),
    "key unlock": ("syncd.key.unlock/1",),
    "key passphrase": ("syncd.key.passphrase/1",),
    "doctor": ("syncd.doctor/1",),
    "log": ("syncd.log/1",),
    "service logs": ("syncd.log/1",),
    "completion": ("syncd.completion/1",),
    "stop": ("syncd.stop/1",),
    "web": ("syncd.web/1",),
    "version": ("syncd.version/1",),
    "help": ("syncd.help/1",),
    "run": (),  # it prints its log, in the form of `[log] format`
    **{
        f"service {word}": ("syncd.service/1",)
        for word in ("install", "uninstall", "start", "stop", "restart", "allow")
    },
    **{f"config {word}": ("syncd.config/1",) for word in ("path", "show", "get", "set", "unset", "check", "edit")},
    **{f"notify {word}": ("syncd.notify/1",) for word in ("add", "list", "remove", "test")},
    **{f"db {word}": ("syncd.db/1",) for word in ("check", "backup", "rollback", "vacuum")},
}

_ERROR = {"error": {"id": "text", "what": "text", "why": "text", "try": "text", "exit": "int"}}


def document() -> dict[str, Any]:
    """All of it as one JSON Schema: `$defs` has the shapes by name, `x-commands` says which command prints which."""
    named = {name: _named(name, shape) for name, shape in SHAPES.items()}
    return {
        "$schema": DIALECT,
        "title": "What syncd prints with --json",
        "description": "On stdout one of these objects; on stderr, when it failed, an error. New fields may come.",
        "oneOf": [{"$ref": f"#/$defs/{name.replace('/', '~1')}"} for name in named],
        "$defs": {**named, "error": _schema(_ERROR)},
        "x-commands": {command: list(names) for command, names in sorted(COMMANDS.items()) if names},
        "x-methods": {name: _method(method) for name, method in sorted(METHODS.items())},
    }


def _method(method: Method) -> dict[str, Any]:
    """What the control socket takes for one method, for programs that ask it themselves."""
    return {"streams": method.streams, "params": {name: kind.name.lower() for name, kind in method.params.items()}}


def schema_of(name: str) -> dict[str, Any]:
    """The schema of one shape, usable by itself."""
    return {"$schema": DIALECT, **_named(name, SHAPES[name])}


def error_schema() -> dict[str, Any]:
    """The schema of the object on stderr."""
    return {"$schema": DIALECT, **_schema(_ERROR)}


def _named(name: str, shape: Any) -> dict[str, Any]:
    made = _schema(shape)
    made["properties"] = {"schema": {"const": name}, **made["properties"]}
    made["required"] = ["schema", *made["required"]]
    return made


def _schema(shape: Any) -> dict[str, Any]:
    match shape:
        case "any":
            return {}
        case str():
            kind = _WORDS[shape.removesuffix("?")]
            return {"type": [kind, "null"] if shape.endswith("?") else kind}
        case tuple():
            return {"enum": list(shape)}
        case list():
            return {"type": "array", "items": _schema(shape[0])}
        case {"*": value}:
            return {"type": "object", "additionalProperties": _schema(value)}
    return {
        "type": "object",
        "properties": {name.removesuffix("?"): _schema(value) for name, value in shape.items()},
        "required": [name for name in shape if not name.endswith("?")],
    }
