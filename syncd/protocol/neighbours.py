"""Pure. Which of the announcements that arrive mean anything to us.

On a network with a chatty or hostile neighbour most do not: an announcement counts only if it shows the tag of one of
our folders or an open code. Those that count are remembered, to pass on what is new and nothing twice, but never more
than 64: when it is full, one that shows only codes, which anybody can invent, makes room before one that shows a tag.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from syncd.protocol.announcements import addresses_untrusted, decode_txt_untrusted, tag
from syncd.seams import Found

MAX_NEIGHBOURS: Final = 64


class Neighbours:
    """What was passed on so far, and under which keys."""

    def __init__(self) -> None:
        self._keys: tuple[bytes, ...] = ()
        self._known: dict[bytes, Found] = {}

    def __len__(self) -> int:
        return len(self._known)

    def set_keys(self, keys: Iterable[bytes]) -> None:
        """From now on these are the announcement keys of our folders."""
        self._keys = tuple(keys)

    def maybe_news_untrusted(
        self, instance: bytes, properties: Mapping[bytes, bytes | None], hosts: Iterable[str], port: int | None
    ) -> Found | None:
        """The hint in an announcement, if there is one and it is new.

        Raises: RemoteProtocolError for a malformed announcement, and nothing else.
        """
        tags, pairing = decode_txt_untrusted(properties)
        found = Found(instance, addresses_untrusted(hosts, port), tags, pairing)
        if not found.addresses or not (pairing or self._has_our_tag(found)) or self._known.get(instance) == found:
            return None
        if instance not in self._known and not self._make_room():
            return None
        self._known[instance] = found
        return found

    def maybe_goodbye(self, instance: bytes) -> Found | None:
        """The hint that a neighbour left, if we had told of it."""
        return Found(instance, ()) if self._known.pop(instance, None) else None

    def _has_our_tag(self, found: Found) -> bool:
        return any(tag(key, found.instance) in found.tags for key in self._keys)

    def _make_room(self) -> bool:
        if len(self._known) < MAX_NEIGHBOURS:
            return True
        strangers = (instance for instance, found in self._known.items() if not self._has_our_tag(found))
        oldest = next(strangers, None)
        if oldest is None:
            return False
        del self._known[oldest]
        return True
