"""Pure. Every block is asked of one peer that has it, rare ones first, and of another one only after a failure."""

from __future__ import annotations

from cProfile import Profile

from ca.digest import digest
from ca.ids import DeviceId
from syncd.engine.pull import BATCH_S, FIRST_BATCH_BYTES, LEAST_BATCH_BYTES, MAX_BATCH_BLOCKS, Pull
from syncd.model.ids import Cid

ANN, BEN, CEM = (DeviceId(bytes([number]) * 32) for number in (1, 2, 3))
ALL = b"\xff" * 2000
NONE = bytes(2000)


def cids(count: int) -> list[Cid]:
    return [Cid(number.to_bytes(32, "big")) for number in range(count)]


def pull_of(count: int, offset: int = 0) -> Pull:
    pull = Pull(offset)
    pull.want((cid, 10) for cid in cids(count))
    return pull


def poll(pull: Pull, peer: DeviceId, has: set[int]) -> None:
    """Let a peer say which it has."""
    while asked := pull.to_poll(peer):
        bits = bytearray(-(-len(asked) // 8))
        for index, cid in enumerate(asked):
            if int.from_bytes(cid, "big") in has:
                bits[index // 8] |= 0x80 >> index % 8
        pull.polled(peer, asked, bytes(bits))


def numbers(pull: Pull, peer: DeviceId, most_bytes: int = 1 << 20) -> list[int]:
    batch = pull.next_batch(peer, most_bytes)
    return [] if batch is None else [int.from_bytes(cid, "big") for cid in batch.cids]


def test_every_block_is_assigned_once() -> None:
    pull = pull_of(100)
    for peer in (ANN, BEN):
        poll(pull, peer, set(range(100)))
    found = numbers(pull, ANN, 300) + numbers(pull, BEN, 300) + numbers(pull, ANN) + numbers(pull, BEN)
    assert sorted(found) == list(range(100))


def test_batch_is_bounded_by_bytes_and_blocks_and_takes_one_block_at_least() -> None:
    pull = pull_of(2000)
    poll(pull, ANN, set(range(2000)))
    assert numbers(pull, ANN, 35) == [0, 1, 2]
    assert numbers(pull, ANN, 1) == [3]
    assert len(numbers(pull, ANN)) == MAX_BATCH_BLOCKS
    batch = pull.next_batch(ANN, 20)
    assert batch is not None
    assert (batch.lengths, batch.size) == ((10, 10), 20)


def test_what_few_have_comes_first() -> None:
    pull = pull_of(10)
    poll(pull, ANN, set(range(10)))
    poll(pull, BEN, {0, 1, 2, 3, 4, 5, 6})
    poll(pull, CEM, {0, 1, 2})
    assert numbers(pull, ANN) == [7, 8, 9]
    assert numbers(pull, ANN) == [3, 4, 5, 6]
    assert numbers(pull, ANN) == [0, 1, 2]


def test_peer_gets_nothing_that_it_does_not_have() -> None:
    pull = pull_of(4)
    poll(pull, ANN, {1})
    assert numbers(pull, ANN) == [1]
    assert numbers(pull, ANN) == []
    assert set(pull.unavailable([ANN])) == {cids(4)[number] for number in (0, 2, 3)}


def test_refused_block_goes_to_another_peer_and_never_back() -> None:
    pull = pull_of(1)
    poll(pull, ANN, {0})
    poll(pull, BEN, {0})
    assert numbers(pull, ANN) == [0]
    assert numbers(pull, BEN) == []
    pull.failed(ANN, cids(1), refused=True)
    assert numbers(pull, ANN) == []
    assert numbers(pull, BEN) == [0]


def test_block_that_did_not_come_may_be_asked_of_the_same_peer_again() -> None:
    pull = pull_of(2)
    poll(pull, ANN, {0, 1})
    assert numbers(pull, ANN) == [0, 1]
    pull.failed(ANN, cids(1), refused=False)
    assert numbers(pull, ANN) == [0]


def test_what_a_peer_that_is_gone_was_to_send_is_free_and_it_is_asked_anew() -> None:
    pull = pull_of(3)
    for peer in (ANN, BEN):
        poll(pull, peer, {0, 1, 2})
    assert numbers(pull, ANN) == [0, 1, 2]
    pull.peer_gone(ANN)
    assert sorted(numbers(pull, BEN)) == [0, 1, 2]
    assert numbers(pull, ANN) == []
    pull.peer_gone(BEN)
    assert pull.to_poll(ANN) == cids(3)


def test_blocks_wanted_later_are_asked_about_too() -> None:
    pull = pull_of(1)
    poll(pull, ANN, {0})
    pull.want([(cid, 10) for cid in cids(3)])
    assert pull.to_poll(ANN) == cids(3)[1:]


def test_unanswered_poll_is_repeated() -> None:
    pull = pull_of(3)
    assert pull.to_poll(ANN) == pull.to_poll(ANN) == cids(3)


def test_peer_that_may_have_got_more_is_asked_again() -> None:
    pull = pull_of(2)
    poll(pull, ANN, {0})
    assert pull.to_poll(ANN) == []
    pull.poll_again(ANN)
    poll(pull, ANN, {0, 1})
    assert sorted(numbers(pull, ANN) + numbers(pull, ANN)) == [0, 1]


def test_forgotten_blocks_are_neither_asked_about_nor_assigned() -> None:
    pull = pull_of(3)
    poll(pull, ANN, {0, 1, 2})
    pull.forget(cids(2))
    assert (pull.to_poll(BEN), numbers(pull, ANN), len(pull), pull.wanted_bytes) == (cids(3)[2:], [2], 1, 10)


def test_receivers_begin_at_different_places() -> None:
    firsts = set()
    for offset in range(16):
        pull = pull_of(160, offset)
        poll(pull, ANN, set(range(160)))
        firsts.add(numbers(pull, ANN)[0])
    assert firsts == {10 * offset for offset in range(16)}


def order_of(own_number: int) -> list[int]:
    pull = Pull(own_number)
    names = [digest("test", number.to_bytes(32, "big")) for number in range(64)]
    pull.want((Cid(name), 10) for name in names)
    pull.polled(ANN, pull.to_poll(ANN), ALL)
    pull.polled(BEN, pull.to_poll(BEN), NONE)
    batch = pull.next_batch(ANN)
    assert batch is not None
    return [names.index(cid) for cid in batch.cids]


def test_what_others_lack_as_well_is_asked_for_in_an_order_of_ones_own() -> None:
    orders = [order_of(number) for number in (2**63 + 80, 2**62 + 123456, 987648)]
    assert all(sorted(order) == list(range(64)) for order in orders)
    assert len({tuple(order[:16]) for order in orders}) == 3
    for order in orders:  # neighbours in a file stay together
        assert all(order[at : at + 8] == list(range(order[at], order[at] + 8)) for at in range(0, 64, 8))


def test_one_who_has_all_is_asked_for_little_while_neighbours_send_enough() -> None:
    pull = pull_of(1000)
    poll(pull, ANN, set(range(1000)))
    poll(pull, BEN, set(range(500)))
    for peer, rate in ((ANN, 100), (BEN, 150)):
        pull.took(peer, rate, 1.0)
    assert numbers(pull, ANN, 50)
    assert numbers(pull, ANN, 50), "as long as no neighbour sends, nothing is held back"
    for _ in range(2):
        pull.ended(ANN)
    assert numbers(pull, BEN, 50)
    assert numbers(pull, ANN, 50)
    assert not numbers(pull, ANN, 50), "one batch at a time"
    pull.ended(ANN)
    assert numbers(pull, ANN, 50)
    pull.ended(BEN)
    assert numbers(pull, ANN, 50), "nobody helps any more"


def test_neighbours_that_send_too_little_hold_nobody_back() -> None:
    pull = pull_of(1000)
    poll(pull, ANN, set(range(1000)))
    poll(pull, BEN, set(range(500)))
    for peer, rate in ((ANN, 100), (BEN, 90)):
        pull.took(peer, rate, 1.0)
    assert numbers(pull, BEN, 50)
    assert all(numbers(pull, ANN, 50) for _ in range(3))
    pull.peer_gone(BEN)
    assert numbers(pull, ANN, 50)


def calls_to_hand_out(count: int) -> int:
    pull = pull_of(count)

    def hand_out() -> None:
        for peer in (ANN, BEN):
            poll(pull, peer, set(range(count)))
        while numbers(pull, ANN, 100) or numbers(pull, BEN, 100):
            pass

    profile = Profile()
    profile.runcall(hand_out)
    return sum(entry.callcount for entry in profile.getstats())


def test_handing_out_many_blocks_takes_work_in_proportion_to_their_number() -> None:
    assert calls_to_hand_out(4000) < 2.2 * calls_to_hand_out(2000)


MIB = 1 << 20


def size_asked_of(pull: Pull, peer: DeviceId) -> int:
    batch = pull.next_batch(peer)
    assert batch is not None
    return batch.size


def test_peer_is_asked_for_as_much_as_it_sends_in_a_few_seconds() -> None:
    pull = Pull()
    pull.want((cid, 64 * 1024) for cid in cids(10_000))
    for peer in (ANN, BEN):
        poll(pull, peer, set(range(10_000)))
    assert size_asked_of(pull, ANN) == size_asked_of(pull, BEN) == FIRST_BATCH_BYTES
    pull.took(ANN, FIRST_BATCH_BYTES, 4.0)  # slow
    pull.took(BEN, FIRST_BATCH_BYTES, 0.01)  # fast
    assert size_asked_of(pull, ANN) == FIRST_BATCH_BYTES / 4 * BATCH_S
    assert size_asked_of(pull, BEN) == 8 * MIB
    pull.took(ANN, 1000, 1000.0)
    for _ in range(20):
        pull.took(ANN, 1, 1000.0)
    assert size_asked_of(pull, ANN) == LEAST_BATCH_BYTES
    pull.took(ANN, 8 * MIB, 0.1)  # it recovers at once
    assert size_asked_of(pull, ANN) == 8 * MIB


def test_end_does_not_wait_for_the_slow_one() -> None:
    """One sends 100 times as fast: in virtual time, both end together, up to what the slow one was last asked for."""
    pull = Pull()
    pull.want((cid, 256 * 1024) for cid in cids(2_000))
    for peer in (ANN, BEN):
        poll(pull, peer, set(range(2_000)))
    rates = {ANN: 1 * MIB, BEN: 100 * MIB}
    free_at = {ANN: 0.0, BEN: 0.0}
    while True:
        peer = min(free_at, key=lambda one: free_at[one])
        batch = pull.next_batch(peer)
        if batch is None:
            break
        took = batch.size / rates[peer]
        pull.took(peer, batch.size, took)
        pull.forget(batch.cids)
        free_at[peer] += took
    assert max(free_at.values()) <= 500 / 101 + 0.5


def test_small_content_is_asked_of_its_author_without_asking_around() -> None:
    pull = pull_of(3)
    assert [len(pull.to_poll(peer)) for peer in (ANN, BEN)] == [3, 3]
    pull.assume(ANN, cids(3))
    assert [pull.to_poll(peer) for peer in (ANN, BEN)] == [[], []]
    assert numbers(pull, BEN) == []
    assert numbers(pull, ANN) == [0, 1, 2]


def test_what_its_author_has_not_is_asked_of_others() -> None:
    pull = pull_of(3)
    for peer in (ANN, BEN):
        pull.to_poll(peer)
    pull.assume(ANN, cids(3))
    pull.next_batch(ANN)
    pull.failed(ANN, cids(3)[:1], refused=True)
    assert pull.to_poll(BEN) == cids(1)
    pull.assume(ANN, cids(1))
    assert numbers(pull, ANN) == []
    pull.peer_gone(ANN)
    assert pull.to_poll(BEN) == cids(3)


def test_others_are_asked_about_much_and_about_what_came_from_who_is_away() -> None:
    pull = pull_of(3)
    pull.assume(ANN, cids(3))
    assert pull.to_poll(BEN) == cids(3)
    large = Pull()
    large.want((cid, 1 << 20) for cid in cids(3))
    large.to_poll(ANN)
    large.assume(ANN, cids(3))
    assert large.to_poll(BEN) == cids(3)


def test_what_its_author_is_too_busy_to_send_is_asked_of_others() -> None:
    pull = pull_of(3)
    for peer in (ANN, BEN):
        pull.to_poll(peer)
    pull.assume(ANN, cids(3))
    pull.next_batch(ANN)
    pull.failed(ANN, cids(3), refused=False)
    poll(pull, BEN, set(range(3)))
    assert numbers(pull, BEN) == [0, 1, 2]


def test_who_may_send_nothing_now_is_not_the_only_one_asked() -> None:
    pull = pull_of(3)
    for peer in (ANN, BEN):
        pull.to_poll(peer)
    pull.assume(ANN, cids(3))
    pull.waits(ANN)
    assert pull.to_poll(BEN) == cids(3)


def test_what_all_lack_is_with_nobody_also_while_they_are_asked_once_more() -> None:
    """Else who looks at the moments at which they are asked never finds it out."""
    pull = pull_of(2)
    for peer in (ANN, BEN):
        poll(pull, peer, {1})
    assert pull.unavailable([ANN, BEN]) == [cids(1)[0]]
    for peer in (ANN, BEN):
        pull.poll_again(peer)
    assert pull.unavailable([ANN, BEN]) == [cids(1)[0]]
    poll(pull, BEN, {0, 1})
    assert pull.unavailable([ANN, BEN]) == []
    pull.next_batch(BEN)
    pull.failed(BEN, cids(1), refused=True)
    assert pull.unavailable([ANN, BEN]) == [cids(1)[0]]
    pull.peer_gone(BEN)
    assert pull.unavailable([ANN, BEN]) == [], "it is somebody else now, who was not asked"
    assert pull.unavailable([ANN]) == [cids(1)[0]]
