"""A list of people: what is understood, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from ca.roles import Role
from syncd.errors import SyncdError
from syncd.methods.enrolling import MAX_FILE_BYTES, MAX_PEOPLE, keys_text, newcomers_untrusted, read_list
from tests.helpers.rosters import public_of

ANN, BEN = keys_text(public_of("ann")), keys_text(public_of("ben"))


def test_list_is_understood_in_any_order_of_columns() -> None:
    data = f'role,phone,keys,name\r\neditor,1,{ANN},Ann\r\nVIEWER,,{BEN},"Ben, the younger"\r\n'
    found = newcomers_untrusted(b"\xef\xbb\xbf" + data.encode())
    assert [(one.name, one.role, one.devices[0][0].id) for one in found] == [
        ("Ann", Role.EDITOR, public_of("ann").id),
        ("Ben, the younger", Role.VIEWER, public_of("ben").id),
    ]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("", "lacks the column name"),
        ("name,keys\n", "lacks the column role"),
        ("name,role,keys\n", "lists nobody"),
        (f"name,role,keys\n,editor,{ANN}\n", "line 2 has no name"),
        (f"name,role,keys\nann,king,{ANN}\n", "line 2: there is no role king"),
        (f"name,role,keys\nann,editor,{ANN[:-2]}\n", "line 2: these are not the keys"),
        (f"name,role,keys\nann,editor,{ANN}!\n", "line 2: these are not the keys"),
        ("name,role,keys\nann,editor\n", "line 2: these are not the keys"),
        (f"name,role,keys\nann,editor,{ANN}\nben,editor,{ANN}\n", "a device twice"),
        ('name,role,keys\n"ann', "unexpected end"),
    ],
)
def test_line_that_is_wrong_is_named(data: str, why: str) -> None:
    with pytest.raises(SyncdError) as error:
        newcomers_untrusted(data.encode())
    assert why in error.value.why


def test_what_is_no_small_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(MAX_FILE_BYTES + 1))
    for name in (tmp_path, tmp_path / "nothing", tmp_path / "large"):
        with pytest.raises(SyncdError):
            read_list(str(name))
    (tmp_path / "list").write_bytes(b"name")
    assert read_list(str(tmp_path / "list")) == b"name"


def test_file_of_another_kind_is_told() -> None:
    with pytest.raises(SyncdError) as error:
        newcomers_untrusted(b"\xff\xfe\0")
    assert "UTF-8" in error.value.why


def test_too_many_are_told() -> None:
    rows = "".join(f"p{number},editor,{keys_text(public_of(str(number)))}\n" for number in range(MAX_PEOPLE + 1))
    with pytest.raises(SyncdError) as error:
        newcomers_untrusted(f"name,role,keys\n{rows}".encode())
    assert "part it" in error.value.why
