"""Blocking. Handshakes that must fail, made by two TLS libraries that are not ours: OpenSSL and tlslite-ng.

An `Attempt` is what a client shows and asks for; without a change it is an honest member, which both libraries get
through with. A probe changes one thing. `Answer.leaked` says whether one byte of HTTP came back.
"""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from unittest.mock import patch

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL, crypto

from syncd.protocol import tls
from tests.helpers.folders import Identity

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports asyncore, which we do not need
    from tlslite.api import X509, HandshakeSettings, TLSConnection, X509CertChain, parsePEMKey
    from tlslite.errors import BaseTLSException

TIMEOUT_S: Final = 15.0
TLS_1_3: Final = 4
_SSL_VERSIONS: Final = {
    0: SSL.SSL3_VERSION,
    1: SSL.TLS1_VERSION,
    2: SSL.TLS1_1_VERSION,
    3: SSL.TLS1_2_VERSION,
    4: SSL.TLS1_3_VERSION,
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a client does. `versions`: from 0 (SSL 3.0) to 4 (TLS 1.3), least and greatest."""

    identity: Identity | None
    sni: str | None
    chain: tuple[bytes, ...] = ()
    """Certificates behind the client's own, DER."""
    versions: tuple[int, int] = (TLS_1_3, TLS_1_3)
    suite: str | None = None
    curve: str | None = None
    alpn: tuple[bytes, ...] = (tls.ALPN,)
    compressed: bool = False
    """Whether the certificate comes compressed, which only tlslite-ng can do."""
    host: str = "label"
    target: str = "/v1/blocks/" + "00" * 32

    @property
    def request(self) -> bytes:
        return f"GET {self.target} HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\n\r\n".encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything that came back as application data."""

    data: bytes

    @property
    def status(self) -> int | None:
        return int(self.data[9:12]) if self.data.startswith(b"HTTP/1.1 ") else None

    @property
    def leaked(self) -> bool:
        return bool(self.data)


def by_openssl(attempt: Attempt, port: int) -> Answer:
    """As OpenSSL does it."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_cipher_list(b"ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    context.set_min_proto_version(_SSL_VERSIONS[attempt.versions[0]])
    context.set_max_proto_version(_SSL_VERSIONS[attempt.versions[1]])
    if attempt.suite is not None:
        context.set_tls13_ciphersuites(attempt.suite.encode())
    if attempt.curve is not None:
        context.set_tmp_ecdh(crypto.get_elliptic_curve(attempt.curve))
    if attempt.identity is not None:
        context.use_certificate(x509.load_der_x509_certificate(attempt.identity.certificate))
        context.use_privatekey(attempt.identity.key)
    for one in attempt.chain:
        context.add_extra_chain_cert(x509.load_der_x509_certificate(one))
    if attempt.alpn:
        context.set_alpn_protos(list(attempt.alpn))
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as raw:
        connection = SSL.Connection(context, None)
        if attempt.sni is not None:
            connection.set_tlsext_host_name(attempt.sni.encode("latin-1"))
        connection.set_connect_state()
        with suppress(SSL.Error, OSError):
            _until(connection, raw, connection.do_handshake)
            connection.send(attempt.request)
            while True:
                received += _until(connection, raw, lambda: connection.recv(1 << 16))
    return Answer(bytes(received))


def _until(connection: SSL.Connection, raw: socket.socket, step: Callable[[], Any]) -> Any:
    """Do a step of a connection over memory buffers, moving bytes until it is done."""
    while True:
        try:
            return step()
        except SSL.WantReadError:
            _flush(connection, raw)
            data = raw.recv(1 << 16)
            if not data:
                raise ConnectionResetError from None
            connection.bio_write(data)
        finally:
            _flush(connection, raw)


def _flush(connection: SSL.Connection, raw: socket.socket) -> None:
    with suppress(SSL.WantReadError):
        while True:
            raw.sendall(connection.bio_read(1 << 16))


def by_tlslite(attempt: Attempt, port: int) -> Answer:
    """As tlslite-ng does it, which is Python from end to end."""
    settings = HandshakeSettings()
    settings.minVersion, settings.maxVersion = (3, attempt.versions[0]), (3, attempt.versions[1])
    settings.minKeySize = 512
    settings.certificate_compression_send = ["zlib"] if attempt.compressed else []
    settings.certificate_compression_receive = settings.certificate_compression_send
    if attempt.suite is not None:
        settings.cipherNames = [_TLSLITE_SUITES[attempt.suite]]
    if attempt.curve is not None:
        settings.eccCurves = settings.keyShares = [attempt.curve]
        settings.defaultCurve = attempt.curve
    chain, key = None, None
    if attempt.identity is not None:
        chain = X509CertChain([_x509(one) for one in (attempt.identity.certificate, *attempt.chain)])
        pem = attempt.identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        key = parsePEMKey(pem, private=True, implementations=["python"])
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as raw:
        connection = TLSConnection(raw)
        with suppress(BaseTLSException, OSError), patch("tlslite.tlsconnection.is_valid_hostname", bool):
            protocols = [bytearray(one) for one in attempt.alpn] or None
            connection.handshakeClientCert(chain, key, settings=settings, serverName=attempt.sni or "", alpn=protocols)
            connection.write(attempt.request)
            while part := connection.read(1 << 16, 1):
                received += part
    return Answer(bytes(received))


_TLSLITE_SUITES: Final = {
    "TLS_AES_128_GCM_SHA256": "aes128gcm",
    "TLS_AES_256_GCM_SHA384": "aes256gcm",
    "TLS_CHACHA20_POLY1305_SHA256": "chacha20-poly1305",
    "TLS_AES_128_CCM_SHA256": "aes128ccm",
    "TLS_AES_128_CCM_8_SHA256": "aes128ccm_8",
}


def _x509(der: bytes) -> X509:
    certificate = X509()
    certificate.parseBinary(bytearray(der))
    return certificate


STACKS: Final[dict[str, Callable[[Attempt, int], Answer]]] = {"openssl": by_openssl, "tlslite": by_tlslite}
