"""The roster takes rights away after changesets were joined: what no longer counts is undone, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.ids import DeviceId, EntryHash
from syncd.model.ids import NodeId
from syncd.model.records import DELETED, DIRECTORY, Attributes, Place, Record
from syncd.store.folder import Arrived, FolderStore
from syncd.store.journal import QUARANTINED, Verdict
from tests.helpers.authors import Author, directory
from tests.helpers.tasks import ROSTER_HEAD
from tests.unit.store.test_journal import LATER_HEAD, NAMES, Roster, Stores, accept, names


class Sealed(Roster):
    """Whose journals were sealed at which counter, once `removed` are out."""

    def __init__(self, seals: dict[str, int]) -> None:
        super().__init__(removed=list(seals))
        self.counters = {Author(name).device: counter for name, counter in seals.items()}

    def sealed_at(self, device: DeviceId, incarnation: bytes) -> int | None:
        return self.counters.get(device)


@pytest.fixture
def stores() -> Iterator[Stores]:
    made = Stores()
    yield made
    for databases in made.databases:
        databases.close()


def judged(stores: Stores, roster: Roster, *arrived: Arrived) -> tuple[FolderStore, int]:
    """A device that accepts all of it while everybody may publish, and then learns of this roster."""
    store = stores.open("ann")
    accept(store, *arrived)
    store.membership = roster
    return store, store.db_judge_again()


def moved(number: int, name: bytes, parent: int = 0) -> Record:
    """The directory of this number under another name, or in another directory."""
    place = Place(NodeId(parent.to_bytes(32, "big")), name)
    return Record(NodeId(number.to_bytes(32, "big")), None, (), place, (), Attributes(0o711), ())


def summary(store: FolderStore) -> list[object]:
    """What everybody has to agree upon: the registers of every node that has any."""
    query = (
        "SELECT n.nid, n.kind, p.nid, n.name, n.heads, n.mode, cc.hash, n.c_idx, pc.hash, n.p_idx, ac.hash, n.a_idx "
        "FROM node n LEFT JOIN node p ON p.id=n.parent LEFT JOIN changeset cc ON cc.seq=n.c_cs "
        "LEFT JOIN changeset pc ON pc.seq=n.p_cs LEFT JOIN changeset ac ON ac.seq=n.a_cs "
        "WHERE n.id>1 AND (n.c_cs NOTNULL OR n.p_cs NOTNULL OR n.a_cs NOTNULL) ORDER BY n.nid"
    )
    quarantined = "SELECT hash FROM changeset WHERE state=? ORDER BY hash"
    tips = "SELECT a.device, j.counter, j.hash FROM journal j JOIN author a ON a.id=j.author ORDER BY 1, j.incarnation"
    return [
        store.connection.execute(query).fetchall(),
        store.connection.execute(quarantined, (QUARANTINED,)).fetchall(),
        [row for row in store.connection.execute(tips).fetchall() if row[1]],
    ]


def test_what_came_behind_the_seal_is_undone(stores: Stores) -> None:
    gone, cid = Author("bob"), Author("cid")
    early = gone.publish(directory(1))
    late = gone.publish(directory(2), moved(1, b"elsewhere"))
    fine = cid.publish(directory(3))
    store, aside = judged(stores, Sealed({"bob": 1}), early, late, fine)
    assert aside == 1 and names(store) == [b"d1", b"d3"]
    assert store.db_judge_again() == 0
    assert len(store.journal.moved_after(0, 10).heads) == 3  # it is kept, and told: others judge for themselves


def test_what_somebody_with_rights_had_seen_stays(stores: Stores) -> None:
    gone, dan, cid = Author("bob"), Author("dan"), Author("cid")
    late = [gone.publish(directory(1)), gone.publish(directory(2))]
    through = dan.publish(directory(3), seen=[gone])
    unseen = gone.publish(directory(4))
    vouched = cid.publish(directory(5), seen=[dan])
    store, aside = judged(stores, Sealed({"bob": 0, "dan": 0}), *late, through, unseen, vouched)
    assert aside == 1 and names(store) == [b"d1", b"d2", b"d3", b"d5"]


def test_word_of_two_removed_for_each_other_counts_nothing(stores: Stores) -> None:
    gone, also = Author("bob"), Author("dan")
    first = gone.publish(directory(1))
    second = also.publish(directory(2), seen=[gone])
    store, aside = judged(stores, Sealed({"bob": 0, "dan": 0}), first, second)
    assert aside == 2 and names(store) == []


def test_deletion_behind_the_seal_is_undone_and_the_directory_is_back(stores: Stores) -> None:
    gone = Author("bob")
    made = gone.publish(directory(1))
    deleted = gone.publish(directory(1, DELETED))
    store, aside = judged(stores, Sealed({"bob": 1}), made, deleted)
    assert aside == 1 and b"d1" in names(store)


def test_who_may_no_longer_delete_deletes_nothing_by_an_older_roster(stores: Stores) -> None:
    class NoMoreDeleting(Roster):
        def may_delete(self, device: DeviceId, head: EntryHash) -> bool:
            return super().may_delete(device, head) or head != self.head

        def sealed_at(self, device: DeviceId, incarnation: bytes) -> int | None:
            return 1 if device == Author("bob").device else None

    gone = Author("bob")
    made, deleted = gone.publish(directory(1)), gone.publish(directory(1, DELETED))
    added = gone.publish(directory(2))
    roster = NoMoreDeleting(no_delete=["bob"])
    store = stores.open("ann", roster)
    assert accept(store, made, deleted) == [Verdict.APPLIED, Verdict.QUARANTINED]
    assert accept(store, added) == [Verdict.APPLIED]  # its own next word does not vouch for a deletion
    assert names(store) == [b"d1", b"d2"]


def test_it_counts_again_when_somebody_with_rights_turns_out_to_have_seen_it(stores: Stores) -> None:
    gone, cid = Author("bob"), Author("cid")
    late = gone.publish(directory(1))
    store, aside = judged(stores, Sealed({"bob": 0}), late)
    assert aside == 1
    assert accept(store, cid.publish(directory(2), seen=[gone])) == [Verdict.APPLIED]
    assert names(store) == [b"d1", b"d2"]


def test_node_put_aside_whole_is_looked_at_by_the_planner(stores: Stores) -> None:
    store, _ = judged(stores, Sealed({"bob": 0}), Author("bob").publish(directory(1)))
    (pending,) = store.connection.execute("SELECT count(*) FROM node WHERE pending=1 AND kind=0 AND heads=0").fetchone()
    assert pending == 1


acts = st.lists(
    st.tuples(
        st.sampled_from(NAMES[1:4]),
        st.integers(1, 4),
        st.sampled_from(["make", "delete", "move", "into"]),
        st.lists(st.sampled_from(NAMES[1:4]), max_size=2),
    ),
    max_size=10,
)


@given(acts, st.dictionaries(st.sampled_from(NAMES[1:3]), st.integers(0, 4), min_size=1))
def test_undoing_comes_to_what_a_newcomer_makes_of_it(
    script: Sequence[tuple[str, int, str, list[str]]], seals: dict[str, int]
) -> None:
    authors = {name: Author(name) for name in NAMES[1:4]}
    arrived: list[Arrived] = []
    for name, number, verb, seen in script:
        record = {
            "make": directory(number),
            "delete": Record(NodeId(number.to_bytes(32, "big")), DELETED, (), None, (), None, ()),
            "move": moved(number, b"m%d" % len(arrived)),
            "into": moved(number, b"i%d" % number, number % 4 + 1),
        }[verb]
        known = [authors[other] for other in sorted(set(seen) - {name}) if authors[other].newest is not None]
        arrived.append(authors[name].publish(record, seen=known))
    stores = Stores()
    try:
        roster = Sealed(seals)
        store, _ = judged(stores, roster, *arrived)
        newcomer = stores.open("ann", roster)
        accept(newcomer, *arrived)
        assert summary(store) == summary(newcomer)
    finally:
        for databases in stores.databases:
            databases.close()


def test_directory_is_the_content_of_every_record_here() -> None:
    """The records above tell of directories only: their content has no blocks that would have to be fetched."""
    assert directory(1).content == DIRECTORY


# --- rights that come back, and histories of the roster that lost ----------------------------------------------------

BESIDE = EntryHash(b"B" * 32)
"""An entry in a history that parted from ours behind the first entry."""


class Forked(Roster):
    """Whose second entry has a rival. There `let_in` could publish, and on ours not, unless it was `readmitted`."""

    def __init__(self, let_in: str, *, readmitted: bool = False, rival_counts: bool = False) -> None:
        super().__init__()
        self.device = Author(let_in).device
        self.readmitted = readmitted
        self.rival_counts = rival_counts

    @property
    def head(self) -> EntryHash:
        return BESIDE if self.rival_counts else LATER_HEAD

    def number_of(self, head: EntryHash) -> int | None:
        if head == BESIDE:
            return 9 if self.rival_counts else 0
        return 0 if head == LATER_HEAD and self.rival_counts else super().number_of(head)

    def is_on_chain(self, head: EntryHash) -> bool:
        return head == ROSTER_HEAD or (head == BESIDE) == self.rival_counts

    def may_publish(self, device: DeviceId, head: EntryHash) -> bool:
        if device != self.device:
            return super().may_publish(device, head)
        return (head == BESIDE and self.rival_counts) or (head == LATER_HEAD and self.readmitted)

    def sealed_at(self, device: DeviceId, incarnation: bytes) -> int | None:
        return 0 if device == self.device and not self.may_publish(device, self.head) else None


def test_work_of_who_was_let_in_by_a_history_that_lost_is_kept_and_holds_up_nobody(stores: Stores) -> None:
    """Those who had taken that history for the right one hold it as well, so nobody may refuse it."""
    bob = Author("bob")
    early = bob.publish(directory(1), roster_head=BESIDE)
    newcomer = stores.open("ann", Forked("bob"))
    assert accept(newcomer, early) == [Verdict.QUARANTINED]
    believer = stores.open("cid", Forked("bob", rival_counts=True))
    assert accept(believer, early) == [Verdict.APPLIED] and names(believer) == [b"d1"]
    believer.membership = newcomer.membership
    assert believer.db_judge_again() == 1
    assert summary(believer) == summary(newcomer)


def test_who_never_had_the_right_in_our_own_history_is_refused_as_ever(stores: Stores) -> None:
    store = stores.open("ann", Forked("bob"))
    assert accept(store, Author("bob").publish(directory(1), roster_head=LATER_HEAD)) == [Verdict.REFUSED]
    assert accept(store, Author("bob").publish(directory(1), roster_head=ROSTER_HEAD)) == [Verdict.REFUSED]


def test_work_of_who_is_let_in_again_counts_for_all_whenever_they_learn_of_it(stores: Stores) -> None:
    bob, cid = Author("bob"), Author("cid")
    work = [bob.publish(directory(1), roster_head=BESIDE), bob.publish(directory(2), roster_head=BESIDE)]
    work.append(cid.publish(directory(3)))
    early, late = stores.open("ann", Forked("bob")), stores.open("ann", Forked("bob", readmitted=True))
    assert accept(early, *work) == [Verdict.QUARANTINED, Verdict.QUARANTINED, Verdict.APPLIED]
    early.membership = late.membership
    assert early.db_judge_again() == 2 and early.db_judge_again() == 0
    assert accept(late, *work) == [Verdict.APPLIED] * 3
    assert names(early) == [b"d1", b"d2", b"d3"]
    assert summary(early) == summary(late)


def test_rights_that_were_given_back_bring_back_what_was_put_aside(stores: Stores) -> None:
    bob = Author("bob")
    work = [bob.publish(directory(1)), bob.publish(directory(2)), bob.publish(directory(1, DELETED))]
    store, aside = judged(stores, Sealed({"bob": 1}), *work)
    assert aside == 2 and names(store) == [b"d1"]
    store.membership = Roster()
    assert store.db_judge_again() == 2
    newcomer = stores.open("ann", Roster())
    accept(newcomer, *work)
    assert summary(store) == summary(newcomer)


def test_what_comes_back_vouches_for_what_it_had_seen(stores: Stores) -> None:
    bob, dan = Author("bob"), Author("dan")
    first = dan.publish(directory(1))
    second = bob.publish(directory(2), seen=[dan])
    store, aside = judged(stores, Sealed({"bob": 0, "dan": 0}), first, second)
    assert aside == 2
    store.membership = Sealed({"dan": 0})
    store.db_judge_again()
    assert names(store) == [b"d1", b"d2"]


def test_entries_of_a_history_that_lost_are_numbered_where_it_parted(stores: Stores) -> None:
    """Else a changeset that names a later entry of the chain would look older than what it has seen."""
    cid = Author("cid")
    seen = cid.publish(directory(1), roster_head=BESIDE)
    believer = stores.open("ann", Forked("bob", rival_counts=True))
    believer.db_judge_again()
    assert accept(believer, seen) == [Verdict.APPLIED]
    believer.membership = Forked("bob")
    believer.db_judge_again()
    dan = Author("dan").publish(directory(2), seen=[cid], roster_head=LATER_HEAD)
    newcomer = stores.open("ann", Forked("bob"))
    assert accept(believer, dan) == [Verdict.APPLIED]
    assert accept(newcomer, seen, dan) == [Verdict.APPLIED] * 2
    assert summary(believer) == summary(newcomer)
