"""The pictures of the page, as numbers."""

from __future__ import annotations

import itertools
import math

import pytest

from syncd.web import pictures

PEER = {"name": "ben", "connected": True, "receive_rate": 0.0, "send_rate": 0.0}


def run(state: str, blocks: int, by: str | None = None, holders: int = 0) -> dict[str, object]:
    return {"state": state, "blocks": blocks, "by": by, "holders": holders}


def test_strip_fills_its_width_in_the_order_of_the_file() -> None:
    bars = pictures.strip([run("have", 5), run("arriving", 1, "ben"), run("held", 3, None, 2), run("nobody", 1)])
    assert [bar.kind for bar in bars] == ["have", "arriving from0", "held", "nobody"]
    assert bars[0].x == 0
    for bar, following in itertools.pairwise(bars):
        assert math.isclose(bar.x + bar.width, following.x, abs_tol=0.02)
    assert math.isclose(bars[-1].x + bars[-1].width, 600, abs_tol=0.02)
    assert [bar.title for bar in bars] == [
        "Blocks 1 to 5: here",
        "Block 6: arriving from ben",
        "Blocks 7 to 9: waiting, 2 peers can send it",
        "Block 10: nobody connected has it",
    ]


def test_strip_says_hostile_names_plainly() -> None:
    (bar,) = pictures.strip([run("arriving", 1, "\x1b[2J\u202egpj")])
    assert bar.title == "Block 1: arriving from \\x1b[2J\\u202egpj"


@pytest.mark.parametrize("number", [1, 2, 3, 12])
def test_ring_keeps_peers_apart_and_inside(number: int) -> None:
    spokes = pictures.ring([PEER] * number)
    places = {(spoke.x, spoke.y) for spoke in spokes}
    assert len(places) == number
    assert all(20 <= x <= 540 and 20 <= y <= 360 for x, y in places)


def test_faster_line_is_wider() -> None:
    widths = [pictures.line_width(rate) for rate in (0, 500, 1e4, 1e6, 1e8)]
    assert widths == sorted(widths)
    assert widths[0] == widths[1] == 1.5


def traffic(*peers: tuple[str, list[int], list[int]]) -> dict[str, object]:
    return {"step_s": 10.0, "peers": [{"name": name, "received": down, "sent": up} for name, down, up in peers]}


def test_chart_stacks_what_came_above_and_what_went_below_the_line() -> None:
    chart = pictures.traffic_chart(traffic(("ben", [0, 50], [0, 0]), ("carla", [0, 50], [100, 0])))
    above = [bar for bar in chart.bars if bar.y + bar.height <= chart.middle + 0.01]
    below = [bar for bar in chart.bars if bar.y >= chart.middle - 0.01]
    assert (len(above), len(below)) == (2, 1)
    assert len({bar.x for bar in above}) == 1
    assert chart.top == "10 B/s"
    assert all(bar.y >= 0 and bar.y + bar.height <= chart.height for bar in chart.bars)


def test_chart_of_many_peers_shows_the_rest_as_one() -> None:
    chart = pictures.traffic_chart(traffic(*((f"peer{number}", [number], [0]) for number in range(1, 20))))
    assert [name for _, name in chart.names] == [
        "peer19",
        "peer18",
        "peer17",
        "peer16",
        "peer15",
        "peer14",
        "13 others",
    ]


def test_nothing_makes_an_empty_chart() -> None:
    assert pictures.traffic_chart(traffic()).bars == []
    assert pictures.sparkline([]) == ""
    assert pictures.timeline([]) == []


def test_timeline_stacks_kinds_upwards() -> None:
    bins = [{"began": "2026-11-20T10:00:00Z", "added": 2, "changed": 1, "moved": 0, "deleted": 0}]
    added, changed = pictures.timeline(bins)
    assert added.y > changed.y
    assert changed.title == "2026-11-20 10:00: 1 changed"


def test_qr_code_has_a_quiet_margin() -> None:
    code = pictures.qr("syncd:" + "a" * 60)
    assert code.side > 29
    assert "M0 0" not in code.path and "M4 4h" in code.path
