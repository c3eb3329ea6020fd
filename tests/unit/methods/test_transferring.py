"""A transfer as a person follows it does not run backwards."""

from __future__ import annotations

import trio
import trio.testing

from syncd.methods.transferring import Transfer


async def test_what_has_come_stays_come() -> None:
    """A file that is whole is for a moment neither on its way nor counted."""
    transfer = Transfer("photos", None)
    lines = [transfer.line(0, 4, done, 900) for done in (300, 900, 0, 900)]
    assert [line["bytes_done"] for line in lines] == [300, 900, 900, 900]


async def test_another_total_is_counted_anew() -> None:
    transfer = Transfer("photos", None)
    lines = [transfer.line(0, 4, 900, 900), transfer.line(1, 9, 200, 5000)]
    assert [(line["bytes_done"], line["bytes_total"]) for line in lines] == [(900, 900), (200, 5000)]


async def test_rate_is_that_of_the_last_seconds(autojump_clock: trio.testing.MockClock) -> None:
    transfer = Transfer("photos", "ben")
    transfer.line(0, 1, 0, 1000)
    await trio.sleep(5)
    line = transfer.line(0, 1, 500, 1000)
    assert (line["rate"], line["eta_s"], line["peer"]) == (100, 5, "ben")
