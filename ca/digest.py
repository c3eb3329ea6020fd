"""Pure. The one hash function, always with the purpose of what is hashed, so that no hash can stand for another.

BLAKE3 in its `derive_key` mode with the context "syncd/1 <purpose>" both names things and makes keys from secrets; in
its keyed mode it is a MAC.
"""

from __future__ import annotations

from blake3 import blake3


def digest(purpose: str, data: bytes) -> bytes:
    """32 bytes that name `data` for this purpose."""
    return blake3(data, derive_key_context=f"syncd/1 {purpose}").digest()


def derive(secret: bytes, purpose: str, length: int = 32) -> bytes:
    """A key of `length` bytes for one purpose from a uniformly random secret."""
    return blake3(secret, derive_key_context=f"syncd/1 {purpose}").digest(length)


def mac(key: bytes, data: bytes) -> bytes:
    """32 bytes that only a holder of the 32-byte key can make."""
    return blake3(data, key=key).digest()
