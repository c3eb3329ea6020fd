"""Pure. The TLS rules: contexts, the choice by server name, and what is checked after the handshake.

Both ends of a member connection present one and the same certificate, and the client names the folder by SNI. One
dispatcher context accepts every connection; its SNI callback swaps in the context that the label stands for. What a
reader must know before changing a line (each sentence has its test in tests/integration/test_tls_refusals.py):

- Swapping the context does not carry the verify mode, so the dispatcher itself demands a certificate of the client.
- The dispatcher owns no certificate: an unknown or missing name ends in `handshake_failure` without an exception, which
  pyOpenSSL would print through `sys.excepthook` once per knock on the door.
- Neither dispatcher nor folder contexts have a verify callback; their X509 store holds exactly one certificate.
  Control, pairing and recovery connections must take certificates nobody knows yet, and get a permissive callback on
  the *connection* inside the SNI callback: on their context it would be ignored, on the dispatcher it would let
  strangers into folders.
- Session cache off *and* tickets off, on the dispatcher too: its settings decide, and a resumed session skips the
  certificate.
- OpenSSL does not check dates (there is no clock in here); `check_dates` does, with the caller's clock.
- Contexts are frozen by their first use: a rotation makes new ones.
- In TLS 1.3 a client's handshake succeeds before the server has judged it. Only an application answer means
  "connected".
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from hmac import compare_digest
from typing import TypeAlias

import OpenSSL.version
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.bindings.openssl.binding import Binding
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL, crypto

from ca.ids import EpochId, FolderId
from ca.values import dataclass
from syncd.errors import ConfigError, LocalProtocolError, TrustError

ALPN = b"syncd/1"
EXPORTER_LABEL = b"EXPORTER-syncd-1-hello"
EXPORTER_BYTES = 32

FIRST_SAFE_PYOPENSSL = (26, 0, 0)  # before it, an exception in the SNI callback was swallowed (CVE-2026-27448)
MAX_LABEL_CHARS = 63  # one DNS label

_CIPHER_SUITES = b"TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

_GROUPS = b"X25519MLKEM768:X25519:P-256:P-384"  # the best first; larger curves would cost us milliseconds a handshake
_MODE_ENABLE_PARTIAL_WRITE = 1  # SSL_MODE_ENABLE_PARTIAL_WRITE; pyOpenSSL has no name for it
_X509_V_FLAG_NO_CHECK_TIME = 0x200000  # pyOpenSSL has no name for it
_VERIFY_CLIENT = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
_UNKNOWN_LABEL_ALERTS = ("handshake failure", "unrecognized name")

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Kind(Enum):
    """What a label stands for, and so what may be asked on a connection."""

    MEMBER = 1
    VAULT = 2
    CONTROL = 3
    PAIRING = 4
    RECOVERY = 5


class Side(Enum):
    """Which end of a TLS channel somebody is. It never changes, even when the HTTP roles are swapped."""

    CLIENT = 0
    SERVER = 1

    @property
    def other(self) -> Side:
        return Side.SERVER if self is Side.CLIENT else Side.CLIENT


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end that a label leads to."""

    kind: Kind
    label: str
    folder_id: FolderId | None = None  # None on pairing and recovery labels
    epoch_id: EpochId | None = None  # set on member and vault labels
    certificate: bytes | None = None  # DER both ends must present; set on member and vault labels


class UnknownLabel(TrustError):
    """The listener does not know the label: an epoch that is gone, a code that is closed, another device."""


class WrongDates(TrustError):
    """The certificate is right, the day is not: their clock or ours."""


# --- listening side ------------------------------------------------------------------------------------------------


class LabelTable:
    """The labels a listener answers to. One per daemon; changes count for every handshake that starts after them."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[Endpoint, Callable[[], SSL.Context]]] = {}
        """What each stands for, and what gives its context: of a thousand folders few are called, and a context takes
        18 KiB."""
        self._device: tuple[bytes, SSL.Context] | None = None
        """What shows our device certificate: nothing in it is of a folder, so one serves all of them."""
        self._dispatcher = _new_context()
        self._dispatcher.set_verify(_VERIFY_CLIENT)
        self._dispatcher.set_tlsext_servername_callback(self._choose)

    def add_member(
        self, label: str, folder_id: FolderId, epoch_id: EpochId, certificate: bytes, key: PrivateKey
    ) -> Endpoint:
        """Answer `label` with the certificate of a folder's epoch (DER). Replaces what the label meant before."""
        endpoint = Endpoint(Kind.MEMBER, label, folder_id, epoch_id, certificate)
        return self._add(endpoint, cache(lambda: _server_context(_pinned_context(certificate, key))))

    def add_vault(
        self, label: str, folder_id: FolderId, epoch_id: EpochId, certificate: bytes, key: PrivateKey
    ) -> Endpoint:
        """Answer `label` with the vault certificate of a folder's epoch (DER)."""
        endpoint = Endpoint(Kind.VAULT, label, folder_id, epoch_id, certificate)
        return self._add(endpoint, cache(lambda: _server_context(_pinned_context(certificate, key))))

    def add_control(self, label: str, folder_id: FolderId, certificate: bytes, key: PrivateKey) -> Endpoint:
        """Answer `label` with our device certificate (DER); any client certificate is let through to its hello."""
        context = self._device_context(certificate, key)
        return self._add(Endpoint(Kind.CONTROL, label, folder_id), lambda: context)

    def add_pairing(self, label: str, make: Callable[[], tuple[bytes, PrivateKey]]) -> Endpoint:
        """Answer `label` while a code or link is open, with the throwaway certificate (DER) and the key that `make`
        gives at the first call: of the links that are open few are called at all."""
        return self._add(Endpoint(Kind.PAIRING, label), cache(lambda: _server_context(_own_context(*make()))))

    def add_recovery(self, label: str, certificate: bytes, key: PrivateKey) -> Endpoint:
        """Answer `label` with our device certificate (DER): whoever holds a recovery key proves it behind this."""
        context = self._device_context(certificate, key)
        return self._add(Endpoint(Kind.RECOVERY, label), lambda: context)

    def remove(self, label: str) -> None:
        """Forget a label. Connections that are past their handshake stay: close them first. Unknown labels are fine."""
        self._entries.pop(label, None)

    def labels(self) -> frozenset[str]:
        return frozenset(self._entries)

    def new_connection(self) -> SSL.Connection:
        """A server connection over memory buffers, before its first byte."""
        connection = SSL.Connection(self._dispatcher, None)
        connection.set_accept_state()
        return connection

    def _device_context(self, certificate: bytes, key: PrivateKey) -> SSL.Context:
        """`key` is that of the certificate: no other makes a context with it."""
        if self._device is None or self._device[0] != certificate:
            self._device = certificate, _server_context(_own_context(certificate, key))
        return self._device[1]

    def _add(self, endpoint: Endpoint, context_of: Callable[[], SSL.Context]) -> Endpoint:
        _check_label(endpoint.label)
        self._entries[endpoint.label] = (endpoint, context_of)
        return endpoint

    def _choose(self, connection: SSL.Connection) -> None:
        """SNI callback. Leaving the dispatcher in place refuses: it owns no certificate."""
        name = connection.get_servername() or b""
        entry = self._entries.get(name.decode("ascii", "replace"))
        if entry is None:
            return
        endpoint, context_of = entry
        connection.set_context(context_of())  # if that cannot be made, pyOpenSSL refuses
        connection.set_app_data(endpoint)
        if endpoint.kind in (Kind.CONTROL, Kind.PAIRING, Kind.RECOVERY):
            connection.set_verify(_VERIFY_CLIENT, _accept_any_certificate)


def chosen_endpoint(connection: SSL.Connection) -> Endpoint | None:
    """What the SNI callback chose, or None while (or because) it chose nothing."""
    endpoint = connection.get_app_data()
    return endpoint if isinstance(endpoint, Endpoint) else None


# --- dialling side -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outgoing:
    """How to dial one label: reusable for many connections of the same epoch."""

    endpoint: Endpoint
    context: SSL.Context
    peer_key: bytes | None = None  # raw Ed25519 key the listener must show, on control connections

    def new_connection(self) -> SSL.Connection:
        """A client connection over memory buffers, before its first byte."""
        connection = SSL.Connection(self.context, None)
        connection.set_app_data(self.endpoint)
        connection.set_tlsext_host_name(self.endpoint.label.encode("ascii"))
        connection.set_connect_state()
        return connection


def connect_member(label: str, folder_id: FolderId, epoch_id: EpochId, certificate: bytes, key: PrivateKey) -> Outgoing:
    """Dial a member of a folder: show the epoch's certificate (DER) and accept exactly that one."""
    context = _client_context(_pinned_context(certificate, key))
    context.set_verify(SSL.VERIFY_PEER)
    return Outgoing(Endpoint(Kind.MEMBER, label, folder_id, epoch_id, certificate), context)


def connect_vault(label: str, folder_id: FolderId, epoch_id: EpochId, certificate: bytes, key: PrivateKey) -> Outgoing:
    """Dial a vault of a folder: both ends show the vault certificate (DER)."""
    context = _client_context(_pinned_context(certificate, key))
    context.set_verify(SSL.VERIFY_PEER)
    return Outgoing(Endpoint(Kind.VAULT, label, folder_id, epoch_id, certificate), context)


def connect_control(
    label: str, folder_id: FolderId, certificate: bytes, key: PrivateKey, *, peer_key: bytes | None = None
) -> Outgoing:
    """Dial a device: show our device certificate (DER).

    `peer_key` is the listener's raw TLS key when we know it. Without it the hello must decide, and decides anyway.
    """
    context = _client_context(_own_context(certificate, key))
    context.set_verify(SSL.VERIFY_PEER, _accept_any_certificate)
    return Outgoing(Endpoint(Kind.CONTROL, label, folder_id), context, peer_key)


def connect_pairing(label: str, certificate: bytes, key: PrivateKey) -> Outgoing:
    """Dial whoever answers a code or link: both certificates are throwaways, the pairing protocol proves the rest."""
    context = _client_context(_own_context(certificate, key))
    context.set_verify(SSL.VERIFY_PEER, _accept_any_certificate)
    return Outgoing(Endpoint(Kind.PAIRING, label), context)


def connect_recovery(label: str, certificate: bytes, key: PrivateKey) -> Outgoing:
    """Dial whoever answers for a recovery key: what it hands out proves itself, and we prove to hold the key."""
    context = _client_context(_own_context(certificate, key))
    context.set_verify(SSL.VERIFY_PEER, _accept_any_certificate)
    return Outgoing(Endpoint(Kind.RECOVERY, label), context)


# --- after the handshake -------------------------------------------------------------------------------------------


def peer_certificate(connection: SSL.Connection) -> bytes | None:
    """DER of what the peer presented, as OpenSSL has it: nothing else reads it before it is compared."""
    certificate = connection.get_peer_certificate()
    return None if certificate is None else crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)


def own_certificate(connection: SSL.Connection) -> bytes:
    """DER of what we presented."""
    certificate = connection.get_certificate(as_cryptography=True)
    if certificate is None:
        raise LocalProtocolError("a connection without a certificate of ours got through its handshake")
    return certificate.public_bytes(Encoding.DER)


def check_peer(connection: SSL.Connection, endpoint: Endpoint, *, peer_key: bytes | None = None) -> bytes:
    """The peer's certificate (DER), after it was compared with what the endpoint demands.

    Raises: TrustError when there is none, or it is not byte for byte the epoch's, or has not the expected key.
    """
    certificate = peer_certificate(connection)
    if certificate is None:
        raise TrustError("the peer showed no certificate")
    if endpoint.certificate is not None and not compare_digest(certificate, endpoint.certificate):
        raise TrustError("the peer showed another certificate than the folder's")
    if peer_key is not None and not compare_digest(certificate_key_untrusted(certificate) or b"", peer_key):
        raise TrustError("the peer showed a certificate with another device's key")
    return certificate


def check_dates(endpoint: Endpoint, now: float) -> None:
    """Check the validity of a folder certificate at `now` (unix seconds). Other kinds rest on keys, not on dates.

    Raises: WrongDates (SY-CLOCK-01).
    """
    if endpoint.certificate is None:
        return
    certificate = x509.load_der_x509_certificate(endpoint.certificate)
    moment = datetime.fromtimestamp(now, UTC)
    if certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
        return
    expired = moment > certificate.not_valid_after_utc
    raise WrongDates(
        "the folder's certificate has expired" if expired else "the folder's certificate is not valid yet",
        id="SY-CLOCK-01",
        why=f"this computer's clock says {moment:%Y-%m-%d %H:%M} UTC",
        fix="check the clock of this computer; if it is right, an admin must rotate the folder",
    )


def certificate_key_untrusted(certificate: bytes) -> bytes | None:
    """The raw Ed25519 public key inside a certificate (DER), or None when it holds anything else.

    The certificate may be anybody's: what OpenSSL let pass need not be one for this library, in several ways.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of serial numbers below zero, into our log
            key = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        return None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        return None
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def export(connection: SSL.Connection, label: bytes = EXPORTER_LABEL, length: int = EXPORTER_BYTES) -> bytes:
    """Bytes that only the two ends of this very channel know (RFC 8446 §7.5)."""
    return connection.export_keying_material(label, length)


def speaks_syncd(connection: SSL.Connection) -> bool:
    """Whether both ends agreed on our application protocol. `curl` does not."""
    return connection.get_alpn_proto_negotiated() == ALPN


def reason(error: SSL.Error) -> str:
    """OpenSSL's words for what went wrong, for logs."""
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return "; ".join(entry[-1] for entry in queue if entry) or type(error).__name__


def means_unknown_label(error: SSL.Error) -> bool:
    """Whether a client's handshake failed the way it does when the listener does not know the label."""
    return any(alert in reason(error) for alert in _UNKNOWN_LABEL_ALERTS)


# --- contexts ------------------------------------------------------------------------------------------------------


def check_library() -> None:
    """Raises: ConfigError when pyOpenSSL is older than the first release that refuses when a callback fails."""
    version = tuple(int(part) for part in OpenSSL.version.__version__.split(".")[:3])
    if version < FIRST_SAFE_PYOPENSSL:
        raise ConfigError(
            f"pyOpenSSL {OpenSSL.version.__version__} is too old", fix="install pyOpenSSL 26.0.0 or newer"
        )


def _new_context() -> SSL.Context:
    check_library()
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    context.set_tls13_ciphersuites(_CIPHER_SUITES)
    _restrict_groups(context)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.clear_mode(_MODE_ENABLE_PARTIAL_WRITE)  # pyOpenSSL sets it, and then a call encrypts one record only
    return context


def _restrict_groups(context: SSL.Context) -> None:
    """Agree on keys by these groups only. pyOpenSSL lets choose but a single one."""
    if Binding.lib.SSL_CTX_set1_curves_list(context._context, _GROUPS) != 1:
        raise ConfigError(
            "this OpenSSL lacks a group for the agreement on keys", fix="install pyOpenSSL 26.0.0 or newer"
        )


def _own_context(certificate: bytes, key: PrivateKey) -> SSL.Context:
    """A context that presents a certificate and trusts none."""
    context = _new_context()
    context.use_certificate(x509.load_der_x509_certificate(certificate))
    context.use_privatekey(key)
    context.check_privatekey()
    context.set_verify(_VERIFY_CLIENT)
    return context


def _pinned_context(certificate: bytes, key: PrivateKey) -> SSL.Context:
    """A context that presents a certificate and trusts that one alone."""
    context = _own_context(certificate, key)
    store = context.get_cert_store()
    assert store is not None, "every context is born with a store"
    store.add_cert(crypto.X509.from_cryptography(x509.load_der_x509_certificate(certificate)))
    store.set_flags(_X509_V_FLAG_NO_CHECK_TIME)
    return context


def _server_context(context: SSL.Context) -> SSL.Context:
    context.set_alpn_select_callback(_select_alpn)
    return context


def _client_context(context: SSL.Context) -> SSL.Context:
    context.set_alpn_protos([ALPN])
    return context


def _select_alpn(_connection: SSL.Connection, offered: list[bytes]) -> bytes | SSL._NoOverlappingProtocols:
    """Ours when it is offered. Without it the connection stands, and `authorize` allows next to nothing on it."""
    return ALPN if ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def _accept_any_certificate(
    _connection: SSL.Connection, _certificate: crypto.X509, _error: int, _depth: int, _ok: int
) -> bool:
    """Possession of the key was proved by the handshake; whose key it is, the hello proves."""
    return True


def _check_label(label: str) -> None:
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-")
    if not 0 < len(label) <= MAX_LABEL_CHARS or not set(label) <= allowed:
        raise ValueError(f"not a label: {label!r}")
