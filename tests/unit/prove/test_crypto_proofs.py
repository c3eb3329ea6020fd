"""The long proofs about encryption and tampering, made small; and that they would notice."""

from __future__ import annotations

import pytest

from ca.errors import TrustError
from syncd.model.cipher import BlockKind
from tests.helpers import tampering
from tests.helpers.encryptions import Record, cipher_of, live, recorded
from tests.helpers.tampering import KINDS, Trials


def test_no_key_and_nonce_meet_two_plaintexts() -> None:
    with recorded() as record:
        live(30_000, seed=1)
    clashes, pairs = record.clashes()
    assert clashes == 0
    assert record.count > pairs > 10_000


def test_equal_plaintexts_share_key_and_nonce_and_are_no_clash() -> None:
    with recorded() as record:
        for _ in range(2):
            cipher_of(0, 0).seal(BlockKind.DATA, b"the same bytes")
    assert record.clashes() == (0, 1)


def test_a_clash_would_be_noticed() -> None:
    record = Record()
    for plaintext in (b"one", b"two"):
        record.note(b"k" * 32, b"n" * 12, plaintext)
    assert record.clashes() == (1, 1)


def test_all_tampering_is_detected_and_nothing_else() -> None:
    trials = Trials(seed=1)
    trials.take_unchanged()
    tally = trials.run(4_000)
    assert not tally.applied
    assert {kind: tally.detected[kind] for kind in KINDS} == dict.fromkeys(KINDS, 1_000)


def test_a_receiver_without_its_check_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = Trials(seed=2)

    def verify_nothing(head: object, key: bytes) -> None:
        if key == b"":
            raise TrustError("never")

    monkeypatch.setattr(tampering, "verify_head", verify_nothing)
    assert trials.run(400).applied["head"] > 0
