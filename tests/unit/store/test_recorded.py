from __future__ import annotations

from collections import Counter

import pytest

from syncd.model.changesets import Changeset
from syncd.model.heads import Head
from syncd.model.ids import ROOT_NODE, NodeId
from syncd.model.records import Place, Record, symlink_to
from syncd.store.prepare import What
from syncd.store.recorded import MOST_OPEN, Recorded
from tests.helpers.authors import Author
from tests.unit.store.test_journal import Stores

NAMES, VERSIONS = 20, 5


def records_of(cs: int) -> list[Record]:
    return [Record(NodeId(bytes((cs, idx)) * 16)) for idx in range(3)]


def test_changeset_is_opened_once_for_all_its_records() -> None:
    opened: list[int] = []

    def open_(cs: int) -> list[Record]:
        opened.append(cs)
        return records_of(cs)

    recorded = Recorded(open_)
    for idx in range(3):
        for cs in range(MOST_OPEN):
            assert recorded.of(cs, idx) == records_of(cs)[idx]
    assert opened == list(range(MOST_OPEN))
    assert recorded.of(MOST_OPEN, 0) == records_of(MOST_OPEN)[0], "one more takes the place of the first"
    assert recorded.of(1, 0) == records_of(1)[0]
    assert recorded.of(0, 0) == records_of(0)[0]
    assert opened == [*range(MOST_OPEN), MOST_OPEN, 0]


def test_what_many_conflict_copies_look_like_is_read_from_each_changeset_once(monkeypatch: pytest.MonkeyPatch) -> None:
    store, bob, opened = Stores().open("ann"), Author("bob"), Counter[bytes]()
    opening = store.open_changeset_untrusted

    def count(head: Head, body: bytes) -> Changeset:
        opened[head.changeset] += 1
        return opening(head, body)

    for version in range(VERSIONS):
        records = [
            Record(
                NodeId(bytes([number + 1]) * 32),
                symlink_to(b"version %d of %d" % (version, number)),
                place=Place(ROOT_NODE, b"name %d" % number),
            )
            for number in range(NAMES)
        ]
        store.db_accept([bob.publish(*records)])
    monkeypatch.setattr(store, "open_changeset_untrusted", count)
    round_, _ = store.db_plan(0, 0.0, ())
    copies = [want for want in round_.wants if want.what is What.COPY]
    assert len(copies) == NAMES * (VERSIONS - 1)
    assert len(opened) >= VERSIONS - 1
    assert set(opened.values()) == {1}
