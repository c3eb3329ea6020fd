"""Async. Dials one address for one label."""

from __future__ import annotations

import trio

from syncd.errors import PeerUnavailable
from syncd.net.stream import HANDSHAKE_S, TlsStream, connect_tls
from syncd.protocol.tls import Outgoing
from syncd.seams import Clock, Network

CONNECT_S = 10.0


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
