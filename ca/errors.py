"""Pure. The root of all exceptions; a class says what to do next, not what went wrong.

The table in docs/architecture.md lists who reacts to which class, and how. `syncd.errors` re-exports these and adds
those that only a daemon can meet.
"""

from __future__ import annotations


class SyncdError(Exception):
    """Root. `what` happened; optionally `why`, what to do (`fix`), and the id of the catalogue ("SY-PAIR-03")."""

    def __init__(self, what: str, *, id: str = "", why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.id = id
        self.why = why
        self.fix = fix


class ConfigError(SyncdError):
    """A person must edit, move or protect something on this computer."""


class TrustError(SyncdError):
    """Somebody claims what the roster does not give: refuse, and say so once."""


class RemoteProtocolError(SyncdError):
    """The other side sent what no correct peer sends: drop this connection and back off."""


class CodecError(RemoteProtocolError):
    """Bytes from outside are not the one canonical form of an allowed value."""
