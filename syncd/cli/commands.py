"""Blocking. Which commands there are. A command's module is imported when that command runs, not before.

Starting Python costs more than most commands do, so `syncd status` may load only what it needs; `TREE` therefore names
the functions instead of importing them.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from ca.values import dataclass
from syncd.cli.session import Command


@dataclass(frozen=True, slots=True)
class Leaf:
    """A command: the module below `syncd.cli` and the function in it."""

    module: str
    function: str

    def load(self) -> Command:
        """Import it."""
        found: Command = getattr(importlib.import_module(f"syncd.cli.{self.module}"), self.function)
        return found


@dataclass(frozen=True, slots=True)
class Branch:
    """A word that needs a second one, as in `folder show`."""

    help: str
    leaves: Mapping[str, Leaf]


TREE: Mapping[str, Leaf | Branch] = {
    "share": Leaf("share", "share"),
    "join": Leaf("join", "join"),
    "status": Leaf("status", "status"),
    "wait": Leaf("wait", "wait"),
    "folders": Leaf("folders", "folders"),
    "ls": Leaf("look", "ls"),
    "transfers": Leaf("look", "transfers"),
    "traffic": Leaf("look", "traffic"),
    "changes": Leaf("look", "changes"),
    "folder": Branch(
        "One folder: show, rescan, move, addresses, decide, leave.",
        {
            "show": Leaf("folders", "show"),
            "rescan": Leaf("folders", "rescan"),
            "move": Leaf("tending", "move"),
            "leave": Leaf("folders", "leave"),
            "addresses": Leaf("security", "addresses"),
            "decide": Leaf("emergency", "decide"),
        },
    ),
    "security": Leaf("security", "security"),
    "peers": Leaf("peers", "peers"),
    "members": Leaf("members", "members"),
    "member": Branch(
        "One member: add, role, suspend, reactivate, expire, remove.",
        {
            "add": Leaf("members", "add"),
            "role": Leaf("members", "role"),
            "suspend": Leaf("members", "suspend"),
            "reactivate": Leaf("members", "reactivate"),
            "expire": Leaf("members", "expire"),
            "remove": Leaf("members", "remove"),
        },
    ),
    "device": Branch("One device: archive.", {"archive": Leaf("emergency", "archive")}),
    "lockdown": Leaf("emergency", "lockdown"),
    "recover": Leaf("emergency", "recover"),
    "rescue": Leaf("rescue", "rescue"),
    "rotate": Leaf("members", "rotate"),
    "invites": Leaf("invites", "invites"),
    "invite": Branch("One invitation: revoke.", {"revoke": Leaf("invites", "revoke")}),
    "link": Branch(
        "Share links, for people outside the folder: create, list, show, revoke, policy.",
        {
            "create": Leaf("link", "create"),
            "list": Leaf("link", "listed"),
            "show": Leaf("link", "show"),
            "revoke": Leaf("link", "revoke"),
            "policy": Leaf("link", "policy"),
        },
    ),
    "requests": Leaf("requests", "requests"),
    "approve": Leaf("requests", "approve"),
    "deny": Leaf("requests", "deny"),
    "conflicts": Leaf("conflicts", "conflicts"),
    "compare": Leaf("compare", "compare"),
    "resolve": Leaf("tending", "resolve"),
    "pause": Leaf("tending", "pause"),
    "resume": Leaf("tending", "resume"),
    "limits": Leaf("limits", "limits"),
    "check": Leaf("tending", "check"),
    "filter": Branch(
        "What is left out of a folder: list, test, add, remove.",
        {
            "list": Leaf("filter", "rules"),
            "test": Leaf("filter", "test"),
            "add": Leaf("filter", "add"),
            "remove": Leaf("filter", "remove"),
        },
    ),
    "explain": Leaf("explain", "explain"),
    "history": Leaf("history", "history"),
    "diff": Leaf("history", "diff"),
    "search": Leaf("history", "search"),
    "restore": Leaf("restore", "restore"),
    "undo": Leaf("restore", "undo"),
    "export": Leaf("export", "export"),
    "storage": Branch("Where contents are kept: list.", {"list": Leaf("storage", "show")}),
    "audit": Leaf("audit", "audit"),
    "retention": Leaf("keep", "retention"),
    "prune": Leaf("keep", "prune"),
    "scrub": Leaf("keep", "scrub"),
    "drill": Leaf("keep", "drill"),
    "snapshot": Branch(
        "Moments with a name: list, add, remove.",
        {
            "list": Leaf("snapshots", "show"),
            "add": Leaf("snapshots", "add"),
            "remove": Leaf("snapshots", "remove"),
        },
    ),
    "key": Branch(
        "Keys of this device and of folders: show, list, backup, restore, lock, unlock, passphrase.",
        {
            "show": Leaf("key", "show"),
            "list": Leaf("key", "listed"),
            "backup": Leaf("key", "backup"),
            "restore": Leaf("key", "restore"),
            "lock": Leaf("custody", "lock"),
            "unlock": Leaf("custody", "unlock"),
            "passphrase": Leaf("custody", "passphrase"),
        },
    ),
    "service": Branch(
        "syncd as a service: install, uninstall, start, stop, restart, logs, allow.",
        {word: Leaf("service", word) for word in ("install", "uninstall", "start", "stop", "restart", "logs", "allow")},
    ),
    "doctor": Leaf("doctor", "doctor"),
    "config": Branch(
        "The settings: path, show, get, set, unset, check, edit.",
        {
            "path": Leaf("config", "where"),
            "show": Leaf("config", "show"),
            "get": Leaf("config", "get"),
            "set": Leaf("config", "put"),
            "unset": Leaf("config", "unset"),
            "check": Leaf("config", "check"),
            "edit": Leaf("config", "edit"),
        },
    ),
    "notify": Branch(
        "Whom to tell when something needs a person: add, list, remove, test.",
        {
            "add": Leaf("notify", "add"),
            "list": Leaf("notify", "show"),
            "remove": Leaf("notify", "remove"),
            "test": Leaf("notify", "test"),
        },
    ),
    "db": Branch(
        "The databases of this home: check, backup, rollback, vacuum.",
        {word: Leaf("db", word) for word in ("check", "backup", "rollback", "vacuum")},
    ),
    "completion": Leaf("completion", "completion"),
    "log": Leaf("log", "log"),
    "run": Leaf("run", "run"),
    "stop": Leaf("run", "stop"),
    "web": Leaf("web", "web"),
    "version": Leaf("version", "version"),
    "help": Leaf("help", "help"),
}
