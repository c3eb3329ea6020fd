"""Pure. Names for the byte strings that identify things, so that mypy tells one from another."""

from __future__ import annotations

from typing import NewType

DeviceId = NewType("DeviceId", bytes)
"""32 bytes: hash of a device's (or recovery key's) public keys; the same for life."""

FolderId = NewType("FolderId", bytes)
"""32 bytes: hash of the folder's genesis entry, so a folder proves itself."""

EntryHash = NewType("EntryHash", bytes)
"""32 bytes: hash of a roster entry exactly as it travels, signature included."""

EpochId = NewType("EpochId", bytes)
"""32 bytes: the EntryHash of the entry that opened the epoch."""

MemberId = NewType("MemberId", bytes)
"""16 bytes: drawn at random when a member is admitted; never used twice."""

NO_ENTRY = EntryHash(bytes(32))
"""What a genesis entry names as its previous entry."""

NO_FOLDER = FolderId(bytes(32))
"""Stands for the folder in a signature that belongs to none, such as that of the genesis entry."""
