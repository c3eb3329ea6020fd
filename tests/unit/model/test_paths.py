from __future__ import annotations

import pytest

from ca.errors import RemoteProtocolError
from syncd.model.ids import NodeId, VersionId
from syncd.model.paths import collision_name, conflict_name, show, show_path, validate_name_untrusted

VERSION = VersionId(bytes.fromhex("0123456789abcdef") * 4)
NODE = NodeId(bytes.fromhex("fedcba9876543210") * 4)


@pytest.mark.parametrize(
    "name",
    [b"", b".", b"..", b"a/b", b"/", b"a\0b", b"x" * 256],
    ids=["empty", "dot", "dot-dot", "inner-slash", "slash", "nul", "too-long"],
)
def test_what_is_no_name_is_refused(name: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        validate_name_untrusted(name)


@pytest.mark.parametrize(
    "name",
    [
        ".syncd",
        ".SYNCD",
        ".sYnCd",
        ".syn\u200dcd",
        "\ufeff.syncd",
        ".syncd\ufe0f",
        "\uff0esyncd",
        ".\uff53yncd",
        ".\u017fyncd",
    ],
)
def test_the_reserved_name_is_refused_in_every_spelling_a_disk_may_fold(name: str) -> None:
    with pytest.raises(RemoteProtocolError):
        validate_name_untrusted(name.encode())


@pytest.mark.parametrize(
    "name",
    [b"a", b"...", b".syncd2", b"syncd", b"-rf", b"x\ny", b"\xff\xfe", b"x" * 255, b"back\\slash", ".sýncd".encode()],
)
def test_any_other_bytes_are_a_name(name: bytes) -> None:
    assert validate_name_untrusted(name) == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"plain name.txt", "plain name.txt"),
        (b"a\nb\x1b[31m", r"a\u{a}b\u{1b}[31m"),
        (b"caf\xe9", r"caf\xe9"),
        ("\u202egnp.exe".encode(), r"\u{202e}gnp.exe"),
        ("zero\u200bwidth\u00a0x".encode(), r"zero\u{200b}width\u{a0}x"),
        (b"back\\x41", r"back\\x41"),
        ("grün 🙂".encode(), "grün 🙂"),
    ],
)
def test_names_are_shown_on_one_line_without_hidden_characters(name: bytes, shown: str) -> None:
    assert show(name) == shown


def test_long_names_are_shown_shortened() -> None:
    assert show(b"x" * 200) == "x" * 79 + "…"


def test_paths_are_shown_with_slashes() -> None:
    assert show_path((b"a", b"\n", b"c")) == r"a/\u{a}/c"
    assert show_path(()) == "."


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"report.pdf", b"report (conflict anna 01234567).pdf"),
        (b"Makefile", b"Makefile (conflict anna 01234567)"),
        (b".bashrc", b".bashrc (conflict anna 01234567)"),
        (b"archive.tar.gz", b"archive.tar (conflict anna 01234567).gz"),
        (b"a." + b"x" * 40, b"a." + b"x" * 40 + b" (conflict anna 01234567)"),
    ],
)
def test_conflict_names_keep_the_extension(name: bytes, expected: bytes) -> None:
    assert conflict_name(name, "anna", VERSION) == expected


def test_conflict_names_fit_and_end_at_a_character() -> None:
    name = conflict_name("ü".encode() * 127 + b".md", "anna", VERSION)
    assert len(name) <= 255
    assert name.decode().endswith("ü (conflict anna 01234567).md")


def test_conflict_names_of_bytes_that_are_no_text_fit() -> None:
    assert len(conflict_name(b"\x80" * 255, "anna", VERSION)) <= 255


def test_conflict_names_hold_a_harmless_form_of_any_author() -> None:
    assert conflict_name(b"f", "../an\nna", VERSION) == b"f (conflict .._an_na 01234567)"
    assert conflict_name(b"f", "", VERSION) == b"f (conflict 01234567)"
    assert len(conflict_name(b"f" * 255, "ö" * 200, VERSION, digits=64)) <= 255


def test_collision_names_keep_within_a_small_disk() -> None:
    assert collision_name(b"a.txt", NODE) == b"a (name fedcba98).txt"
    assert len(collision_name(b"a" * 250 + b".txt", NODE, limit=143)) == 143
