"""Async. TLS as a trio stream: moves bytes between a raw stream and the memory buffers of `protocol.tls`.

One object per connection, used by at most one sender and one receiver at a time. Plain synchronous OpenSSL calls happen
between awaits, so only the order of what leaves needs a lock. Reading may have to answer (a key update), and the
reader never waits for a blocked sender: if somebody is flushing, that one takes the answer along.

For speed a send is one OpenSSL call and one raw write per 256 KiB, and a receive returns all records that one raw
read brought.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from types import TracebackType

import trio
from OpenSSL import SSL

from syncd.errors import PeerUnavailable, RemoteProtocolError, TrustError
from syncd.protocol import tls
from syncd.protocol.hello import Channel
from syncd.protocol.records import RECORD_BYTES, decrypt_into, produced, produced_into
from syncd.seams import Buffer, RawStream

HANDSHAKE_S = 10.0
MAX_HANDSHAKE_BYTES = 64 * 1024  # from the peer; ours takes two thousand
ALERT_S = 0.2
CLOSE_S = 1.0  # how long a polite goodbye may take
WRITE_BYTES = 256 * 1024  # measured: larger writes leave the processor's cache and are slower
READ_BYTES = 256 * 1024
BULK_BYTES = 64 * 1024
"""A connection that once sends or brings so much at a time gets memory of its own for that: making new memory for each
piece costs more than encrypting it. Most connections never do. It stays until `give_back`."""
_RECORD_EXTRA = 256
"""At most what a record adds to its content (RFC 8446 §5.2)."""

STALL_S = 300.0
"""A peer that takes not a single byte for so long is given up, alive or not. Slow ones take some now and then."""

# Far below the limits of AES-GCM under one key (RFC 8446 §5.5 allows 2^24.5 full records).
MAX_CONNECTION_BYTES = 128 * 2**30
MAX_CONNECTION_S = 24 * 3600.0
WORN_BYTES = MAX_CONNECTION_BYTES - 2**30  # from here on no new request starts
WORN_S = MAX_CONNECTION_S - 600.0

# A peer that sends records without content (padding, key updates) keeps us working for nothing.
MAX_BARREN_BYTES = 1 << 20


_REFUSALS = ("unknown ca", "bad certificate", "certificate required", "certificate unknown", "access denied")


class Guard:
    """Turns a second user at the same time into trio.BusyResourceError."""

    __slots__ = ("_busy", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._busy = False

    def __enter__(self) -> None:
        if self._busy:
            raise trio.BusyResourceError(f"another task is {self._what} this stream")
        self._busy = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._busy = False


class TlsStream(trio.abc.Stream):
    """An encrypted stream whose handshake is done and whose peer has been checked. Made by `accept_tls` and
    `connect_tls`."""

    def __init__(self, raw: RawStream, connection: SSL.Connection, endpoint: tls.Endpoint, side: tls.Side) -> None:
        self.endpoint = endpoint
        self.side = side
        self.speaks_syncd = tls.speaks_syncd(connection)
        self.opened_at = trio.current_time()
        self.moved_bytes = 0
        self.refusal: str | None = None  # the alert by which the peer turned our certificate down
        self._raw = raw
        self._connection = connection
        self._sending = Guard("sending on")
        self._receiving = Guard("receiving from")
        self._flushing = trio.Lock()
        self._barren_bytes = 0
        self._is_drained = False
        """All that was received is decrypted: OpenSSL need not be asked."""
        self._is_answer_due = True
        """Something was received since reading was last asked for an answer."""
        self._closed = False
        self._ended = False
        self._send_broken = False
        self._receive_error: SSL.Error | None = None
        self._leaving = self._arriving = memoryview(b"")

    def export(self, label: bytes = tls.EXPORTER_LABEL, length: int = tls.EXPORTER_BYTES) -> bytes:
        """Bytes that only the two ends of this very channel know."""
        return tls.export(self._connection, label, length)

    def channel(self) -> Channel:
        """What this channel's hello is bound to."""
        return Channel(
            self.endpoint,
            self.side,
            self.export(),
            tls.own_certificate(self._connection),
            tls.check_peer(self._connection, self.endpoint),
        )

    @property
    def is_worn(self) -> bool:
        """Whether this connection has carried so much, or lived so long, that no new request should start on it."""
        return self.moved_bytes > WORN_BYTES or trio.current_time() > self.opened_at + WORN_S

    # --- sending ---

    async def send_all(self, data: Buffer) -> None:
        """Send `data`, in raw writes of 256 KiB. If cancelled, the sending side is over: anything may have gone out."""
        await self.send_pieces((data,))

    async def send_pieces(self, pieces: Iterable[Buffer]) -> None:
        """Send several buffers as if they were one, without joining them."""
        with self._sending:
            self._check_open()
            if self._send_broken:
                raise trio.BrokenResourceError("an earlier send failed")
            waiting = 0
            for piece in pieces:
                with memoryview(piece) as view, view.cast("B") as octets:
                    for start in range(0, len(octets), WRITE_BYTES):
                        with octets[start : start + WRITE_BYTES] as part:
                            self._encrypt(part)
                            waiting += len(part)
                        if waiting >= WRITE_BYTES:
                            await self._flush(waiting)
                            waiting = 0
            await self._flush(waiting)

    async def wait_send_all_might_not_block(self) -> None:
        with self._sending:
            self._check_open()
            await self._raw.wait_send_all_might_not_block()

    def _encrypt(self, part: memoryview) -> None:
        self._count(len(part))
        done = 0
        while done < len(part):
            with part[done:] as rest:
                try:
                    done += self._connection.send(rest)
                except SSL.Error as error:
                    self._send_broken = True
                    raise self._broken(error) from error

    async def _flush(self, waiting: int) -> None:
        """Send what OpenSSL has produced, all of it: out of about so many bytes of ours."""
        try:
            try:
                self._flushing.acquire_nowait()  # nearly always: that spares a turn of the event loop
            except trio.WouldBlock:
                await self._flushing.acquire()
            try:
                if not (ready := self._produced(waiting)):
                    await trio.lowlevel.checkpoint()
                while ready:
                    await self._push(ready)
                    ready = self._produced(0)
            finally:
                self._flushing.release()
        except BaseException:
            self._send_broken = True
            raise

    def _produced(self, waiting: int) -> bytes | memoryview:
        """What is to be sent. Only who holds `_flushing` asks, and has sent all of it when it asks again."""
        if waiting < BULK_BYTES:
            return produced(self._connection)
        if not self._leaving:
            self._leaving = memoryview(bytearray(_sealed_room(2 * WRITE_BYTES)))
        return self._leaving[: produced_into(self._connection, self._leaving)]

    async def _push(self, data: bytes | memoryview) -> None:
        """Send all of it, as long as the peer takes any of it."""
        with memoryview(data) as view:
            at = 0
            while trio.current_effective_deadline() <= trio.current_time() + STALL_S:  # the caller is less patient
                with view[at:] as rest:
                    at += await self._raw.send_some(rest)
                if at == len(view):
                    return
            while at < len(view):
                with trio.CancelScope(deadline=trio.current_time() + STALL_S) as patience, view[at:] as rest:
                    at += await self._raw.send_some(rest)
                if patience.cancelled_caught:
                    raise trio.BrokenResourceError("the peer has taken nothing for minutes")

    async def _answer(self) -> None:
        """Send what reading produced, unless a sender is at it: that one takes it along."""
        if not self._flushing.locked() and (ready := produced(self._connection)):
            self._flushing.acquire_nowait()
            try:
                await self._raw.send_all(ready)
            except BaseException:
                self._send_broken = True
                raise
            finally:
                self._flushing.release()

    # --- receiving ---

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """At least one byte and at most `max_bytes` (default 256 KiB); empty after the peer's goodbye.

        Raises trio.BrokenResourceError when the stream ends without a goodbye: what came before may be cut short.
        """
        if max_bytes is None:
            max_bytes = READ_BYTES
        if max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")
        buffer = memoryview(bytearray(max_bytes))
        return bytes(buffer[: await self._receive(buffer)])

    async def receive_into(self, buffer: memoryview) -> int:
        """Fill the front of `buffer` with what has arrived; the number of bytes, 0 only after the peer's goodbye."""
        if not len(buffer):
            raise ValueError("the buffer must not be empty")
        return await self._receive(buffer)

    def receive_into_nowait(self, buffer: memoryview) -> int:
        """Fill the front of `buffer` with what is here already; 0 when that is nothing (or the end, or an error): the
        next `receive_into` says which."""
        with self._receiving:
            return 0 if self._closed else self._take(buffer)

    async def _receive(self, buffer: memoryview) -> int:
        """Decrypt into the front of `buffer` what is here, or what comes next; how many bytes."""
        with self._receiving:
            self._check_open()
            await trio.lowlevel.checkpoint_if_cancelled()
            waited = False
            while not (count := self._take(buffer)):
                if self._ended:
                    break
                if self._receive_error is not None:
                    raise self._broken(self._receive_error) from self._receive_error
                if self._is_answer_due:
                    self._is_answer_due = False
                    await self._answer()
                await self._feed()
                waited = True
            if not waited:
                await trio.lowlevel.cancel_shielded_checkpoint()  # shielded: what was taken must not be lost
            return count

    def _take(self, buffer: memoryview) -> int:
        """Decrypt until there is enough or no more. An error behind good records waits its turn."""
        if self._ended or self._receive_error is not None or self._is_drained:
            return 0
        count, error = decrypt_into(self._connection, buffer)
        if isinstance(error, SSL.ZeroReturnError):
            self._ended = True
        elif isinstance(error, SSL.WantReadError):
            self._is_drained = True
        else:
            self._receive_error = error
        if count:
            self._barren_bytes = 0
        return count

    async def _feed(self) -> None:
        """Wait for encrypted bytes and hand them to OpenSSL."""
        data: bytes | bytearray | memoryview
        if self._arriving:
            data = self._arriving[: await self._raw.receive_into(self._arriving)]
        else:
            data = await self._raw.receive_some(READ_BYTES)
            if len(data) >= BULK_BYTES:
                self._arriving = memoryview(bytearray(READ_BYTES))
        if not data:
            raise trio.BrokenResourceError("the stream ended without a goodbye")
        self._count(len(data))
        self._barren_bytes += len(data)
        if self._barren_bytes > MAX_BARREN_BYTES:
            raise trio.BrokenResourceError("the peer sends records without content")
        self._connection.bio_write(data)
        self._is_drained, self._is_answer_due = False, True

    def give_back(self) -> None:
        """Let go of memory for bulk; what is under way in it keeps it to its end, and the next bulk gets new."""
        self._leaving = self._arriving = memoryview(b"")

    # --- ending ---

    async def aclose(self) -> None:
        """Say goodbye (at most one second) and close. A peer that misses the goodbye takes the stream for cut short."""
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        try:
            await self._say_goodbye()
        finally:
            await self._raw.aclose()

    @property
    def is_left(self) -> bool:
        """Whether the peer has ended the connection, though nobody may have read that yet, or has fallen silent."""
        return self._closed or self._raw.is_left

    def abort(self) -> None:
        """Cut the connection now: nothing more leaves, whatever was queued. Tasks using it get ClosedResourceError."""
        self._closed = True
        self._raw.abort()

    async def _say_goodbye(self) -> None:
        if self._send_broken or self._flushing.locked():  # half a record is out: a goodbye would be garbage
            return
        try:
            self._connection.shutdown()
            with trio.move_on_after(CLOSE_S):
                await self._raw.send_all(produced(self._connection))
        except (SSL.Error, trio.BrokenResourceError):
            return  # a courtesy to somebody who has gone already

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this stream is closed")

    def _count(self, count: int) -> None:
        self.moved_bytes += count
        if self.moved_bytes > MAX_CONNECTION_BYTES or trio.current_time() > self.opened_at + MAX_CONNECTION_S:
            raise trio.BrokenResourceError("this connection has reached its end of life")

    def _broken(self, error: SSL.Error) -> trio.BrokenResourceError:
        words = tls.reason(error)
        if any(refusal in words for refusal in _REFUSALS):
            self.refusal = words
        return trio.BrokenResourceError(f"TLS: {words}")


def _sealed_room(size: int) -> int:
    """Where so much fits in records, and as many alerts and updates of keys as anybody may want to send between."""
    return size + (size // RECORD_BYTES + 16) * _RECORD_EXTRA


# --- handshakes ----------------------------------------------------------------------------------------------------


async def accept_tls(raw: RawStream, table: tls.LabelTable, now: float, turn: trio.Lock | None = None) -> TlsStream:
    """Shake hands as the listening side; takes over `raw` and closes it on failure. The caller sets the deadline.

    `turn`: of those who share it, one computes at a time, and every other task has its turn between two of them.

    Raises: UnknownLabel, WrongDates or another TrustError; PeerUnavailable when the peer leaves.
    """
    connection = table.new_connection()
    async with _closing_on_failure(raw):
        try:
            await _shake_hands(raw, connection, turn)
        except SSL.Error as error:
            await _send_alert(raw, connection)
            words = tls.reason(error)
            if tls.chosen_endpoint(connection) is None:
                raise tls.UnknownLabel(f"the handshake named no label of ours ({words})") from error
            raise TrustError(f"the handshake was refused ({words})") from error
        endpoint = tls.chosen_endpoint(connection)
        if endpoint is None:
            raise tls.UnknownLabel("the handshake named no label of ours")
        tls.check_peer(connection, endpoint)
        tls.check_dates(endpoint, now)
        return TlsStream(raw, connection, endpoint, tls.Side.SERVER)


async def connect_tls(raw: RawStream, outgoing: tls.Outgoing, now: float) -> TlsStream:
    """Shake hands as the dialling side; takes over `raw` and closes it on failure. The caller sets the deadline.

    That it returns does not mean that the listener accepted us: only its first answer does (TLS 1.3).

    Raises: UnknownLabel, WrongDates or another TrustError; PeerUnavailable when the peer leaves; RemoteProtocolError
    when it does not speak TLS 1.3.
    """
    connection = outgoing.new_connection()
    async with _closing_on_failure(raw):
        try:
            await _shake_hands(raw, connection)
        except SSL.Error as error:
            await _send_alert(raw, connection)
            raise _dialling_error(error) from error
        tls.check_peer(connection, outgoing.endpoint, peer_key=outgoing.peer_key)
        tls.check_dates(outgoing.endpoint, now)
        if not tls.speaks_syncd(connection):
            raise TrustError("the listener does not speak syncd/1")
        return TlsStream(raw, connection, outgoing.endpoint, tls.Side.CLIENT)


def _dialling_error(error: SSL.Error) -> TrustError | RemoteProtocolError:
    words = tls.reason(error)
    if tls.means_unknown_label(error):
        return tls.UnknownLabel(f"the listener does not answer to this label ({words})")
    if "certificate" in words or "alert" in words:
        return TrustError(f"the handshake was refused ({words})")
    return RemoteProtocolError(f"the listener does not speak TLS 1.3 ({words})")


async def _shake_hands(raw: RawStream, connection: SSL.Connection, turn: trio.Lock | None = None) -> None:
    """Raises SSL.Error (with an alert waiting to be sent), PeerUnavailable, or RemoteProtocolError for too much."""
    received = 0
    while True:
        if turn is None or not received:
            finished = _step(connection)
        else:
            async with turn:  # which is taken in one round of the event loop and used in the next
                finished = _step(connection)
        if ready := produced(connection):
            await raw.send_all(ready)
        if finished:
            return
        data = await raw.receive_some(READ_BYTES)
        if not data:
            raise PeerUnavailable("the peer left during the handshake")
        received += len(data)
        if received > MAX_HANDSHAKE_BYTES:
            raise RemoteProtocolError("too long a handshake")
        connection.bio_write(data)


def _step(connection: SSL.Connection) -> bool:
    """As much of the handshake as the bytes that are here allow: up to a millisecond. Whether it is done."""
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        return False
    return True


async def _send_alert(raw: RawStream, connection: SSL.Connection) -> None:
    """Tell the peer why, and give it a moment to read: closing on unread bytes would reset the connection at once."""
    if alert := produced(connection):
        with trio.move_on_after(ALERT_S):
            await raw.send_all(alert)
            await raw.receive_some(READ_BYTES)


@asynccontextmanager
async def _closing_on_failure(raw: RawStream) -> AsyncIterator[None]:
    try:
        yield
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raw.abort()
        raise PeerUnavailable("the connection was lost during the handshake") from error
    except BaseException:
        raw.abort()
        raise
