"""Limits of speed between real daemons: `syncd limits` at work."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.computers import Computer, sharing_computers, wait_equal, wait_until

FOLDER = "Films"
RATE = 1_500_000
OVER_S = 20.0
ACCURACY = 0.1
TIMEOUT_S = 60.0


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[Computer]]:
    with sharing_computers(("anna", "ben"), tmp_path, FOLDER) as group:
        yield group


@pytest.mark.slowest
@pytest.mark.parametrize(("limited", "option"), [(0, "--up"), (1, "--down")])
def test_limit_is_kept_within_a_tenth_over_twenty_seconds(pair: list[Computer], limited: int, option: str) -> None:
    shown = pair[limited].ask("limits", option, "1.5 MB/s")
    assert shown["now"][option.strip("-")] == RATE and shown["until"] is None
    anna, ben = pair
    size = int(RATE * OVER_S)
    (anna.folder / "film").write_bytes(os.urandom(size))
    wait_until(lambda: anna.transfer()["sent_bytes"] > 0, TIMEOUT_S, "nothing leaves")
    took_s = wait_until((ben.folder / "film").exists, TIMEOUT_S, "it does not arrive")
    assert size / took_s / RATE == pytest.approx(1, abs=ACCURACY)
    pair[limited].ask("limits", "--clear")
    wait_equal([one.folder for one in pair], TIMEOUT_S)


@pytest.mark.slowest
@pytest.mark.parametrize(
    ("limited", "option", "whom"), [(0, "--up", ("--peer", "ben")), (1, "--down", ("--folder", FOLDER))]
)
def test_limit_of_one_peer_or_folder_is_kept_within_a_tenth(
    pair: list[Computer], limited: int, option: str, whom: tuple[str, str]
) -> None:
    anna, ben = pair
    other = ("--peer", "carla") if whom[0] == "--peer" else ("--folder", "Songs")
    pair[limited].ask("limits", option, "20kB/s", *other)  # is of no concern here
    shown = pair[limited].ask("limits", option, "1.5 MB/s", *whom)
    assert shown["now"] == {"up": None, "down": None} and len(shown["only"]) == 2
    size = int(RATE * OVER_S)
    (anna.folder / "film").write_bytes(os.urandom(size))
    wait_until(lambda: anna.transfer()["sent_bytes"] > 0, TIMEOUT_S, "nothing leaves")
    took_s = wait_until((ben.folder / "film").exists, TIMEOUT_S, "it does not arrive")
    assert size / took_s / RATE == pytest.approx(1, abs=ACCURACY)
    assert len(pair[limited].ask("limits", "--clear", *whom)["only"]) == 1
    assert pair[limited].ask("limits", "--clear")["only"] == []


@pytest.mark.parametrize(("limited", "option"), [(0, "--up"), (1, "--down")])
def test_pause_lets_no_content_pass_but_news_and_clear_ends_it(pair: list[Computer], limited: int, option: str) -> None:
    anna, ben = pair
    pair[limited].ask("limits", option, "pause")
    (anna.folder / "book").write_bytes(os.urandom(300_000))
    wait_until(lambda: ben.ask("status")["folders"][0]["need"]["files"] == 1, TIMEOUT_S, "ben hears of nothing")
    assert ben.transfer()["received_bytes"] < 10_000 and not (ben.folder / "book").exists()
    pair[limited].ask("limits", "--clear")
    wait_equal([one.folder for one in pair], TIMEOUT_S)


def test_mistake_is_refused_and_changes_nothing(pair: list[Computer]) -> None:
    anna, _ = pair
    refused = anna.run("limits", "--up", "fast")
    assert refused.returncode == 11 and "kB/s" in refused.stderr
    refused = anna.run("limits", "--at", "someday 08:00-18:00 up=pause")
    assert refused.returncode == 11 and "someday" in refused.stderr
    assert anna.ask("limits")["now"] == {"up": None, "down": None}


def test_mistake_beside_what_is_right_changes_nothing(pair: list[Computer]) -> None:
    anna, _ = pair
    anna.ask("limits", "--up", "5MB/s", "--at", "mon-fri 08:00-18:00 up=1MB/s")
    before = anna.ask("limits")
    for wrong in (
        ["--clear", "--up", "banana"],
        ["--up", "1MB/s", "--at", "whenever"],
        ["--up", "2MB/s", "--down", "-5"],
    ):
        refused = anna.run("limits", *wrong)
        assert refused.returncode == 11, refused.stderr
        assert anna.ask("limits") == before, wrong
    anna.ask("limits", "--clear")


def test_schedule_is_added_to_and_shown(pair: list[Computer]) -> None:
    anna, _ = pair
    anna.ask("limits", "--at", "mon-sun 00:00-24:00 up=500kB/s")
    another_day = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[(time.localtime().tm_wday + 3) % 7]
    shown = anna.ask("limits", "--at", f"{another_day} 10:00-12:00 down=pause", "--down", "2MB/s")
    assert shown["now"] == {"up": 500_000, "down": 2_000_000} and len(shown["schedule"]) == 2
    assert "500 kB/s" in anna.run("limits").stdout
