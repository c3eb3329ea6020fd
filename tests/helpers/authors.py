"""Pure. Authors who publish whatever a test wants, rightly signed: forks, numbers that run ahead, old roster heads."""

from __future__ import annotations

from collections.abc import Sequence

from ca.ids import EntryHash
from syncd.model.changesets import Changeset, HeadRef, seal_changeset
from syncd.model.heads import Head, sign_head
from syncd.model.ids import NO_CHANGESET, NO_CID, ROOT_NODE, ChangesetHash, Incarnation, NodeId
from syncd.model.records import DIRECTORY, Attributes, Content, Place, Record
from syncd.store.folder import Arrived
from tests.helpers.tasks import FOLDER_ID, ROSTER_HEAD, device_keys, keyring


def directory(number: int, content: Content = DIRECTORY) -> Record:
    """A record that makes one directory at the root (or sets another content for that node)."""
    node = NodeId(number.to_bytes(32, "big"))
    return Record(node, content, (), Place(ROOT_NODE, b"d%d" % number), (), Attributes(0o700), ())


class Author:
    """One journal. `branch` gives another author of the same journal, from where it is now."""

    def __init__(self, name: str, incarnation: int = 1) -> None:
        self.name = name
        self.keys = device_keys(name)
        self.device = self.keys.public.id
        self.incarnation = Incarnation(incarnation.to_bytes(16, "big"))
        self.newest: Head | None = None
        self.lamport = 0

    def branch(self) -> Author:
        other = Author(self.name)
        other.incarnation, other.newest, other.lamport = self.incarnation, self.newest, self.lamport
        return other

    @property
    def ref(self) -> HeadRef:
        assert self.newest is not None
        return HeadRef(self.device, self.incarnation, self.newest.counter, self.newest.changeset)

    def publish(
        self,
        *records: Record,
        seen: Sequence[Author] = (),
        roster_head: EntryHash = ROSTER_HEAD,
        lamport: int | None = None,
        time_ms: int = 0,
        approves: Sequence[ChangesetHash] = (),
    ) -> Arrived:
        """The next changeset of this journal, as it arrives elsewhere. `seen`: whose newest ones it names."""
        before = self.newest
        self.lamport = 1 + max([self.lamport, *(other.lamport for other in seen)]) if lamport is None else lamport
        changeset = Changeset(
            FOLDER_ID,
            self.device,
            self.incarnation,
            1 if before is None else before.counter + 1,
            NO_CHANGESET if before is None else before.changeset,
            tuple(sorted(other.ref for other in seen)),
            self.lamport,
            roster_head,
            time_ms,
            self.name,
            records,
            tuple(sorted(approves)),
        )
        cipher = keyring().cipher()
        sealed = seal_changeset(cipher, changeset)
        body = bytes(sealed.block.ciphertext)
        previous_cid = NO_CID if before is None else before.cid
        self.newest = sign_head(self.keys, cipher, changeset, sealed, previous_cid, b"s" * 16)
        return Arrived(self.newest, changeset, body)
