"""The vectors of tests/vectors/model: bytes that any implementation must make and read, and those it must refuse."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from ca import codec
from ca.errors import RemoteProtocolError, TrustError
from ca.ids import DeviceId, EpochId, FolderId
from syncd.model.changesets import Changeset, decode_untrusted, encode
from syncd.model.cipher import BlockCipher, BlockKind, BlockRefused, Padding
from syncd.model.cutter import CutClass, Cutter
from syncd.model.heads import decode_head_untrusted, encode_head, open_announced_untrusted, verify_head
from syncd.model.ids import Cid, NodeId, Pid, VersionId, changeset_hash, new_node_id, version_id
from syncd.model.join import UNKNOWN, NodeState, Stamp, join_record
from syncd.model.lists import BlockList, pack_entry, parse_list_untrusted, split_list
from syncd.model.naming import disk_key
from syncd.model.paths import collision_name, conflict_name
from syncd.model.records import ContentKind, Record, record_untrusted
from syncd.model.view import view
from syncd.treetypes import Personality

FOLDER = Path(__file__).parents[2] / "vectors" / "model"
Case = dict[str, Any]


def load(name: str) -> Case:
    vectors: Case = json.loads((FOLDER / f"{name}.json").read_text())
    assert vectors["cases"]
    return vectors


CUTS, BLOCKS, LISTS, CHANGESETS, HEADS, NAMES, VIEWS = map(
    load, ("cuts", "blocks", "lists", "changesets", "heads", "names", "views")
)


def unhex(text: str) -> bytes:
    return bytes.fromhex(text)


def case_id(case: Any) -> str:
    return str(case.get("why") or case.get("about") or "")


def cipher_of_vectors(padding: int = 0) -> BlockCipher:
    return BlockCipher(
        FolderId(unhex(BLOCKS["folder"])),
        EpochId(unhex(BLOCKS["epoch"])),
        id_key=unhex(BLOCKS["id_key"]),
        content_key=unhex(BLOCKS["content_key"]),
        metadata_key=unhex(BLOCKS["metadata_key"]),
        padding=Padding(padding),
    )


def test_every_file_of_vectors_is_read_here() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {
        "cuts",
        "blocks",
        "lists",
        "changesets",
        "heads",
        "names",
        "views",
    }


@pytest.mark.parametrize("case", CUTS["cases"], ids=lambda case: f"{case['class']}-{case['pattern']}-{case['length']}")
def test_cuts(case: Case) -> None:
    length = case["length"]
    data = blake3(b"syncd vector cut").digest(length) if case["pattern"] == "xof" else bytes(length)
    assert Cutter(CutClass(case["class"]), unhex(case["seed"])).cut(data, final=True) == case["blocks"]


@pytest.mark.parametrize("case", BLOCKS["cases"])
def test_blocks(case: Case) -> None:
    plaintext, ciphertext = unhex(case["plaintext"]), unhex(case["ciphertext"])
    cipher = cipher_of_vectors(case["padding"])
    sealed = cipher.seal(BlockKind(case["kind"]), plaintext)
    assert sealed.pid.hex() == case["pid"]
    assert sealed.cid.hex() == case["cid"]
    assert sealed.ciphertext == ciphertext
    assert cipher.open_untrusted(BlockKind(case["kind"]), sealed.pid, len(plaintext), ciphertext) == plaintext


@pytest.mark.parametrize("case", BLOCKS["refused"], ids=case_id)
def test_refused_blocks(case: Case) -> None:
    with pytest.raises(BlockRefused):
        cipher_of_vectors(case["padding"]).open_untrusted(
            BlockKind(case["kind"]), Pid(unhex(case["pid"])), case["length"], unhex(case["ciphertext"])
        )


@pytest.mark.parametrize("case", LISTS["cases"], ids=lambda case: f"{case['count']}-{case['pid_step']}")
def test_lists(case: Case) -> None:
    epoch = EpochId(unhex(LISTS["epoch"]))
    packed = b"".join(
        pack_entry(Pid((1 + at * case["pid_step"]).to_bytes(32, "big")), Cid(bytes(32)), 1 + at % 1000, epoch)
        for at in range(case["count"])
    )
    assert blake3(packed).digest() == unhex(case["list_hash"])
    assert BlockList(packed).size == case["size"]
    assert BlockList(packed).digest() == unhex(case["digest"])
    assert [len(BlockList(part)) for part in split_list(packed)] == case["parts"]


@pytest.mark.parametrize("case", LISTS["refused"], ids=case_id)
def test_refused_lists(case: Case) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_list_untrusted(unhex(case["packed"]))


@pytest.mark.parametrize("case", CHANGESETS["cases"])
def test_changesets(case: Case) -> None:
    encoded = unhex(case["encoded"])
    changeset = decode_untrusted(encoded)
    assert described(changeset) == {key: value for key, value in case.items() if key != "encoded"}
    assert encode(changeset) == encoded


@pytest.mark.parametrize("case", CHANGESETS["refused"], ids=case_id)
def test_refused_changesets(case: Case) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_untrusted(unhex(case["encoded"]))


def described(changeset: Changeset) -> Case:
    """A changeset as the vectors spell it out."""
    name = changeset_hash(encode(changeset))
    return {
        "hash": name.hex(),
        "folder": changeset.folder.hex(),
        "device": changeset.device.hex(),
        "incarnation": changeset.incarnation.hex(),
        "counter": changeset.counter,
        "previous": changeset.previous.hex(),
        "heads": [
            {
                "device": head.device.hex(),
                "incarnation": head.incarnation.hex(),
                "counter": head.counter,
                "changeset": head.changeset.hex(),
            }
            for head in changeset.heads
        ],
        "lamport": changeset.lamport,
        "roster_head": changeset.roster_head.hex(),
        "time_ms": changeset.time_ms,
        "author_name": changeset.author_name,
        "records": [
            {"node": record.node.hex(), "version": version_id(name, index).hex(), **described_registers(record)}
            for index, record in enumerate(changeset.records)
        ],
    }


def described_registers(record: Record) -> Case:
    found: Case = {}
    if record.content is not None:
        content = record.content
        found["content"] = {"kind": content.kind.name.lower(), "replaces": hexes(record.replaces_content)}
        if content.kind is ContentKind.FILE:
            found["content"] |= {
                "class": content.cut_class,
                "size": content.size,
                "in_parts": content.is_index,
                "entries": content.blocks.hex(),
                "digest": content.digest.hex(),
            }
        if content.kind is ContentKind.SYMLINK:
            found["content"]["target"] = content.target.hex()
    if record.place is not None:
        place = record.place
        found["place"] = {
            "replaces": hexes(record.replaces_place),
            "parent": place.parent.hex(),
            "name": place.name.hex(),
        }
    if record.attributes is not None:
        attributes = record.attributes
        found["attributes"] = {
            "replaces": hexes(record.replaces_attributes),
            "mode": attributes.mode,
            "mtime_ns": attributes.mtime_ns,
            "xattrs": [[name.hex(), value.hex()] for name, value in attributes.xattrs],
        }
    return found


def hexes(versions: tuple[VersionId, ...]) -> list[str]:
    return [version.hex() for version in versions]


@pytest.mark.parametrize("at", range(len(HEADS["cases"])))
def test_heads(at: int) -> None:
    case = HEADS["cases"][at]
    head = decode_head_untrusted(unhex(case["encoded"]))
    verify_head(head, unhex(HEADS["sign_public"]))
    assert encode_head(head) == unhex(case["encoded"])
    for key, value in case.items():
        if key not in ("encoded", "body"):
            found = getattr(head, key)
            assert (found if isinstance(found, int) else found.hex()) == value
    changeset = open_announced_untrusted(cipher_of_vectors(), head, unhex(case["body"]))
    assert encode(changeset) == unhex(CHANGESETS["cases"][at]["encoded"])


@pytest.mark.parametrize("case", HEADS["refused"], ids=case_id)
def test_refused_heads(case: Case) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_head_untrusted(unhex(case["encoded"]))


@pytest.mark.parametrize("case", HEADS["unsigned"], ids=case_id)
def test_unsigned_heads(case: Case) -> None:
    with pytest.raises(TrustError):
        verify_head(decode_head_untrusted(unhex(case["encoded"])), unhex(HEADS["sign_public"]))


@pytest.mark.parametrize("case", NAMES["cases"])
def test_conflict_names(case: Case) -> None:
    name = conflict_name(unhex(case["name"]), case["author"], VersionId(unhex(case["version"])))
    assert name.hex() == case["conflict_name"]


@pytest.mark.parametrize("case", NAMES["collisions"])
def test_collision_names(case: Case) -> None:
    name = collision_name(unhex(case["name"]), NodeId(unhex(case["node"])), limit=case["limit"])
    assert name.hex() == case["collision_name"]


@pytest.mark.parametrize("case", NAMES["nodes"])
def test_new_nodes(case: Case) -> None:
    left = None if case["left"] is None else VersionId(unhex(case["left"]))
    assert new_node_id(NodeId(unhex(case["parent"])), unhex(case["name"]), left).hex() == case["node"]


@pytest.mark.parametrize("case", NAMES["keys"])
def test_what_a_disk_takes_for_one_name(case: Case) -> None:
    for flags, key in case["key"].items():
        personality = Personality(case_insensitive=flags[0] == "1", normalising=flags[1] == "1")
        assert disk_key(unhex(case["name"]), personality).hex() == key


@pytest.mark.parametrize("case", VIEWS["cases"], ids=case_id)
@pytest.mark.parametrize("backwards", [False, True])
def test_views(case: Case, backwards: bool) -> None:
    states: dict[NodeId, NodeState] = {}
    for said in reversed(case["records"]) if backwards else case["records"]:
        record = record_untrusted(codec.decode_untrusted(unhex(said["record"]), max_bytes=1 << 20))
        states[record.node] = join_record(states.get(record.node, UNKNOWN), record, stamp_of(said))
    assert tree_of(states, Personality()) == case["tree"]
    assert tree_of(states, Personality(case_insensitive=True)) == case["tree_case_insensitive"]


def stamp_of(said: Case) -> Stamp:
    return Stamp(
        said["lamport"],
        DeviceId(unhex(said["author"])),
        said["index"],
        VersionId(unhex(said["version"])),
        said["author_name"],
    )


def tree_of(states: Mapping[NodeId, NodeState], personality: Personality) -> list[Case]:
    return [
        {
            "path": [name.hex() for name in path],
            "node": item.node.hex(),
            "copy": None if item.copy is None else item.copy.hex(),
            "version": None if item.content is None else item.content.version.hex(),
        }
        for path, item in view(states, personality).walk()
    ]
