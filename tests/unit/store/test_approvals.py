"""What an approval of a wave frees: the changesets that it names, if its author has the right to delete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from ca.ids import EntryHash
from syncd.errors import SyncdError
from syncd.model.changesets import ITSELF
from syncd.model.ids import ROOT_NODE, ChangesetHash, VersionId, version_id
from syncd.model.records import DELETED, Place, Record, symlink_to
from syncd.store import denying, waves
from syncd.store.denying import Denied
from syncd.store.folder import Arrived, FolderStore
from syncd.store.journal import NoRight, Verdict
from syncd.store.releasing import db_let_pass
from syncd.store.waves import Held, Why
from tests.helpers.authors import Author
from tests.helpers.model_values import file_with, node_id
from tests.helpers.simdisk import SimDisk
from tests.helpers.simtree import SimDatabases, SimTree
from tests.helpers.tasks import SeededRandom, device_keys, open_store
from tests.unit.store.test_journal import LATER_HEAD, Roster, accept, carried

FILES = 60
NOW = 1000.0
Answer = Callable[[FolderStore, Held, float], object]


@dataclass(slots=True)
class Scene:
    """Ann has sixty files of bob on her disk; he has deleted them all, and the brake holds that."""

    store: FolderStore
    bob: Author
    deletion: Arrived
    seen: list[VersionId]
    """Of the files, before they were deleted."""

    @property
    def deleted_in(self) -> ChangesetHash:
        return self.deletion.head.changeset

    def waiting(self) -> int:
        """How many files wait for a person, once approvals were heard."""
        waves.db_release_decided(self.store.connection)
        return sum(held.files for held in waves.db_held(self.store.connection))

    def arriving(self) -> int:
        """How many files are about to go that nobody has approved, as long as nothing is held."""
        return sum(len(arriving.nodes) for arriving in waves.db_arriving(self.store.connection).values())


def relinked(scene: Scene) -> Arrived:
    link = symlink_to(b"/nowhere")
    return scene.bob.publish(*(Record(node_id(at + 1), link, (scene.seen[at],)) for at in range(FILES)))


def begin(
    name: str,
    databases: SimDatabases,
    *,
    hold: bool = True,
    deletes: bool = True,
    approves: tuple[ChangesetHash, ...] = (),
) -> Scene:
    roster = Roster(no_delete=["dan"])
    store = open_store(SimTree(SimDisk(), databases), device_keys(name), roster, SeededRandom(name), name)
    store.db_begin()
    bob = Author("bob")
    made = bob.publish(
        *(Record(node_id(at), file_with(at), place=Place(ROOT_NODE, b"file%d" % at)) for at in range(1, FILES + 1))
    )
    accept(store, made)
    store.connection.execute(
        "UPDATE node SET l_parent=parent, l_name=name, l_kind=kind, s_ccs=c_cs, s_cidx=c_idx, s_pcs=p_cs, "
        "s_pidx=p_idx, pending=0 WHERE kind=1"
    )
    seen = [VersionId(version_id(made.head.changeset, index)) for index in range(FILES)]
    if not deletes:
        return Scene(store, bob, made, seen)
    deletion = bob.publish(*(Record(node_id(at + 1), DELETED, (seen[at],)) for at in range(FILES)), approves=approves)
    accept(store, deletion)
    scene = Scene(store, bob, deletion, seen)
    if hold:
        (origin,) = waves.db_arriving(store.connection)
        nodes = waves.db_arriving(store.connection)[origin].nodes
        waves.db_hold(store.connection, "held-b", origin.hex(), Why.GONE, nodes, NOW, FILES)
        assert scene.waiting() == FILES
    return scene


@pytest.fixture
def databases() -> Iterator[SimDatabases]:
    made = SimDatabases()
    yield made
    made.close()


def approval(scene: Scene, name: str, *named: ChangesetHash, roster_head: EntryHash = LATER_HEAD) -> Arrived:
    return Author(name).publish(seen=[scene.bob], roster_head=roster_head, approves=named)


def test_approval_of_one_who_may_delete_frees_what_it_names(databases: SimDatabases) -> None:
    scene = begin("ann", databases)
    assert accept(scene.store, approval(scene, "cid", scene.deleted_in)) == [Verdict.APPLIED]
    assert scene.waiting() == 0
    assert scene.arriving() == 0


def test_approval_of_something_else_frees_nothing(databases: SimDatabases) -> None:
    scene = begin("ann", databases)
    other = Author("cid").publish(Record(node_id(500), file_with(1), place=Place(ROOT_NODE, b"other")))
    assert accept(scene.store, other) == [Verdict.APPLIED]
    assert accept(scene.store, approval(scene, "ann", other.head.changeset, ITSELF)) == [Verdict.APPLIED]
    assert scene.waiting() == FILES


@pytest.mark.parametrize("name", ["vic", "dan"], ids=["viewer", "editor who may not delete"])
def test_approval_without_the_right_to_delete_is_refused_and_frees_nothing(name: str, databases: SimDatabases) -> None:
    scene = begin("ann", databases)
    assert accept(scene.store, approval(scene, name, scene.deleted_in)) == [Verdict.REFUSED]
    assert scene.waiting() == FILES


def test_approval_of_somebody_who_was_removed_frees_nothing(databases: SimDatabases) -> None:
    scene = begin("ann", databases)
    membership = scene.store.membership
    assert isinstance(membership, Roster)
    membership.removed.add(device_keys("cid").public.id)
    late = Author("cid").publish(seen=[scene.bob], approves=[scene.deleted_in])  # under the roster as it was before
    assert accept(scene.store, late) == [Verdict.QUARANTINED]
    assert scene.waiting() == FILES


def test_approval_that_is_taken_back_with_its_author_frees_nothing_more(databases: SimDatabases) -> None:
    scene = begin("ann", databases)
    late = Author("cid").publish(seen=[scene.bob], approves=[scene.deleted_in])
    assert accept(scene.store, late) == [Verdict.APPLIED]
    membership = scene.store.membership
    assert isinstance(membership, Roster)
    membership.removed.add(device_keys("cid").public.id)
    assert scene.store.db_judge_again() == 1
    assert scene.waiting() == FILES


def test_approval_told_again_frees_nothing_more(databases: SimDatabases) -> None:
    """The same files come back and are deleted by the same author once more: that is another changeset."""
    scene = begin("ann", databases)
    given = approval(scene, "cid", scene.deleted_in)
    accept(scene.store, given)
    assert scene.waiting() == 0
    versions = [VersionId(version_id(scene.deleted_in, index)) for index in range(FILES)]
    again = scene.bob.publish(*(Record(node_id(at + 1), file_with(at), (versions[at],)) for at in range(FILES)))
    versions = [VersionId(version_id(again.head.changeset, index)) for index in range(FILES)]
    gone = scene.bob.publish(*(Record(node_id(at + 1), DELETED, (versions[at],)) for at in range(FILES)))
    assert accept(scene.store, again, gone, given) == [Verdict.APPLIED, Verdict.APPLIED, Verdict.KNOWN]
    assert scene.arriving() == FILES


def test_what_somebody_else_brings_back_waits_no_longer(databases: SimDatabases) -> None:
    scene = begin("ann", databases)
    versions = [VersionId(version_id(scene.deleted_in, index)) for index in range(FILES)]
    back = (Record(node_id(at + 1), file_with(at + 1), (versions[at],)) for at in range(FILES))
    accept(scene.store, Author("cid").publish(*back, seen=[scene.bob]))
    assert scene.waiting() == 0
    assert not waves.db_held(scene.store.connection)


def test_wave_that_its_author_approved_is_not_counted(databases: SimDatabases) -> None:
    assert begin("ann", databases, hold=False, approves=(ITSELF,)).arriving() == 0


def test_same_wave_without_that_is_counted(databases: SimDatabases) -> None:
    assert begin("ann", databases, hold=False).arriving() == FILES


def test_files_that_became_links_wait_and_come_back_with_a_no(databases: SimDatabases) -> None:
    """Content goes by that as it does by a deletion, without the right to delete."""
    scene = begin("ann", databases, deletes=False)
    accept(scene.store, relinked(scene))
    ((origin, arriving),) = waves.db_arriving(scene.store.connection).items()
    assert len(arriving.overwritten) == FILES and not arriving.gone
    waves.db_hold(scene.store.connection, "held-b", origin.hex(), Why.CHANGED, arriving.nodes, NOW, FILES)
    assert denying.db_deny(scene.store, waves.db_held(scene.store.connection)[0], NOW) == Denied([], 0)
    (undone,) = scene.store.connection.execute("SELECT count(*) FROM node WHERE kind=1 AND l_kind=1").fetchone()
    assert undone == FILES


def test_links_that_nobody_has_yet_are_no_wave(databases: SimDatabases) -> None:
    scene = begin("ann", databases, deletes=False)
    new = (Record(node_id(500 + at), symlink_to(b"/new"), place=Place(ROOT_NODE, b"link%d" % at)) for at in range(60))
    accept(scene.store, scene.bob.publish(*new))
    assert scene.arriving() == 0


def test_what_a_person_here_approves_is_said_to_all(databases: SimDatabases) -> None:
    scene = begin("ann", databases)
    assert waves.db_approve(scene.store, waves.db_held(scene.store.connection)[0], 0)
    assert scene.waiting() == 0
    (_, _, (_, raw)) = scene.store.journal.moved_after(0, 10).heads
    other = SimDatabases()
    try:
        bens = begin("cid", other)
        (told,) = carried(scene.store, [raw])
        assert told.changeset.approves == (scene.deleted_in,)
        assert accept(bens.store, told) == [Verdict.APPLIED]
        assert bens.waiting() == 0
    finally:
        other.close()


def test_wave_that_grew_is_not_answered_by_what_was_shown(databases: SimDatabases) -> None:
    scene = begin("ann", databases, hold=False)
    connection = scene.store.connection
    ((origin, arriving),) = waves.db_arriving(connection).items()
    waves.db_hold(connection, "held-b", origin.hex(), Why.GONE, arriving.nodes[:10], NOW, FILES)
    (shown,) = waves.db_held(connection)
    waves.db_hold(connection, "held-b", origin.hex(), Why.GONE, arriving.nodes, NOW, FILES)
    for answer in (partial(db_let_pass, publishes=True), denying.db_deny):
        with pytest.raises(SyncdError, match="has changed"):
            answer(scene.store, shown, NOW)
    assert scene.waiting() == FILES
    (shown,) = waves.db_held(connection)
    assert shown.files == FILES
    assert db_let_pass(scene.store, shown, NOW, publishes=True) == (True, arriving.nodes, None)
    assert scene.waiting() == scene.arriving() == 0


@pytest.mark.parametrize("first", [partial(db_let_pass, publishes=True), denying.db_deny], ids=["yes", "no"])
def test_wave_that_was_answered_is_not_answered_again(first: Answer, databases: SimDatabases) -> None:
    """Two people look at it, and one of them is slower: what had passed before stays as the other has decided."""
    scene = begin("ann", databases)
    connection = scene.store.connection
    (shown,) = waves.db_held(connection)
    connection.execute(
        "INSERT INTO passed(node, origin, at, cs, idx) SELECT id, ?, ?, s_ccs, s_cidx FROM node WHERE l_kind=1 LIMIT 9",
        (shown.origin, NOW),
    )
    first(scene.store, shown, NOW)
    newest = scene.store.journal.newest_seq()
    for answer in (partial(db_let_pass, publishes=True), denying.db_deny):
        with pytest.raises(SyncdError, match="waits no more") as refused:
            answer(scene.store, shown, NOW)
        assert refused.value.id == "SY-BRAKE-02"
    assert scene.store.journal.newest_seq() == newest


def test_who_may_not_delete_approves_for_nobody_else(databases: SimDatabases) -> None:
    scene = begin("dan", databases)
    assert not waves.db_approve(scene.store, waves.db_held(scene.store.connection)[0], 0)
    with pytest.raises(NoRight):
        scene.store.journal.approve([scene.deleted_in], scene.store.keyring, scene.store.membership, 0)
    assert scene.store.journal.newest_seq() == 2
    assert scene.waiting() == FILES


def test_who_may_not_publish_cannot_say_no_and_the_wave_waits_on(databases: SimDatabases) -> None:
    scene = begin("vic", databases)
    with pytest.raises(NoRight):
        denying.db_deny(scene.store, waves.db_held(scene.store.connection)[0], NOW)
    assert scene.waiting() == FILES
    assert scene.arriving() == 0


def test_who_may_publish_says_no_for_everybody(databases: SimDatabases) -> None:
    scene = begin("dan", databases)
    assert denying.db_deny(scene.store, waves.db_held(scene.store.connection)[0], NOW) == Denied([], 0)
    assert scene.waiting() == 0
    (back,) = scene.store.connection.execute("SELECT count(*) FROM node WHERE kind=1 AND l_kind=1").fetchone()
    assert back == FILES


def test_who_may_not_say_no_finds_everything_on_the_disk_as_it_was(databases: SimDatabases) -> None:
    """What had passed would be said again, which this device may not; what waits would be set aside, and no roll back
    of the rows brings that back to its name."""
    scene = begin("vic", databases, hold=False)
    store, connection, at = scene.store, scene.store.connection, (b"file1",)
    assert isinstance(store.tree, SimTree)
    store.tree.disk.write(at, b"written over by a program here")
    query = "SELECT id FROM node WHERE l_kind=1 ORDER BY l_name<>? LIMIT 2"
    waiting, had_passed = (id_ for (id_,) in connection.execute(query, at))
    connection.execute(
        "INSERT INTO passed(node, origin, at, cs, idx) SELECT id, ?, ?, s_ccs, s_cidx FROM node WHERE id=?",
        (waves.SCAN_ORIGIN, NOW, had_passed),
    )
    waves.db_hold(connection, "held-h", waves.SCAN_ORIGIN, Why.CHANGED, [waiting], NOW, FILES)
    (held,) = waves.db_held(connection)
    with pytest.raises(NoRight):
        denying.db_deny(store, held, NOW)
    assert store.tree.disk.contents() == {at: b"written over by a program here"}
    assert store.tree.list_old() == []
    assert waves.db_held(connection) == [held]


def stands(store: FolderStore, at: int, version: int) -> int:
    """Of the file that came as number `at`, another version of which stands on this disk; its row."""
    (row,) = store.connection.execute("SELECT id FROM node WHERE l_name=?", (b"file%d" % at,)).fetchone()
    store.connection.execute("UPDATE node SET s_ccs=?, s_cidx=0 WHERE id=?", (version, row))
    return int(row)


@pytest.mark.parametrize(
    ("times_s", "first"),
    [((-900.0, -60.0), 2), ((-540.0, -60.0), 1), ((-700.0, -540.0, -60.0), 2), ((-900.0, -700.0), None)],
    ids=["long before and lately", "twice lately", "once before", "long before"],
)
def test_no_undoes_what_passed_lately_whatever_had_passed_before(
    times_s: tuple[float, ...], first: int | None, databases: SimDatabases
) -> None:
    """A file is saved now and then, and then encrypted: what stood ten minutes before the wave is what comes back."""
    store = begin("ann", databases, deletes=False).store
    for version, at_s in enumerate(times_s, 1):
        waves.db_pass(store.connection, waves.SCAN_ORIGIN, [stands(store, 1, version)], NOW + at_s)
    passed = [one.cs for one in waves.db_passed(store.connection, waves.SCAN_ORIGIN, NOW)]
    assert passed == ([] if first is None else [first])


def test_what_passed_before_a_wave_is_no_part_of_the_next_one(databases: SimDatabases) -> None:
    """People have said yes to it with that wave."""
    scene = begin("ann", databases)
    store = scene.store
    (held,) = waves.db_held(store.connection)
    waves.db_pass(store.connection, held.origin, [stands(store, 1, 1)], NOW - 60)
    (held,) = waves.db_held(store.connection)
    assert held.passed == 1
    db_let_pass(store, held, NOW, publishes=True)
    assert waves.db_passed(store.connection, held.origin, NOW) == []
