"""Async. The connections that are open, so that those of an epoch can be cut in one stroke.

Every connection belongs here from its handshake to its end, accepted or dialled, each with a cancel scope of its own.
When an epoch ends by a removal, its sockets are first closed with linger 0, synchronously, so that not one byte leaves
after that line, and only then are their tasks cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from ca.ids import DeviceId, EpochId, FolderId
from ca.values import dataclass
from syncd.errors import TrustError
from syncd.net.stream import MAX_CONNECTION_S, TlsStream
from syncd.protocol.door import Known
from syncd.protocol.tls import Kind
from syncd.protocol.twins import NO_RUN


@dataclass(eq=False, slots=True)
class Connection:
    """One open connection. `device` is known after its hello."""

    stream: TlsStream
    address: str
    accepted: bool
    scope: trio.CancelScope
    device: DeviceId | None = None
    run: bytes = NO_RUN
    """Of that device's daemon, as its hello said."""

    @property
    def host(self) -> str:
        """The address without its port."""
        return self.address.rpartition(":")[0]

    @property
    def folder_id(self) -> FolderId | None:
        return self.stream.endpoint.folder_id

    @property
    def epoch_id(self) -> EpochId | None:
        return self.stream.endpoint.epoch_id


class Connections:
    """All open connections of the daemon."""

    def __init__(self) -> None:
        self._open: set[Connection] = set()
        self._closed_epochs: set[tuple[FolderId, EpochId]] = set()
        self.known = Known()
        """Where members proved themselves by the certificate of a folder."""

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._open))

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def hold(self, stream: TlsStream, address: str, *, accepted: bool) -> Iterator[Connection]:
        """Register a connection while the block runs; the block is cancelled when the connection is cut.

        The stream is not alive behind the block: it is cut there if nobody has closed it. No connection lives longer
        than a day.

        Raises: TrustError for an epoch that was closed, perhaps while the connection's handshake was going on.
        """
        folder_id, epoch_id = stream.endpoint.folder_id, stream.endpoint.epoch_id
        if folder_id is not None and epoch_id is not None and (folder_id, epoch_id) in self._closed_epochs:
            stream.abort()
            raise TrustError("the epoch of this connection is over")
        if stream.endpoint.kind is Kind.MEMBER:
            self.known.note(address.rpartition(":")[0])
        with trio.CancelScope(deadline=stream.opened_at + MAX_CONNECTION_S) as scope:
            connection = Connection(stream, address, accepted, scope)
            self._open.add(connection)
            try:
                yield connection
            finally:
                self._open.discard(connection)
                stream.abort()

    def give_back(self) -> None:
        """Let all of them go of memory that they need only while much is moved."""
        for connection in self:
            connection.stream.give_back()

    def close_epoch(self, folder_id: FolderId, epoch_id: EpochId) -> int:
        """Cut every connection of an epoch of a folder, now and until it is reopened; how many. Never waits."""
        self._closed_epochs.add((folder_id, epoch_id))
        return self._cut(one for one in self if one.folder_id == folder_id and one.epoch_id == epoch_id)

    def reopen_epoch(self, folder_id: FolderId, epoch_id: EpochId) -> None:
        """It is the folder's epoch after all: a quarrel was decided for it, or a branch that had lost is the chain."""
        self._closed_epochs.discard((folder_id, epoch_id))

    def close_folder(self, folder_id: FolderId) -> int:
        """Cut every connection of a folder, control connections included; how many."""
        return self._cut(one for one in self if one.folder_id == folder_id)

    def close_device(self, folder_id: FolderId, device: DeviceId) -> int:
        """Cut what a device has open in a folder; how many. Sockets that have not said who they are stay."""
        return self._cut(one for one in self if one.folder_id == folder_id and one.device == device)

    def close_where(self, is_refused: Callable[[Connection], bool]) -> int:
        """Cut every connection of which that is true; how many."""
        return self._cut(one for one in self if is_refused(one))

    def close_label(self, label: str) -> int:
        """Cut what came in by a label, such as that of a code which was burnt; how many."""
        return self._cut(one for one in self if one.stream.endpoint.label == label)

    def drain_epoch(self, folder_id: FolderId, epoch_id: EpochId, seconds: float) -> None:
        """Let the connections of an epoch live for so many seconds more, and cut those that are left then."""
        deadline = trio.current_time() + seconds
        for one in self:
            if one.folder_id == folder_id and one.epoch_id == epoch_id:
                one.scope.deadline = min(one.scope.deadline, deadline)

    def _cut(self, chosen: Iterator[Connection]) -> int:
        connections = list(chosen)
        for connection in connections:  # all sockets first: a task that is cancelled may still want to say goodbye
            connection.stream.abort()
        for connection in connections:
            connection.scope.cancel()
        return len(connections)
