"""Pure. What a program that encrypts other people's files for money leaves behind: contents without any form under
names that promise one, and names with an ending that nobody knows.

A hint for the brake, never a verdict: what it catches waits for a person, and nothing else happens. It looks only at
files that had a name with a well-known ending, because containers of encryption programs are noise all day.
"""

from __future__ import annotations

from collections import Counter
from math import log, log2

SAMPLE_BYTES = 64 << 10
"""Of the front of a file: enough to tell noise from anything else, and little to read."""
LEAST_BYTES = 512
"""Below that, noise and a short text can look alike."""
TOLERANCE = 0.2
"""Bits per byte below what noise of that length has on average; compressed formats that begin with their own mark are
told by that."""

KNOWN_ENDINGS = frozenset(
    b"""
    txt md rst csv tsv json xml yaml yml toml ini conf cfg log tex bib html htm css js ts jsx tsx py pyi rb go rs c h cc
    cpp hpp java kt swift cs php pl lua sh bash sql r m ipynb vue svg eml vcf ics
    doc docx dot dotx xls xlsx xlsm ppt pptx odt ods odp odg rtf pdf epub pages numbers key
    jpg jpeg png gif bmp tif tiff webp heic heif avif ico psd ai raw cr2 nef arw dng
    mp3 wav flac ogg opus m4a aac mp4 m4v mkv mov avi webm wmv mpg mpeg
    zip gz tgz bz2 xz zst 7z rar tar jar apk iso dmg db sqlite sqlite3 mdb
    bak old orig save tmp part new copy backup
    """.split()
)
"""Endings of files that people make: their contents have a form. The last line: what people rename files to."""

_MARKS = (
    b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF", b"8BPS", b"%PDF", b"%!PS", b"PK",
    b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"Rar!", b"ID3", b"\xff\xfb", b"\xff\xf3",
    b"\xff\xf1", b"\xff\xf9", b"fLaC", b"OggS", b"\x1a\x45\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3", b"\xd0\xcf\x11\xe0",
    b"SQLite", b"{\\rtf", b"\0\1\0\0Standard", b"\x30\x26\xb2\x75",
)  # fmt: skip
"""How compressed and other well-known formats begin."""


def looks_encrypted(name: bytes, sample: bytes | bytearray | memoryview) -> bool:
    """Noise, in a file whose name promises something else."""
    content = bytes(sample[:SAMPLE_BYTES])
    if len(content) < LEAST_BYTES or not has_known_ending(name):
        return False
    if content.startswith(_MARKS) or content[4:8] == b"ftyp":
        return False
    return entropy(content) > noise_entropy(len(content)) - TOLERANCE


def looks_disguised(before: bytes, after: bytes) -> bool:
    """A file with a well-known ending got one that nobody knows."""
    return has_known_ending(before) and not has_known_ending(after) and b"." in after.lstrip(b".")


def has_known_ending(name: bytes) -> bool:
    return name.rpartition(b".")[2].lower() in KNOWN_ENDINGS


def entropy(content: bytes) -> float:
    """Bits per byte, of the frequencies of single bytes."""
    size = len(content)
    return -sum(count / size * log2(count / size) for count in Counter(content).values())


def noise_entropy(size: int) -> float:
    """What that many random bytes show on average: 8 bits less the bias of so few samples (Miller and Madow)."""
    return 8.0 - 255 / (2 * log(2) * size)
