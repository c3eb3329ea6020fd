"""Async. Nodes that exchange with each other over a simulated network: everything real but the disk and the folder's
work.

A `ScriptedFolder` stands for the work: it has blocks, announces each by a head that is simply its cid, and takes in
what its peers announce.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio
import trio.testing
from blake3 import blake3

from ca.ids import DeviceId
from ca.roles import Role
from ca.wraps import Sealer
from syncd.daemon.installation import Installation
from syncd.daemon.membership import FolderMembership
from syncd.errors import PeerUnavailable
from syncd.model.cipher import MAX_BLOCK_BYTES
from syncd.model.ids import Cid
from syncd.net.circle import Surroundings
from syncd.net.connections import Connections
from syncd.net.folders import Answerer
from syncd.net.listen import Doorkeeper
from syncd.net.peers import PeerKeeper
from syncd.net.serve import Server
from syncd.protocol.exchange import FrameStatus, HeadsAsked, HeadsPage, Link
from syncd.protocol.frames import pack_frame
from syncd.protocol.messages import Bitmap
from syncd.protocol.possession import ProveAnswer, ProveRequest, answer_of, challenge_key, proof_of
from syncd.protocol.refusals import Refusals
from syncd.protocol.tls import LabelTable
from syncd.seams import Buffer, Listener, Network
from tests.helpers.memberships import Devices, bring_in, new_folder
from tests.helpers.sealer import SimulationSealer
from tests.helpers.simnet import SimInternet

PORT = 22067


def cid_of(content: bytes) -> Cid:
    return Cid(blake3(content).digest())


class NobodyPairs:
    """No invitation is open here."""

    def connect(self, label: str, export: Callable[[bytes, int], bytes], address: str) -> Answerer:
        raise AssertionError("no label of an invitation was installed")


class ScriptedFolder:
    """Implements `protocol.exchange.FolderServer`, and what a keeper needs of a folder's task."""

    def __init__(self, name: str, head: bytes) -> None:
        self.log_id = name.encode().ljust(16, b".")
        self.roster_head = head
        self.blocks: dict[Cid, bytes] = {}
        self.order: list[Cid] = []
        self.arrived_at: dict[Cid, float] = {}
        self.links: list[Link] = []
        self.links_begun = 0
        self.needs: dict[DeviceId, tuple[int, int]] = {}
        self.own_seen: list[bytes | None] = []
        self.fault: Exception | None = None
        self.membership: FolderMembership | None = None
        self._news = trio.Event()
        self._linked = trio.Event()

    def publish(self, content: bytes) -> Cid:
        """Have a new block, and let peers know."""
        cid = cid_of(content)
        if cid not in self.blocks:
            self.blocks[cid] = content
            self.order.append(cid)
            self.arrived_at[cid] = trio.current_time()
            self.tell()
        return cid

    def tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def wait_link(self, device: DeviceId) -> Link:
        """The link to a device, when there is one."""
        while (link := next((one for one in self.links if one.device == device), None)) is None:
            await self._linked.wait()
        return link

    async def wait_for(self, cid: Cid) -> float:
        """When a block had arrived, seconds of trio's clock."""
        while cid not in self.blocks:
            await self._news.wait()
        return self.arrived_at[cid]

    # asked by connections ------------------------------------------------------------------------------------

    async def digest(self) -> bytes:
        return bytes(32)

    async def newest_of(self, device: DeviceId) -> bytes | None:
        return b"newest of " + device[:4]

    def own_journal_seen(self, raw_head: bytes | None) -> None:
        self.own_seen.append(raw_head)

    def peer_needs_now(self, device: DeviceId, files: int, size: int, word: int) -> None:
        self.needs[device] = (files, size)

    def look_again(self) -> None:
        self.tell()

    def asker_gone(self, device: DeviceId) -> None:
        """Nothing is claimed of anybody here."""

    async def heads_after(self, device: DeviceId, asked: HeadsAsked) -> HeadsPage:
        after, wait_s = (asked.after, asked.wait_s) if asked.log_id == self.log_id else (0, 0.0)
        assert self.membership is not None
        head = self.membership.head
        with trio.move_on_after(wait_s):
            while after >= len(self.order) and self.membership.head == head and not asked.is_due():
                await self._news.wait()
        newest = len(self.order)
        return HeadsPage(self.log_id, newest, newest, tuple(self.order[after:]), self.membership.head)

    async def have(self, cids: Sequence[Cid]) -> bytes:
        return Bitmap.of([cid in self.blocks for cid in cids]).bits

    async def prove(self, device: DeviceId, request: ProveRequest) -> ProveAnswer:
        assert self.membership is not None
        key = challenge_key(request.nonce, self.membership.folder_id, device, self.membership.device)
        found = {
            index: (FrameStatus.OK, proof_of(key, self.blocks[cid]))
            for index, cid in enumerate(request.cids)
            if cid in self.blocks
        }
        return answer_of(len(request.cids), found, {})

    async def serve_blocks(self, cids: Sequence[Cid], device: DeviceId | None = None) -> AsyncIterator[Buffer]:
        await trio.lowlevel.checkpoint()
        for index, cid in enumerate(cids):
            content = self.blocks.get(cid)
            status = FrameStatus.GONE if content is None else FrameStatus.OK
            yield pack_frame(index, status, content or b"")

    # asking --------------------------------------------------------------------------------------------------

    async def run_link(self, link: Link) -> None:
        self.links.append(link)
        self.links_begun += 1
        self._linked.set()
        self._linked = trio.Event()
        try:
            log_id, after = b"", 0
            told = False
            while True:
                page = await link.heads(log_id, after, 0, False)
                if self.fault is not None:
                    raise self.fault
                log_id, after = page.log, page.last
                await self._take([Cid(head) for head in page.heads if Cid(head) not in self.blocks], link)
                if page.heads or not told:
                    await link.tell_needs(0, 0, 1)
                    told = True
        except PeerUnavailable:
            return
        finally:
            self.links.remove(link)

    async def _take(self, cids: Sequence[Cid], link: Link) -> None:
        if not cids:
            return
        bits = Bitmap(await link.have(cids))
        assert all(bits[index] for index in range(len(cids)))
        async with link.blocks(cids, [MAX_BLOCK_BYTES] * len(cids)) as groups:
            async for frames in groups:
                for frame in frames:
                    assert frame.status is FrameStatus.OK
                    content = bytes(frame.ciphertext)
                    assert cid_of(content) == cids[frame.index]
                    self.publish(content)


@dataclass(eq=False, slots=True)
class Node:
    """One daemon of the simulation."""

    name: str
    own: Installation
    membership: FolderMembership
    network: Network
    static: tuple[str, ...] = ()
    listens: bool = True
    listen_on: str = f":{PORT}"
    claims: tuple[str, ...] = ()
    """Where a node that does not listen says that it does."""
    table: LabelTable = field(default_factory=LabelTable)
    connections: Connections = field(default_factory=Connections)
    listeners: Sequence[Listener] = ()
    folder: ScriptedFolder = field(init=False)
    keeper: PeerKeeper = field(init=False)
    refusals: Refusals = field(init=False)
    server: Server = field(init=False)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    keeper_scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    @property
    def device(self) -> DeviceId:
        return self.own.id

    @property
    def address(self) -> str:
        return self.listeners[0].address if self.listeners else f"{self.name}:{PORT}"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen (if it does) and exchange until its scope is cancelled."""
        own = self.own
        self.refusals = Refusals(own.clock)
        self.folder = ScriptedFolder(self.name, self.membership.head)
        self.folder.membership = self.membership
        server = self.server = Server(own.keys, self.listening, self._keeper_of, NobodyPairs(), self.refusals)
        surroundings = Surroundings(
            network=self.network,
            clock=own.clock,
            keys=own.keys,
            connections=self.connections,
            book=own.book,
            random=own.random,
            static=self.static,
            listening=self.listening,
            server=server,
            refusals=self.refusals,
        )
        self.membership.install(self.table)
        folder = self.folder
        self.membership.on_update.append(lambda update: folder.tell())
        self.keeper = PeerKeeper(surroundings, self.membership, self.folder, self.folder.run_link)
        doorkeeper = Doorkeeper(self.table, self.connections, own.clock, server.handle, self.refusals)
        with self.scope:
            listeners = self.listeners = await self.network.listen(self.listen_on) if self.listens else []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(doorkeeper.run, listeners)
                nursery.start_soon(self._keep)
                task_status.started()

    async def _keep(self) -> None:
        with self.keeper_scope:
            await self.keeper.run()

    def listening(self) -> tuple[str, ...]:
        return (self.address,) if self.listens else self.claims

    def _keeper_of(self, folder: object) -> PeerKeeper | None:
        return self.keeper if folder == self.membership.folder_id else None

    def linked(self) -> set[DeviceId]:
        """To whom this node has a link."""
        return {link.device for link in self.folder.links}


class Village:
    """Some nodes of one folder. The first founds it, the others are members before anything runs."""

    def __init__(self, nursery: trio.Nursery, seed: int = 1, sealer: Sealer | None = None) -> None:
        self.internet = SimInternet(seed)
        self.devices = Devices()
        self.nodes: dict[str, Node] = {}
        self._nursery = nursery
        self._sealer = sealer or SimulationSealer()

    async def settle(self, names: Sequence[str], network: Network | None = None) -> list[Node]:
        """Make members, in this order; nobody runs yet, and everybody knows the roster only as of its own admission."""
        made = []
        for name in names:
            own = self.devices.device(name, sealer=self._sealer)
            if not self.nodes:
                membership = await new_folder(own, name)
            else:
                host = next(iter(self.nodes.values()))
                membership = await bring_in(host.membership, host.own, own, name, Role.ADMIN)
            node = self.nodes[name] = Node(name, own, membership, network or self.internet.network(name))
            made.append(node)
        return made

    async def start(self, *nodes: Node) -> None:
        for node in nodes:
            await self._nursery.start(node.run)

    async def stop(self, node: Node) -> None:
        """Its host loses power. It may be started again, and then knows what it had on disk."""
        node.scope.cancel()
        self.internet.crash(node.name)
        node.membership.uninstall()
        node.table = LabelTable()
        await trio.testing.wait_all_tasks_blocked()
        node.connections = Connections()
        node.scope, node.keeper_scope = trio.CancelScope(), trio.CancelScope()

    async def all_linked(self, *nodes: Node, within_s: float = 30.0) -> float:
        """Wait until each of these has a link to each other; how long that took."""
        began = trio.current_time()
        with trio.fail_after(within_s):
            for node in nodes:
                for other in nodes:
                    if other is not node:
                        await node.folder.wait_link(other.device)
        return trio.current_time() - began


@asynccontextmanager
async def village(*names: str, seed: int = 1, start: bool = True) -> AsyncIterator[tuple[Village, list[Node]]]:
    """Members who all know the first one's address."""
    async with trio.open_nursery() as nursery:
        made = Village(nursery, seed)
        nodes = await made.settle(names)
        for node in nodes[1:]:
            node.static = (nodes[0].address,)
        if start:
            await made.start(*nodes)
        yield made, nodes
        nursery.cancel_scope.cancel()
