"""Pure. A history of a folder in which everything happens that could make a key and a nonce meet twice, and its record.

Devices of a folder write, edit by single bits, restore snapshots of themselves and go on differently, are cloned with
all their state, randomness included, and write on as two; epochs change, kinds and lengths alternate. What reaches
AES-GCM is noted beneath `BlockCipher`: for each key and nonce the plaintext that was encrypted under them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Final
from unittest.mock import patch

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ca.ids import EpochId, FolderId
from syncd.model import cipher as cipher_module
from syncd.model.cipher import BlockCipher, BlockKind, Padding

BUCKETS: Final = 256
NAME_BYTES: Final = 12
FOLDERS: Final = 2
EPOCHS: Final = 3
FILES: Final = 64


class Record:
    """Which plaintext was encrypted under which key and nonce; 24 bytes for each encryption."""

    def __init__(self) -> None:
        self.count = 0
        self._buckets = [bytearray() for _ in range(BUCKETS)]

    def note(self, key: bytes, nonce: bytes, plaintext: bytes | bytearray | memoryview) -> None:
        """One encryption."""
        name = blake3(key + nonce).digest(NAME_BYTES)
        self._buckets[name[0]] += name + blake3(plaintext).digest(NAME_BYTES)
        self.count += 1

    def clashes(self) -> tuple[int, int]:
        """How many pairs of key and nonce met two plaintexts, and how many pairs there were at all."""
        clashes = pairs = 0
        for bucket in self._buckets:
            seen: dict[bytes, bytes] = {}
            for at in range(0, len(bucket), 2 * NAME_BYTES):
                name, plain = bytes(bucket[at : at + NAME_BYTES]), bytes(bucket[at + NAME_BYTES : at + 2 * NAME_BYTES])
                clashes += seen.setdefault(name, plain) != plain
            pairs += len(seen)
        return clashes, pairs


@contextmanager
def recorded() -> Iterator[Record]:
    """Note every encryption of `BlockCipher` while the block runs. It encrypts as ever."""
    record = Record()

    class Noting:
        def __init__(self, key: bytes) -> None:
            self._key = key
            self._real = AESGCM(key)

        def encrypt_into(self, nonce: bytes, data: memoryview, associated: None, buffer: memoryview) -> int:
            record.note(self._key, nonce, data)
            return self._real.encrypt_into(nonce, data, associated, buffer)

    with patch.object(cipher_module, "AESGCM", Noting):
        yield record


@dataclass(slots=True)
class Device:
    """One computer: what it has of each folder, where its epoch is, and its own chance. A copy of it is a clone."""

    random: Random
    epoch: int = 0
    files: list[bytearray] = field(default_factory=list)

    def step(self, ciphers: list[list[BlockCipher]]) -> None:
        """Change one file, or none, and encrypt it as it is now."""
        random = self.random
        file = random.choice(self.files)
        match random.randrange(6):
            case 0:
                file[random.randrange(len(file))] ^= 1 << random.randrange(8)
            case 1:
                file[:] = random.randbytes(len(file))
            case 2:
                file += random.randbytes(1)
            case 3 if len(file) > 8:
                del file[-1]
            case 4:
                file[:] = random.choice(self.files)
        kind = random.choice(_KINDS)
        ciphers[random.randrange(FOLDERS)][self.epoch].seal(kind, file)


_KINDS: Final = list(BlockKind)


def live(count: int, seed: int) -> None:
    """Go through such a history with at least so many encryptions."""
    random = Random(seed)
    ciphers = [[cipher_of(folder, epoch) for epoch in range(EPOCHS)] for folder in range(FOLDERS)]
    devices = [Device(Random(seed + number), 0, _files(random)) for number in range(3)]
    snapshots = deepcopy(devices)
    done = 0
    while done < count:
        for device in devices:
            for _ in range(500):
                device.step(ciphers)
        done += 500 * len(devices)
        which = random.randrange(len(devices))
        match random.randrange(5):
            case 0:
                snapshots[which] = deepcopy(devices[which])
            case 1:  # a snapshot is restored, with the state of its chance, and life goes on with other edits
                devices[which] = deepcopy(snapshots[which])
                devices[which].files[0][:4] = random.randbytes(4)
            case 2:  # a home is cloned over another one; both go on from the very same state
                devices[which] = deepcopy(devices[(which + 1) % len(devices)])
                devices[which].files[1][:1] = random.randbytes(1)
            case 3:
                devices[which].epoch = (devices[which].epoch + 1) % EPOCHS


def _files(random: Random) -> list[bytearray]:
    return [bytearray(random.randbytes(random.randint(8, 64))) for _ in range(FILES)]


def cipher_of(folder: int, epoch: int) -> BlockCipher:
    return BlockCipher(
        FolderId(bytes([folder + 1]) * 32),
        EpochId(bytes([epoch + 1]) * 32),
        id_key=bytes([folder + 1]) * 32,
        content_key=bytes([16 * folder + epoch + 1]) * 32,
        metadata_key=bytes([128 + 16 * folder + epoch]) * 32,
        padding=Padding.PADME if folder else Padding.NONE,
    )
