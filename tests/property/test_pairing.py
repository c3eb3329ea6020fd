"""Whatever arrives in a pairing, a link, a code or an announcement: understood, or refused by the one exception."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from ca.codec import encode
from ca.device import generate
from syncd.errors import RemoteProtocolError
from syncd.protocol.announcements import addresses_untrusted, decode_txt_untrusted, encode_txt, tag
from syncd.protocol.invitation import Kind, one_line
from syncd.protocol.inviter import InviterSession, ProofFailed
from syncd.protocol.joiner import JoinerSession, Refused
from syncd.protocol.links import Code, Link, format_link, parse_code_untrusted, parse_link_untrusted, qr_form
from syncd.protocol.pairing import Channel
from syncd.seams import Announcement

ANNA = generate(Random(1).randbytes)
BEN = generate(Random(2).randbytes)
CODE = Code(7, ("guitar", "uncle", "merit"))
CHANNEL = Channel(b"j" * 32, b"i" * 32)
LINK = Link(b"s" * 16, BEN.id[:16], 1_800_000_000, ())

values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.binary(max_size=80) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 12), inner, max_size=4),
    max_leaves=12,
)
bodies = (
    st.binary(max_size=200)
    | values.map(encode)
    | st.builds(lambda kind, fields: encode({0: kind, **fields}), st.sampled_from(Kind), st.dictionaries(
        st.integers(1, 5), values, max_size=4))
)  # fmt: skip
ports = st.integers(1, 65535)
addresses = st.builds("{}:{}".format, st.ip_addresses(v=4), ports) | st.builds(
    "[{}]:{}".format, st.ip_addresses(v=6), ports
)
links = st.builds(
    Link,
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 1 << 40),
    st.lists(addresses, max_size=8).map(tuple),
)


@given(st.lists(bodies, max_size=4), st.booleans())
def test_inviter_lets_no_garbage_through(stream: list[bytes], by_code: bool) -> None:
    inviter = (
        InviterSession.for_code(BEN, CODE, CHANNEL, Random(3).randbytes)
        if by_code
        else InviterSession.for_link(BEN, LINK.secret, CHANNEL)
    )
    for body in stream:
        try:
            step = inviter.receive_untrusted(body)
            if step.reply is None:
                inviter.attempt_counted()  # nothing but a first share can have got here
        except RemoteProtocolError:
            return
        assert step.event is None or isinstance(step.event, ProofFailed) or by_code


@given(st.lists(bodies, max_size=4), st.booleans())
def test_joiner_believes_no_garbage(stream: list[bytes], by_code: bool) -> None:
    joiner = (
        JoinerSession.for_code(ANNA, CODE, CHANNEL, Random(4).randbytes, host="a", system="b")
        if by_code
        else JoinerSession.for_link(ANNA, LINK, CHANNEL, host="a", system="b")
    )
    joiner.start()
    for body in stream:
        try:
            step = joiner.receive_untrusted(body)
        except RemoteProtocolError:
            return
        assert step.event is None or isinstance(step.event, Refused)


@given(st.data())
def test_no_altered_byte_of_a_proof_is_overlooked(data: st.DataObject) -> None:
    proof = bytearray(JoinerSession.for_link(ANNA, LINK, CHANNEL, host="a", system="b").start())
    place = data.draw(st.integers(0, len(proof) - 1))
    proof[place] ^= data.draw(st.integers(1, 255))
    try:
        step = InviterSession.for_link(BEN, LINK.secret, CHANNEL).receive_untrusted(bytes(proof))
    except RemoteProtocolError:
        return
    assert isinstance(step.event, ProofFailed)


@given(links)
def test_link_survives_text_and_picture(link: Link) -> None:
    assert parse_link_untrusted(format_link(link)) == link
    assert parse_link_untrusted(qr_form(format_link(link))) == link


@given(st.text(max_size=300) | st.text("abcdefghijklmnopqrstuvwxyz234567", max_size=300).map("syncd:".__add__))
def test_any_other_text_is_no_link(text: str) -> None:
    try:
        assert format_link(parse_link_untrusted(text)) == text.strip().lower()
    except RemoteProtocolError as refusal:
        assert refusal.id == "SY-PAIR-02"


@given(st.text(max_size=60))
def test_any_other_text_is_no_code(text: str) -> None:
    try:
        parse_code_untrusted(text)
    except RemoteProtocolError as refusal:
        assert refusal.id == "SY-PAIR-02"


keys = st.lists(st.binary(min_size=32, max_size=32), max_size=40, unique=True).map(tuple)
numbers = st.sets(st.integers(1, 99), max_size=16)


@given(keys, numbers, st.binary(min_size=16, max_size=16))
def test_announcement_is_understood(keys: tuple[bytes, ...], numbers: set[int], instance: bytes) -> None:
    properties = encode_txt(Announcement(1, keys, tuple(numbers)), instance, Random(5).randbytes)
    tags, pairing = decode_txt_untrusted({key.encode(): value for key, value in properties.items()})
    assert {tag(key, instance) for key in keys} <= set(tags)
    assert pairing == tuple(sorted(numbers))


@given(
    st.dictionaries(
        st.sampled_from([b"v", b"t", b"t1", b"t4", b"p", b"x"]),
        st.none() | st.binary(max_size=255) | st.sampled_from([b"1", b"7,8"]),
    )
)
def test_any_txt_is_decoded_or_refused(properties: dict[bytes, bytes | None]) -> None:
    try:
        tags, pairing = decode_txt_untrusted(properties)
    except RemoteProtocolError:
        return
    assert len(tags) <= 128 and all(1 <= number <= 99 for number in pairing)


@given(st.lists(st.text(max_size=40), max_size=20), st.none() | st.integers())
def test_any_hosts_are_filtered(hosts: list[str], port: int | None) -> None:
    assert len(addresses_untrusted(hosts, port)) <= 8


@given(st.text(), st.integers(8, 200))
def test_one_line_is_always_sendable(name: str, maximum_bytes: int) -> None:
    line = one_line(name, maximum_bytes)
    assert 0 < len(line.encode()) <= maximum_bytes
    assert line.isprintable() and line == line.strip()
