"""Pure. The texts of `.syncd/folder`, by which the root of a folder is recognised, and of `.syncd/seen`, by which an
older state of it is."""

from __future__ import annotations

import re

from syncd.treetypes import Marker

MARKER_MAX_BYTES = 1024  # far more than a valid one has

_FORM = re.compile(
    rb"syncd folder 1\nfolder ([0-9a-f]{64})\ndevice ([0-9a-f]{64})\nrandom ([0-9a-f]{32})\n",
)


def marker_text(marker: Marker) -> bytes:
    """Four lines that a person can compare by eye."""
    return (
        f"syncd folder 1\nfolder {marker.folder.hex()}\ndevice {marker.device.hex()}\nrandom {marker.random.hex()}\n"
    ).encode()


def maybe_marker(text: bytes) -> Marker | None:
    """The marker, or None for anything but the one form that `marker_text` writes."""
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    folder, device, random = (bytes.fromhex(group.decode()) for group in found.groups())
    return Marker(folder, device, random)


LAST_NUMBER = 10**18 - 1
"""Of 18 digits. Nobody gets there by looking, only by writing it; the next one is 1."""
_SEEN_FORM = re.compile(rb"syncd seen 1\nnumber ([0-9]{1,18})\njournal ([0-9a-f]{32})\n")


def seen_text(number: int, journal: bytes) -> bytes:
    """Three lines."""
    return f"syncd seen 1\nnumber {number}\njournal {journal.hex()}\n".encode()


def maybe_seen(text: bytes) -> tuple[int, bytes] | None:
    """The number and the journal, or None for anything but the one form that `seen_text` writes."""
    found = _SEEN_FORM.fullmatch(text)
    return None if found is None else (int(found[1]), bytes.fromhex(found[2].decode()))
