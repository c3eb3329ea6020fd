"""Values of the model for tests: short builders, and Hypothesis strategies for everything that travels."""

from __future__ import annotations

from hypothesis import strategies as st

from ca.ids import DeviceId, EntryHash, EpochId, FolderId
from syncd.model.changesets import Changeset, HeadRef
from syncd.model.cipher import BlockCipher, Padding
from syncd.model.cutter import CutClass
from syncd.model.ids import (
    NO_CHANGESET,
    ChangesetHash,
    Cid,
    Incarnation,
    NodeId,
    Pid,
    VersionId,
)
from syncd.model.join import Stamp, Versioned
from syncd.model.lists import BlockList, pack_entry
from syncd.model.paths import is_reserved
from syncd.model.records import (
    DELETED,
    DIRECTORY,
    Attributes,
    Content,
    Place,
    Record,
    file_of,
    file_of_parts,
    symlink_to,
)
from syncd.model.xattrs import travels

# --- builders --------------------------------------------------------------------------------------------------------


def id32(number: int) -> bytes:
    """32 bytes that stand for a number."""
    return number.to_bytes(32, "big")


def node_id(number: int) -> NodeId:
    return NodeId(id32(number))


def version(number: int) -> VersionId:
    return VersionId(id32(number))


def stamp(number: int, author_name: str = "anna") -> Stamp:
    """A stamp whose rank is its number."""
    return Stamp(number, DeviceId(id32(1)), 0, version(number), author_name)


def file_with(number: int, size: int = 1) -> Content:
    """A file of one block; other numbers are other contents."""
    return file_of(CutClass.SMALL, size, pack_entry(Pid(id32(number)), Cid(id32(number)), size, EpochId(id32(9))))


def at(number: int, parent: int, name: bytes, author_name: str = "anna") -> Versioned[Place]:
    """A place given by the record with this rank."""
    return Versioned(stamp(number, author_name), Place(node_id(parent), name))


def head(number: int, content: Content, author_name: str = "anna") -> Versioned[Content]:
    """A content version given by the record with this rank."""
    return Versioned(stamp(number, author_name), content)


def cipher(epoch: int = 1, padding: Padding = Padding.NONE) -> BlockCipher:
    return BlockCipher(
        FolderId(id32(1)),
        EpochId(epoch.to_bytes(32, "little")),
        id_key=id32(2),
        content_key=id32(3),
        metadata_key=id32(4),
        padding=padding,
    )


# --- strategies ------------------------------------------------------------------------------------------------------


def hashes() -> st.SearchStrategy[bytes]:
    return st.binary(min_size=32, max_size=32)


def names() -> st.SearchStrategy[bytes]:
    """Names that may stand in a folder, from plain to nearly impossible."""
    odd = [b"a", b"A", b"a.txt", b"\xff\xfe", "é.md".encode(), "e\u0301.md".encode(), b"x\ny", b"..."]
    raw = st.binary(min_size=1, max_size=255).map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"0"))
    return (st.sampled_from(odd) | raw).filter(lambda name: name not in (b".", b"..") and not is_reserved(name))


def entries(count: int) -> st.SearchStrategy[bytes]:
    """`count` packed entries with distinct pids."""
    return st.builds(
        lambda seed, lengths: b"".join(
            pack_entry(Pid(id32(seed + at)), Cid(id32(seed)), length, EpochId(id32(seed)))
            for at, length in enumerate(lengths)
        ),
        st.integers(1, 1 << 200),
        st.lists(st.integers(1, 1 << 20), min_size=count, max_size=count),
    )


def _file(blocks: bytes, cut_class: CutClass) -> Content:
    return file_of(cut_class, BlockList(blocks).size, blocks)


def contents() -> st.SearchStrategy[Content]:
    """Values of the content register of every kind."""
    return st.one_of(
        st.just(DELETED),
        st.just(DIRECTORY),
        st.builds(symlink_to, st.binary(min_size=1, max_size=300).filter(lambda target: b"\0" not in target)),
        st.builds(_file, st.integers(0, 4).flatmap(entries), st.sampled_from(CutClass)),
        st.builds(
            lambda size, digest: file_of_parts(
                CutClass.LARGE,
                size,
                pack_entry(Pid(id32(1)), Cid(id32(2)), 76 * 64, EpochId(id32(3)))
                + pack_entry(Pid(id32(4)), Cid(id32(5)), 76, EpochId(id32(3))),
                digest,
            ),
            st.integers(1, (1 << 63) - 1),
            hashes(),
        ),
    )


def attributes() -> st.SearchStrategy[Attributes]:
    """Values of the attributes register."""
    xattr_names = st.binary(min_size=1, max_size=20).map(lambda name: b"user." + name).filter(travels)
    xattrs = st.dictionaries(xattr_names, st.binary(max_size=40), max_size=3)
    return st.builds(
        Attributes,
        st.none() | st.integers(0, 0o777),
        st.none() | st.integers(-(1 << 63), (1 << 63) - 1),
        xattrs.map(lambda pairs: tuple(sorted(pairs.items()))),
    )


def replaces() -> st.SearchStrategy[tuple[VersionId, ...]]:
    return st.sets(hashes().map(VersionId), max_size=3).map(lambda versions: tuple(sorted(versions)))


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Valid records."""
    content, place, given = draw(
        st.tuples(
            st.none() | contents(),
            st.none() | st.builds(Place, hashes().map(NodeId), names()),
            st.none() | attributes(),
        ).filter(any)
    )
    none = st.just(())
    return Record(
        NodeId(b"\x01" + draw(st.binary(min_size=31, max_size=31))),
        content,
        draw(none if content is None else replaces()),
        place,
        draw(none if place is None else replaces()),
        given,
        draw(none if given is None else replaces()),
    )


@st.composite
def changesets(draw: st.DrawFn) -> Changeset:
    """Valid changesets of a few records."""
    counter = draw(st.integers(1, (1 << 63) - 1))
    head_refs = st.builds(
        HeadRef,
        hashes().map(DeviceId),
        st.binary(min_size=16, max_size=16).map(Incarnation),
        st.integers(1, 1 << 40),
        hashes().map(ChangesetHash),
    )
    return Changeset(
        FolderId(draw(hashes())),
        DeviceId(draw(hashes())),
        Incarnation(draw(st.binary(min_size=16, max_size=16))),
        counter,
        NO_CHANGESET if counter == 1 else ChangesetHash(b"\x01" + draw(st.binary(min_size=31, max_size=31))),
        tuple(sorted(draw(st.sets(head_refs, max_size=3)))),
        draw(st.integers(1, 1 << 62)),
        EntryHash(draw(hashes())),
        draw(st.integers(0, (1 << 53) - 1)),
        draw(st.text(max_size=20)),
        tuple(draw(st.lists(records(), max_size=4, unique_by=lambda record: record.node))),
    )
