"""Blocking. Carrying out a plan on the user's disk, in the order that loses nothing.

Order for what has content (docs/storage.md): intents are committed, contents staged and verified, one flush, then each
staged file is created (never over anything) or exchanged with what stands there, directories are flushed, and only then
the rows say that it is synced and the intents go. What was exchanged away or retired lies in `.syncd/old` and is
compared with what the row expected: any difference is a local edit and is published as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TypeAlias

from ca.values import dataclass
from syncd.engine.plan import MakeDir, Move, Park, RemoveDir, Retire
from syncd.model.xattrs import merge, pack, portable, unpack
from syncd.seams import Tree
from syncd.store.prepare import Step, Want, What
from syncd.store.rows import FILE
from syncd.treetypes import (
    ABSENT,
    Attributes,
    Displaced,
    IoFailed,
    Kind,
    NoSpace,
    NotThere,
    Path,
    Replaced,
    Stat,
    TreeError,
    show_path,
)


@dataclass(frozen=True, slots=True)
class Dressed:
    """An object that was given attributes. `held`: of the extended ones, those that stand there now, as a column;
    `is_whole`: these are all that it was to have, and nothing else."""

    stat: Stat
    held: bytes | None
    is_whole: bool


Outcome: TypeAlias = Stat | Replaced | Dressed | None


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a step or want. `outcome`: a stat, what was replaced, None for something removed, or an error."""

    of: Step | Want
    outcome: Outcome | TreeError


def execute(tree: Tree, steps: Sequence[Step]) -> list[Done]:
    """Carry out steps one after the other; one that fails does not keep the others from being tried.

    Raises TreeError if the disk does not say where something went that was done: what was written down tells then."""
    done: list[Done] = []
    for is_retired, grouped in groupby(steps, _is_plainly_retired):
        run = list(grouped)
        done += _retire(tree, run) if is_retired else [_attempt(tree, step) for step in run]
    return done


def _is_plainly_retired(step: Step) -> bool:
    return isinstance(step.operation, Retire) and step.from_parked is None and step.directory is None


def _retire(tree: Tree, steps: Sequence[Step]) -> list[Done]:
    """Neighbours together, so that their directory is opened once."""
    items = [(step.path, step.token, step.expected) for step in steps if step.expected is not None]
    assert len(items) == len(steps)
    try:
        outcomes = tree.retire_many(items)
    except TreeError as error:
        return [Done(step, error) for step in steps]
    return [Done(step, outcome) for step, outcome in zip(steps, outcomes, strict=True)]


def _attempt(tree: Tree, step: Step) -> Done:
    try:
        _check(tree, step)
        outcome = _execute(tree, step)
    except TreeError as error:
        return Done(step, error)
    try:
        _check(tree, step)
    except (Displaced, *ABSENT) as error:
        return Done(step, error)
    return Done(step, outcome)


def carry_out(tree: Tree, steps: Sequence[Step]) -> list[Done]:
    """The same, and then the directories are flushed in which names have come and gone. Raises TreeError if that
    cannot be done."""
    done = execute(tree, steps)
    changed = [item.of for item in done if isinstance(item.of, Step) and not isinstance(item.outcome, TreeError)]
    directories = {step.path[:-1] for step in changed} | {step.target[:-1] for step in changed if step.target}
    tree.flush_dirs([path for path in sorted(directories) if _stands(tree, path)])
    return done


def _stands(tree: Tree, path: Path) -> bool:
    """Raises TreeError if the disk does not say: a directory that is not flushed for that may lose its names."""
    try:
        tree.stat(path)
    except ABSENT:
        return False
    return True


def _execute(tree: Tree, step: Step) -> Outcome:
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
    return _dress(tree, step, Attributes(mode, mtime), expected)


def _dress(tree: Tree, step: Step, attributes: Attributes, expected: Stat) -> Dressed:
    """Give it its attributes. Of the extended ones only those change that others have changed: what somebody here added
    and nobody was told of stays, and so does what never travels."""
    if step.xattrs == step.had or not tree.personality().xattrs:
        return Dressed(tree.set_attributes(step.path, attributes, expected), step.had, is_whole=True)
    wanted = unpack(step.xattrs)
    present = tuple(sorted(tree.xattrs(step.path).items()))
    whole = dict(merge(unpack(step.had), wanted, present))
    stat = tree.set_attributes(step.path, attributes._replace(xattrs=whole), expected)
    found = tree.xattrs(step.path)
    return Dressed(stat, held_of(step.xattrs, found), is_whole=portable(found) == wanted)


def held_of(wanted: bytes | None, found: Mapping[bytes, bytes]) -> bytes | None:
    """Of extended attributes, as a column, those that stand there."""
    return pack((name, value) for name, value in unpack(wanted) if found.get(name) == value)


def _check(tree: Tree, step: Step) -> None:
    """Raise `Displaced` if the directory that is to hold it does not stand there. Asked before, so that nothing is put
    into another one, and after, so that the rows do not say that it is where it is not."""
    if step.directory is not None:
        above = (step.target or step.path)[:-1]
        if tree.stat(above).ino != step.directory:
            raise Displaced("another directory has this name now", above)


def put_in_place(tree: Tree, wants: Sequence[Want]) -> list[Done]:
    """Give staged contents their names; then flush the directories they are in."""
    done = name_staged(tree, wants)
    tree.flush_dirs(sorted({want.path[:-1] for want in wants}))
    return done


def name_staged(tree: Tree, wants: Sequence[Want]) -> list[Done]:
    """Give staged contents their names. A power cut may take these away as long as nothing was flushed.

    Raises TreeError if the disk does not say where they went: their intents tell then."""
    displaced = _displaced(tree, wants)
    done = [Done(want, displaced[want.path[:-1]]) for want in wants if want.path[:-1] in displaced]
    wants = [want for want in wants if want.path[:-1] not in displaced]
    placed = _name_staged(tree, wants)
    displaced = _displaced(tree, _entered(placed))
    for error in displaced.values():
        if not isinstance(error, (Displaced, *ABSENT)):
            raise error
    return done + [_unless_displaced(item, displaced) for item in placed]


def _entered(placed: Sequence[Done]) -> list[Want]:
    """What has a name now that it had not. A file exchanged with one that was known is where that was, whatever its
    directory is called by now."""
    return [
        item.of
        for item in placed
        if isinstance(item.of, Want) and item.of.what is not What.REPLACE and not isinstance(item.outcome, TreeError)
    ]


def _displaced(tree: Tree, wants: Sequence[Want]) -> dict[Path, TreeError]:
    """Directories that do not stand where something was to go into them, as in `_check`."""
    expected = {want.path[:-1]: want.directory for want in wants if want.directory is not None}
    found: dict[Path, TreeError] = {}
    for above, inode in expected.items():
        try:
            if tree.stat(above).ino != inode:
                found[above] = Displaced("another directory has this name now", above)
        except TreeError as error:
            found[above] = error
    return found


def _unless_displaced(item: Done, displaced: Mapping[Path, TreeError]) -> Done:
    """What went into another directory than it should is not there, for the rows."""
    return Done(item.of, displaced.get(item.of.path[:-1], item.outcome)) if _entered([item]) else item


def _added(tree: Tree, want: Want) -> dict[bytes, bytes]:
    """Extended attributes of what is about to be replaced that came from nobody else: somebody here added them and
    nobody was told, or they never travel. Raises IoFailed if the disk does not say."""
    if want.kind != FILE or want.expected is None or want.expected.kind is not Kind.FILE:
        return {}
    try:
        present = tree.xattrs(want.path) if tree.personality().xattrs else {}
    except IoFailed:
        raise
    except TreeError:
        return {}  # it went in this moment, or may not be looked at: the exchange will tell
    told = dict(unpack(want.had))
    return {name: value for name, value in present.items() if told.get(name) != value}


def _give(tree: Tree, want: Want, added: dict[bytes, bytes]) -> None:
    """Give these to the staged content, before anything takes its place: what is replaced goes into a pack, which holds
    none, so they would be nowhere. Where there is no room for all, others have their part of them too.

    Raises TreeError if it cannot have them: then what stands there stays."""
    told = dict(unpack(want.held))
    found = tree.dress_staged(want.token, told | added)
    if _lacks(found, added):
        tree.dress_staged(want.token, added)
        found = tree.dress_staged(want.token, told | added)
    if _lacks(found, added):
        raise NoSpace(f"no room for extended attributes that nobody else has: {show_path(want.path)}", want.path)
    want.held, want.adds = held_of(want.held, found), True


def _lacks(found: Mapping[bytes, bytes], wanted: Mapping[bytes, bytes]) -> bool:
    return any(found.get(name) != value for name, value in wanted.items())


def _directory(want: Want) -> Path:
    return want.path[:-1]


def _name_staged(tree: Tree, wants: Sequence[Want]) -> list[Done]:
    creations = sorted((want for want in wants if want.what is not What.REPLACE), key=_directory)  # each opened once
    replacements, done = _dressed(tree, [want for want in wants if want.what is What.REPLACE])
    created = tree.create_many([(want.token, want.path) for want in creations])
    done += [Done(want, outcome) for want, outcome in zip(creations, created, strict=True)]
    triples = [(want.token, want.path, want.expected) for want in replacements if want.expected is not None]
    replaced = tree.exchange_many(triples)
    return done + [Done(want, outcome) for want, outcome in zip(replacements, replaced, strict=True)]


def _dressed(tree: Tree, wants: Sequence[Want]) -> tuple[list[Want], list[Done]]:
    """Those that have, on the disk, whatever of attributes must not be lost with what they replace; and the others.

    Raises TreeError if the disk does not save that."""
    ready: list[Want] = []
    failed: list[Done] = []
    given: list[bytes] = []
    for want in wants:
        try:
            if added := _added(tree, want):
                _give(tree, want, added)
                given.append(want.token)
        except TreeError as error:
            failed.append(Done(want, error))
        else:
            ready.append(want)
    if given:
        tree.flush(given)
    return ready, failed
