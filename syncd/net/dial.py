"""Async. Dials an address for a label, or several addresses of which one may answer."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from syncd.errors import PeerUnavailable, RemoteProtocolError, TrustError
from syncd.net.stream import HANDSHAKE_S, TlsStream, connect_tls
from syncd.protocol.tls import Outgoing
from syncd.seams import Clock, Network

CONNECT_S = 10.0
STAGGER_S = 0.25
"""Several addresses are tried this far apart: one that does not answer costs no more than that."""


async def dial(network: Network, clock: Clock, address: str, outgoing: Outgoing) -> TlsStream:
    """Connect and shake hands. "Connected" still means nothing: only the first answer shows that we were accepted.

    Raises: PeerUnavailable when nobody answers in time; UnknownLabel when somebody does who does not know the label;
    another TrustError, or RemoteProtocolError, for a listener that is not the one we look for.
    """
    try:
        with trio.fail_after(CONNECT_S):
            raw = await network.connect(address)
        with trio.fail_after(HANDSHAKE_S):
            return await connect_tls(raw, outgoing, clock.now())
    except trio.TooSlowError as error:
        raise PeerUnavailable(f"{address} does not answer in time") from error
    except (OSError, ValueError) as error:  # ValueError: not an address at all; those come from announcements too
        raise PeerUnavailable(f"{address} cannot be reached ({error})") from error


async def dial_first(
    network: Network, clock: Clock, addresses: Sequence[str], outgoing: Outgoing
) -> tuple[TlsStream, str]:
    """Dial several addresses of one device, the best first; the connection that stands first, and its address.

    Raises: what `dial` raised for the best of them when none answers; PeerUnavailable when there are none.
    """
    winners: list[tuple[TlsStream, str]] = []
    troubles: dict[str, PeerUnavailable | TrustError | RemoteProtocolError] = {}

    async def attempt(address: str, failed: trio.Event) -> None:
        try:
            stream = await dial(network, clock, address, outgoing)
        except (PeerUnavailable, TrustError, RemoteProtocolError) as error:
            troubles[address] = error
            failed.set()
        else:
            winners.append((stream, address))
            nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            for address in addresses:
                failed = trio.Event()
                nursery.start_soon(attempt, address, failed)
                with trio.move_on_after(STAGGER_S):
                    await failed.wait()
    except BaseException:
        for stream, _ in winners:
            stream.abort()
        raise
    for stream, _ in winners[1:]:
        stream.abort()
    if winners:
        return winners[0]
    raise next((troubles[one] for one in addresses if one in troubles), PeerUnavailable("no address is known"))
