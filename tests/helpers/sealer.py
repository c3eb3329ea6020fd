"""Pure. A sealer that repeats itself, for simulation: it hides nothing, but opens only for whom it was sealed to."""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from ca.device import seal_public
from ca.digest import digest
from ca.errors import TrustError

_NO_NONCE = bytes(12)


class SimulationSealer:
    """Satisfies `ca.wraps.Sealer`. Its key is a hash of the *public* key, so anybody could open: for tests only."""

    def seal(self, seal_public: bytes, plaintext: bytes, info: bytes) -> bytes:
        return AESGCMSIV(digest("simulation seal", seal_public)).encrypt(_NO_NONCE, plaintext, info)

    def open(self, seal_seed: bytes, wrap: bytes, info: bytes) -> bytes:
        try:
            return AESGCMSIV(digest("simulation seal", seal_public(seal_seed))).decrypt(_NO_NONCE, wrap, info)
        except InvalidTag:
            raise TrustError("the sealed secret does not open with this device's key") from None
