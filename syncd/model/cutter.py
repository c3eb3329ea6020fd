"""Pure. Cuts files into blocks where their content says so, so that an insertion moves one block and not all.

FastCDC (the 2020 paper) as `pyfastcdc` computes it. These belong to the format, because devices that cut one file
with one folder's seed must find the same blocks: the gear table and masks of pyfastcdc 0.3, the three classes below,
normalisation level 2, and the seed, which is mixed into the gear table by exclusive or. The seed comes from the
folder's secret; it makes block sizes differ from folder to folder, and is no defence against someone who can choose
what is cut.

A cut depends only on the bytes since the previous cut, never on how the file was read: see `Cutter.cut`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final

from pyfastcdc import FastCDC

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

NORMALISATION: Final = 2
"""Block sizes gather around the average. Measured on random data, class SMALL: mean 281 KiB, 1 % of cuts forced by the
maximum. What lies before the minimum is not looked at, and looking is what takes time: that is why the minimum is so
high (`docs/adr/0034-a-high-minimum.md`)."""


class CutClass(IntEnum):
    """How coarsely a file is cut; a record names it, so the values are part of the format."""

    SMALL = 0
    MEDIUM = 1
    LARGE = 2

    @property
    def average(self) -> int:
        """The size in bytes around which blocks gather."""
        return _SIZES[self][1]

    @property
    def minimum(self) -> int:
        """The fewest bytes in a block that is not a file's last; a file up to this size is one block."""
        return _SIZES[self][0]

    @property
    def maximum(self) -> int:
        """The most bytes in a block."""
        return _SIZES[self][2]

    @property
    def stretch(self) -> int:
        """How many bytes to cut at a time: enough that little of it is undecided, and no more than stays near."""
        return self.maximum * _STRETCHES[self]


_SIZES: Final = ((160 * KIB, 224 * KIB, 512 * KIB), (640 * KIB, 896 * KIB, 2 * MIB), (1 * MIB, 4 * MIB, 8 * MIB))
"""Minimum, average, maximum. The library knows no minimum above 1 MiB."""
_STRETCHES: Final = (8, 4, 2)
_UPPER_SIZES: Final = (4 * GIB, 16 * GIB)
"""Measured: 4 KiB overwritten somewhere re-send 0.31 MB in the median (0.57 MB at most) in class SMALL, 1.2 MB (2.1 MB)
in MEDIUM, while the first sync of 1 GiB takes the same processor time in both."""
_KEEP_FACTOR: Final = 4


def choose_class(size: int, previous: CutClass | None = None) -> CutClass:
    """The class for a file of `size` bytes; that of its previous version unless the size left it by a factor of 4.

    Keeping the class keeps the blocks: a file that grows past a limit would otherwise be sent again as a whole.
    """
    if previous is not None and _lower(previous) // _KEEP_FACTOR <= size < _upper(previous) * _KEEP_FACTOR:
        return previous
    return CutClass(sum(size >= limit for limit in _UPPER_SIZES))


def _lower(cut_class: CutClass) -> int:
    return 0 if cut_class is CutClass.SMALL else _UPPER_SIZES[cut_class - 1]


def _upper(cut_class: CutClass) -> int:
    return 1 << 63 if cut_class is CutClass.LARGE else _UPPER_SIZES[cut_class]


class Cutter:
    """Cuts with one class and one folder's seed. Holds no state between calls; one object per thread."""

    def __init__(self, cut_class: CutClass, cut_seed: bytes) -> None:
        """`cut_seed`: at least 8 bytes from the folder secret, of which 63 bits are used (all that pyfastcdc takes)."""
        self.cut_class = cut_class
        self._minimum = cut_class.minimum
        self._maximum = cut_class.maximum
        self._cdc = FastCDC(
            cut_class.average,
            min_size=cut_class.minimum,
            max_size=cut_class.maximum,
            normalized_chunking=NORMALISATION,
            seed=int.from_bytes(cut_seed[:8], "big") >> 1,
        )

    def cut(self, buffer: bytes | bytearray | memoryview, *, final: bool) -> list[int]:
        """The lengths of the blocks that begin `buffer`.

        With `final` (nothing follows) they add up to the whole buffer. Without, the rest is undecided: carry it over
        to the front of the next buffer. A buffer of `cut_class.maximum` bytes or more always yields a block.
        """
        size = len(buffer)
        if size <= self._minimum:
            return [size] if final and size else []
        lengths = [chunk.length for chunk in self._cdc.cut_buf(buffer)]
        # The last length is a cut only if the content or the maximum made it; else the buffer's end did. Cuts made
        # by the content always lie before the buffer's end.
        if not final and sum(lengths) == size and lengths[-1] < self._maximum:
            lengths.pop()
        return lengths


def cut_at(read_into: Callable[[int, memoryview], int], offset: int, cutter: Cutter, buffer: memoryview) -> list[int]:
    """The lengths of the blocks that follow one another in a file from `offset`, where one begins; they lie at the
    front of `buffer` then. None at the end of the file.

    `read_into(offset, view)` fills a view and returns how many bytes, fewer only at the end. What lies behind the last
    cut is read again with what follows it: that costs less than a buffer that one thread hands to the next.
    """
    if len(buffer) < cutter.cut_class.maximum:
        raise ValueError("the buffer is smaller than the largest block")
    count = read_into(offset, buffer)
    return cutter.cut(buffer[:count], final=count < len(buffer))
