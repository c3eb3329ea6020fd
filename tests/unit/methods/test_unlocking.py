"""The gate before a locked daemon, while nobody said the passphrase, and while the daemon behind it starts."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ca import homekey, keyfiles
from ca.custody import Custody
from syncd.config import load_settings
from syncd.errors import ConfigError
from syncd.methods.unlocking import Gate
from syncd.workers import ThreadWorkers

RIGHT, WRONG = "nine tall ships sail", "eight small boats sink"


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    monkeypatch.setattr(homekey, "_MEMORY_KIB", 256)
    monkeypatch.setattr(homekey, "_PASSES", 1)
    device = keyfiles.load_or_create(tmp_path, os.urandom).id
    Custody.open(tmp_path, os.urandom).protect(RIGHT, device)
    return Gate(load_settings(tmp_path), Custody.open(tmp_path, os.urandom), ThreadWorkers(), 0.0)


class Daemon:
    """What answers once it has started."""

    async def call(self, name: str, params: Mapping[str, Any], progress: Callable[..., Awaitable[None]]) -> Any:
        return {"called": name}


async def silent(progress: Mapping[str, Any]) -> None:
    """There is nothing to tell."""


def refusal(raised: pytest.ExceptionInfo[ConfigError]) -> str | None:
    return raised.value.id


async def test_wrong_passphrase_opens_nothing_also_while_the_daemon_starts(gate: Gate) -> None:
    with pytest.raises(ConfigError) as raised:
        await gate.call("key.unlock", {"passphrase": WRONG}, silent)
    assert refusal(raised) == "SY-KEY-11" and gate.custody.is_locked
    answers = []

    async def ask(passphrase: str) -> None:
        answers.append((await gate.call("key.unlock", {"passphrase": passphrase}, silent))["unlocked"])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, RIGHT)
        await wait_all_tasks_blocked()
        with pytest.raises(ConfigError) as raised:
            await gate.call("key.unlock", {"passphrase": WRONG}, silent)
        assert refusal(raised) == "SY-KEY-11"
        nursery.start_soon(ask, RIGHT)
        await wait_all_tasks_blocked(0.05)
        assert answers == []  # nobody is told that it is done before the daemon answers
        gate.open(Daemon(), None)  # type: ignore[arg-type]
    assert sorted(answers) == [False, True]


async def test_daemon_that_starts_does_not_say_that_it_is_locked(gate: Gate) -> None:
    assert (await gate.call("status", {}, silent))["keys"]["locked"] is True
    with pytest.raises(ConfigError) as raised:
        await gate.call("folders", {}, silent)
    assert refusal(raised) == "SY-KEY-10"
    assert await gate.try_unlock(RIGHT) is True
    answers = []

    async def ask(name: str) -> None:
        answers.append((await gate.call(name, {}, silent))["called"])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, "status")
        nursery.start_soon(ask, "folders")
        await wait_all_tasks_blocked(0.05)
        assert answers == []
        gate.open(Daemon(), None)  # type: ignore[arg-type]
    assert sorted(answers) == ["folders", "status"]


async def test_daemon_that_starts_ends_when_it_is_told_to(gate: Gate) -> None:
    await gate.try_unlock(RIGHT)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gate.end_when_stopped, nursery.cancel_scope)
            nursery.start_soon(trio.sleep_forever)  # it starts
            assert (await gate.call("stop", {}, silent))["pid"] == os.getpid()
