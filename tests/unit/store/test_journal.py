"""Journals on two devices: whatever order the changesets of honest, removed and lying authors arrive in, all devices
keep the same, and nobody is stuck."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations

import pytest

from ca.ids import DeviceId, EntryHash
from syncd.model.heads import decode_head_untrusted
from syncd.model.ids import NodeId
from syncd.model.records import DELETED, DIRECTORY, Place, Record
from syncd.store import journal
from syncd.store.folder import Arrived, FolderStore
from syncd.store.journal import NoRight, Verdict
from syncd.store.rows import NodeRow, read
from tests.helpers.authors import Author, directory
from tests.helpers.simdisk import SimDisk
from tests.helpers.simtree import SimDatabases, SimTree
from tests.helpers.tasks import ROSTER_HEAD, Members, SeededRandom, device_keys, open_store

LATER_HEAD = EntryHash(b"L" * 32)
NAMES = ("ann", "bob", "cid", "dan", "vic")


class Roster(Members):
    """Two entries; `removed` at the second one, where `sealed` says how far their journals count."""

    def __init__(self, removed: Sequence[str] = (), no_delete: Sequence[str] = ()) -> None:
        super().__init__([device_keys(name) for name in NAMES], [device_keys("vic").public.id])
        self.removed = {device_keys(name).public.id for name in removed}
        self.no_delete = {device_keys(name).public.id for name in no_delete}

    @property
    def head(self) -> EntryHash:
        return LATER_HEAD

    def number_of(self, head: EntryHash) -> int | None:
        return {ROSTER_HEAD: 0, LATER_HEAD: 1}.get(head)

    def may_publish(self, device: DeviceId, head: EntryHash) -> bool:
        return super().may_publish(device, head) and not (device in self.removed and head == LATER_HEAD)

    def may_delete(self, device: DeviceId, head: EntryHash) -> bool:
        return self.may_publish(device, head) and device not in self.no_delete

    def sealed_at(self, device: DeviceId, incarnation: bytes) -> int | None:
        return 0 if device in self.removed else None


class Stores:
    def __init__(self) -> None:
        self.databases: list[SimDatabases] = []

    def open(self, name: str, roster: Roster | None = None) -> FolderStore:
        databases = SimDatabases()
        self.databases.append(databases)
        tree = SimTree(SimDisk(), databases)
        store = open_store(tree, device_keys(name), roster or Roster(), SeededRandom(name), name)
        store.db_begin()
        return store


@pytest.fixture
def stores() -> Iterator[Stores]:
    made = Stores()
    yield made
    for databases in made.databases:
        databases.close()


def accept(store: FolderStore, *arrived: Arrived) -> list[Verdict]:
    return [accepted.verdict for accepted in store.db_accept(arrived)]


def names(store: FolderStore) -> list[bytes]:
    rows: list[NodeRow] = read(store.connection, "WHERE kind=2 AND id>1 AND name IS NOT NULL ORDER BY name")
    return [row.name for row in rows if row.name is not None]


def test_two_changesets_with_one_number_both_count_in_any_order(stores: Stores) -> None:
    one = Author("bob")
    first = one.publish(directory(1))
    other = one.branch()
    left, right = one.publish(directory(2)), other.publish(directory(3))
    after_left, after_right = one.publish(directory(4)), other.publish(directory(5))
    orders = [
        order
        for order in permutations((left, right, after_left, after_right))
        if order.index(left) < order.index(after_left) and order.index(right) < order.index(after_right)
    ]
    digests = set()
    for order in orders:
        store = stores.open("ann")
        verdicts = accept(store, first, *order)
        assert not {Verdict.EARLY, Verdict.REFUSED} & set(verdicts)
        assert verdicts.count(Verdict.FORKED) == 2
        assert names(store) == [b"d1", b"d2", b"d3", b"d4", b"d5"]
        digests.add(store.journal.digest())
    assert len(digests) == 1


def test_device_with_an_older_database_gets_its_own_changes_back_and_can_be_heard(stores: Stores) -> None:
    """It published before it met anybody who could have told it that its database is an old one."""
    ann, peer = stores.open("ann"), stores.open("bob")
    ours = Author("ann")
    ours.incarnation = ann.journal.incarnation
    first = ours.publish(directory(1))
    accept(peer, first, ours.publish(directory(2)), ours.publish(directory(3)))
    ann.journal.author([directory(9)], ann.keyring, ann.membership, 0)  # the same number as `first`
    before = ann.journal.incarnation
    heads = [raw for _, raw in peer.journal.moved_after(0, 100).heads]
    assert accept(ann, *carried(peer, heads)) == [Verdict.FORKED, Verdict.APPLIED, Verdict.APPLIED]
    assert ann.journal.incarnation != before
    ann.journal.author([directory(10)], ann.keyring, ann.membership, 0)
    for _, raw in ann.journal.moved_after(0, 100).heads:
        accept(peer, *carried(ann, [raw]))
    assert names(peer) == names(ann) == [b"d1", b"d10", b"d2", b"d3", b"d9"]


def carried(store: FolderStore, heads: Sequence[bytes]) -> list[Arrived]:
    """What a store tells others, as it arrives there."""
    arrived = []
    for raw in heads:
        head = decode_head_untrusted(raw)
        body = store.journal.body(head.cid)
        assert body is not None
        arrived.append(Arrived(head, store.open_changeset_untrusted(head, body), body))
    return arrived


def test_everything_of_a_removed_author_is_kept_aside_and_holds_up_nobody(stores: Stores) -> None:
    gone, cid = Author("bob"), Author("cid")
    late = [gone.publish(directory(1)), gone.publish(directory(2)), gone.publish(directory(3))]
    fine = cid.publish(directory(4))
    store = stores.open("ann", Roster(removed=["bob"]))
    assert accept(store, *late, fine) == [Verdict.QUARANTINED] * 3 + [Verdict.APPLIED]
    assert names(store) == [b"d4"]
    told = store.journal.moved_after(0, 100)
    assert len(told.heads) == 4  # others judge for themselves, and can follow what names these


def test_removed_author_makes_nothing_older_before_somebody_with_rights_has_seen_it(stores: Stores) -> None:
    """A label of 1970 moves all that it has seen: who asks for yesterday's tree would get today's."""
    gone, cid, dan = Author("bob"), Author("cid"), Author("dan")
    fine = [cid.publish(directory(1), time_ms=5_000), cid.publish(directory(2), time_ms=6_000)]
    late = gone.publish(directory(3), seen=[cid], time_ms=1)
    store = stores.open("ann", Roster(removed=["bob"]))
    assert accept(store, *fine, late)[-1] is Verdict.QUARANTINED
    times = "SELECT at_ms FROM moment ORDER BY seq"
    assert store.connection.execute(times).fetchall() == [(5_000,), (6_000,), (6_000,)]
    assert accept(store, dan.publish(directory(4), seen=[gone], time_ms=9_000)) == [Verdict.APPLIED]
    assert store.connection.execute(times).fetchall() == [(1,), (1,), (1,), (9_000,)]


def test_what_somebody_with_rights_had_seen_counts_with_all_its_past(stores: Stores) -> None:
    gone, cid = Author("bob"), Author("cid")
    late = [gone.publish(directory(1)), gone.publish(directory(2))]
    vouched = cid.publish(directory(3), seen=[gone])
    unseen = gone.publish(directory(4))
    store = stores.open("ann", Roster(removed=["bob"]))
    assert accept(store, *late, unseen, vouched)[-1] is Verdict.APPLIED
    assert names(store) == [b"d1", b"d2", b"d3"]
    newest = store.journal.newest_seq()
    assert store.journal.moved_after(newest - 1, 10).newest == newest  # no number is used twice


def test_what_two_removed_authors_told_each_other_counts_once_somebody_else_had_seen_it(stores: Stores) -> None:
    gone, also_gone, cid = Author("bob"), Author("dan"), Author("cid")
    first = gone.publish(directory(1))
    between = also_gone.publish(directory(2), seen=[gone])
    last = cid.publish(directory(3), seen=[also_gone])
    store = stores.open("ann", Roster(removed=["bob", "dan"]))
    assert accept(store, first, between) == [Verdict.QUARANTINED] * 2
    assert accept(store, last) == [Verdict.APPLIED]
    assert names(store) == [b"d1", b"d2", b"d3"]


def test_a_removed_author_cannot_write_the_past_again(stores: Stores) -> None:
    class Sealed(Roster):
        def sealed_at(self, device: DeviceId, incarnation: bytes) -> int | None:
            return 1 if device in self.removed else None

    gone = Author("bob")
    forger = gone.branch()
    genuine, forged = gone.publish(directory(1)), forger.publish(directory(2))
    store = stores.open("ann", Sealed(removed=["bob"]))
    assert accept(store, genuine, forged) == [Verdict.APPLIED, Verdict.QUARANTINED]
    assert names(store) == [b"d1"]


def test_roster_head_older_than_that_of_something_seen_is_refused(stores: Stores) -> None:
    """Else an author could go back to a time when he, or she whom he quotes, had other rights."""
    bob, cid = Author("bob"), Author("cid")
    newer = bob.publish(directory(1), roster_head=LATER_HEAD)
    store = stores.open("ann")
    assert accept(store, newer) == [Verdict.APPLIED]
    assert accept(store, cid.publish(directory(2), seen=[bob], roster_head=ROSTER_HEAD)) == [Verdict.REFUSED]
    assert accept(store, bob.publish(directory(3), roster_head=ROSTER_HEAD)) == [Verdict.REFUSED]
    assert accept(store, Author("cid", 2).publish(directory(4), seen=(), roster_head=ROSTER_HEAD)) == [Verdict.APPLIED]


def test_lamport_number_that_runs_ahead_is_refused(stores: Stores) -> None:
    store = stores.open("ann")
    assert accept(store, Author("bob").publish(directory(1), lamport=1 << 62)) == [Verdict.REFUSED]
    assert accept(store, Author("bob").publish(directory(1))) == [Verdict.APPLIED]


def test_viewer_cannot_publish_and_leaves_no_trace(stores: Stores) -> None:
    store = stores.open("ann")
    assert accept(store, Author("vic").publish(directory(1))) == [Verdict.REFUSED]
    assert store.journal.newest_seq() == 0


def test_editor_without_the_right_to_delete_cannot_delete(stores: Stores) -> None:
    store = stores.open("ann", Roster(no_delete=["bob"]))
    bob = Author("bob")
    assert accept(store, bob.publish(directory(1))) == [Verdict.APPLIED]
    assert accept(store, bob.publish(directory(1, DELETED))) == [Verdict.REFUSED]
    assert names(store) == [b"d1"]


def test_device_without_the_right_does_not_publish(stores: Stores) -> None:
    store = stores.open("vic")
    with pytest.raises(NoRight):
        store.journal.author([directory(1)], store.keyring, store.membership, 0)
    assert store.journal.newest_seq() == 0


def test_countless_journals_do_not_silence_others(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changeset has room for so many heads; those that find none are named by the next one."""
    monkeypatch.setattr(journal, "MAX_NAMED_HEADS", 20)
    store = stores.open("ann")
    count = 25
    accept(store, *(Author("bob", number).publish(directory(number)) for number in range(1, count + 1)))
    store.journal.author([directory(100_000)], store.keyring, store.membership, 0)
    store.journal.author([directory(100_001)], store.keyring, store.membership, 0)
    told = carried(store, [raw for _, raw in store.journal.moved_after(count, 10).heads])
    assert [len(one.changeset.heads) for one in told] == [20, 5]


def test_directories_that_nobody_knows_are_looked_at_once_for_one_name_in_all_of_them(stores: Stores) -> None:
    """They all stand at the root: whoever writes some thousands of these would stop a folder for hours."""
    store = stores.open("ann")
    asked: list[str] = []
    unknown = [NodeId(number.to_bytes(32, "big")) for number in range(1000, 1100)]
    records = [Record(NodeId(b"n" + nid[1:]), DIRECTORY, (), Place(nid, b"same")) for nid in unknown]
    store.connection.set_trace_callback(asked.append)
    assert accept(store, Author("bob").publish(*records)) == [Verdict.APPLIED]
    store.connection.set_trace_callback(None)
    assert 0 < sum("parent=1 AND name=" in one for one in asked) < 10
