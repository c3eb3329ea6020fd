"""Async. What two devices say to each other on a control connection: bring both rosters to one head.

Whoever dialled asks for the entries it lacks, and hands over those that the other lacks, so it does not matter which of
the two slept, nor which of them can be dialled.
"""

from __future__ import annotations

from collections.abc import Collection

from ca.ids import EntryHash
from ca.roster import Head, Relation
from syncd.errors import PeerUnavailable, RemoteProtocolError
from syncd.http import Client
from syncd.net.folders import Membership
from syncd.protocol.messages import MAX_ROSTER_PAGE_BYTES, RosterPage, RosterSubmit
from syncd.protocol.requests import Route, target_of


async def settle(client: Client, theirs: Head, membership: Membership, told: Collection[EntryHash] = ()) -> EntryHash:
    """Take what the peer has more of the roster, or give it what it lacks; the head that it goes by now.

    `theirs` is the head of its hello; `told` are the ends of other branches that it was given before.

    Raises: PeerUnavailable; TrustError, RemoteProtocolError for entries that break a rule.
    """
    if membership.relation(theirs) is Relation.UNKNOWN or not membership.is_complete:

        async def fetch(after: int) -> RosterPage:
            return await fetch_page(client, after)

        await membership.catch_up(fetch, theirs)
    if membership.relation(theirs) is Relation.BEHIND:
        await give(client, theirs, membership)
    elif membership.head != theirs.hash:
        return theirs.hash
    for raw in membership.roster.stray(told):  # we may be the only one who has met that branch
        await _submit(client, RosterSubmit(raw))
    return membership.head


async def fetch_page(client: Client, after: int) -> RosterPage:
    """The peer's roster entries after a number."""
    reply = await client.request(Route.READ_ROSTER.method.decode(), target_of(Route.READ_ROSTER, number=after))
    if reply.status != 200:
        raise PeerUnavailable(f"the roster was answered with status {reply.status}")
    return RosterPage.decode_untrusted(await reply.body.read(MAX_ROSTER_PAGE_BYTES))


async def give(client: Client, theirs: Head, membership: Membership) -> None:
    """Hand over all our entries that whoever has this head lacks, one by one; the last with its sealed secrets."""
    shared = membership.roster.shared_with(theirs)
    if shared is None:
        raise RemoteProtocolError("the peer goes by a head that nobody knows")
    entries, last = membership.roster.raw_after(shared), membership.submission()
    for submit in [*map(RosterSubmit, entries[:-1]), last]:
        await _submit(client, submit)


async def _submit(client: Client, submit: RosterSubmit) -> None:
    method, target = Route.SUBMIT_ENTRY.method.decode(), target_of(Route.SUBMIT_ENTRY)
    reply = await client.request(method, target, body=submit.encode())
    if reply.status != 204:
        raise PeerUnavailable(f"a roster entry was answered with status {reply.status}")
