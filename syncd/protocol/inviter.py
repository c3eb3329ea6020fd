"""Pure. The inviter's side of a pairing: what it may do when, and the bodies it answers with (flow: `pairing.py`)."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from hmac import compare_digest
from typing import Any, Final, TypeAlias

from ca.device import DeviceKeys
from ca.values import dataclass
from syncd.errors import RemoteProtocolError
from syncd.protocol.invitation import (
    MAX_REQUEST_BYTES,
    Admission,
    Applicant,
    Kind,
    Offer,
    Refusal,
    decode_body_untrusted,
    encode_admission,
    encode_body,
    open_applicant_untrusted,
    sign_offer,
)
from syncd.protocol.links import Code
from syncd.protocol.pairing import Agreed, Channel, Spake, follow, follow_untrusted, open_untrusted, present, seal


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """Somebody tries the code. Count it on disk, then `attempt_counted()`; or `refuse()`."""


@dataclass(frozen=True, slots=True)
class ProofFailed:
    """The attempt was wrong: tell the person. The session is over, its reply is still to be sent."""


@dataclass(frozen=True, slots=True)
class Proved:
    """The joiner has the secret. Check the invitation for this device, then `make_offer()`; or `refuse()`."""

    applicant: Applicant


@dataclass(frozen=True, slots=True)
class JoinWanted:
    """The joiner's person said yes. Answer by `admit()`, `refuse()`, or within POLL_S by `not_yet()`."""

    applicant: Applicant
    member_name: str


@dataclass(frozen=True, slots=True)
class StillWaiting:
    """The joiner asks again. Answer as for JoinWanted."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The joiner has its admission on disk."""


InviterEvent: TypeAlias = AttemptStarted | ProofFailed | Proved | JoinWanted | StillWaiting | Delivered


@dataclass(frozen=True, slots=True)
class InviterStep:
    """What came of a body: a reply to send, or None if the answer to the event makes it; and the event."""

    reply: bytes | None
    event: InviterEvent | None


class InviterState(Enum):
    """Where an inviter's session stands."""

    LISTENING = auto()  # code: nothing said yet
    COUNTING = auto()
    PROVING = auto()  # link: nothing said yet
    CHECKING = auto()
    OFFERED = auto()
    DECIDING = auto()
    WAITING = auto()
    DELIVERING = auto()
    CLOSED = auto()


class InviterVerb(Enum):
    """What the caller may answer."""

    ATTEMPT_COUNTED = auto()
    MAKE_OFFER = auto()
    NOT_YET = auto()
    ADMIT = auto()
    REFUSE = auto()


_TABLE: Final[dict[tuple[InviterState, Kind | InviterVerb], InviterState]] = {
    (InviterState.LISTENING, Kind.SHARE): InviterState.COUNTING,
    (InviterState.COUNTING, InviterVerb.ATTEMPT_COUNTED): InviterState.PROVING,
    (InviterState.COUNTING, InviterVerb.REFUSE): InviterState.CLOSED,
    (InviterState.PROVING, Kind.PROVE): InviterState.CHECKING,
    (InviterState.CHECKING, InviterVerb.MAKE_OFFER): InviterState.OFFERED,
    (InviterState.CHECKING, InviterVerb.REFUSE): InviterState.CLOSED,
    (InviterState.OFFERED, Kind.COMMIT): InviterState.DECIDING,
    (InviterState.DECIDING, InviterVerb.NOT_YET): InviterState.WAITING,
    (InviterState.DECIDING, InviterVerb.ADMIT): InviterState.DELIVERING,
    (InviterState.DECIDING, InviterVerb.REFUSE): InviterState.CLOSED,
    (InviterState.WAITING, Kind.WAIT): InviterState.DECIDING,
    (InviterState.DELIVERING, Kind.RECEIVED): InviterState.CLOSED,
}


class InviterSession:
    """The side that has the folder. Made once for each connection on a pairing label."""

    def __init__(self, keys: DeviceKeys, channel: Channel) -> None:
        """Use `for_code` or `for_link`."""
        self._keys = keys
        self._channel = channel
        self._state = InviterState.LISTENING
        self._code: Code | None = None
        self._random: Callable[[int], bytes] | None = None
        self._share = b""
        self._agreed: Agreed | None = None
        self._joiner_box = b""
        self._applicant: Applicant | None = None

    @classmethod
    def for_code(cls, keys: DeviceKeys, code: Code, channel: Channel, random: Callable[[int], bytes]) -> InviterSession:
        """A session on the label of an open code."""
        session = cls(keys, channel)
        session._code, session._random = code, random
        return session

    @classmethod
    def for_link(cls, keys: DeviceKeys, secret: bytes, channel: Channel) -> InviterSession:
        """A session on the label of an open link with this 16-byte secret."""
        session = cls(keys, channel)
        session._agreed = Agreed.from_link(secret, channel)
        session._state = InviterState.PROVING
        return session

    @property
    def state(self) -> InviterState:
        return self._state

    def receive_untrusted(self, body: bytes) -> InviterStep:
        """Take one body of the joiner.

        Raises: RemoteProtocolError for a malformed body or one out of turn; the session is over then.
        """
        try:
            kind, fields = decode_body_untrusted(body, MAX_REQUEST_BYTES)
            self._state = follow_untrusted(_TABLE, self._state, kind)
            return self._take_untrusted(kind, fields)
        except RemoteProtocolError:
            self._state = InviterState.CLOSED
            raise

    def _take_untrusted(self, kind: Kind, fields: tuple[Any, ...]) -> InviterStep:
        match kind:
            case Kind.SHARE:
                (self._share,) = fields
                return InviterStep(None, AttemptStarted())
            case Kind.PROVE:
                return self._take_proof_untrusted(*fields)
            case Kind.COMMIT:
                (name,) = fields
                return InviterStep(None, JoinWanted(present(self._applicant), name))
            case Kind.WAIT:
                return InviterStep(None, StillWaiting())
            case _:  # RECEIVED: the table lets nothing else through
                return InviterStep(encode_body(Kind.DONE), Delivered())

    def _take_proof_untrusted(self, box: bytes, proof: bytes) -> InviterStep:
        agreed = present(self._agreed)
        if not compare_digest(proof, agreed.proof_of_joiner(box)):
            self._state = InviterState.CLOSED
            return InviterStep(encode_body(Kind.REFUSED, Refusal.WRONG), ProofFailed())
        applicant = open_applicant_untrusted(agreed.binding, open_untrusted(agreed.joiner_box, box))
        if applicant.device.id == self._keys.id:
            raise RemoteProtocolError("a device tries to join itself")
        self._applicant, self._joiner_box = applicant, box
        return InviterStep(None, Proved(applicant))

    def attempt_counted(self) -> bytes:
        """The attempt is on disk: the reply that lets the joiner prove itself.

        Raises: RemoteProtocolError when the joiner's share was malformed, which is known only now.
        """
        self._go(InviterVerb.ATTEMPT_COUNTED)
        code = present(self._code)
        spake = Spake.of_inviter(code, self._channel, present(self._random))
        try:
            key = spake.agree_untrusted(self._share)
        except RemoteProtocolError:
            self._state = InviterState.CLOSED
            raise
        self._agreed = Agreed.from_spake(key, code.number, self._channel, self._share, spake.share)
        return encode_body(Kind.COUNTERSHARE, spake.share)

    def make_offer(self, offer: Offer) -> bytes:
        """The reply that shows the joiner what it can join. Names in it must be `one_line`."""
        self._go(InviterVerb.MAKE_OFFER)
        agreed = present(self._agreed)
        box = seal(agreed.inviter_box, sign_offer(self._keys, agreed.binding, offer))
        return encode_body(Kind.OFFER, box, agreed.proof_of_inviter(self._joiner_box, box))

    def not_yet(self) -> bytes:
        """The reply that nobody has decided so far."""
        self._go(InviterVerb.NOT_YET)
        return encode_body(Kind.PENDING)

    def admit(self, admission: Admission) -> bytes:
        """The reply that makes the joiner a member."""
        self._go(InviterVerb.ADMIT)
        return encode_admission(admission)

    def refuse(self, reason: Refusal) -> bytes:
        """The reply that ends it."""
        self._go(InviterVerb.REFUSE)
        return encode_body(Kind.REFUSED, reason)

    def _go(self, verb: InviterVerb) -> None:
        self._state = follow(_TABLE, self._state, verb)
