"""Whatever people sign in whatever partition, everybody who knows the same entries comes to the same roster."""

from __future__ import annotations

import contextlib

from hypothesis import given
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


branches = st.lists(acts, min_size=2, max_size=3)


@given(branches, st.randoms(use_true_random=False))
def test_order_of_arrival_does_not_matter(scripts: list[list[tuple[str, str, str, Role]]], dice: object) -> None:
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
    assert all(one == found[0] for one in found)


@given(branches)
def test_who_was_taken_out_and_is_no_owner_is_out_in_the_end(
    scripts: list[list[tuple[str, str, str, Role]]],
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
