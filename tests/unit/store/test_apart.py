"""How much is kept of what does not count: attacks on the room, and the partners that still get in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ca.ids import DeviceId
from syncd.model.ids import ChangesetHash
from syncd.store import apart
from syncd.store.apart import Apart, Called, Room, Rooms, db_apart, has_left_out
from syncd.store.folder import Arrived, FolderStore
from syncd.store.journal import Verdict
from tests.helpers.authors import Author, directory
from tests.helpers.simdisk import SimDisk
from tests.helpers.simtree import SimDatabases, SimTree
from tests.helpers.tasks import SeededRandom, device_keys, open_store
from tests.unit.store.test_journal import LATER_HEAD, Roster, accept, names

SMALL = Rooms(Room(4, 1 << 20), Room(9, 1 << 20), Room(2, 64 << 10))


@pytest.fixture
def store() -> Iterator[FolderStore]:
    databases = SimDatabases()
    roster = Roster(removed=["bob", "dan"])
    made = open_store(SimTree(SimDisk(), databases), device_keys("ann"), roster, SeededRandom("ann"), "ann")
    made.journal.rooms = SMALL
    made.db_begin()
    yield made
    databases.close()


def device(name: str) -> DeviceId:
    return device_keys(name).public.id


def kept(store: FolderStore) -> dict[DeviceId, int]:
    return {one.device: one.changesets for one in db_apart(store.connection)}


def counted(store: FolderStore) -> dict[DeviceId, tuple[int, int]]:
    """The same, counted from the rows."""
    found = store.connection.execute(
        "SELECT a.device, count(*), sum(length(c.head)+length(c.body)) FROM changeset c JOIN author a ON a.id=c.author "
        "WHERE c.state=2 GROUP BY a.device"
    )
    return {DeviceId(one): (count, size) for one, count, size in found}


def told(store: FolderStore, *arrived: Arrived, called: Called | None = None) -> list[Verdict]:
    """What becomes of what a peer tells in pages of one head, as `folder.following` goes about it: heads first."""
    called, verdicts = Called() if called is None else called, []
    for head in reversed([one.head for one in arrived]):
        store.db_unknown([head], called, now_ms=5000)  # an earlier pass, in which what is called for is found
    for one in arrived:
        wanted = [one] if store.db_unknown([one.head], called, now_ms=5000) else []
        verdicts += [accepted.verdict for accepted in store.db_accept(wanted, called, now_ms=5000)]
    return verdicts


def test_one_author_fills_its_own_room_and_nobody_elses(store: FolderStore) -> None:
    """In one journal or in many."""
    flood = [Author("bob", number).publish(directory(number)) for number in range(1, 20)]
    gone = Author("bob", 99)
    flood += [gone.publish(directory(100 + number)) for number in range(20)]
    assert told(store, *flood) == [Verdict.QUARANTINED] * 4
    assert told(store, *flood) == []  # not even fetched
    dan, cid = Author("dan"), Author("cid")
    assert told(store, dan.publish(directory(50)), cid.publish(directory(51))) == [
        Verdict.QUARANTINED,
        Verdict.APPLIED,
    ]
    assert names(store) == [b"d51"]
    assert kept(store) == {device("bob"): 4, device("dan"): 1}


def test_bytes_are_counted_too(store: FolderStore) -> None:
    store.journal.rooms = Rooms(Room(1000, 5000), Room(1000, 1 << 20), Room(1, 1))
    author, verdicts = Author("bob"), []
    for start in range(0, 200, 10):
        verdicts += told(store, author.publish(*(directory(start + number) for number in range(1, 11))))
    assert 0 < len(verdicts) < 20 and set(verdicts) <= {Verdict.QUARANTINED, Verdict.LEFT_OUT}
    assert db_apart(store.connection)[0].size_bytes <= 5000


def test_countless_authors_fill_the_folders_room_and_each_still_has_a_little(store: FolderStore) -> None:
    store.journal.rooms = Rooms(Room(6, 1 << 20), Room(7, 1 << 20), Room(2, 64 << 10))
    told(store, *(Author("bob", number).publish(directory(number)) for number in range(1, 9)))
    dan = Author("dan")
    verdicts = told(store, *(dan.publish(directory(20 + number)) for number in range(5)))
    assert verdicts.count(Verdict.QUARANTINED) == 2
    assert kept(store) == {device("bob"): 6, device("dan"): 2}


def test_what_is_here_is_never_dropped_for_what_comes(store: FolderStore) -> None:
    first = Author("bob")
    early = [first.publish(directory(number)) for number in range(1, 4)]
    told(store, *early)
    told(store, *(Author("bob", number).publish(directory(number + 10)) for number in range(2, 30)))
    assert all(store.journal.has(one.head) for one in early)


def test_nothing_of_what_is_left_out_is_left_here(store: FolderStore) -> None:
    """No row, and nothing that others would be told."""
    flood = [Author("bob", number).publish(directory(number)) for number in range(1, 200)]
    told(store, *flood)
    for table in ("changeset", "journal", "moment"):
        (rows,) = store.connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert rows <= 5, table
    assert len(store.journal.moved_after(0, 1000).heads) == 4


def test_what_cannot_be_told_from_the_head_is_left_out_as_well(store: FolderStore) -> None:
    """Who may still write, but not delete any more."""
    roster = store.membership
    assert isinstance(roster, Roster)
    roster.no_delete.add(device("cid"))
    cid = Author("cid")
    assert told(store, cid.publish(directory(1), roster_head=LATER_HEAD)) == [Verdict.APPLIED]
    roster.sealed_at = lambda device, incarnation: 0  # type: ignore[method-assign]
    bare = [Author("cid", number).publish(approves=[bytes([number]) * 32]) for number in range(2, 9)]  # type: ignore[list-item]
    roster_then = roster.may_delete
    roster.may_delete = lambda device, head: head != LATER_HEAD or roster_then(device, head)  # type: ignore[method-assign]
    assert told(store, *bare) == [Verdict.QUARANTINED] * 4 + [Verdict.LEFT_OUT] * 3
    assert told(store, cid.publish(directory(2), roster_head=LATER_HEAD)) == [Verdict.APPLIED]


def test_what_was_left_out_comes_in_when_somebody_with_rights_names_it(store: FolderStore) -> None:
    gone, cid = Author("bob"), Author("cid")
    late = [gone.publish(directory(number)) for number in range(1, 10)]
    vouched = cid.publish(directory(20), seen=[gone])
    assert told(store, *late) == [Verdict.QUARANTINED] * 4
    called = Called()
    (how,) = store.db_accept([vouched], called, now_ms=6000)
    assert (how.verdict, list(how.lacks)) == (Verdict.EARLY, [late[-1].head.changeset])
    called.add(how.lacks)
    assert told(store, *late, vouched, called=called) == [Verdict.QUARANTINED] * 5 + [Verdict.APPLIED]
    assert names(store) == sorted([*(b"d%d" % number for number in range(1, 10)), b"d20"])
    assert counted(store) == {}


def test_of_what_is_called_for_the_past_is_called_for_too(store: FolderStore) -> None:
    """Also that by another who lost the right, which only the body tells."""
    told(store, *(Author("dan", number).publish(directory(50 + number)) for number in range(2, 7)))
    told(store, *(Author("bob", number).publish(directory(60 + number)) for number in range(2, 7)))
    dan, bob, cid = Author("dan"), Author("bob"), Author("cid")
    first = dan.publish(directory(1))
    between = bob.publish(directory(2), seen=[dan])
    last = cid.publish(directory(3), seen=[bob])
    whole, called = [first, between, last], Called()
    for _ in range(3):  # each pass finds out about one more author
        heads = store.db_unknown([one.head for one in whole], called, 0)
        for how in store.db_accept([one for one in whole if one.head in heads], called, 0):
            called.add(how.lacks)
    assert names(store) == [b"d1", b"d2", b"d3"]


def test_who_has_no_rights_calls_for_nothing(store: FolderStore) -> None:
    bob, dan = Author("bob"), Author("dan")
    flood = [bob.publish(directory(number)) for number in range(1, 10)]
    told(store, *flood)
    friend = dan.publish(directory(30), seen=[bob])
    (how,) = store.db_accept([friend], Called(), now_ms=0)
    assert (how.verdict, list(how.lacks)) == (Verdict.LEFT_OUT, [])
    assert told(store, friend, Author("cid").publish(directory(40))) == [Verdict.LEFT_OUT, Verdict.APPLIED]


def test_what_is_early_for_another_reason_waits_as_before(store: FolderStore) -> None:
    """Nothing was left out: the peer has told things in a wrong order, and what is lacking may still come."""
    bob = Author("bob")
    first, second = bob.publish(directory(1)), bob.publish(directory(2))
    assert not has_left_out(store.connection)
    assert accept(store, second) == [Verdict.EARLY]
    assert accept(store, first, second) == [Verdict.QUARANTINED] * 2


def test_count_follows_whatever_becomes_of_a_changeset(store: FolderStore) -> None:
    """Kept apart, let go of because somebody had seen it, and put aside again."""
    gone, cid = Author("bob"), Author("cid")
    told(store, gone.publish(directory(1)), gone.publish(directory(2)))
    assert kept(store) == {device("bob"): 2}
    assert told(store, cid.publish(directory(3), seen=[gone])) == [Verdict.APPLIED]
    assert kept(store) == {}
    roster = store.membership
    assert isinstance(roster, Roster)
    roster.removed.add(device("cid"))
    store.db_judge_again()
    assert kept(store) == {who: count for who, (count, _) in counted(store).items()}
    assert {one.device: one.size_bytes for one in db_apart(store.connection)} == {
        who: size for who, (_, size) in counted(store).items()
    }
    assert kept(store) == {device("bob"): 2, device("cid"): 1}


def test_when_something_was_left_out_is_told_by_author(store: FolderStore) -> None:
    told(store, *(Author("bob", number).publish(directory(number)) for number in range(1, 9)))
    told(store, Author("dan").publish(directory(50)))
    found = {one.device: one for one in db_apart(store.connection)}
    assert isinstance(found[device("bob")], Apart)
    assert found[device("bob")].left_out_ms == 5000
    assert found[device("dan")].left_out_ms is None


def test_what_one_connection_calls_for_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "MAX_CALLED", 3)
    called = Called()
    hashes = [ChangesetHash(bytes([number]) * 32) for number in range(5)]
    assert called.add(hashes[:2])
    assert not called.add(hashes[:2])
    assert called.add(hashes)
    assert [one in called for one in hashes] == [True, True, True, False, False]
    called.came(hashes[0])
    assert hashes[0] not in called and called.add(hashes[3:])
