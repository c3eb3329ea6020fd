"""Async. The views of connections: who is linked to us, how fast, and what went over the wire."""

from __future__ import annotations

import csv
import io

from syncd.web import pictures
from syncd.web.asking import Asked, Shown
from syncd.web.calling import Json, maybe_call
from syncd.wording import spreadsheet_cell

SPANS = {"15m": "15 minutes", "24h": "24 hours", "30d": "30 days"}


async def network(asked: Asked) -> Shown:
    """A ring of peers around this computer, or a matrix of peers and folders when there are many."""
    peers = (await asked.call("peers"))["peers"]
    traffic = await maybe_call(asked.api, "traffic", span="15m")
    _add_rates(peers, traffic)
    vaults = {peer["id"] for folder in asked.status["folders"] for peer in folder["peers"] if peer["role"] == "vault"}
    return Shown(
        "network.html",
        {
            "peers": peers,
            "vaults": vaults,
            "ring": pictures.ring(peers) if len(peers) <= pictures.RING_PEERS else None,
            "has_rates": traffic is not None,
        },
    )


def _add_rates(peers: list[Json], traffic: Json | None) -> None:
    """The rate of each peer over the last steps that are whole."""
    moved = {} if traffic is None else {peer["id"]: peer for peer in traffic["peers"]}
    for peer in peers:
        for way, key in (("received", "receive_rate"), ("sent", "send_rate")):
            steps = moved.get(peer["id"], {}).get(way, [])[-2:]
            peer[key] = sum(steps) / (len(steps) * traffic["step_s"]) if traffic is not None and steps else 0.0


async def traffic(asked: Asked) -> Shown:
    """Bytes per peer over time."""
    span = asked.query.get("span", "15m")
    found = await maybe_call(asked.api, "traffic", span=span if span in SPANS else "15m")
    return Shown(
        "traffic.html",
        {
            "span": span if span in SPANS else "15m",
            "spans": SPANS,
            "traffic": found,
            "chart": None if found is None else pictures.traffic_chart(found),
        },
    )


async def traffic_csv(asked: Asked) -> str:
    """The same as a table for a spreadsheet. Names that it could take for a formula begin with a quote."""
    span = asked.query.get("span", "15m")
    found = await asked.call("traffic", span=span if span in SPANS else "15m")
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["began", "step_s", "number", "peer", "received_bytes", "sent_bytes"])
    for peer in found["peers"]:
        for number, (received, sent) in enumerate(zip(peer["received"], peer["sent"], strict=True)):
            writer.writerow([found["began"], found["step_s"], number, spreadsheet_cell(peer["name"]), received, sent])
    return out.getvalue()
