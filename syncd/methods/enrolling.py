"""Blocking. A list of people to admit all at once: a CSV file, one device a line.

Shape:  a first line that names the columns `name`, `role` and `keys`, in any order; `keys` is what
        `syncd key show --keys` prints. Other columns are passed over. UTF-8, at most 4 MiB and 1,000 people, since all
        of it becomes one entry.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
from pathlib import Path
from typing import Final

from ca.authority import Newcomer
from ca.device import KEY_BYTES, SEAL_PUBLIC_BYTES, PublicDevice
from ca.epochs import MAX_NAME_BYTES
from ca.roles import Role
from syncd.errors import SyncdError
from syncd.protocol.invitation import one_line

MAX_FILE_BYTES: Final = 4 << 20
MAX_PEOPLE: Final = 1000
COLUMNS: Final = ("name", "role", "keys")


def keys_text(device: PublicDevice) -> str:
    """The three public keys of a device, as they stand in such a list."""
    return base64.urlsafe_b64encode(device.sign + device.seal + device.tls).rstrip(b"=").decode()


def newcomers_untrusted(data: bytes) -> list[Newcomer]:
    """Everybody in the list. Raises SyncdError, which names the line."""
    try:
        lines = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        missing = [column for column in COLUMNS if column not in (lines.fieldnames or ())]
        if missing:
            raise _wrong(f"its first line lacks the column {missing[0]}")
        found = []
        for row in lines:
            found.append(_newcomer(row, lines.line_num))
            if len(found) > MAX_PEOPLE:
                raise _wrong(f"it lists more than {MAX_PEOPLE} people: part it")
    except UnicodeDecodeError:
        raise _wrong("it is not UTF-8") from None
    except csv.Error as error:
        raise _wrong(str(error)) from None
    if not found:
        raise _wrong("it lists nobody")
    twice = {one.devices[0][0].id for one in found}
    if len(twice) < len(found):
        raise _wrong("it lists a device twice")
    return found


def read_list(name: str) -> bytes:
    """The file. One of another kind or size is refused before it is read. Raises SyncdError."""
    path = Path(name)
    try:
        if not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
            raise _wrong("it is no file of at most 4 MiB")
        return path.read_bytes()
    except OSError as error:
        raise _wrong(f"it cannot be read: {error.strerror}") from error


def _newcomer(row: dict[str | None, str | None], line: int) -> Newcomer:
    name, role, keys = (row.get(column) or "" for column in COLUMNS)
    if not name.strip():
        raise _wrong(f"line {line} has no name")
    if role.upper() not in Role.__members__:
        raise _wrong(f"line {line}: there is no role {one_line(role, 40)}")
    label = one_line(name, MAX_NAME_BYTES)
    return Newcomer(label, Role[role.upper()], [(_device(keys, line), label)])


def _device(keys: str, line: int) -> PublicDevice:
    try:
        raw = base64.b64decode(keys + "=" * (-len(keys) % 4), altchars=b"-_", validate=True)
        seal_end = KEY_BYTES + SEAL_PUBLIC_BYTES
        device = PublicDevice(raw[:KEY_BYTES], raw[KEY_BYTES:seal_end], raw[seal_end:])
    except (binascii.Error, ValueError):
        raise _wrong(f"line {line}: these are not the keys of a device") from None
    if keys_text(device) != keys:
        raise _wrong(f"line {line}: these are not the keys of a device")
    return device


def _wrong(why: str) -> SyncdError:
    return SyncdError("this is no list of people to admit", id="SY-USE-01", why=why, fix="syncd member add --help")
