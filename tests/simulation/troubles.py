"""Async. What goes wrong in the stories of `make simulate`: each trouble is a function that lasts some simulated time.

Meanwhile people work on. When a trouble is over the world is as it should be again: connected, mended, with the time
right. What it has physically destroyed (a disk that was played back to yesterday) it takes out of the book.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from syncd.treetypes import PRIVATE, Denied, IoFailed, Kind, NoSpace, Path, ReadOnly, TreeError
from tests.helpers.liars import LIES
from tests.helpers.simulation import DAY_S, SimComputer
from tests.helpers.users import DIRECTORIES
from tests.simulation.claim import settle
from tests.simulation.tale import Tale

ERRORS: tuple[type[TreeError], ...] = (NoSpace, IoFailed, ReadOnly, Denied)
STEPS = (
    "stage_small",
    "stage_file",
    "write",
    "flush",
    "flush_dirs",
    "create",
    "exchange",
    "exchange.rename",
    "retire",
    "retire.rename",
    "move",
    "park",
    "unpark",
    "make_dir",
    "remove_dir",
    "set_attributes",
    "list_dir",
    "stat",
    "open_read",
    "read",
    "read_many",
    "check_root",
)
CRITICAL = (
    "exchange",
    "exchange.rename",
    "retire",
    "retire.rename",
    "create",
    "move",
    "read_many.after",
    "read",
    "flush",
)
"""Steps before which a person may be quicker than syncd."""
LOOKS = ("list_dir", "stat", "read_many", "read_many.after", "move", "exchange", "make_dir", "remove_dir")
"""Steps before which a person may turn directories over."""


Trouble = Callable[[Tale], Awaitable[None]]


async def nothing(tale: Tale) -> None:
    """Everybody works."""
    await tale.be_busy(4)


# --- network --------------------------------------------------------------------------------------------------------


async def partition(tale: Tale) -> None:
    """One cannot reach the others for a while, all work on."""
    alone = tale.any()
    tale.simulation.internet.partition([alone.host], [one.host for one in tale.simulation if one is not alone])
    await tale.be_busy(4, pause_s=10)
    tale.simulation.internet.heal()


async def one_way(tale: Tale) -> None:
    """What one says does not arrive at another; the other way is open."""
    source, target = tale.chance.sample(tale.simulation.computers, 2)
    tale.simulation.internet.block(source.host, target.host)
    await tale.be_busy(4, pause_s=20)
    tale.simulation.internet.heal()


async def slow_peer(tale: Tale) -> None:
    """All that one sends takes up to two hundred times longer."""
    slow = tale.any()
    tale.simulation.internet.slowness[slow.host] = tale.chance.uniform(20, 200)
    await tale.be_busy(4, pause_s=5)
    tale.simulation.internet.heal()


async def loss(tale: Tale) -> None:
    """Segments get lost, and are sent again later."""
    before = tale.simulation.internet.lost
    tale.simulation.internet.loss = tale.chance.uniform(0.05, 0.4)
    await tale.be_busy(4, pause_s=5)
    tale.simulation.internet.heal()
    tale.faults["segment lost"] += tale.simulation.internet.lost - before


async def cuts(tale: Tale) -> None:
    """Connections are reset again and again."""
    for _ in range(3):
        await tale.be_busy(1)
        tale.faults["connection reset"] += tale.simulation.internet.cut(tale.any().host)


# --- computers ------------------------------------------------------------------------------------------------------


async def power_cut(tale: Tale) -> None:
    """One loses its power in the middle of something; the others work on, and it comes back."""
    unlucky = tale.any()
    tale.simulation.act(tale.honest, 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(unlucky.crash_within, 200)
        await tale.be_busy(3, but=unlucky)
    await tale.simulation.start(unlucky)


async def power_cuts(tale: Tale) -> None:
    """One loses its power again and again, soon after it has come back."""
    unlucky = tale.any()
    for _ in range(3):
        tale.simulation.act(tale.honest, 1)
        await trio.sleep(tale.chance.uniform(0, 1))
        await unlucky.crash_within(60)
        tale.faults["power cut"] += 1
        await tale.simulation.start(unlucky)


async def rest(tale: Tale) -> None:
    """One daemon is stopped and started; people work on everywhere meanwhile."""
    tired = tale.any()
    await tired.stop()
    await tale.be_busy(3)
    await tale.simulation.start(tired)


async def wrong_clock(tale: Tale) -> None:
    """One clock is set wrong by days, and right again."""
    confused = tale.any()
    confused.clock.ahead_s = tale.chance.uniform(-1.5, 30) * DAY_S
    await tale.be_busy(4)
    confused.clock.ahead_s = 0.0


async def jumping_clocks(tale: Tale) -> None:
    """All clocks jump to and fro by up to an hour."""
    for _ in range(4):
        for computer in tale.honest:
            computer.clock.ahead_s = tale.chance.uniform(-3600, 3600)
            tale.faults["clock jump"] += 1
        await tale.be_busy(1)
    for computer in tale.simulation:
        computer.clock.ahead_s = 0.0


# --- disks ----------------------------------------------------------------------------------------------------------


async def failing_once(tale: Tale) -> None:
    """A disk refuses some step, each time once."""
    unlucky = tale.any()
    failed = unlucky.disk.failed
    for _ in range(4):
        error = tale.chance.choice(ERRORS)
        unlucky.disk.fail_at(tale.chance.randint(1, 4), error("simulated"), tale.chance.choice(STEPS))
        await tale.be_busy(1)
    unlucky.disk.mend()
    tale.faults["disk error"] += unlucky.disk.failed - failed


async def failing_for_ever(tale: Tale) -> None:
    """From some step on a disk refuses one kind of step, or everything, until it is mended."""
    unlucky = tale.any()
    failed = unlucky.disk.failed
    step = tale.chance.choice([*STEPS, None])
    error = tale.chance.choice(ERRORS)
    unlucky.disk.fail_at(tale.chance.randint(1, 10), error("simulated"), step, for_ever=True)
    await tale.be_busy(4, pause_s=10)
    unlucky.disk.mend()
    tale.faults["disk error"] += unlucky.disk.failed - failed


async def full_disk(tale: Tale) -> None:
    """There is hardly any room left on a disk, and then there is again."""
    unlucky = tale.any()
    unlucky.disk.capacity = unlucky.disk.used + tale.chance.choice([0, 100, 20_000, 200_000])
    await tale.be_busy(4, pause_s=10, but=unlucky)
    unlucky.disk.capacity = None


async def failing_flush_and_power_cut(tale: Tale) -> None:
    """A flush fails, what it should have saved counts as saved from then on, and soon the power fails."""
    unlucky = tale.any()
    unlucky.disk.fail_at(1, IoFailed("simulated"), "flush")
    tale.simulation.act([one for one in tale.honest if one is not unlucky], 2)
    await trio.sleep(tale.chance.uniform(1, 4))
    tale.faults["disk error"] += 1
    await unlucky.crash()
    tale.faults["power cut"] += 1
    unlucky.disk.mend()
    await tale.simulation.start(unlucky)


# --- people at the wrong moment -------------------------------------------------------------------------------------


async def quick_hands(tale: Tale) -> None:
    """A person does something in the very moment in which syncd is about to do something."""
    computer = tale.any()
    user = tale.user(computer)
    acting = False

    def before(step: str, path: Path) -> None:
        nonlocal acting
        if acting or step not in CRITICAL or path[:1] == (PRIVATE,) or tale.chance.random() > 0.3:
            return
        acting = True
        try:
            if tale.chance.random() < 0.7 and path and user.overwrite(path):
                computer.note(user.log[-1])
            else:
                user.act()
                computer.note(user.log[-1])
            tale.faults[f"a person before {step}"] += 1
        finally:
            acting = False

    computer.on_step = before
    await tale.be_busy(4)
    computer.on_step = None


async def upheaval(tale: Tale) -> None:
    """Everybody moves few directories into and out of one another, faster than anybody looks, now and then in the very
    moment of a look, and partly where others do not hear of it. All that is in them goes along."""
    chance, computer, acting = tale.chance, tale.any(), False
    disk, users = computer.disk, {one.name: tale.user(one) for one in tale.honest}
    for name in DIRECTORIES:
        if disk.maybe(disk.root, name) is None:
            disk.mkdir((name,))
    tale.simulation.act([computer], 3)

    def before(step: str, path: Path) -> None:
        nonlocal acting
        if acting or step not in LOOKS or path[:1] == (PRIVATE,) or chance.random() > 0.1:
            return
        acting = True
        try:
            if (user := users[computer.name]).turn_over():
                computer.note(user.log[-1])
                tale.faults[f"turned over before {step}"] += 1
        finally:
            acting = False

    computer.on_step = before
    for _ in range(4):
        if chance.random() < 0.4:
            alone = tale.any()
            tale.simulation.internet.partition([alone.host], [one.host for one in tale.simulation if one is not alone])
        for one in tale.honest:
            for _ in range(chance.randint(1, 3)):
                if chance.random() < 0.6 and users[one.name].turn_over():
                    one.note(users[one.name].log[-1])
                    tale.faults["turned over"] += 1
                else:
                    tale.simulation.act([one], 1)
                await trio.sleep(chance.choice([0, 0, 0.1, 0.3]))
        await trio.sleep(chance.uniform(0, 4))
        if chance.random() < 0.5:
            tale.simulation.internet.heal()
    computer.on_step = None
    tale.simulation.internet.heal()


async def late_writer(tale: Tale) -> None:
    """A program holds a file open, others replace it, and the program writes and closes."""
    computer = tale.any()
    user = tale.user(computer)
    held = user.hold_open()
    if held is not None:
        await tale.be_busy(3, but=computer)
        others = [one for one in tale.honest if one is not computer]
        if others and tale.chance.random() < 0.8:
            tale.user(tale.chance.choice(others)).overwrite(held.path)
        await trio.sleep(tale.chance.uniform(0, 20))
        held.write_and_close()
        tale.faults["late write"] += 1
    await tale.be_busy(1)


# --- the past comes back --------------------------------------------------------------------------------------------


async def older_databases(tale: Tale) -> None:
    """One database of a home, or all, are played back from a copy that is some changes old."""
    computer = tale.any()
    backup = computer.back_up()
    await tale.be_busy(3)
    await trio.sleep(tale.chance.uniform(0, 10))
    await computer.stop()
    tale.simulation.act(tale.honest, 1)
    which = tale.chance.choice(["device", "folder", ""])
    computer.restore(backup, names=lambda name: name.startswith(which))
    tale.faults[f"older {which or 'device and folder'} database"] += 1
    tale.forgot.add(computer.name)
    await tale.simulation.start(computer)
    await tale.be_busy(2)


async def lost_database(tale: Tale) -> None:
    """A folder's database is gone."""
    computer = tale.any()
    await tale.be_busy(2)
    await computer.stop()
    tale.simulation.act(tale.honest, 1)
    for name in [name for name in computer.databases.copies() if name.startswith("folder")]:
        computer.databases.lose(name)
    tale.faults["lost folder database"] += 1
    tale.forgot.add(computer.name)
    await tale.simulation.start(computer)
    await tale.be_busy(2)


async def older_machine(tale: Tale) -> None:
    """Home and files of one computer are played back from a copy: what only that disk had since is destroyed."""
    computer = tale.any()
    backup = computer.back_up()
    await tale.be_busy(3)
    await trio.sleep(tale.chance.uniform(0, 10))
    await computer.stop()
    before = everything_on(computer)
    computer.restore(backup, disk=True)
    elsewhere = set().union(*(everything_on(one) for one in tale.simulation))
    tale.simulation.book.given_up |= before - elsewhere
    tale.faults["older machine"] += 1
    await tale.simulation.start(computer)
    await tale.be_busy(2)


def everything_on(computer: SimComputer) -> set[bytes]:
    """Every content that lies on a disk, whether a person sees it or not."""
    nodes = (node for _, node in computer.disk.walk((), computer.disk.root))
    return {bytes(node.data) if node.kind is Kind.FILE else node.target for node in nodes}


# --- a member who lies ----------------------------------------------------------------------------------------------


async def liar(tale: Tale) -> None:
    """One tells the others lies from now on. Nobody works there, and of it nothing is claimed any more."""
    await settle(tale)  # from here on nobody else lacks what it has
    lying = tale.honest.pop(tale.chance.randrange(len(tale.honest)))
    for lie in tale.chance.sample(LIES, tale.chance.randint(1, len(LIES))):
        task = lying.folder.task
        assert task is not None
        lie(task.server, tale.chance)
        tale.faults[f"lie: {lie.__name__.replace('_', ' ')}"] += 1
    await tale.be_busy(4)


TROUBLES: dict[Trouble, int] = {
    nothing: 1,
    partition: 3,
    one_way: 2,
    slow_peer: 2,
    loss: 2,
    cuts: 2,
    power_cut: 4,
    power_cuts: 3,
    rest: 2,
    wrong_clock: 2,
    jumping_clocks: 2,
    failing_once: 3,
    failing_for_ever: 3,
    full_disk: 2,
    failing_flush_and_power_cut: 2,
    quick_hands: 6,
    upheaval: 4,
    late_writer: 3,
    older_databases: 3,
    lost_database: 2,
    older_machine: 2,
}
"""How often each is chosen. A liar is not chosen but comes last, because from then on one is not honest."""
