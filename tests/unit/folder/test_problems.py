"""From an error of the tree to what a person is told."""

from __future__ import annotations

import errno

import pytest

from syncd.catalogue import CATALOGUE
from syncd.folder.problems import problem_of
from syncd.treetypes import Denied, IsADirectory, LocallyChanged, NotADirectory, TreeError


def denied(number: int) -> Denied:
    """As the tree raises it: the system's own error is its cause."""
    error = Denied("Documents/x: refused")
    error.__cause__ = OSError(number, "refused")
    return error


@pytest.mark.parametrize(
    ("number", "platform", "expected"),
    [
        (errno.EPERM, "darwin", "SY-TCC-01"),
        (errno.EACCES, "darwin", "SY-FILE-01"),
        (errno.EPERM, "linux", "SY-FILE-01"),
    ],
)
def test_privacy_guard_of_macos_is_told_from_missing_permissions(number: int, platform: str, expected: str) -> None:
    id_, why, fix = problem_of(denied(number), reading=True, platform=platform)
    assert id_ == expected and id_ in CATALOGUE
    assert "Documents/x" in why
    assert ("service allow" in fix) == (expected == "SY-TCC-01")
    assert "by itself" not in fix


@pytest.mark.parametrize("kind", [IsADirectory, NotADirectory, LocallyChanged])
def test_what_took_a_name_in_that_moment_is_no_trouble_of_the_disk(kind: type[TreeError]) -> None:
    assert problem_of(kind("plan: taken"), reading=False)[0] == "SY-FILE-03"
