"""Pure. Every exception that crosses a module; the class tells the reader who reacts, and how."""

from __future__ import annotations

from ca.errors import CodecError, ConfigError, RemoteProtocolError, SyncdError, TrustError

__all__ = [
    "CodecError",
    "ConfigError",
    "LocalProtocolError",
    "PeerUnavailable",
    "RemoteProtocolError",
    "StoreBusy",
    "StoreCorrupt",
    "SyncdError",
    "TrustError",
]


class LocalProtocolError(SyncdError):
    """We broke the protocol: a bug. Close that connection with a traceback in the log; never continue it."""


class PeerUnavailable(SyncdError):
    """Refused, lost or too slow: dial again later."""


class StoreBusy(SyncdError):
    """Another daemon holds this home or folder."""


class StoreCorrupt(SyncdError):
    """Bytes on disk do not match their hash: mark, fetch again, never serve them."""
