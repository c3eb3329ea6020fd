"""Pure. Names of directory entries: bytes as the disk has them, checked at the border and escaped for people.

A name is one component of a path and never text: Linux allows any byte but NUL and the slash, and whatever arrives
must leave as it came. A path is a tuple of names, relative to the folder's root.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from ca.errors import RemoteProtocolError
from syncd.model.ids import NodeId, VersionId

Path = tuple[bytes, ...]

MAX_NAME_BYTES: Final = 255
"""Longest entry name of every file system that syncd supports (POSIX NAME_MAX)."""

RESERVED_NAME: Final = b".syncd"
"""The one name in a folder that belongs to syncd, at every depth and in every spelling a disk may fold to it."""

SHOWN_CHARACTERS: Final = 80
MAX_LABEL_BYTES: Final = 64
MAX_EXTENSION_BYTES: Final = 32

# Characters that would move the cursor, vanish or turn the text around; a separator other than a space is one too.
_HIDDEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

# Besides format characters (Cf), those that Unicode calls default-ignorable: a folding disk may drop them from names.
_IGNORABLE: Final = frozenset(
    chr(code)
    for first, last in (
        (0x34F, 0x34F),
        (0x115F, 0x1160),
        (0x17B4, 0x17B5),
        (0x180B, 0x180F),
        (0xFE00, 0xFE0F),
        (0xE0100, 0xE01EF),
    )
    for code in range(first, last + 1)
)


def validate_name_untrusted(name: bytes) -> bytes:
    """The name itself if it may stand in a folder.

    Raises: RemoteProtocolError for an empty or overlong name, a slash or NUL, `.`, `..`, and the reserved name.
    """
    if not 0 < len(name) <= MAX_NAME_BYTES or b"/" in name or b"\0" in name or name == b"." or name == b"..":
        raise RemoteProtocolError(f"not a name for a file: {show(name)}")
    # Every spelling of the reserved name begins with its dot or with a character that some disk ignores.
    if (name[0] == 0x2E or name[0] >= 0x80) and is_reserved(name):
        raise RemoteProtocolError(f"a reserved name: {show(name)}")
    return name


def is_reserved(name: bytes) -> bool:
    """Whether some file system may take `name` for `.syncd` (letter case, Unicode form, ignored characters)."""
    if name.isascii():
        return name.lower() == RESERVED_NAME
    text = unicodedata.normalize("NFKC", name.decode("utf-8", "surrogateescape"))
    visible = "".join(char for char in text if unicodedata.category(char) != "Cf" and char not in _IGNORABLE)
    return visible.casefold() == RESERVED_NAME.decode()


def show(name: bytes, limit: int = SHOWN_CHARACTERS) -> str:
    r"""A name as one line of harmless text: `\xNN` for bytes that are no UTF-8, `\u{N}` for hidden characters."""
    text = "".join(map(_show_character, name.decode("utf-8", "surrogateescape")))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def show_path(path: Path, limit: int = 4 * SHOWN_CHARACTERS) -> str:
    """A path as one line of harmless text; the root is `.`."""
    text = "/".join(show(name, limit) for name in path) or "."
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _show_character(char: str) -> str:
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    if char == "\\":
        return "\\\\"
    if char != " " and (unicodedata.category(char) in _HIDDEN_CATEGORIES or char.isspace()):
        return f"\\u{{{ord(char):x}}}"
    return char


def conflict_name(name: bytes, author_name: str, version: VersionId, digits: int = 8) -> bytes:
    """The name of a copy that lost its own: `stem (conflict NAME 8-hex).ext`, at most 255 bytes.

    Every device computes the same; `digits` grows only when that name is taken as well.
    """
    author = _label(author_name)
    words = ["conflict", author, version.hex()[:digits]] if author else ["conflict", version.hex()[:digits]]
    return _insert(name, " ".join(words))


def collision_name(name: bytes, node: NodeId, digits: int = 8, limit: int = MAX_NAME_BYTES) -> bytes:
    """The name of a node on one device whose disk cannot hold its own there: `stem (name 8-hex).ext`."""
    return _insert(name, f"name {node.hex()[:digits]}", limit)


def _insert(name: bytes, label: str, limit: int = MAX_NAME_BYTES) -> bytes:
    """Put ` (label)` before the extension, shortening the stem at a character boundary."""
    stem, extension = _split_extension(name)
    suffix = f" ({label})".encode() + extension
    return _cut(stem, max(1, limit - len(suffix))) + suffix


def _split_extension(name: bytes) -> tuple[bytes, bytes]:
    dot = name.rfind(b".")
    if dot <= 0 or len(name) - dot > MAX_EXTENSION_BYTES:
        return name, b""
    return name[:dot], name[dot:]


def _cut(name: bytes, limit: int) -> bytes:
    """The first `limit` bytes, less if that would end within a UTF-8 character."""
    if len(name) <= limit:
        return name
    end = limit
    while end > max(0, limit - 4) and 0x80 <= name[end] < 0xC0:
        end -= 1
    return name[:end]


def _label(text: str) -> str:
    """An author's name as it may stand in a file name."""
    harmless = "".join(
        "_" if char == "/" or unicodedata.category(char) in _HIDDEN_CATEGORIES else char for char in text
    )
    return _cut(harmless.encode(), MAX_LABEL_BYTES).decode().strip()
