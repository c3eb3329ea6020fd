"""The PIN of the page, kept in the home."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncd.errors import ConfigError
from syncd.web.pin import NAME, has_pin, is_pin, write_pin

SALT = bytes(range(16))


def test_pin_is_the_one_that_was_set(tmp_path: Path) -> None:
    assert not has_pin(tmp_path)
    write_pin(tmp_path, "4711", SALT)
    assert has_pin(tmp_path)
    assert is_pin(tmp_path, "4711")
    assert not is_pin(tmp_path, "4712")
    assert not is_pin(tmp_path, "")
    write_pin(tmp_path, None, SALT)
    assert not has_pin(tmp_path)


def test_file_is_for_its_owner_and_holds_no_pin(tmp_path: Path) -> None:
    write_pin(tmp_path, "correct horse", SALT)
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
    assert b"horse" not in (tmp_path / NAME).read_bytes()


@pytest.mark.parametrize("pin", ["", "123", "1" * 129])
def test_pin_has_a_sensible_length(tmp_path: Path, pin: str) -> None:
    with pytest.raises(ConfigError):
        write_pin(tmp_path, pin, SALT)
    assert not has_pin(tmp_path)


@pytest.mark.parametrize("pin", ["0000", "1234", "98765", "aaaaaaaa", "abcdef", "2468", "1111111"])
def test_easy_pin_is_refused(tmp_path: Path, pin: str) -> None:
    with pytest.raises(ConfigError, match="too easy"):
        write_pin(tmp_path, pin, SALT)
    assert not has_pin(tmp_path)


@pytest.mark.parametrize("pin", ["4711", "1235", "0007", "correct horse", "9876543211"])
def test_other_pins_are_taken(tmp_path: Path, pin: str) -> None:
    write_pin(tmp_path, pin, SALT)
    assert is_pin(tmp_path, pin)


def test_very_long_guess_costs_no_hashing_of_all_of_it(tmp_path: Path) -> None:
    write_pin(tmp_path, "4711", SALT)
    assert not is_pin(tmp_path, "4711" + "0" * 1_000_000)


@pytest.mark.parametrize("content", ["", "nonsense", "aa bb cc", "zz zz"])
def test_damaged_file_lets_nobody_in(tmp_path: Path, content: str) -> None:
    (tmp_path / NAME).write_text(content)
    with pytest.raises(ConfigError):
        is_pin(tmp_path, "4711")
