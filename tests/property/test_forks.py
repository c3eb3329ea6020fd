"""Whatever people sign in two partitions, everybody who knows the same entries comes to the same roster.

It does not hold for every three partitions, nor for whoever goes twice: those failures are kept below.
"""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ca import authority
from ca.errors import TrustError
from ca.roles import Role
from ca.roster import Roster
from tests.helpers.rosters import Company, parted

PEOPLE = ["ann", "otto", "olga", "ada", "alex", "ed"]
VERBS = ["remove", "suspend", "rotate", "leave", "lost", "role", "admit"]

acts = st.lists(
    st.tuples(st.sampled_from(VERBS), st.sampled_from(PEOPLE), st.sampled_from(PEOPLE), st.sampled_from(Role)),
    max_size=4,
)


def company() -> Company:
    made = Company()
    for name, role in zip(PEOPLE[1:], [Role.OWNER, Role.OWNER, Role.ADMIN, Role.ADMIN, Role.EDITOR], strict=True):
        made.admit(name, role)
    return made


def play(made: Company, script: list[tuple[str, str, str, Role]]) -> None:
    for verb, by, whom, role in script:
        with contextlib.suppress(TrustError):
            act(made, verb, by, whom, role)


def act(made: Company, verb: str, by: str, whom: str, role: Role) -> None:
    roster, secrets, signer = made.roster, made.secrets, made.signer(by)
    match verb:
        case "remove":
            made.remove(whom, by=by)
        case "suspend":
            made.did(authority.suspend(roster, secrets, signer, made.member(whom).id))
        case "rotate":
            made.rotate(by=by)
        case "leave":
            made.leave(by)
        case "lost":
            made.lost(whom, by=by)
        case "role":
            made.change_role(whom, role, by=by)
        case _:
            made.admit(f"guest of {by} {len(made.outcomes)}", role, by=by)


def summary(roster: Roster) -> object:
    active = {device for member in roster.members.values() for device in member.devices if roster.device(device)}
    return roster.quarrel or (roster.head, active, roster.is_unmerged, roster.recipients())


Script = list[tuple[str, str, str, Role]]

branches = st.lists(acts, min_size=2, max_size=3)


def takes_from_a_signer(scripts: list[Script]) -> bool:
    """Whether somebody who signs on one branch is acted upon, or leaves, on another."""
    signers = [{by for _, by, _, _ in script} for script in scripts]
    aimed_at = [
        {by if verb == "leave" else whom for verb, by, whom, _ in script if verb not in ("rotate", "admit")}
        for script in scripts
    ]
    return any(
        hit & signing for one, hit in enumerate(aimed_at) for other, signing in enumerate(signers) if one != other
    )


def go_twice(scripts: list[Script]) -> bool:
    """Whether one person acts upon themselves (leaves, reports the own device lost) on more than one branch."""
    goers = [{by for verb, by, whom, _ in script if verb == "leave" or by == whom} for script in scripts]
    return any(one & other for place, one in enumerate(goers) for other in goers[:place])


# Left out, because the property does not hold for them (test_what_is_not_decided_alike_yet): three branches of which
# one takes from a signer of another, and two on both of which one person takes themselves out.
decided_alike = branches.filter(
    lambda scripts: not takes_from_a_signer(scripts) if len(scripts) > 2 else not go_twice(scripts)
)


def outcomes_by_order(scripts: list[Script]) -> list[object]:
    """What each device ends with, by whose branch it begins and in which order the others arrive."""
    whole = company()
    made = [parted(whole, f"branch {number}") for number in range(len(scripts))]
    for branch, script in zip(made, scripts, strict=True):
        play(branch, script)
    found = []
    for first in made:
        others = [branch for branch in made if branch is not first]
        for order in (others, others[::-1]):
            roster = first.roster
            for branch in order:
                roster = roster.take_untrusted(branch.raws)
            found.append(summary(roster))
    return found


@given(decided_alike)
@example([[("remove", "ann", "otto", Role.VAULT)], [("remove", "otto", "ann", Role.VAULT)]])
@example([[("remove", "ann", "otto", Role.VAULT)], [("leave", "ann", "ann", Role.VAULT)]])
def test_order_of_arrival_does_not_matter(scripts: list[Script]) -> None:
    found = outcomes_by_order(scripts)
    assert all(one == found[0] for one in found)


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="branches are weighed in pairs, and one that is void against the chain of the moment is forgotten, though a "
    "third branch that comes later, or the order of two on which one person goes, would have made it count",
)
@pytest.mark.parametrize(
    "scripts",
    [
        pytest.param(
            [
                [("remove", "ann", "otto", Role.VAULT)],
                [("remove", "otto", "ann", Role.VAULT)],
                [("leave", "ann", "ann", Role.VAULT)],
            ],
            id="quarrel and a leave",
        ),
        pytest.param(
            [
                [("remove", "ann", "otto", Role.VAULT)],
                [("remove", "otto", "ann", Role.VAULT)],
                [("remove", "olga", "ann", Role.VAULT)],
            ],
            id="quarrel and a third owner",
        ),
        pytest.param(
            [
                [("remove", "ada", "ed", Role.VAULT)],
                [("remove", "otto", "ada", Role.VAULT)],
                [("rotate", "ann", "ann", Role.VAULT)],
            ],
            id="no quarrel",
        ),
        pytest.param(
            [[("leave", "ed", "ed", Role.VAULT)], [("lost", "ed", "ed", Role.VAULT)]],
            id="one person goes in two ways",
        ),
    ],
)
def test_what_is_not_decided_alike_yet(scripts: list[Script]) -> None:
    found = outcomes_by_order(scripts)
    assert all(one == found[0] for one in found)


@given(branches)
def test_who_was_taken_out_and_is_no_owner_is_out_in_the_end(
    scripts: list[Script],
) -> None:
    """A removal by an owner on the chain stands against whatever its target signed elsewhere."""
    whole = company()
    forger = parted(whole, "forger")
    whole.remove("ada", by="olga")
    for script in scripts:
        play(forger, [(verb, "ada", whom, role) for verb, _, whom, role in script])
    roster = whole.roster.take_untrusted(forger.raws)
    assert roster.device(whole.people["ada"].id) is None
    assert roster.head == whole.roster.head and not roster.quarrel and not roster.departures
