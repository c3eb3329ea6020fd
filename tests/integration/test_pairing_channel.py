"""Pairing over real TLS: it belongs to one channel, and somebody in the middle has two."""

from __future__ import annotations

import os
from functools import partial
from random import Random

import pytest

from ca.certs import throwaway_certificate
from ca.device import generate
from ca.epochs import code_label
from syncd.net.stream import TlsStream
from syncd.protocol import tls
from syncd.protocol.invitation import Refusal
from syncd.protocol.inviter import InviterSession, ProofFailed, Proved
from syncd.protocol.joiner import JoinerSession, Refused
from syncd.protocol.links import Code
from syncd.protocol.pairing import Channel
from tests.helpers.pipes import shake_hands

ANNA = generate(Random(1).randbytes)
BEN = generate(Random(2).randbytes)
CODE = Code(7, ("guitar", "uncle", "merit"))


async def connect(label: str = code_label(7)) -> tuple[TlsStream, TlsStream]:
    """Joiner's and inviter's ends of a connection on the label of the code."""
    table = tls.LabelTable()
    table.add_pairing(code_label(7), partial(throwaway_certificate, os.urandom))
    return await shake_hands(tls.connect_pairing(label, *throwaway_certificate(os.urandom)), table)


def sessions(joiner_end: TlsStream, inviter_end: TlsStream) -> tuple[JoinerSession, InviterSession]:
    joiner = JoinerSession.for_code(
        ANNA, CODE, Channel.of(joiner_end.export), os.urandom, host="anna-laptop", system="Linux"
    )
    return joiner, InviterSession.for_code(BEN, CODE, Channel.of(inviter_end.export), os.urandom)


def prove(joiner: JoinerSession, inviter: InviterSession) -> bytes:
    inviter.receive_untrusted(joiner.start())
    step = joiner.receive_untrusted(inviter.attempt_counted())
    assert step.request is not None
    return step.request


async def test_both_ends_of_one_connection_pair() -> None:
    joiner_end, inviter_end = await connect()
    joiner, inviter = sessions(joiner_end, inviter_end)
    assert isinstance(inviter.receive_untrusted(prove(joiner, inviter)).event, Proved)
    assert inviter_end.endpoint.kind is tls.Kind.PAIRING


async def test_exporters_of_the_two_roles_differ() -> None:
    joiner_end, _ = await connect()
    channel = Channel.of(joiner_end.export)
    assert channel.joiner != channel.inviter


async def test_right_code_through_a_relay_that_ends_tls_is_refused() -> None:
    """The one in the middle passes every body on unchanged, and both ends know the code."""
    joiner_end, _ = await connect()
    _, inviter_end = await connect()
    joiner, inviter = sessions(joiner_end, inviter_end)
    step = inviter.receive_untrusted(prove(joiner, inviter))
    assert step.event == ProofFailed() and step.reply is not None
    assert joiner.receive_untrusted(step.reply).event == Refused(Refusal.WRONG)


async def test_number_that_nobody_opened_is_no_label() -> None:
    with pytest.raises(BaseExceptionGroup) as refusal:
        await connect("pair-8")
    assert refusal.group_contains(tls.UnknownLabel)
