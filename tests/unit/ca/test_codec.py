from __future__ import annotations

from enum import IntEnum
from types import MappingProxyType
from typing import Any

import pytest

from ca.codec import (
    array,
    boolean,
    bytes_of,
    bytes_up_to,
    decode_untrusted,
    encode,
    fields_untrusted,
    list_of,
    optional,
    text,
    uint,
)
from ca.errors import CodecError, RemoteProtocolError


def decode(data: bytes, **limits: int) -> Any:
    return decode_untrusted(data, **{"max_bytes": 1 << 20, **limits})


SECOND_SPELLINGS = {
    "0 in one more byte": ("1800", "00"),
    "23 in one more byte": ("1817", "17"),
    "255 in two bytes": ("1900ff", "18ff"),
    "65535 in four bytes": ("1a0000ffff", "19ffff"),
    "2^32-1 in eight bytes": ("1b00000000ffffffff", "1affffffff"),
    "-1 in one more byte": ("3800", "20"),
    "length of bytes": ("580161", "4161"),
    "length of text": ("780161", "6161"),
    "length of an array": ("980100", "8100"),
    "length of a map": ("b8010000", "a10000"),
    "indefinite bytes": ("5f4161ff", "4161"),
    "indefinite array": ("9f00ff", "8100"),
    "indefinite map": ("bf0000ff", "a10000"),
    "keys descending": ("a201000000", "a200000100"),
    "key twice": ("a200000000", "a200000100"),
    "false as a simple value in two bytes": ("f814", "f4"),
}

NOT_ALLOWED = {
    "nothing": "",
    "tag": "c000",
    "half float": "f90000",
    "double float": "fb0000000000000000",
    "undefined": "f7",
    "simple value 0": "e0",
    "break": "ff",
    "reserved length 28": "1c",
    "reserved length 30": "5e",
    "text that is not UTF-8": "61ff",
    "lone surrogate": "63eda080",
    "overlong UTF-8": "62c080",
    "text key": "a1616100",
    "negative key": "a12000",
    "key 256": "a119010000",
    "true as a key": "a1f500",
    "array as a key": "a18000",
    "array longer than the message": "9affffffff",
    "map longer than the message": "bbffffffffffffffff",
    "bytes longer than the message": "5bffffffffffffffff",
    "two values": "0000",
}


@pytest.mark.parametrize(("second", "only"), SECOND_SPELLINGS.values(), ids=SECOND_SPELLINGS.keys())
def test_second_spelling_is_refused_and_the_first_accepted(second: str, only: str) -> None:
    with pytest.raises(CodecError):
        decode(bytes.fromhex(second))
    assert encode(decode(bytes.fromhex(only))) == bytes.fromhex(only)


@pytest.mark.parametrize("refused", NOT_ALLOWED.values(), ids=NOT_ALLOWED.keys())
def test_what_is_not_allowed_is_refused(refused: str) -> None:
    with pytest.raises(CodecError):
        decode(bytes.fromhex(refused))


ENDS_EARLY = {
    "number": "19ff",
    "bytes": "42ff",
    "text": "6261",
    "array": "8201",
    "nothing": "",
}


@pytest.mark.parametrize("cut", ENDS_EARLY.values(), ids=ENDS_EARLY.keys())
def test_message_that_ends_early_is_told_apart_from_a_wrong_one(cut: str) -> None:
    with pytest.raises(CodecError, match="ends early" if cut != "8201" else "announces"):
        decode(bytes.fromhex(cut))


@pytest.mark.parametrize("reserved", ["1c", "1d", "1e", "1f", "5f", "9f"])
def test_reserved_length_is_refused_whatever_follows(reserved: str) -> None:
    with pytest.raises(CodecError, match="reserved or indefinite"):
        decode(bytes.fromhex(reserved) + bytes(64))


def test_refusal_is_the_peers_fault() -> None:
    assert issubclass(CodecError, RemoteProtocolError)


def test_limit_of_bytes_is_exact() -> None:
    message = encode(bytes(100))
    assert decode(message, max_bytes=len(message)) == bytes(100)
    with pytest.raises(CodecError):
        decode(message, max_bytes=len(message) - 1)


def test_limit_of_items_is_exact_and_counts_all_containers() -> None:
    message = encode([[1, 2], {0: 3}])
    assert decode(message, max_items=6) == [[1, 2], {0: 3}]
    with pytest.raises(CodecError):
        decode(message, max_items=5)


def test_limit_of_depth_is_exact() -> None:
    assert decode(encode([[[]]]), max_depth=3) == [[[]]]
    with pytest.raises(CodecError):
        decode(encode([[[]]]), max_depth=2)


def test_hundred_thousand_brackets_are_refused_without_recursion() -> None:
    with pytest.raises(CodecError):
        decode(b"\x81" * 100_000 + b"\x00")


def test_long_number_costs_nothing() -> None:
    with pytest.raises(CodecError):
        decode(b"\x1b" * 100_000)


class Colour(IntEnum):
    RED = 3


def test_enums_tuples_and_read_only_mappings_are_written_as_what_they_are() -> None:
    value = (Colour.RED, MappingProxyType({1: (memoryview(b"x"), bytearray(b"y"))}))
    assert decode(encode(value)) == [3, {1: [b"x", b"y"]}]


@pytest.mark.parametrize("value", [1.5, object(), {1: set()}])
def test_our_own_mistake_in_type_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError):
        encode(value)


@pytest.mark.parametrize("value", [1 << 64, -(1 << 64) - 1, {256: 0}, {-1: 0}, {True: 0}])
def test_our_own_mistake_in_value_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        encode(value)


def test_value_that_nests_in_itself_is_a_value_error() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueError, match="deeply"):
        encode(value)


CHECKS: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "uint": (uint(10, minimum=2), [2, 10], [1, 11, -1, True, None, "2", b"2"]),
    "bytes_of": (bytes_of(2), [b"ab"], [b"a", b"abc", "ab", None]),
    "bytes_up_to": (bytes_up_to(2, minimum=1), [b"a", b"ab"], [b"", b"abc", "a"]),
    "text": (text(2, minimum_bytes=1), ["a", "ab", "é"], ["", "abc", "éa", b"a"]),
    "boolean": (boolean, [True, False], [0, 1, None]),
    "optional": (optional(uint(1)), [None, 0, 1], [2, False]),
    "list_of": (list_of(uint(1), 2, minimum=1), [[0], [0, 1]], [[], [0, 0, 0], [2], {0: 0}, None]),
    "array": (array(uint(1), boolean), [[1, True]], [[1], [1, True, 0], [True, 1], None]),
}


@pytest.mark.parametrize(("check", "good", "bad"), CHECKS.values(), ids=CHECKS.keys())
def test_check_takes_what_it_says_and_refuses_the_rest(check: Any, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        checked = check(value)
        assert (list(checked) if isinstance(checked, tuple) else checked) == value
    for value in bad:
        with pytest.raises(CodecError):
            check(value)


def test_fields_come_in_the_order_of_the_checks() -> None:
    assert fields_untrusted({1: 5, 2: b"x"}, {2: bytes_of(1), 1: uint()}) == (b"x", 5)


@pytest.mark.parametrize("value", [{1: 5}, {1: 5, 2: b"x", 3: 0}, {1: 5, 2: b"xx"}, [5, b"x"], None])
def test_missing_unknown_and_wrong_fields_are_refused(value: Any) -> None:
    with pytest.raises(CodecError):
        fields_untrusted(value, {1: uint(), 2: bytes_of(1)})
