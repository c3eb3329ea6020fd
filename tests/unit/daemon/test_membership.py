"""A folder's membership on several devices: how it grows, what each is told, and what none of them believes."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from ca import authority
from ca.authority import Signer
from ca.ids import DeviceId, EntryHash, MemberId
from ca.roles import ALL_CAPABILITIES, Action, Capability, Role
from ca.roster import Head, Rollback, Roster
from ca.wraps import HpkeSealer
from syncd.daemon import standing
from syncd.daemon.beginning import join_folder
from syncd.daemon.duties import run_duties
from syncd.daemon.membership import GATHER_S, TOGETHER_S, FolderMembership, JournalHead
from syncd.engine.duties import PENDING_STEP_S
from syncd.engine.membership import Update
from syncd.errors import CodecError, RemoteProtocolError, StoreCorrupt, TrustError
from syncd.folder.ground import Rights
from syncd.model.cipher import BlockKind, BlockRefused
from syncd.model.ids import ChangesetHash, Incarnation
from syncd.protocol.messages import RosterPage, RosterSubmit
from syncd.protocol.tls import LabelTable
from syncd.store.keyring import EpochKeyMissing
from tests.helpers.memberships import Devices, admission_of, bring_in, new_folder, offer_of, restarted, tell
from tests.helpers.rosters import DAY_S, NOW, keys_of, seeded

Three = tuple[FolderMembership, FolderMembership, FolderMembership]


def member_id(membership: FolderMembership, name: str) -> MemberId:
    return next(member.id for member in membership.members() if member.name == name)


def names(membership: FolderMembership) -> list[str]:
    return [member.name for member in membership.members()]


def signer_of(name: str) -> Signer:
    return Signer(keys_of(name), NOW + 100, seeded(f"signer {name}"))


async def no_heads() -> Sequence[JournalHead]:
    return ()


async def on_duty(membership: FolderMembership) -> None:
    await run_duties(membership, membership._installation, no_heads)


@pytest.fixture
def devices() -> Devices:
    return Devices()


@pytest.fixture
async def three(devices: Devices) -> Three:
    """ann, who made the folder; bob, an admin; cid, an editor. All know all."""
    host = devices.device("ann")
    ann = await new_folder(host)
    bob = await bring_in(ann, host, devices.device("bob"), "bob", Role.ADMIN)
    cid = await bring_in(ann, host, devices.device("cid"), "cid")
    await tell(ann, bob)
    return ann, bob, cid


# --- growing ---------------------------------------------------------------------------------------------------------


async def test_maker_is_the_only_member_and_an_owner(devices: Devices, autojump_clock: MockClock) -> None:
    ann = await new_folder(devices.device("ann"))
    (member,) = ann.members()
    assert (member.name, member.role, member.is_us, member.devices[0].name) == ("ann", Role.OWNER, True, "ann's laptop")
    assert ann.folder_name == "Photos"
    assert ann.rights() == Rights(publishes=True, exchanges=True)
    assert ann.is_current and ann.is_complete and ann.problems() == ()


async def test_newcomer_has_the_same_keys(three: Three, autojump_clock: MockClock) -> None:
    ann, bob, cid = three
    sealed = bytes(ann.keyring().cipher().seal(BlockKind.DATA, b"x" * 100).ciphertext)
    pid = ann.keyring().cipher().pid(BlockKind.DATA, b"x" * 100)
    for other in (bob, cid):
        assert other.keyring().cipher().open_untrusted(BlockKind.DATA, pid, 100, sealed) == b"x" * 100
        assert other.label == ann.label
    assert names(cid) == ["ann", "bob", "cid"]


async def test_taken_name_gets_a_number(devices: Devices, autojump_clock: MockClock) -> None:
    host = devices.device("ann")
    ann = await new_folder(host)
    for name in ("one", "two"):
        await ann.admit(keys_of(name).public, "ann", Role.EDITOR)
    assert sorted(names(ann)) == ["ann", "ann-2", "ann-3"]


async def test_admissions_at_once_share_an_epoch(devices: Devices, autojump_clock: MockClock) -> None:
    ann = await new_folder(devices.device("ann"))
    async with trio.open_nursery() as nursery:
        for name in ("one", "two", "three", "four"):
            nursery.start_soon(ann.admit, keys_of(name).public, name, Role.EDITOR)
    assert len(ann.members()) == 5
    assert ann.epoch.number <= 3  # one at once, the others together


async def test_first_of_several_waits_a_moment_for_the_others(devices: Devices, autojump_clock: MockClock) -> None:
    ann = await new_folder(devices.device("ann"))
    began, admitted = trio.current_time(), []

    async def admit(name: str, after_s: float) -> None:
        await trio.sleep(after_s)
        await ann.admit(keys_of(name).public, name, Role.EDITOR, is_one_of_several=True)
        admitted.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        for number, name in enumerate(("one", "two", "three")):
            nursery.start_soon(admit, name, 0.2 * number)
    assert (len(ann.members()), ann.epoch.number) == (4, 2)
    assert max(admitted) < 2 * GATHER_S
    later = trio.current_time()
    await ann.admit(keys_of("four").public, "four", Role.EDITOR, is_one_of_several=True)
    assert trio.current_time() - later <= TOGETHER_S
    assert ann.epoch.number == 3


async def test_one_refused_admission_spares_the_others(devices: Devices, autojump_clock: MockClock) -> None:
    ann = await new_folder(devices.device("ann"))
    refused: list[TrustError] = []

    async def admit_ourselves() -> None:
        with pytest.raises(TrustError) as caught:
            await ann.admit(keys_of("ann").public, "again", Role.EDITOR)
        refused.append(caught.value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ann.admit, keys_of("one").public, "one", Role.EDITOR)
        nursery.start_soon(admit_ourselves)
        nursery.start_soon(ann.admit, keys_of("two").public, "two", Role.EDITOR)
    assert (len(refused), sorted(names(ann))) == (1, ["ann", "one", "two"])


async def test_cancelled_admission_is_not_made_later(devices: Devices, autojump_clock: MockClock) -> None:
    ann = await new_folder(devices.device("ann"))
    await ann.admit(keys_of("one").public, "one", Role.EDITOR)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ann.admit, keys_of("two").public, "two", Role.EDITOR)
        await trio.sleep(0.5)
        nursery.cancel_scope.cancel()
    await ann.admit(keys_of("three").public, "three", Role.EDITOR)
    assert sorted(names(ann)) == ["ann", "one", "three"]


async def test_editor_admits_and_removes_nobody(three: Three, autojump_clock: MockClock) -> None:
    ann, _, cid = three
    head = cid.head
    with pytest.raises(TrustError):
        await cid.admit(keys_of("eve").public, "eve", Role.EDITOR)
    with pytest.raises(TrustError):
        await cid.remove(member_id(cid, "ann"))
    with pytest.raises(TrustError):
        await cid.rotate()
    assert cid.head == head and not cid.may_admit(Role.VIEWER) and cid.may(Action.WRITE)
    assert ann.may_admit(Role.OWNER)


async def test_viewer_does_not_publish(devices: Devices, autojump_clock: MockClock) -> None:
    host = devices.device("ann")
    ann = await new_folder(host)
    vic = await bring_in(ann, host, devices.device("vic"), "vic", Role.VIEWER)
    assert vic.rights() == Rights(publishes=False, exchanges=True)
    assert ann.may_publish(ann.device, ann.head) and not ann.may_publish(vic.device, ann.head)


# --- sleeping and coming back ----------------------------------------------------------------------------------------


async def test_sleeper_comes_back_through_two_rotations(three: Three, autojump_clock: MockClock) -> None:
    ann, _, cid = three
    old_epoch = cid.epoch.id
    await ann.rotate()
    await ann.rotate()
    update = await tell(ann, cid)
    assert update == Update(changed=True, old_epoch=old_epoch, keys_arrived=True)
    assert cid.is_current and cid.is_complete and cid.label == ann.label
    assert cid.keyring().knows(old_epoch)


async def test_long_roster_comes_in_pages(
    three: Three, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    ann, _, cid = three
    for _ in range(5):
        await ann.rotate()
    monkeypatch.setattr(standing, "MAX_ENTRIES_IN_PAGE", 2)
    first = ann.page_for(cid.device, cid.asks_after)
    assert first is not None and len(first.entries) == 2 and first.wrap is None
    await tell(ann, cid)
    assert cid.head == ann.head and cid.is_current


async def test_member_that_was_let_in_fetches_everybodys_wraps(three: Three, autojump_clock: MockClock) -> None:
    ann, _, cid = three
    assert cid.asks_after < cid.roster.number  # an admission holds our own sealed secret only
    await tell(ann, cid)
    assert cid.is_complete
    page = cid.page_for(ann.device, 0)
    assert page is not None and page.wrap is not None and len(page.wraps) == 4  # three devices and the recovery key


async def test_entry_is_pushed_with_its_wraps(three: Three, autojump_clock: MockClock) -> None:
    ann, bob, cid = three
    await ann.rotate()
    update = await cid.submit_untrusted(RosterSubmit.decode_untrusted(ann.submission().encode()))
    assert update.keys_arrived and cid.head == ann.head
    await ann.rotate()
    await ann.rotate()
    assert (await bob.submit_untrusted(ann.submission())).behind
    await tell(cid, bob)
    await tell(ann, bob)
    assert bob.head == ann.head


async def test_page_of_what_is_known_changes_nothing(three: Three, autojump_clock: MockClock) -> None:
    ann, _, cid = three
    await tell(ann, cid)
    head, calls = cid.head, list[Update]()
    cid.on_update.append(calls.append)
    older = RosterPage(tuple(ann.roster.raw_after(-1)[:2]), 1)
    assert await cid.receive_untrusted(older) == Update()
    assert cid.head == head and calls == []


async def test_garbage_is_refused(three: Three, autojump_clock: MockClock) -> None:
    ann, _, cid = three
    await ann.rotate()
    (raw,) = ann.roster.raw_after(ann.roster.number - 1)
    for entry, error in ((b"\x00" * 100, CodecError), (raw[:-1] + bytes([raw[-1] ^ 1]), TrustError)):
        with pytest.raises(error):
            await cid.receive_untrusted(RosterPage((entry,), 9))
    assert cid.is_current


# --- leaving and being removed ---------------------------------------------------------------------------------------


async def test_removed_device_gets_only_the_entry_that_removed_it(three: Three, autojump_clock: MockClock) -> None:
    ann, bob, cid = three
    table = LabelTable()
    cid.install(table)
    await ann.rotate()
    update = await ann.remove(member_id(ann, "cid"))
    assert update.removed == {cid.device} and update.epoch_changed and update.evicts
    await ann.rotate()
    page = ann.page_for(cid.device, 0)
    assert page is not None and len(page.entries) == 1 and (page.wrap, page.wraps) == (None, ())
    assert (await tell(ann, cid)).we_are_out
    assert cid.is_out and cid.rights() == Rights(publishes=False, exchanges=False)
    assert cid.label is None and [id for id, _ in cid.problems()] == ["SY-TRUST-02"]
    assert len(table.labels()) == 1  # the control label: whoever lets it in again can say so
    with pytest.raises(TrustError):
        cid.outgoing_member()
    assert await tell(ann, cid) == Update()
    await tell(ann, bob)
    assert not bob.is_out and bob.label == ann.label


async def test_who_was_never_a_member_is_told_nothing(three: Three, autojump_clock: MockClock) -> None:
    assert three[0].page_for(DeviceId(b"e" * 32), 0) is None


async def test_removal_signed_by_nobody_we_know_is_not_believed(
    three: Three, devices: Devices, autojump_clock: MockClock
) -> None:
    ann, _, cid = three
    dan_here = devices.device("dan")
    dan = await bring_in(ann, devices.device("ann"), dan_here, "dan", Role.ADMIN)
    await tell(ann, dan)
    await dan.remove(member_id(dan, "cid"))  # cid slept while dan came
    with pytest.raises(RemoteProtocolError):
        await tell(dan, cid)
    assert not cid.is_out


@pytest.mark.parametrize("broken", ["signature", "rank"])
async def test_forged_removal_is_not_believed(three: Three, broken: str, autojump_clock: MockClock) -> None:
    ann, bob, cid = three
    await ann.rotate()
    await tell(ann, bob)
    if broken == "signature":
        await ann.remove(member_id(ann, "cid"))
        raw = ann.roster.raw_after(ann.roster.number - 1)[0]
        raw, victim = raw[:-1] + bytes([raw[-1] ^ 1]), cid
        with pytest.raises(TrustError):
            await victim.receive_untrusted(RosterPage((raw,), 9))
    else:
        await bob.leave()
        (raw,) = bob.roster.raw_after(bob.roster.number - 1)
        assert (await cid.receive_untrusted(RosterPage((raw,), 9))).behind
        victim = cid
    assert not victim.is_out


async def test_removal_survives_a_restart(devices: Devices, autojump_clock: MockClock) -> None:
    host, guest = devices.device("ann"), devices.device("cid")
    ann = await new_folder(host)
    cid = await bring_in(ann, host, guest, "cid")
    await ann.rotate()
    await ann.remove(member_id(ann, "cid"))
    await tell(ann, cid)
    assert (await restarted(guest, cid.folder_id)).is_out


async def test_removed_device_can_be_admitted_again(devices: Devices, autojump_clock: MockClock) -> None:
    host, guest = devices.device("ann"), devices.device("cid")
    ann = await new_folder(host)
    cid = await bring_in(ann, host, guest, "cid")
    await ann.rotate()
    await ann.remove(member_id(ann, "cid"))
    await tell(ann, cid)
    again = await bring_in(ann, host, guest, "cid")
    assert not again.is_out and again.is_current
    assert not (await restarted(guest, again.folder_id)).is_out


async def test_removal_seals_the_journals_of_that_member(three: Three, autojump_clock: MockClock) -> None:
    ann, bob, cid = three
    known, unknown = Incarnation(b"k" * 16), Incarnation(b"u" * 16)
    heads: Sequence[JournalHead] = [
        (cid.device, known, 17, ChangesetHash(b"h" * 32)),
        (ann.device, known, 5, ChangesetHash(b"g" * 32)),
    ]
    assert ann.sealed_at(cid.device, known) is None
    before = ann.head
    await ann.remove(member_id(ann, "cid"), heads)
    await tell(ann, bob)
    for membership in (ann, bob):
        assert membership.sealed_at(cid.device, known) == 17
        assert membership.sealed_at(cid.device, unknown) == 0
        assert membership.sealed_at(ann.device, known) is None
        assert membership.may_publish(cid.device, before) and not membership.may_publish(cid.device, membership.head)
        assert membership.sign_key(cid.device) == keys_of("cid").public.sign


async def test_departure_makes_the_first_in_rank_rotate(three: Three, autojump_clock: MockClock) -> None:
    ann, bob, cid = three
    await cid.leave()
    assert cid.is_out
    await bob.receive_untrusted(RosterPage(tuple(cid.roster.raw_after(bob.roster.number)), cid.roster.number))
    update = await ann.submit_untrusted(cid.submission())
    assert update.removed == {cid.device} and not update.epoch_changed
    epoch = ann.epoch.number
    async with trio.open_nursery() as nursery:
        nursery.start_soon(on_duty, ann)
        nursery.start_soon(on_duty, bob)
        await trio.sleep(PENDING_STEP_S)  # the owner's turn comes before the admin's
        assert (ann.epoch.number, bob.epoch.number) == (epoch + 1, epoch)
        await tell(ann, bob)
        await trio.sleep(10 * PENDING_STEP_S)
        nursery.cancel_scope.cancel()
    assert bob.epoch == ann.epoch and ann.roster.device(cid.device) is None


def stands(membership: FolderMembership) -> tuple[bool, bool, bool]:
    """Whether it has the newest keys, may have them, and lacks nothing that there is for it."""
    return membership.is_current, membership.may_read, membership.is_complete


async def test_admin_who_may_not_read_governs_and_opens_nothing(three: Three, autojump_clock: MockClock) -> None:
    ann, bob, cid = three
    everything_but_reading = ALL_CAPABILITIES & ~Capability.READ
    await ann.change_role(member_id(ann, "bob"), Role.ADMIN, everything_but_reading)
    await tell(ann, bob)
    await tell(ann, cid)
    assert stands(bob) == (False, False, True)
    assert [id for id, _ in bob.problems()] == ["SY-TRUST-05"]
    assert bob.secrets is not None and bob.secrets.of(ann.epoch.id) is None
    ciphertext = bytes(ann.keyring().cipher().seal(BlockKind.DATA, b"not for bob").ciphertext)
    pid = ann.keyring().cipher().pid(BlockKind.DATA, b"not for bob")
    with pytest.raises(EpochKeyMissing):
        bob.keyring().cipher(ann.epoch.id)
    with pytest.raises(BlockRefused):
        bob.keyring().cipher().open_untrusted(BlockKind.DATA, pid, 11, ciphertext)
    assert cid.keyring().cipher(ann.epoch.id).open_untrusted(BlockKind.DATA, pid, 11, ciphertext) == b"not for bob"
    with pytest.raises(TrustError, match="no right to open epoch"):
        await bob.rotate()

    epoch = ann.epoch
    update = await bob.remove(member_id(bob, "cid"))
    assert update.removed == {cid.device} and not update.epoch_changed
    await tell(bob, ann)
    assert ann.roster.device(cid.device) is None and ann.epoch == epoch and ann.roster.rotation_pending
    await ann.rotate()
    await tell(ann, bob)
    assert bob.epoch == ann.epoch != epoch and stands(bob) == (False, False, True)

    await ann.change_role(member_id(ann, "bob"), Role.ADMIN, ALL_CAPABILITIES)
    await tell(ann, bob)
    assert stands(bob)[:2] == (True, True) and bob.problems() == ()
    assert bob.keyring().cipher(epoch.id).open_untrusted(BlockKind.DATA, pid, 11, ciphertext) == b"not for bob"


async def test_last_owner_cannot_leave(three: Three, autojump_clock: MockClock) -> None:
    with pytest.raises(TrustError):
        await three[0].leave()


# --- time ------------------------------------------------------------------------------------------------------------


async def test_epoch_is_thirty_days_old_at_most(three: Three, devices: Devices, autojump_clock: MockClock) -> None:
    ann, bob, _ = three
    epoch = ann.epoch.number
    async with trio.open_nursery() as nursery:
        nursery.start_soon(on_duty, ann)
        nursery.start_soon(on_duty, bob)
        await trio.sleep(3600)
        assert ann.epoch.number == epoch
        devices.clock.ahead_s += 30 * DAY_S
        await trio.sleep(5 * 3600)
        assert (ann.epoch.number, bob.epoch.number) == (epoch + 1, epoch)  # the owner's turn; then would be the admin's
        await tell(ann, bob)
        await trio.sleep(20 * 3600)
        assert bob.epoch == ann.epoch
        nursery.cancel_scope.cancel()


async def test_no_entry_for_45_days_stops_the_exchange(
    three: Three, devices: Devices, autojump_clock: MockClock
) -> None:
    ann = three[0]
    devices.clock.ahead_s += 46 * DAY_S
    assert ann.rights() == Rights(publishes=True, exchanges=False)
    assert [id for id, _ in ann.problems()] == ["SY-TRUST-04"]
    await ann.rotate()
    assert ann.rights().exchanges and ann.problems() == ()


# --- two histories, older ones, wrong secrets ------------------------------------------------------------------------


@pytest.fixture
async def owners(devices: Devices) -> Three:
    """ann, bob and cid, all owners, and all know all."""
    host = devices.device("ann")
    ann = await new_folder(host)
    bob = await bring_in(ann, host, devices.device("bob"), "bob", Role.OWNER)
    cid = await bring_in(ann, host, devices.device("cid"), "cid", Role.OWNER)
    await tell(ann, bob)
    return ann, bob, cid


async def test_two_rotations_at_once_become_one_history(three: Three, autojump_clock: MockClock) -> None:
    ann, bob, cid = three
    await ann.rotate()
    await bob.rotate()
    left = bob.epoch.id
    await tell(bob, cid)
    for one, other in ((bob, ann), (ann, bob), (ann, cid)):
        update = await tell(one, other)
        assert not update.fork and not other.has_fork and other.is_current
        assert update.switched == (other is not ann)
    assert ann.head == bob.head == cid.head and ann.epoch.id != left
    async with trio.open_nursery() as nursery:
        for member in (ann, bob, cid):
            nursery.start_soon(on_duty, member)
        for _ in range(12):
            await trio.sleep(PENDING_STEP_S)
            await tell(ann, bob)
            await tell(bob, cid)
            await tell(cid, ann)
            await tell(ann, bob)
        nursery.cancel_scope.cancel()
    assert ann.head == bob.head == cid.head and not ann.roster.is_unmerged
    for member in (ann, bob, cid):
        assert member.secrets is not None and member.secrets.of(left) is not None, (
            "what was written then stays readable"
        )


async def test_admission_lost_in_a_fork_is_made_again_by_its_author(three: Three, autojump_clock: MockClock) -> None:
    ann, bob, _ = three
    await ann.rotate()
    await bob.admit(keys_of("dan").public, "dan", Role.VIEWER)
    await tell(bob, ann)
    await tell(ann, bob)
    assert "dan" not in names(bob) and bob.next_duty(0.0) is not None
    await ann.merge()
    await tell(ann, bob)
    await bob.say_again()
    await tell(bob, ann)
    assert names(ann) == names(bob) and "dan" in names(ann)


async def test_fork_stops_the_folder_on_both_sides(owners: Three, autojump_clock: MockClock) -> None:
    ann, bob, cid = owners
    table, calls = LabelTable(), list[Update]()
    ann.install(table)
    ann.on_update.append(calls.append)
    await ann.remove(member_id(ann, "bob"))
    await bob.remove(member_id(bob, "ann"))
    await tell(bob, cid)
    for one, other in ((bob, ann), (ann, bob), (ann, cid)):
        update = await tell(one, other)
        assert update.fork and update.evicts
        assert other.has_fork and other.label is None
        assert not other.rights().exchanges and other.rights().waits
        assert "SY-FORK-01" in [id for id, _ in other.problems()]
        with pytest.raises(TrustError):
            await other.rotate()
    assert calls[-1].fork and len(table.labels()) == 1  # the control label stays
    await cid.decide(0)
    await tell(cid, ann)
    assert ann.head == cid.head and not cid.has_fork and not ann.has_fork and not ann.is_out
    assert cid.role_of(bob.device) is None and not bob.rights().exchanges
    page = cid.page_for(bob.device, 0)
    assert page is not None and len(page.entries) == 1 and page.wrap is None


async def test_device_that_was_taken_out_cannot_stop_the_folder(three: Three, autojump_clock: MockClock) -> None:
    """It signs as of a day on which it counted: that is rightly signed, and yet decides nothing."""
    ann, bob, cid = three
    then, secrets, signer = cid.roster, cid.secrets, signer_of("cid")
    assert secrets is not None
    late = authority.leave(then, secrets, signer).entry
    still_in = await ann.rotate(), await tell(ann, bob)
    assert still_in[0].epoch_changed
    await ann.remove(member_id(ann, "cid"))
    await tell(ann, bob)
    for member in (ann, bob):
        update = await member.submit_untrusted(RosterSubmit(late))
        assert update == Update(changed=True) and not member.has_fork and member.label is not None


async def test_name_that_is_none_does_not_hide_its_owner(three: Three, autojump_clock: MockClock) -> None:
    ann, bob, _ = three
    assert ann.secrets is not None
    known = ann.roster.member_of(bob.device)
    assert known is not None
    members = dict(ann.roster.members)
    ann.roster._state.members[known.id] = replace(known, name_sealed=bytes(48))
    assert ann.member_name(bob.device) == "(unreadable)"
    assert len(ann.members()) == len(members)
    await ann.remove(known.id)
    assert bob.device not in [device.id for device in ann.devices()]


async def test_fork_is_found_below_the_heads(three: Three, autojump_clock: MockClock) -> None:
    ann, bob, _ = three
    await ann.rotate()
    for _ in range(3):
        await bob.rotate()
    assert (await tell(ann, bob)).switched and bob.head == ann.head
    await tell(bob, ann)
    assert ann.head == bob.head


async def test_head_that_its_roster_does_not_have_is_refused(three: Three, autojump_clock: MockClock) -> None:
    ann, bob, _ = three

    async def fetch(after: int) -> RosterPage:
        page = ann.page_for(bob.device, after)
        assert page is not None
        return page

    with pytest.raises(RemoteProtocolError):
        await bob.catch_up(fetch, Head(9, EntryHash(b"x" * 32)))
    assert not bob.has_fork


async def test_fork_survives_a_restart(devices: Devices, autojump_clock: MockClock) -> None:
    host, guest = devices.device("ann"), devices.device("bob")
    ann = await new_folder(host)
    bob = await bring_in(ann, host, guest, "bob", Role.OWNER)
    await ann.remove(member_id(ann, "bob"))
    await bob.remove(member_id(bob, "ann"))
    await tell(ann, bob)
    again = await restarted(guest, bob.folder_id)
    assert again.has_fork and again.label is None


async def test_branch_that_lost_survives_a_restart(devices: Devices, autojump_clock: MockClock) -> None:
    host, guest = devices.device("ann"), devices.device("bob")
    ann = await new_folder(host)
    bob = await bring_in(ann, host, guest, "bob", Role.ADMIN)
    await ann.rotate()
    await bob.admit(keys_of("dan").public, "dan", Role.VIEWER)
    left = bob.epoch.id
    await tell(ann, bob)
    again = await restarted(guest, bob.folder_id)
    assert again.head == bob.head == ann.head and again.roster.is_unmerged
    assert again.secrets is not None and again.secrets.of(left) is not None
    await tell(again, ann)
    await ann.merge()
    await tell(ann, again)
    await again.say_again()
    assert "dan" in names(again)


async def test_entry_dated_days_ahead_is_refused_until_its_day(
    three: Three, devices: Devices, autojump_clock: MockClock
) -> None:
    ann, bob, _ = three
    devices.clock.ahead_s += 3 * DAY_S
    await ann.rotate()
    devices.clock.ahead_s -= 3 * DAY_S
    with pytest.raises(TrustError) as caught:
        await tell(ann, bob)
    assert caught.value.id == "SY-CLOCK-01" and bob.head != ann.head
    devices.clock.ahead_s += 2 * DAY_S
    await tell(ann, bob)
    assert bob.head == ann.head and bob.is_current


async def test_roster_older_than_the_offer_is_refused(devices: Devices, autojump_clock: MockClock) -> None:
    host, guest = devices.device("ann"), devices.device("bob")
    ann = await new_folder(host)
    await ann.admit(guest.keys.public, "bob", Role.EDITOR)
    old = admission_of(ann, guest)
    await ann.rotate()
    with pytest.raises(Rollback):
        await join_folder(guest, offer_of(ann, host), old)
    assert await guest.on_disk(guest.db.load_roster, ann.folder_id) is None


async def test_roster_older_than_the_one_known_is_refused(devices: Devices, autojump_clock: MockClock) -> None:
    host, guest = devices.device("ann"), devices.device("bob")
    ann = await new_folder(host)
    bob = await bring_in(ann, host, guest, "bob")
    offer, old = offer_of(ann, host), admission_of(ann, guest)
    await ann.rotate()
    await tell(ann, bob)
    again = await join_folder(guest, offer, old)
    assert again.head == ann.head  # what it knew already is not forgotten


async def test_admission_for_somebody_else_is_refused(devices: Devices, autojump_clock: MockClock) -> None:
    host, guest = devices.device("ann"), devices.device("bob")
    ann = await new_folder(host)
    await ann.admit(guest.keys.public, "bob", Role.EDITOR)
    with pytest.raises(TrustError):
        await join_folder(devices.device("eve"), offer_of(ann, host), admission_of(ann, guest))


async def test_entries_count_without_the_secret_and_old_blocks_stay_readable(
    devices: Devices, autojump_clock: MockClock
) -> None:
    host, guest = devices.device("ann"), devices.device("bob")
    ann = await new_folder(host)
    bob = await bring_in(ann, host, guest, "bob")
    old = bob.epoch.id
    await ann.rotate()
    bare = RosterPage(tuple(ann.roster.raw_after(bob.roster.number)), ann.roster.number)
    assert (await bob.receive_untrusted(bare)) == Update(changed=True, old_epoch=old)
    for membership in (bob, await restarted(guest, bob.folder_id)):
        assert membership.head == ann.head and not membership.is_current and membership.label is None
        assert membership.keyring().current == old and not membership.rights().exchanges
        assert membership.asks_after < membership.roster.number
    assert (await tell(ann, bob)).keys_arrived
    assert bob.is_current and (await restarted(guest, bob.folder_id)).is_current


async def test_wraps_of_another_epoch_are_not_taken(three: Three, autojump_clock: MockClock) -> None:
    ann, _, cid = three
    old = ann.page_for(cid.device, 0)
    await ann.rotate()
    new = ann.page_for(cid.device, cid.roster.number)
    assert old is not None and new is not None
    await cid.receive_untrusted(replace(new, wrap=old.wrap, proof=old.proof, wraps=old.wraps))
    assert cid.head == ann.head and not cid.is_current and cid.problems() == ()
    assert (await tell(ann, cid)).keys_arrived


class FalseSealer(HpkeSealer):
    """An admin's that gives everybody another secret than the certificates are made of."""

    def seal(self, seal_public: bytes, plaintext: bytes, info: bytes) -> bytes:
        return super().seal(seal_public, plaintext[:-40] + bytes(40), info)


async def test_secret_that_does_not_fit_the_certificate_is_refused(devices: Devices, autojump_clock: MockClock) -> None:
    host, guest = devices.device("ann"), devices.device("bob")
    ann = await new_folder(host)
    bob = await bring_in(ann, host, guest, "bob")
    eve = await bring_in(ann, host, devices.device("eve", sealer=FalseSealer()), "eve", Role.ADMIN)
    await tell(ann, bob)
    old = bob.epoch.id
    await eve.rotate()
    await tell(eve, bob)
    assert bob.head == eve.head and not bob.is_current and bob.keyring().current == old
    assert [id for id, _ in bob.problems()] == ["SY-TRUST-01"]


# --- disk ------------------------------------------------------------------------------------------------------------


async def test_restart_loses_nothing(devices: Devices, tmp_path: Path, autojump_clock: MockClock) -> None:
    host = devices.device("ann", home=tmp_path)
    ann = await new_folder(host)
    bob = await bring_in(ann, host, devices.device("bob"), "bob")
    await ann.rotate()
    host.db.close()
    host = devices.device("ann", home=tmp_path)
    again = await restarted(host, ann.folder_id)
    assert (again.head, again.label, names(again)) == (ann.head, ann.label, ["ann", "bob"])
    assert again.is_complete and again.keyring().knows(bob.epoch.id)
    assert (await tell(again, bob)).keys_arrived
    assert (tmp_path / "device.db").stat().st_mode & 0o777 == 0o600
    await again.rotate()
    host.db.close()


async def test_what_the_disk_refuses_does_not_happen(devices: Devices, autojump_clock: MockClock) -> None:
    host = devices.device("ann")
    ann = await new_folder(host)
    head, calls = ann.head, list[Update]()
    ann.on_update.append(calls.append)
    host.db._db.execute("PRAGMA query_only=1")
    for change in (ann.rotate(), ann.admit(keys_of("bob").public, "bob", Role.EDITOR)):
        with pytest.raises(sqlite3.OperationalError):
            await change
    assert ann.head == head and calls == []
    host.db._db.execute("PRAGMA query_only=0")
    await ann.rotate()
    assert len(calls) == 1


async def test_damaged_roster_on_disk_is_an_error(devices: Devices, autojump_clock: MockClock) -> None:
    host = devices.device("ann")
    ann = await new_folder(host)
    await ann.rotate()
    host.db._db.execute("UPDATE entry SET raw=zeroblob(200) WHERE number=1")
    with pytest.raises(StoreCorrupt):
        await restarted(host, ann.folder_id)


async def test_labels_have_changed_before_anybody_is_told(three: Three, autojump_clock: MockClock) -> None:
    ann = three[0]
    table, seen = LabelTable(), list[frozenset[str]]()
    ann.install(table)
    before, old = table.labels(), ann.label
    ann.on_update.append(lambda update: seen.append(table.labels()))
    await ann.rotate()
    assert len(before) == len(seen[0]) == 2 and old not in seen[0] and ann.label in seen[0]
    ann.uninstall()
    assert table.labels() == frozenset()


async def test_exported_roster_is_what_others_verify(three: Three, autojump_clock: MockClock) -> None:
    ann = three[0]
    assert Roster.from_file_untrusted(ann.roster.export()).head == ann.head
