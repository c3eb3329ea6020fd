"""Pure. Several fetch the same from one source at once, in a model: what they ask of the source, and how long it takes.

Peers send and receive at so many bytes a second each, shared fairly among what is under way; who has what is asked anew
as often as the daemon does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

import pytest

from ca.ids import DeviceId
from syncd.engine.pull import FIRST_BATCH_BYTES, Batch, Pull
from syncd.model.ids import Cid

MIB = 1 << 20
SIZE = 192 * MIB
STEP_S, ASK_S, ANSWER_S = 0.01, 0.25, 0.02
LANES = 3
BATCH_BYTES = 2 * MIB
RECEIVE_RATE = 50e6
SOURCE = DeviceId(b"S" * 32)


@dataclass(eq=False)
class Transfer:
    source: DeviceId
    batch: Batch
    began: float
    left: float


@dataclass(eq=False)
class Receiver:
    device: DeviceId
    pull: Pull
    begins: float
    has: set[Cid] = field(default_factory=set)
    ends: float | None = None
    asked: dict[DeviceId, tuple[float, list[Cid]]] = field(default_factory=dict)
    asked_at: dict[DeviceId, float] = field(default_factory=dict)
    under_way: list[Transfer] = field(default_factory=list)

    def ask(self, now: float, peer: DeviceId, has: set[Cid]) -> None:
        if self.pull.lacks(peer) and now >= self.asked_at[peer] + ASK_S:
            self.pull.poll_again(peer)
            self.asked_at[peer] = now
        if peer not in self.asked and (cids := self.pull.to_poll(peer)):
            self.asked[peer] = now + ANSWER_S, cids
            self.asked_at.setdefault(peer, now)
        if peer in self.asked and self.asked[peer][0] <= now:
            _, cids = self.asked.pop(peer)
            bitmap = bytearray(len(cids) // 8 + 1)
            for index, cid in enumerate(cids):
                bitmap[index // 8] |= 0x80 >> index % 8 if cid in has else 0
            self.pull.polled(peer, cids, bytes(bitmap))
        while sum(one.source == peer for one in self.under_way) < LANES:
            batch = self.pull.next_batch(peer, BATCH_BYTES)
            if batch is None:
                return
            self.under_way.append(Transfer(peer, batch, now, batch.size))

    def take(self, now: float, one: Transfer) -> None:
        self.under_way.remove(one)
        self.pull.ended(one.source)
        self.pull.took(one.source, one.batch.size, now - one.began)
        self.pull.forget(one.batch.cids)
        self.has.update(one.batch.cids)
        if not self.pull:
            self.ends = now


class Model:
    """One source, and receivers that begin one after the other."""

    def __init__(self, seed: int, begins: list[float], rates: Mapping[int, float], source_rate: float) -> None:
        chance = Random(seed)
        blocks: list[tuple[Cid, int]] = []
        while sum(length for _, length in blocks) < SIZE:
            blocks.append((Cid(chance.randbytes(32)), chance.randrange(64 << 10, 512 << 10)))
        self.receivers = []
        for number, begin in enumerate(begins):
            pull = Pull(chance.getrandbits(64))
            pull.want(blocks)
            self.receivers.append(Receiver(DeviceId(bytes([number + 1]) * 32), pull, begin))
        self.size = sum(length for _, length in blocks)
        self.sent = {SOURCE: 0, **{one.device: 0 for one in self.receivers}}
        self._all = {cid for cid, _ in blocks}
        self._rates = {SOURCE: source_rate}  # of sending
        for number, one in enumerate(self.receivers):
            self._rates[one.device] = rates.get(number, RECEIVE_RATE)

    def run(self) -> float:
        """Until all have all; how long it took."""
        now = 0.0
        while any(one.ends is None for one in self.receivers):
            assert now < 60, "somebody waits for ever"
            here = [one for one in self.receivers if one.begins <= now]
            for one in here:
                if one.ends is None:
                    one.ask(now, SOURCE, self._all)
                    for other in here:
                        if other is not one:
                            one.ask(now, other.device, other.has)
            self._move(now + STEP_S)
            now += STEP_S
        return now

    def _move(self, now: float) -> None:
        moving = [(to, one) for to in self.receivers for one in to.under_way]
        for to, one in moving:
            ups = sum(other.source == one.source for _, other in moving)
            up, down = self._rates[one.source] / ups, RECEIVE_RATE / sum(by is to for by, _ in moving)
            one.left -= min(up, down) * STEP_S
        for to, one in moving:
            if one.left <= 0:
                to.take(now, one)
                self.sent[one.source] += one.batch.size


@pytest.mark.parametrize("count", [3, 6])
@pytest.mark.parametrize("seed", range(3))
def test_receivers_that_begin_together_have_most_from_one_another(seed: int, count: int) -> None:
    model = Model(seed, [0.0] * count, {}, source_rate=100e6)
    took_s = model.run()
    assert model.sent[SOURCE] < 1.5 * model.size
    assert sum(model.sent.values()) == count * model.size, "nothing comes twice"
    assert took_s < 1.5 * model.size / RECEIVE_RATE


def test_slow_neighbour_delays_the_others_by_its_first_batches_at_most() -> None:
    rate = 2e6
    slow = Model(1, [0.0] * 3, {2: rate}, source_rate=100e6)
    assert slow.run() < 1.5 * slow.size / RECEIVE_RATE + 2 * LANES * FIRST_BATCH_BYTES / rate


def test_source_that_is_slow_sends_little_more_than_once() -> None:
    model = Model(2, [0.0] * 3, {}, source_rate=20e6)
    took_s = model.run()
    assert model.sent[SOURCE] < 1.35 * model.size
    assert took_s < 1.5 * model.size / 20e6


def test_one_that_comes_later_takes_nothing_from_the_others() -> None:
    model = Model(3, [0.0, 0.0, 0.8], {}, source_rate=100e6)
    model.run()
    assert model.sent[SOURCE] < 1.8 * model.size
