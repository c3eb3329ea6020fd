"""Blocking. Programs that are not syncd and hold a folder's certificate: `openssl s_client` and `curl`."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.computers import Computer, Stolen, wait_until

TIMEOUT_S = 120.0
NO_BLOCK = "0" * 64


def s_client(server: Computer, held: Stolen) -> list[str]:
    """The command of a connection to a daemon with this certificate, TLS 1.3, no ALPN."""
    return [
        "openssl", "s_client", "-quiet", "-no_ign_eof", "-tls1_3", "-connect", f"127.0.0.1:{server.port}",
        "-servername", held.label, "-cert", str(held.certificate), "-key", str(held.key),
    ]  # fmt: skip


def ask_by_openssl(server: Computer, held: Stolen) -> tuple[str, str]:
    """(answer, what openssl said) to a request for a block that nobody has; the answer is empty when refused."""
    request = f"GET /v1/blocks/{NO_BLOCK} HTTP/1.1\r\nHost: {held.label}\r\nConnection: close\r\n\r\n"
    command = [*s_client(server, held), "-ign_eof"]
    done = subprocess.run(
        command, input=request, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, errors="replace"
    )
    return done.stdout, done.stderr


@dataclass(slots=True)
class OpenConnection:
    """A connection of `openssl s_client` that was answered once and stays open."""

    process: subprocess.Popen[bytes]

    @property
    def is_cut(self) -> bool:
        """The other side ended it."""
        return self.process.poll() is not None


@contextlib.contextmanager
def open_connection(server: Computer, held: Stolen) -> Iterator[OpenConnection]:
    """Connect, be answered, and stay."""
    command = s_client(server, held)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(f"GET /v1/blocks/{NO_BLOCK} HTTP/1.1\r\nHost: {held.label}\r\n\r\n".encode())
            process.stdin.flush()
            assert process.stdout.readline().startswith(b"HTTP/1.1 404")
            yield OpenConnection(process)
        finally:
            process.kill()


def curl(tls: dict[str, str], server: Computer, cid: str, into: Path, *, certificate: bool = True) -> int:
    """Fetch a block as docs/protocol.md says; the status, 0 when there was no answer. The body is in `into`."""
    identity = ["--cert", tls["cert"], "--key", tls["key"]] if certificate else []
    done = subprocess.run(
        [
            "curl", "--silent", "--insecure", "--pinnedpubkey", f"sha256//{tls['pin']}", *identity, "--connect-to",
            f"{tls['sni']}:443:127.0.0.1:{server.port}", "--output", str(into), "--write-out", "%{http_code}",
            f"https://{tls['sni']}/v1/blocks/{cid}",
        ],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    return int(done.stdout)


def wait_cut(connections: list[OpenConnection], timeout_s: float) -> float:
    """Seconds until all of them were cut."""
    return wait_until(lambda: all(one.is_cut for one in connections), timeout_s, "an old connection is still open")
