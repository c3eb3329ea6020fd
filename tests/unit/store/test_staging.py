"""What is on this disk already is copied many blocks at a time, and is what it should be all the same."""

from __future__ import annotations

import random

import pytest

from syncd.model.cipher import BlockKind
from syncd.model.ids import Pid
from syncd.model.lists import BlockList, Entry, pack_entry
from syncd.store.blocks import SourceKind
from syncd.store.folder import Needed
from syncd.store.locating import BlockSource, Places
from syncd.store.packs import Packs
from syncd.store.prepare import Want, What
from syncd.store.rows import FILE
from syncd.store.staging import SHARE_BYTES, STAGERS, Delivery, Stager, Staging, runs, shares
from tests.helpers.simdisk import SimDisk
from tests.helpers.simtree import SimDatabases, SimTree
from tests.helpers.tasks import FOLDER_ID, device_keys, keyring, marker_of

LENGTH = 100_000
HERE = BlockSource(SourceKind.NODE, (b"here",))
THERE = BlockSource(SourceKind.OLD, (), b"there")
PACK = BlockSource(SourceKind.PACK, (), b"pack", b"12345678")


def entry_of(content: bytes) -> bytes:
    cipher = keyring().cipher()
    sealed = cipher.seal(BlockKind.DATA, content)
    return pack_entry(sealed.pid, sealed.cid, len(content), cipher.epoch)


def wanted(contents: list[bytes]) -> Want:
    packed = b"".join(entry_of(content) for content in contents)
    size = sum(map(len, contents))
    return Want(
        What.CREATE, 1, 1, 0, b"token", FILE, size, 0, packed, 0, 0o644, 0, 1, b"new", (b"new",), packed=packed
    )  # fmt: skip


def placed(want: Want) -> tuple[tuple[int, Entry], ...]:
    found, offset = [], 0
    for entry in BlockList(want.packed):
        found.append((offset, entry))
        offset += entry.length
    return tuple(found)


def test_neighbours_are_read_together_and_others_are_not() -> None:
    want = wanted([bytes([number]) * LENGTH for number in range(6)])
    blocks = placed(want)
    pids = [entry.pid for _, entry in blocks]
    local: dict[Pid, Places] = {
        pids[0]: ((HERE, 500),),
        pids[1]: ((THERE, 0), (HERE, 500 + LENGTH)),
        pids[2]: ((HERE, 500 + 2 * LENGTH),),
        pids[3]: ((HERE, 500 + 4 * LENGTH),),  # another block lies between
        pids[5]: ((PACK, 64),),
    }
    found = runs(blocks, local, 10 * LENGTH)
    assert [(run.source, run.at, run.length) for run in found] == [
        (HERE, 500, 3 * LENGTH),
        (HERE, 500 + 4 * LENGTH, LENGTH),
        (None, 0, LENGTH),
        (None, 0, LENGTH),
    ]
    assert [len(run.blocks) for run in runs(blocks, local, 2 * LENGTH)] == [2, 1, 1, 1, 1]


def test_what_fills_a_gap_already_is_not_jumped_over() -> None:
    want = wanted([bytes([number]) * LENGTH for number in range(3)])
    first, _, last = placed(want)
    local: dict[Pid, Places] = {first[1].pid: ((HERE, 0),), last[1].pid: ((HERE, LENGTH),)}
    assert [run.length for run in runs([first, last], local, 10 * LENGTH)] == [LENGTH, LENGTH]


def test_threads_share_what_is_large_and_leave_what_is_small_to_one() -> None:
    def item(size: int, *, is_here: bool) -> tuple[Staging, Needed]:
        want = wanted([b"x"])
        want.size = size
        return Staging(want), Needed(want, local={} if not is_here else {Pid(bytes(32)): ((HERE, 0),)})

    small = [item(1000, is_here=True) for _ in range(500)]
    assert [len(share) for share in shares(small)] == [500]
    remote = [item(SHARE_BYTES, is_here=False) for _ in range(8)]
    assert [len(share) for share in shares(remote)] == [8]
    large = [item(SHARE_BYTES, is_here=True) for _ in range(8)]
    divided = shares(large)
    assert len(divided) == STAGERS
    assert [one for share in divided for one in share] == large


@pytest.mark.parametrize("damaged", [None, 0, 2, 3])
def test_block_that_is_not_what_it_should_be_is_missing_and_the_others_are_written(damaged: int | None) -> None:
    chance = random.Random(1)
    contents = [chance.randbytes(LENGTH), bytes(LENGTH), chance.randbytes(LENGTH), chance.randbytes(50)]
    lies = [content if number != damaged else b"?" * len(content) for number, content in enumerate(contents)]
    disk = SimDisk()
    tree = SimTree(disk, SimDatabases())
    marker = marker_of(device_keys("x"))
    tree.check_root(marker)
    tree.write_marker(marker)
    disk.write((b"here",), b"in front" + b"".join(lies))
    want = wanted(contents)
    blocks = placed(want)
    needed = Needed(want, blocks=blocks, local={entry.pid: ((HERE, 8 + offset),) for offset, entry in blocks})
    staging = Staging(want)
    packs = Packs(tree.open_database("folder.db"), tree.open_shelf("shelf"), FOLDER_ID)
    Stager(tree, keyring(), packs).begin([(staging, needed)], frozenset())
    assert list(staging.missing) == ([] if damaged is None else [blocks[damaged][0]])
    assert staging.copied_bytes == want.size - (0 if damaged is None else len(contents[damaged]))
    if damaged is None:
        reader = tree.open_staged(b"token")
        got = bytearray(want.size)
        assert reader.read_into(0, got) == want.size
        assert bytes(got) == b"".join(contents)


def simulated() -> SimTree:
    tree = SimTree(SimDisk(), SimDatabases())
    marker = marker_of(device_keys("x"))
    tree.check_root(marker)
    tree.write_marker(marker)
    return tree


def stager_of(tree: SimTree) -> Stager:
    return Stager(tree, keyring(), Packs(tree.open_database("folder.db"), tree.open_shelf("shelf"), FOLDER_ID))


def begun(stager: Stager, contents: list[bytes], count: int) -> list[Staging]:
    """The same content in so many files, of which nothing is here."""
    stagings = []
    for number in range(count):
        want = wanted(contents)
        want.token, want.node = b"%032x" % number, number
        stagings.append(Staging(want))
    stager.begin([(one, Needed(one.want, blocks=placed(one.want))) for one in stagings], frozenset())
    return stagings


def test_block_that_belongs_into_very_many_files_opens_few_of_them_at_a_time() -> None:
    tree = simulated()
    contents = [random.Random(1).randbytes(LENGTH), random.Random(2).randbytes(LENGTH)]
    stager = stager_of(tree)
    stagings = begun(stager, contents, 500)
    most = 0

    def count(step: str, path: object) -> None:
        nonlocal most
        most = max(most, sum(node.opens for _, node in tree.disk.directory((b".syncd", b"stage")).names.values()))

    tree.disk.hook = count
    for content in contents:
        sealed = keyring().cipher().seal(BlockKind.DATA, content)
        ciphertext = bytes(sealed.ciphertext)
        places = [(one, offset, entry) for one in stagings for offset, entry in one.missing.items()]
        found = [Delivery(one, offset, entry, ciphertext) for one, offset, entry in places if entry.cid == sealed.cid]
        assert len(stager.deliver(found).good) == len(stagings)
    assert all(one.is_complete for one in stagings)
    assert 0 < most < 200
    tree.disk.hook = None
    assert not sum(node.opens for _, node in tree.disk.directory((b".syncd", b"stage")).names.values())
    assert tree.disk.read((b".syncd", b"stage", stagings[-1].want.token)) == b"".join(contents)


def test_what_nobody_waits_for_any_more_is_not_begun() -> None:
    tree = simulated()
    stager = stager_of(tree)
    want = wanted([bytes(LENGTH), bytes(LENGTH)])
    here = {entry.pid: ((HERE, offset),) for offset, entry in placed(want)}
    tree.disk.write((b"here",), bytes(LENGTH))
    staging = Staging(want)
    staging.is_gone = True
    stager.abandon([staging])  # before its turn to be begun came
    stager.begin([(staging, Needed(want, blocks=placed(want), local=here))], frozenset())
    assert not tree.list_staged()
    assert not staging.missing
