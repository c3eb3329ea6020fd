"""Pure. Address rules: from which networks the content of a folder may be exchanged.

A rule allows or denies a network, for every device or for one. What a denying rule names is refused; where there are
allowing rules, whatever none of them names is refused as well. Rules for one device come on top of those for all: a
device must pass both. They are part of the signed policy, so every peer enforces the same ones by the address that it
sees itself.

Shape:  [0 denies or 1 allows, network of 4 or 16 bytes, bits of prefix, device or null], ascending by these fields.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Final, TypeAlias

from ca.codec import Encodable, array, bytes_of, bytes_up_to, list_of, optional, uint
from ca.errors import CodecError, ConfigError
from ca.ids import DeviceId
from ca.values import dataclass

MAX_ADDRESS_RULES: Final = 64

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"


@dataclass(frozen=True, slots=True)
class AddressRule:
    """One network, allowed or denied to a device, or to all."""

    allows: bool
    network: Network
    device: DeviceId | None = None

    @property
    def order(self) -> tuple[bool, bytes, int, bytes]:
        """Rules stand in this order, each once, so that a list of them has one spelling."""
        return self.allows, self.network.network_address.packed, self.network.prefixlen, self.device or b""

    def encodable(self) -> Encodable:
        """As the shape says."""
        return int(self.allows), self.network.network_address.packed, self.network.prefixlen, self.device

    def __str__(self) -> str:
        return f"{'allow' if self.allows else 'deny'} {self.network}"


AddressRules: TypeAlias = tuple[AddressRule, ...]

_fields: Final = array(uint(1), bytes_up_to(16, minimum=4), uint(128), optional(bytes_of(32)))


def parse_network(text: str) -> Network:
    """What a person calls a network: `10.0.0.0/8`, `2001:db8::/32`, or one address. Raises ConfigError."""
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise ConfigError(
            f"{text.strip()!r} is not a network", why=str(error), fix="write it as 192.168.1.0/24 or 2001:db8::/32"
        ) from error


def sorted_rules(rules: Iterable[AddressRule]) -> AddressRules:
    """The one form of a set of rules. Raises ConfigError when there are too many."""
    unique = {rule.order: rule for rule in rules}
    if len(unique) > MAX_ADDRESS_RULES:
        raise ConfigError(f"more than {MAX_ADDRESS_RULES} address rules", fix="name larger networks")
    return tuple(unique[order] for order in sorted(unique))


def rules_untrusted(value: Any) -> AddressRules:
    """The rules in a decoded value. Raises CodecError."""
    rules: AddressRules = list_of(_rule, MAX_ADDRESS_RULES)(value)
    if any(before.order >= after.order for before, after in pairwise(rules)):
        raise CodecError("address rules must ascend")
    return rules


def _rule(value: Any) -> AddressRule:
    allows, packed, prefix, device = _fields(value)
    if len(packed) not in (4, 16):
        raise CodecError("a network has 4 or 16 bytes")
    try:
        network = ipaddress.ip_network((packed, prefix))
    except ValueError as error:
        raise CodecError("a network with bits behind its prefix") from error
    return AddressRule(bool(allows), network, device)


def maybe_refusal(rules: AddressRules, host: str, device: DeviceId | None = None) -> str | None:
    """Why an address may not exchange content, or None if it may. Without a device only the rules for all are asked.

    A host that is not a numeric address passes no rule: what cannot be compared is refused.
    """
    if not rules:
        return None
    address = maybe_address(host)
    for concerned in ({None}, {device} - {None}):
        own = [rule for rule in rules if rule.device in concerned]
        if not own:
            continue
        if address is None:
            return "not a numeric address"
        if (rule := _first(own, address, allows=False)) is not None:
            return str(rule)
        if any(rule.allows for rule in own) and _first(own, address, allows=True) is None:
            return "in no allowed network"
    return None


def _first(rules: Iterable[AddressRule], address: Address, *, allows: bool) -> AddressRule | None:
    fitting = (rule for rule in rules if rule.allows is allows and rule.network.version == address.version)
    return next((rule for rule in fitting if address in rule.network), None)


def maybe_address(host: str) -> Address | None:
    """A numeric address; an IPv4 address that came through an IPv6 socket is the IPv4 address."""
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
