"""What a change of the roster means for one device."""

from __future__ import annotations

import pytest

from ca.entries import decode_entry_untrusted
from ca.errors import TrustError
from ca.ids import DeviceId, EpochId
from ca.roles import Capability, Role
from syncd.engine.membership import Update, compare, free_name, takes_out
from tests.helpers.rosters import Company

ANN, BOB = DeviceId(b"a" * 32), DeviceId(b"b" * 32)


@pytest.fixture
def company() -> Company:
    """ann, an owner; bob, an admin; cid, an editor."""
    company = Company()
    company.admit("bob", Role.ADMIN)
    company.admit("cid", Role.EDITOR)
    return company


def test_comparison_tells_who_came_and_who_went(company: Company) -> None:
    before = company.roster
    company.admit("dan", Role.VIEWER)
    company.remove("cid")
    update = compare(before, company.roster, company.id("ann"))
    assert update.admitted == {company.id("dan")} and update.removed == {company.id("cid")}
    assert update.old_epoch == before.epoch.id and update.evicts and not update.we_are_out
    assert compare(before, company.roster, company.id("cid")).we_are_out
    assert compare(before, before, company.id("cid")) == Update()


def test_admission_evicts_nobody(company: Company) -> None:
    before = company.roster
    company.admit("dan", Role.VIEWER)
    assert not compare(before, company.roster, company.id("ann")).evicts


def test_who_came_and_went_between_two_looks_is_evicted_too(company: Company) -> None:
    """With the epoch that let it in it got the secrets of those before, that of ours included."""
    before = company.roster
    company.admit("dan", Role.VIEWER)
    company.remove("dan")
    update = compare(before, company.roster, company.id("ann"))
    assert update.barred == {company.id("dan")} and not update.admitted and update.evicts
    slept = company.roster
    company.admit("eve", Role.VIEWER)
    assert not compare(slept, company.roster, company.id("ann")).evicts  # an old removal evicts nobody again


@pytest.mark.parametrize(("role", "capabilities"), [(Role.VAULT, None), (Role.ADMIN, Capability.ADMIT)])
def test_who_may_read_no_longer_is_evicted(company: Company, role: Role, capabilities: Capability | None) -> None:
    before = company.roster
    company.change_role("bob", role, capabilities)
    assert compare(before, company.roster, company.id("ann")).evicts


def test_another_role_that_reads_evicts_nobody(company: Company) -> None:
    before = company.roster
    company.change_role("bob", Role.VIEWER)
    company.admit("dan", Role.VAULT)
    assert not compare(before, company.roster, company.id("ann")).evicts


def test_two_updates_together() -> None:
    first = Update(changed=True, old_epoch=EpochId(b"1" * 32), admitted=frozenset({ANN}), behind=True)
    second = Update(changed=True, old_epoch=EpochId(b"2" * 32), removed=frozenset({ANN, BOB}), keys_arrived=True)
    assert first | second == Update(
        changed=True, old_epoch=EpochId(b"1" * 32), removed=frozenset({ANN, BOB}), keys_arrived=True
    )
    assert Update() | first == first


# --- an entry that stands alone --------------------------------------------------------------------------------------


def test_removal_by_somebody_who_outranks_us_counts_alone(company: Company) -> None:
    slept = company.roster
    company.admit("dan", Role.VIEWER)
    entry = decode_entry_untrusted(company.remove("cid", by="bob").entry)
    assert takes_out(entry, slept, company.id("cid"))
    assert not takes_out(entry, slept, company.id("bob"))


def test_removal_by_a_stranger_does_not(company: Company) -> None:
    slept = company.roster
    company.admit("dan", Role.ADMIN)
    entry = decode_entry_untrusted(company.remove("cid", by="dan").entry)
    assert not takes_out(entry, slept, company.id("cid"))


def test_removal_of_an_equal_does_not(company: Company) -> None:
    company.admit("dan", Role.ADMIN)
    slept = company.roster
    company.remove("bob")
    alone = decode_entry_untrusted(company.roster.entries[-1].raw)
    assert takes_out(alone, slept, company.id("bob"))
    assert not takes_out(alone, slept, company.id("dan"))


def test_entry_that_is_not_newer_does_not(company: Company) -> None:
    company.remove("cid")
    entry = company.roster.entries[-1]
    assert not takes_out(entry, company.roster, company.id("cid"))


def test_wrong_signature_is_an_error(company: Company) -> None:
    slept = company.roster
    raw = company.remove("cid").entry
    with pytest.raises(TrustError):
        takes_out(decode_entry_untrusted(raw[:-1] + bytes([raw[-1] ^ 1])), slept, company.id("cid"))


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "taken", "given"),
    [
        ("ben", set(), "ben"),
        ("ben", {"ben"}, "ben-2"),
        ("ben", {"ben", "ben-2"}, "ben-3"),
        ("ä" * 10, {"ä" * 10}, "ä" * 9 + "-2"),
    ],
)
def test_taken_name_gets_a_number_that_fits(wanted: str, taken: set[str], given: str) -> None:
    assert free_name(wanted, taken, 20) == given
