"""Pure. The one encoding of everything that is signed or sent: deterministic CBOR (RFC 8949 §4.2.1) and little of it.

Allowed are integers of 64 bits, byte strings, UTF-8 text, arrays, true, false, null, and maps whose keys are integers
from 0 to 255 in ascending order. There are no floats, tags, indefinite lengths or second spellings: a decoder that
accepts a byte string accepts the only one that means this value, so decode and encode are inverse in both directions
(tests/property/test_codec.py). Both are one loop over the initial byte, because a sync pushes every file through here.

The second half turns a decoded value into typed fields. A check takes a value and returns it or raises CodecError, and
checks nest, so that the shape of a message stands in one expression beside its class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from ca.errors import CodecError

Value: TypeAlias = "int | bytes | str | bool | list[Value] | dict[int, Value] | None"
"""What decoding gives."""

Encodable: TypeAlias = "int | bytes | str | bool | Sequence[Encodable] | Mapping[int, Encodable] | Encoded | None"
"""What encoding takes: also tuples and read-only mappings, and what is encoded already."""


class Encoded:
    """The canonical bytes of one value, to stand in another as they are: for what a hot path encodes by itself."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


T = TypeVar("T")
Check: TypeAlias = Callable[[Any], T]

MAX_KEY: Final = 255

_UINT, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP = 0x00, 0x20, 0x40, 0x60, 0x80, 0xA0
_FALSE, _TRUE, _NULL = 0xF4, 0xF5, 0xF6
_CONTAINERS: Final = (_ARRAY, _MAP)
_BOOLEANS: Final = (_FALSE, _TRUE)
_ONE_BYTE_HEADS: Final = [bytes([initial]) for initial in range(256)]
_SHORT_BYTES_HEADS: Final = [bytes([_BYTES | n]) if n < 24 else bytes([_BYTES | 24, n]) for n in range(256)]
_MIN_BY_WIDTH: Final = {2: 1 << 8, 4: 1 << 16, 8: 1 << 32}
_MAX_ENCODE_DEPTH: Final = 64


def encode(value: Encodable) -> bytes:
    """The canonical bytes of a value. Raises TypeError or ValueError for what the format does not allow (our bug)."""
    parts: list[bytes] = []
    _encode_into(value, parts, 0)
    return b"".join(parts)


def encoded_uint(value: int) -> bytes:
    """The canonical bytes of an integer that is not negative."""
    return _head(_UINT, value)


def encoded_bytes(value: bytes) -> bytes:
    """The canonical bytes of a byte string."""
    length = len(value)
    return (_SHORT_BYTES_HEADS[length] if length < 256 else _head(_BYTES, length)) + value


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return _ONE_BYTE_HEADS[major | argument]
    if argument < 1 << 8:
        return bytes((major | 24, argument))
    if argument < 1 << 16:
        return bytes((major | 25,)) + argument.to_bytes(2, "big")
    if argument < 1 << 32:
        return bytes((major | 26,)) + argument.to_bytes(4, "big")
    if argument < 1 << 64:
        return bytes((major | 27,)) + argument.to_bytes(8, "big")
    raise ValueError("integer needs more than 64 bits")


def _encode_into(value: Any, parts: list[bytes], depth: int) -> None:
    kind = type(value)
    if kind is int:
        parts.append(_head(_UINT, value) if value >= 0 else _head(_NEGATIVE, -1 - value))
    elif kind is bytes:
        parts.append(_head(_BYTES, len(value)))
        parts.append(value)
    elif value is None:
        parts.append(b"\xf6")
    elif kind is list or kind is tuple:
        _encode_array(value, parts, depth)
    elif kind is str:
        raw = value.encode("utf-8")
        parts.append(_head(_TEXT, len(raw)))
        parts.append(raw)
    elif kind is bool:
        parts.append(b"\xf5" if value else b"\xf4")
    else:
        _encode_unusual(value, parts, depth)


def _encode_array(value: Sequence[Any], parts: list[bytes], depth: int) -> None:
    if depth >= _MAX_ENCODE_DEPTH:
        raise ValueError("value nests too deeply")
    append = parts.append
    append(_head(_ARRAY, len(value)))
    for item in value:
        # The kinds that fill arrays are written here: a call for each would double the time.
        kind = type(item)
        if kind is bytes:
            length = len(item)
            append(_SHORT_BYTES_HEADS[length] if length < 256 else _head(_BYTES, length))
            append(item)
        elif kind is int:
            append(_head(_UINT, item) if item >= 0 else _head(_NEGATIVE, -1 - item))
        elif kind is list or kind is tuple:
            _encode_array(item, parts, depth + 1)
        elif item is None:
            append(b"\xf6")
        elif kind is Encoded:
            append(item.data)
        else:
            _encode_into(item, parts, depth + 1)


def _encode_unusual(value: Any, parts: list[bytes], depth: int) -> None:
    """Maps, what is encoded already, and subclasses such as IntEnum or a NamedTuple, which are written as what they
    extend."""
    if isinstance(value, Encoded):
        parts.append(value.data)
    elif isinstance(value, Mapping):
        if depth >= _MAX_ENCODE_DEPTH:
            raise ValueError("value nests too deeply")
        parts.append(_head(_MAP, len(value)))
        for key in sorted(value):
            if isinstance(key, bool) or not isinstance(key, int) or not 0 <= key <= MAX_KEY:
                raise ValueError(f"map key must be an integer from 0 to {MAX_KEY}")
            parts.append(_head(_UINT, key))
            _encode_into(value[key], parts, depth + 1)
    elif isinstance(value, int):
        _encode_into(int(value), parts, depth)
    elif isinstance(value, (bytes, bytearray, memoryview)):
        _encode_into(bytes(value), parts, depth)
    elif isinstance(value, str):
        _encode_into(str.__str__(value), parts, depth)
    elif isinstance(value, (list, tuple)):
        _encode_array(tuple(value), parts, depth)
    else:
        raise TypeError(f"cannot encode {type(value).__name__}")


def decode_untrusted(data: bytes, *, max_bytes: int, max_depth: int = 8, max_items: int = 200_000) -> Value:
    """Decode exactly one value that fills `data`.

    Limits: at most max_bytes in all, max_items values in all containers together, max_depth containers in each other.
    Raises: CodecError for anything that is not the canonical form of an allowed value, and nothing else.
    """
    end = len(data)
    if end > max_bytes:
        raise CodecError(f"message of {end} bytes is over the limit of {max_bytes}")
    position = 0
    budget = max_items
    items: list[Any] = []  # of the container being read; the outermost "container" takes exactly one value
    wanted = 1
    is_map = False
    outer: list[tuple[list[Any], int, bool]] = []
    try:
        while True:
            initial = data[position]
            position += 1
            argument = initial & 0x1F
            major = initial & 0xE0
            if argument > 23 and initial < 0xE0:
                if argument == 24:
                    argument = data[position]
                    position += 1
                    if argument < 24:
                        raise CodecError("number is not in its shortest form")
                elif argument > 27:
                    raise CodecError("reserved or indefinite length")
                else:
                    width = 1 << (argument - 24)
                    argument = int.from_bytes(data[position : position + width], "big")
                    position += width
                    if position > end:
                        raise CodecError("message ends early")
                    if argument < _MIN_BY_WIDTH[width]:
                        raise CodecError("number is not in its shortest form")
            if major == _BYTES:
                stop = position + argument
                if stop > end:
                    raise CodecError("message ends early")
                items.append(data[position:stop])
                position = stop
            elif major == _UINT:
                items.append(argument)
            elif major in _CONTAINERS:
                count = argument if major == _ARRAY else 2 * argument
                budget -= count
                if budget < 0 or count > end - position:
                    raise CodecError("container announces more values than allowed or sent")
                if len(outer) >= max_depth:
                    raise CodecError("message nests too deeply")
                outer.append((items, wanted, is_map))
                items, wanted, is_map = [], count, major == _MAP
            elif major == _TEXT:
                stop = position + argument
                if stop > end:
                    raise CodecError("message ends early")
                items.append(str(data[position:stop], "utf-8"))
                position = stop
            elif initial == _NULL:
                items.append(None)
            elif initial in _BOOLEANS:
                items.append(initial == _TRUE)
            elif major == _NEGATIVE:
                items.append(-1 - argument)
            else:
                raise CodecError("tag, float or unknown simple value")
            while len(items) == wanted:
                if not outer:
                    if position != end:
                        raise CodecError("bytes follow the value")
                    return items[0]  # type: ignore[no-any-return]
                finished: Any = _map_untrusted(items) if is_map else items
                items, wanted, is_map = outer.pop()
                items.append(finished)
    except IndexError:
        raise CodecError("message ends early") from None
    except UnicodeDecodeError:
        raise CodecError("text is not UTF-8") from None


def _map_untrusted(flat: list[Any]) -> dict[int, Value]:
    last = -1
    for key in flat[::2]:
        if type(key) is not int or not last < key <= MAX_KEY:
            raise CodecError("map keys must be integers from 0 to 255, each once, ascending")
        last = key
    return dict(zip(flat[::2], flat[1::2], strict=True))


# --- typed fields ----------------------------------------------------------------------------------------------------


def uint(maximum: int = (1 << 64) - 1, *, minimum: int = 0) -> Check[int]:
    """An integer from minimum to maximum, both included."""

    def check(value: Any) -> int:
        if type(value) is not int or not minimum <= value <= maximum:
            raise CodecError(f"expected an integer from {minimum} to {maximum}")
        return value

    return check


def bytes_of(length: int) -> Check[bytes]:
    """A byte string of exactly this length."""

    def check(value: Any) -> bytes:
        if type(value) is not bytes or len(value) != length:
            raise CodecError(f"expected {length} bytes")
        return value

    return check


def bytes_up_to(maximum: int, *, minimum: int = 0) -> Check[bytes]:
    """A byte string of minimum to maximum bytes."""

    def check(value: Any) -> bytes:
        if type(value) is not bytes or not minimum <= len(value) <= maximum:
            raise CodecError(f"expected {minimum} to {maximum} bytes")
        return value

    return check


def text(maximum_bytes: int, *, minimum_bytes: int = 0) -> Check[str]:
    """Text of minimum to maximum bytes of UTF-8."""

    def check(value: Any) -> str:
        if type(value) is not str or not minimum_bytes <= len(value.encode()) <= maximum_bytes:
            raise CodecError(f"expected text of {minimum_bytes} to {maximum_bytes} bytes")
        return value

    return check


def boolean(value: Any) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise CodecError("expected true or false")
    return value


def optional(check: Check[T]) -> Check[T | None]:
    """Null, or what the check allows."""

    def check_optional(value: Any) -> T | None:
        return None if value is None else check(value)

    return check_optional


def list_of(check: Check[T], maximum: int, *, minimum: int = 0) -> Check[tuple[T, ...]]:
    """An array of minimum to maximum items that each pass the check."""

    def check_list(value: Any) -> tuple[T, ...]:
        if type(value) is not list or not minimum <= len(value) <= maximum:
            raise CodecError(f"expected an array of {minimum} to {maximum} items")
        return tuple([check(item) for item in value])

    return check_list


def array(*checks: Check[Any]) -> Check[tuple[Any, ...]]:
    """An array with exactly one item for each check, in this order."""
    wanted = len(checks)

    def check_array(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) != wanted:
            raise CodecError(f"expected an array of {wanted} items")
        return tuple([check(item) for check, item in zip(checks, value)])  # noqa: B905 - lengths compared above

    return check_array


def fields_untrusted(value: Value, checks: Mapping[int, Check[Any]]) -> tuple[Any, ...]:
    """The fields of a map that has exactly these keys, in the order of `checks`; one that may be null is still sent.

    Raises: CodecError for a missing, unknown or wrong field.
    """
    if type(value) is not dict or value.keys() != checks.keys():
        raise CodecError("message has a missing or an unknown field")
    return tuple([check(value[key]) for key, check in checks.items()])
