"""How values look to a person, and that no name can play tricks on a terminal."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.cli import text

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
JOINER = "\N{ZERO WIDTH JOINER}"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plan.xlsx", "plan.xlsx"),
        ("übung 📁", "übung 📁"),
        ("a\nb", "a\\nb"),
        ("\x1b[2J", "\\x1b[2J"),
        ("gpj.\N{RIGHT-TO-LEFT OVERRIDE}exe", "gpj.\\u202eexe"),
        (b"a\xff".decode(errors="surrogateescape"), "a\\xff"),
        ("a\\nb", "a\\\\nb"),
        ("\x7f\x9b", "\\x7f\\u009b"),
    ],
)
def test_name_is_escaped(name: str, shown: str) -> None:
    assert text.escape(name) == shown


@given(st.text(st.characters(), max_size=30), st.text(st.characters(), max_size=30))
def test_escaped_names_are_printable_and_never_equal(one: str, other: str) -> None:
    assert text.escape(one).replace(JOINER, "").isprintable()
    assert (text.escape(one) == text.escape(other)) == (one == other)


@given(st.text(max_size=40))
def test_message_stays_one_printable_line(message: str) -> None:
    assert text.escape_line(message).replace(JOINER, "").isprintable()


@given(st.text(max_size=40))
def test_ascii_only_is_ascii(message: str) -> None:
    assert text.ascii_only(message).isascii()


@pytest.mark.parametrize(
    ("name", "word"),
    [("Photos", "Photos"), ("My Photos", "'My Photos'"), ("it's", "'it'\"'\"'s'"), ("a\nb", "$'a\\nb'")],
)
def test_name_can_be_pasted_into_a_shell(name: str, word: str) -> None:
    assert text.argument(name) == word


@pytest.mark.parametrize(
    ("count_bytes", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024 * 1024 - 1, "1.0 MiB"),
        (51_650_000_000, "48.1 GiB"),
        (10**18, "888 PiB"),
    ],
)
def test_size(count_bytes: int, shown: str) -> None:
    assert text.size(count_bytes) == shown


@pytest.mark.parametrize(
    ("bytes_per_s", "shown"), [(0, "0 B/s"), (92e6, "92 MB/s"), (1.25e9, "1.2 GB/s"), (9.99e6, "10 MB/s")]
)
def test_rate(bytes_per_s: float, shown: str) -> None:
    assert text.rate(bytes_per_s) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (0.34, "0.3 s"),
        (38, "38 s"),
        (480, "8 min"),
        (7_200, "2 h"),
        (3 * 86_400, "3 days"),
        (172_800, "2 days"),
    ],
)
def test_duration(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


@pytest.mark.parametrize(
    ("typed", "seconds"), [("90", 90), ("15m", 900), ("2h", 7_200), ("7d", 604_800), ("1.5h", 5_400)]
)
def test_typed_duration(typed: str, seconds: float) -> None:
    assert text.parse_duration(typed) == seconds


@pytest.mark.parametrize("typed", ["", "m", "soon", "-1", "1y", "nan", "inf"])
def test_what_is_no_duration_is_refused(typed: str) -> None:
    with pytest.raises(ValueError):
        text.parse_duration(typed)


def test_share_is_never_complete_too_early() -> None:
    assert text.share(999_999, 1_000_000) == "99 %"
    assert text.share(1, 1) == text.share(0, 0) == "100 %"


def test_times_are_told_from_now() -> None:
    assert text.ago("2026-11-17T12:00:00Z", NOON) == "3 days ago"
    assert text.ago("2026-11-20T11:59:58Z", NOON) == "just now"
    assert text.ago("2026-11-20T12:05:00Z", NOON) == "just now"
    assert text.ago(None, NOON) == "never"
    assert text.until("2026-11-20T14:52:00Z", NOON, UTC) == "until 14:52"
    assert text.until("2026-11-27T14:52:00Z", NOON, UTC) == "until 27 Nov 14:52"
    assert text.until(None, NOON, UTC) == "for good"
    assert text.clock("2026-11-20T14:52:00Z", UTC) == "2026-11-20 14:52"


def test_columns_are_aligned_for_wide_letters() -> None:
    assert text.table([["写真", "x"], ["abcdef", "y"]], heading=("A", "B")) == ["A       B", "写真    x", "abcdef  y"]
