"""Which situation is worth telling, and under which key it is told once."""

from __future__ import annotations

import pytest

from syncd.config import CONDITION_DEFAULTS, Condition
from syncd.methods.alarms import Disk, FolderSituation, PeerSituation, Situation, alarms

DAY = 86_400.0
NOW = 1_800_000_000.0
ALL = tuple((name, limit) for name, limit in CONDITION_DEFAULTS.items() if name != "digest")


def folder(**known: object) -> FolderSituation:
    return FolderSituation("Photos", NOW - 10 * DAY, **known)  # type: ignore[arg-type]


FINE = Situation(
    (
        folder(
            certificate_since=NOW - DAY,
            peers=[PeerSituation("ben", True, NOW - 9 * DAY), PeerSituation("nas", False, NOW - DAY)],
        ),
    ),
    (),
    (Disk("/data", 50.0),),
)


def test_nothing_is_told_of_a_healthy_device() -> None:
    assert alarms(FINE, ALL, NOW) == {}


@pytest.mark.parametrize(
    ("situation", "condition", "words"),
    [
        (Situation((folder(peers=[PeerSituation("nas", False, NOW - 4 * DAY)]),)), "stale", "nas was not seen for 4.0"),
        (Situation((folder(peers=[PeerSituation("new", False, None)]),)), "stale", "new was not seen for 10.0"),
        (Situation((folder(conflicts=2),)), "conflict", "2 files"),
        (Situation((folder(held=1200),)), "mass-delete", "1200 files would vanish"),
        (Situation((folder(problems=[("SY-FILE-01", "x: denied")]),)), "error", "Photos: x: denied"),
        (Situation((), [("SY-NET-03", "no multicast")]), "error", "no multicast"),
        (Situation((folder(certificate_since=NOW - 401 * DAY),)), "certificate", "401 days old"),
        (Situation((), (), (Disk("/data", 4.9),)), "disk", "4.9 % are free"),
        (Situation((folder(in_sync_at=NOW - 2 * DAY),)), "behind", "not in sync for 2.0 days"),
        (Situation((folder(copies=1),)), "copies", "1 of 2 computers"),
        (Situation(refused=101), "refused", "101 connections or requests"),
    ],
)
def test_trouble_is_told_with_what_to_do(situation: Situation, condition: Condition, words: str) -> None:
    (alarm,) = alarms(situation, ALL, NOW).values()
    assert alarm.condition == condition
    assert words in alarm.text
    assert alarm.fix
    others = [pair for pair in ALL if pair[0] != condition]
    assert alarms(situation, others, NOW) == {}, "who did not ask for it is not told"


def test_copies_that_cannot_be_known_yet_are_no_alarm() -> None:
    assert alarms(Situation((folder(copies=None),)), ALL, NOW) == {}
    assert alarms(Situation((folder(copies=2, in_sync_at=NOW),), refused=100), ALL, NOW) == {}


def test_digest_comes_once_in_each_period_and_says_how_everything_is() -> None:
    peers = [PeerSituation("nas", False, NOW - DAY)]
    situation = Situation((folder(state="synced", copies=2, conflicts=1, peers=peers),))
    (told,) = alarms(situation, (("digest", DAY),), NOW).values()
    assert told.text == "Photos: synced, 2 full copies, 1 conflicts, not connected: nas"
    keys = {next(iter(alarms(situation, (("digest", DAY),), NOW + hour * 3600))) for hour in range(72)}
    assert len(keys) in (3, 4)


def test_limits_are_those_of_the_hook() -> None:
    situation = Situation((folder(peers=[PeerSituation("nas", False, NOW - 2 * DAY)]),), (), (Disk("/data", 8.0),))
    assert alarms(situation, ALL, NOW) == {}
    assert len(alarms(situation, (("stale", DAY), ("disk", 10.0)), NOW)) == 2


def test_more_conflicts_are_another_alarm_and_a_longer_silence_is_not() -> None:
    one, two = (Situation((folder(conflicts=count),)) for count in (1, 2))
    assert alarms(one, ALL, NOW).keys() != alarms(two, ALL, NOW).keys()
    silent = Situation((folder(peers=[PeerSituation("nas", False, NOW - 4 * DAY)]),))
    assert alarms(silent, ALL, NOW).keys() == alarms(silent, ALL, NOW + DAY).keys()
