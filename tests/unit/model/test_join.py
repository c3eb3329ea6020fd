from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from ca.ids import DeviceId, EntryHash, EpochId, FolderId
from syncd.model.changesets import Changeset
from syncd.model.cutter import CutClass
from syncd.model.ids import NO_CHANGESET, ChangesetHash, Cid, Incarnation, Pid, version_id
from syncd.model.join import UNKNOWN, NodeState, Stamp, Verdict, decide, join_record, join_states, stamps, state_of
from syncd.model.lists import pack_entry
from syncd.model.records import DELETED, DIRECTORY, Attributes, Content, Place, Record, file_of
from tests.helpers.model_values import file_with, head, id32, node_id, stamp, version

NODE = node_id(7)


def says(content: Content, *replaced: int) -> Record:
    return Record(NODE, content, tuple(version(number) for number in replaced))


def joined(*records: tuple[int, Record]) -> NodeState:
    state = UNKNOWN
    for number, record in records:
        state = join_record(state, record, stamp(number))
    return state


def versions_of(state: NodeState) -> list[int]:
    return [int.from_bytes(each.version, "big") for each in state.heads]


def test_a_version_takes_the_place_of_what_it_replaces() -> None:
    assert versions_of(joined((1, says(file_with(1))), (2, says(file_with(2), 1)))) == [2]


def test_concurrent_versions_are_both_kept() -> None:
    state = joined((1, says(file_with(1))), (2, says(file_with(2), 1)), (3, says(file_with(3), 1)))
    assert versions_of(state) == [2, 3]


def test_a_version_ends_every_conflict_it_names() -> None:
    state = joined((1, says(file_with(1))), (2, says(file_with(2))), (3, says(file_with(3), 1, 2)))
    assert versions_of(state) == [3]


def test_a_replaced_version_that_arrives_late_stays_replaced() -> None:
    assert versions_of(joined((2, says(file_with(2), 1)), (1, says(file_with(1))))) == [2]


def test_a_greater_number_does_not_replace() -> None:
    assert versions_of(joined((900, says(file_with(1))), (1, says(file_with(2))))) == [1, 900]


def test_the_greatest_place_and_attributes_win_in_any_order() -> None:
    first = Record(NODE, place=Place(node_id(1), b"a"), attributes=Attributes(mode=0o600))
    second = Record(NODE, place=Place(node_id(2), b"b"), attributes=Attributes(mode=0o644))
    for state in (joined((1, first), (2, second)), joined((2, second), (1, first))):
        assert state.place is not None
        assert state.place.value == Place(node_id(2), b"b")
        assert state.attributes is not None
        assert state.attributes.value.mode == 0o644


def test_every_place_is_remembered_in_order() -> None:
    state = joined(*((number, Record(NODE, place=Place(node_id(number), b"a"))) for number in (2, 3, 1)))
    assert [each.stamp.lamport for each in state.places] == [1, 2, 3]


def test_a_rename_here_and_an_edit_there_are_no_conflict() -> None:
    base = Record(NODE, file_with(1), place=Place(node_id(1), b"old"))
    rename = Record(NODE, place=Place(node_id(1), b"new"), replaces_place=(version(1),))
    state = joined((1, base), (2, rename), (3, says(file_with(2), 1)))
    assert versions_of(state) == [3]
    assert state.place is not None
    assert state.place.value.name == b"new"


def test_joining_states_is_joining_their_records() -> None:
    one, other = says(file_with(1)), says(file_with(2), 1)
    assert join_states(state_of(one, stamp(1)), state_of(other, stamp(2))) == joined((1, one), (2, other))


def test_stamps_rank_by_lamport_then_author_then_index() -> None:
    low = Stamp(1, DeviceId(id32(1)), 0, version(9), "zoe")
    ranked = [
        low,
        replace(low, index=1),
        replace(low, author=DeviceId(id32(2))),
        replace(low, lamport=2),
    ]
    assert all(earlier < later for earlier, later in pairwise(ranked))


def test_the_name_of_an_author_has_no_rank() -> None:
    one = stamp(1, "anna")
    assert one == replace(one, author_name="zoe")


def test_the_stamps_of_a_changeset_name_its_records() -> None:
    changeset = Changeset(
        FolderId(id32(1)),
        DeviceId(id32(2)),
        Incarnation(bytes(16)),
        1,
        NO_CHANGESET,
        (),
        7,
        EntryHash(id32(3)),
        0,
        "anna",
        (says(DELETED), says(DELETED)._replace(node=node_id(8))),
    )
    name = ChangesetHash(id32(5))
    assert list(stamps(name, changeset)) == [
        Stamp(7, DeviceId(id32(2)), index, version_id(name, index), "anna") for index in range(2)
    ]


# --- what the heads mean ---------------------------------------------------------------------------------------------


def test_one_head_is_shown() -> None:
    assert decide((head(1, file_with(1)),)) == Verdict(head(1, file_with(1)))


def test_nothing_and_deletions_show_nothing() -> None:
    assert decide(()) == decide((head(1, DELETED),)) == decide((head(1, DELETED), head(2, DELETED))) == Verdict(None)


def test_a_deletion_loses_to_any_other_content() -> None:
    assert decide((head(1, file_with(1)), head(2, DELETED))) == Verdict(head(1, file_with(1)))


def test_the_greatest_head_is_shown_and_the_others_are_copies() -> None:
    one, two, three = (head(number, file_with(number)) for number in (1, 2, 3))
    assert decide((one, two, three)) == Verdict(three, (two, one))


def test_equal_contents_are_no_conflict() -> None:
    assert decide((head(1, file_with(5)), head(2, file_with(5)))) == Verdict(head(2, file_with(5)))


def test_equal_contents_of_two_epochs_are_no_conflict() -> None:
    def in_epoch(epoch: int) -> Content:
        return file_of(CutClass.SMALL, 3, pack_entry(Pid(id32(1)), Cid(id32(epoch)), 3, EpochId(id32(epoch))))

    assert decide((head(1, in_epoch(1)), head(2, in_epoch(2)))).copies == ()


def test_a_directory_is_shown_before_any_file() -> None:
    assert decide((head(1, DIRECTORY), head(2, file_with(1)))) == Verdict(head(1, DIRECTORY), (head(2, file_with(1)),))
