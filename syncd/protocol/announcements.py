"""Pure. What a daemon says about itself on the local network, and which of its neighbours' words count as hints.

A service instance of `_syncd._tcp` is named by a random id and carries nothing else that lasts: the host name in its
records is the same random id, folders appear only as tags that change with the id, and the number of tags is rounded
up with random ones. Whoever holds the announcement key of a folder recognises its tag; to everybody else two
appearances of one daemon are unrelated.

TXT:     `v` format, b"1"; `t`, `t1`, `t2` … tags of 8 bytes packed together, at most 31 in a string;
         `p` numbers of open pairing codes in decimal, ascending, joined by commas, absent when none is open.
Tag:     the first 8 bytes of BLAKE3 keyed with the announcement key over `syncd/1 tag` NUL and the 16 bytes of the id.

Whatever arrives is a hint: it decides whom we dial, never whom we trust. So a malformed announcement is dropped
whole, and an address is used only if it belongs to a local network: an announcement must not make us knock at our own
services or at a stranger's across the internet.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping

from blake3 import blake3

from ca.errors import RemoteProtocolError
from syncd.seams import Announcement

SERVICE_TYPE = "_syncd._tcp.local."
INSTANCE_BYTES = 16
TAG_BYTES = 8
TAGS_PER_STRING = 31  # a TXT string holds 255 bytes, of which "t12=" takes up to 4
MAX_TAGS = 128
MAX_PAIRING = 16
MAX_ADDRESSES = 8

_TAG_CONTEXT = b"syncd/1 tag\0"
_TAG_KEYS = tuple("t" if index == 0 else f"t{index}" for index in range(-(-MAX_TAGS // TAGS_PER_STRING)))
_FORMAT = b"1"
_SERVICE_NAME = re.compile(f"([0-9a-f]{{{2 * INSTANCE_BYTES}}})" + re.escape("." + SERVICE_TYPE))
_PAIRING = re.compile(rb"[1-9][0-9]?(,[1-9][0-9]?)*")

# Where a neighbour can live: RFC 1918, RFC 6598 (carrier and overlay networks), RFC 3927, RFC 4193; link-local IPv6
# needs its interface too. A network of public addresses still has link-local IPv6, and `peers` takes any address.
_LOCAL_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10")
)
_LOCAL_V6 = ipaddress.IPv6Network("fc00::/7")


def tag(key: bytes, instance: bytes) -> bytes:
    """How the folder with this announcement key (32 bytes) appears under this instance id: 8 bytes."""
    return blake3(_TAG_CONTEXT + instance, key=key).digest(length=TAG_BYTES)


def service_name(instance: bytes) -> str:
    """The full name of the service of this instance."""
    return f"{instance.hex()}.{SERVICE_TYPE}"


def host_name(instance: bytes) -> str:
    """The host name its address records carry: random too, the machine's own name stays at home."""
    return f"{instance.hex()}.local."


def maybe_instance(name: str) -> bytes | None:
    """The instance id in a full service name, or None if nothing of ours is called so."""
    match = _SERVICE_NAME.fullmatch(name)
    return bytes.fromhex(match[1]) if match else None


def encode_txt(announcement: Announcement, instance: bytes, random: Callable[[int], bytes]) -> dict[str, bytes]:
    """The TXT properties. Of more than 128 folders or 16 open codes the rest is left out: hints may be incomplete."""
    tags = [tag(key, instance) for key in announcement.keys[:MAX_TAGS]]
    tags += [random(TAG_BYTES) for _ in range(_padded_count(len(tags)) - len(tags))]
    tags.sort()  # order would tell real tags from padding
    properties = {"v": _FORMAT}
    for index, key in enumerate(_TAG_KEYS):
        if packed := b"".join(tags[index * TAGS_PER_STRING : (index + 1) * TAGS_PER_STRING]):
            properties[key] = packed
    if announcement.pairing:
        properties["p"] = ",".join(str(number) for number in sorted(set(announcement.pairing))[:MAX_PAIRING]).encode()
    return properties


def _padded_count(count: int) -> int:
    """The next power of two from 4 on: a count of folders is a fingerprint."""
    return max(4, 1 << (count - 1).bit_length()) if count else 4


def decode_txt_untrusted(properties: Mapping[bytes, bytes | None]) -> tuple[tuple[bytes, ...], tuple[int, ...]]:
    """The tags and the pairing numbers of an announcement. Unknown properties are ignored.

    Raises: RemoteProtocolError for another format and for anything malformed, and nothing else.
    """
    if properties.get(b"v") != _FORMAT:
        raise RemoteProtocolError("an announcement of another format")
    packed = b"".join(properties.get(key.encode()) or b"" for key in _TAG_KEYS)
    if len(packed) % TAG_BYTES or len(packed) > MAX_TAGS * TAG_BYTES:
        raise RemoteProtocolError("an announcement with broken tags")
    tags = tuple(packed[start : start + TAG_BYTES] for start in range(0, len(packed), TAG_BYTES))
    return tags, _decode_pairing_untrusted(properties.get(b"p"))


def _decode_pairing_untrusted(text: bytes | None) -> tuple[int, ...]:
    if text is None:
        return ()
    if not _PAIRING.fullmatch(text):
        raise RemoteProtocolError("an announcement with broken pairing numbers")
    numbers = tuple(int(part) for part in text.split(b","))
    if len(numbers) > MAX_PAIRING or list(numbers) != sorted(set(numbers)):
        raise RemoteProtocolError("an announcement with broken pairing numbers")
    return numbers


def local_hosts(hosts: Iterable[str]) -> tuple[str, ...]:
    """Those hosts that are numeric addresses in a local network, in the given order, without doubles."""
    return tuple(dict.fromkeys(host for host in hosts if is_local(host)))


def addresses_untrusted(hosts: Iterable[str], port: int | None) -> tuple[str, ...]:
    """`host:port` of the hosts in an announcement that may be dialled, at most 8; none when the port is no port."""
    if port is None or not 0 < port < 1 << 16:
        return ()
    usable = local_hosts(hosts)[:MAX_ADDRESSES]
    return tuple(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in usable)


def is_local(host: str) -> bool:
    """A numeric address of a local network."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return any(address in network for network in _LOCAL_V4)
    if address.is_link_local:
        return address.scope_id is not None and re.fullmatch("[0-9A-Za-z._-]{1,15}", address.scope_id) is not None
    return address.scope_id is None and address in _LOCAL_V6
