"""Whose turn it is to do what for a folder's membership."""

from __future__ import annotations

import pytest

from ca import authority
from ca.ids import EpochId
from ca.roles import Role
from syncd.engine.duties import PENDING_STEP_S, SCHEDULED_STEP_S, Duty, Kind, next_duty
from tests.helpers.rosters import DAY_S, NOW, Company, parted


@pytest.fixture
def company() -> Company:
    """ann, an owner; bob, an admin; cid, an editor."""
    company = Company()
    company.admit("bob", Role.ADMIN)
    company.admit("cid", Role.EDITOR)
    return company


def duty(company: Company, name: str, *, days: float = 0, luck: float = 0.0) -> Duty | None:
    now = NOW + int(days * DAY_S)
    return next_duty(company.roster, company.id(name), now, luck, holds=company.secrets.older)


def wait(company: Company, name: str, *, days: float = 0, luck: float = 0.0) -> float | None:
    found = duty(company, name, days=days, luck=luck)
    assert found is None or found.kind is Kind.ROTATE
    return None if found is None else found.wait_s


def test_owner_rotates_first_then_the_admin_and_an_editor_never(company: Company) -> None:
    owner, admin = wait(company, "ann"), wait(company, "bob")
    assert owner is not None and admin is not None and admin - owner == SCHEDULED_STEP_S
    assert wait(company, "cid") is None


def test_rotation_that_is_overdue_does_not_wait(company: Company) -> None:
    assert wait(company, "ann", days=31) == 0.0
    assert wait(company, "ann", days=29) == DAY_S


def test_departure_calls_for_a_rotation_soon(company: Company) -> None:
    company.leave("cid")
    assert company.roster.rotation_pending
    assert wait(company, "ann", luck=0.5) == PENDING_STEP_S / 2
    assert wait(company, "bob", luck=0.5) == PENDING_STEP_S * 1.5


def test_membership_that_ends_is_ended_by_those_who_may(company: Company) -> None:
    member = company.member("cid").id
    company.did(authority.expire(company.roster, company.secrets, company.signer("ann"), member, NOW + DAY_S))
    assert duty(company, "ann") == Duty(Kind.END, DAY_S, member)
    assert duty(company, "bob", days=2) == Duty(Kind.END, PENDING_STEP_S, member)
    assert duty(company, "cid", days=2) is None


def test_fork_is_merged_by_those_whose_rank_is_enough(company: Company) -> None:
    company.admit("otto", Role.OWNER)
    other = parted(company, "other")
    company.rotate(by="ann")
    other.remove("bob", by="otto")
    company.meet(other)
    assert duty(company, "ann") == Duty(Kind.MERGE, 0.0)
    assert duty(company, "otto") == Duty(Kind.MERGE, PENDING_STEP_S)
    assert duty(company, "bob") is None  # who goes by the fork has nothing to do any more


def test_epoch_that_a_fork_left_behind_is_linked_by_who_has_its_secret(company: Company) -> None:
    other = parted(company, "other")
    company.rotate(by="ann")
    other.rotate(by="bob")
    company.meet(other)
    company.rotate(by="ann")
    left = EpochId(other.roster.epoch.id)
    roster, cid = company.roster, company.id("cid")
    assert next_duty(roster, cid, NOW, 0.5, holds={left}) == Duty(Kind.LINK, PENDING_STEP_S / 2)
    assert next_duty(roster, cid, NOW, 0.5, holds=set()) is None


def test_entries_lost_in_a_fork_are_made_again_once_it_is_merged(company: Company) -> None:
    bob = company.id("bob")
    assert next_duty(company.roster, bob, NOW, 0.0, has_lost=True) == Duty(Kind.SAY_AGAIN, 0.0)


def test_removal_of_an_owner_is_confirmed_by_all_others(company: Company) -> None:
    company.admit("otto", Role.OWNER)
    company.admit("olga", Role.OWNER)
    company.admit("odo", Role.OWNER)
    company.remove("otto", by="ann")
    due = [duty(company, name) for name in ("olga", "odo")]
    assert [one and one.kind for one in due] == [Kind.CONFIRM, Kind.CONFIRM]
    assert len({one and one.wait_s for one in due}) == 2, "each in its turn, or they would fork the roster"
    assert (wait(company, "ann") or 0) >= 30 * DAY_S
    company.did(authority.stand_by(company.roster, company.secrets, company.signer("olga")))
    assert (wait(company, "olga") or 0) >= 30 * DAY_S
    assert duty(company, "odo") == due[1]


@pytest.mark.parametrize("what", ["an owner's device", "an admin's device", "an admin", "an editor"])
def test_lost_devices_and_leaving_of_who_governs_are_confirmed(company: Company, what: str) -> None:
    """Or whoever has the key undoes, by an earlier date, what the same member signed and nobody else has seen."""
    company.admit("otto", Role.OWNER)
    company.admit("olga", Role.OWNER)
    if what == "an owner's device":
        company.lost("otto", by="ann")
    elif what == "an admin's device":
        company.lost("bob", by="ann")
    else:
        company.leave("bob" if what == "an admin" else "cid")
        company.rotate(by="ann")
    found = duty(company, "olga")
    assert found is not None
    assert (found.kind is Kind.CONFIRM) == (what != "an editor")
