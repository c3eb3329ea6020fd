"""Async. The hello on both sides: who is at the other end of this channel, and how far along is it."""

from __future__ import annotations

from typing import Final, TypeAlias

from ca.device import DeviceKeys, PublicDevice
from ca.ids import DeviceId, EntryHash
from ca.roster import Head
from syncd.errors import PeerUnavailable
from syncd.http import Client, Reply
from syncd.net.stream import TlsStream
from syncd.protocol.exchange import FolderServer
from syncd.protocol.hello import check_hello, prove
from syncd.protocol.messages import Hello
from syncd.protocol.requests import LOG_ID_BYTES, Route, target_of
from syncd.protocol.twins import NO_RUN

NO_DIGEST: Final = bytes(32)
NO_LOG: Final = bytes(LOG_ID_BYTES)

Others: TypeAlias = tuple[tuple[DeviceId, tuple[str, ...]], ...]
"""Where other members were seen, ascending by id."""


async def make_hello(
    stream: TlsStream,
    keys: DeviceKeys,
    head: Head,
    listening: tuple[str, ...],
    server: FolderServer | None,
    peer: DeviceId | None,
    *,
    swap: bool,
    others: Others = (),
    run: bytes = NO_RUN,
) -> Hello:
    """Our hello on a channel. `server` is None on control connections, `peer` while it is not known."""
    digest, log_id, newest = NO_DIGEST, NO_LOG, None
    if server is not None:
        digest, log_id = await server.digest(), server.log_id
        newest = None if peer is None else await server.newest_of(peer)
    proof = prove(stream.channel(), keys, head.hash)
    return Hello(keys.public, proof, head.hash, head.number, log_id, digest, newest, listening, swap, others, run)


async def greet(
    client: Client,
    stream: TlsStream,
    keys: DeviceKeys,
    head: Head,
    listening: tuple[str, ...],
    server: FolderServer | None = None,
    peer: DeviceId | None = None,
    *,
    swap: bool = False,
    others: Others = (),
    run: bytes = NO_RUN,
) -> tuple[PublicDevice, Hello]:
    """Say hello as the client; the device that answered, proved, and its hello. `peer` is whom we expect, if anybody.

    Raises: PeerUnavailable when it refuses us, TrustError (Reflection, Twin) when its proof does not hold,
    RemoteProtocolError.
    """
    ours = await make_hello(stream, keys, head, listening, server, peer, swap=swap, others=others, run=run)
    reply = await client.request(Route.HELLO.method.decode(), target_of(Route.HELLO), body=ours.encode())
    theirs = Hello.decode_untrusted(await _body(reply))
    return check_hello(stream.channel(), theirs, keys.id, run), theirs


async def _body(reply: Reply) -> bytes:
    if reply.status != 200:
        await reply.body.drain()
        raise PeerUnavailable(f"the peer answered our hello with status {reply.status}")
    return await reply.body.read(Route.HELLO.max_body_bytes)


def head_of(hello: Hello) -> Head:
    """The roster head that somebody goes by."""
    return Head(hello.roster_number, EntryHash(hello.roster_head))
