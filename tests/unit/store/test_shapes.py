"""Rows that a member may shape as it likes: twice as many of them take about twice the work, never four times."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import islice

import pytest

from syncd.model.ids import ROOT_NODE, NodeId, version_id
from syncd.model.join import Stamp
from syncd.model.naming import Child, _conflict_names
from syncd.model.records import DELETED, DIRECTORY, Attributes, Content, Place, Record
from syncd.store.survey import Survey
from tests.helpers.model_values import file_with, node_id
from tests.property.test_rows import AUTHORS, Batch, Rows

FEW = 150
VM_STEPS = 10
"""Of SQLite's machine, counted as one call of Python."""


def at(number: int) -> NodeId:
    return node_id(number) if number else ROOT_NODE


def there(number: int, parent: int, content: Content = DIRECTORY, name: bytes | None = None) -> Record:
    return Record(node_id(number), content, (), Place(at(parent), name or b"%d" % number), (), None, ())


def moved(number: int, parent: int) -> Record:
    return Record(node_id(number), None, (), Place(at(parent), b"moved"), (), None, ())


def moved_chain(size: int) -> list[list[Record]]:
    """Each directory in the one before, and each moved within that; two others are moved into each other."""
    one, other = size + 1, size + 2
    return [
        [there(number, number - 1) for number in range(1, size + 1)],
        [moved(number, number - 1) for number in range(1, size + 1)],
        [there(one, 0), there(other, 0), there(size + 3, one), there(size + 4, other)],
        [moved(one, other), moved(other, one)],
        [moved(size + 3, other)],
    ]


def files_in_files(size: int) -> list[list[Record]]:
    return [[there(number, number - 1, file_with(1)) for number in range(1, size + 1)], [there(size + 1, size)]]


def nowhere(size: int) -> list[list[Record]]:
    """Nodes that nobody gave a place."""
    return [[Record(node_id(number), DIRECTORY, (), None, (), Attributes(0o755, None), ()) for number in range(size)]]


def one_name(size: int) -> list[list[Record]]:
    return [[there(number, 0, file_with(1), b"same") for number in range(1, size + 1)]]


def taken_names(size: int) -> list[list[Record]]:
    """Two files of one name, and others at all the names that the later of them could have instead."""
    stamp = Stamp(1, Batch(1, 0, 1, ()).device, 1, version_id(Batch(1, 0, 1, ()).hash, 1), AUTHORS[0])
    later = Child(node_id(2), None, b"same", False, stamp)
    names = islice(_conflict_names(later), size)
    return [
        [there(number, 0, file_with(1), b"same") for number in (1, 2)],
        [there(3 + number, 0, file_with(1), name) for number, name in enumerate(names)],
    ]


def dead_chain(size: int) -> list[list[Record]]:
    """Deleted directories, the innermost told first."""
    return [[there(number, number + 1 if number < size else 0, DELETED) for number in range(1, size + 1)]]


def work(shape: Callable[[int], list[list[Record]]], size: int) -> int:
    """Calls of Python and steps of SQLite that it takes to join these and to look at all of them once."""
    rows = Rows()
    done = 0

    def count(*_: object) -> None:
        nonlocal done
        done += 1

    batches: Sequence[Sequence[Record]] = shape(size)
    rows.connection.set_progress_handler(count, VM_STEPS)
    sys.setprofile(count)
    try:
        for number, records in enumerate(batches, 1):
            rows.join(number, Batch(number, 0, number, tuple(records)))
        Survey(rows.connection, rows.sources).cases(0, 10 * size, 0.0)
    finally:
        sys.setprofile(None)
    return done


@pytest.mark.parametrize("shape", [moved_chain, files_in_files, nowhere, one_name, taken_names, dead_chain])
def test_twice_as_much_takes_twice_the_work(shape: Callable[[int], list[list[Record]]]) -> None:
    work(shape, 3)
    few, many = work(shape, FEW), work(shape, 2 * FEW)
    assert many < 2.5 * few, f"{few} and {many}"
