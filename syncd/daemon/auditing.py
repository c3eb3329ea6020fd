"""Async. The audit log of this device: what was done with other people's files, or at another's word, in a chain.

Every line is signed by this device and names the hash of the line before, so whoever holds one line can prove that no
earlier one was changed or taken out. It is no proof against whoever owns this account and its keys: they can end the
chain and begin another one, but not with the same lines.

    line   {1: body (bytes), 2: signature 64 of this device, purpose "audit", no folder}
    body   {1: 1, 2: number from 0, 3: hash of the line before (zeros in the first), 4: unix ms, 5: folder or null,
            6: who caused it (device) or null, 7: what was done, 8: about what}
    hash   = digest("audit line", line)
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from ca.codec import bytes_of, bytes_up_to, decode_untrusted, encode, fields_untrusted, optional, text, uint
from ca.device import SIGNATURE_BYTES, Purpose, sign, verify
from ca.digest import digest
from ca.ids import DeviceId, FolderId
from ca.values import dataclass
from syncd.daemon.installation import Installation
from syncd.errors import CodecError, TrustError

FORMAT: Final = 1
MAX_LINE_BYTES: Final = 8192
MAX_WORDS: Final = 4096
NO_LINE: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was done."""

    number: int
    previous: bytes
    time_ms: int
    folder: FolderId | None
    actor: DeviceId | None
    action: str
    about: str


class AuditLog:
    """The chain of one device."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self.counts: Counter[str] = Counter()
        """Lines that were added since the start, by what was done."""

    async def note(
        self, action: str, about: str, *, folder: FolderId | None = None, actor: DeviceId | None = None
    ) -> None:
        """Add a line. It is on disk when this returns."""
        own = self._installation
        time_ms = int(own.clock.now() * 1000)
        about = about.encode("utf-8", "backslashreplace")[:MAX_WORDS].decode("utf-8", "ignore")

        def make(number: int, last: bytes | None) -> bytes:
            previous = NO_LINE if last is None else digest("audit line", last)
            line = (FORMAT, number, previous, time_ms, folder, actor, action, about)
            body = encode(dict(enumerate(line, 1)))
            return encode({1: body, 2: sign(own.keys, Purpose.AUDIT, None, body)})

        await own.on_disk(own.db.add_audit, make)
        self.counts[action] += 1

    async def lines(self) -> tuple[list[Line], str | None]:
        """Every line, the oldest first, and what is wrong with the chain (None: it is whole)."""
        own = self._installation
        raws = await own.on_disk(own.db.audit)
        return await own.workers.run_blocking(check, raws, own.keys.public.sign)


def check(raws: list[bytes], sign_public: bytes) -> tuple[list[Line], str | None]:
    """Lines as far as the chain is whole, and what is wrong behind them."""
    found: list[Line] = []
    previous = NO_LINE
    for raw in raws:
        try:
            line = _line_untrusted(raw, sign_public)
        except (CodecError, TrustError) as error:
            return found, f"line {len(found)} is not what this device signed: {error}"
        if line.number != len(found) or line.previous != previous:
            return found, f"line {len(found)} does not follow the one before it"
        found.append(line)
        previous = digest("audit line", raw)
    return found, None


def _line_untrusted(raw: bytes, sign_public: bytes) -> Line:
    body, signature = fields_untrusted(
        decode_untrusted(raw, max_bytes=MAX_LINE_BYTES), {1: bytes_up_to(MAX_LINE_BYTES), 2: bytes_of(SIGNATURE_BYTES)}
    )
    verify(sign_public, Purpose.AUDIT, None, body, signature)
    _, number, before, time_ms, folder, actor, action, about = fields_untrusted(
        decode_untrusted(body, max_bytes=MAX_LINE_BYTES),
        {
            1: uint(FORMAT, minimum=FORMAT),
            2: uint(),
            3: bytes_of(32),
            4: uint(),
            5: optional(bytes_of(32)),
            6: optional(bytes_of(32)),
            7: text(64, minimum_bytes=1),
            8: text(MAX_WORDS),
        },
    )
    return Line(
        number,
        before,
        time_ms,
        None if folder is None else FolderId(folder),
        None if actor is None else DeviceId(actor),
        action,
        about,
    )
