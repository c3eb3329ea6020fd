"""The rules of share links: when one ends, what proves it, how often somebody may guess."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ca.codec import decode_untrusted, encode
from ca.ids import FolderId
from ca.roles import Capability, LinkPolicy, Role, may_share_links
from syncd.engine import sharelinks
from syncd.engine.sharelinks import GUESSES, GUESSES_S, End, Guesses, ShareLink, Sums
from syncd.errors import CodecError
from syncd.model.ids import NodeId

NOW = 1_800_000_000
SECRET = sharelinks.secret_text(bytes(range(32)))
PASSWORD = "correct horse battery"
SALT = bytes(range(16))
DIGEST = sharelinks.password_digest(PASSWORD, SALT)

LINK = ShareLink(
    id=b"i" * 16,
    folder=FolderId(b"f" * 32),
    node=NodeId(b"n" * 32),
    name="x",
    is_directory=False,
    made=NOW,
    expires=NOW + 3_600,
    verifier=sharelinks.verifier_of(SECRET),
    salt=SALT,
    has_password=True,
    password=DIGEST,
    seen=NOW,
)


# --- W1, W2: what has ended ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("now", "lives"), [(NOW, True), (NOW + 3_599.9, True), (NOW + 3_600, False)])
def test_link_lives_until_its_second(now: float, lives: bool) -> None:
    link = sharelinks.passed(LINK, now)
    assert link.lives is lives
    assert sharelinks.shows_secret(link, SECRET) is lives


def test_w2_clock_that_is_set_back_brings_nothing_back() -> None:
    over = sharelinks.passed(LINK, NOW + 3_601)
    assert (over.end, over.ended) == (End.EXPIRED, NOW + 3_601)
    assert not sharelinks.passed(over, NOW - 86_400).lives
    seen = sharelinks.passed(LINK, NOW + 3_000)
    assert sharelinks.passed(seen, NOW - 86_400).seen == NOW + 3_000, "time goes on from where it was"


def test_first_reason_of_an_end_stays() -> None:
    revoked = sharelinks.ended(LINK, End.REVOKED, NOW + 5)
    assert sharelinks.ended(revoked, End.LEFT, NOW + 9) == revoked
    assert sharelinks.ended(LINK, End.REVOKED, NOW + 7_200).end is End.EXPIRED, "it had ended before"


def test_ended_link_is_listed_for_a_month() -> None:
    over = sharelinks.passed(LINK, NOW + 3_600)
    assert not sharelinks.is_forgotten(LINK, NOW + 400 * 86_400)
    assert not sharelinks.is_forgotten(over, over.ended + sharelinks.KEPT_S)
    assert sharelinks.is_forgotten(over, over.ended + sharelinks.KEPT_S + 1)


@pytest.mark.parametrize(
    "broken", [{"verifier": bytes(32)}, {"verifier": b""}, {"has_password": True, "password": b""}]
)
def test_w1_link_without_a_verifier_opens_for_nobody(broken: dict[str, bytes]) -> None:
    link = replace(LINK, **broken)  # type: ignore[arg-type]
    opens = sharelinks.shows_secret(link, SECRET) and sharelinks.fits_password(link, DIGEST)
    assert not opens
    assert not (sharelinks.shows_secret(link, "") and sharelinks.fits_password(link, b""))
    assert sharelinks.shows_secret(LINK, SECRET) and sharelinks.fits_password(LINK, DIGEST), "the sound one opens"


@pytest.mark.parametrize("place", [8, 10, 11])  # verifier, whether there is a password, its hash
def test_w1_row_of_a_link_without_what_opens_it_is_refused(place: int) -> None:
    value = decode_untrusted(sharelinks.pack(LINK), max_bytes=10_000)
    assert isinstance(value, list)
    value[place] = False if place == 10 else b""
    with pytest.raises(CodecError):
        sharelinks.unpack_untrusted(encode(value))


@pytest.mark.parametrize(
    "link", [LINK, replace(LINK, has_password=False, password=b"", most=3, used=2, end=End.LEFT, ended=NOW)]
)
def test_link_comes_back_from_disk_as_it_was(link: ShareLink) -> None:
    assert sharelinks.unpack_untrusted(sharelinks.pack(link)) == link
    assert SECRET.encode() not in sharelinks.pack(link)


# --- the proof -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["", SECRET[:-1], SECRET + "A", SECRET.lower(), SECRET + "\n", "\udc80", "é" * 43])
def test_wrong_secret_shows_nothing(typed: str) -> None:
    assert not sharelinks.shows_secret(LINK, typed)
    assert sharelinks.shows_secret(LINK, SECRET)


def test_link_that_is_not_there_shows_nothing() -> None:
    assert not sharelinks.shows_secret(None, SECRET)
    assert not sharelinks.shows_secret(None, "")


@pytest.mark.parametrize(
    "typed",
    ["", "\0", PASSWORD + "\0", PASSWORD.upper(), PASSWORD + " ", "x" * 1024, "x" * 1025, "x" * (1 << 20), "\udc80"],
)
def test_w5_odd_passwords_are_wrong_and_cost_the_same(typed: str) -> None:
    assert not sharelinks.fits_password(LINK, sharelinks.password_digest(typed, SALT))
    assert sharelinks.fits_password(LINK, sharelinks.password_digest(PASSWORD, SALT))


def test_w5_unicode_forms_of_a_password_are_one() -> None:
    composed, decomposed = "M\u00fcllerstra\u00dfe 7", "Mu\u0308llerstra\u00dfe 7"
    assert composed != decomposed
    assert sharelinks.password_digest(composed, SALT) == sharelinks.password_digest(decomposed, SALT)


@pytest.mark.parametrize(
    "weak",
    [
        "",
        "short",
        "aaaaaaaa",
        "12345678",
        "abcdefghi",
        "87654321",
        "abababab",
        "a" * 1025,
        "Password1!",
        "2026Sommer",
        "qwertzuiop",
        "19840512",
        "letmein123",
    ],
)
def test_weak_password_is_refused(weak: str) -> None:
    assert sharelinks.password_trouble(weak) is not None
    assert sharelinks.password_trouble(PASSWORD) is None


@pytest.mark.parametrize("typed", ["", "0" * 31, "0" * 33, "A" * 32, "g" * 32, "0" * 31 + "\n", "\u0661" * 32])
def test_w13_id_has_one_form(typed: str) -> None:
    assert sharelinks.id_untrusted(typed) is None
    assert sharelinks.id_untrusted("0a" * 16) == b"\n" * 16


# --- W6, W8: how often -----------------------------------------------------------------------------------------------


def test_w6_ten_thousand_guesses_get_ten_a_minute() -> None:
    guesses, looked_at = Guesses(), []
    for number in range(10_000):
        now = number * 0.03  # over five minutes
        if not guesses.wait_s("link", now):
            guesses.count("link", now)
            looked_at.append(now)
    for begin in looked_at:
        assert sum(begin <= one < begin + GUESSES_S for one in looked_at) <= GUESSES
    assert len(looked_at) == 5 * GUESSES, "and whoever waits gets the next ten"


def test_guess_that_was_right_is_given_back() -> None:
    guesses = Guesses(most=2)
    for now in range(20):
        assert guesses.wait_s("link", now) == 0
        guesses.count("link", now)()
    guesses.count("link", 20)
    guesses.count("link", 21)
    assert guesses.wait_s("link", 22) == 58
    assert guesses.wait_s("another", 22) == 0


def test_guesses_of_many_are_bounded() -> None:
    guesses = Guesses()
    for number in range(3 * sharelinks.MAX_GUESSED):
        guesses.count(number, 0.0)
    assert len(guesses._known) <= sharelinks.MAX_GUESSED


def test_what_happens_too_often_is_told_as_a_sum() -> None:
    sums = Sums(most=2, within_s=60)
    here, there = (b"i", "link.open"), (b"j", "link.open")
    assert [sums.may_tell(here, now) for now in range(5)] == [True, True, False, False, False]
    assert sums.may_tell(there, 5)
    assert sums.due(59) == []
    assert sums.due(65) == [(here, 3)], "and nothing of what was told"
    assert sums.due(65) == [] and sums.may_tell(here, 66), "it begins anew"


def test_download_is_counted_until_there_are_none() -> None:
    link: ShareLink | None = replace(LINK, most=3)
    for used in (1, 2, 3):
        assert link is not None
        link = sharelinks.taken(link)
        assert link is not None and link.used == used
    assert link is not None and link.is_used_up
    assert sharelinks.taken(link) is None
    assert not LINK.is_used_up and sharelinks.taken(LINK) is not None, "any number"
    assert sharelinks.taken(sharelinks.ended(LINK, End.REVOKED, NOW)) is None


# --- the policy ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "capabilities", "members", "everybody"),
    [
        (Role.OWNER, Capability.NONE, True, True),
        (Role.ADMIN, Capability.READ | Capability.LINKS, True, True),
        (Role.ADMIN, Capability.LINKS, False, False),  # cannot read what it would show
        (Role.ADMIN, Capability.READ, False, True),
        (Role.EDITOR, Capability.LINKS, True, True),
        (Role.EDITOR, Capability.NONE, False, True),
        (Role.VIEWER, Capability.NONE, False, True),
        (Role.VIEWER, Capability.LINKS, False, True),  # a viewer cannot hold it
        (Role.VAULT, Capability.NONE, False, False),
    ],
)
def test_who_may_make_links(role: Role, capabilities: Capability, members: bool, everybody: bool) -> None:
    assert may_share_links(role, capabilities, LinkPolicy.MEMBERS) is members
    assert may_share_links(role, capabilities, LinkPolicy.ALL) is everybody
    assert not may_share_links(role, capabilities, LinkPolicy.OFF)


@pytest.mark.parametrize(
    ("settings", "policy"),
    [({}, LinkPolicy.MEMBERS), ({32: 1}, LinkPolicy.ALL), ({32: 2}, LinkPolicy.OFF), ({32: 9}, LinkPolicy.OFF)],
)
def test_policy_that_is_not_known_allows_nothing(settings: dict[int, int], policy: LinkPolicy) -> None:
    assert sharelinks.policy_untrusted(settings) is policy


@pytest.mark.parametrize(
    ("settings", "longest"),
    [({}, 30 * 86_400), ({33: 0}, 30 * 86_400), ({33: 600}, 600), ({33: 1 << 60}, 3_650 * 86_400)],
)
def test_longest_life(settings: dict[int, int], longest: int) -> None:
    assert sharelinks.longest_untrusted(settings) == longest
