"""Whatever people sign on however many islands, everybody who knows the same entries comes to the same roster."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from itertools import permutations

from hypothesis import example, given
from hypothesis import strategies as st

from ca import authority
from ca.entries import Admit, DeviceLost, EntryDevice, Remove
from ca.errors import TrustError
from ca.roles import Role
from ca.roster import Roster
from tests.helpers.rosters import Company, keys_of, parted

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

branches = st.lists(acts, min_size=2, max_size=4)


def islands(scripts: list[Script]) -> list[Company]:
    whole = company()
    made = [parted(whole, f"branch {number}") for number in range(len(scripts))]
    for branch, script in zip(made, scripts, strict=True):
        play(branch, script)
    return made


def met(first: Company, others: Sequence[Company]) -> Roster:
    """What a device ends with that meets the others in this order."""
    roster = first.roster
    for branch in others:
        roster = roster.take_untrusted(branch.raws)
    return roster


@given(branches)
@example([[("remove", "ann", "otto", Role.VAULT)], [("remove", "otto", "ann", Role.VAULT)]])
@example([[("remove", "ann", "otto", Role.VAULT)], [("leave", "ann", "ann", Role.VAULT)]])
@example([[("leave", "ed", "ed", Role.VAULT)], [("lost", "ed", "ed", Role.VAULT)]])
@example(
    [
        [("remove", "ann", "otto", Role.VAULT)],
        [("remove", "otto", "ann", Role.VAULT)],
        [("leave", "ann", "ann", Role.VAULT)],
    ]
)
@example(
    [
        [("remove", "ann", "otto", Role.VAULT)],
        [("remove", "otto", "ann", Role.VAULT)],
        [("remove", "olga", "ann", Role.VAULT)],
    ]
)
@example(
    [
        [("remove", "ada", "ed", Role.VAULT)],
        [("remove", "otto", "ada", Role.VAULT)],
        [("rotate", "ann", "ann", Role.VAULT)],
    ]
)
def test_order_of_arrival_does_not_matter(scripts: list[Script]) -> None:
    """Nor whether somebody in between met some of them twice."""
    made = islands(scripts)
    found = [summary(met(first, order)) for first, *order in permutations(made)]
    assert all(one == found[0] for one in found)


@given(branches)
def test_who_meets_the_half_of_it_first_comes_to_the_same(scripts: list[Script]) -> None:
    """Two who met other branches hand each other all that they kept."""
    made = islands(scripts)
    whole = met(made[0], made[1:])
    one, other = met(made[0], made[1:-1]), met(made[-1], made[-2:0:-1])
    one = one.take_untrusted([*other.raw_after(-1), *other.stray()])
    other = other.take_untrusted([*one.raw_after(-1), *one.stray()])
    assert summary(one) == summary(other) == summary(whole)
    assert one.quarrel or sorted(one.stray()) == sorted(other.stray())


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


@given(branches, st.lists(acts, min_size=1, max_size=3))
def test_who_was_taken_out_changes_nothing_whatever_else_happens(scripts: list[Script], forged: list[Script]) -> None:
    """ada is removed by an owner whom nobody takes out. Whatever she signs besides, on however many branches, beside
    whatever others do on theirs, is as if she had not signed it."""
    whole = company()
    made = [parted(whole, f"branch {number}") for number in range(len(scripts))]
    forgers = [parted(whole, f"forger {number}") for number in range(len(forged))]
    whole.remove("ada", by="olga")
    for branch, script in zip(made, scripts, strict=True):
        play(branch, [one for one in script if "ada" not in one and "olga" not in one and one[0] != "admit"])
    for forger, script in zip(forgers, forged, strict=True):
        play(forger, [(verb, "ada", whom, role) for verb, _, whom, role in script])
    without_her = met(whole, made)
    for order in permutations([*made, *forgers][:4]):
        roster = met(whole, [*order, *made, *forgers])
        assert summary(roster) == summary(without_her)


def second_device(made: Company, name: str) -> None:
    member, keys = made.member(name), keys_of(f"{name}2")
    change = Admit(
        member.id, member.name_sealed, member.role, member.capabilities, (EntryDevice(keys.public, bytes(48)),)
    )
    made.did(authority.compose(made.roster, made.secrets, made.signer("ann"), [change]))
    made.people[f"{name}2"] = keys


def rightful(script: Script, by: str) -> Script:
    """What somebody signs who still counts, and who takes out nobody of those who govern."""
    return [(verb, by, "ed", role) for verb, _, _, role in script if verb in ("remove", "rotate", "admit", "role")]


@given(acts, acts, st.lists(acts, min_size=1, max_size=3), st.sampled_from(["removed", "demoted", "left"]))
@example([("remove", "ada", "ed", Role.VAULT)], [], [[("leave", "ada", "ada", Role.VAULT)]], "removed")
@example([("remove", "ada", "ed", Role.VAULT)], [], [[("leave", "ada", "ada", Role.VAULT)]], "left")
@example([("admit", "ada", "ed", Role.VIEWER)], [], [[("lost", "ada", "ada", Role.VAULT)]], "demoted")
def test_what_was_signed_rightly_is_not_undone_by_its_signer(
    before: Script, more: Script, forged: list[Script], how: str
) -> None:
    """ada acts, and is out then. An owner signs behind it. Nothing that she dates back moves the chain."""
    whole = company()
    forgers = [parted(whole, f"forger {number}") for number in range(len(forged))]
    play(whole, rightful(before, "ada"))
    if how == "left":
        whole.leave("ada")
        whole.rotate(by="ann")
    elif how == "removed":
        whole.remove("ada", by="olga")
    else:
        whole.change_role("ada", Role.VIEWER, by="olga")
    play(whole, rightful(more, "ann"))
    for forger, script in zip(forgers, forged, strict=True):
        play(forger, [(verb, "ada", whom, role) for verb, _, whom, role in script])
    for order in permutations(forgers):
        roster = met(whole, order)
        assert roster.head == whole.roster.head and not roster.quarrel
        gone = {change.member for change in roster.departures if isinstance(change, Remove)}
        assert gone <= {whole.member("ada").id}, "who is demoted can still leave"


@given(acts, st.lists(acts, min_size=1, max_size=3))
@example([("remove", "olga", "ed", Role.VAULT)], [[("lost", "olga2", "olga", Role.VAULT)]])
@example([("remove", "olga", "ed", Role.VAULT)], [[("leave", "olga2", "olga", Role.VAULT)]])
def test_stolen_device_undoes_nothing_that_its_member_signed(before: Script, forged: list[Script]) -> None:
    """It can take along its own member, and nobody else."""
    whole = company()
    second_device(whole, "olga")
    forgers = [parted(whole, f"forger {number}") for number in range(len(forged))]
    play(whole, rightful(before, "olga"))
    whole.lost("olga2", by="olga")
    whole.rotate(by="ann")
    for forger, script in zip(forgers, forged, strict=True):
        play(forger, [(verb, "olga2", whom, role) for verb, _, whom, role in script])
    olga = whole.member("olga")
    for order in permutations(forgers):
        roster = met(whole, order)
        assert roster.head == whole.roster.head and not roster.quarrel
        for change in roster.departures:
            assert change == DeviceLost(whole.id("olga"), ()) or change == Remove(olga.id, ())
