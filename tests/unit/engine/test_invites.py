"""What an open code or link lets happen, and what it must not."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from ca.ids import DeviceId, FolderId
from ca.roles import Role
from ca.words import WORDS
from syncd.engine.invites import (
    CODE_LIFETIME_S,
    MAX_OPEN_CODES,
    REDELIVERY_S,
    Claim,
    Invite,
    Outcome,
    Why,
    admit,
    answers,
    claim,
    deliver,
    deny,
    is_admitted,
    is_over,
    new_code,
    new_link,
    numbers_on_air,
    pack,
    prove,
    revoke,
    start_attempt,
    unpack_untrusted,
)
from syncd.errors import CodecError, ConfigError
from syncd.protocol.invitation import Refusal

NOW = 1_800_000_000
FOLDER = FolderId(b"f" * 32)
ANNA, BEN, EVE = (DeviceId(name * 32) for name in (b"a", b"b", b"e"))


def code(seed: int = 1) -> Invite:
    return new_code([], FOLDER, Role.EDITOR, NOW, Random(seed).randbytes)


def link(*, uses: int = 1, asks: bool = False) -> Invite:
    return new_link(FOLDER, Role.VIEWER, NOW, Random(1).randbytes, uses=uses, asks=asks)


def granted(outcome: Outcome) -> Invite:
    invite, why = outcome
    assert why is None
    return invite


def refused(outcome: Outcome) -> Why | None:
    return outcome[1]


def proved(invite: Invite, device: DeviceId, now: int = NOW) -> Invite:
    if invite.is_code:
        invite = granted(start_attempt(invite, now))
    return granted(prove(invite, device, now, may_admit=True))


def claimed(invite: Invite, device: DeviceId) -> Invite:
    return granted(claim(proved(invite, device), device, NOW, may_admit=True))


def admitted(invite: Invite, device: DeviceId) -> Invite:
    return granted(admit(claimed(invite, device), device, NOW, may_admit=True))


# --- codes -----------------------------------------------------------------------------------------------------------


def test_code_is_a_number_and_three_words_for_fifteen_minutes() -> None:
    invite = code()
    assert 1 <= invite.number <= 99
    assert len(invite.words) == 3 and set(invite.words) <= set(WORDS)
    assert invite.expires == NOW + CODE_LIFETIME_S
    assert (invite.asks, invite.uses) == (True, 1)


def test_three_wrong_guesses_burn_a_code() -> None:
    invite = code()
    for left in (2, 1, 0):
        assert answers(invite, NOW)
        invite = granted(start_attempt(invite, NOW))
        assert invite.guesses_left == left
    assert refused(start_attempt(invite, NOW)) is Why.BURNT
    assert not answers(invite, NOW)


def test_third_guess_may_be_the_right_one() -> None:
    invite = code()
    for _ in range(3):
        invite = granted(start_attempt(invite, NOW))
    invite = granted(prove(invite, ANNA, NOW, may_admit=True))
    assert granted(claim(invite, ANNA, NOW, may_admit=True)).claims == {ANNA: Claim.WAITING}


def test_right_guess_gives_back_one_attempt_and_no_more() -> None:
    invite = granted(start_attempt(code(), NOW))  # by somebody who guesses
    assert claimed(invite, ANNA).attempts == 1


def test_code_serves_one_device() -> None:
    invite = claimed(code(), ANNA)
    outcome = prove(granted(start_attempt(invite, NOW)), EVE, NOW, may_admit=True)
    assert refused(outcome) is Why.USED
    assert refused(claim(invite, EVE, NOW, may_admit=True)) is Why.USED
    assert refused(admit(invite, EVE, NOW, may_admit=True)) is Why.DENIED


def test_used_code_answers_nobody_after_delivery() -> None:
    invite = deliver(admitted(code(), ANNA), ANNA)
    assert not answers(invite, NOW)
    assert refused(start_attempt(invite, NOW)) is Why.USED


def test_denied_code_is_over() -> None:
    invite = deny(claimed(code(), EVE), EVE)
    assert not answers(invite, NOW)
    assert refused(start_attempt(invite, NOW)) is Why.REVOKED


def test_expired_code_is_refused_to_the_second() -> None:
    invite = code()
    assert refused(start_attempt(invite, invite.expires - 1)) is None
    assert refused(start_attempt(invite, invite.expires)) is Why.EXPIRED


def test_code_that_expires_while_a_person_thinks_admits_nobody() -> None:
    invite = claimed(code(), ANNA)
    assert refused(admit(invite, ANNA, invite.expires, may_admit=True)) is Why.EXPIRED


def test_open_codes_have_different_numbers() -> None:
    random = Random(7).randbytes
    invites: list[Invite] = []
    for _ in range(MAX_OPEN_CODES):
        invites.append(new_code(invites, FOLDER, Role.EDITOR, NOW, random))
    assert len(set(numbers_on_air(invites, NOW))) == MAX_OPEN_CODES
    with pytest.raises(ConfigError, match="too many"):
        new_code(invites, FOLDER, Role.EDITOR, NOW, random)
    new_code(invites, FOLDER, Role.EDITOR, NOW + CODE_LIFETIME_S, random)


def test_number_is_announced_only_while_the_code_is_open() -> None:
    invite = code()
    assert numbers_on_air([invite, link()], NOW) == (invite.number,)
    assert numbers_on_air([invite], invite.expires) == ()
    assert numbers_on_air([revoke(invite)], NOW) == ()


# --- links -----------------------------------------------------------------------------------------------------------


def test_link_serves_as_many_devices_as_it_says() -> None:
    invite = admitted(admitted(link(uses=2), ANNA), BEN)
    assert invite.uses_left == 0
    assert refused(prove(invite, EVE, NOW, may_admit=True)) is Why.USED


def test_more_may_ask_than_get_in() -> None:
    invite = claimed(claimed(link(uses=1, asks=True), ANNA), BEN)
    invite = granted(admit(invite, BEN, NOW, may_admit=True))
    assert refused(admit(invite, ANNA, NOW, may_admit=True)) is Why.USED


def test_denied_device_cannot_ask_again_and_others_can() -> None:
    invite = deny(claimed(link(uses=2, asks=True), EVE), EVE)
    assert refused(prove(invite, EVE, NOW, may_admit=True)) is Why.DENIED
    assert refused(prove(invite, ANNA, NOW, may_admit=True)) is None


@pytest.mark.parametrize("invite", [code(), link()], ids=["code", "link"])
def test_invitation_dies_with_the_right_of_its_maker(invite: Invite) -> None:
    assert refused(prove(invite, ANNA, NOW, may_admit=False)) is Why.FORBIDDEN
    assert refused(claim(proved(invite, ANNA), ANNA, NOW, may_admit=False)) is Why.FORBIDDEN
    assert refused(admit(claimed(invite, ANNA), ANNA, NOW, may_admit=False)) is Why.FORBIDDEN


@pytest.mark.parametrize("invite", [code(), link()], ids=["code", "link"])
def test_revoked_invitation_refuses_even_who_waits(invite: Invite) -> None:
    assert refused(prove(revoke(invite), ANNA, NOW, may_admit=True)) is Why.REVOKED
    assert refused(admit(revoke(claimed(invite, ANNA)), ANNA, NOW, may_admit=True)) is Why.REVOKED


@pytest.mark.parametrize("uses", [0, 1_001])
def test_link_for_no_or_too_many_joins_is_not_made(uses: int) -> None:
    with pytest.raises(ConfigError):
        link(uses=uses)


# --- coming back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("invite", [code(), link(asks=True)], ids=["code", "link"])
def test_who_waited_is_recognised_and_waits_on(invite: Invite) -> None:
    invite = claimed(invite, ANNA)
    assert claimed(invite, ANNA) == invite


@pytest.mark.parametrize("invite", [code(), link()], ids=["code", "link"])
def test_admission_is_given_again_until_it_arrived(invite: Invite) -> None:
    invite = revoke(admitted(invite, ANNA))
    late = invite.expires + REDELIVERY_S - 1
    assert answers(invite, late)
    again = granted(claim(proved(invite, ANNA, late), ANNA, late, may_admit=True))
    assert is_admitted(again, ANNA)
    assert not answers(deliver(again, ANNA), late)
    assert refused(prove(deliver(again, ANNA), ANNA, late, may_admit=True)) is Why.USED


def test_redelivery_ends_after_a_day() -> None:
    invite = admitted(link(), ANNA)
    late = invite.expires + REDELIVERY_S
    assert refused(prove(invite, ANNA, late, may_admit=True)) is Why.USED
    assert is_over(invite, late)


def test_redelivery_lets_nobody_else_in() -> None:
    invite = admitted(code(), ANNA)
    outcome = prove(granted(start_attempt(invite, NOW)), EVE, NOW, may_admit=True)
    assert refused(outcome) is Why.USED


def test_guesses_are_limited_during_redelivery_too() -> None:
    invite = admitted(code(), ANNA)
    for _ in range(3):
        invite = granted(start_attempt(invite, invite.expires))
    assert refused(start_attempt(invite, invite.expires)) is Why.BURNT


def test_invitation_is_kept_until_no_connection_of_it_can_live() -> None:
    invite = revoke(code())
    assert not is_over(invite, NOW)
    assert is_over(invite, invite.expires + REDELIVERY_S)


# --- on disk ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "invite",
    [code(), deny(claimed(code(), EVE), EVE), admitted(claimed(link(uses=3), EVE), ANNA), replace(link(), attempts=3)],
)
def test_disk_gives_back_what_was_written(invite: Invite) -> None:
    assert unpack_untrusted(pack(invite)) == invite


@pytest.mark.parametrize("packed", [b"", b"\x80", pack(code())[:-1], pack(code()) + b"\0"])
def test_what_was_never_written_is_not_read(packed: bytes) -> None:
    with pytest.raises(CodecError):
        unpack_untrusted(packed)


def test_every_reason_can_be_said_to_the_joiner() -> None:
    assert {why.name for why in Why} <= {refusal.name for refusal in Refusal}
