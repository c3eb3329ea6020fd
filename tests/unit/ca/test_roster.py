"""Every rule of the roster: what it refuses, beside the nearest thing that it accepts.

`REFUSED` changes one field of an entry that is right, so a check that disappears lets exactly its row through.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from ca import membership
from ca.addresses import AddressRule, parse_network, sorted_rules
from ca.authority import Newcomer, Signer, admit, leave, make_genesis
from ca.certs import folder_certificate
from ca.codec import encode
from ca.device import PublicDevice, Purpose
from ca.entries import (
    Admit,
    Change,
    ChangeCapabilities,
    ChangeRole,
    DeviceLost,
    EntryDevice,
    EntryEpoch,
    Expire,
    JournalSeal,
    Leave,
    Link,
    Merge,
    Reactivate,
    Recover,
    Remove,
    Rotate,
    SetPolicy,
    Suspend,
    decode_entry_untrusted,
    encode_body,
)
from ca.epochs import EpochSecrets
from ca.errors import CodecError, TrustError
from ca.ids import NO_ENTRY, DeviceId, EntryHash, EpochId, FolderId, MemberId
from ca.roles import ALL_CAPABILITIES, Action, Capability, Role
from ca.roster import Fork, Gap, Head, Relation, Rollback, Roster, Status
from ca.wraps import Share
from tests.helpers.rosters import (
    DAY_S,
    NOW,
    Company,
    Forgery,
    admit_change,
    epoch_after,
    forge,
    keys_of,
    public_of,
    seeded,
)

READS = Capability.READ | Capability.WRITE


def company() -> Company:
    """ann and otto own; ada and alex administrate, alan without reading; ed edits, vic views, val is a vault."""
    made = Company()
    made.admit("otto", Role.OWNER)
    made.admit("ada", Role.ADMIN)
    made.admit("alex", Role.ADMIN, READS | Capability.ADMIT)
    made.admit("alan", Role.ADMIN, Capability.REMOVE | Capability.ADMIT | Capability.ROLES)
    made.admit("ed", Role.EDITOR)
    made.admit("vic", Role.VIEWER)
    made.admit("val", Role.VAULT)
    return made


@pytest.fixture(scope="module")
def folder() -> Company:
    """Shared by tests that add nothing to it."""
    return company()


def accept(made: Company, forgery: Forgery) -> Roster:
    return made.roster.extend_untrusted([forgery.raw()])


def refuse(made: Company, forgery: Forgery, why: str = "") -> None:
    with pytest.raises(TrustError, match=why):
        accept(made, forgery)


# --- one entry -------------------------------------------------------------------------------------------------------


def right(made: Company) -> Forgery:
    return forge(made, [admit_change("new")], epoch_after(made, recipients=1))


def epoch_but(**changed: object) -> Callable[[Company], Forgery]:
    def build(made: Company) -> Forgery:
        return right(made).but(epoch=replace(epoch_after(made, recipients=1), **changed))  # type: ignore[arg-type]

    return build


def old_keys(made: Company) -> EntryEpoch:
    """A new epoch with the certificates' keys of the present one."""
    old = EpochSecrets.derive(made.secrets.epoch)
    return replace(
        epoch_after(made, recipients=1),
        member_certificate=folder_certificate(old.tls, NOW),
        vault_certificate=folder_certificate(old.vault.tls, NOW),
    )


def same_key_twice(made: Company) -> EntryEpoch:
    epoch = epoch_after(made, recipients=1)
    return replace(epoch, vault_certificate=epoch.member_certificate)


REFUSED: dict[str, tuple[Callable[[Company], Forgery], str]] = {
    "signed by another key": (lambda made: right(made).but(keys=keys_of("ed")), "signature"),
    "signed for another folder": (lambda made: right(made).but(folder=FolderId(b"o" * 32)), "signature"),
    "signed for no folder": (lambda made: right(made).but(folder=None), "signature"),
    "signed for another purpose": (lambda made: right(made).but(purpose=Purpose.CHANGESET), "signature"),
    "signed by a stranger": (
        lambda made: right(made).but(signer=keys_of("mallory").id, keys=keys_of("mallory")),
        "not a member's",
    ),
    "number not the next": (lambda made: right(made).but(number=made.roster.number + 2), "number"),
    "previous unknown": (lambda made: right(made).but(previous=EntryHash(b"?" * 32)), "unknown"),
    "no epoch": (lambda made: right(made).but(epoch=None), "must open an epoch"),
    "epoch's number not the next": (epoch_but(number=99), "number"),
    "epoch without the one before": (epoch_but(previous_sealed=None), "one before"),
    "sealed to one too few": (epoch_but(wraps_count=9), "exactly the members"),
    "sealed to one too many": (epoch_but(wraps_count=11), "exactly the members"),
    "keys of the present epoch": (lambda made: right(made).but(epoch=old_keys(made)), "used before"),
    "one key for both certificates": (lambda made: right(made).but(epoch=same_key_twice(made)), "used before"),
}


def test_right_entry_is_accepted(folder: Company) -> None:
    grown = accept(folder, right(folder))
    assert grown.number == folder.roster.number + 1
    assert grown.device(public_of("new").id) is not None


@pytest.mark.parametrize(("build", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_entry_with_one_thing_wrong_is_refused(folder: Company, build: Callable[[Company], Forgery], why: str) -> None:
    refuse(folder, build(folder), why)


@pytest.mark.parametrize("field", ["member_certificate", "vault_certificate"])
def test_certificate_with_another_epochs_dates_is_refused(folder: Company, field: str) -> None:
    late = getattr(epoch_after(folder, recipients=1, at=NOW + 1), field)
    with pytest.raises(CodecError):
        accept(folder, epoch_but(**{field: late})(folder))


def test_every_changed_byte_is_refused(folder: Company) -> None:
    """Whatever byte of an entry changes, it is malformed, unrightful, or not this chain's."""
    raw = forge(folder, [Rotate()], epoch_after(folder)).raw()
    assert folder.roster.extend_untrusted([raw]).number == folder.roster.number + 1
    for place in range(len(raw)):
        changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        with pytest.raises((CodecError, TrustError)):
            folder.roster.extend_untrusted([changed])


def test_refused_entry_leaves_no_trace(folder: Company) -> None:
    before = (folder.roster.head, dict(folder.roster.members), len(folder.roster.epochs), folder.roster.recipients())
    good = right(folder).raw()
    with pytest.raises(TrustError):
        folder.roster.extend_untrusted([good, right(folder).but(epoch=None).raw()])
    assert before == (
        folder.roster.head, dict(folder.roster.members), len(folder.roster.epochs), folder.roster.recipients()
    )  # fmt: skip


# --- who may do what -------------------------------------------------------------------------------------------------

AllowedCase = tuple[str, Callable[[Company], Sequence[Change]], int | None]
"""Signer, changes, and by how many the recipients grow in the epoch that opens; None when none may open."""


def id_of(made: Company, name: str) -> MemberId:
    return made.member(name).id


def remove(name: str) -> Callable[[Company], Sequence[Change]]:
    return lambda made: [Remove(id_of(made, name), ())]


def suspend(name: str) -> Callable[[Company], Sequence[Change]]:
    return lambda made: [Suspend(id_of(made, name), ())]


def role(name: str, new: Role, capabilities: Capability = Capability.NONE) -> Callable[[Company], Sequence[Change]]:
    return lambda made: [ChangeRole(id_of(made, name), new, capabilities, ())]


def capabilities(name: str, new: Capability) -> Callable[[Company], Sequence[Change]]:
    return lambda made: [ChangeCapabilities(id_of(made, name), new, ())]


def invite(new: Role, capabilities: Capability = Capability.NONE) -> Callable[[Company], Sequence[Change]]:
    return lambda made: [admit_change("new", new, capabilities)]


def lost(name: str) -> Callable[[Company], Sequence[Change]]:
    return lambda made: [DeviceLost(made.id(name), ())]


def leaving(name: str) -> Callable[[Company], Sequence[Change]]:
    return lambda made: [Leave(id_of(made, name), ())]


def same(*changes: Change) -> Callable[[Company], Sequence[Change]]:
    return lambda made: changes


ALLOWED: dict[str, AllowedCase] = {
    "owner removes an owner": ("ann", remove("otto"), -1),
    "owner removes an admin": ("ann", remove("ada"), -1),
    "admin removes an editor": ("ada", remove("ed"), -1),
    "admin who does not read removes an editor, without an epoch": ("alan", remove("ed"), None),
    "admin suspends a viewer": ("ada", suspend("vic"), -1),
    "owner admits an owner": ("ann", invite(Role.OWNER), 1),
    "admin admits an editor": ("alex", invite(Role.EDITOR), 1),
    "admin admits a vault": ("alex", invite(Role.VAULT), 1),
    "admin admits an admin with less": ("alex", invite(Role.ADMIN, Capability.READ), 1),
    "owner changes a role, no epoch": ("ann", role("ed", Role.VIEWER), None),
    "owner makes a vault a viewer": ("ann", role("val", Role.VIEWER), 0),
    "owner makes an editor a vault": ("ann", role("ed", Role.VAULT), 0),
    "owner demotes an owner": ("ann", role("otto", Role.EDITOR), None),
    "admin changes a role below": ("ada", role("vic", Role.EDITOR), None),
    "owner lets an admin read": ("ann", capabilities("alan", READS | Capability.REMOVE), 0),
    "owner takes a capability": ("ann", capabilities("ed", Capability.NONE), None),
    "owner sets a policy": ("ann", same(SetPolicy(None, ((1, 2),))), None),
    "owner rotates": ("ann", same(Rotate()), 0),
    "admin who reads rotates": ("alex", same(Rotate()), 0),
    "editor leaves": ("ed", leaving("ed"), None),
    "one of two owners leaves": ("ann", leaving("ann"), None),
    "admin reports an editor's device lost": ("ada", lost("ed"), -1),
    "editor reports own device lost": ("ed", lost("ed"), None),
}


@pytest.mark.parametrize(("by", "changes", "growth"), ALLOWED.values(), ids=ALLOWED.keys())
def test_allowed(folder: Company, by: str, changes: Callable[[Company], Sequence[Change]], growth: int | None) -> None:
    epoch = None if growth is None else epoch_after(folder, recipients=growth)
    grown = accept(folder, forge(folder, changes(folder), epoch, by=by))
    assert len(grown.recipients()) == folder.roster.epoch.wraps_count + (growth or 0) or growth is None


@pytest.mark.parametrize(("by", "changes", "growth"), ALLOWED.values(), ids=ALLOWED.keys())
def test_epoch_opens_when_it_must_and_only_then(
    folder: Company, by: str, changes: Callable[[Company], Sequence[Change]], growth: int | None
) -> None:
    wrong = epoch_after(folder) if growth is None else None
    refuse(folder, forge(folder, changes(folder), wrong, by=by), "epoch")


NOT_ALLOWED: dict[str, tuple[str, Callable[[Company], Sequence[Change]], int | None, str]] = {
    "admin removes an admin": ("ada", remove("alex"), -1, "rank"),
    "admin removes an owner": ("ada", remove("ann"), -1, "rank"),
    "admin without the right removes": ("alex", remove("ed"), -1, "no right"),
    "editor removes": ("ed", remove("vic"), -1, "no right"),
    "owner removes themselves": ("ann", remove("ann"), None, "themselves"),
    "owner suspends themselves": ("ann", suspend("ann"), None, "themselves"),
    "viewer admits": ("vic", invite(Role.VIEWER), 1, "no right"),
    "admin admits an owner": ("ada", invite(Role.OWNER), 1, "do not hold"),
    "admin grants more than they hold": ("alex", invite(Role.ADMIN, Capability.POLICY), 1, "do not hold"),
    "admin who does not read admits": ("alan", invite(Role.VAULT), 1, "open an epoch"),
    "editor with capabilities of an admin": ("ann", invite(Role.EDITOR, Capability.ADMIT), 1, "cannot be given"),
    "owner with capabilities": ("ann", invite(Role.OWNER, ALL_CAPABILITIES), 1, "cannot be given"),
    "admin promotes themselves": ("ada", role("ada", Role.OWNER), None, "themselves"),
    "admin promotes another to owner": ("ada", role("ed", Role.OWNER), None, "do not hold"),
    "admin demotes an owner": ("ada", role("ann", Role.VIEWER), None, "rank"),
    "editor gives a capability": ("ed", capabilities("vic", Capability.NONE), None, "no right"),
    "capability that does not fit": ("ann", capabilities("ed", Capability.ADMIT), None, "cannot be given"),
    "role with a capability that does not fit": ("ann", role("ed", Role.VIEWER, Capability.DELETE), None, "cannot be"),
    "admin without the right rules addresses": ("alex", same(SetPolicy(None, (), ())), None, "no right"),
    "admin without the right sets a policy": ("alex", same(SetPolicy(None, ())), None, "no right"),
    "editor rotates": ("ed", same(Rotate()), 0, "no right"),
    "admin who does not read rotates": ("alan", same(Rotate()), 0, "no right"),
    "somebody leaves for another": ("ann", leaving("otto"), None, "somebody else"),
    "editor reports a viewer's device lost": ("ed", lost("vic"), -1, "no right"),
    "admin reports an owner's device lost": ("ada", lost("ann"), -1, "rank"),
    "nobody knows the device": ("ann", same(DeviceLost(DeviceId(bytes(32)), ())), -1, "no such device"),
    "nobody knows the member": ("ann", same(Remove(MemberId(bytes(16)), ())), -1, "no such member"),
    "active member is reactivated": ("ann", lambda made: [Reactivate(id_of(made, "ed"))], 0, "not suspended"),
    "removed twice in one entry": ("ann", lambda made: [*remove("ed")(made), *remove("ed")(made)], -1, "no such"),
    "second genesis": ("ann", lambda made: decode_entry_untrusted(made.raws[0]).changes[:1], None, "begins once"),
    "link to an epoch of no merged branch": (
        "ann",
        same(Link(EpochId(bytes(32)), b"x", bytes(48))),
        None,
        "branch that a merge ended",
    ),
    "merge of what parts nowhere": ("ann", same(Merge(NO_ENTRY, (EntryHash(b"l" * 32),), ())), 0, "after which both"),
    "merge of the newest entry": (
        "ann",
        lambda made: [Merge(made.roster.head, (EntryHash(b"l" * 32),), ())],
        0,
        "after which both",
    ),
    "merge by who may not remove": (
        "alex",
        lambda made: [Merge(made.roster.entries[1].hash, (EntryHash(b"l" * 32),), ())],
        0,
        "no right",
    ),
    "merge of an entry of the chain": (
        "ann",
        lambda made: [Merge(made.roster.entries[1].hash, (made.roster.head,), ())],
        0,
        "not on the chain",
    ),
    "owner recovers": ("ann", same(Recover((), (Company().recovery_key.public,), ())), None, "only a recovery key"),
    "recovery as the second change": (
        "ann",
        same(Rotate(), Recover((), (Company().recovery_key.public,), ())),
        0,
        "only a recovery key",
    ),
    "owner's membership is given an end": ("ann", lambda made: [Expire(id_of(made, "otto"), NOW)], None, "owner's"),
    "editor gives somebody an end": ("ed", lambda made: [Expire(id_of(made, "vic"), NOW)], None, "no right"),
    "admin gives an owner an end": ("ada", lambda made: [Expire(id_of(made, "ann"), NOW)], None, "rank"),
}


@pytest.mark.parametrize(("by", "changes", "growth", "why"), NOT_ALLOWED.values(), ids=NOT_ALLOWED.keys())
def test_not_allowed(
    folder: Company, by: str, changes: Callable[[Company], Sequence[Change]], growth: int | None, why: str
) -> None:
    epoch = None if growth is None else epoch_after(folder, recipients=growth)
    refuse(folder, forge(folder, changes(folder), epoch, by=by), why)


def test_last_owner_cannot_leave_be_demoted_or_lose_the_last_device() -> None:
    made = Company()
    refuse(made, forge(made, [Leave(made.member("ann").id, ())], None), "last owner")
    refuse(made, forge(made, [DeviceLost(made.id("ann"), ())], None), "last owner")
    made.admit("otto", Role.OWNER)
    both: list[Change] = [Remove(made.member("otto").id, ()), Leave(made.member("ann").id, ())]
    refuse(made, forge(made, both, None), "last owner")
    accept(made, forge(made, both[1:], None))


def test_right_counts_as_it_was_before_the_entry() -> None:
    """An admin who is given a right by an entry has it in the next, not in this one."""
    made = company()
    granted = [ChangeCapabilities(made.member("alex").id, ALL_CAPABILITIES, ())]
    theirs = [SetPolicy(None, ())]
    refuse(made, forge(made, theirs, None, by="alex"), "no right")
    raw = forge(made, granted, None).raw()
    after = made.roster.extend_untrusted([raw])
    made_later = forge(made, theirs, None, by="alex").but(number=after.number + 1, previous=after.head)
    assert after.extend_untrusted([made_later.raw()]).number == after.number + 1


def test_removed_and_suspended_sign_nothing_more() -> None:
    made = company()
    made.remove("otto")
    refuse(made, forge(made, [Rotate()], epoch_after(made), by="otto"), "not a member's")
    raw = forge(made, [Suspend(made.member("ada").id, ())], epoch_after(made, recipients=-1)).raw()
    suspended = made.roster.extend_untrusted([raw])
    again = forge(made, [Rotate()], epoch_after(made), by="ada").but(
        number=suspended.number + 1, previous=suspended.head
    )
    with pytest.raises(TrustError, match="not a member's"):
        suspended.extend_untrusted([again.raw()])


def test_suspended_member_comes_back() -> None:
    made = company()
    member = made.member("ed").id
    first = forge(made, [Suspend(member, ())], epoch_after(made, recipients=-1))
    away = made.roster.extend_untrusted([first.raw()])
    assert away.device(made.id("ed")) is None and away.members[member].status is Status.SUSPENDED
    second = forge(made, [Reactivate(member)], replace(epoch_after(made, seed="two"), number=away.epoch.number + 1))
    back = away.extend_untrusted([second.but(number=away.number + 1, previous=away.head).raw()])
    assert back.device(made.id("ed")) is not None


def test_suspended_member_is_not_suspended_again_nor_brought_back_by_who_holds_less() -> None:
    made = company()
    member = made.member("ed").id
    raw = forge(made, [Suspend(member, ())], epoch_after(made, recipients=-1)).raw()
    away = made.roster.extend_untrusted([raw])
    next_epoch = replace(epoch_after(made, seed="two"), number=away.epoch.number + 1)

    def then(change: Change, by: str, recipients: int) -> bytes:
        epoch = replace(next_epoch, wraps_count=away.epoch.wraps_count + recipients)
        return forge(made, [change], epoch, by=by).but(number=away.number + 1, previous=away.head).raw()

    with pytest.raises(TrustError, match="suspended already"):
        away.extend_untrusted([then(Suspend(member, ()), "ann", 0)])
    with pytest.raises(TrustError, match="do not hold"):
        away.extend_untrusted([then(Reactivate(member), "alex", 1)])  # alex may not delete, ed may
    assert away.extend_untrusted([then(Reactivate(member), "ada", 1)]).device(made.id("ed")) is not None


def test_folder_has_a_largest_number_of_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    made = company()
    forged = forge(made, [admit_change("new")], epoch_after(made, recipients=1))
    monkeypatch.setattr(membership, "MAX_RECIPIENTS", made.roster.epoch.wraps_count + 1)
    accept(made, forged)
    monkeypatch.setattr(membership, "MAX_RECIPIENTS", made.roster.epoch.wraps_count)
    refuse(made, forged, "at most")


def test_who_was_removed_by_a_non_reader_leaves_rotation_due() -> None:
    made = company()
    assert not made.roster.rotation_pending
    out = accept(made, forge(made, [Remove(made.member("ed").id, ())], None, by="alan"))
    assert out.rotation_pending and out.rotation_due(NOW)
    assert out.device(made.id("ed")) is None


def test_opening_an_epoch_settles_what_was_due() -> None:
    made = company()
    left = made.did(leave(made.roster, made.secrets, made.signer("vic")))
    removed = made.remove("ed")
    assert [outcome.roster.rotation_pending for outcome in (left, removed)] == [True, False]


# --- keys of devices -------------------------------------------------------------------------------------------------


def with_devices(*devices: PublicDevice) -> Admit:
    return replace(admit_change("new"), devices=tuple(EntryDevice(each, bytes(48)) for each in devices))


@pytest.mark.parametrize("borrowed", ["sign", "seal", "tls"])
def test_nobody_brings_a_key_of_somebody_else(folder: Company, borrowed: str) -> None:
    stolen = replace(public_of("new"), **{borrowed: getattr(public_of("ed"), borrowed)})
    refuse(folder, forge(folder, [with_devices(stolen)], epoch_after(folder, recipients=1)), "already has this key")


def test_active_device_is_not_admitted_twice(folder: Company) -> None:
    twice = with_devices(public_of("ed"))
    refuse(folder, forge(folder, [twice], epoch_after(folder, recipients=1)), "already a member's")


def test_one_key_for_signing_and_tls_is_malformed(folder: Company) -> None:
    public = public_of("new")
    doubled = replace(public, tls=public.sign)
    with pytest.raises(CodecError):
        accept(folder, forge(folder, [with_devices(doubled)], epoch_after(folder, recipients=1)))


def test_removed_device_can_come_back_as_a_new_member_but_a_lost_one_never() -> None:
    made = company()
    made.remove("ed")
    accept(made, forge(made, [with_devices(public_of("ed"))], epoch_after(made, recipients=1)))
    raw = forge(made, [DeviceLost(made.id("vic"), ())], epoch_after(made, recipients=-1)).raw()
    without = made.roster.extend_untrusted([raw])
    back = forge(made, [with_devices(public_of("vic"))], epoch_after(made, seed="again"))
    with pytest.raises(TrustError, match="never admitted again"):
        without.extend_untrusted([back.but(number=without.number + 1, previous=without.head).raw()])


def test_member_gets_a_second_device_with_the_same_role_only() -> None:
    made = company()
    member = made.member("ed")
    more = replace(with_devices(public_of("ed's phone")), member=member.id)
    same_rights = replace(more, role=member.role, capabilities=member.capabilities)
    grown = accept(made, forge(made, [same_rights], epoch_after(made, recipients=1)))
    assert len(grown.members[member.id].devices) == 2
    other = replace(same_rights, role=Role.VIEWER, capabilities=Capability.NONE)
    refuse(made, forge(made, [other], epoch_after(made, recipients=1)), "somebody else")


def test_member_id_is_never_used_again() -> None:
    made = company()
    gone = made.member("ed")
    made.remove("ed")
    reused = replace(with_devices(public_of("new")), member=gone.id, role=gone.role, capabilities=gone.capabilities)
    refuse(made, forge(made, [reused], epoch_after(made, recipients=1)), "somebody else")


# --- genesis ---------------------------------------------------------------------------------------------------------


def genesis() -> Forgery:
    made = Company()
    entry = made.roster.entries[0]
    return Forgery(
        0, NO_ENTRY, entry.signer, entry.time, entry.changes, entry.epoch, None, Purpose.ENTRY, made.people["ann"]
    )  # fmt: skip


def test_right_genesis_is_accepted() -> None:
    assert Roster.from_genesis_untrusted(genesis().raw()).number == 0


GENESIS_REFUSED: dict[str, Callable[[Forgery], Forgery]] = {
    "number": lambda right: right.but(number=1),
    "previous": lambda right: right.but(previous=EntryHash(b"p" * 32)),
    "constants only": lambda right: right.but(changes=right.changes[:1]),
    "owner only": lambda right: right.but(changes=right.changes[1:]),
    "owner before the constants": lambda right: right.but(changes=right.changes[::-1]),
    "a third change": lambda right: right.but(changes=(*right.changes, admit_change("new"))),
    "no owner": lambda right: right.but(changes=(right.changes[0], admit_change("ann", Role.EDITOR))),
    "owner with capabilities": lambda right: right.but(
        changes=(right.changes[0], admit_change("ann", Role.OWNER, Capability.READ))
    ),
    "signed by somebody it does not admit": lambda right: right.but(signer=keys_of("bob").id, keys=keys_of("bob")),
    "signed by another key": lambda right: right.but(keys=keys_of("bob")),
    "signed for a folder": lambda right: right.but(folder=FolderId(b"f" * 32)),
    "no epoch": lambda right: right.but(epoch=None),
    "an epoch before the first": lambda right: right.but(
        epoch=replace(right.epoch, previous_sealed=bytes(48)) if right.epoch else None
    ),
    "sealed to nobody else": lambda right: right.but(
        epoch=replace(right.epoch, wraps_count=1) if right.epoch else None
    ),
}


@pytest.mark.parametrize("change", GENESIS_REFUSED.values(), ids=GENESIS_REFUSED.keys())
def test_genesis_with_one_thing_wrong_is_refused(change: Callable[[Forgery], Forgery]) -> None:
    with pytest.raises(TrustError):
        Roster.from_genesis_untrusted(change(genesis()).raw())


def test_folder_id_is_the_hash_of_genesis_so_two_folders_never_share_one() -> None:
    made = Company()
    other = make_genesis(
        Signer(made.people["ann"], NOW, seeded("other"), made.sealer),
        folder_name="pictures",
        member_name="ann",
        device_name="ann's laptop",
        recovery=made.recovery_key.public,
    )
    assert other.roster.folder_id != made.roster.folder_id
    assert bytes(made.roster.folder_id) == bytes(made.roster.entries[0].hash)


# --- form ------------------------------------------------------------------------------------------------------------


def test_unknown_kind_of_change_and_unknown_format_are_malformed() -> None:
    entry = Company().roster.entries[0]
    body = encode_body(1, entry.hash, entry.signer, NOW, (Rotate(),), None)
    decode_entry_untrusted(body + bytes(64))
    for wrong in (
        body.replace(encode([[8]]), encode([[14]])),
        body.replace(encode([[8]]), encode([[8, 0]])),
        body.replace(encode([[8]]), encode([[True]])),
        body.replace(encode([[8]]), encode([])),
        b"\xa7\x01\x02" + body[3:],
    ):
        assert wrong != body
        with pytest.raises(CodecError):
            decode_entry_untrusted(wrong + bytes(64))


def test_entry_says_what_is_wrong_with_it() -> None:
    entry = Company().roster.entries[0]
    body = encode_body(1, entry.hash, entry.signer, NOW, (Rotate(),), None)
    with pytest.raises(CodecError, match="unknown kind of change"):
        decode_entry_untrusted(body.replace(encode([[8]]), encode([[99]])) + bytes(64))
    with pytest.raises(CodecError, match="entry is too long"):
        decode_entry_untrusted(bytes((4 << 20) + 1))


@pytest.mark.parametrize("raw", [b"", bytes(64), b"\xa0" + bytes(64), bytes(5 << 20)])
def test_what_is_no_entry_is_malformed(raw: bytes) -> None:
    with pytest.raises(CodecError):
        decode_entry_untrusted(raw)


def test_settings_out_of_order_or_twice_are_malformed(folder: Company) -> None:
    accept(folder, forge(folder, [SetPolicy(None, ((1, 0), (2, 0)))], None))
    for settings in (((2, 0), (1, 0)), ((1, 0), (1, 0))):
        with pytest.raises(CodecError):
            accept(folder, forge(folder, [SetPolicy(None, settings)], None))


def test_address_rules_replace_those_before_and_stay_otherwise(folder: Company) -> None:
    rules = sorted_rules([AddressRule(True, parse_network("10.0.0.0/8")), AddressRule(False, parse_network("::1"))])
    first = accept(folder, forge(folder, [SetPolicy(None, (), rules)], None))
    assert first.addresses == rules
    for change, expected in ((SetPolicy(None, ((1, 0),)), rules), (SetPolicy(None, (), ()), ())):
        second = forge(folder, [change], None).but(number=first.number + 1, previous=first.head)
        assert first.extend_untrusted([second.raw()]).addresses == expected
    with pytest.raises(CodecError):
        accept(folder, forge(folder, [SetPolicy(None, (), rules[::-1])], None))


# --- the chain -------------------------------------------------------------------------------------------------------


def test_entries_we_have_already_are_skipped(folder: Company) -> None:
    assert folder.roster.extend_untrusted(folder.raws) is folder.roster
    half = Roster.from_entries_untrusted(folder.raws[:4])
    assert half.extend_untrusted(folder.raws[2:]).head == folder.roster.head


def test_missing_entry_is_a_gap(folder: Company) -> None:
    half = Roster.from_entries_untrusted(folder.raws[:4])
    with pytest.raises(Gap):
        half.extend_untrusted(folder.raws[5:])


def test_second_rightful_continuation_is_a_fork_that_shows_both() -> None:
    made = company()
    other = forge(made, [Rotate()], epoch_after(made, seed="other"), by="otto").raw()
    ours = made.remove("ed")
    with pytest.raises(Fork) as caught:
        made.roster.extend_untrusted([other])
    assert (caught.value.ours.raw, caught.value.theirs.raw) == (ours.entry, other)


def test_fork_far_back_is_found_too() -> None:
    made = company()
    early = Company()
    assert early.roster.folder_id == made.roster.folder_id
    other = forge(early, [Rotate()], epoch_after(early, seed="other")).raw()
    with pytest.raises(Fork) as caught:
        made.roster.extend_untrusted([other])
    assert caught.value.theirs.number == 1


def test_second_continuation_without_the_right_raises_no_alarm() -> None:
    made = company()
    unrightful = forge(made, [Rotate()], epoch_after(made, seed="other"), by="ed").raw()
    forged = forge(made, [Rotate()], epoch_after(made, seed="other")).but(keys=keys_of("mallory")).raw()
    made.remove("vic")
    for raw in (unrightful, forged):
        with pytest.raises(TrustError) as caught:
            made.roster.extend_untrusted([raw])
        assert not isinstance(caught.value, Fork)


def test_other_folders_genesis_does_not_continue_this_one(folder: Company) -> None:
    other = Company(random=seeded("other company"))
    with pytest.raises(TrustError, match="another folder"):
        folder.roster.extend_untrusted(other.raws)


def test_roster_shorter_than_the_anchor_is_a_rollback(folder: Company) -> None:
    anchor = folder.roster.head_at
    assert Roster.from_entries_untrusted(folder.raws, anchor=anchor).head_at == anchor
    assert Roster.from_entries_untrusted(folder.raws, anchor=Head(1, folder.roster.entries[1].hash)).head_at == anchor
    with pytest.raises(Rollback):
        Roster.from_entries_untrusted(folder.raws[:-1], anchor=anchor)
    with pytest.raises(Rollback):
        Roster.from_entries_untrusted(folder.raws, anchor=Head(1, EntryHash(b"?" * 32)))


def test_roster_of_another_folder_is_refused(folder: Company) -> None:
    assert Roster.from_entries_untrusted(folder.raws, folder=folder.roster.folder_id).number == folder.roster.number
    with pytest.raises(TrustError, match="another folder"):
        Roster.from_entries_untrusted(folder.raws, folder=FolderId(b"o" * 32))
    with pytest.raises(CodecError):
        Roster.from_entries_untrusted([])


def test_head_of_somebody_else_is_placed(folder: Company) -> None:
    roster = folder.roster
    assert roster.relation(roster.head_at) is Relation.SAME
    assert roster.relation(Head(2, roster.entries[2].hash)) is Relation.BEHIND
    assert roster.relation(Head(3, roster.entries[2].hash)) is Relation.UNKNOWN
    assert roster.relation(Head(99, EntryHash(b"?" * 32))) is Relation.UNKNOWN


def test_file_brings_the_roster_back(folder: Company) -> None:
    assert Roster.from_file_untrusted(folder.roster.export()).head == folder.roster.head
    with pytest.raises(CodecError):
        Roster.from_file_untrusted(folder.roster.export()[:-1])


# --- what the state says ---------------------------------------------------------------------------------------------


def test_rights_are_those_at_the_named_entry() -> None:
    made = Company()
    before = made.roster.head
    made.admit("ed", Role.EDITOR)
    admitted = made.roster.head
    raw = forge(made, [ChangeRole(made.member("ed").id, Role.VIEWER, Capability.NONE, ())], None).raw()
    viewer = made.roster.extend_untrusted([raw])
    ed = made.id("ed")
    assert viewer.role_at(before, ed) is None
    assert viewer.role_at(admitted, ed) is Role.EDITOR
    rights = viewer.rights_at(admitted, ed)
    assert rights is not None and rights.allow(Action.DELETE)
    assert viewer.role_at(viewer.head, ed) is Role.VIEWER
    assert viewer.role_at(EntryHash(b"?" * 32), ed) is None


def test_removed_device_is_told_the_entry_that_removed_it() -> None:
    made = company()
    ed = made.id("ed")
    assert made.roster.entry_that_ended(ed) is None
    entry = made.remove("ed").entry
    ended = made.roster.entry_that_ended(ed)
    assert ended is not None and ended.raw == entry
    assert made.roster.role_at(made.roster.head, ed) is None
    assert made.roster.public_of(ed) == public_of("ed")
    assert made.roster.entry_that_ended(keys_of("mallory").id) is None


def test_device_is_found_by_each_of_its_keys(folder: Company) -> None:
    public = public_of("ed")
    assert {folder.roster.device_of_key(key) for key in (public.sign, public.seal, public.tls)} == {public.id}
    assert folder.roster.device_of_key(bytes(32)) is None


def test_recipients_are_all_active_devices_each_with_its_share(folder: Company) -> None:
    shares = {recipient.id: recipient.share for recipient in folder.roster.recipients()}
    assert shares == {
        folder.recovery_key.public.id: Share.MEMBER,
        **{folder.id(name): Share.MEMBER for name in ("ann", "otto", "ada", "alex", "ed", "vic")},
        folder.id("alan"): Share.CONTACT,
        folder.id("val"): Share.VAULT,
    }


def test_journal_seals_are_kept_with_their_entry() -> None:
    made = company()
    seal = JournalSeal(made.id("ed"), b"i" * 16, 7, b"c" * 32)
    out = accept(made, forge(made, [Remove(made.member("ed").id, (seal,))], epoch_after(made, recipients=-1)))
    assert list(out.journal_seals(made.id("ed"))) == [(out.number, seal)]


def test_policy_is_merged_by_number() -> None:
    made = Company()
    first = accept(made, forge(made, [SetPolicy(None, ((1, 10), (2, 20)))], None))
    second = forge(made, [SetPolicy(bytes(48), ((2, 21),))], None).but(number=first.number + 1, previous=first.head)
    after = first.extend_untrusted([second.raw()])
    assert dict(after.settings) == {1: 10, 2: 21}
    assert after.name_sealed == bytes(48) != made.roster.name_sealed


def test_rotation_is_due_after_thirty_days_and_the_folder_freezes_after_forty_five() -> None:
    roster = Company().roster
    assert not roster.rotation_due(NOW + 30 * DAY_S - 1)
    assert roster.rotation_due(NOW + 30 * DAY_S)
    assert not roster.is_frozen(NOW + 45 * DAY_S)
    assert roster.is_frozen(NOW + 45 * DAY_S + 1)
    assert not roster.expires_soon(NOW + 336 * DAY_S)
    assert roster.expires_soon(NOW + 337 * DAY_S)


def test_clock_that_runs_behind_freezes_nothing() -> None:
    roster = Company().roster
    assert not roster.is_frozen(0) and not roster.rotation_due(0) and not roster.expires_soon(0)


def test_many_are_admitted_by_one_entry() -> None:
    made = Company()
    newcomers = [Newcomer(f"n{at}", Role.VIEWER, [(public_of(f"n{at}"), "laptop")]) for at in range(40)]
    made.did(admit(made.roster, made.secrets, made.signer("ann"), newcomers))
    assert (made.roster.number, made.roster.epoch.number, len(made.roster.members)) == (1, 2, 41)
