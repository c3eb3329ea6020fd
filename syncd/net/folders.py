"""Pure. What connections ask of a folder's membership, and of the device they belong to: the interfaces, nothing
else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from ca.device import PublicDevice
from ca.ids import DeviceId, EntryHash, FolderId
from ca.roles import Role
from ca.roster import EpochInfo, Head, Relation, Roster
from syncd.engine.membership import Update
from syncd.protocol.messages import RosterPage, RosterSubmit
from syncd.protocol.tls import Outgoing


class Membership(Protocol):
    """One folder's membership on this device (`daemon.membership`)."""

    on_update: list[Callable[[Update], None]]

    @property
    def folder_id(self) -> FolderId: ...

    @property
    def device(self) -> DeviceId: ...

    @property
    def roster(self) -> Roster: ...

    @property
    def head(self) -> EntryHash: ...

    @property
    def head_at(self) -> Head: ...

    @property
    def epoch(self) -> EpochInfo: ...

    @property
    def is_current(self) -> bool: ...

    @property
    def is_out(self) -> bool: ...

    @property
    def is_complete(self) -> bool: ...

    @property
    def announcement_key(self) -> bytes | None: ...

    def devices(self) -> tuple[PublicDevice, ...]: ...

    def role_of(self, device: DeviceId) -> Role | None: ...

    def relation(self, head: Head) -> Relation: ...

    def outgoing_member(self) -> Outgoing: ...

    def outgoing_control(self, device: DeviceId) -> Outgoing: ...

    def page_for(self, device: DeviceId, after: int) -> RosterPage | None: ...

    def submission(self) -> RosterSubmit: ...

    async def submit_untrusted(self, submit: RosterSubmit) -> Update: ...

    async def catch_up(self, fetch: Callable[[int], Awaitable[RosterPage]], theirs: Head | None = None) -> Update: ...


class Commands(Protocol):
    """What this device does at another's word (`daemon.commanding`)."""

    async def obey_untrusted(self, folder: FolderId, device: DeviceId, raw: bytes) -> bytes:
        """Take a signed command that a proved device handed in; the report. Raises RemoteProtocolError."""
        ...

    def report(self, folder: FolderId, device: DeviceId, nonce: bytes) -> bytes | None:
        """How far a command is, for the device that signed it."""
        ...


class Rescue(Protocol):
    """What the holder of a recovery key is told, and what members leave with each other (`daemon.rescuing`)."""

    async def answer_untrusted(self, label: str, exporter: bytes, raw: bytes) -> bytes | None:
        """The answer to a request; None: nothing of the kind is here. Raises TrustError, RemoteProtocolError."""
        ...

    async def keep_untrusted(self, folder: FolderId, device: DeviceId, raw: bytes) -> None:
        """A proved device leaves its keepsake. Raises RemoteProtocolError."""
        ...


class AddressBook(Protocol):
    """Where devices were seen, across restarts (`daemon.devicedb`)."""

    async def addresses(self, device: DeviceId) -> Sequence[str]:
        """Newest first."""
        ...

    async def note(self, device: DeviceId, addresses: Sequence[str], source: str) -> None: ...

    async def seen(self, folder: FolderId, device: DeviceId) -> None: ...

    async def last_seen(self, folder: FolderId) -> dict[DeviceId, float]:
        """Wall clock, seconds."""
        ...


class Answerer(Protocol):
    """Answers the messages of one connection on a pairing label."""

    async def answer_untrusted(self, body: bytes) -> bytes: ...


class Pairing(Protocol):
    """The open invitations of this device (`daemon.answering`)."""

    def connect(self, label: str, export: Callable[[bytes, int], bytes], address: str) -> Answerer: ...
