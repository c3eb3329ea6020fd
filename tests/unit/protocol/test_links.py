"""Codes and links as people type, paste and scan them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ca.ids import DeviceId
from syncd.errors import RemoteProtocolError
from syncd.protocol.links import (
    MAX_ADDRESSES,
    SCHEME,
    Code,
    Link,
    format_link,
    is_link,
    parse_code_untrusted,
    parse_link_untrusted,
    qr_form,
)

CODE = Code(7, ("guitar", "uncle", "merit"))
LINK = Link(
    bytes(range(16)), bytes(range(16, 32)), 1_800_000_000, ("192.168.1.20:22067", "[fd00::20]:22067", "nas.example:443")
)
TEXT = format_link(LINK)


@pytest.mark.parametrize(
    "typed", ["7-guitar-uncle-merit", " 7 guitar uncle merit\n", "7-GUITAR-Uncle-merit", "7. guitar, uncle, merit"]
)
def test_code_is_read_as_people_type_it(typed: str) -> None:
    assert parse_code_untrusted(typed) == CODE


def test_code_reads_what_it_prints() -> None:
    assert CODE.text == "7-guitar-uncle-merit"
    assert parse_code_untrusted(CODE.text) == CODE


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "7",
        "guitar-uncle-merit",
        "0-guitar-uncle-merit",
        "07-guitar-uncle-merit",
        "100-guitar-uncle-merit",
        "\u0667-guitar-uncle-merit",
        "7-guitar-uncle",
        "7-guitar-uncle-merit-zebra",
        "7-guitar-uncle-qwerty",
        "7" * 100_000,
    ],
)
def test_anything_else_is_no_code(typed: str) -> None:
    with pytest.raises(RemoteProtocolError) as refusal:
        parse_code_untrusted(typed)
    assert refusal.value.id == "SY-PAIR-02"


def test_misspelt_word_is_named_with_the_nearest() -> None:
    with pytest.raises(RemoteProtocolError) as refusal:
        parse_code_untrusted("7-gitar-uncle-merit")
    assert refusal.value.why == 'No code contains the word "gitar"; did you mean "guitar"?'


def test_link_reads_what_it_prints() -> None:
    assert parse_link_untrusted(TEXT) == LINK
    assert parse_link_untrusted(f"  {TEXT}\n") == LINK
    assert parse_link_untrusted(qr_form(TEXT)) == LINK


def test_link_is_one_word_that_no_shell_touches() -> None:
    assert TEXT.startswith(SCHEME)
    assert set(TEXT.removeprefix(SCHEME)) <= set("abcdefghijklmnopqrstuvwxyz234567")


def test_link_leaves_out_what_means_nothing_elsewhere() -> None:
    addresses = (
        "[fe80::1%eth0]:1",
        "10.0.0.1:0",
        "10.0.0.1:65536",
        "no address",
        "[::1",
        "-a:1",
        "1.2.3:4",
        "10.0.0.1:1",
    )
    assert parse_link_untrusted(format_link(replace(LINK, addresses=addresses))).addresses == ("10.0.0.1:1",)


def test_link_carries_the_first_eight_addresses() -> None:
    addresses = tuple(f"10.0.0.{host}:22067" for host in range(1, 20))
    assert parse_link_untrusted(format_link(replace(LINK, addresses=addresses))).addresses == addresses[:MAX_ADDRESSES]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "syncd:",
        "http://example.org/",
        TEXT[len(SCHEME) :],
        TEXT[:-1],
        TEXT[:-8],
        TEXT + "a",
        TEXT.replace(TEXT[20], "8"),
        TEXT[:30] + TEXT[30:].upper(),
        TEXT[:30] + " " + TEXT[30:],
        TEXT + "=",
        SCHEME + "a" * 100_000,
        "syncd:é",
    ],
)
def test_anything_else_is_no_link(text: str) -> None:
    with pytest.raises(RemoteProtocolError) as refusal:
        parse_link_untrusted(text)
    assert refusal.value.id == "SY-PAIR-02"


def test_every_single_slip_in_a_link_is_noticed() -> None:
    for place in range(len(SCHEME), len(TEXT)):
        for letter in "a7":
            if TEXT[place] != letter:
                with pytest.raises(RemoteProtocolError):
                    parse_link_untrusted(TEXT[:place] + letter + TEXT[place + 1 :])


def test_person_who_pastes_a_link_is_understood() -> None:
    assert is_link(" SYNCD:ABC") and is_link(TEXT)
    assert not is_link("7-guitar-uncle-merit") and not is_link("")


def test_link_knows_its_maker_by_the_fingerprint() -> None:
    assert LINK.is_from(DeviceId(bytes(range(16, 48))))
    assert not LINK.is_from(DeviceId(bytes(32)))
