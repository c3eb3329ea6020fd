"""A few hundred of the states of `tests/prove/crash_states.py`, and mistakes that they must notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from syncd.folder import finishing
from syncd.store import folder
from syncd.store.apply import Done
from syncd.store.folder import FolderStore
from syncd.store.prepare import Want
from syncd.treetypes import Path, Stat
from tests.helpers.crashes import BOTH, HERE, THERE, Workload, try_workload, workloads
from tests.helpers.simdisk import SimDisk
from tests.helpers.simtree import SimTree

QUICK = [Workload(THERE, ("edit",)), Workload(HERE, ("delete",))]
TAKEN = [
    Workload(BOTH, ("edit",)),
    Workload(THERE, ("swap", "edit")),
    Workload(BOTH, ("turn into directory", "move directory")),
    Workload(HERE, ("move directory", "edit", "link")),
    Workload(THERE, ("create", "remove directory", "attributes")),
    Workload(BOTH, ("delete", "edit", "mkdir")),
    Workload(THERE, ("mkdir", "create", "edit")),
    Workload(BOTH, ("link", "edit", "delete")),
    Workload(BOTH, ("turn into directory", "edit")),
]


@pytest.mark.parametrize(
    "workload",
    [*QUICK, *(pytest.param(workload, marks=pytest.mark.long) for workload in TAKEN)],
    ids=lambda workload: workload.name,
)
def test_nothing_is_half_and_nothing_lost_whenever_the_power_fails(workload: Workload) -> None:
    verdict = try_workload(workload)
    assert verdict is not None
    assert verdict.bad == ()
    assert verdict.states >= (2 if workload.side == HERE else 3)  # what is found here is published in one step


SHARING = [Workload(THERE, ("create", "edit", "link")), Workload(BOTH, ("create", "edit", "attributes"))]


@pytest.mark.parametrize(
    "workload", [SHARING[0], pytest.param(SHARING[1], marks=pytest.mark.long)], ids=lambda workload: workload.name
)
def test_nor_where_names_are_flushed_with_the_contents_that_follow(
    workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = _one_at_a_time(monkeypatch)
    verdict = try_workload(workload)
    assert verdict is not None
    assert verdict.bad == ()
    assert shared


def test_there_are_workloads_of_all_operations_on_all_sides() -> None:
    names = [workload.name for workload in workloads(3)]
    assert len(names) == len(set(names)) == 3 * (9 + 9**2 + 9**3 + 2 + 4 * 9)


def _no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimTree, "flush", lambda self, tokens=(), names_in=(): None)


def _names_are_not_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the names of one group are to be flushed with the contents of the next, only these are."""

    def flush(self: SimTree, tokens: Sequence[bytes] = (), names_in: Sequence[Path] = ()) -> None:
        if not names_in:
            real_flush(self, tokens)

    real_flush = SimTree.flush
    monkeypatch.setattr(SimTree, "flush", flush)
    _one_at_a_time(monkeypatch)


def _one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every content is a group of its own; how many others each was noted together with the intent of."""
    shared: list[int] = []

    def turn(self: FolderStore, done: Sequence[Done], now: float, wants: Sequence[Want]) -> object:
        shared.append(len(wants))
        return real_turn(self, done, now, wants)

    real_turn = FolderStore.db_commit_and_intend
    monkeypatch.setattr(FolderStore, "db_commit_and_intend", turn)
    monkeypatch.setattr(finishing, "FEW", 0)
    monkeypatch.setattr(finishing, "MAX_GROUP", 1)
    return shared


def _no_word_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "write_steps", lambda connection, steps: None)


def _no_intents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "write_intents", lambda connection, wants: None)


def _half_an_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old name goes in one step, and the new object comes in the next."""

    def exchange(self: SimDisk, parent: object, name: bytes, to_parent: object, to_name: bytes) -> None:
        real_rename(self, to_parent, to_name, parent, name + b"x")  # type: ignore[arg-type]
        real_rename(self, parent, name, to_parent, to_name)  # type: ignore[arg-type]
        real_rename(self, parent, name + b"x", parent, name)  # type: ignore[arg-type]

    real_rename = SimDisk.rename_node
    monkeypatch.setattr(SimDisk, "exchange_nodes", exchange)


def _deletes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def retire(self: SimTree, path: Path, token: bytes, expected: Stat) -> object:
        replaced = real_retire(self, path, token, expected)
        self.drop_old(token)
        return replaced

    real_retire = SimTree.retire
    monkeypatch.setattr(SimTree, "retire", retire)


MISTAKES: list[tuple[Callable[[pytest.MonkeyPatch], None], Workload, str]] = [
    (_no_flush, Workload(THERE, ("edit",)), "nobody ever wrote"),
    (_names_are_not_flushed, SHARING[0], "ann has"),
    (_no_word_of_steps, Workload(THERE, ("delete",)), "nobody knows"),
    (_no_intents, Workload(THERE, ("edit",)), "nobody knows"),
    (_half_an_exchange, Workload(THERE, ("edit",)), "nothing stands"),
    (_deletes_at_once, Workload(THERE, ("delete",)), "lost"),
]


@pytest.fixture(params=MISTAKES, ids=lambda case: f"{case[0].__name__.strip('_')} {case[1].name}")
def mistaken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Workload, str]]:
    make, workload, words = request.param
    make(monkeypatch)
    yield workload, words


@pytest.mark.long
def test_mistakes_are_noticed(mistaken: tuple[Workload, str]) -> None:
    workload, words = mistaken
    verdict = try_workload(workload)
    assert verdict is not None
    assert any(words in bad for bad in verdict.bad), verdict.bad
