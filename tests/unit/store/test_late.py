"""A person lets count what was kept apart: on all devices, what was shown and its past, and only who may."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from syncd.model.heads import decode_head_untrusted
from syncd.model.records import DELETED
from syncd.store.apart import db_apart
from syncd.store.folder import FolderStore
from syncd.store.journal import NoRight
from syncd.store.late import db_late, db_leave_apart, db_let_count
from tests.helpers.authors import Author, directory
from tests.unit.store.test_journal import Roster, Stores, accept, carried, names
from tests.unit.store.test_judging import Sealed


@pytest.fixture
def stores() -> Iterator[Stores]:
    made = Stores()
    yield made
    for databases in made.databases:
        databases.close()


def tell(teller: FolderStore, hearer: FolderStore) -> None:
    accept(hearer, *carried(teller, [raw for _, raw in teller.journal.moved_after(0, 1000).heads]))


def test_yes_counts_on_every_device_with_all_the_past(stores: Stores) -> None:
    roster = Roster(removed=["bob", "dan"])
    ann, cid = stores.open("ann", roster), stores.open("cid", roster)
    bob, other, dan = Author("bob"), Author("bob", 2), Author("dan")
    late = [dan.publish(directory(9)), bob.publish(directory(1), seen=[dan]), bob.publish(directory(2))]
    late.append(other.publish(directory(3)))
    for store in (ann, cid):
        accept(store, *late)
    shown = {one.device: one for one in db_late(ann)}
    assert shown[bob.device].changesets == 3 and shown[bob.device].author == "bob"
    assert db_let_count(ann, shown[bob.device], 0) == 4
    tell(ann, cid)
    assert names(ann) == names(cid) == [b"d1", b"d2", b"d3", b"d9"]
    assert not db_late(ann) and not db_late(cid) and not db_apart(cid.connection)
    assert ann.journal.digest() == cid.journal.digest()


def test_yes_holds_for_what_was_shown(stores: Stores) -> None:
    ann, bob = stores.open("ann", Roster(removed=["bob"])), Author("bob")
    accept(ann, bob.publish(directory(1)))
    (shown,) = db_late(ann)
    accept(ann, bob.publish(directory(2)), Author("bob", 2).publish(directory(3)))
    db_let_count(ann, shown, 0)
    assert names(ann) == [b"d1"]
    (rest,) = db_late(ann)
    assert rest.changesets == 2 and rest.newest != shown.newest


def test_who_may_not_write_lets_nothing_count(stores: Stores) -> None:
    vic = stores.open("vic", Roster(removed=["bob"]))
    accept(vic, Author("bob").publish(directory(1)))
    (shown,) = db_late(vic)
    with pytest.raises(NoRight):
        db_let_count(vic, shown, 0)
    assert names(vic) == [] and len(db_late(vic)) == 1 and vic.journal.own_head() is None


def test_who_may_not_delete_lets_no_deletion_count(stores: Stores) -> None:
    ann = stores.open("ann", Roster(removed=["bob"], no_delete=["ann"]))
    bob = Author("bob")
    accept(ann, bob.publish(directory(1, DELETED)))
    (shown,) = db_late(ann)
    with pytest.raises(NoRight):
        db_let_count(ann, shown, 0)
    assert len(db_late(ann)) == 1 and ann.journal.own_head() is None
    added = bob.publish(directory(2))
    accept(ann, added)
    (shown,) = db_late(ann)
    assert db_let_count(ann, shown, 0) == 1  # what she may, and the rest waits for somebody who may more
    assert names(ann) == [b"d2"] and len(db_late(ann)) == 1


def test_what_was_let_count_is_not_put_aside_again(stores: Stores) -> None:
    ann = stores.open("ann", Roster(removed=["bob"]))
    accept(ann, Author("bob").publish(directory(1)))
    (shown,) = db_late(ann)
    db_let_count(ann, shown, 0)
    assert ann.db_judge_again() == 0 and names(ann) == [b"d1"]
    head = decode_head_untrusted(ann.journal.moved_after(1, 1).heads[0][1])
    assert head.device == ann.journal.device


def test_no_holds_for_what_was_shown(stores: Stores) -> None:
    ann, bob = stores.open("ann", Roster(removed=["bob", "dan"])), Author("bob")
    accept(ann, bob.publish(directory(1)), Author("dan").publish(directory(9)))
    shown = next(one for one in db_late(ann) if one.device == bob.device)
    db_leave_apart(ann, shown)
    assert {one.author: one.denied for one in db_late(ann)} == {"bob": True, "dan": False}
    assert sum(one.denied for one in db_apart(ann.connection)) == 1
    accept(ann, bob.publish(directory(2)))
    assert not any(one.denied for one in db_late(ann))
    assert not any(one.denied for one in db_apart(ann.connection))


def test_no_was_not_meant_for_what_counted_then(stores: Stores) -> None:
    ann, dan = stores.open("ann", Sealed({"dan": 1})), Author("dan")
    ann.membership = Roster()
    accept(ann, dan.publish(directory(1)))
    ann.membership = Sealed({"dan": 1})
    accept(ann, dan.publish(directory(2)))
    (shown,) = db_late(ann)
    db_leave_apart(ann, shown)
    assert names(ann) == [b"d1"] and db_late(ann)[0].denied
    ann.membership = Sealed({"dan": 0})
    assert ann.db_judge_again() == 1 and names(ann) == []
    (more,) = db_late(ann)
    assert more.changesets == 2 and not more.denied
