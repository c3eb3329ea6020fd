"""A disk that has heard of news is not said to have everything before somebody has looked what the news asks for."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from tests.helpers.tasks import World


async def test_who_has_heard_news_is_not_settled_before_it_has_planned(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(["ann", "ben"])
    ben, looks = world["ben"], [0]
    wrong: list[str] = []
    async with world.running():
        await world.settle()
        ground = ben.task
        is_due = [False]

        def wake_plan() -> None:
            is_due[0] = True
            wake()

        def looked(name: str) -> None:
            if is_due[0] and not ground.work:
                looks[0] += 1
                if ben.task.is_settled:
                    wrong.append(name)
            if "_db_plan" in name or "db_arrive" in name:
                is_due[0] = False

        wake = ground.wake_plan
        monkeypatch.setattr(ground, "wake_plan", wake_plan)
        ben.on_call = looked
        for number in range(2):
            world["ann"].disk.write((b"file",), b"%d" % number)
            await world.settle()
    assert looks[0] > 0
    assert wrong == []
