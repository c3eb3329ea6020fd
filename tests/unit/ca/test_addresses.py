"""Address rules: what is refused, its neighbour that is not, and that one set of rules has one spelling."""

from __future__ import annotations

import pytest

from ca.addresses import (
    MAX_ADDRESS_RULES,
    AddressRule,
    maybe_refusal,
    parse_network,
    rules_untrusted,
    sorted_rules,
)
from ca.codec import decode_untrusted, encode
from ca.errors import CodecError, ConfigError
from ca.ids import DeviceId

ANN, BEN = DeviceId(b"a" * 32), DeviceId(b"b" * 32)


def allow(network: str, device: DeviceId | None = None) -> AddressRule:
    return AddressRule(True, parse_network(network), device)


def deny(network: str, device: DeviceId | None = None) -> AddressRule:
    return AddressRule(False, parse_network(network), device)


@pytest.mark.parametrize(
    ("rules", "refused", "passes"),
    [
        ([deny("10.0.0.0/8")], "10.255.255.255", "11.0.0.0"),
        ([allow("10.0.0.0/8")], "11.0.0.0", "10.0.0.0"),
        ([allow("10.0.0.0/8"), deny("10.1.0.0/16")], "10.1.2.3", "10.2.2.3"),
        ([allow("10.0.0.0/8"), allow("192.168.7.7")], "192.168.7.8", "192.168.7.7"),
        ([deny("fd00::/8")], "[fd12::1]", "fc12::1"),
        ([allow("10.0.0.0/8")], "fd12::1", "10.9.9.9"),
        ([deny("10.0.0.0/8")], "::ffff:10.1.1.1", "::ffff:11.1.1.1"),
        ([deny("fe80::/10")], "fe80::1%eth0", "2001:db8::1"),
        ([deny("0.0.0.0/0")], "127.0.0.1", "::1"),
        ([deny("10.0.0.0/8")], "example.org", "127.0.0.1"),
    ],
)
def test_what_a_rule_names_is_refused_and_its_neighbour_passes(
    rules: list[AddressRule], refused: str, passes: str
) -> None:
    assert maybe_refusal(sorted_rules(rules), refused) is not None
    assert maybe_refusal(sorted_rules(rules), passes) is None


def test_rules_of_a_device_come_on_top_of_those_for_all() -> None:
    rules = sorted_rules([allow("10.0.0.0/8"), allow("10.1.0.0/16", ANN)])
    assert maybe_refusal(rules, "10.2.0.1") is None
    assert maybe_refusal(rules, "10.2.0.1", BEN) is None
    assert maybe_refusal(rules, "10.2.0.1", ANN) is not None
    assert maybe_refusal(rules, "10.1.0.1", ANN) is None
    assert maybe_refusal(sorted_rules([allow("10.0.0.0/8"), allow("11.0.0.0/8", ANN)]), "11.0.0.1", ANN) is not None


def test_no_rules_refuse_nobody() -> None:
    assert maybe_refusal((), "example.org") is None


def test_rules_are_read_as_they_were_written() -> None:
    rules = sorted_rules([allow("10.0.0.0/8", ANN), deny("::/0"), allow("10.0.0.0/8"), deny("::/0")])
    assert len(rules) == 3
    assert rules_untrusted(decode_untrusted(encode([rule.encodable() for rule in rules]), max_bytes=1000)) == rules


@pytest.mark.parametrize(
    "value",
    [
        [[1, b"\x0a\0\0\0", 8, None], [0, b"\x0a\0\0\0", 8, None]],
        [[1, b"\x0a\0\0\0", 8, None], [1, b"\x0a\0\0\0", 8, None]],
        [[1, b"\x0a\0\0\1", 8, None]],
        [[1, b"\x0a\0\0\0", 33, None]],
        [[1, b"\x0a\0\0\0\0", 8, None]],
        [[1, bytes(8), 8, None]],
        [[2, b"\x0a\0\0\0", 8, None]],
        [[1, b"\x0a\0\0\0", 8, b"short"]],
        [[1, b"\x0a\0\0\0", 8]],
        [[True, b"\x0a\0\0\0", 8, None]],
        [[0, bytes(4), bits, None] for bits in range(33)] + [[0, bytes(16), bits, None] for bits in range(33)],
    ],
)
def test_another_spelling_is_malformed(value: object) -> None:
    with pytest.raises(CodecError):
        rules_untrusted(value)


@pytest.mark.parametrize("length", [5, 8, 15])
def test_network_of_another_length_is_told(length: int) -> None:
    with pytest.raises(CodecError, match="4 or 16 bytes"):
        rules_untrusted([[1, bytes(length), 0, None]])


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "10.0.0.0/33", "example.org", "10.0.0.0/8 10.0.0.0/8"])
def test_what_is_no_network_is_told(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_network(text)


def test_too_many_rules_are_told() -> None:
    rules = [allow(f"10.0.{number}.0/24") for number in range(MAX_ADDRESS_RULES + 1)]
    assert len(sorted_rules(rules[1:])) == MAX_ADDRESS_RULES
    with pytest.raises(ConfigError):
        sorted_rules(rules)
