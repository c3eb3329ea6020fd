"""Blocking. The tree of commands as Typer has it: for what `cli.parsing` leaves to it, for help and for the manual.

A command is built when it is looked up. Typer's own use of rich is switched off in `plain`.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from syncd.cli import session
from syncd.cli.commands import TREE, Branch, Leaf
from syncd.cli.options import REQUIRED, Argument, Parameter, parameters_of

Built = Any  # typer keeps the class of its commands private


class _Commands(MutableMapping[str, Built]):
    """The commands of a group, each built when it is looked up."""

    def __init__(self, tree: Mapping[str, Leaf | Branch]) -> None:
        self._tree = dict(tree)
        self._built: dict[str, Built] = {}

    def __getitem__(self, name: str) -> Built:
        if name not in self._built:
            self._built[name] = _build(name, self._tree[name])
        return self._built[name]

    def __setitem__(self, name: str, command: Built) -> None:
        self._built[name] = command

    def __delitem__(self, name: str) -> None:
        del self._tree[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tree)

    def __len__(self) -> int:
        return len(self._tree)


_UNCUT = 1000


class _Group(TyperGroup):
    """A group that lists its commands without building them."""

    def get_short_help_str(self, limit: int = 0) -> str:
        """All of its first sentence."""
        return super().get_short_help_str(_UNCUT)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def get_params(self, ctx: Any) -> list[Any]:
        return [_spare_pydantic(parameter) for parameter in super().get_params(ctx)]


class _Command(TyperCommand):
    """A command whose text parameters are taken as they are."""

    def get_short_help_str(self, limit: int = 0) -> str:
        """All of its first sentence: where that is too long for the line it goes on in the next."""
        return super().get_short_help_str(_UNCUT)

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


def build(root: Callable[..., None]) -> Built:
    """The whole tree under the callback `root`."""
    return _build_group("syncd", root, TREE, invoke_without_command=True)


def _build(name: str, entry: Leaf | Branch) -> Built:
    if isinstance(entry, Branch):
        return _build_group(name, _group(entry.help), entry.leaves)
    app = plain()
    app.command(name, cls=_Command)(_runs(entry.load()))
    return typer.main.get_command(app)


def _runs(command: session.Command) -> Callable[..., int | None]:
    """What Typer calls for a command."""

    def run(context: typer.Context, **values: Any) -> int | None:
        return command.run(context.obj, context.command_path, values)

    run.__name__, run.__doc__ = command.function.__name__, command.function.__doc__
    return with_flags(run, parameters_of(command.function), dry_run=command.dry_run)


def _group(help: str) -> Callable[..., None]:
    """What Typer calls for a group such as `folder`: it only collects flags that stand in front of its command."""

    def collect(context: typer.Context, **values: Any) -> None:
        given: session.Context = context.obj
        context.obj = session.Context(given.place, given.flags.merged(session.take_flags(values)))

    collect.__doc__ = help
    return with_flags(collect, ())


def with_flags(function: Callable[..., Any], own: Sequence[Parameter], *, dry_run: bool = True) -> Callable[..., Any]:
    """Give `function(context, **values)` the signature that typer reads: its own parameters, then the global flags.

    A command without `dry_run` takes that flag only to say that it has none, so no help offers it.
    """
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    flags = (_read_by_typer(flag, is_hidden=not dry_run and flag.name == "dry_run") for flag in session.GLOBAL_FLAGS)
    parameters = [context, *map(_read_by_typer, own), *flags]
    vars(function)["__signature__"] = inspect.Signature(parameters)
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return function


def _read_by_typer(parameter: Parameter, *, is_hidden: bool = False) -> inspect.Parameter:
    declared = parameter.declared
    shown = {**declared.shown, "hidden": is_hidden}
    info = typer.Argument(**shown) if isinstance(declared, Argument) else typer.Option(*declared.names, **shown)
    default = inspect.Parameter.empty if parameter.default is REQUIRED else parameter.default
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(parameter.name, kind, default=default, annotation=Annotated[parameter.kind, info])


def _build_group(name: str, callback: Callable[..., None], tree: Mapping[str, Leaf | Branch], **options: Any) -> Built:
    app = plain(cls=_Group, name=name)
    app.callback(**options)(callback)
    built = cast(_Group, typer.main.get_command(app))
    built.commands = _Commands(tree)
    return built
