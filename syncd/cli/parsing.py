"""Blocking. A command line that is plainly right is understood here, without the library that knows all the others.

Loading Typer and building its commands takes longer than most commands do. What scripts and people mostly type needs
none of that: words of the tree, options by their full names with a value, and arguments. Whatever else there is
(mistakes, `--help`, `-qv`, `--`, a value that begins with a dash) is left to Typer whole, so that there is one who says
what is wrong. Both understand the same; a test compares them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from syncd.cli.commands import TREE, Branch
from syncd.cli.options import REQUIRED, Argument, Option, Parameter, parameters_of
from syncd.cli.session import GLOBAL_FLAGS, PLACE_FLAGS, Context, place_of, take_flags

Entry = TypeVar("Entry")

_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_LISTS = (list[str], list[str] | None)
_TEXTS = (str, str | None)
_NUMBERS = (int, int | None)
PLAIN_KINDS = (bool, *_LISTS, *_TEXTS, *_NUMBERS)


class _NotPlain(Exception):
    """Typer has to look at that."""


def understood(arguments: Sequence[str]) -> Callable[[], int | None] | None:
    """What to run; None where Typer has to be asked."""
    words = list(arguments)
    try:
        return _understood(words)
    except _NotPlain:
        return None


def _understood(words: list[str]) -> Callable[[], int | None]:
    given, _ = _read(words, (*PLACE_FLAGS, *GLOBAL_FLAGS), stops=True)
    flags = take_flags(given)
    name, entry = _next(words, TREE)
    path = f"syncd {name}"
    if isinstance(entry, Branch):
        before, _ = _read(words, GLOBAL_FLAGS, stops=True)
        flags = flags.merged(take_flags(before))
        name, leaf = _next(words, entry.leaves)
        path = f"{path} {name}"
    else:
        leaf = entry
    command = leaf.load()
    own = parameters_of(command.function)
    values, rest = _read(words, (*own, *GLOBAL_FLAGS), stops=False)
    values |= _places([one for one in own if isinstance(one.declared, Argument)], rest)
    context = Context(place_of(given.get("home"), given.get("socket")), flags)
    return partial(command.run, context, path, _completed(own, values))


def _next(words: list[str], tree: Mapping[str, Entry]) -> tuple[str, Entry]:
    if not words or words[0] not in tree:
        raise _NotPlain
    name = words.pop(0)
    return name, tree[name]


def _read(words: list[str], parameters: Sequence[Parameter], *, stops: bool) -> tuple[dict[str, Any], list[str]]:
    """(options by the names of their parameters, all other words). `stops`: at the first other word, which is left."""
    known = {
        name: parameter
        for parameter in parameters
        if isinstance(parameter.declared, Option)
        for name in parameter.declared.names
    }
    given: dict[str, Any] = {}
    others: list[str] = []
    while words and not (stops and not words[0].startswith("-")):
        word = words.pop(0)
        if not word.startswith("-"):
            others.append(word)
            continue
        name, sign, value = word.partition("=")
        parameter = known.get(name)
        if parameter is None:
            raise _NotPlain
        if parameter.kind is bool:
            if sign:
                raise _NotPlain
            given[parameter.name] = True
            continue
        if not sign and words:
            value = words.pop(0)
        _note(given, parameter, value)
    return given, others


def _note(given: dict[str, Any], parameter: Parameter, value: str) -> None:
    if not value or value.startswith("-"):
        raise _NotPlain
    if parameter.kind in _LISTS:
        given.setdefault(parameter.name, []).append(value)
    elif parameter.name in given:
        raise _NotPlain
    else:
        given[parameter.name] = _value(parameter, value)


def _value(parameter: Parameter, value: str) -> Any:
    if parameter.kind in _TEXTS:
        return value
    if parameter.kind not in _NUMBERS or not _NUMBER.fullmatch(value):
        raise _NotPlain
    number, least, most = int(value), parameter.declared.shown["min"], parameter.declared.shown["max"]
    if (least is not None and number < least) or (most is not None and number > most):
        raise _NotPlain
    return number


def _places(arguments: Sequence[Parameter], words: list[str]) -> dict[str, Any]:
    """The words that are no options, each to its argument; a list takes all that are left."""
    given: dict[str, Any] = {}
    for argument in arguments:
        if not words:
            break
        if argument.kind in _LISTS:
            if argument is not arguments[-1]:
                raise _NotPlain
            given[argument.name], words = words, []
        else:
            given[argument.name] = _value(argument, words.pop(0))
    if words or "" in given.values():
        raise _NotPlain
    return given


def _completed(own: Sequence[Parameter], values: dict[str, Any]) -> dict[str, Any]:
    """With the defaults of what was not given."""
    for parameter in own:
        if parameter.kind not in PLAIN_KINDS:
            raise _NotPlain
        if parameter.name not in values:
            if parameter.default is REQUIRED:
                raise _NotPlain
            values[parameter.name] = parameter.default
    return values
