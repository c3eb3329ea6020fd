"""Async. Bringing back what was, whoever asks: a person at this computer, an admin elsewhere, a schedule of exports.

The order is always the same: see what it would take, refuse what cannot be whole before anything is touched, fetch what
is lacking from peers into packs of our own, and only then publish, or write outside of the folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import trio

from ca.values import dataclass
from syncd.daemon.running import RunningFolder
from syncd.daemon.views import as_text
from syncd.engine.rates import work_of
from syncd.engine.timeline import Difference, Seen, counts
from syncd.errors import SyncdError, TrustError
from syncd.folder.folder import FolderTask
from syncd.folder.gathering import fetch, held_by_peers
from syncd.folder.ground import Ground
from syncd.folder.problems import problem_of
from syncd.model.lists import Entry
from syncd.model.paths import Path
from syncd.model.records import ContentKind
from syncd.seams import Tree
from syncd.store import restoring
from syncd.store.depot import Depot, StoreKeys
from syncd.store.folder import SourceReader
from syncd.store.keyring import EpochKeyMissing
from syncd.store.outside import (
    DirectoryTarget,
    Existing,
    Target,
    TarTarget,
    Writing,
    demand_target,
    is_tar,
    space_at,
    write_all,
)
from syncd.store.restoring import Deed, Foreseen, Moment, Part
from syncd.store.timing import write_sample
from syncd.treetypes import Denied, Kind, Space, TreeError
from syncd.wording import escape

SPARE_BYTES = 64 << 20
"""What a restore leaves free on the disk."""
NAMED = 5
"""Of names that cannot be restored: so many are told in an error; a dry run tells them all."""
FILES_AT_ONCE = 256
"""Things that are written outside in one hop to a thread."""

_ELSEWHERE = "restore to a directory of your own: --to DIR"

Heard = Callable[[int, int, int, int], None]
"""Hears how far it is: files done, files in all, bytes done, bytes in all."""


def nobody(files_done: int, files: int, bytes_done: int, size: int) -> None:
    """For those who do not want to hear how far it is."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be brought back, and how. `to`: a directory or a new .tar outside of the folder; None: in place.
    `changed`: outside, only what differs from now."""

    when: Moment
    part: Part
    to: bytes | None = None
    existing: Existing = Existing.REFUSE
    changed: bool = False
    keys: StoreKeys | None = None
    """Outside, as an encrypted store that these open."""
    below: bytes | None = None
    """Outside, the directory from which `to` is reached, through no symlink; None: `to` is what its name leads to."""
    partial: bool = False
    """Without the names that cannot be restored, instead of not at all."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What came of it, or would come. `missing`: blocks that nobody has who is connected; `incomplete`: the names that
    cannot be restored without them; `refused`: why it would not be done."""

    counts: Mapping[str, int]
    size: int
    lacking: tuple[Entry, ...] = ()
    missing: int = 0
    differences: Sequence[Difference] = ()
    deed: Deed | None = None
    incomplete: Sequence[Path] = ()
    estimate_s: float | None = None
    """How long it would take, by what the same work took here before; None if nobody knows."""
    refused: Sequence[SyncdError] = ()


async def bring(
    folder: RunningFolder, task: FolderTask, wish: Wish, *, dry_run: bool, heard: Heard = nobody
) -> Brought:
    """Restore. Raises SyncdError for what cannot be whole, before anything was touched."""
    if wish.to is not None:
        return await write_outside(task, wish, dry_run=dry_run, heard=heard)
    with keys_needed():
        return await _in_place(folder, task, wish, dry_run)


# --- in place --------------------------------------------------------------------------------------------------------


async def _in_place(folder: RunningFolder, task: FolderTask, wish: Wish, dry_run: bool) -> Brought:
    when, part = wish.when, wish.part
    foreseen = await task.db(restoring.db_foresee, task.store, when, part)
    if not foreseen.records and not await task.db(restoring.db_tree, task.store, when, part.path):
        raise nothing_there(part.path)
    if (then_or_none := await task.db(restoring.db_called_then, task.store, when, part.path)) is not None:
        raise _called_otherwise(folder, part.path, then_or_none)
    at_peers = await held_by_peers(task, foreseen.lacking)
    missing = [entry for entry in foreseen.lacking if entry.cid not in at_peers]
    incomplete: list[Path] = []
    if missing:
        then = {one.path: one.after for one in foreseen.differences if one.after is not None}
        incomplete = await task.db(restoring.db_incomplete, task.store, then, {entry.cid for entry in missing})
    if incomplete and wish.partial:
        rest = replace(wish, part=replace(part, without=frozenset(incomplete)), partial=False)
        brought = await _in_place(folder, task, rest, dry_run)
        return replace(brought, incomplete=incomplete, missing=len(missing))
    refused = await refusals(folder, task, foreseen, Missing(len(missing), incomplete, len(foreseen.differences)))
    deed: Deed | None = None
    estimate_s: float | None = None
    if dry_run:
        names = len(foreseen.differences)
        estimate_s = await _estimate(task, task.rates.in_place, names, foreseen.size, foreseen.lacking)
    elif refused:
        raise refused[0]
    else:
        await _gather(task, when, part, foreseen)
        about = f"{folder.name}/{as_text(b'/'.join(part.path))}".rstrip("/")
        with trio.CancelScope(shield=True):  # what is in the database is told to the others
            deed = await task.db(restoring.db_restore, task.store, when, part, about, task.clock.now())
            await published(task)
    changes = {change.value: count for change, count in counts(foreseen.differences).items()}
    return Brought(
        changes,
        foreseen.size,
        foreseen.lacking,
        len(missing),
        foreseen.differences,
        deed,
        incomplete,
        estimate_s,
        refused,
    )


@dataclass(frozen=True, slots=True)
class Missing:
    """Blocks that nobody has who is connected; the names that need them, out of how many."""

    blocks: int
    incomplete: Sequence[Path] = ()
    names: int = 0


async def refusals(folder: RunningFolder, task: FolderTask, foreseen: Foreseen, missing: Missing) -> list[SyncdError]:
    """Why something cannot be brought back into the folder: all of it, before anything is touched."""
    found: list[SyncdError] = []
    if missing.blocks:
        found.append(not_kept(missing))
    membership, device = folder.membership, task.store.journal.device
    if not task.rights.publishes or not membership.may_publish(device, membership.head):
        found.append(TrustError("your role does not allow to change this folder", id="SY-SHARE-04", fix=_ELSEWHERE))
    elif foreseen.deletes and not membership.may_delete(device, membership.head):
        found.append(TrustError("your role does not allow to delete in this folder", id="SY-SHARE-04", fix=_ELSEWHERE))
    if closed := await task.blocking(_closed, task.store.tree, foreseen.differences):
        found.append(_not_ours(closed))
    here = await task.blocking(task.store.tree.space)
    return found + await _too_large(task, foreseen.size, foreseen.lacking, here)


def _closed(tree: Tree, differences: Sequence[Difference]) -> list[Path]:
    """Directories in which something would have to be changed, and this program is not allowed to."""
    above = {path[:-1] for one in differences for path in (one.path, one.moved_from) if path}
    there = {_standing(tree, path) for path in above}
    return sorted(path for path in there if not tree.may_change(path))


def _standing(tree: Tree, path: Path) -> Path:
    """A directory, or the nearest above it that is there."""
    while path:
        try:
            if tree.stat(path).kind is Kind.DIR:
                return path
        except Denied:
            return path
        except TreeError:
            pass
        path = path[:-1]
    return path


def _not_ours(closed: Sequence[Path]) -> SyncdError:
    names = ", ".join(escape(as_text(b"/".join(path))) or "the folder itself" for path in closed[:NAMED])
    more = f" and {len(closed) - NAMED:,} more" if len(closed) > NAMED else ""
    return SyncdError(
        f"{len(closed):,} of the directories in which files would change cannot be written",
        id="SY-FILE-02",
        why=f"syncd is not allowed to: {names}{more}",
        fix=f"allow syncd to write there, or {_ELSEWHERE}",
    )


async def _too_large(task: Ground, size: int, lacking: Sequence[Entry], here: Space) -> list[SyncdError]:
    """What peers send is kept in the home first, which may be on the same disk."""
    sent = sum(entry.length for entry in lacking)
    home = await task.blocking(task.store.packs.shelf.space)
    needs = [(size + sent, here.free)] if home == here else [(size, here.free), (sent, home.free)]
    return [
        SyncdError(f"the restore needs {need:,} bytes, the disk has {free:,} free", id="SY-HIST-03")
        for need, free in needs
        if need and need + SPARE_BYTES > free
    ]


async def _estimate(
    task: Ground, time_of: Callable[[int, int, int], float | None], names: int, size: int, lacking: Sequence[Entry]
) -> float | None:
    """Seconds, by what was measured here before; the disk is tried out if nothing was."""
    if not task.rates.place.work:
        began = trio.current_time()
        try:
            written = await task.blocking(write_sample, task.store.tree)
        except TreeError:
            return None  # a disk that takes nothing tells nothing
        task.rates.place.note(written, trio.current_time() - began)
    return time_of(names, size, sum(entry.length for entry in lacking))


async def _gather(task: Ground, when: Moment, part: Part, foreseen: Foreseen) -> None:
    """Bring here what is lacking; parts of lists first, as they tell of further blocks."""
    while foreseen.lacking:
        got = await fetch(task, foreseen.lacking, foreseen.parts)
        again = await task.db(restoring.db_foresee, task.store, when, part)
        if not got and again.lacking:
            raise not_kept(Missing(len(again.lacking)))
        foreseen = again


async def published(task: FolderTask) -> None:
    """Let everybody know what was just published, this disk too."""
    task.announce(await task.db(task.store.journal.newest_seq))
    task.wake_plan()


# --- outside of the folder -------------------------------------------------------------------------------------------


async def write_outside(task: Ground, wish: Wish, *, dry_run: bool = False, heard: Heard = nobody) -> Brought:
    """Write a past tree into a directory, or as a tar file."""
    with keys_needed():
        return await _outside(task, wish, dry_run, heard)


async def _outside(task: Ground, wish: Wish, dry_run: bool, heard: Heard) -> Brought:
    assert wish.to is not None
    store, part = task.store, wish.part
    tree = await task.db(restoring.db_tree, store, wish.when, part.path)
    chosen = chosen_of(tree, part)
    if wish.changed:
        now = await task.db(restoring.db_tree, store, Moment(), part.path)
        chosen = with_directories(
            tree, {path for path, seen in chosen.items() if not _is_same(now.get(path), seen)}, part
        )
    if not tree or not (chosen or wish.changed):
        raise nothing_there(part.path)
    contents = [seen.content for seen in chosen.values()]
    size = sum(content.size for content in contents)
    lacking, parts = await task.db(restoring.db_lacking, store, contents)
    at_peers = await held_by_peers(task, lacking)
    missing = [entry for entry in lacking if entry.cid not in at_peers]
    incomplete: list[Path] = []
    if missing:
        incomplete = await task.db(restoring.db_incomplete, store, chosen, {entry.cid for entry in missing})
    if incomplete and wish.partial:
        rest = replace(wish, part=replace(part, without=frozenset(incomplete)), partial=False)
        return replace(await _outside(task, rest, dry_run, heard), incomplete=incomplete, missing=len(missing))
    refused = await _refusals_outside(task, wish, size, lacking, Missing(len(missing), incomplete, len(chosen)))
    brought = Brought({"added": len(chosen)}, size, lacking, len(missing), incomplete=incomplete, refused=refused)
    if dry_run:
        return replace(brought, estimate_s=await _estimate(task, task.rates.elsewhere, len(chosen), size, lacking))
    if refused:
        raise refused[0]
    while lacking:
        if not await fetch(task, lacking, parts):
            raise not_kept(Missing(len(lacking)))
        lacking, parts = await task.db(restoring.db_lacking, store, contents)
    await _write(task, chosen, wish, heard)
    return brought


async def _refusals_outside(
    task: Ground, wish: Wish, size: int, lacking: Sequence[Entry], missing: Missing
) -> list[SyncdError]:
    """Why something cannot be written there: all of it, before anything is fetched for it or written."""
    assert wish.to is not None
    found = [not_kept(missing)] if missing.blocks else []
    if wish.keys is None:
        try:
            await task.blocking(demand_target, wish.to, wish.existing, wish.below)
        except (SyncdError, TreeError) as error:
            found.append(_told(error))
    return found + await _too_large(task, size, lacking, await task.blocking(space_at, wish.to))


def _told(error: SyncdError | TreeError) -> SyncdError:
    """An error of the disk as people are told it."""
    if not isinstance(error, TreeError):
        return error
    code, why, fix = problem_of(error, reading=False)
    return SyncdError("it cannot be written there", id=code, why=why, fix=fix)


async def _write(task: Ground, chosen: Mapping[Path, Seen], wish: Wish, heard: Heard) -> None:
    assert wish.to is not None
    store, items = task.store, sorted(chosen.items())
    reader = SourceReader(store.tree, store.packs, store.keyring)
    if wish.keys is not None:
        await _deposit(task, items, wish, wish.keys, reader, heard)
        return
    target: Target = await task.blocking(_open_target, wish.to, wish.existing, wish.below)
    skip = max(0, len(wish.part.path) - 1)  # below the root, the last name of the path is the top of what is written
    size, written = sum(seen.content.size for seen in chosen.values()), 0
    try:
        with target:
            for start in range(0, len(items), FILES_AT_ONCE):
                some = items[start : start + FILES_AT_ONCE]
                writings = await task.db(_writings, task, some, skip)
                began, before = trio.current_time(), written
                written += await task.blocking(write_all, target, writings, reader)
                task.rates.outside.note(work_of(len(some), written - before), trio.current_time() - began)
                heard(start + len(some), len(items), written, size)
    finally:
        reader.close()


async def _deposit(
    task: Ground,
    items: Sequence[tuple[Path, Seen]],
    wish: Wish,
    keys: StoreKeys,
    reader: SourceReader,
    heard: Heard,
) -> None:
    assert wish.to is not None
    size, written = sum(seen.content.size for _, seen in items), 0
    try:
        depot = await task.blocking(Depot, wish.to, task.store.keyring)
        for start in range(0, len(items), FILES_AT_ONCE):
            some = items[start : start + FILES_AT_ONCE]
            written += await task.blocking(depot.add, await task.db(_writings, task, some, 0), reader)
            heard(start + len(some), len(items), written, size)
        at_ms = int(task.clock.now() * 1000) if wish.when.at_ms is None else wish.when.at_ms
        await task.blocking(depot.finish, at_ms, keys)
    finally:
        reader.close()


def _open_target(to: bytes, existing: Existing, below: bytes | None) -> Target:
    return TarTarget(to, below) if is_tar(to) else DirectoryTarget(to, existing, below)


def _writings(task: Ground, items: Sequence[tuple[Path, Seen]], skip: int) -> list[Writing]:
    store = task.store
    found = []
    for path, seen in items:
        packed = restoring.db_packed(store, seen.content) if seen.content.kind is ContentKind.FILE else b""
        found.append(Writing(path[skip:], seen, restoring.db_places(store, packed)))
    return found


def chosen_of(tree: Mapping[Path, Seen], part: Part) -> dict[Path, Seen]:
    """What matches, with the directories that lead there."""
    return with_directories(tree, {path for path, seen in tree.items() if part.holds(path, seen)}, part)


def with_directories(tree: Mapping[Path, Seen], paths: set[Path], part: Part) -> dict[Path, Seen]:
    """These paths of a tree and the directories above them, inside the part."""
    above = {path[:end] for path in paths for end in range(max(1, len(part.path)), len(path))}
    return {path: seen for path, seen in tree.items() if path in paths or path in above}


def _is_same(now: Seen | None, then: Seen) -> bool:
    return now is not None and now.same_as(then)


# --- refusals --------------------------------------------------------------------------------------------------------


@contextmanager
def keys_needed() -> Iterator[None]:
    """Says in words that people understand that what happened in an epoch cannot be read here."""
    try:
        yield
    except EpochKeyMissing as error:
        raise SyncdError(
            "part of that past cannot be read here",
            id="SY-HIST-08",
            why="it was written under a key of this folder that this device was not given, or not yet",
            fix="connect to a member who has it; it is handed over with the membership list",
        ) from error


def nothing_there(path: Path) -> SyncdError:
    name = as_text(b"/".join(path)) or "the folder"
    return SyncdError(f"there was nothing called {name} then", id="SY-HIST-01")


def _called_otherwise(folder: RunningFolder, path: Path, then: Path) -> SyncdError:
    old = escape(as_text(b"/".join(then)))
    return SyncdError(
        f"{escape(as_text(b'/'.join(path)))} was called {old} then",
        id="SY-HIST-01",
        why="It has been moved since, and nothing was called as it is now: to go back would only delete it.",
        fix=f"the same with its name of then:  {escape(folder.name)}/{old}",
    )


def not_kept(missing: Missing) -> SyncdError:
    """Says which names that concerns, and that the others can be had."""
    if not missing.incomplete:
        return SyncdError(f"{missing.blocks:,} blocks of that moment are nowhere to be had", id="SY-HIST-02")
    some = ", ".join(escape(as_text(b"/".join(path))) for path in missing.incomplete[:NAMED])
    more = len(missing.incomplete) - NAMED
    return SyncdError(
        f"{missing.blocks:,} blocks of that moment are nowhere to be had",
        id="SY-HIST-02",
        why=f"of {missing.names:,} names these cannot be restored: {some}"
        + (f" and {more:,} more" if more > 0 else ""),
        fix="connect a computer that has them, or leave them out: --partial",
    )
