"""Async. One joiner's connection to an invitation: the answers to `POST /v1/pair`.

What may be said when is `protocol.inviter`'s to know, and what is decided `inviting.py`'s; this turns a body into a
question to the one and an answer of the other.
"""

from __future__ import annotations

from collections.abc import Callable

from ca.values import dataclass
from syncd.daemon.installation import Installation
from syncd.daemon.inviting import Inviter
from syncd.engine.invites import Why
from syncd.errors import RemoteProtocolError
from syncd.protocol.invitation import Admission, Applicant, Refusal
from syncd.protocol.inviter import (
    AttemptStarted,
    Delivered,
    InviterSession,
    JoinWanted,
    ProofFailed,
    Proved,
    StillWaiting,
)
from syncd.protocol.links import Code
from syncd.protocol.pairing import Channel
from syncd.seams import Workers


@dataclass(frozen=True, slots=True)
class Pairing:
    """What the listener asks when somebody comes by the label of an invitation."""

    inviter: Inviter
    installation: Installation

    def connect(self, label: str, export: Callable[[bytes, int], bytes], address: str) -> Answerer:
        """What answers one connection on a pairing label. `export` is the exporter of its TLS channel.

        Raises: TrustError when the label is no longer open.
        """
        invite, own, channel = self.inviter.invite_at(label), self.installation, Channel.of(export)
        if invite.is_code:
            session = InviterSession.for_code(own.keys, Code(invite.number, invite.words), channel, own.random.token)
        else:
            session = InviterSession.for_link(own.keys, invite.secret, channel)
        return Answerer(self.inviter, own.workers, invite.id, session, address)


class Answerer:
    """One joiner's connection: bodies in, bodies out."""

    def __init__(
        self, inviter: Inviter, workers: Workers, invite: bytes, session: InviterSession, address: str
    ) -> None:
        self._inviter = inviter
        self._workers = workers
        self._invite = invite
        self._session = session
        self._address = address
        self._applicant: Applicant | None = None

    async def answer_untrusted(self, body: bytes) -> bytes:
        """The answer to one body of `POST /v1/pair`; may take POLL_S.

        Raises: RemoteProtocolError (end the connection), TrustError when the folder is gone.
        """
        inviter, session = self._inviter, self._session
        step = session.receive_untrusted(body)
        match step.event:
            case AttemptStarted():
                why = await inviter.start_attempt(self._invite)
                return await self._countershare() if why is None else session.refuse(_refusal(why))
            case ProofFailed():
                await inviter.blur()
                inviter.proof_failed(self._invite, self._address)
            case Proved(applicant):
                await inviter.blur()
                self._applicant = applicant
                why = await inviter.prove(self._invite, applicant.device.id)
                return session.make_offer(inviter.offer(self._invite)) if why is None else session.refuse(_refusal(why))
            case JoinWanted(applicant, member_name):
                why = await inviter.ask(self._invite, applicant, member_name, self._address)
                return await self._decided(applicant) if why is None else session.refuse(_refusal(why))
            case StillWaiting() if self._applicant is not None:
                return await self._decided(self._applicant)
            case Delivered() if self._applicant is not None:
                await inviter.delivered(self._invite, self._applicant.device.id)
        if step.reply is None:
            raise RemoteProtocolError("a pairing message that has no answer")
        return step.reply

    async def _countershare(self) -> bytes:
        # SPAKE2 is Python: some milliseconds that other connections need not wait for.
        share = await self._workers.run_blocking(self._session.attempt_counted)
        await self._inviter.blur()
        return share

    async def _decided(self, applicant: Applicant) -> bytes:
        match await self._inviter.decided(self._invite, applicant.device.id):
            case None:
                return self._session.not_yet()
            case Admission() as admission:
                return self._session.admit(admission)
            case why:
                return self._session.refuse(_refusal(why))


def _refusal(why: Why) -> Refusal:
    return Refusal[why.name]
