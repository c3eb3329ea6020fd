"""Pairing end to end: real sessions, real TLS and HTTP over pipes in memory, real rosters, a database on each side."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
import trio
from trio.testing import MockClock

from ca.device import DeviceKeys
from ca.ids import DeviceId, FolderId
from ca.roles import Role
from syncd.daemon.answering import Pairing
from syncd.daemon.devicedb import FolderRow
from syncd.daemon.installation import Installation
from syncd.daemon.inviting import About, AttemptFailed, Inviter, InviterEvent, Joined, Requested
from syncd.daemon.membership import FolderMembership
from syncd.engine import invites as rules
from syncd.engine.invites import CODE_LIFETIME_S, Claim, Invite, unpack_untrusted
from syncd.errors import ConfigError, PeerUnavailable, RemoteProtocolError, TrustError
from syncd.http import Body, Response, serve
from syncd.methods.joining import Invitation, Joiner, listed, network_dial
from syncd.net.stream import accept_tls
from syncd.protocol.invitation import MAX_REQUEST_BYTES
from syncd.protocol.joiner import JoinerSession
from syncd.protocol.links import Code, Link, parse_code_untrusted, parse_link_untrusted
from syncd.protocol.pairing import Channel
from syncd.protocol.requests import Request, request_untrusted
from syncd.protocol.tls import LabelTable
from syncd.seams import RawStream
from tests.helpers.memberships import Devices, bring_in, new_folder, restarted
from tests.helpers.pipes import MemoryPipe, pipe_pair

WRONG = ("acid", "acid", "acid")


class Host:
    """A device that invites: its folders, its invitations, and a port."""

    def __init__(self, own: Installation, folder: FolderMembership) -> None:
        self.own = own
        self.folder = folder
        self.table = LabelTable()
        self.events: list[InviterEvent] = []
        self.inviter = Inviter(own, self.table, self.maybe_folder, lambda id: About(3, 4096))
        self.inviter.on_event.append(self.events.append)
        self.pairing = Pairing(self.inviter, own)

    def maybe_folder(self, id: FolderId) -> FolderMembership | None:
        return self.folder if id == self.folder.folder_id else None

    async def serve(self, raw: RawStream, address: str) -> None:
        try:
            stream = await accept_tls(raw, self.table, self.own.clock.now())
            answerer = self.pairing.connect(stream.endpoint.label, stream.export, address)

            async def handle(request: Request, body: Body) -> Response:
                return Response(200, await answerer.answer_untrusted(await body.read(MAX_REQUEST_BYTES)))

            await serve(stream, handle, admit=lambda head: request_untrusted(head, stream.endpoint.label))
        except (PeerUnavailable, RemoteProtocolError, TrustError, trio.BrokenResourceError, trio.ClosedResourceError):
            raw.abort()


@dataclass
class PipeNetwork:
    """Connects to hosts by address."""

    nursery: trio.Nursery
    hosts: dict[str, Host] = field(default_factory=dict)
    pipes: list[MemoryPipe] = field(default_factory=list)

    async def connect(self, address: str) -> RawStream:
        if address not in self.hosts:
            raise OSError(f"nobody at {address}")
        near, far = pipe_pair()
        self.pipes.append(far)
        self.nursery.start_soon(self.hosts[address].serve, far, "10.0.0.9:50000")
        return near

    def cut(self) -> None:
        """Every connection is lost."""
        for pipe in self.pipes:
            pipe.abort()
        self.pipes.clear()


class World:
    """ann, who has a folder and invites, and a network."""

    def __init__(self, devices: Devices, network: PipeNetwork, ann: Host) -> None:
        self.devices = devices
        self.network = network
        self.ann = ann

    @property
    def inviter(self) -> Inviter:
        return self.ann.inviter

    async def code(self) -> tuple[Invite, Code]:
        invite = await self.inviter.open_code(self.ann.folder.folder_id, Role.EDITOR)
        return invite, parse_code_untrusted(self.inviter.code_text(invite))

    async def link(self, *, uses: int = 1, asks: bool = False) -> tuple[Invite, Link]:
        invite = await self.inviter.open_link(self.ann.folder.folder_id, Role.EDITOR, uses=uses, asks=asks)
        return invite, parse_link_untrusted(self.inviter.link_text(invite, ("10.0.0.1:1",)))

    def joiner(self, name: str, ticket: Code | Link) -> tuple[Installation, Joiner]:
        own = self.devices.device(name)
        dial = network_dial(self.network, own.clock)  # type: ignore[arg-type]  # only `connect` is asked for
        return own, Joiner(own, ticket, dial, host=f"{name}-laptop", system="Linux")

    async def find(self, name: str, ticket: Code | Link, *groups: Sequence[str]) -> Invitation:
        _, joiner = self.joiner(name, ticket)
        return await joiner.find(listed(groups or [["ann:1"]]), refuses=lambda id: None)

    def on_disk(self, invite: Invite) -> Invite:
        return next(found for raw in self.ann.own.db.invites() if (found := unpack_untrusted(raw)).id == invite.id)

    def is_open(self) -> bool:
        """Whether any invitation is announced or answered."""
        return bool(self.inviter.numbers or self.inviter.invites() or self.ann.table.labels())

    async def restart(self) -> None:
        """ann's daemon stops and starts again; its port is the same."""
        self.ann = Host(self.ann.own, await restarted(self.ann.own, self.ann.folder.folder_id))
        self.network.hosts["ann:1"] = self.ann
        await self.inviter.load()


@pytest.fixture
async def world(nursery: trio.Nursery) -> World:
    devices = Devices()
    own = devices.device("ann")
    ann = Host(own, await new_folder(own))
    return World(devices, PipeNetwork(nursery, {"ann:1": ann}), ann)


@asynccontextmanager
async def asking(invitation: Invitation, name: str) -> AsyncIterator[list[FolderMembership]]:
    """Ask in the background; what came of it is in the list at the end."""
    got: list[FolderMembership] = []

    async def ask() -> None:
        got.append(await invitation.ask(name))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(1)
        yield got


# --- it works --------------------------------------------------------------------------------------------------------


async def test_by_code_after_a_person_said_yes(world: World, autojump_clock: MockClock) -> None:
    _, code = await world.code()
    assert world.inviter.numbers == (code.number,)
    invitation = await world.find("bob", code)
    offer = invitation.offer
    assert (offer.inviter, offer.folder_name, offer.role, offer.files) == ("ann", "Photos", Role.EDITOR, 3)
    async with asking(invitation, "bob") as got:
        await trio.sleep(60)
        assert got == []
        (request,) = world.inviter.requests()
        assert (request.member_name, request.host, request.system) == ("bob", "bob-laptop", "Linux")
        await world.inviter.approve(request.id)
    (bob,) = got
    assert bob.head == world.ann.folder.head and bob.label == world.ann.folder.label
    assert [type(event) for event in world.ann.events] == [Requested, Joined]
    assert world.inviter.requests() == () and not world.is_open()


async def test_by_link_without_asking_anybody(world: World, autojump_clock: MockClock) -> None:
    invite, link = await world.link()
    invitation = await world.find("bob", link)
    assert not invitation.offer.asks
    bob = await invitation.ask("bob")
    assert bob.is_current and [member.name for member in bob.members()] == ["ann", "bob"]
    assert world.on_disk(invite).claims[bob.device] is Claim.DELIVERED


async def test_one_link_for_several(world: World, autojump_clock: MockClock) -> None:
    _, link = await world.link(uses=2)
    invitations = [await world.find(name, link) for name in ("bob", "cid", "dan")]
    await invitations[0].ask("bob")
    await invitations[1].ask("bob")
    with pytest.raises(TrustError) as refused:
        await invitations[2].ask("dan")
    assert refused.value.id == "SY-PAIR-10"
    assert sorted(member.name for member in world.ann.folder.members()) == ["ann", "bob", "bob-2"]


async def test_admission_goes_to_disk_with_the_folders_row(world: World, autojump_clock: MockClock) -> None:
    _, link = await world.link()
    own, joiner = world.joiner("bob", link)
    invitation = await joiner.find(listed([["ann:1"]]), refuses=lambda id: None)
    await invitation.ask("bob", also=lambda db, id: db.put_folder(FolderRow(id, "Photos", b"/p", b"m", "bob", 0.0)))
    (row,) = own.db.folders()
    again = await restarted(own, row.id)
    assert again.head == world.ann.folder.head and again.is_current


async def test_person_can_give_another_role(world: World, autojump_clock: MockClock) -> None:
    _, code = await world.code()
    async with asking(await world.find("bob", code), "bob") as got:
        await world.inviter.approve(world.inviter.requests()[0].id, Role.VIEWER)
    assert got[0].role_of(got[0].device) is Role.VIEWER


# --- guesses ---------------------------------------------------------------------------------------------------------


async def test_three_wrong_guesses_burn_a_code(world: World, autojump_clock: MockClock) -> None:
    invite, code = await world.code()
    for left in (2, 1, 0):
        with pytest.raises((RemoteProtocolError, TrustError)) as wrong:
            await world.find("eve", Code(code.number, WRONG))
        assert wrong.value.id == "SY-PAIR-03"
        assert world.on_disk(invite).guesses_left == left
    assert [type(event) for event in world.ann.events] == [AttemptFailed] * 3
    assert not world.is_open()
    with pytest.raises(TrustError) as gone:
        await world.find("bob", code)
    assert gone.value.id == "SY-PAIR-10"


async def test_right_words_give_the_guess_back(world: World, autojump_clock: MockClock) -> None:
    invite, code = await world.code()
    await world.find("bob", code)
    assert world.on_disk(invite).attempts == 0


def started(host: Host, code: Code, keys: DeviceKeys) -> tuple[Callable[[bytes, int], bytes], bytes]:
    """A joiner's first body, and the exporter of a channel that both ends are told of."""

    def export(label: bytes, length: int) -> bytes:
        return label[:length].ljust(length, b"x")

    session = JoinerSession.for_code(keys, code, Channel.of(export), host.own.random.token, host="eve", system="Linux")
    return export, session.start()


async def test_attempt_is_on_disk_before_it_is_answered(world: World, autojump_clock: MockClock) -> None:
    invite, code = await world.code()
    export, first = started(world.ann, code, world.devices.device("eve").keys)
    answerer = world.ann.pairing.connect(f"pair-{code.number}", export, "10.0.0.9:1")
    world.ann.own.db._db.execute("PRAGMA query_only=1")
    with pytest.raises(sqlite3.OperationalError):
        await answerer.answer_untrusted(first)
    world.ann.own.db._db.execute("PRAGMA query_only=0")
    answerer = world.ann.pairing.connect(f"pair-{code.number}", export, "10.0.0.9:1")
    await answerer.answer_untrusted(first)
    assert world.on_disk(invite).attempts == 1


async def test_restart_does_not_give_guesses_back(world: World, autojump_clock: MockClock) -> None:
    _, code = await world.code()
    for _ in range(2):
        with pytest.raises((RemoteProtocolError, TrustError)):
            await world.find("eve", Code(code.number, WRONG))
    await world.restart()
    assert world.inviter.numbers == (code.number,)
    with pytest.raises((RemoteProtocolError, TrustError)):
        await world.find("eve", Code(code.number, WRONG))
    assert not world.is_open()


async def test_wrong_inviter_with_the_same_number_makes_way_for_the_right_one(
    world: World, autojump_clock: MockClock
) -> None:
    invite, code = await world.code()
    own = world.devices.device("zoe")
    zoe = Host(own, await new_folder(own, "zoe"))
    world.network.hosts["zoe:1"] = zoe
    theirs = await zoe.inviter.open_code(zoe.folder.folder_id, Role.EDITOR)
    await own.on_disk(own.db.drop_invite, theirs.id)
    zoe.inviter._invites.clear()
    await zoe.inviter._write(replace(theirs, number=code.number))
    invitation = await world.find("bob", code, ["zoe:1"], ["nobody:1", "ann:1"])
    assert invitation.offer.folder == world.ann.folder.folder_id
    assert world.on_disk(invite).attempts == 0


# --- saying no -------------------------------------------------------------------------------------------------------


async def refusal(invitation: Invitation, act: Callable[[], Awaitable[object]]) -> str:
    """The id of the refusal that the joiner gets when this happens while it waits."""
    ids: list[str] = []

    async def ask() -> None:
        with pytest.raises(TrustError) as refused:
            await invitation.ask("bob")
        ids.append(refused.value.id)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(1)
        await act()
    return ids[0]


async def test_person_says_no_and_the_code_ends(world: World, autojump_clock: MockClock) -> None:
    _, code = await world.code()
    invitation = await world.find("bob", code)
    assert await refusal(invitation, lambda: world.inviter.deny(world.inviter.requests()[0].id)) == "SY-PAIR-05"
    assert world.inviter.invites() == () and len(world.ann.folder.members()) == 1


async def test_revoked_invitation_lets_nobody_in(world: World, autojump_clock: MockClock) -> None:
    invite, code = await world.code()
    invitation = await world.find("bob", code)
    assert await refusal(invitation, lambda: world.inviter.revoke(invite.id)) == "SY-PAIR-10"
    assert world.inviter.requests() == () and not world.is_open()


async def test_code_ends_after_a_quarter_of_an_hour(
    world: World, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    nursery.start_soon(world.inviter.run)
    _, code = await world.code()
    await trio.sleep(CODE_LIFETIME_S - 10)
    assert world.inviter.numbers == (code.number,)
    await trio.sleep(20)
    assert not world.is_open()


async def test_expired_link_is_not_even_dialled(world: World, autojump_clock: MockClock) -> None:
    _, link = await world.link()
    world.devices.clock.ahead_s += rules.LINK_LIFETIME_S + 1
    with pytest.raises(TrustError) as expired:
        await world.find("bob", link)
    assert expired.value.id == "SY-PAIR-04" and world.network.pipes == []


async def test_who_may_not_admit_opens_nothing(world: World, autojump_clock: MockClock) -> None:
    own = world.devices.device("bob")
    bob = Host(own, await bring_in(world.ann.folder, world.ann.own, own, "bob"))
    for refused in (bob.inviter.open_code, bob.inviter.open_link):
        with pytest.raises(TrustError) as error:
            await refused(bob.folder.folder_id, Role.VIEWER)
        assert error.value.id == "SY-SHARE-04"


async def test_link_dies_with_its_makers_right(world: World, autojump_clock: MockClock) -> None:
    own = world.devices.device("bob")
    bob = Host(own, await bring_in(world.ann.folder, world.ann.own, own, "bob", Role.ADMIN))
    world.network.hosts["bob:1"] = bob
    invite = await bob.inviter.open_link(bob.folder.folder_id, Role.EDITOR, asks=False)
    link = parse_link_untrusted(bob.inviter.link_text(invite, ()))
    invitation = await world.find("cid", link, ["bob:1"])
    await bob.folder.leave()
    with pytest.raises(TrustError) as refused:
        await invitation.ask("cid")
    assert refused.value.id == "SY-PAIR-10"


async def test_folder_that_is_here_already_is_said_so(world: World, autojump_clock: MockClock) -> None:
    _, link = await world.link()
    _, joiner = world.joiner("bob", link)
    here = TrustError("this device is already a member", id="SY-PAIR-06")
    with pytest.raises(TrustError) as known:
        await joiner.find(listed([["ann:1"]]), refuses=lambda id: here if id == world.ann.folder.folder_id else None)
    assert known.value is here


async def test_nobody_there(world: World, autojump_clock: MockClock) -> None:
    for ticket, id in ((Code(7, WRONG), "SY-PAIR-01"), ((await world.link())[1], "SY-PAIR-08")):
        with pytest.raises(PeerUnavailable) as nobody:
            await world.find("bob", ticket, ["nobody:1"], [])
        assert nobody.value.id == id


async def test_unknown_ids_are_said_so(world: World, autojump_clock: MockClock) -> None:
    for call in (world.inviter.approve("none"), world.inviter.deny("none"), world.inviter.revoke(b"none")):
        with pytest.raises(ConfigError) as unknown:
            await call
        assert unknown.value.id == "SY-FIND-01"


# --- connections that break, daemons that stop -----------------------------------------------------------------------


async def test_joiner_that_lost_the_line_comes_back(world: World, autojump_clock: MockClock) -> None:
    _, code = await world.code()
    async with asking(await world.find("bob", code), "bob") as got:
        world.network.cut()
        await trio.sleep(30)
        (request,) = world.inviter.requests()  # the same one, not a second
        await world.inviter.approve(request.id)
    assert got[0].head == world.ann.folder.head


async def test_approval_while_the_line_is_down_is_delivered_later(world: World, autojump_clock: MockClock) -> None:
    invite, code = await world.code()
    async with asking(await world.find("bob", code), "bob") as got:
        del world.network.hosts["ann:1"]
        world.network.cut()
        await world.inviter.approve(world.inviter.requests()[0].id)
        await trio.sleep(60)
        assert got == [] and len(world.ann.folder.members()) == 2
        world.network.hosts["ann:1"] = world.ann
    assert got[0].head == world.ann.folder.head
    assert world.on_disk(invite).claims[got[0].device] is Claim.DELIVERED


async def test_request_survives_a_restart_of_the_inviter(world: World, autojump_clock: MockClock) -> None:
    _, code = await world.code()
    async with asking(await world.find("bob", code), "bob") as got:
        world.network.cut()
        await world.restart()
        await world.inviter.approve(world.inviter.requests()[0].id)
        await trio.sleep(60)
    assert got[0].head == world.ann.folder.head


async def test_claim_that_a_crash_parted_from_its_entry_is_made_good(world: World, autojump_clock: MockClock) -> None:
    invite, code = await world.code()
    invitation = await world.find("bob", code)
    bob = DeviceId(world.devices.device("bob").id)
    claimed = replace(world.on_disk(invite), claims={bob: Claim.ADMITTED})
    await world.inviter._write(claimed)
    assert (await invitation.ask("bob")).device == bob


async def test_removed_device_is_not_let_in_again_by_its_old_code(world: World, autojump_clock: MockClock) -> None:
    _, code = await world.code()
    invitation = await world.find("bob", code)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(refused_by_revocation, invitation)
        await trio.sleep(1)
        del world.network.hosts["ann:1"]
        world.network.cut()
        await world.inviter.approve(world.inviter.requests()[0].id)
        await world.ann.folder.remove(world.ann.folder.members()[1].id)
        world.network.hosts["ann:1"] = world.ann
    assert len(world.ann.folder.members()) == 1


async def refused_by_revocation(invitation: Invitation) -> None:
    with pytest.raises(TrustError) as refused:
        await invitation.ask("bob")
    assert refused.value.id == "SY-PAIR-10"
