"""Pure. Proof that a block is held: an answer that only its bytes yield.

That a peer *says* it has a block (`have`) costs it nothing. Whoever is about to let go of a copy asks for more: it
sends a fresh nonce, and the answer is a keyed hash over the whole encrypted block, under a key made of that nonce, the
folder and both devices. An earlier answer, an answer to somebody else and an answer that another device gave are worth
nothing; keys of the folder are not needed, so a device that cannot read the block can answer as well. Only who has the
block can judge the answer. What it shows, and what it does not, is in docs/threat-model.md.

With `hold`, the other side also promises to keep the block for HOLD_S: so two devices never let go of it at one time,
each because the other had it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from blake3 import blake3

from ca.codec import Check, boolean, bytes_of, bytes_up_to, decode_untrusted, encode, fields_untrusted
from ca.digest import digest
from ca.ids import DeviceId, FolderId
from ca.values import dataclass
from syncd.errors import CodecError
from syncd.model.ids import HASH_BYTES, Cid
from syncd.protocol.frames import FrameStatus
from syncd.protocol.requests import Route
from syncd.seams import Buffer

NONCE_BYTES: Final = 32
MAX_CIDS_IN_PROVE: Final = 256
HOLD_S: Final = 7 * 86_400.0
"""How long a block is kept after its holder was asked with `hold`; as long as a vault keeps what was polled so."""
PROOF_S: Final = 3 * 86_400.0
"""How long a proof that was given with `hold` counts: well before the other side may let go."""


@dataclass(frozen=True, slots=True)
class ProveRequest:
    """Show that you have these blocks."""

    nonce: bytes
    cids: tuple[Cid, ...]
    hold: bool = False

    def encode(self) -> bytes:
        return encode({1: self.nonce, 2: b"".join(self.cids), 3: self.hold})

    @classmethod
    def decode_untrusted(cls, data: bytes) -> ProveRequest:
        """Raises CodecError."""
        nonce, packed, hold = _fields(data, Route.PROVE.max_body_bytes, _REQUEST)
        if len(packed) % HASH_BYTES:
            raise CodecError("packed cids of a wrong length")
        return cls(nonce, tuple(Cid(packed[at : at + HASH_BYTES]) for at in range(0, len(packed), HASH_BYTES)), hold)


@dataclass(frozen=True, slots=True)
class ProveAnswer:
    """For each block what became of it, as in frames; and in the same order the proofs of those that are OK."""

    statuses: tuple[FrameStatus, ...]
    proofs: tuple[bytes, ...]

    def encode(self) -> bytes:
        return encode({1: bytes(self.statuses), 2: b"".join(self.proofs)})

    @classmethod
    def decode_untrusted(cls, data: bytes, count: int) -> ProveAnswer:
        """The answer about `count` blocks. Raises CodecError. No proof has been judged."""
        checks = {1: bytes_of(count), 2: bytes_up_to(count * HASH_BYTES)}
        raw, packed = _fields(data, answer_limit(count), checks)
        if any(status > max(FrameStatus) for status in raw):
            raise CodecError("an unknown status of a block")
        statuses = tuple(map(FrameStatus, raw))
        if len(packed) != HASH_BYTES * statuses.count(FrameStatus.OK):
            raise CodecError("not as many proofs as blocks that are there")
        return cls(statuses, tuple(packed[at : at + HASH_BYTES] for at in range(0, len(packed), HASH_BYTES)))


def answer_limit(count: int) -> int:
    """The longest answer about so many blocks, in bytes."""
    return count * (1 + HASH_BYTES) + 32


def challenge_key(nonce: bytes, folder: FolderId, asker: DeviceId, prover: DeviceId) -> bytes:
    """Under which the prover hashes its blocks for this one request."""
    return digest("possession", nonce + folder + asker + prover)


def proof_of(key: bytes, ciphertext: Buffer) -> bytes:
    """What only the bytes of an encrypted block yield."""
    return blake3(ciphertext, key=key).digest()


def judge(request: ProveRequest, answer: ProveAnswer, own: Mapping[Cid, bytes]) -> dict[Cid, FrameStatus]:
    """What an answer is worth, by the proofs that our own copies yield: with a wrong one the block counts as gone.

    With `hold` also one that *changed*: there nobody edits it, so it is lost.
    """
    proofs = iter(answer.proofs)
    found = {}
    for cid, status in zip(request.cids, answer.statuses, strict=True):
        is_wrong = status is FrameStatus.OK and next(proofs) != own[cid]
        is_wrong = is_wrong or (request.hold and status is FrameStatus.CHANGED)
        found[cid] = FrameStatus.GONE if is_wrong else status
    return found


def answer_of(
    count: int, found: Mapping[int, tuple[FrameStatus, bytes]], rest: Mapping[int, FrameStatus]
) -> ProveAnswer:
    """Proofs as they travel; what has neither a proof nor a place in `rest` is gone."""
    statuses, proofs = [], []
    for index in range(count):
        status, proof = found.get(index, (rest.get(index, FrameStatus.GONE), b""))
        statuses.append(status)
        if status is FrameStatus.OK:
            proofs.append(proof)
    return ProveAnswer(tuple(statuses), tuple(proofs))


def all_of(status: FrameStatus, cids: Sequence[Cid]) -> ProveAnswer:
    """One and the same answer about all, without a proof."""
    return ProveAnswer((status,) * len(cids), ())


_REQUEST: Final[dict[int, Check[Any]]] = {
    1: bytes_of(NONCE_BYTES),
    2: bytes_up_to(MAX_CIDS_IN_PROVE * HASH_BYTES, minimum=HASH_BYTES),
    3: boolean,
}


def _fields(data: bytes, max_bytes: int, checks: dict[int, Check[Any]]) -> tuple[Any, ...]:
    return fields_untrusted(decode_untrusted(data, max_bytes=max_bytes), checks)
