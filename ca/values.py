"""Pure. `dataclass`, as Python's own, but its methods are written when they are first called.

Python writes and compiles six methods for a frozen dataclass at the moment its module is loaded. Of four hundred
classes a daemon needs most never, and that writing was a third of the processor time of its start. Here a class gets
short methods that replace themselves when they are called for the first time. Which fields there are, slots and
`match` is still decided by Python's own `dataclasses`, and its `field`, `fields`, `replace` and `asdict` work as ever
(`InitVar` does not: nobody uses it). For mypy this is that decorator. A test holds that both behave alike.

What is written also fills slots through their descriptors and not by `object.__setattr__`, which takes two thirds of
the time: frozen objects are made by ten thousands here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, eq=True, repr=True, slots=False, order=False):
        """Make a class a dataclass; the arguments are those of `dataclasses.dataclass`."""

        def decorate(cls: type) -> type:
            if order:
                return dataclasses.dataclass(cls, frozen=frozen, eq=eq, repr=repr, slots=slots, order=order)
            return _dress(cls, frozen, eq, repr, slots)

        return decorate if cls is None else decorate(cls)


Method = Callable[..., Any]


def _dress(cls: Any, frozen: bool, eq: bool, repr: bool, slots: bool) -> Any:
    own = set(cls.__dict__)
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
    _later(made, own, "__init__", _write_init)
    if repr:
        _later(made, own, "__repr__", _write_repr)
    if eq:
        _later(made, own, "__eq__", _write_eq)
        if (
            cls.__dict__.get("__hash__") is None
        ):  # it brought none, or Python put None there beside an __eq__ it brought
            if frozen:
                _later(made, own - {"__hash__"}, "__hash__", _write_hash)
            else:
                made.__hash__ = None
    if frozen:
        _freeze(made, slots)
    return made


def _later(cls: type, own: set[str], name: str, write: Callable[[type], Method]) -> None:
    """Give a class a method that is written when it is first called, unless it has brought one itself."""
    if name in own:
        return

    def first(self: object, *arguments: Any, **named: Any) -> Any:
        method = write(cls)
        method.__qualname__ = f"{cls.__qualname__}.{name}"
        setattr(cls, name, method)
        return method(self, *arguments, **named)

    first.__qualname__ = f"{cls.__qualname__}.{name}"
    setattr(cls, name, first)


def _compile(text: str, names: dict[str, Any]) -> Method:
    exec(text, names)
    method: Method = names["method"]
    return method


def _write_init(cls: type) -> Method:
    """`__init__`: arguments in the order of the fields, defaults, and at last `__post_init__`."""
    names: dict[str, Any] = {"MISSING": dataclasses.MISSING}
    arguments: list[str] = ["self"]
    named_only: list[str] = []
    lines: list[str] = []
    for number, field in enumerate(dataclasses.fields(cls)):
        value = field.name
        if field.default_factory is not dataclasses.MISSING:
            names[f"factory{number}"] = field.default_factory
            default, made = "=MISSING", f"factory{number}()"
            value = f"{made} if {field.name} is MISSING else {field.name}" if field.init else made
        elif field.default is not dataclasses.MISSING:
            names[f"default{number}"] = field.default
            default = f"=default{number}"
            value = field.name if field.init else f"default{number}"
        else:
            default = ""
            if not field.init:
                continue  # `__post_init__` sets it
        if field.init:
            (named_only if field.kw_only else arguments).append(f"{field.name}{default}")
        lines.append(_assignment(cls, names, number, field.name, value))
    if hasattr(cls, "__post_init__"):
        lines.append(" self.__post_init__()")
    if named_only:
        arguments += ["*", *named_only]
    return _compile(f"def method({', '.join(arguments)}):\n" + ("\n".join(lines) or " pass"), names)


def _assignment(cls: Any, names: dict[str, Any], number: int, name: str, value: str) -> str:
    """Fill a slot by its descriptor, and what is no slot past a `__setattr__` that refuses."""
    if cls.__setattr__ is object.__setattr__:
        return f" self.{name} = {value}"
    slot: Any = getattr(cls, name, None)
    if type(slot) is _SLOT:
        names[f"set{number}"] = slot.__set__
        return f" set{number}(self, {value})"
    names["set_any"] = object.__setattr__
    return f" set_any(self, {name!r}, {value})"


class _Slotted:
    __slots__ = ("slot",)


_SLOT = type(_Slotted.__dict__["slot"])


def _tuple_of(cls: type, owner: str) -> str:
    """`(self.a, self.b,)`: the fields by which two objects are compared."""
    return "(" + "".join(f"{owner}.{field.name}," for field in dataclasses.fields(cls) if field.compare) + ")"


def _write_eq(cls: type) -> Method:
    mine, other = _tuple_of(cls, "self"), _tuple_of(cls, "other")
    text = f" if other.__class__ is self.__class__:\n  return {mine} == {other}\n return NotImplemented"
    return _compile(f"def method(self, other):\n{text}", {})


def _write_hash(cls: type) -> Method:
    named = [field for field in dataclasses.fields(cls) if (field.compare if field.hash is None else field.hash)]
    values = "".join(f"self.{field.name}," for field in named)
    return _compile(f"def method(self):\n return hash(({values}))", {})


def _write_repr(cls: type) -> Method:
    shown = ", ".join(f"{field.name}={{self.{field.name}!r}}" for field in dataclasses.fields(cls) if field.repr)
    return _compile(f"def method(self):\n return f'{{self.__class__.__qualname__}}({shown})'", {})


def _freeze(cls: Any, slots: bool) -> None:
    """Refuse every change after `__init__`; copies and pickles still come about."""
    fields = frozenset(field.name for field in dataclasses.fields(cls))

    def refuse_to_set(self: object, name: str, value: object) -> None:
        if type(self) is cls or name in fields:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def refuse_to_delete(self: object, name: str) -> None:
        if type(self) is cls or name in fields:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    cls.__setattr__, cls.__delattr__ = refuse_to_set, refuse_to_delete
    if slots:
        cls.__getstate__, cls.__setstate__ = _state, _set_state


def _state(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)
