"""`ca.values.dataclass` behaves as Python's own: beside it, and for every class of the project."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
import pickle
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

import ca
import syncd
from ca import values

Maker = Callable[..., Any]
MAKERS = pytest.mark.parametrize("maker", [dataclasses.dataclass, values.dataclass], ids=["python", "ours"])


def make(maker: Maker) -> tuple[Any, Any, Any]:
    """A frozen class, one that can be changed, and one derived from the first."""

    @maker(frozen=True, slots=True)
    class Frozen:
        """For the test."""

        number: int
        text: str = "some"
        seen: list[int] = dataclasses.field(default_factory=list, compare=False)
        hidden: int = dataclasses.field(default=1, repr=False, compare=False)
        later: int = dataclasses.field(init=False)
        constant: ClassVar[int] = 5

        def __post_init__(self) -> None:
            object.__setattr__(self, "later", self.number + 1)

    @maker(slots=True)
    class Open:
        """For the test."""

        number: int = 3
        named: int = dataclasses.field(default=4, kw_only=True)

    @maker(frozen=True, slots=True)
    class Derived(Frozen):
        """For the test."""

        more: str = "more"

    return Frozen, Open, Derived


@MAKERS
def test_fields_are_filled_in_their_order_from_arguments_defaults_and_factories(maker: Maker) -> None:
    frozen, open_, derived = make(maker)
    made = frozen(1)
    assert (made.number, made.text, made.seen, made.hidden, made.later, made.constant) == (1, "some", [], 1, 2, 5)
    assert frozen(1).seen is not frozen(1).seen
    assert (open_().named, open_(7, named=8).named) == (4, 8)
    assert derived(1, "a", [], 2, "end").more == "end"
    for cls, arguments, named in ((frozen, (), {}), (frozen, (1, 2, 3, 4, 5), {}), (frozen, (1,), {"later": 2})):
        with pytest.raises(TypeError):
            cls(*arguments, **named)
    with pytest.raises(TypeError):
        open_(1, 2)


@MAKERS
def test_equal_is_what_has_equal_fields_and_the_same_class(maker: Maker) -> None:
    frozen, open_, derived = make(maker)
    assert frozen(1, seen=[1]) == frozen(1, seen=[2]) and hash(frozen(1, seen=[1])) == hash(frozen(1))
    assert frozen(1) != frozen(2) and frozen(1) != derived(1) and frozen(1) != (1, "some")
    with pytest.raises(TypeError, match="unhashable"):
        hash(open_())


@MAKERS
def test_nothing_frozen_can_be_changed(maker: Maker) -> None:
    frozen, open_, derived = make(maker)
    for one in (frozen(1), derived(1)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            one.number = 2
        with pytest.raises(dataclasses.FrozenInstanceError):
            del one.number
        assert one.number == 1
    changed = open_()
    changed.number = 9
    assert changed == open_(9)
    with pytest.raises(AttributeError):
        changed.other = 1


@MAKERS
def test_it_is_shown_matched_copied_and_replaced(maker: Maker) -> None:
    frozen, _, derived = make(maker)
    assert repr(frozen(1)).endswith("Frozen(number=1, text='some', seen=[], later=2)")
    assert repr(derived(1)).endswith("Derived(number=1, text='some', seen=[], later=2, more='more')")
    match frozen(4):
        case frozen(number, text):
            assert (number, text) == (4, "some")
    assert dataclasses.replace(frozen(1), number=5).later == 6
    assert dataclasses.asdict(frozen(1))["seen"] == []
    assert copy.copy(frozen(1)) == frozen(1) == copy.deepcopy(frozen(1))


@values.dataclass(frozen=True, slots=True)
class Pickled:
    """For the test below."""

    number: int


def test_pickles_come_back() -> None:
    assert pickle.loads(pickle.dumps(Pickled(3))) == Pickled(3)


def test_a_class_keeps_the_methods_it_brings() -> None:
    @values.dataclass(frozen=True, slots=True)
    class Own:
        """For the test."""

        number: int

        def __repr__(self) -> str:
            return "own"

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 7

    assert (repr(Own(1)), Own(1) == Own(2), hash(Own(1))) == ("own", True, 7)


def every_class() -> Iterator[type]:
    """The dataclasses of all modules."""
    for package in (ca, syncd):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.endswith("__main__"):
                continue
            module = importlib.import_module(found.name)
            for thing in vars(module).values():
                if inspect.isclass(thing) and thing.__module__ == found.name and dataclasses.is_dataclass(thing):
                    yield thing


def test_every_class_of_the_project_takes_the_arguments_that_python_would_take() -> None:
    classes = list(every_class())
    assert len(classes) > 300
    for cls in classes:
        if vars(cls)["__init__"].__code__.co_filename == sys.modules[cls.__module__].__file__:
            continue  # it has brought its own
        theirs = dataclasses.make_dataclass("Theirs", [(field.name, Any, again(field)) for field in fields_of(cls)])
        mine = list(inspect.signature(values._write_init(cls)).parameters.values())[1:]
        expected = list(inspect.signature(theirs).parameters.values())
        assert [one.name for one in mine] == [one.name for one in expected], cls
        assert [one.default is one.empty for one in mine] == [one.default is one.empty for one in expected], cls


def fields_of(cls: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(cls)


def again(field: dataclasses.Field[Any]) -> Any:
    """The same field for another class."""
    given: dict[str, Any] = {"init": field.init, "kw_only": field.kw_only}
    if field.default_factory is not dataclasses.MISSING:
        given["default_factory"] = field.default_factory
    elif field.default is not dataclasses.MISSING:
        given["default"] = field.default
    return dataclasses.field(**given)


def test_no_module_makes_classes_by_pythons_own_decorator() -> None:
    """Theirs cannot derive from ours, and cost the time that ours save."""
    own = Path(values.__file__)
    sources = [path for package in (ca, syncd) for path in Path(package.__path__[0]).rglob("*.py") if path != own]
    assert len(sources) > 300
    assert [
        path.name for path in sources if re.search(r"from dataclasses import .*\bdataclass\b", path.read_text())
    ] == []
