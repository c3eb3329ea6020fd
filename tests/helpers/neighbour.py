"""A process that announces and browses, for tests that want one on a machine of its own.

Each line on stdin is an announcement to make from now on ({"port", "keys", "pairing"} in JSON, or null); each hint that
arrives is a line on stdout. The end of stdin ends it, and "bye" is the last line. Without an end it gives up after
`DEADLINE_S`, so that a test which waits for a line that never comes is not left waiting.
"""

from __future__ import annotations

import json
import os
import sys

import trio

from syncd.net.discovery import Discovery
from syncd.seams import Announcement, Found, Unheard

DEADLINE_S = 40.0


def announcement_of(line: bytes) -> Announcement | None:
    given = json.loads(line)
    if given is None:
        return None
    return Announcement(given["port"], tuple(bytes.fromhex(key) for key in given["keys"]), tuple(given["pairing"]))


def line_of(hint: Found | Unheard) -> dict[str, object]:
    if isinstance(hint, Unheard):
        return {"unheard": hint.why}
    return {
        "instance": hint.instance.hex(),
        "addresses": list(hint.addresses),
        "tags": [tag.hex() for tag in hint.tags],
        "pairing": list(hint.pairing),
    }


def say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


async def read_commands(discovery: Discovery, scope: trio.CancelScope) -> None:
    pending = b""
    stdin = trio.lowlevel.FdStream(os.dup(0))
    async for chunk in stdin:
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            discovery.announce(announcement_of(line))
    scope.cancel()


async def main() -> None:
    discovery = Discovery(os.urandom)
    send, receive = trio.open_memory_channel[Found | Unheard](64)
    with trio.fail_after(DEADLINE_S):
        await run(discovery, send, receive)
    say("bye")


async def run(
    discovery: Discovery,
    send: trio.MemorySendChannel[Found | Unheard],
    receive: trio.MemoryReceiveChannel[Found | Unheard],
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_commands, discovery, nursery.cancel_scope)
        nursery.start_soon(discovery.browse, send)
        async for hint in receive:
            say(line_of(hint))


if __name__ == "__main__":
    trio.run(main)
