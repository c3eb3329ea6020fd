"""Two processes on two machines with a cable between them, no address configured: they find each other by multicast."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from syncd.net.discovery import Discovery
from syncd.protocol.announcements import tag
from syncd.seams import Announcement, Found, Unheard
from tests.helpers.namespaces import Machine, two_machines

pytestmark = pytest.mark.needs("linux")

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
DEADLINE_S = 30.0
Machines = tuple[Machine, Machine]


class Neighbour:
    """A running tests/helpers/neighbour.py."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.heard: list[Any] = []

    def announce(self, port: int, *keys: bytes, pairing: tuple[int, ...] = ()) -> None:
        self._write({"port": port, "keys": [key.hex() for key in keys], "pairing": pairing})

    def fall_silent(self) -> None:
        self._write(None)

    def _write(self, value: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(value).encode() + b"\n")
        self.process.stdin.flush()

    def wait_for(self, wanted: Callable[[Any], bool]) -> Any:
        """The next line of which this holds. The neighbour ends by itself if it does not come."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            hint = json.loads(line)
            self.heard.append(hint)
            if wanted(hint):
                return hint
        raise AssertionError(f"ended without it; heard {self.heard}")

    def finish(self) -> list[Any]:
        """End it cleanly; all it heard that nobody waited for."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        rest = [json.loads(line) for line in self.process.stdout]
        assert self.process.wait(DEADLINE_S) == 0
        return rest


def has_tag(key: bytes) -> Callable[[Any], bool]:
    return lambda hint: "tags" in hint and tag(key, bytes.fromhex(hint["instance"])).hex() in hint["tags"]


def is_goodbye(hint: Any) -> bool:
    return "instance" in hint and not hint["addresses"]


def is_unheard(hint: Any) -> bool:
    return "unheard" in hint and bool(hint["unheard"])


@pytest.fixture
def start(repository: Path) -> Iterator[Callable[[Machine], Neighbour]]:
    """Starts neighbours, which are killed after the test."""
    with ExitStack() as running:

        def start(machine: Machine) -> Neighbour:
            command = machine.command(sys.executable, "-W", "error", "-m", "tests.helpers.neighbour")
            process = subprocess.Popen(command, cwd=repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            running.enter_context(_ended(process))
            return Neighbour(process)

        yield start


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    with process:
        try:
            yield
        finally:
            process.kill()


@pytest.fixture
def machines() -> Iterator[Machines]:
    with two_machines() as both:
        yield both


needs_machines = pytest.mark.needs("root", "netns")


@needs_machines
def test_two_machines_of_one_folder_find_each_other(machines: Machines, start: Callable[[Machine], Neighbour]) -> None:
    left, right = map(start, machines)
    left.announce(22067, KEY)
    right.announce(22068, OTHER_KEY, KEY)
    seen_by_left = left.wait_for(has_tag(KEY))
    seen_by_right = right.wait_for(has_tag(KEY))
    assert f"{machines[1].host}:22068" in seen_by_left["addresses"]
    assert f"{machines[0].host}:22067" in seen_by_right["addresses"]
    assert left.finish()[-1] == "bye"
    right.wait_for(is_goodbye)
    assert right.finish()[-1] == "bye"


@needs_machines
def test_inviter_is_found_while_its_code_is_open_and_only_then(
    machines: Machines, start: Callable[[Machine], Neighbour]
) -> None:
    inviter, joiner = map(start, machines)
    inviter.announce(22067, KEY)  # a folder of others: nothing to the joiner
    inviter.announce(22067, KEY, pairing=(7,))
    found = joiner.wait_for(lambda hint: hint.get("pairing") == [7])
    assert [hint for hint in joiner.heard if "instance" in hint] == [found]
    inviter.announce(22067, KEY)
    inviter.announce(22067, KEY, pairing=(42,))
    again = joiner.wait_for(lambda hint: hint.get("pairing") == [42])
    assert again["instance"] == found["instance"]
    inviter.fall_silent()
    joiner.wait_for(is_goodbye)


@needs_machines
def test_machine_that_moves_is_found_again_under_another_name(
    machines: Machines, start: Callable[[Machine], Neighbour]
) -> None:
    staying, moving = map(start, machines)
    staying.announce(22067, KEY)
    moving.announce(22068, KEY)
    first = staying.wait_for(has_tag(KEY))
    machines[1].ip("addr", "add", "10.77.0.99/24", "dev", "eth0")
    second = staying.wait_for(lambda hint: "10.77.0.99:22068" in hint.get("addresses", ()))
    assert has_tag(KEY)(second)
    assert first["instance"] != second["instance"]
    assert not set(first["tags"]) & set(second["tags"])


@needs_machines
def test_cable_that_comes_back_is_noticed(machines: Machines, start: Callable[[Machine], Neighbour]) -> None:
    left, right = map(start, machines)
    machines[0].set_cable(plugged=False)
    left.announce(22067, KEY)
    right.announce(22068, KEY)
    right.wait_for(is_unheard)
    machines[0].set_cable(plugged=True)
    right.wait_for(has_tag(KEY))
    left.wait_for(has_tag(KEY))


@needs_machines
def test_blocked_multicast_is_a_notice_that_goes_away(
    machines: Machines, start: Callable[[Machine], Neighbour]
) -> None:
    machines[0].block_multicast()
    blocked = start(machines[0])
    blocked.announce(22067, KEY)
    assert "5353" in blocked.wait_for(is_unheard)["unheard"]
    machines[0].allow_multicast()
    blocked.announce(22067, KEY, OTHER_KEY)
    assert blocked.wait_for(lambda hint: "unheard" in hint) == {"unheard": ""}


async def test_machine_without_a_network_is_told_and_not_stopped() -> None:
    discovery = Discovery(os.urandom, addresses=tuple)
    discovery.announce(Announcement(22067, (KEY,)))
    send, receive = trio.open_memory_channel[Found | Unheard](1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(discovery.browse, send)
        with trio.fail_after(DEADLINE_S):
            assert await receive.receive() == Unheard("no local network is connected")
        nursery.cancel_scope.cancel()


@needs_machines
def test_machine_without_sockets_for_multicast_is_told_and_not_stopped(
    machines: Machines, start: Callable[[Machine], Neighbour]
) -> None:
    """Another program holds the port for itself alone."""
    hog = (
        "import socket as s, sys; u = s.socket(type=s.SOCK_DGRAM); u.bind(('', 5353)); print(flush=1); sys.stdin.read()"
    )
    with subprocess.Popen(
        machines[0].command(sys.executable, "-c", hog), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        neighbour = start(machines[0])
        neighbour.announce(22067, KEY)
        assert "multicast does not work" in neighbour.wait_for(is_unheard)["unheard"]
        assert neighbour.finish() == ["bye"]
        holder.kill()
