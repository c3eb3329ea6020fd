"""Pure. Tables that people wrote (TOML), read into dataclasses whose fields say what may stand there.

A section is a dataclass; `takes` gives each of its fields the function that reads the value, and a default unless the
key is needed. Such a function takes whatever TOML yields and returns the value, or raises ValueError with what is
wrong. All faults of a table are found at once, each with its place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, Field, field, fields
from typing import Any, TypeVar

from ca.values import dataclass

Section = TypeVar("Section")
Value = TypeVar("Value")
Where = tuple[int | str, ...]
Read = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at one place: `("network", "listen", 0)`. `unknown`: there is no such key."""

    where: Where
    message: str
    unknown: bool = False


class Faults(ValueError):
    """Everything that is wrong with a value that consists of others, the first first."""

    def __init__(self, faults: Collection[Fault]) -> None:
        super().__init__("; ".join(fault.message for fault in faults))
        self.faults = tuple(faults)


def takes(read: Read, default: Any = MISSING) -> Any:
    """A field of a section."""
    return field(default=default, metadata={"read": read})


def default_of(kind: type, name: str) -> Any:
    """What holds where the key is missing."""
    (found,) = (one for one in _fields(kind) if one.name == name)
    return found.default


def keys_of(kind: Any) -> list[str]:
    return [one.name for one in _fields(kind)]


def section(kind: Callable[..., Section]) -> Callable[[Any], Section]:
    """Read a table into `kind`. A ValueError of its own `__post_init__` is a fault of the whole table."""

    def read(value: Any) -> Section:
        if not isinstance(value, dict):
            raise ValueError("this is not a table")
        found: dict[str, Any] = {}
        faults: list[Fault] = []
        for one in _fields(kind):
            if one.name in value:
                found[one.name] = _read(faults, one.name, one.metadata["read"], value[one.name])
            elif one.default is MISSING:
                faults.append(Fault((one.name,), "this key is needed"))
        faults += [Fault((name,), "this key is unknown", unknown=True) for name in value if name not in keys_of(kind)]
        if faults:
            raise Faults(faults)
        return kind(**found)

    return read


def list_of(
    read: Callable[[Any], Value], *, least: int = 0, most: int | None = None
) -> Callable[[Any], tuple[Value, ...]]:
    """A list, each entry of which `read` takes."""

    def read_list(value: Any) -> tuple[Value, ...]:
        if not isinstance(value, list):
            raise ValueError("this is not a list, as in [...]")
        if len(value) < least:
            raise ValueError("this list is empty")
        if most is not None and len(value) > most:
            raise ValueError(f"this list has {len(value)} entries, at most {most} are taken")
        faults: list[Fault] = []
        found = [_read(faults, number, read, entry) for number, entry in enumerate(value)]
        if faults:
            raise Faults(faults)
        return tuple(found)

    return read_list


def text(check: Callable[[str], Value]) -> Callable[[Any], Value]:
    """A text, as `check` returns it."""

    def read(value: Any) -> Value:
        if not isinstance(value, str):
            raise ValueError('this is not a text, as in "..."')
        return check(value)

    return read


def checked(check: Callable[[str], object]) -> Callable[[Any], str]:
    """A text as it is, if `check` takes it."""

    def read(value: str) -> str:
        check(value)
        return value

    return text(read)


def one_of(words: Collection[str]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"{value!r} is none of {', '.join(words)}")
        return value

    return read


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def section_by(name: str, kinds: Mapping[str, Callable[..., Section]]) -> Callable[[Any], Section]:
    """Read a table into the section that its key `name` names."""

    def read(value: Any) -> Section:
        kind = kinds.get(value[name]) if isinstance(value, dict) and isinstance(value.get(name), str) else None
        if kind is None:
            raise ValueError(f"{name} is none of {', '.join(kinds)}")
        return section(kind)(value)

    return read


def _read(faults: list[Fault], place: int | str, read: Read, value: Any) -> Any:
    """What `read` makes of a value; what is wrong with it joins `faults`, and then nobody uses the answer."""
    try:
        return read(value)
    except Faults as error:
        faults += [Fault((place, *fault.where), fault.message, fault.unknown) for fault in error.faults]
    except ValueError as error:
        faults.append(Fault((place,), str(error)))
    return None


def _fields(kind: Any) -> tuple[Field[Any], ...]:
    return fields(kind)
