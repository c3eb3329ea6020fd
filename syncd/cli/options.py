"""Pure. How a command says what it takes, before any library is loaded that reads it.

`Annotated[str | None, Option("--name", help="...")]`: `cli.parsing` understands the plain cases by itself, `cli.tree`
makes Typer's own declarations of them for all others, for `--help`, and for the manual.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

from ca.values import dataclass

REQUIRED: Final = object()


class Option:
    """What is given by name."""

    def __init__(
        self,
        name: str,
        *others: str,
        help: str | None = None,
        metavar: str | None = None,
        min: int | None = None,
        max: int | None = None,
    ) -> None:
        self.names = (name, *others)
        self.shown: dict[str, Any] = {"help": help, "metavar": metavar, "min": min, "max": max}


class Argument:
    """What is given by its place."""

    def __init__(
        self, *, help: str | None = None, metavar: str | None = None, min: int | None = None, max: int | None = None
    ) -> None:
        self.shown: dict[str, Any] = {"help": help, "metavar": metavar, "min": min, "max": max}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One thing that a command takes. `kind`: its type as annotated."""

    name: str
    kind: Any
    declared: Option | Argument
    default: Any = REQUIRED


def parameters_of(function: Callable[..., Any]) -> list[Parameter]:
    """What a command takes besides its session, which comes first."""
    code, defaults = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[1 : code.co_argcount]
    hints = get_type_hints(function, include_extras=True)
    values = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))
    return [_parameter(name, hints[name], values.get(name, REQUIRED)) for name in names]


def _parameter(name: str, hint: Any, default: Any) -> Parameter:
    if get_origin(hint) is not Annotated:
        raise TypeError(f"{name} says neither Option nor Argument")
    kind, declared = get_args(hint)
    return Parameter(name, kind, declared, default)
