"""Blocking. What the machine itself can do, measured in the same run: nothing syncs faster than this."""

from __future__ import annotations

import os
import socket
import ssl
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MIB = 1 << 20
TLS_BYTES = 512 * MIB
PIECE = 256 * 1024
FILES = 10_000


def measure(openssl: Callable[..., str]) -> dict[str, float]:
    """Figures by name: MB/s, and files a second. `openssl` runs that program (for a certificate)."""
    return {
        "AES-256-GCM, one core, MB/s": round(_rate(_encrypt())),
        "BLAKE3, one core, MB/s": round(_rate(_hash())),
        "TLS 1.3 on loopback, one stream, MB/s": round(_tls(openssl)),
        "files of 4 KiB made and flushed together, per s": round(_files()),
    }


def _rate(piece_done: Callable[[], object]) -> float:
    """MB/s of a function that works on one PIECE."""
    rounds = 2000
    began = time.monotonic()
    for _ in range(rounds):
        piece_done()
    return rounds * PIECE / 1e6 / (time.monotonic() - began)


def _encrypt() -> Callable[[], object]:
    cipher, plain, sealed = AESGCM(bytes(32)), bytes(PIECE), bytearray(PIECE + 16)
    return lambda: cipher.encrypt_into(bytes(12), plain, None, sealed)


def _hash() -> Callable[[], object]:
    plain = bytes(PIECE)
    return lambda: blake3(plain).digest()


def _tls(openssl: Callable[..., str]) -> float:
    with tempfile.TemporaryDirectory() as place:
        key, certificate = Path(place, "key.pem"), Path(place, "certificate.pem")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3", "-subj", "/CN=bench")
        openssl("req", "-x509", *curve, "-keyout", str(key), "-out", str(certificate))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            sender = os.fork()
            if not sender:
                _send(listener.getsockname()[1], certificate)
            return _receive(listener, key, certificate, sender)


def _send(port: int, certificate: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    piece = bytes(PIECE)
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port))) as stream:
        for _ in range(TLS_BYTES // PIECE):
            stream.sendall(piece)
    os._exit(0)


def _receive(listener: socket.socket, key: Path, certificate: Path, sender: int) -> float:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    connection, _ = listener.accept()
    buffer = bytearray(PIECE)
    left = TLS_BYTES
    with context.wrap_socket(connection, server_side=True) as stream:
        began = time.monotonic()
        while left > 0 and (count := stream.recv_into(buffer)):
            left -= count
        took_s = time.monotonic() - began
    os.waitpid(sender, 0)
    return (TLS_BYTES - left) / 1e6 / took_s


def _files() -> float:
    with tempfile.TemporaryDirectory() as place:
        content = os.urandom(4096)
        began = time.monotonic()
        for number in range(FILES):
            with open(f"{place}/{number}", "wb", buffering=0) as file:
                file.write(content)
        os.sync()
        return FILES / (time.monotonic() - began)
