"""Pure. Who knows already what came from others, and need not hear it from us.

Everybody tells everybody what is new, so with each change all but its author would hear it from everybody else. A page
of heads says whom the teller tells the same; those, and the teller, hear of it from us with our next news, or a little
later in case they did not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Set
from typing import Final

from ca.ids import DeviceId
from ca.values import dataclass

SPANS: Final = 64
"""Older news are told to whoever has not read them, whoever knows them."""


@dataclass(frozen=True, slots=True)
class _Span:
    """News numbered above `after`, up to `upto`, that one device told."""

    after: int
    upto: int
    teller: DeviceId
    told: Set[DeviceId]
    """Whom it said it tells the same."""


class Hearsay:
    """What others know of our news, by the numbers that these have here."""

    def __init__(self) -> None:
        self._spans: deque[_Span] = deque(maxlen=SPANS)

    def note(self, after: int, upto: int, teller: DeviceId, told: Set[DeviceId]) -> None:
        """What has a number above `after`, up to `upto`, came from `teller`, who tells `told` as well."""
        self._spans.append(_Span(after, upto, teller, told))

    def forget(self, device: DeviceId) -> None:
        """Take it for sure of nothing that this device knows, but of what it told us."""
        spans = [_Span(one.after, one.upto, one.teller, one.told - {device}) for one in self._spans]
        self._spans = deque(spans, SPANS)

    def news_for(self, device: DeviceId, newest: int) -> int:
        """The newest of our numbers that may be news to a device."""
        for span in reversed(self._spans):
            if span.upto != newest or not (device == span.teller or device in span.told):
                break
            newest = span.after
        return newest

    def untold_by(self, device: DeviceId, newest: int) -> int:
        """The newest of our numbers that did not come from this device itself."""
        for span in reversed(self._spans):
            if span.upto != newest or device != span.teller:
                break
            newest = span.after
        return newest

    def knows(self, device: DeviceId, number: int) -> bool:
        """Whether a device is known to have what has this number."""
        return any(
            span.after < number <= span.upto and (device == span.teller or device in span.told) for span in self._spans
        )
