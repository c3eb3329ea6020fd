"""Pure. Signed commands: what an admin tells another device to do, and what that device reports of it.

A command is for one device and one folder, once, and for a short time. It travels on a control connection, but it is
the signature that counts: whoever carries it can neither change it nor use it again (`engine.commanding` judges it).

    command    {1: body (bytes), 2: signature 64 of the signer, purpose "command", folder id}
    body       {1: 1, 2: target device, 3: nonce 16, 4: issued, 5: expires (both unix ms), 6: roster head,
                7: signer's device, 8: moment (unix ms), 9: path [name, …], 10: pattern or null,
                11: directory on the target or null for in place, 12: rule}
    report     {1: state, 2: files done, 3: files in all, 4: bytes done, 5: bytes in all, 6: id of a trouble or null,
                7: words}
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

from ca.codec import (
    Check,
    bytes_of,
    bytes_up_to,
    decode_untrusted,
    encode,
    fields_untrusted,
    list_of,
    optional,
    text,
    uint,
)
from ca.device import SIGNATURE_BYTES, DeviceKeys, Purpose, sign
from ca.ids import DeviceId, EntryHash, FolderId
from ca.values import dataclass
from syncd.errors import CodecError
from syncd.protocol.requests import Route

FORMAT: Final = 1
NONCE_BYTES: Final = 16
MAX_DEPTH: Final = 256
MAX_PATTERN_BYTES: Final = 1024
MAX_DIRECTORY_BYTES: Final = 4096
MAX_REPORT_BYTES: Final = 4096
MAX_WORDS_BYTES: Final = 1024
_MAX_NUMBER: Final = (1 << 63) - 1


class Rule(IntEnum):
    """What happens to what stands where something is restored. The value is the code in a command."""

    EXACT = 0
    """In place: what was not there then goes, into history. In another directory: only where there is nothing."""
    KEEP = 1
    """What is there stays as it is; only what is missing comes back."""
    ASIDE = 2
    """In another directory: what is there gets another name first."""


@dataclass(frozen=True, slots=True)
class Restore:
    """The body of a command: bring back part of a folder as it was at a moment."""

    target: DeviceId
    nonce: bytes
    issued_ms: int
    expires_ms: int
    roster_head: EntryHash
    signer: DeviceId
    at_ms: int
    path: tuple[bytes, ...]
    only: str | None
    to: bytes | None
    rule: Rule

    def encode(self) -> bytes:
        return encode(
            {
                1: FORMAT,
                2: self.target,
                3: self.nonce,
                4: self.issued_ms,
                5: self.expires_ms,
                6: self.roster_head,
                7: self.signer,
                8: self.at_ms,
                9: self.path,
                10: self.only,
                11: self.to,
                12: self.rule,
            }
        )


@dataclass(frozen=True, slots=True)
class Signed:
    """A command with the bytes that its signature covers."""

    command: Restore
    body: bytes
    signature: bytes

    def encode(self) -> bytes:
        return encode({1: self.body, 2: self.signature})


def issue(keys: DeviceKeys, folder: FolderId, command: Restore) -> Signed:
    """Sign a command."""
    body = command.encode()
    return Signed(command, body, sign(keys, Purpose.COMMAND, folder, body))


def signed_untrusted(data: bytes) -> Signed:
    """A command as it arrived. Raises CodecError. Its signature has not been checked."""
    body, signature = _fields(
        data,
        Route.COMMAND.max_body_bytes,
        {1: bytes_up_to(Route.COMMAND.max_body_bytes), 2: bytes_of(SIGNATURE_BYTES)},
    )
    _, target, nonce, issued, expires, head, signer, at_ms, path, only, to, rule = _fields(body, len(body), _RESTORE)
    if any(not name or b"/" in name or b"\0" in name or name in (b".", b"..") for name in path):
        raise CodecError("a command with a path that cannot be")
    if to is not None and (not to.startswith(b"/") or b"\0" in to):
        raise CodecError("a command with a directory that is not absolute")
    command = Restore(
        DeviceId(target), nonce, issued, expires, EntryHash(head), DeviceId(signer), at_ms, path, only, to, Rule(rule)
    )
    return Signed(command, body, signature)


_hash: Final = bytes_of(32)
_RESTORE: Final[dict[int, Check[Any]]] = {
    1: uint(FORMAT, minimum=FORMAT),
    2: _hash,
    3: bytes_of(NONCE_BYTES),
    4: uint(_MAX_NUMBER),
    5: uint(_MAX_NUMBER),
    6: _hash,
    7: _hash,
    8: uint(_MAX_NUMBER),
    9: list_of(bytes_up_to(255, minimum=1), MAX_DEPTH),
    10: optional(text(MAX_PATTERN_BYTES, minimum_bytes=1)),
    11: optional(bytes_up_to(MAX_DIRECTORY_BYTES, minimum=1)),
    12: uint(max(Rule)),
}


class State(IntEnum):
    """How far a command is. The value is the code in a report."""

    RUNNING = 0
    DONE = 1
    FAILED = 2
    REFUSED = 3

    @property
    def is_final(self) -> bool:
        return self is not State.RUNNING


@dataclass(frozen=True, slots=True)
class Report:
    """What the target says of a command."""

    state: State
    files_done: int = 0
    files_total: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    trouble: str | None = None
    words: str = ""

    def encode(self) -> bytes:
        return encode(
            {
                1: self.state,
                2: self.files_done,
                3: self.files_total,
                4: self.bytes_done,
                5: self.bytes_total,
                6: self.trouble,
                7: self.words,
            }
        )

    @classmethod
    def decode_untrusted(cls, data: bytes) -> Report:
        """Raises CodecError."""
        state, *rest = _fields(data, MAX_REPORT_BYTES, _REPORT)
        return cls(State(state), *rest)


_REPORT: Final[dict[int, Check[Any]]] = {
    1: uint(max(State)),
    2: uint(_MAX_NUMBER),
    3: uint(_MAX_NUMBER),
    4: uint(_MAX_NUMBER),
    5: uint(_MAX_NUMBER),
    6: optional(text(32)),
    7: text(MAX_WORDS_BYTES),
}


def _fields(data: bytes, max_bytes: int, checks: dict[int, Check[Any]]) -> tuple[Any, ...]:
    return fields_untrusted(decode_untrusted(data, max_bytes=max_bytes), checks)
