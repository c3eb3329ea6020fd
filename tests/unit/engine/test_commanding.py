"""A command works once, for the device it names, while it is fresh and its signer has the right; else not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ca.ids import DeviceId, EntryHash
from syncd.engine.commanding import CLOCK_SLACK_MS, LIFETIME_MS, Claim, Standing, judge
from syncd.errors import TrustError

US, ADMIN = DeviceId(b"u" * 32), DeviceId(b"a" * 32)
HEAD = EntryHash(b"h" * 32)
NOW = 1_800_000_000_000
CLAIM = Claim(US, b"n" * 16, NOW, NOW + LIFETIME_MS, HEAD, ADMIN)
STANDING = Standing(US, HEAD, signer_may=True, opted_in=True, seen=set(), latest_ms={})


def test_fresh_command_of_somebody_with_the_right_is_obeyed() -> None:
    judge(CLAIM, STANDING, NOW + 1000)


def test_command_after_an_earlier_one_is_obeyed() -> None:
    judge(CLAIM, replace(STANDING, seen={b"o" * 16}, latest_ms={ADMIN: NOW - 1}), NOW)


@pytest.mark.parametrize(
    ("claim", "standing", "now", "why"),
    [
        (replace(CLAIM, target=DeviceId(b"x" * 32)), STANDING, NOW, "another device"),
        (CLAIM, replace(STANDING, signer_may=False), NOW, "may not restore"),
        (replace(CLAIM, roster_head=EntryHash(b"o" * 32)), STANDING, NOW, "another state"),
        (CLAIM, replace(STANDING, seen={CLAIM.nonce}), NOW, "obeyed before"),
        (CLAIM, replace(STANDING, latest_ms={ADMIN: NOW}), NOW, "later one"),
        (CLAIM, replace(STANDING, latest_ms={ADMIN: NOW + 5}), NOW, "later one"),
        (CLAIM, STANDING, NOW - CLOCK_SLACK_MS - 1, "future"),
        (CLAIM, STANDING, NOW + LIFETIME_MS + 1, "too old"),
        (replace(CLAIM, expires_ms=NOW + 10 * LIFETIME_MS), STANDING, NOW, "too old"),
    ],
)
def test_any_other_command_is_refused(claim: Claim, standing: Standing, now: int, why: str) -> None:
    with pytest.raises(TrustError) as refused:
        judge(claim, standing, now)
    assert refused.value.id == "SY-CMD-01"
    assert why in (refused.value.why or "")


def test_device_that_was_not_told_to_obey_does_not() -> None:
    with pytest.raises(TrustError) as refused:
        judge(CLAIM, replace(STANDING, opted_in=False), NOW)
    assert refused.value.id == "SY-CMD-02"


def test_one_signers_commands_say_nothing_about_anothers() -> None:
    judge(CLAIM, replace(STANDING, latest_ms={DeviceId(b"b" * 32): NOW + 99}), NOW)
