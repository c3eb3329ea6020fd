"""The text for Prometheus: its grammar, its names, and hostile names in it."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from syncd.methods.metrics import STATES, FolderNumbers, Numbers, PeerNumbers, families, render
from tests.helpers.sources import ROOT

PHOTOS = FolderNumbers("Photos", "synced", 10, 2048, 1, 512, 2, 3, 4, 1.9e9, 0.25, 1.8e9, 5, 9, 4096, 1.7e9)
BEN = PeerNumbers("ben", True, 1.8e9, 0.0125, 300, 200)
NUMBERS = Numbers(
    "1", "3.11", 1.7e9, True, 1, 2, 3, 4, 5, {"crowd": 7}, 4096, 0.001, 0.0, [PHOTOS], [BEN], 6,
    {"admin:rotate": 2, "audit:link.download": 3}
)  # fmt: skip

# https://prometheus.io/docs/instrumenting/exposition_formats/, "Text-based format"
LABEL = r'[a-zA-Z_]\w*="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
SAMPLE = re.compile(rf"([a-zA-Z_:][\w:]*)(?:\{{{LABEL}(?:,{LABEL})*\}})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)")
COMMENT = re.compile(r"# (HELP|TYPE) ([a-zA-Z_:][\w:]*) (.+)")


def parse(text: str) -> dict[str, float]:
    """Samples by name and labels; fails at what is no line of the format."""
    assert text.endswith("\n")
    found: dict[str, float] = {}
    types: dict[str, str] = {}
    for line in text.splitlines():
        if comment := COMMENT.fullmatch(line):
            types |= {comment[2]: comment[3]} if comment[1] == "TYPE" else {}
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, line
        assert types[sample[1]] == ("counter" if sample[1].endswith("_total") else "gauge")
        key = line.rpartition(" ")[0]
        assert key not in found, f"{key} twice"
        found[key] = float(sample[2])
    return found


def test_every_sample_is_a_line_of_the_format() -> None:
    found = parse(render(families(NUMBERS)))
    assert found['syncd_folder_files{folder="Photos",scope="global"}'] == 11
    assert found['syncd_folder_state{folder="Photos",state="synced"}'] == 1
    assert sum(found[f'syncd_folder_state{{folder="Photos",state="{state}"}}'] for state in STATES) == 1
    assert found['syncd_peer_rtt_seconds{peer="ben"}'] == 0.0125
    assert found['syncd_tls_handshakes_total{result="refused: crowd"}'] == 7
    assert found["syncd_block_verify_failures_total"] == 6
    assert found['syncd_audit_events_total{action="admin:rotate"}'] == 2
    assert found["syncd_link_downloads_total"] == 3
    assert found['syncd_storage_objects{folder="Photos"}'] == 9
    assert found['syncd_storage_last_verified_timestamp_seconds{folder="Photos"}'] == 1.7e9
    assert found['syncd_peer_received_bytes_total{peer="ben"}'] == 300


@pytest.mark.parametrize("name", ['"} 1\nsyncd_ready 0', "a\\", "\udcff", "<script>", "\u202e"])
def test_hostile_name_stays_in_its_label(name: str) -> None:
    text = render(families(replace(NUMBERS, folders=[replace(PHOTOS, name=name)], peers=[replace(BEN, name=name)])))
    assert parse(text)["syncd_ready"] == 1
    text.encode("utf-8")


def test_what_is_not_known_is_not_zero() -> None:
    unknown = replace(NUMBERS, folders=[replace(PHOTOS, scan_s=None, last_synced=None)], peers=[])
    text = render(families(unknown))
    assert "scan_duration" not in text and "last_synced" not in text and "syncd_peer" not in text


def test_dashboard_asks_for_metrics_that_exist() -> None:
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text(encoding="utf-8"))
    questions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    known = {family.name for family in families(NUMBERS)}
    asked = {name for question in questions for name in re.findall(r"\bsyncd_\w+", question)}
    assert asked and asked <= known
