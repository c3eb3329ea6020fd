"""Blocking. Ten million encryptions, restored snapshots and cloned homes among them: no key and nonce meet twice."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.computers import Disappointment
from tests.helpers.encryptions import live, recorded

CLAIM = "In 10,000,000 encryptions, with restored snapshots and cloned homes, no key and nonce meet two plaintexts"

ENCRYPTIONS = 10_000_000
SEED = 4


def prove(place: Path) -> str:
    with recorded() as record:
        live(ENCRYPTIONS, SEED)
    clashes, pairs = record.clashes()
    measured = f"{record.count} encryptions under {pairs} pairs of key and nonce, {clashes} with a second plaintext"
    if clashes or record.count < ENCRYPTIONS:
        raise Disappointment(measured)
    return measured
