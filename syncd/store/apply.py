"""Blocking. Carrying out a plan on the user's disk, in the order that loses nothing.

Order for what has content (docs/storage.md): intents are committed, contents staged and verified, one flush, then each
staged file is created (never over anything) or exchanged with what stands there, directories are flushed, and only then
the rows say that it is synced and the intents go. What was exchanged away or retired lies in `.syncd/old` and is
compared with what the row expected: any difference is a local edit and is published as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from syncd.engine.plan import MakeDir, Move, Park, RemoveDir, Retire
from syncd.seams import Tree
from syncd.store.prepare import Step, Want, What
from syncd.treetypes import Attributes, Kind, NotThere, Replaced, Stat, TreeError


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a step or want. `outcome`: a stat, what was replaced, None for something removed, or an error."""

    of: Step | Want
    outcome: Stat | Replaced | TreeError | None


def execute(tree: Tree, steps: Sequence[Step]) -> list[Done]:
    """Carry out steps one after the other; one that fails does not keep the others from being tried."""
    done = []
    for step in steps:
        try:
            outcome: Stat | Replaced | TreeError | None = _execute(tree, step)
        except TreeError as error:
            outcome = error
        done.append(Done(step, outcome))
    return done


def _execute(tree: Tree, step: Step) -> Stat | Replaced | None:
    operation = step.operation
    expected = step.expected
    if isinstance(operation, MakeDir):
        return tree.make_dir(step.path, step.mode)
    assert expected is not None
    if step.from_parked is not None:
        if isinstance(operation, Move):
            return tree.unpark(step.from_parked, step.target)
        raise NotThere("it is parked between two names", step.path)
    if isinstance(operation, Move):
        return tree.move(step.path, step.target, expected)
    if isinstance(operation, Park):
        return tree.park(step.path, step.token, expected)
    if isinstance(operation, Retire):
        return tree.retire(step.path, step.token, expected)
    if isinstance(operation, RemoveDir):
        tree.remove_dir(step.path)
        return None
    mode = None if step.mode < 0 else step.mode
    mtime = step.mtime_ns if expected.kind is Kind.FILE else None
    return tree.set_attributes(step.path, Attributes(mode, mtime), expected)


def put_in_place(tree: Tree, wants: Sequence[Want]) -> list[Done]:
    """Give staged contents their names; then flush the directories they are in."""
    creations = [want for want in wants if want.what is not What.REPLACE]
    replacements = [want for want in wants if want.what is What.REPLACE]
    done: list[Done] = []
    created = tree.create_many([(want.token, want.path) for want in creations])
    done += [Done(want, outcome) for want, outcome in zip(creations, created, strict=True)]
    triples = [(want.token, want.path, want.expected) for want in replacements if want.expected is not None]
    replaced = tree.exchange_many(triples)
    done += [Done(want, outcome) for want, outcome in zip(replacements, replaced, strict=True)]
    tree.flush_dirs(sorted({want.path[:-1] for want in wants}))
    return done
