"""Proof that a block is held: only its bytes yield it, for one question, between two devices."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ca.ids import DeviceId, FolderId
from syncd.errors import CodecError
from syncd.model.ids import Cid, cid_of
from syncd.protocol.frames import FrameStatus
from syncd.protocol.possession import (
    MAX_CIDS_IN_PROVE,
    NONCE_BYTES,
    ProveAnswer,
    ProveRequest,
    all_of,
    answer_of,
    challenge_key,
    judge,
    proof_of,
)
from syncd.protocol.requests import Route

FOLDER, ANNA, BEN = FolderId(b"F" * 32), DeviceId(b"a" * 32), DeviceId(b"b" * 32)
BLOCK, OTHER = b"ciphertext" * 500, b"another"
CID, OTHER_CID = cid_of(BLOCK), cid_of(OTHER)
NONCE = b"n" * NONCE_BYTES
ASKED = ProveRequest(NONCE, (CID, OTHER_CID), hold=True)
KEY = challenge_key(NONCE, FOLDER, ANNA, BEN)
OWN = {CID: proof_of(KEY, BLOCK), OTHER_CID: proof_of(KEY, OTHER)}


def test_there_and_back() -> None:
    assert ProveRequest.decode_untrusted(ASKED.encode()) == ASKED
    answer = answer_of(3, {1: (FrameStatus.OK, b"p" * 32)}, {2: FrameStatus.BUSY})
    assert answer.statuses == (FrameStatus.GONE, FrameStatus.OK, FrameStatus.BUSY)
    assert ProveAnswer.decode_untrusted(answer.encode(), 3) == answer


def test_whoever_has_the_bytes_proves_it() -> None:
    answer = ProveAnswer((FrameStatus.OK, FrameStatus.BUSY), (proof_of(KEY, BLOCK),))
    assert judge(ASKED, answer, OWN) == {CID: FrameStatus.OK, OTHER_CID: FrameStatus.BUSY}


def test_what_changed_where_nobody_edits_it_is_lost() -> None:
    answer = ProveAnswer((FrameStatus.CHANGED, FrameStatus.BUSY), ())
    assert judge(ASKED, answer, OWN) == {CID: FrameStatus.GONE, OTHER_CID: FrameStatus.BUSY}
    assert judge(replace(ASKED, hold=False), answer, OWN)[CID] is FrameStatus.CHANGED


@pytest.mark.parametrize(
    "key",
    [
        challenge_key(b"m" * NONCE_BYTES, FOLDER, ANNA, BEN),  # an answer of another day
        challenge_key(NONCE, FolderId(b"G" * 32), ANNA, BEN),
        challenge_key(NONCE, FOLDER, ANNA, DeviceId(b"c" * 32)),  # what another device answered
        challenge_key(NONCE, FOLDER, BEN, ANNA),  # our own question, sent back to us
    ],
)
def test_answer_to_another_question_proves_nothing(key: bytes) -> None:
    answer = ProveAnswer((FrameStatus.OK, FrameStatus.OK), (proof_of(key, BLOCK), proof_of(KEY, OTHER)))
    assert judge(ASKED, answer, OWN) == {CID: FrameStatus.GONE, OTHER_CID: FrameStatus.OK}


@pytest.mark.parametrize("claimed", [BLOCK[:-1], BLOCK[1:], CID, bytes(len(BLOCK)), OTHER])
def test_other_bytes_prove_nothing(claimed: bytes) -> None:
    answer = ProveAnswer((FrameStatus.OK, FrameStatus.GONE), (proof_of(KEY, claimed),))
    assert judge(ASKED, answer, OWN)[CID] is FrameStatus.GONE


@pytest.mark.parametrize(
    "request_",
    [
        replace(ASKED, nonce=b"short"),
        replace(ASKED, cids=()),
        replace(ASKED, cids=(Cid(b"half"),)),
        replace(ASKED, cids=(CID,) * (MAX_CIDS_IN_PROVE + 1)),
    ],
)
def test_odd_questions_are_refused(request_: ProveRequest) -> None:
    with pytest.raises(CodecError):
        ProveRequest.decode_untrusted(request_.encode())


@pytest.mark.parametrize(
    "answer",
    [
        all_of(FrameStatus.BUSY, (CID,)),
        ProveAnswer((FrameStatus.OK, FrameStatus.OK), (b"p" * 32,)),
        ProveAnswer((FrameStatus.GONE, FrameStatus.GONE), (b"p" * 32,)),
    ],
)
def test_odd_answers_are_refused(answer: ProveAnswer) -> None:
    with pytest.raises(CodecError):
        ProveAnswer.decode_untrusted(answer.encode(), 2)


def test_unknown_status_is_refused() -> None:
    raw = ProveAnswer((FrameStatus.BUSY,), ()).encode().replace(bytes([FrameStatus.BUSY]), b"\x04", 1)
    with pytest.raises(CodecError):
        ProveAnswer.decode_untrusted(raw, 1)


def test_largest_question_fits() -> None:
    most = replace(ASKED, cids=(CID,) * MAX_CIDS_IN_PROVE)
    assert len(most.encode()) <= Route.PROVE.max_body_bytes
    assert ProveRequest.decode_untrusted(most.encode()) == most
