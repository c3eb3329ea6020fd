"""Pure. What a dishonest store or wire can do to a block, a changeset, a head and a roster, and whether it is seen.

Each trial takes something good, changes it in a way drawn from a seed, and offers it to the very function that a
receiver calls. It counts as detected when that function raises the class for dishonest peers, and as applied when it
returns anything. Every kind of trial has its partner: the same thing unchanged is taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

from ca.errors import RemoteProtocolError, TrustError
from ca.ids import EpochId, FolderId
from ca.roles import Role
from ca.roster import Roster
from syncd.model.cipher import BlockCipher, BlockKind, Padding
from syncd.model.heads import Head, decode_head_untrusted, encode_head, open_announced_untrusted, verify_head
from tests.helpers.authors import Author, directory
from tests.helpers.rosters import NOW, Company
from tests.helpers.tasks import keyring

KINDS: Final = ("block", "changeset", "head", "roster")


@dataclass(slots=True)
class Tally:
    """What became of the trials. `applied` must stay empty."""

    detected: Counter[str] = field(default_factory=Counter)
    applied: Counter[str] = field(default_factory=Counter)


def altered(good: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """Other bytes than `good`: flipped, cut, extended, swapped inside, or something else that was good once."""
    while True:
        bad = bytearray(good)
        match random.randrange(8):
            case 0 | 1:
                bad[random.randrange(len(bad))] ^= 1 << random.randrange(8)
            case 2:
                del bad[random.randrange(len(bad)) :]
            case 3:
                bad += random.randbytes(random.randint(1, 40))
            case 4:
                at = random.randrange(len(bad))
                bad[at : at + 16] = random.randbytes(len(bad[at : at + 16]))
            case 5:
                at, size = random.randrange(len(bad)), random.randint(1, 64)
                bad[at : at + size] = bad[:size][: len(bad[at : at + size])]
            case 6:
                bad = bytearray(random.choice(others))
            case _:
                at = random.randrange(len(bad))
                del bad[at : at + random.randint(1, 8)]
        if bytes(bad) != good:
            return bytes(bad)


class Trials:
    """Things to tamper with, made once; `run` does trials of each kind in turn."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.tally = Tally()
        self._ciphers = [self._cipher(folder, epoch) for folder in (1, 2) for epoch in (1, 2)]
        self._plain = [self._random.randbytes(self._random.randint(1, 300)) for _ in range(32)]
        self._blocks = {
            (index, kind): [bytes(cipher.seal(kind, plain).ciphertext) for plain in self._plain]
            for index, cipher in enumerate(self._ciphers)
            for kind in BlockKind
        }
        self._author = Author("ann")
        self._arrived = [self._author.publish(directory(number)) for number in range(1, 17)]
        self._foreign = [Author("ben").publish(directory(number)) for number in range(1, 3)]
        self._chains = self._make_chains()

    def run(self, count: int) -> Tally:
        """So many trials, of all kinds in turn."""
        trials: list[tuple[str, Callable[[], None]]] = [
            ("block", self._block),
            ("changeset", self._changeset),
            ("head", self._head),
            ("roster", self._roster),
        ]
        for number in range(count):
            kind, trial = trials[number % len(trials)]
            try:
                trial()
            except (RemoteProtocolError, TrustError):
                self.tally.detected[kind] += 1
            else:
                self.tally.applied[kind] += 1
        return self.tally

    def take_unchanged(self) -> None:
        """The partner of all trials: what nobody touched is taken. Raises if it is not."""
        for (index, kind), sealed in self._blocks.items():
            for plain, ciphertext in zip(self._plain, sealed, strict=True):
                cipher = self._ciphers[index]
                assert cipher.open_untrusted(kind, cipher.pid(kind, plain), len(plain), ciphertext) == plain
        for arrived in self._arrived:
            assert arrived.body is not None
            head = decode_head_untrusted(encode_head(arrived.head))
            verify_head(head, self._author.keys.public.sign)
            assert open_announced_untrusted(keyring().cipher(), head, arrived.body) == arrived.changeset
        for chain in self._chains:
            assert Roster.from_entries_untrusted(chain.raws, folder=chain.roster.folder_id).head == chain.roster.head

    def _cipher(self, folder: int, epoch: int) -> BlockCipher:
        keys = {"id_key": bytes([folder]) * 32, "content_key": bytes([16 * folder + epoch]) * 32}
        padding = Padding.PADME if folder == 2 else Padding.NONE
        return BlockCipher(
            FolderId(bytes([folder]) * 32),
            EpochId(bytes([epoch]) * 32),
            metadata_key=bytes([128 + 16 * folder + epoch]) * 32,
            padding=padding,
            **keys,
        )

    def _make_chains(self) -> list[Company]:
        """Rosters of two folders: admissions, a removal, a rotation."""
        chains = [Company(), Company(now=NOW + 86_400)]
        for company in chains:
            company.admit("bob", Role.EDITOR)
            company.admit("carol", Role.ADMIN)
            company.remove("bob")
        return chains

    def _block(self) -> None:
        """Bytes changed, or the right bytes under the name of another block, kind, epoch or folder."""
        random = self._random
        index, kind, which = random.randrange(4), random.choice(list(BlockKind)), random.randrange(len(self._plain))
        sealed, plain = self._blocks[index, kind], self._plain[which]
        offered = sealed[which]
        wrong = random.randrange(6)
        if wrong == 0:
            offered = self._blocks[(index + random.randint(1, 3)) % 4, kind][which]
        elif wrong == 1:
            offered = self._blocks[index, random.choice([other for other in BlockKind if other is not kind])][which]
        else:
            offered = altered(offered, [one for one in sealed if one != offered], random)
        cipher = self._ciphers[index]
        cipher.open_untrusted(kind, cipher.pid(kind, plain), len(plain), offered)

    def _changeset(self) -> None:
        """A body that is not the announced one: changed, another of the journal, another author's."""
        random = self._random
        arrived = random.choice(self._arrived)
        bodies = [one.body for one in [*self._arrived, *self._foreign] if one is not arrived and one.body is not None]
        assert arrived.body is not None
        offered = altered(arrived.body, bodies, random)
        open_announced_untrusted(keyring().cipher(), arrived.head, offered)

    def _head(self) -> None:
        """Bytes changed, or any field exchanged under a signature of before."""
        random = self._random
        good = random.choice(self._arrived).head
        if random.randrange(2):
            head = self._with_another_field(good)
        else:
            foreign = [encode_head(one.head) for one in self._foreign]
            head = decode_head_untrusted(altered(encode_head(good), foreign, random))
        verify_head(head, self._author.keys.public.sign)

    def _with_another_field(self, good: Head) -> Head:
        random = self._random
        name = random.choice([name for name in Head.__dataclass_fields__ if name != "signature"])
        value: Any = getattr(good, name)
        if isinstance(value, int):
            other: Any = value + random.randint(1, 5)
        else:
            other = altered(value, [random.randbytes(len(value))], random)
        return replace(good, **{name: other})

    def _roster(self) -> None:
        """One entry changed, left out, exchanged with its neighbour, from another folder; or the newest kept back."""
        random = self._random
        company = random.choice(self._chains)
        other = next(chain for chain in self._chains if chain is not company)
        raws, at = list(company.raws), random.randrange(1, len(company.raws))
        match random.randrange(6):
            case 0 if at + 1 < len(raws):
                del raws[at]
            case 1:
                del raws[at:]
            case 2:
                raws[at - 1], raws[at] = raws[at], raws[at - 1]
            case 3:
                raws[at] = other.raws[at]
            case _:
                raws[at] = altered(raws[at], other.raws, random)
        Roster.from_entries_untrusted(raws, folder=company.roster.folder_id, anchor=company.roster.head_at)
