"""Blocking. The tree of commands. A command's module is imported when that command runs, not before.

Starting Python costs more than most commands do, so `syncd status` may load only what it needs; `TREE` therefore names
the functions instead of importing them. Typer's own use of rich is switched off in `plain`.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from ca.values import dataclass
from syncd.cli import session

Command = Any  # typer keeps the class of its commands private


@dataclass(frozen=True, slots=True)
class Leaf:
    """A command: the module below `syncd.cli` and the function in it."""

    module: str
    function: str


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


class _Commands(MutableMapping[str, Command]):
    """The commands of a group, each built when it is looked up."""

    def __init__(self, tree: Mapping[str, Leaf | Branch]) -> None:
        self._tree = dict(tree)
        self._built: dict[str, Command] = {}

    def __getitem__(self, name: str) -> Command:
        if name not in self._built:
            self._built[name] = _build(name, self._tree[name])
        return self._built[name]

    def __setitem__(self, name: str, command: Command) -> None:
        self._built[name] = command

    def __delitem__(self, name: str) -> None:
        del self._tree[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tree)

    def __len__(self) -> int:
        return len(self._tree)


class _Group(TyperGroup):
    """A group that lists its commands without building them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def get_params(self, ctx: Any) -> list[Any]:
        return [_spare_pydantic(parameter) for parameter in super().get_params(ctx)]


class _Command(TyperCommand):
    """A command whose text parameters are taken as they are."""

    def get_params(self, ctx: Any) -> list[Any]:
        return [_spare_pydantic(parameter) for parameter in super().get_params(ctx)]


def _spare_pydantic(parameter: Any) -> Any:
    """Take what is plain as it is: text, lists of text, numbers, and what was not given.

    Typer would convert even that with pydantic, whose import takes as long as all the rest of `syncd status`.
    """
    if "process_value" not in vars(parameter):
        parameter.process_value = functools.partial(_take, parameter, parameter.process_value)
    return parameter


def _take(parameter: Any, convert: Callable[..., Any], context: Any, value: Any) -> Any:
    """The value of a parameter; anything that is not plain, and every mistake, is left to typer."""
    found = _plain(parameter, value)
    if found is _NOT_PLAIN:
        return convert(context, value)
    return found if parameter.callback is None else parameter.callback(context, parameter, found)


_NOT_PLAIN = object()


def _plain(parameter: Any, value: Any) -> Any:
    kind = getattr(parameter.type_descriptor, "annotation", None)
    is_list = parameter.multiple or parameter.nargs == -1
    if value is None and not parameter.required and (is_list or parameter.nargs == 1):
        return () if is_list else None
    if kind is str and isinstance(value, str):
        return value
    if kind == list[str] and is_list and isinstance(value, (list, tuple)) and (value or not parameter.required):
        return list(value) if all(isinstance(one, str) for one in value) else _NOT_PLAIN
    if kind is int and isinstance(value, str) and _NUMBER.fullmatch(value):
        bounds = parameter.type_descriptor.parameter_info
        number = int(value)
        is_within = (bounds.min is None or bounds.min <= number) and (bounds.max is None or number <= bounds.max)
        return number if is_within else _NOT_PLAIN
    return _NOT_PLAIN


_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


def plain(**options: Any) -> typer.Typer:
    """A Typer application without rich, without its pretty tracebacks, and without options we did not name."""
    return typer.Typer(
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        **options,
    )


def build(root: Callable[..., None]) -> Command:
    """The whole tree under the callback `root`."""
    return _build_group("syncd", root, TREE, invoke_without_command=True)


def _build(name: str, entry: Leaf | Branch) -> Command:
    if isinstance(entry, Branch):
        return _build_group(name, session.group(entry.help), entry.leaves)
    function = getattr(importlib.import_module(f"syncd.cli.{entry.module}"), entry.function)
    app = plain()
    app.command(name, cls=_Command)(function)
    return typer.main.get_command(app)


def _build_group(
    name: str, callback: Callable[..., None], tree: Mapping[str, Leaf | Branch], **options: Any
) -> Command:
    app = plain(cls=_Group, name=name)
    app.callback(**options)(callback)
    built = cast(_Group, typer.main.get_command(app))
    built.commands = _Commands(tree)
    return built


HomeOption = Annotated[
    str | None, typer.Option("--home", metavar="DIR", help="Where keys, databases and the socket are (or SYNCD_HOME).")
]
SocketOption = Annotated[str | None, typer.Option("--socket", metavar="PATH", help="The control socket, if elsewhere.")]
VersionOption = Annotated[bool, typer.Option("--version", help="Print the version and end.")]
