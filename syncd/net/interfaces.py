"""Blocking. The addresses of this machine, asked of the C library because Python cannot."""

from __future__ import annotations

import ctypes
import ipaddress
import sys
from collections.abc import Iterator
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_AF_INET = 2
_AF_INET6 = 30 if sys.platform == "darwin" else 10
_RUNNING = 0x40  # IFF_RUNNING: has a carrier; a cable pulled out takes the addresses away and brings them back
_IPV4_OFFSET, _IPV6_OFFSET = 4, 8  # inside sockaddr_in and sockaddr_in6, the same on both systems


class _InterfaceAddress(ctypes.Structure):
    """struct ifaddrs, as far as both systems agree on it."""


_InterfaceAddress._fields_ = [
    ("next", ctypes.POINTER(_InterfaceAddress)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
]


def machine_addresses() -> tuple[Address, ...]:
    """All addresses of all interfaces that are up and connected, in the system's order. Raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    first = ctypes.POINTER(_InterfaceAddress)()
    if library.getifaddrs(ctypes.byref(first)) != 0:
        raise OSError(ctypes.get_errno(), "getifaddrs failed")
    try:
        return tuple(_walk(first))
    finally:
        library.freeifaddrs(first)


def _walk(entry: ctypes._Pointer[_InterfaceAddress]) -> Iterator[Address]:
    while entry:  # type: ignore[truthy-bool]  # a null pointer is false
        location = entry.contents.address
        runs = entry.contents.flags & _RUNNING
        if location and runs and (address := _address_at(location)) is not None:
            yield address
        entry = entry.contents.next


def _address_at(location: int) -> Address | None:
    """The IP address in the sockaddr at `location`; None for other families (hardware addresses come here too)."""
    head = ctypes.string_at(location, 2)
    family = head[1] if sys.platform == "darwin" else int.from_bytes(head, sys.byteorder)
    if family == _AF_INET:
        return ipaddress.IPv4Address(ctypes.string_at(location + _IPV4_OFFSET, 4))
    if family == _AF_INET6:
        return ipaddress.IPv6Address(ctypes.string_at(location + _IPV6_OFFSET, 16))
    return None
