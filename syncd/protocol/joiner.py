"""Pure. The joiner's side of a pairing: what it may do when, and the bodies it posts (flow: `pairing.py`)."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from hmac import compare_digest
from typing import Any, Final, TypeAlias

from ca.device import DeviceKeys
from ca.ids import DeviceId
from ca.values import dataclass
from syncd.errors import RemoteProtocolError
from syncd.protocol.invitation import (
    MAX_RESPONSE_BYTES,
    Admission,
    Kind,
    Offer,
    Refusal,
    admission_of,
    decode_body_untrusted,
    encode_body,
    open_offer_untrusted,
    refusal_of,
    sign_applicant,
)
from syncd.protocol.links import Code, Link
from syncd.protocol.pairing import Agreed, Channel, Spake, follow, follow_untrusted, open_untrusted, present, seal


@dataclass(frozen=True, slots=True)
class Offered:
    """The inviter is who it should be, and offers this. Ask the person, then `commit()`; or close the connection."""

    offer: Offer


@dataclass(frozen=True, slots=True)
class Admitted:
    """We are a member, if `ca` finds the admission valid. Write it to disk, then `received()`."""

    admission: Admission


@dataclass(frozen=True, slots=True)
class Refused:
    """The inviter said no. The session is over."""

    reason: Refusal


@dataclass(frozen=True, slots=True)
class Settled:
    """The inviter knows that we have it. The session is over."""


JoinerEvent: TypeAlias = Offered | Admitted | Refused | Settled


@dataclass(frozen=True, slots=True)
class JoinerStep:
    """What came of a body: a body to post next by itself, or None; and the event."""

    request: bytes | None
    event: JoinerEvent | None


class JoinerState(Enum):
    """Where a joiner's session stands."""

    NEW_CODE = auto()
    NEW_LINK = auto()
    SHARED = auto()
    PROVED = auto()
    CHOOSING = auto()
    ASKED = auto()
    SAVING = auto()
    SETTLING = auto()
    CLOSED = auto()


class JoinerVerb(Enum):
    """What the caller may do."""

    START = auto()
    COMMIT = auto()
    RECEIVED = auto()


_TABLE: Final[dict[tuple[JoinerState, Kind | JoinerVerb], JoinerState]] = {
    (JoinerState.NEW_CODE, JoinerVerb.START): JoinerState.SHARED,
    (JoinerState.NEW_LINK, JoinerVerb.START): JoinerState.PROVED,
    (JoinerState.SHARED, Kind.COUNTERSHARE): JoinerState.PROVED,
    (JoinerState.PROVED, Kind.OFFER): JoinerState.CHOOSING,
    (JoinerState.CHOOSING, JoinerVerb.COMMIT): JoinerState.ASKED,
    (JoinerState.ASKED, Kind.PENDING): JoinerState.ASKED,
    (JoinerState.ASKED, Kind.ADMISSION): JoinerState.SAVING,
    (JoinerState.SAVING, JoinerVerb.RECEIVED): JoinerState.SETTLING,
    (JoinerState.SETTLING, Kind.DONE): JoinerState.CLOSED,
    (JoinerState.SHARED, Kind.REFUSED): JoinerState.CLOSED,
    (JoinerState.PROVED, Kind.REFUSED): JoinerState.CLOSED,
    (JoinerState.ASKED, Kind.REFUSED): JoinerState.CLOSED,
}


class JoinerSession:
    """The side that wants in. Made once for each connection it dials."""

    def __init__(self, keys: DeviceKeys, channel: Channel, host: str, system: str) -> None:
        """Use `for_code` or `for_link`."""
        self._keys = keys
        self._channel = channel
        self._host = host
        self._system = system
        self._state = JoinerState.NEW_CODE
        self._code: Code | None = None
        self._link: Link | None = None
        self._spake: Spake | None = None
        self._agreed: Agreed | None = None
        self._box = b""

    @classmethod
    def for_code(
        cls,
        keys: DeviceKeys,
        code: Code,
        channel: Channel,
        random: Callable[[int], bytes],
        *,
        host: str,
        system: str,
    ) -> JoinerSession:
        """A session by code. `host` and `system` are `one_line` and are shown to the inviter's person."""
        session = cls(keys, channel, host, system)
        session._code = code
        session._spake = Spake.of_joiner(code, channel, random)
        return session

    @classmethod
    def for_link(cls, keys: DeviceKeys, link: Link, channel: Channel, *, host: str, system: str) -> JoinerSession:
        """A session by link."""
        session = cls(keys, channel, host, system)
        session._link = link
        session._agreed = Agreed.from_link(link.secret, channel)
        session._state = JoinerState.NEW_LINK
        return session

    @property
    def state(self) -> JoinerState:
        return self._state

    def start(self) -> bytes:
        """The first body to post."""
        self._go(JoinerVerb.START)
        return self._prove() if self._spake is None else encode_body(Kind.SHARE, self._spake.share)

    def receive_untrusted(self, body: bytes) -> JoinerStep:
        """Take one body of the inviter.

        Raises: RemoteProtocolError for a malformed body, one out of turn, or one by somebody who does not have the
        secret (SY-PAIR-03); the session is over then.
        """
        try:
            kind, fields = decode_body_untrusted(body, MAX_RESPONSE_BYTES)
            self._state = follow_untrusted(_TABLE, self._state, kind)
            return self._take_untrusted(kind, fields)
        except RemoteProtocolError:
            self._state = JoinerState.CLOSED
            raise

    def _take_untrusted(self, kind: Kind, fields: tuple[Any, ...]) -> JoinerStep:
        match kind:
            case Kind.COUNTERSHARE:
                (countershare,) = fields
                spake, number = present(self._spake), present(self._code).number
                key = spake.agree_untrusted(countershare)
                self._agreed = Agreed.from_spake(key, number, self._channel, spake.share, countershare)
                return JoinerStep(self._prove(), None)
            case Kind.OFFER:
                return JoinerStep(None, Offered(self._take_offer_untrusted(*fields)))
            case Kind.PENDING:
                return JoinerStep(encode_body(Kind.WAIT), None)
            case Kind.ADMISSION:
                return JoinerStep(None, Admitted(admission_of(fields)))
            case Kind.REFUSED:
                (number,) = fields
                return JoinerStep(None, Refused(refusal_of(number)))
            case _:  # DONE: the table lets nothing else through
                return JoinerStep(None, Settled())

    def _prove(self) -> bytes:
        agreed = present(self._agreed)
        self._box = seal(agreed.joiner_box, sign_applicant(self._keys, agreed.binding, self._host, self._system))
        return encode_body(Kind.PROVE, self._box, agreed.proof_of_joiner(self._box))

    def _take_offer_untrusted(self, box: bytes, proof: bytes) -> Offer:
        agreed = present(self._agreed)
        if not compare_digest(proof, agreed.proof_of_inviter(self._box, box)):
            raise _impostor("Whoever answered does not know the code.")
        offer = open_offer_untrusted(agreed.binding, open_untrusted(agreed.inviter_box, box))
        self._check_inviter(offer.device.id)
        return offer

    def _check_inviter(self, device: DeviceId) -> None:
        if device == self._keys.id:
            raise RemoteProtocolError("the invitation is this device's own", id="SY-PAIR-06")
        if self._link is not None and not self._link.is_from(device):
            raise _impostor("Another device than the one that made the link answered.")

    def commit(self, member_name: str) -> bytes:
        """The body that asks to be let in under this name, which must be `one_line`."""
        self._go(JoinerVerb.COMMIT)
        return encode_body(Kind.COMMIT, member_name)

    def received(self) -> bytes:
        """The body that says the admission is on our disk."""
        self._go(JoinerVerb.RECEIVED)
        return encode_body(Kind.RECEIVED)

    def _go(self, verb: JoinerVerb) -> None:
        self._state = follow(_TABLE, self._state, verb)


def _impostor(why: str) -> RemoteProtocolError:
    return RemoteProtocolError("the invitation was answered by somebody else", id="SY-PAIR-03", why=why)
