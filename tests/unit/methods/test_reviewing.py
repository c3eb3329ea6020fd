"""What the audit log says of changesets."""

from __future__ import annotations

from syncd.methods.reviewing import _of_change
from syncd.store.changes import Change


def test_changeset_without_files_is_told_in_words() -> None:
    """A yes to held changes is one."""
    assert _of_change("Photos", Change("e486fdf18d11", 0, "ben")).what == "no files (e486fdf18d11)"
    assert _of_change("Photos", Change("e486fdf18d11", 0, "ben", deleted=9)).what == "9 deleted (e486fdf18d11)"
