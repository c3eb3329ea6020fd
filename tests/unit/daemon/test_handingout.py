"""What share links give out: names in a zip file."""

from __future__ import annotations

import pytest

from syncd.daemon.handingout import zip_top


@pytest.mark.parametrize(
    "name", ["../../etc", "/etc", "..", ".", "", " .. ", "a/../..", "..\\..\\x", "a\0b", "\udcff/..", "/", "\\"]
)
def test_w9_folder_of_any_name_stays_where_its_zip_file_is_opened(name: str) -> None:
    """Whoever makes a folder calls it as they like, and who joins takes the name over."""
    top = zip_top(name.encode("utf-8", "surrogateescape"))
    assert top.strip(" ") not in ("", ".", "..") and not set(top) & set("/\\\0")


@pytest.mark.parametrize("name", ["Notes", "Fotos 2026", "..hidden", ".config", "a.b"])
def test_harmless_name_stays(name: str) -> None:
    assert zip_top(name.encode()) == name
