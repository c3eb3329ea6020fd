"""What the audit log says of changesets."""

from __future__ import annotations

from ca.ids import DeviceId
from syncd.methods.reviewing import _of_change
from syncd.store.changes import Change

BEN = DeviceId(b"b" * 32)


def test_changeset_without_files_is_told_in_words() -> None:
    """A yes to held changes is one."""
    nothing, deleted = Change("e486fdf18d11", 0, BEN), Change("e486fdf18d11", 0, BEN, deleted=9)
    assert _of_change("Photos", "ben", nothing).what == "no files (e486fdf18d11)"
    assert _of_change("Photos", "ben", deleted).what == "9 deleted (e486fdf18d11)"
