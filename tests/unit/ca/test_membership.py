"""Guards of the rules that nothing but a forger runs into: each test names what would follow without it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ca import authority
from ca.entries import Admit, Change, DeviceLost, EntryDevice, JournalSeal, Link, Merge, Reactivate, Recover, Rotate
from ca.errors import TrustError
from ca.ids import DeviceId
from ca.membership import CLOCK_SLACK_S
from ca.roles import Capability, Role
from ca.roster import EpochInfo
from tests.helpers.rosters import Company, epoch_after, forge, parted, public_of

READS = Capability.READ | Capability.WRITE


@pytest.fixture
def company() -> Company:
    """ann owns; ada administrates, alan without reading; ed and eve edit."""
    made = Company()
    made.admit("ada", Role.ADMIN)
    made.admit("alan", Role.ADMIN, Capability.REMOVE | Capability.ADMIT | Capability.ROLES)
    made.admit("ed", Role.EDITOR)
    made.admit("eve", Role.EDITOR)
    return made


def refuse(company: Company, changes: Sequence[Change], why: str, *, by: str, opens: int | None = None) -> None:
    """`opens`: the entry opens an epoch for so many more recipients."""
    epoch = None if opens is None else epoch_after(company, recipients=opens)
    with pytest.raises(TrustError, match=why):
        company.roster.extend_untrusted([forge(company, changes, epoch, by=by).raw()])


def seal(company: Company, name: str) -> JournalSeal:
    return JournalSeal(company.id(name), bytes(16), 7, bytes(32))


# --- the date --------------------------------------------------------------------------------------------------------


def test_entry_dated_days_before_the_one_that_it_continues_is_refused(company: Company) -> None:
    """Else the end of a membership could be gone round by an early date."""
    entry = forge(company, [Rotate()], epoch_after(company, at=company.now - CLOCK_SLACK_S), by="ann")
    company.roster.extend_untrusted([entry.but(time=company.now - CLOCK_SLACK_S).raw()])
    early = forge(company, [Rotate()], epoch_after(company, at=company.now - CLOCK_SLACK_S - 1), by="ann")
    with pytest.raises(TrustError, match="dated days before"):
        company.roster.extend_untrusted([early.but(time=company.now - CLOCK_SLACK_S - 1).raw()])


# --- what is noted ---------------------------------------------------------------------------------------------------


def test_journal_of_a_lost_device_is_sealed_and_its_rights_end(company: Company) -> None:
    ed, mark = company.id("ed"), seal(company, "ed")
    before = company.roster.head
    company.did(authority.device_lost(company.roster, company.secrets, company.signer("ann"), ed, [mark]))
    roster = company.roster
    assert [one for _, one in roster.journal_seals(ed)] == [mark]
    assert roster.role_at(before, ed) is Role.EDITOR and roster.role_at(roster.head, ed) is None


def test_journal_of_who_gets_another_role_is_sealed(company: Company) -> None:
    ed, mark = company.member("ed").id, seal(company, "ed")
    company.did(
        authority.change_role(company.roster, company.secrets, company.signer("ann"), ed, Role.VIEWER, journals=[mark])
    )
    assert [one for _, one in company.roster.journal_seals(company.id("ed"))] == [mark]


def test_recovery_seals_the_journals_of_who_goes_and_ends_their_rights(company: Company) -> None:
    ada, mark = company.id("ada"), seal(company, "ada")
    company.did(
        authority.recover(
            company.roster, company.secrets, company.signer("ann"), company.recovery_key,
            devices=[company.id("ann"), company.id("ed")], owner=company.member("ann").id, journals=[mark],
        )
    )  # fmt: skip
    roster = company.roster
    assert [one for _, one in roster.journal_seals(ada)] == [mark]
    assert roster.role_at(roster.head, ada) is None and roster.role_at(roster.head, company.id("ed")) is Role.EDITOR


def test_recovery_takes_out_one_of_two_devices_of_a_member(company: Company) -> None:
    ed = company.member("ed")
    second = EntryDevice(public_of("ed's phone"), bytes(48))
    change = Admit(ed.id, ed.name_sealed, ed.role, ed.capabilities, (second,))
    company.did(authority.compose(company.roster, company.secrets, company.signer("ann"), [change]))
    company.recover(["ann", "ed"], owner="ann")
    roster = company.roster
    assert roster.role_at(roster.head, second.public.id) is None
    assert roster.role_at(roster.head, company.id("ed")) is Role.EDITOR


def test_recovery_keeps_no_device_that_is_not_a_members(company: Company) -> None:
    key = company.recovery_key
    staying = tuple(sorted([company.id("ann"), public_of("zoe").id], key=bytes))
    changes = [Recover(tuple(DeviceId(one) for one in staying), company.roster.recovery, ())]
    epoch = epoch_after(company, recipients=2 - company.roster.epoch.wraps_count)
    entry = forge(company, changes, epoch).but(signer=key.id, keys=key)
    with pytest.raises(TrustError, match="not a member's"):
        company.roster.extend_untrusted([entry.raw()])


# --- who may ---------------------------------------------------------------------------------------------------------


def test_membership_that_has_ended_does_not_come_back_by_reactivating(company: Company) -> None:
    ed = company.member("ed").id
    company.did(authority.expire(company.roster, company.secrets, company.signer("ann"), ed, company.now + 100))
    company.did(authority.suspend(company.roster, company.secrets, company.signer("ann"), ed))
    company.now += 200
    refuse(company, [Reactivate(ed)], "has ended", by="ann", opens=1)
    company.did(authority.expire(company.roster, company.secrets, company.signer("ann"), ed, None))
    company.did(authority.reactivate(company.roster, company.secrets, company.signer("ann"), ed))


def test_nobody_prolongs_a_membership_with_rights_that_they_do_not_hold(company: Company) -> None:
    """alan does not read, ed does."""
    with pytest.raises(TrustError, match="do not hold"):
        authority.expire(company.roster, company.secrets, company.signer("alan"), company.member("ed").id, None)
    authority.expire(company.roster, company.secrets, company.signer("ada"), company.member("ed").id, None)


def test_only_who_reads_links_an_epoch(company: Company) -> None:
    left = linked(company)
    change = Link(left.id, left.member_certificate, bytes(48))
    refuse(company, [change], "right to read", by="alan")
    company.roster.extend_untrusted([forge(company, [change], None, by="ed").raw()])


def linked(company: Company) -> EpochInfo:
    """An epoch of a branch that was merged, and that nobody has linked yet."""
    other = parted(company, "other")
    company.rotate(by="ann")
    other.rotate(by="ada")
    company.meet(other)
    company.rotate(by="ann")
    return other.roster.epoch


@pytest.mark.parametrize(("by", "why"), [("alan", "right to open epoch"), ("alex", "right to remove")])
def test_merging_takes_the_rights_to_open_an_epoch_and_to_remove(company: Company, by: str, why: str) -> None:
    company.admit("alex", Role.ADMIN, READS | Capability.ADMIT)
    other = parted(company, "other")
    company.rotate(by="ann")
    other.rotate(by="ada")
    change = Merge(company.roster.entries[-2].hash, (other.roster.head,), ())
    refuse(company, [change], why, by=by, opens=0)
    company.roster.extend_untrusted([forge(company, [change], epoch_after(company), by="ada").raw()])


def test_device_that_is_no_members_is_not_lost(company: Company) -> None:
    refuse(company, [DeviceLost(public_of("zoe").id, ())], "no such device", by="ann", opens=0)
