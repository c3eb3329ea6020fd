from __future__ import annotations

from syncd.model.ids import ROOT_NODE, VersionId, changeset_hash, cid_of, new_node_id, version_id


def test_devices_that_make_one_path_with_the_same_knowledge_get_one_node() -> None:
    assert new_node_id(ROOT_NODE, b"docs", None) == new_node_id(ROOT_NODE, b"docs", None)


def test_a_path_that_something_left_gives_another_node() -> None:
    left = VersionId(b"\x01" * 32)
    assert new_node_id(ROOT_NODE, b"docs", left) != new_node_id(ROOT_NODE, b"docs", None)


def test_names_and_parents_give_other_nodes() -> None:
    docs = new_node_id(ROOT_NODE, b"docs", None)
    assert len({docs, new_node_id(ROOT_NODE, b"doc", None), new_node_id(docs, b"docs", None)}) == 3


def test_every_record_of_a_changeset_is_a_version_of_its_own() -> None:
    name = changeset_hash(b"body")
    assert len({version_id(name, index) for index in range(300)}) == 300


def test_a_name_for_one_purpose_is_none_for_another() -> None:
    assert bytes(changeset_hash(b"same bytes")) != bytes(cid_of(b"same bytes"))
