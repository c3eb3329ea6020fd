"""Parameters of the control socket: complete and of the right type, or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.errors import RemoteProtocolError
from syncd.web.methods import METHODS, parse_params_untrusted


def parse(name: str, **params: Any) -> dict[str, Any]:
    return parse_params_untrusted(name, json.dumps(params).encode())


def test_what_was_not_given_is_filled_in() -> None:
    assert parse("join.find", code="7-a-b-c") == {"code": "7-a-b-c", "link": None, "via": [], "as": None}
    assert parse("share", path="/p", role="editor")["uses"] == 1
    assert parse("share", path="/p", role="editor")["wait"] is False


def test_empty_body_means_no_parameters() -> None:
    assert parse_params_untrusted("peers", b"") == {}


def test_name_that_is_not_utf8_arrives_unchanged() -> None:
    name = b"/home/a\xff".decode(errors="surrogateescape")
    assert parse("explain", path=name) == {"path": name}


@pytest.mark.parametrize("value", ["caf\udce9", "\ud83d"])
def test_name_that_a_person_gives_is_text_or_refused(value: str) -> None:
    """A database takes no other; the daemon called that a bug of its own."""
    for name, params in (("snapshot.add", {"name": value}), ("search", {"text": value, "most": 1})):
        with pytest.raises(RemoteProtocolError) as refused:
            parse_params_untrusted(name, json.dumps(params).encode())
        assert refused.value.id == "SY-USE-01" and "is no text" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("explain", {}),
        ("explain", {"path": 1}),
        ("explain", {"path": "/p", "more": 1}),
        ("wait", {"folders": "Photos", "for": "synced"}),
        ("wait", {"folders": [1], "for": "synced"}),
        ("wait", {"for": "synced", "timeout_s": -1}),
        ("wait", {"for": "synced", "timeout_s": True}),
        ("share", {"path": "/p", "role": "editor", "uses": 0}),
        ("share", {"path": "/p", "role": "editor", "link": 1}),
    ],
)
def test_what_does_not_fit_is_refused(name: str, params: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError):
        parse(name, **params)


@given(st.sampled_from(sorted(METHODS)), st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
def test_garbage_is_parsed_or_refused(name: str, body: bytes) -> None:
    try:
        params = parse_params_untrusted(name, body)
    except RemoteProtocolError:
        return
    assert set(params) == set(METHODS[name].params)


@pytest.mark.parametrize("value", ["/p/\ud800", "/p/a\0b", "\0"])
def test_text_that_no_file_can_be_called_is_refused(value: str) -> None:
    """The daemon called that a bug of its own, and wrote a traceback."""
    calls: list[tuple[str, dict[str, Any]]] = [
        ("explain", {"path": value}),
        ("export", {"to": value}),
        ("ls", {"path": value}),
        ("filter", {"rules": ["*.o", value]}),
    ]
    for name, params in calls:
        with pytest.raises(RemoteProtocolError) as refused:
            parse(name, **params)
        assert refused.value.id == "SY-USE-01"


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        parse_params_untrusted("explain", b"[" * 100_000)
