"""Bytes by peer and time."""

from __future__ import annotations

from ca.ids import DeviceId
from syncd.folder.traffic import MAX_PEERS, SPANS, Traffic

BEN, CARLA = DeviceId(b"b" * 32), DeviceId(b"c" * 32)


def test_bytes_fall_into_the_step_in_which_they_moved() -> None:
    traffic = Traffic()
    traffic.note(BEN, 100, 0)
    traffic.note(BEN, 20, 3)
    traffic.sample(1005.0)
    traffic.note(CARLA, 0, 7)
    traffic.sample(1031.0)
    series = traffic.series("15m", 1032.0)
    assert series[BEN][-4:] == [(120, 3), (0, 0), (0, 0), (0, 0)]
    assert series[CARLA][-1] == (0, 7)
    assert all(len(steps) == SPANS["15m"].steps for steps in series.values())


def test_old_steps_are_forgotten_span_by_span() -> None:
    traffic = Traffic()
    traffic.note(BEN, 100, 0)
    traffic.sample(1000.0)
    traffic.sample(1000.0 + 3600)
    assert traffic.series("15m", 4600.0) == {}
    assert sum(received for received, _ in traffic.series("24h", 4600.0)[BEN]) == 100
    traffic.sample(1000.0 + 40 * 86_400)
    assert traffic.series("30d", 1000.0 + 40 * 86_400) == {}


def test_peers_are_bounded() -> None:
    traffic = Traffic()
    for number in range(MAX_PEERS + 10):
        traffic.note(DeviceId(number.to_bytes(32, "big")), 1, 1)
    traffic.sample(5.0)
    assert len(traffic.series("15m", 5.0)) == MAX_PEERS
