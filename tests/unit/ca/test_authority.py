from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from ca import authority
from ca.authority import (
    Newcomer,
    Outcome,
    Secrets,
    check_wraps,
    device_name,
    folder_name,
    member_name,
    receive_wrap,
    rotate,
)
from ca.certs import folder_certificate, public_point
from ca.device import DeviceKeys
from ca.entries import EntryEpoch, JournalSeal, Rotate
from ca.epochs import EpochSecrets, seal_previous
from ca.errors import TrustError
from ca.ids import DeviceId
from ca.recovery import RecoveryKey
from ca.roles import Capability, Role
from ca.roster import Roster, Status
from ca.wraps import HpkeSealer, Payload, Share, WrapTree, wrap_info
from tests.helpers.rosters import NOW, Company, epoch_after, forge, keys_of, seeded


def receive(made: Company, name: str, *, held: Secrets | None = None) -> Secrets:
    """What this person's device opens of the newest epoch."""
    return receive_as(made, made.people[name].id, made.people[name].seal_seed, made.outcomes[-1], held)


def receive_as(made: Company, id: DeviceId, seal_seed: bytes, outcome: Outcome, held: Secrets | None = None) -> Secrets:
    assert outcome.wraps is not None
    proof = WrapTree(outcome.wraps).proof(id)
    return receive_wrap(
        outcome.roster, id, seal_seed, outcome.wraps[id], proof, held=held, sealer=made.sealer
    )  # fmt: skip


def test_real_sealing_from_genesis_to_removal() -> None:
    made = Company(sealer=HpkeSealer())
    made.admit("bob", Role.EDITOR)
    assert receive(made, "bob").epoch == made.secrets.epoch
    assert receive(made, "ann").epoch == made.secrets.epoch
    outcome = made.remove("bob")
    assert outcome.wraps is not None and made.id("bob") not in outcome.wraps
    for wrap in outcome.wraps.values():
        with pytest.raises(TrustError):
            made.sealer.open(made.people["bob"].seal_seed, wrap, made.roster.epoch.wrap_info(made.id("bob")))


def test_newcomer_reads_names_and_everything_before() -> None:
    made = Company()
    first = made.secrets
    made.admit("bob", Role.VIEWER)
    secrets = receive(made, "bob")
    bob = made.member("bob")
    assert folder_name(made.roster, secrets) == "pictures"
    assert member_name(bob, secrets) == "bob"
    assert device_name(bob, made.id("bob"), secrets) == "bob's laptop"
    assert secrets.of(first.epoch_id) == first.epoch
    assert secrets.of(secrets.epoch_id) == secrets.epoch == made.secrets.epoch


def test_recovery_key_opens_every_epoch_as_a_device_does() -> None:
    made = Company()
    made.admit("bob", Role.EDITOR)
    key: RecoveryKey = made.recovery_key
    assert made.roster.recovery == (key.public,)
    for outcome in made.outcomes:
        assert receive_as(made, key.public.id, key.seal_seed, outcome).epoch == outcome.secrets.epoch


def test_rotation_changes_every_secret_of_the_epoch_and_none_of_the_folder() -> None:
    made = Company()
    before = made.secrets
    after = made.did(rotate(made.roster, made.secrets, made.signer("ann"))).secrets
    assert after.folder == before.folder
    assert after.epoch_keys().label != before.epoch_keys().label
    assert public_point(after.epoch_keys().tls) != public_point(before.epoch_keys().tls)
    assert made.roster.epoch.member_certificate != made.roster.epochs[0].member_certificate


def test_two_rotations_are_slept_through_and_opened_at_once() -> None:
    made = Company()
    made.admit("bob", Role.EDITOR)
    held = receive(made, "bob")
    for _ in range(2):
        made.did(rotate(made.roster, made.secrets, made.signer("ann")))
    caught_up = receive(made, "bob", held=held)
    assert caught_up.older == receive(made, "bob").older == made.secrets.older
    assert len(caught_up.older) == 3


def test_leaving_opens_no_epoch_and_the_next_admin_opens_one() -> None:
    made = Company()
    made.admit("bob", Role.EDITOR)
    outcome = made.did(authority.leave(made.roster, made.secrets, made.signer("bob")))
    assert outcome.wraps is None and outcome.secrets is made.outcomes[-2].secrets
    assert made.member("bob").status is Status.LEFT and made.roster.rotation_pending
    wraps = made.did(rotate(made.roster, made.secrets, made.signer("ann"))).wraps
    assert wraps is not None and made.id("bob") not in wraps


def test_lost_device_is_out_and_its_member_stays() -> None:
    made = Company()
    phone = keys_of("bob's phone")
    made.people["bob"] = keys_of("bob")
    both = [(made.people["bob"].public, "laptop"), (phone.public, "phone")]
    made.did(authority.admit(made.roster, made.secrets, made.signer("ann"), [Newcomer("bob", Role.EDITOR, both)]))
    seal = JournalSeal(phone.id, b"i" * 16, 3, b"c" * 32)
    outcome = made.did(authority.device_lost(made.roster, made.secrets, made.signer("ann"), phone.id, [seal]))
    assert outcome.wraps is not None and phone.id not in outcome.wraps and made.id("bob") in outcome.wraps
    assert made.roster.device(phone.id) is None and made.roster.device(made.id("bob")) is not None
    assert [kept for _, kept in made.roster.journal_seals(phone.id)] == [seal]


def test_folder_is_renamed_without_an_epoch() -> None:
    made = Company()
    outcome = made.did(authority.rename_folder(made.roster, made.secrets, made.signer("ann"), "photographs"))
    assert outcome.wraps is None and folder_name(made.roster, made.secrets) == "photographs"


def test_stranger_cannot_leave() -> None:
    made = Company()
    made.people["mallory"] = keys_of("mallory")
    with pytest.raises(TrustError):
        authority.leave(made.roster, made.secrets, made.signer("mallory"))


def test_nothing_is_signed_without_the_right() -> None:
    made = Company()
    made.admit("bob", Role.EDITOR)
    with pytest.raises(TrustError, match="no right"):
        authority.remove(made.roster, made.secrets, made.signer("bob"), made.member("ann").id)


def test_nothing_is_signed_with_the_secrets_of_an_older_epoch() -> None:
    made = Company()
    old = made.secrets
    made.admit("bob", Role.EDITOR)
    with pytest.raises(TrustError, match="newest epoch"):
        rotate(made.roster, old, made.signer("ann"))


def test_vault_gets_its_own_branch_and_an_admin_who_does_not_read_gets_the_contact_key() -> None:
    made = Company()
    made.admit("val", Role.VAULT)
    made.admit("alan", Role.ADMIN, Capability.REMOVE)
    expected = {
        "ann": Payload(Share.MEMBER, made.secrets.epoch, made.secrets.folder),
        "val": Payload(Share.VAULT, made.secrets.epoch_keys().vault.secret, made.secrets.keys.contact_key),
        "alan": Payload(Share.CONTACT, bytes(32), made.secrets.keys.contact_key),
    }
    wraps = made.outcomes[-1].wraps
    assert wraps is not None
    for name, payload in expected.items():
        info = made.roster.epoch.wrap_info(made.id(name))
        assert made.sealer.open(made.people[name].seal_seed, wraps[made.id(name)], info) == payload.encode()
    for name in ("val", "alan"):
        with pytest.raises(TrustError, match="reading member"):
            receive(made, name)


def test_audit_of_wraps_takes_exactly_those_of_the_epoch() -> None:
    made = Company()
    wraps = made.admit("bob", Role.EDITOR).wraps
    assert wraps is not None
    check_wraps(made.roster, wraps)
    bob = made.id("bob")
    wrong: list[Mapping[DeviceId, bytes]] = [
        {id: wrap for id, wrap in wraps.items() if id != bob},
        {**wraps, bob: b"other"},
        {**wraps, DeviceId(bytes(32)): b"more"},
        {},
    ]
    for each in wrong:
        with pytest.raises(TrustError):
            check_wraps(made.roster, each)


def test_secrets_do_not_show_when_printed() -> None:
    made = Company()
    shown = repr(made.secrets) + repr(made.outcomes[-1])
    assert repr(made.secrets.epoch) not in shown and repr(made.secrets.folder) not in shown


# --- what a receiver refuses: each time one thing in an epoch is wrong, and signed by who has the right ---------------


def published(made: Company, epoch: EntryEpoch, payload: Payload) -> tuple[Roster, dict[DeviceId, bytes]]:
    """The roster after ann opened this epoch with this payload sealed to everybody."""
    recipients = made.roster.recipients()
    wraps = {}
    for to in recipients:
        info = wrap_info(
            made.roster.folder_id, made.roster.head, to.id, epoch.member_certificate, epoch.vault_certificate
        )
        wraps[to.id] = made.sealer.seal(to.seal, payload.encode(), info)
    rooted = replace(epoch, wraps_root=WrapTree(wraps).root)
    return made.roster.extend_untrusted([forge(made, [Rotate()], rooted).raw()]), wraps


def open_published(made: Company, epoch: EntryEpoch, payload: Payload, *, held: Secrets | None = None) -> Secrets:
    roster, wraps = published(made, epoch, payload)
    ann: DeviceKeys = made.people["ann"]
    proof = WrapTree(wraps).proof(ann.id)
    return receive_wrap(roster, ann.id, ann.seal_seed, wraps[ann.id], proof, held=held, sealer=made.sealer)


SECRET = seeded("secret next")(32)
OTHER_SECRET = seeded("secret other")(32)


def test_right_epoch_opens() -> None:
    made = Company()
    opened = open_published(made, epoch_after(made), Payload(Share.MEMBER, SECRET, made.secrets.folder))
    assert opened.epoch == SECRET and opened.older == {made.secrets.epoch_id: made.secrets.epoch}


def test_secret_that_does_not_yield_the_certificates_is_refused() -> None:
    made = Company()
    with pytest.raises(TrustError, match="does not belong"):
        open_published(made, epoch_after(made), Payload(Share.MEMBER, OTHER_SECRET, made.secrets.folder))


def test_secret_that_does_not_yield_the_vault_certificate_is_refused() -> None:
    made = Company()
    vault = folder_certificate(EpochSecrets.derive(OTHER_SECRET).vault.tls, NOW)
    with pytest.raises(TrustError, match="does not belong"):
        open_published(
            made,
            replace(epoch_after(made), vault_certificate=vault),
            Payload(Share.MEMBER, SECRET, made.secrets.folder),
        )


def test_folder_secret_that_genesis_does_not_know_is_refused() -> None:
    made = Company()
    with pytest.raises(TrustError, match="began with"):
        open_published(made, epoch_after(made), Payload(Share.MEMBER, SECRET, bytes(32)))


def test_less_than_a_members_share_is_refused() -> None:
    made = Company()
    with pytest.raises(TrustError, match="reading member"):
        open_published(made, epoch_after(made), Payload(Share.VAULT, SECRET, made.secrets.folder))


def test_chain_that_does_not_open_is_refused() -> None:
    made = Company()
    with pytest.raises(TrustError, match="does not open"):
        open_published(
            made,
            replace(epoch_after(made), previous_sealed=bytes(48)),
            Payload(Share.MEMBER, SECRET, made.secrets.folder),
        )


def test_chain_to_another_secret_is_refused() -> None:
    """By the certificate where nothing is held, by what is held where something is."""
    made = Company()
    elsewhere = seal_previous(SECRET, OTHER_SECRET, made.secrets.epoch_id)
    epoch = replace(epoch_after(made), previous_sealed=elsewhere)
    payload = Payload(Share.MEMBER, SECRET, made.secrets.folder)
    with pytest.raises(TrustError, match="does not belong"):
        open_published(made, epoch, payload)
    with pytest.raises(TrustError, match="than the one held"):
        open_published(made, epoch, payload, held=made.secrets)


def test_wrap_that_the_roster_does_not_name_is_refused() -> None:
    made = Company()
    outcome = made.admit("bob", Role.EDITOR)
    assert outcome.wraps is not None
    bob = made.people["bob"]
    info = made.roster.epoch.wrap_info(bob.id)
    other = made.sealer.seal(bob.public.seal, Payload(Share.MEMBER, OTHER_SECRET, made.secrets.folder).encode(), info)
    proof = WrapTree(outcome.wraps).proof(bob.id)
    with pytest.raises(TrustError, match="roster names"):
        receive_wrap(made.roster, bob.id, bob.seal_seed, other, proof, sealer=made.sealer)


def test_wrap_with_nonsense_inside_is_refused() -> None:
    made = Company()
    epoch = epoch_after(made)
    ann = made.people["ann"]
    info = wrap_info(made.roster.folder_id, made.roster.head, ann.id, epoch.member_certificate, epoch.vault_certificate)
    wraps = {ann.id: made.sealer.seal(ann.public.seal, b"nonsense", info), DeviceId(bytes(32)): b""}
    rooted = replace(epoch, wraps_root=WrapTree(wraps).root)
    roster = made.roster.extend_untrusted([forge(made, [Rotate()], rooted).raw()])
    with pytest.raises(TrustError, match="malformed"):
        receive_wrap(
            roster, ann.id, ann.seal_seed, wraps[ann.id], WrapTree(wraps).proof(ann.id), sealer=made.sealer
        )  # fmt: skip
