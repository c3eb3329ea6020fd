"""Pure. The pictures of the page as numbers: where bars, arcs and lines go. The templates draw them as SVG.

Every picture stands beside a table with the same data, so nothing here has to be read from a shape alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import segno

from ca.values import dataclass
from syncd import wording
from syncd.protocol.links import qr_form

Json = Mapping[str, Any]

RING_PEERS: Final = 12
"""More than these are a matrix."""
RING_CENTRE: Final = (280.0, 190.0)
RING_RADIUS: Final = (220.0, 145.0)
STACKED: Final = 6
"""Peers with a colour of their own in a chart; the others are one."""
QUIET_MODULES: Final = 4


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle of a picture, in its own units. `kind` is a class of the style sheet, `title` says it in words."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str = ""


# --- block strip ---------------------------------------------------------------------------------------------------

SENDERS: Final = 3
"""Hatchings for peers that are sending; with more of them, some share one."""
STRIP_WORDS: Final = {"have": "here", "arriving": "arriving", "held": "waiting", "nobody": "nobody connected has it"}


def strip(runs: Iterable[Json], width: float = 600.0, height: float = 14.0) -> list[Bar]:
    """One row of blocks: `runs` are `{"state", "blocks", "by", "holders"}` in the order of the file."""
    runs = list(runs)
    senders = sorted({run["by"] for run in runs if run.get("by")})
    total = sum(run["blocks"] for run in runs) or 1
    bars, at = [], 0
    for run in runs:
        x, wide = at * width / total, run["blocks"] * width / total
        kind = f"arriving from{senders.index(run['by']) % SENDERS}" if run.get("by") else run["state"]
        bars.append(Bar(round(x, 2), 0, round(max(wide, 0.5), 2), height, kind, run_words(run, at)))
        at += run["blocks"]
    return bars


def run_words(run: Json, at: int) -> str:
    """`Blocks 13 to 20: arriving from ben`."""
    last = at + run["blocks"]
    which = f"Block {last:,}" if run["blocks"] == 1 else f"Blocks {at + 1:,} to {last:,}"
    words = STRIP_WORDS[run["state"]]
    if run["state"] == "arriving" and run.get("by"):
        words += f" from {wording.escape(run['by'])}"
    if run["state"] == "held":
        words += f", {wording.count(run.get('holders') or 0, 'peer')} can send it"
    return f"{which}: {words}"


# --- network -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spoke:
    """A peer on the ring: its place, the line from us to it, and what it is."""

    peer: Json
    x: float
    y: float
    label_y: float
    line_width: float
    kind: str
    title: str


def ring(peers: Sequence[Json]) -> list[Spoke]:
    """Peers around us, from the left; a line is as wide as its rate, by powers of ten."""
    spokes = []
    for number, peer in enumerate(peers):
        angle = math.pi + 2 * math.pi * number / len(peers)
        x, y = RING_CENTRE[0] + RING_RADIUS[0] * math.cos(angle), RING_CENTRE[1] + RING_RADIUS[1] * math.sin(angle)
        rate = peer.get("receive_rate", 0) + peer.get("send_rate", 0)
        kind = "linked" if peer["connected"] else "apart"
        spokes.append(
            Spoke(peer, round(x, 1), round(y, 1), round(y + 38, 1), line_width(rate), kind, _spoke_words(peer, rate))
        )
    return spokes


def line_width(rate: float) -> float:
    """1.5 at rest, one more for each power of ten above a kilobyte a second."""
    return round(1.5 + max(0.0, math.log10(rate / 1e3)) if rate > 0 else 1.5, 2)


def _spoke_words(peer: Json, rate: float) -> str:
    away = f"reached through {', '.join(peer['through'])}" if peer.get("through") else "not connected"
    state = f"connected, {wording.rate(rate)}" if peer["connected"] else wording.escape(away)
    return f"{wording.escape(peer['name'])}: {state}"


# --- traffic -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars over time: received upwards, sent downwards from the middle line."""

    bars: list[Bar]
    names: list[tuple[str, str]]
    """(class, name) of each series."""
    top: str
    """What the upper edge stands for."""
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.height / 2


def traffic_chart(traffic: Json, width: float = 720.0, height: float = 240.0) -> Chart:
    """Stacked bars: for each step what came from each peer, and below the line what went there."""
    series = _stacked_peers(traffic["peers"])
    steps = max((len(peer["received"]) for peer in series), default=0)
    tallest = max(
        (sum(peer[way][step] for peer in series) for way in ("received", "sent") for step in range(steps)), default=0
    )
    scale = (height / 2 - 6) / tallest if tallest else 0.0
    bars = []
    for way, sign in (("received", -1), ("sent", 1)):
        for step in range(steps):
            reached = 0.0
            for number, peer in enumerate(series):
                tall = peer[way][step] * scale
                if tall <= 0:
                    continue
                y = height / 2 - reached - tall if sign < 0 else height / 2 + reached
                x = step * width / steps
                words = f"{wording.escape(peer['name'])}: {way} {wording.size(peer[way][step])}"
                bars.append(
                    Bar(round(x, 2), round(y, 2), round(width / steps - 1, 2), round(tall, 2), f"s{number}", words)
                )
                reached += tall
    names = [(f"s{number}", wording.escape(peer["name"])) for number, peer in enumerate(series)]
    return Chart(bars, names, wording.rate(tallest / traffic["step_s"]), width, height)


def _stacked_peers(peers: Sequence[Json]) -> list[Json]:
    """The busiest first; from the seventh on they are one."""
    busiest = sorted(peers, key=lambda peer: -sum(peer["received"]) - sum(peer["sent"]))
    first, rest = busiest[:STACKED], busiest[STACKED:]
    if not rest:
        return first
    merged = {way: [sum(step) for step in zip(*(peer[way] for peer in rest), strict=True)] for way in TRAFFIC_WAYS}
    return [*first, {"name": f"{len(rest)} others", **merged}]


TRAFFIC_WAYS: Final = ("received", "sent")


def sparkline(values: Sequence[float], width: float = 240.0, height: float = 40.0) -> str:
    """The points of a line that fills the picture; flat at the bottom when all is zero."""
    if not values:
        return ""
    most = max(values) or 1.0
    step = width / max(1, len(values) - 1)
    return " ".join(
        f"{at * step:.1f},{height - 2 - value / most * (height - 4):.1f}" for at, value in enumerate(values)
    )


def totals(traffic: Json, way: str) -> list[float]:
    """Of all peers together, step by step."""
    return [float(sum(step)) for step in zip(*(peer[way] for peer in traffic["peers"]), strict=True)]


# --- history -------------------------------------------------------------------------------------------------------

TIMELINE_KINDS: Final = ("added", "changed", "moved", "deleted")


def timeline(bins: Sequence[Json], width: float = 720.0, height: float = 120.0) -> list[Bar]:
    """Stacked bars of changes over time: `bins` are `{"began"}` and a number for each kind, the oldest first."""
    return stacked(bins, TIMELINE_KINDS, len("2026-11-21T12:00"), width, height)


def stacked(bins: Sequence[Json], kinds: Sequence[str], digits: int, width: float, height: float) -> list[Bar]:
    """One bar for each step of time, in a part for each kind; `digits` of its beginning are told."""
    tallest = max((sum(found[kind] for kind in kinds) for found in bins), default=0)
    bars = []
    for number, found in enumerate(bins):
        y, wide = height, width / len(bins)
        for kind in kinds:
            tall = found[kind] / tallest * (height - 8) if tallest else 0.0
            if tall > 0:
                y -= max(tall, 1.0)
                words = f"{found['began'][:digits].replace('T', ' ')}: {found[kind]:,} {kind}"
                bars.append(Bar(round(number * wide, 2), round(y, 2), round(wide - 1, 2), round(tall, 2), kind, words))
    return bars


# --- storage and audit ---------------------------------------------------------------------------------------------

HAPPENED: Final = ("event", "audit", "admin", "operator", "fault")
SQUARE: Final = 16.0


def parts(pieces: Sequence[tuple[str, int, str]], width: float = 600.0) -> list[Bar]:
    """One bar of (class, bytes, words); what is empty has no part in it."""
    total = sum(size for _, size, _ in pieces)
    bars, at = [], 0.0
    for kind, size, words in pieces:
        if size:
            wide = size * width / total
            bars.append(Bar(round(at, 2), 0, round(max(wide, 1.0), 2), 18, kind, f"{words}: {wording.size(size)}"))
            at += wide
    return bars


@dataclass(frozen=True, slots=True)
class Heat:
    """A row of squares, one a day; the class says how much there was."""

    bars: list[Bar]
    width: float


def heat(days: Sequence[Json]) -> Heat:
    """`days` are `{"began", "packs"}`, the oldest first."""
    most = max((day["packs"] for day in days), default=0)
    bars = [
        Bar(number * SQUARE + 1, 1, 14, 14, f"heat{-(-4 * day['packs'] // most) if most else 0}",
            f"{day['began'][:10]}: {wording.count(day['packs'], 'pack')}")
        for number, day in enumerate(days)
    ]  # fmt: skip
    return Heat(bars, SQUARE * len(days))


def density(days: Sequence[Json], width: float = 720.0, height: float = 90.0) -> list[Bar]:
    """Stacked bars of happenings by day: `{"began"}` and a number for each kind, the oldest first."""
    return stacked(days, HAPPENED, 10, width, height)


# --- QR ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Qr:
    """A QR code as one path of unit squares in a picture of `side` by `side`."""

    path: str
    side: int


def qr(link: str, *, exact: bool = False) -> Qr:
    """The QR code of an invitation link; `exact`: of an address, in which every letter stays as it is."""
    rows = list(
        segno.make(link if exact else qr_form(link), micro=False, error="m", boost_error=False).matrix_iter(
            border=QUIET_MODULES
        )
    )
    squares = (f"M{x} {y}h1v1h-1z" for y, row in enumerate(rows) for x, dark in enumerate(row) if dark)
    return Qr("".join(squares), len(rows))
