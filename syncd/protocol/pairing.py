"""Pure. How a device that nobody knows yet becomes a member: by a code that was read out, or by a link that was sent.

Two objects, `JoinerSession` (joiner.py) and `InviterSession` (inviter.py), take bodies and give bodies. They neither
wait nor write: where the outside must act before the exchange may go on (put an attempt on disk, ask a person, admit)
the session hands out an event and stands still until the caller uses the verb that answers it. What is allowed when
stands in two tables, from (state, kind of message or verb) to the next state; anything else is refused. This module
has what both sides compute.

Carriage
    One TLS connection is one session. The joiner dials the inviter with a throwaway certificate and the SNI label
    `pair-<number>` for a code or the hash of the secret for a link; the inviter answers that label only while the
    invitation is open. Both make a `Channel` from the exporters of that connection. The joiner then posts bodies of at
    most 8 KiB to `POST /v1/pair`, one at a time; each answer is 200 with the inviter's body (at most 8 MiB), also for
    a refusal. A RemoteProtocolError on either side ends the connection.

        joiner                                     inviter
        SHARE (codes only)                  ->     event AttemptStarted: count it on disk, then `attempt_counted()`
                                            <-     COUNTERSHARE
        PROVE  box{device, host, system}, MAC ->   MAC wrong: event ProofFailed, REFUSED(wrong); the session is over
                                                   MAC right: event Proved: check the invitation, then `make_offer()`
                                            <-     OFFER  box{device, folder, role, roster head, sizes}, MAC
        event Offered: show it, ask; `commit()`
        COMMIT  member name                 ->     event JoinWanted: admit at once, or ask a person
                                            <-     PENDING after at most POLL_S seconds without a decision
        WAIT                                ->     event StillWaiting: as for JoinWanted
                                            <-     ADMISSION by `admit()`, or REFUSED by `refuse()`
        event Admitted: write it to disk; `received()`
        RECEIVED                            ->     event Delivered: the invitation is settled
                                            <-     DONE

    Between OFFER and COMMIT a person reads: that connection may rest for THINKING_S. If it breaks after COMMIT, the
    joiner begins again with the same device keys: the invitation knows the device it was claimed by (`engine/invites`),
    and gives the same admission again until RECEIVED, so no crash on either side strands a half-admitted member.

Why it holds
    A code has 24 bits, so nobody may get to test more than a few guesses. SPAKE2 (A is the joiner, B the inviter) gives
    each side one guess for each exchange. The identities in its transcript are the roles with the code's number and the
    TLS exporters, so an exchange cannot be moved to another connection: who sits in the middle has two connections and
    two keys. The joiner confirms first: an impostor who guesses as a joiner learns whether it was right only from the
    answer to its confirmation, and by then the attempt is counted. It is counted even before COUNTERSHARE, because that
    answer is computed with the code in Python that is not constant in time; three samples tell nothing, unlimited ones
    might. An impostor who guesses as an inviter gets one guess for each try of the joiner, who must not go on by itself
    after the third (MAX_TRIES).

    A link has 128 bits. It is never sent: both sides derive the session's keys from it and from the exporters, and the
    inviter is also held to the fingerprint in the link.

    From the agreed secret come four keys, for a MAC and a box in each direction. The MAC covers the transcript and the
    box and is checked before the box is opened: AES-GCM alone does not commit to its key, and one crafted box could
    test many codes at once. Each box key seals exactly one message, hence no nonce. In the boxes both sides sign the
    transcript with their device keys. After PROVE and OFFER each side knows that the channel's other end is the one who
    has the secret, and the rest goes over the channel as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ca.codec import encode
from ca.digest import derive, digest, mac
from ca.values import dataclass
from syncd.errors import LocalProtocolError, RemoteProtocolError
from syncd.protocol.invitation import Kind
from syncd.protocol.links import Code

EXPORTER_JOINER: Final = b"EXPORTER-syncd-1-pairing-joiner"
EXPORTER_INVITER: Final = b"EXPORTER-syncd-1-pairing-inviter"
EXPORTER_BYTES: Final = 32

POLL_S: Final = 25.0
"""How long the inviter may hold a COMMIT or WAIT before it answers PENDING."""
THINKING_S: Final = 600.0
"""How long the connection may rest while a person reads the offer."""
MAX_TRIES: Final = 3
"""How often a joiner may try one code before it must ask its person again."""

_NO_NONCE: Final = bytes(12)  # each box key seals one message

State = TypeVar("State", bound=Enum)
Present = TypeVar("Present")


@dataclass(frozen=True, slots=True)
class Channel:
    """What the two ends of one TLS connection know, and nobody else: 32 exported bytes for each role."""

    joiner: bytes
    inviter: bytes

    @classmethod
    def of(cls, export: Callable[[bytes, int], bytes]) -> Channel:
        """From the exporter of a connection: `export(label, length)`."""
        return cls(export(EXPORTER_JOINER, EXPORTER_BYTES), export(EXPORTER_INVITER, EXPORTER_BYTES))


@dataclass(frozen=True, slots=True, repr=False)
class Agreed:
    """The keys of a session, from the secret and everything that was said before it."""

    binding: bytes
    joiner_mac: bytes
    joiner_box: bytes
    inviter_mac: bytes
    inviter_box: bytes

    @classmethod
    def from_spake(cls, key: bytes, number: int, channel: Channel, share: bytes, countershare: bytes) -> Agreed:
        return cls._derive(key, ["code", number, channel.joiner, channel.inviter, share, countershare])

    @classmethod
    def from_link(cls, secret: bytes, channel: Channel) -> Agreed:
        return cls._derive(secret, ["link", channel.joiner, channel.inviter])

    @classmethod
    def _derive(cls, secret: bytes, transcript: list[str | int | bytes]) -> Agreed:
        binding = digest("pairing transcript", encode(transcript))
        material = derive(secret + binding, "pairing keys", 4 * 32)
        return cls(binding, *(material[start : start + 32] for start in range(0, len(material), 32)))

    def proof_of_joiner(self, box: bytes) -> bytes:
        return mac(self.joiner_mac, encode([self.binding, box]))

    def proof_of_inviter(self, joiner_box: bytes, box: bytes) -> bytes:
        return mac(self.inviter_mac, encode([self.binding, joiner_box, box]))


def seal(key: bytes, content: bytes) -> bytes:
    """The box of a message."""
    return AESGCM(key).encrypt(_NO_NONCE, content, None)


def open_untrusted(key: bytes, box: bytes) -> bytes:
    """What lies in a box. Raises: RemoteProtocolError, and nothing else."""
    try:
        return AESGCM(key).decrypt(_NO_NONCE, box, None)
    except (InvalidTag, ValueError):
        raise RemoteProtocolError("a box under the agreed key does not open") from None


class Spake:
    """One side of one SPAKE2 exchange: the only code that knows the library, which computes its groups while it is
    loaded; most daemons that run invite nobody."""

    def __init__(self, side: type[Any], code: Code, channel: Channel, random: Callable[[int], bytes]) -> None:
        self._exchange = side(
            "-".join(code.words).encode(),
            idA=encode(["syncd/1 pairing joiner", code.number, channel.joiner]),
            idB=encode(["syncd/1 pairing inviter", code.number, channel.inviter]),
            entropy_f=random,
        )
        self.share: bytes = self._exchange.start()

    @classmethod
    def of_joiner(cls, code: Code, channel: Channel, random: Callable[[int], bytes]) -> Spake:
        from spake2 import SPAKE2_A

        return cls(SPAKE2_A, code, channel, random)

    @classmethod
    def of_inviter(cls, code: Code, channel: Channel, random: Callable[[int], bytes]) -> Spake:
        from spake2 import SPAKE2_B

        return cls(SPAKE2_B, code, channel, random)

    def agree_untrusted(self, other_share: bytes) -> bytes:
        """The key that the other side has too if it knows the code. Raises: RemoteProtocolError, and nothing else."""
        from spake2 import SPAKEError
        from spake2.ed25519_basic import NotOnCurve

        try:
            key: bytes = self._exchange.finish(other_share)
        except (SPAKEError, NotOnCurve, ValueError):
            raise RemoteProtocolError("a SPAKE2 share that no correct peer sends") from None
        return key


# --- the state tables ------------------------------------------------------------------------------------------------


def follow_untrusted(table: Mapping[tuple[State, Any], State], state: State, kind: Kind) -> State:
    """Where a message of the other side leads. Raises: RemoteProtocolError when it is not its turn."""
    following = table.get((state, kind))
    if following is None:
        raise RemoteProtocolError(f"a pairing message out of turn: {kind.name} while {state.name}")
    return following


def follow(table: Mapping[tuple[State, Any], State], state: State, verb: Enum) -> State:
    """Where a verb of ours leads. Raises: LocalProtocolError when it is not allowed now."""
    following = table.get((state, verb))
    if following is None:
        raise LocalProtocolError(f"{verb.name} while {state.name}")
    return following


def present(value: Present | None) -> Present:
    """A field that the state tables promise to be set by now."""
    if value is None:
        raise LocalProtocolError("the state table lets through what was not prepared")
    return value
