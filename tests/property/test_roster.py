"""Whatever happens to a folder, every reader comes to the same state, and garbage raises the promised classes only."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from ca import authority
from ca.authority import receive_wrap
from ca.entries import decode_entry_untrusted
from ca.errors import CodecError, TrustError
from ca.roles import Role
from ca.roster import Roster
from ca.wraps import Share, WrapTree
from tests.helpers.rosters import Company

PEOPLE = ["ann", "bob", "cy", "dee"]

steps = st.lists(
    st.tuples(
        st.sampled_from(["admit", "remove", "rotate", "leave", "lost", "rename"]),
        st.sampled_from(PEOPLE),
        st.sampled_from(PEOPLE),
        st.sampled_from(Role),
    ),
    max_size=12,
)


def play(script: list[tuple[str, str, str, Role]]) -> Company:
    """Everything in the script that its person has the right to; what they have not is refused and skipped."""
    made = Company()
    for verb, by, whom, role in script:
        with contextlib.suppress(TrustError):
            step(made, verb, by, whom, role)
    return made


def step(made: Company, verb: str, by: str, whom: str, role: Role) -> None:
    if by not in made.people or (verb in ("remove", "lost") and whom not in made.people):
        return
    roster, secrets, signer = made.roster, made.secrets, made.signer(by)
    match verb:
        case "admit":
            made.admit(whom, role, by=by)
        case "remove":
            made.remove(whom, by=by)
        case "rotate":
            made.did(authority.rotate(roster, secrets, signer))
        case "leave":
            made.did(authority.leave(roster, secrets, signer))
        case "lost":
            made.did(authority.device_lost(roster, secrets, signer, made.id(whom)))
        case _:
            made.did(authority.rename_folder(roster, secrets, signer, whom))


def summary(roster: Roster) -> object:
    members = [(member.id, member.rights, member.status, sorted(member.devices)) for member in roster.members.values()]
    return (
        roster.head, members, roster.epochs, roster.recipients(), roster.rotation_pending, roster.name_sealed
    )  # fmt: skip


@given(steps, st.integers(0, 12))
def test_all_at_once_or_in_pieces_gives_the_same_state(script: list[tuple[str, str, str, Role]], cut: int) -> None:
    made = play(script)
    whole = Roster.from_entries_untrusted(made.raws)
    pieces = Roster.from_genesis_untrusted(made.raws[0]).extend_untrusted(made.raws[:cut]).extend_untrusted(made.raws)
    assert summary(whole) == summary(pieces) == summary(made.roster)


@given(steps)
def test_every_epoch_opens_for_its_readers_and_for_nobody_else(script: list[tuple[str, str, str, Role]]) -> None:
    made = play(script)
    for outcome in made.outcomes:
        if outcome.wraps is None:
            continue
        # Nobody was taken out after this epoch opened and before the next entry, so its recipients are the roster's.
        recipients = outcome.roster.recipients()
        assert sorted(outcome.wraps) == [recipient.id for recipient in recipients]
        tree = WrapTree(outcome.wraps)
        for name, keys in made.people.items():
            if keys.id not in outcome.wraps:
                assert outcome.roster.device(keys.id) is None, name
                continue
            share = next(recipient.share for recipient in recipients if recipient.id == keys.id)
            arguments = (outcome.roster, keys.id, keys.seal_seed, outcome.wraps[keys.id], tree.proof(keys.id))
            if share is Share.MEMBER:
                opened = receive_wrap(*arguments, sealer=made.sealer)
                assert (opened.epoch, opened.older) == (outcome.secrets.epoch, outcome.secrets.older)


@given(steps)
def test_there_is_always_an_owner(script: list[tuple[str, str, str, Role]]) -> None:
    made = play(script)
    for outcome in made.outcomes:
        members = outcome.roster.members.values()
        assert any(
            member.role is Role.OWNER and member.status.value == "active" and member.devices for member in members
        )


@given(st.binary(max_size=300))
def test_garbage_is_malformed_and_nothing_else(raw: bytes) -> None:
    with contextlib.suppress(CodecError):
        decode_entry_untrusted(raw)


@given(steps, st.data())
def test_changed_bytes_are_refused_by_the_promised_classes(
    script: list[tuple[str, str, str, Role]], data: st.DataObject
) -> None:
    made = play(script)
    raw = bytearray(made.raws[-1])
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    base = Roster.from_entries_untrusted(made.raws[:-1]) if len(made.raws) > 1 else None
    try:
        grown = base.extend_untrusted([bytes(raw)]) if base else Roster.from_genesis_untrusted(bytes(raw))
    except (CodecError, TrustError):
        return
    raise AssertionError(f"accepted an entry that nobody signed: {grown.head.hex()}")
