"""The whole exchange between a joiner and an inviter, and everything by which one of them must not get further."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from ca.device import DeviceKeys, generate
from ca.ids import DeviceId, EntryHash, FolderId
from ca.roles import Role
from ca.wraps import WrapProof
from syncd.errors import LocalProtocolError, RemoteProtocolError
from syncd.protocol.invitation import Admission, Kind, Offer, Refusal, decode_body_untrusted, encode_body, one_line
from syncd.protocol.inviter import (
    AttemptStarted,
    Delivered,
    InviterSession,
    InviterState,
    JoinWanted,
    ProofFailed,
    Proved,
    StillWaiting,
)
from syncd.protocol.joiner import Admitted, JoinerSession, JoinerState, Offered, Refused, Settled
from syncd.protocol.links import FINGERPRINT_BYTES, Code, Link
from syncd.protocol.pairing import EXPORTER_INVITER, EXPORTER_JOINER, Channel

CODE = Code(7, ("guitar", "uncle", "merit"))
CHANNEL = Channel(b"j" * 32, b"i" * 32)
ANNA = generate(Random(1).randbytes)
BEN = generate(Random(2).randbytes)
EVE = generate(Random(3).randbytes)
LINK = Link(b"s" * 16, BEN.id[:FINGERPRINT_BYTES], 1_800_000_000, ("192.168.1.20:22067",))
OFFER = Offer(
    BEN.public, "ben", FolderId(b"f" * 32), "Photos", Role.EDITOR, EntryHash(b"h" * 32), 3, 12_408, 48 << 30, True
)
ADMISSION = Admission(
    (b"genesis", b"admit"), b"wrap", WrapProof(1, 2, (b"n" * 32,)), ((DeviceId(b"d" * 32), ("10.0.0.2:22067",)),)
)


def joiner_by_code(code: Code = CODE, channel: Channel = CHANNEL, keys: DeviceKeys = ANNA) -> JoinerSession:
    return JoinerSession.for_code(keys, code, channel, Random(4).randbytes, host="anna-laptop", system="macOS")


def inviter_by_code(code: Code = CODE, channel: Channel = CHANNEL) -> InviterSession:
    return InviterSession.for_code(BEN, code, channel, Random(5).randbytes)


def joiner_by_link(link: Link = LINK, channel: Channel = CHANNEL) -> JoinerSession:
    return JoinerSession.for_link(ANNA, link, channel, host="anna-laptop", system="macOS")


def inviter_by_link(secret: bytes = LINK.secret, channel: Channel = CHANNEL, keys: DeviceKeys = BEN) -> InviterSession:
    return InviterSession.for_link(keys, secret, channel)


def prove_by_code(joiner: JoinerSession, inviter: InviterSession) -> bytes:
    """Both up to the joiner's proof."""
    assert inviter.receive_untrusted(joiner.start()).event == AttemptStarted()
    step = joiner.receive_untrusted(inviter.attempt_counted())
    assert step.request is not None and step.event is None
    return step.request


def prove_by_link(joiner: JoinerSession, inviter: InviterSession) -> bytes:
    return joiner.start()


Pair = tuple[JoinerSession, InviterSession, Callable[[JoinerSession, InviterSession], bytes]]


@pytest.fixture(params=["code", "link"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """A joiner and an inviter that can succeed, and the way to the joiner's proof."""
    if request.param == "code":
        return joiner_by_code(), inviter_by_code(), prove_by_code
    return joiner_by_link(), inviter_by_link(), prove_by_link


def reach_offer(pair: Pair) -> tuple[JoinerSession, InviterSession]:
    joiner, inviter, prove = pair
    step = inviter.receive_untrusted(prove(joiner, inviter))
    assert isinstance(step.event, Proved)
    assert joiner.receive_untrusted(inviter.make_offer(OFFER)).event == Offered(OFFER)
    return joiner, inviter


def test_joiner_becomes_a_member(pair: Pair) -> None:
    joiner, inviter = reach_offer(pair)
    step = inviter.receive_untrusted(joiner.commit("anna"))
    assert isinstance(step.event, JoinWanted)
    assert (step.event.member_name, step.event.applicant.device) == ("anna", ANNA.public)
    assert (step.event.applicant.host, step.event.applicant.system) == ("anna-laptop", "macOS")
    assert joiner.receive_untrusted(inviter.admit(ADMISSION)).event == Admitted(ADMISSION)
    step = inviter.receive_untrusted(joiner.received())
    assert step.event == Delivered() and step.reply is not None
    assert joiner.receive_untrusted(step.reply).event == Settled()
    assert (joiner.state, inviter.state) == (JoinerState.CLOSED, InviterState.CLOSED)


def test_joiner_waits_until_a_person_has_decided(pair: Pair) -> None:
    joiner, inviter = reach_offer(pair)
    inviter.receive_untrusted(joiner.commit("anna"))
    for _ in range(3):
        step = joiner.receive_untrusted(inviter.not_yet())
        assert step.request is not None and step.event is None
        assert inviter.receive_untrusted(step.request).event == StillWaiting()
    assert joiner.receive_untrusted(inviter.admit(ADMISSION)).event == Admitted(ADMISSION)


def test_joiner_learns_that_a_person_said_no(pair: Pair) -> None:
    joiner, inviter = reach_offer(pair)
    inviter.receive_untrusted(joiner.commit("anna"))
    assert joiner.receive_untrusted(inviter.refuse(Refusal.DENIED)).event == Refused(Refusal.DENIED)


def test_inviter_can_refuse_who_has_the_secret(pair: Pair) -> None:
    joiner, inviter, prove = pair
    inviter.receive_untrusted(prove(joiner, inviter))
    assert joiner.receive_untrusted(inviter.refuse(Refusal.EXPIRED)).event == Refused(Refusal.EXPIRED)


def test_burnt_code_is_refused_before_anything_is_computed_with_it() -> None:
    joiner, inviter = joiner_by_code(), inviter_by_code()
    inviter.receive_untrusted(joiner.start())
    assert joiner.receive_untrusted(inviter.refuse(Refusal.BURNT)).event == Refused(Refusal.BURNT)


def test_reason_of_a_newer_version_is_still_a_refusal() -> None:
    joiner = joiner_by_code()
    joiner.start()
    assert joiner.receive_untrusted(encode_body(Kind.REFUSED, 42)).event == Refused(Refusal.UNKNOWN)


# --- who does not have the secret ------------------------------------------------------------------------------------


def assert_wrong(inviter: InviterSession, joiner: JoinerSession, proof: bytes) -> None:
    step = inviter.receive_untrusted(proof)
    assert step.event == ProofFailed() and step.reply is not None
    assert inviter.state is InviterState.CLOSED
    assert joiner.receive_untrusted(step.reply).event == Refused(Refusal.WRONG)


@pytest.mark.parametrize("words", [("guitar", "uncle", "zebra"), ("merit", "uncle", "guitar")])
def test_wrong_words_prove_nothing(words: tuple[str, ...]) -> None:
    joiner, inviter = joiner_by_code(Code(7, words)), inviter_by_code()
    assert_wrong(inviter, joiner, prove_by_code(joiner, inviter))


def test_words_under_another_number_prove_nothing() -> None:
    joiner, inviter = joiner_by_code(Code(8, CODE.words)), inviter_by_code()
    assert_wrong(inviter, joiner, prove_by_code(joiner, inviter))


def test_wrong_link_secret_proves_nothing() -> None:
    joiner, inviter = joiner_by_link(replace(LINK, secret=b"t" * 16)), inviter_by_link()
    assert_wrong(inviter, joiner, joiner.start())


@pytest.mark.parametrize("channel", [Channel(b"x" * 32, b"i" * 32), Channel(b"j" * 32, b"x" * 32)])
def test_code_proves_nothing_through_somebody_in_the_middle(channel: Channel) -> None:
    """Who relays has two connections, and so the two ends have different exporters."""
    joiner, inviter = joiner_by_code(channel=channel), inviter_by_code()
    assert_wrong(inviter, joiner, prove_by_code(joiner, inviter))


def test_link_proves_nothing_through_somebody_in_the_middle() -> None:
    joiner, inviter = joiner_by_link(channel=Channel(b"x" * 32, b"x" * 32)), inviter_by_link()
    assert_wrong(inviter, joiner, joiner.start())


def test_proof_from_another_session_of_the_same_code_proves_nothing() -> None:
    first = joiner_by_code(), inviter_by_code()
    proof = prove_by_code(*first)
    inviter = InviterSession.for_code(BEN, CODE, CHANNEL, Random(99).randbytes)
    joiner = joiner_by_code()
    prove_by_code(joiner, inviter)
    assert_wrong(inviter, joiner, proof)


@pytest.mark.parametrize("place", [1, 2])
def test_altered_proof_proves_nothing(pair: Pair, place: int) -> None:
    joiner, inviter, prove = pair
    kind, fields = decode_body_untrusted(prove(joiner, inviter), 8192)
    parts = [bytearray(field) for field in fields]
    parts[place - 1][5] ^= 1
    assert_wrong(inviter, joiner, encode_body(kind, *map(bytes, parts)))


@pytest.mark.parametrize("place", [1, 2])
def test_altered_offer_is_not_shown(pair: Pair, place: int) -> None:
    joiner, inviter, prove = pair
    inviter.receive_untrusted(prove(joiner, inviter))
    kind, fields = decode_body_untrusted(inviter.make_offer(OFFER), 8192)
    parts = [bytearray(field) for field in fields]
    parts[place - 1][5] ^= 1
    with pytest.raises(RemoteProtocolError) as refusal:
        joiner.receive_untrusted(encode_body(kind, *map(bytes, parts)))
    assert refusal.value.id == "SY-PAIR-03"
    assert joiner.state is JoinerState.CLOSED


def test_offer_by_another_device_than_the_link_names_is_refused() -> None:
    joiner, inviter = joiner_by_link(), inviter_by_link(keys=EVE)
    inviter.receive_untrusted(joiner.start())
    with pytest.raises(RemoteProtocolError, match="somebody else"):
        joiner.receive_untrusted(inviter.make_offer(replace(OFFER, device=EVE.public)))


def test_offer_in_the_name_of_another_device_is_refused() -> None:
    joiner, inviter = joiner_by_link(), inviter_by_link(keys=EVE)
    inviter.receive_untrusted(joiner.start())
    with pytest.raises(RemoteProtocolError, match="signature"):
        joiner.receive_untrusted(inviter.make_offer(OFFER))


def test_own_invitation_is_refused_by_both_sides() -> None:
    joiner, inviter = joiner_by_code(keys=BEN), inviter_by_code()
    proof = prove_by_code(joiner, inviter)
    with pytest.raises(RemoteProtocolError, match="itself"):
        inviter.receive_untrusted(proof)


def test_own_invitation_is_refused_by_the_joiner_if_the_inviter_looks_away() -> None:
    """A copy of this very installation, which knows the code and proves it."""
    joiner, inviter = joiner_by_code(keys=BEN), InviterSession.for_code(EVE, CODE, CHANNEL, Random(5).randbytes)
    inviter.receive_untrusted(prove_by_code(joiner, inviter))
    inviter._keys = BEN
    with pytest.raises(RemoteProtocolError, match="device's own") as refused:
        joiner.receive_untrusted(inviter.make_offer(OFFER))
    assert refused.value.id == "SY-PAIR-06"
    assert joiner.state is JoinerState.CLOSED


def test_own_share_sent_back_is_refused() -> None:
    joiner = joiner_by_code()
    _, (share,) = decode_body_untrusted(joiner.start(), 8192)
    for echo in (share, b"B" + share[1:]):
        with pytest.raises(RemoteProtocolError):
            joiner_started().receive_untrusted(encode_body(Kind.COUNTERSHARE, echo))


def joiner_started() -> JoinerSession:
    joiner = joiner_by_code()
    joiner.start()
    return joiner


@pytest.mark.parametrize(
    "share",
    [
        b"A" + bytes(32),  # not a point of the right order
        b"A" + bytes([1]) + bytes(31),  # the neutral element
        b"A" + bytes([2]) + bytes(31),  # not on the curve
        b"A" + b"\xff" * 32,
        b"C" + bytes(32),
    ],
)
def test_malformed_share_costs_an_attempt_and_the_session(share: bytes) -> None:
    inviter = inviter_by_code()
    assert inviter.receive_untrusted(encode_body(Kind.SHARE, share)).event == AttemptStarted()
    with pytest.raises(RemoteProtocolError):
        inviter.attempt_counted()
    assert inviter.state is InviterState.CLOSED


# --- order -----------------------------------------------------------------------------------------------------------


def test_inviter_cannot_answer_before_the_attempt_is_counted() -> None:
    joiner, inviter = joiner_by_code(), inviter_by_code()
    step = inviter.receive_untrusted(joiner.start())
    assert step.reply is None
    verbs: list[Callable[[], bytes]] = [lambda: inviter.make_offer(OFFER), lambda: inviter.admit(ADMISSION)]
    for verb in (*verbs, inviter.not_yet):
        with pytest.raises(LocalProtocolError):
            verb()


def test_commit_without_proof_is_refused(pair: Pair) -> None:
    _, inviter, _ = pair
    with pytest.raises(RemoteProtocolError, match="out of turn"):
        inviter.receive_untrusted(encode_body(Kind.COMMIT, "eve"))
    assert inviter.state is InviterState.CLOSED


def test_second_proof_on_one_attempt_is_refused() -> None:
    joiner, inviter = joiner_by_code(Code(7, ("guitar", "uncle", "zebra"))), inviter_by_code()
    proof = prove_by_code(joiner, inviter)
    inviter.receive_untrusted(proof)
    with pytest.raises(RemoteProtocolError, match="out of turn"):
        inviter.receive_untrusted(proof)


def test_second_share_on_one_connection_is_refused() -> None:
    joiner, inviter = joiner_by_code(), inviter_by_code()
    share = joiner.start()
    inviter.receive_untrusted(share)
    with pytest.raises(RemoteProtocolError, match="out of turn"):
        inviter.receive_untrusted(share)


def test_admission_that_nobody_asked_for_is_refused(pair: Pair) -> None:
    joiner, _ = reach_offer(pair)
    other = reach_offer((joiner_by_link(), inviter_by_link(), prove_by_link))
    other[1].receive_untrusted(other[0].commit("anna"))
    with pytest.raises(RemoteProtocolError, match="out of turn"):
        joiner.receive_untrusted(other[1].admit(ADMISSION))


def test_inviter_refuses_messages_of_its_own_side(pair: Pair) -> None:
    _, inviter = reach_offer(pair)
    with pytest.raises(RemoteProtocolError, match="out of turn"):
        inviter.receive_untrusted(encode_body(Kind.DONE))


# --- fields ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", " anna", "anna\n", "a\u202enna", "a\x00", "n" * 129])
def test_name_that_would_mislead_a_person_is_refused(pair: Pair, name: str) -> None:
    joiner, inviter = reach_offer(pair)
    with pytest.raises(RemoteProtocolError):
        inviter.receive_untrusted(joiner.commit(name))


@pytest.mark.parametrize(
    ("name", "expected"),
    [(" anna\n", "anna"), ("a\u202enna", "anna"), ("", "unnamed"), ("\x00", "unnamed"), ("é" * 40, "é" * 32)],
)
def test_one_line_makes_a_name_sendable(name: str, expected: str) -> None:
    assert one_line(name, 64) == expected


def test_channel_takes_one_export_for_each_role() -> None:
    assert Channel.of(lambda label, length: label[-length:]) == Channel(EXPORTER_JOINER[-32:], EXPORTER_INVITER[-32:])
