"""The law of registers holds for any set of records: order and grouping do not matter, repetition does not either."""

from __future__ import annotations

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from ca.ids import DeviceId
from syncd.model.ids import VersionId
from syncd.model.join import UNKNOWN, NodeState, Stamp, decide, join_record, join_states, state_of
from syncd.model.records import DELETED, DIRECTORY, Attributes, Content, Place, Record
from tests.helpers.model_values import file_with, id32, node_id

NODE = node_id(1000)
VERSIONS = [VersionId(id32(number)) for number in range(12)]

Said = tuple[Record, Stamp]

contents = st.sampled_from([DELETED, DIRECTORY, file_with(1), file_with(2)])
replaced = st.sets(st.sampled_from(VERSIONS), max_size=4).map(lambda versions: tuple(sorted(versions)))


@st.composite
def histories(draw: st.DrawFn) -> list[Said]:
    """Any records about one node, honest or not; each version once."""
    said = []
    for version in draw(st.lists(st.sampled_from(VERSIONS), unique=True)):
        content, place, attributes = draw(
            st.tuples(
                st.none() | contents,
                st.none() | st.builds(Place, st.integers(0, 5).map(node_id), st.sampled_from([b"a", b"b"])),
                st.none() | st.builds(Attributes, st.integers(0, 0o777)),
            ).filter(any)
        )
        record = Record(NODE, content, () if content is None else draw(replaced), place, (), attributes)
        stamp = Stamp(draw(st.integers(1, 5)), DeviceId(id32(draw(st.integers(0, 2)))), 0, version, "anna")
        said.append((record, stamp))
    return said


def joined(said: list[Said]) -> NodeState:
    return reduce(lambda state, each: join_record(state, *each), said, UNKNOWN)


@given(histories(), st.data())
def test_order_does_not_matter(said: list[Said], data: st.DataObject) -> None:
    assert joined(data.draw(st.permutations(said))) == joined(said)


@given(histories(), st.data())
def test_grouping_does_not_matter(said: list[Said], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(said)))
    assert join_states(joined(said[:at]), joined(said[at:])) == joined(said)


@given(histories(), st.data())
def test_hearing_something_again_changes_nothing(said: list[Said], data: st.DataObject) -> None:
    again = data.draw(st.lists(st.sampled_from(said))) if said else []
    assert joined(said + again) == joined(said)
    assert join_states(joined(said), joined(again)) == joined(said)


@given(histories(), histories())
def test_joining_commutes_and_nothing_is_neutral(one: list[Said], other: list[Said]) -> None:
    first, second = joined(one), joined([each for each in other if each[1].version not in {s.version for _, s in one}])
    assert join_states(first, second) == join_states(second, first)
    assert join_states(first, first) == join_states(first, UNKNOWN) == join_states(UNKNOWN, first) == first


@given(histories())
def test_exactly_the_content_versions_that_nobody_replaces_are_heads(said: list[Said]) -> None:
    gone = {version for record, _ in said for version in record.replaces_content}
    kept = {stamp.version for record, stamp in said if record.content is not None} - gone
    assert {head.version for head in joined(said).heads} == kept


@given(histories())
def test_the_greatest_place_and_attributes_hold(said: list[Said]) -> None:
    state = joined(said)
    places = [stamp for record, stamp in said if record.place is not None]
    attributes = [stamp for record, stamp in said if record.attributes is not None]
    assert [place.stamp for place in state.places] == sorted(places)
    assert (state.attributes and state.attributes.stamp) == max(attributes, default=None)


@given(histories())
def test_every_living_content_is_shown_once(said: list[Said]) -> None:
    heads = joined(said).heads
    verdict = decide(heads)
    shown: list[Content] = [each.value for each in ([verdict.shown] if verdict.shown else []) + list(verdict.copies)]
    assert len({content.identity for content in shown}) == len(shown)
    assert {content.identity for content in shown} == {
        head.value.identity for head in heads if not head.value.is_deleted
    }


def test_a_record_alone_is_its_state() -> None:
    record = Record(NODE, file_with(1))
    stamp = Stamp(1, DeviceId(id32(1)), 0, VERSIONS[0], "anna")
    assert join_record(UNKNOWN, record, stamp) == state_of(record, stamp)
