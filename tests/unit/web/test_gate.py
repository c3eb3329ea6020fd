"""Who may ask the page, judged by the head of a request; links, sessions and the patience with a PIN."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from syncd.protocol.heads import Head
from syncd.web.gate import (
    IDLE_S,
    LINK_S,
    MAX_LINKS,
    MAX_NOTES,
    MAX_SESSIONS,
    Patience,
    Sessions,
    check_untrusted,
    hosts_of,
)

HERE = "127.0.0.1:22080"
HOSTS = hosts_of(HERE, ("page.example:8080",))
FORM = {"content-type": "application/x-www-form-urlencoded"}
OURS = {"host": HERE, "origin": f"http://{HERE}", "sec-fetch-site": "same-origin", **FORM}


def head(method: str = "GET", **fields: str) -> Head:
    given = {"host": HERE} | {name.replace("_", "-"): value for name, value in fields.items()}
    return Head(method.encode(), b"/", tuple((name.encode(), value.encode()) for name, value in given.items()))


def status(asked: Head) -> int | None:
    refusal = check_untrusted(asked, HOSTS)
    return None if refusal is None else refusal.status


def random() -> Iterator[bytes]:
    return (number.to_bytes(32, "big") for number in count(1))


def sessions() -> Sessions:
    numbers = random()
    return Sessions(lambda length: next(numbers))


@pytest.mark.parametrize("host", [HERE, "localhost:22080", "[::1]:22080", "page.example:8080"])
def test_names_of_ours_are_answered(host: str) -> None:
    assert status(head(host=host)) is None


@pytest.mark.parametrize(
    "host",
    [
        "attacker.example",
        "attacker.example:22080",
        "127.0.0.1.nip.io:22080",
        "localhost.evil:22080",
        "localhost.:22080",
        "127.0.0.1.:22080",
        "0.0.0.0:22080",
        "[::ffff:127.0.0.1]:22080",
        "127.0.0.1",
        "127.0.0.1:80",
        "LOCALHOST:22080",
        "127.1:22080",
        "2130706433:22080",
        "0x7f000001:22080",
        "localhost:22080 ",
        "localhost:22080@attacker.example",
        "page.example",
        "",
    ],
)
def test_other_names_are_refused_and_the_setting_is_named(host: str) -> None:
    refusal = check_untrusted(head(host=host), HOSTS)
    assert refusal is not None and refusal.status == 421
    assert "[web] hosts" in refusal.fix


def test_request_without_a_host_is_refused() -> None:
    assert status(Head(b"GET", b"/", ())) == 421


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "Same-Origin"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_what_another_site_sends_is_refused(site: str, method: str) -> None:
    assert status(head(method, **(OURS | {"sec-fetch-site": site}))) == 403


@pytest.mark.parametrize("place", ["iframe", "frame", "embed", "object"])
def test_page_is_shown_inside_no_other(place: str) -> None:
    assert status(head(sec_fetch_dest=place)) == 403


@pytest.mark.parametrize(
    "origin", ["null", "http://attacker.example", "https://127.0.0.1:22080", "http://127.0.0.1:1", "", HERE]
)
def test_form_of_another_origin_is_refused(origin: str) -> None:
    assert status(head("POST", **(OURS | {"origin": origin}))) == 403


def test_form_without_an_origin_is_refused() -> None:
    fields = {name: value for name, value in OURS.items() if name != "origin"}
    assert status(head("POST", **fields)) == 403


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "multipart/form-data", ""])
def test_only_forms_change_something(kind: str) -> None:
    assert status(head("POST", **(OURS | {"content-type": kind}))) == 415


def test_our_own_form_is_let_through() -> None:
    assert status(head("POST", **OURS)) is None
    assert status(head("POST", **(OURS | {"content-type": FORM["content-type"] + "; charset=utf-8"}))) is None


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"])
def test_other_methods_are_refused(method: str) -> None:
    assert status(head(method)) == 405


# --- links and sessions ---------------------------------------------------------------------------------------------


def test_link_opens_once() -> None:
    gate = sessions()
    token = gate.new_link(0.0, read_only=False)
    came = gate.enter(token, 1.0)
    assert came is not None
    cookie, session = came
    assert gate.find(cookie, 2.0) is session
    assert gate.enter(token, 1.0) is None


def test_link_is_over_after_its_time() -> None:
    gate = sessions()
    token = gate.new_link(0.0, read_only=False)
    assert gate.enter(token, LINK_S) is None


@pytest.mark.parametrize("token", ["", "0", "ab" * 32, "\udcff", "x" * 10_000])
def test_token_that_was_not_given_opens_nothing(token: str) -> None:
    gate = sessions()
    gate.new_link(0.0, read_only=False)
    assert gate.enter(token, 1.0) is None


def test_link_for_looking_opens_a_session_for_looking() -> None:
    gate = sessions()
    came = gate.enter(gate.new_link(0.0, read_only=True), 1.0)
    assert came is not None and came[1].read_only


def test_session_ends_when_nobody_uses_it() -> None:
    gate = sessions()
    came = gate.enter(gate.new_link(0.0, read_only=False), 0.0)
    assert came is not None
    assert gate.find(came[0], IDLE_S) is not None
    assert gate.find(came[0], 2 * IDLE_S + 1) is None


def test_session_ends_when_it_is_closed() -> None:
    gate = sessions()
    came = gate.enter(gate.new_link(0.0, read_only=False), 0.0)
    assert came is not None
    gate.end(came[1])
    assert gate.find(came[0], 1.0) is None


def test_links_and_sessions_are_bounded_and_the_oldest_go() -> None:
    gate = sessions()
    tokens = [gate.new_link(0.0, read_only=False) for _ in range(MAX_LINKS + 1)]
    assert gate.enter(tokens[0], 1.0) is None
    cookies = []
    for _ in range(MAX_SESSIONS + 1):
        came = gate.enter(gate.new_link(0.0, read_only=False), 1.0)
        assert came is not None
        cookies.append(came[0])
    assert gate.find(cookies[0], 2.0) is None
    assert gate.find(cookies[-1], 2.0) is not None


def test_form_token_of_one_session_is_not_that_of_another() -> None:
    gate = sessions()
    one, two = (gate.enter(gate.new_link(0.0, read_only=False), 0.0) for _ in range(2))
    assert one is not None and two is not None
    assert one[1].is_ours(one[1].csrf)
    assert not one[1].is_ours(two[1].csrf)
    assert not one[1].is_ours("")
    assert not one[1].is_ours("\udcff")  # a byte of a form that is no text


def test_notes_are_bounded() -> None:
    gate = sessions()
    came = gate.enter(gate.new_link(0.0, read_only=False), 0.0)
    assert came is not None
    for number in range(MAX_NOTES + 5):
        came[1].keep(str(number), {"text": ""})
    assert len(came[1].notes) == MAX_NOTES


# --- the PIN --------------------------------------------------------------------------------------------------------


def test_wrong_pins_have_to_wait_longer_and_longer() -> None:
    patience = Patience()
    for _ in range(4):
        patience.failed(0.0)
    assert patience.wait_s(0.0) == 0.0
    waits = []
    for _ in range(10):
        patience.failed(0.0)
        waits.append(patience.wait_s(0.0))
    assert waits[:3] == [30.0, 60.0, 120.0]
    assert waits[-1] == 3600.0
    patience.succeeded()
    assert patience.wait_s(0.0) == 0.0
