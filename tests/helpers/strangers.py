"""Async. A crowd of strangers that knocks at a listener: silent sockets, and handshakes that cannot succeed.

A process of its own: `python -m tests.helpers.strangers PORT LABEL SECONDS`. The crowd has 250 addresses of
the loopback network. Half of the handshakes name a label that does not exist; half name LABEL, which anybody can see on
the wire, and show no certificate: these cost the listener most. One line of JSON tells how it went.
"""

from __future__ import annotations

import json
import ssl
import sys
import time

import trio

SILENT = 1_000
HANDSHAKES_PER_MIN = 10_000
ADDRESSES = 250
PATIENCE_S = 15.0


class Crowd:
    """What the strangers met with."""

    def __init__(self, port: int, label: str) -> None:
        self.port = port
        self.label = label
        self.knocked = 0
        self.failed = 0
        self.cut = 0
        self.longest_silence_s = 0.0

    async def run(self, seconds: float) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(SILENT):
                nursery.start_soon(self.sit, number)
            ends_at = trio.current_time() + seconds
            number, began = 0, trio.current_time()
            while trio.current_time() < ends_at:
                nursery.start_soon(self.knock, number)
                number += 1
                await trio.sleep_until(began + number * 60 / HANDSHAKES_PER_MIN)

    async def connect(self, number: int) -> trio.SocketStream:
        socket = trio.socket.socket()
        await socket.bind((f"127.0.7.{number % ADDRESSES + 1}", 0))
        await socket.connect(("127.0.0.1", self.port))
        return trio.SocketStream(socket)

    async def sit(self, number: int) -> None:
        """Connect, say nothing, wait to be cut."""
        await trio.sleep(number / SILENT)
        began = time.monotonic()
        try:
            async with await self.connect(number) as stream:
                with trio.fail_after(PATIENCE_S):
                    await stream.receive_some()
        except (OSError, trio.BrokenResourceError, trio.TooSlowError):
            pass  # counted below: how long it took is what matters
        self.cut += 1
        self.longest_silence_s = max(self.longest_silence_s, time.monotonic() - began)

    async def knock(self, number: int) -> None:
        """A handshake that must fail."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        name = self.label if number % 2 else f"f{number:x}"
        self.knocked += 1
        try:
            with trio.move_on_after(PATIENCE_S):
                raw = await self.connect(number)
                stream = trio.SSLStream(raw, context, server_hostname=name, https_compatible=True)
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                if await stream.receive_some():
                    return
        except (OSError, trio.BrokenResourceError, ssl.SSLError):
            pass
        self.failed += 1


def main() -> None:
    port, label, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    crowd = Crowd(port, label)
    trio.run(crowd.run, seconds)
    told = {"knocked": crowd.knocked, "failed": crowd.failed, "silent": crowd.cut, "longest": crowd.longest_silence_s}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
