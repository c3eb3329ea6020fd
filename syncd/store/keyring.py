"""Blocking. The content keys of a folder, as ciphers for whichever thread asks.

A `BlockCipher` owns buffers and so belongs to one thread; the keys are the same for all. Keys of older epochs stay as
long as the folder lives: a block keeps the epoch of its first appearance.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from ca.ids import EpochId, FolderId
from ca.values import dataclass
from syncd.model.cipher import BlockCipher, Padding
from syncd.model.lists import EPOCH_PREFIX_BYTES
from syncd.store.hashing import Hasher

EPOCHS_PER_THREAD = 4


class EpochKeyMissing(KeyError):
    """We were not (yet) given the secret of the epoch that a block is encrypted under."""


@dataclass(frozen=True, slots=True)
class EpochKeys:
    """What encrypts blocks in one epoch; 32 bytes each."""

    content_key: bytes
    metadata_key: bytes


class Keyring:
    """Immutable: rotation makes a new one (`with_epochs`)."""

    def __init__(
        self,
        folder: FolderId,
        *,
        id_key: bytes,
        cut_seed: bytes,
        current: EpochId,
        epochs: Mapping[EpochId, EpochKeys],
        padding: Padding = Padding.NONE,
    ) -> None:
        self.folder = folder
        self.current = current
        self.cut_seed = cut_seed
        self._id_key = id_key
        self._epochs = dict(epochs)
        self._prefixes = {epoch[:EPOCH_PREFIX_BYTES]: epoch for epoch in epochs}
        self._padding = padding
        self._local = threading.local()

    def epoch(self, prefix: bytes) -> EpochId:
        """The epoch whose id begins so. Raises EpochKeyMissing."""
        try:
            return self._prefixes[prefix]
        except KeyError:
            raise EpochKeyMissing(prefix) from None

    def knows(self, epoch: EpochId) -> bool:
        return epoch in self._epochs

    def cipher(self, epoch: EpochId | None = None) -> BlockCipher:
        """This thread's cipher of an epoch (default: the current one). Raises EpochKeyMissing."""
        epoch = epoch or self.current
        ciphers: dict[EpochId, BlockCipher] | None = getattr(self._local, "ciphers", None)
        if ciphers is None:
            ciphers = self._local.ciphers = {}
        cipher = ciphers.get(epoch)
        if cipher is None:
            keys = self._epochs.get(epoch)
            if keys is None:
                raise EpochKeyMissing(epoch)
            if len(ciphers) >= EPOCHS_PER_THREAD:
                ciphers.clear()
            cipher = ciphers[epoch] = BlockCipher(
                self.folder,
                epoch,
                id_key=self._id_key,
                content_key=keys.content_key,
                metadata_key=keys.metadata_key,
                padding=self._padding,
            )
        return cipher

    def cipher_of(self, prefix: bytes) -> BlockCipher:
        """This thread's cipher of the epoch whose id begins so. Raises EpochKeyMissing."""
        return self.cipher(self.epoch(prefix))

    def hasher(self) -> Hasher:
        """This thread's hasher in the current epoch."""
        hasher: Hasher | None = getattr(self._local, "hasher", None)
        if hasher is None:
            hasher = self._local.hasher = Hasher(self.cipher(), self.cut_seed)
        return hasher
