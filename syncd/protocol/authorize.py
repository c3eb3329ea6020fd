"""Pure. Who may ask what. One function, asked anew for every request at the moment it is handled.

So a device that the roster has just removed fails with its next request, whatever it had proved before.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from ca.ids import DeviceId
from ca.roles import Role
from ca.values import dataclass
from syncd.protocol.requests import Route
from syncd.protocol.tls import Kind


@dataclass(frozen=True, slots=True)
class Allow:
    """Go ahead. `unproved`: on the certificate alone, so count it and keep it slow."""

    unproved: bool = False


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer `status` and nothing else; `why` is for our log."""

    status: int
    why: str


Verdict: TypeAlias = Allow | Refuse


@dataclass(frozen=True, slots=True)
class Asker:
    """What is known about the other end of a connection when its request is handled."""

    kind: Kind
    speaks_syncd: bool  # agreed on our application protocol in the handshake
    device: DeviceId | None = None  # proved by its hello
    role: Role | None = None  # its role in the roster *now*; None: not (or no longer) an active device
    was_member: bool = False  # its removal stands in the roster
    address_refused: bool = False  # by the folder's address rules, for everybody or for this device
    epoch_is_current: bool = True  # the connection's epoch is the newest, or an older one that may still drain


_DATA: Final = {Route.HEADS, Route.HAVE, Route.PROVE, Route.BLOCKS, Route.BLOCK, Route.NEEDS}
_ROSTER: Final = {Route.READ_ROSTER, Route.SUBMIT_ENTRY}
_COMMANDS: Final = {Route.COMMAND, Route.REPORT, Route.KEEP}
"""What active members ask of a device, and not of a folder."""
_NOT_HERE: Final = Refuse(404, "no such thing on this kind of connection")
_UNPROVED: Final = Refuse(403, "asked before its hello")


def authorize(asker: Asker, route: Route) -> Verdict:
    """Whether `asker` may have an answer to `route`."""
    if not asker.speaks_syncd and (asker.kind is not Kind.MEMBER or route is not Route.BLOCK):
        return Refuse(403, "does not speak syncd/1")
    match asker.kind:
        case Kind.MEMBER:
            return _authorize_member(asker, route)
        case Kind.CONTROL:
            return _authorize_control(asker, route)
        case Kind.PAIRING:
            return Allow() if route is Route.PAIR else _NOT_HERE
        case Kind.RECOVERY:
            return Allow() if route is Route.RECOVER else _NOT_HERE  # judged by its signature
        case Kind.VAULT:
            return Refuse(403, "no vault serves here")


def _authorize_member(asker: Asker, route: Route) -> Verdict:
    if not asker.epoch_is_current:
        return Refuse(403, "the epoch of this connection is over")
    if asker.address_refused:
        return Refuse(403, "the folder's address rules")
    if route is Route.HELLO:
        return Allow()
    if route not in _DATA:
        return _NOT_HERE
    if asker.device is None:
        return Allow(unproved=True) if route is Route.BLOCK else _UNPROVED
    if asker.role is None:
        return Refuse(403, "not an active device of this folder")
    if asker.role is Role.VAULT:
        return Refuse(403, "a vault on a member label")
    return Allow()


def _authorize_control(asker: Asker, route: Route) -> Verdict:
    if route is Route.HELLO:
        return Allow()
    if route not in _ROSTER and route not in _COMMANDS:
        return _NOT_HERE
    if asker.device is None:
        return _UNPROVED
    if route is Route.SUBMIT_ENTRY:
        return Allow()  # an entry is judged by its signature; taking it from anyone is how forks come to light
    if asker.role is None and (route in _COMMANDS or not asker.was_member):
        return Refuse(404, "not a member")  # the same answer as for a folder that does not exist
    return Allow()  # a command is judged by its signature, and obeyed or not (`engine.commanding`)
