"""Pure. What a rule can ask of a file besides its name: what type it is of, how large it is, how old.

    size>50M                larger than that; `size<` is smaller; K, M, G and T are powers of 1024
    type:video              by the ending of its name; the types are those of `ENDINGS`
    age>1y                  not changed for that long; h, d, w and y

Several in one line must all hold, and after them a pattern may say where: `type:video size>1G /camera/`. Only files are
asked; a directory or a link is nobody's video.

An age decides only whether a file comes in: one that has come in stays, however old it gets. So nothing leaves a folder
because time passes, and no file goes in and out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from ca.values import dataclass

ENDINGS: Final[dict[str, frozenset[bytes]]] = {
    kind: frozenset(endings.split())
    for kind, endings in {
        "archive": b"7z bz2 gz lz4 rar tar tbz2 tgz txz xz zip zst",
        "audio": b"aac aif aiff flac m4a mid midi mp3 oga ogg opus wav wma",
        "disk": b"dmg img iso qcow2 vdi vhd vhdx vmdk",
        "document": b"doc docx epub odp ods odt pdf ppt pptx rtf xls xlsx",
        "image": b"arw avif bmp cr2 cr3 dng gif heic heif jpeg jpg nef png psd svg tif tiff webp xcf",
        "video": b"3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg mts ogv vob webm wmv",
    }.items()
}
"""Types by the endings of names, small letters. An ending that programs use for something else too stands nowhere."""

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_HOUR_NS: Final = 3_600 * 1_000_000_000
_SPANS_NS: Final = {"h": _HOUR_NS, "d": 24 * _HOUR_NS, "w": 7 * 24 * _HOUR_NS, "y": 8_766 * _HOUR_NS}
"""A year has 365 days and a quarter."""

_SIZE: Final = re.compile(r"size([<>])([0-9]{1,9}(?:\.[0-9]{1,3})?)([KMGT]?)(?:i?B)?")
_TYPE: Final = re.compile(r"type:([a-z]+)")
_AGE: Final = re.compile(r"age>([0-9]{1,9})([hdwy])")
_BEGINNING: Final = re.compile(r"!?(?:size|type|age)[<>:=]")


class Facts(NamedTuple):
    """What is known of a file. `has_entered`: it stands on this disk and is in sync, or was."""

    size: int
    modified_ns: int | None
    has_entered: bool = False


@dataclass(frozen=True, slots=True)
class Size:
    is_above: bool
    limit: int


@dataclass(frozen=True, slots=True)
class Type:
    endings: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Age:
    limit_ns: int


Condition: TypeAlias = Size | Type | Age


def has_conditions(line: str) -> bool:
    """Whether a rule asks for more than a name. A name that begins like this is written with a backslash before it."""
    return _BEGINNING.match(line) is not None


def parse_conditions(line: str) -> tuple[tuple[Condition, ...], str]:
    """The conditions at the front of a rule, and the pattern after them or "". Raises ValueError."""
    found: list[Condition] = []
    rest = line
    while _BEGINNING.match(rest):
        word, _, rest = rest.partition(" ")
        found.append(_parse(word))
        rest = rest.lstrip(" ")
    return tuple(found), rest


def _parse(word: str) -> Condition:
    if match := _SIZE.fullmatch(word):
        return Size(match[1] == ">", int(float(match[2]) * _UNITS[match[3]]))
    if (match := _TYPE.fullmatch(word)) and match[1] in ENDINGS:
        return Type(ENDINGS[match[1]])
    if match := _AGE.fullmatch(word):
        return Age(int(match[1]) * _SPANS_NS[match[2]])
    raise ValueError(f"no condition: {word}")


def all_hold(conditions: tuple[Condition, ...], name: bytes, facts: Facts, now_ns: int) -> bool:
    """Whether a file of that name is all that is asked."""
    return all(_holds(conditions, name, facts, now_ns))


def _holds(conditions: tuple[Condition, ...], name: bytes, facts: Facts, now_ns: int) -> Iterator[bool]:
    for condition in conditions:
        match condition:
            case Size(is_above, limit):
                yield facts.size > limit if is_above else facts.size < limit
            case Type(endings):
                yield name.rpartition(b".")[2].lower() in endings and b"." in name[1:]
            case Age(limit_ns):
                is_old = facts.modified_ns is not None and now_ns - facts.modified_ns > limit_ns
                yield is_old and not facts.has_entered
