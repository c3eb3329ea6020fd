"""Pure, but for the randomness that sealing draws. What a person wants, made into a signed entry, wraps and secrets.

Every function asks the roster first: the rules that will judge the entry elsewhere judge it here, before anything is
signed. Then the head is frozen, the new epoch's secret is sealed to exactly the devices that the roster gives after the
change, and one signature covers all of it. Sealing costs 0.1 ms for each device, so callers run this in a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import Final

from ca.addresses import AddressRules
from ca.certs import check_folder_certificate, folder_certificate, is_certificate_of
from ca.device import DeviceKeys, PublicDevice, Purpose, sign
from ca.entries import (
    MAX_LOST,
    Admit,
    Change,
    ChangeRole,
    DeviceLost,
    EntryDevice,
    EntryEpoch,
    Expire,
    Genesis,
    JournalSeal,
    Leave,
    Link,
    Merge,
    Padding,
    Reactivate,
    Recover,
    Remove,
    Rotate,
    SetPolicy,
    Suspend,
    encode_body,
)
from ca.epochs import (
    SECRET_BYTES,
    EpochSecrets,
    FolderSecrets,
    commitment,
    member_tls_key,
    open_linked,
    open_name,
    open_previous,
    seal_linked,
    seal_name,
    seal_previous,
)
from ca.errors import CodecError, TrustError
from ca.ids import NO_ENTRY, NO_FOLDER, DeviceId, EntryHash, EpochId, FolderId, MemberId
from ca.recovery import PublicRecovery, RecoveryKey
from ca.roles import USUAL_CAPABILITIES, Capability, Role
from ca.roster import EpochInfo, Member, Recipient, Roster
from ca.state import Status, share_of
from ca.values import dataclass
from ca.wraps import (
    HpkeSealer,
    Payload,
    Sealer,
    Share,
    WrapProof,
    WrapTree,
    check_wrap,
    payload_untrusted,
    wrap_info,
)

FOLDER_SUBJECT: Final = b"folder"
CUT_VERSION: Final = 1

HPKE: Final[Sealer] = HpkeSealer()

Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """What a reading member holds of a folder: F, the current E, and every E before it."""

    folder: bytes
    epoch_id: EpochId
    epoch: bytes
    older: Mapping[EpochId, bytes]
    keys: FolderSecrets = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", FolderSecrets.derive(self.folder))

    def of(self, epoch: EpochId) -> bytes | None:
        """The secret of this epoch, if it is held."""
        return self.epoch if epoch == self.epoch_id else self.older.get(epoch)

    def with_epoch(self, epoch: EpochId, secret: bytes) -> Secrets:
        return Secrets(self.folder, epoch, secret, {**self.older, self.epoch_id: self.epoch})

    def epoch_keys(self) -> EpochSecrets:
        """TLS key, labels and the rest of the current epoch."""
        return EpochSecrets.derive(self.epoch)


@dataclass(frozen=True, slots=True, repr=False)
class Outcome:
    """An entry made here and what follows: the roster and secrets after it, the wraps if it opened an epoch."""

    entry: bytes
    roster: Roster
    wraps: Mapping[DeviceId, bytes] | None
    secrets: Secrets


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Somebody to admit. Without capabilities they get the usual ones of their role."""

    name: str
    role: Role
    devices: Sequence[tuple[PublicDevice, str]]
    capabilities: Capability | None = None


@dataclass(frozen=True, slots=True)
class Signer:
    """Who makes an entry, and what from: its keys, the time, the randomness, the sealing."""

    keys: DeviceKeys | RecoveryKey
    now: int
    random: Random
    sealer: Sealer = HPKE


# --- making entries --------------------------------------------------------------------------------------------------


def make_genesis(
    signer: Signer,
    *,
    folder_name: str,
    member_name: str,
    device_name: str,
    recovery: PublicRecovery,
    padding: Padding = Padding.NONE,
) -> Outcome:
    """A new folder whose only member is the signer, an owner."""
    public = signer.keys.public
    if not isinstance(public, PublicDevice):
        raise TypeError("a folder is begun by a device")
    folder_secret = signer.random(SECRET_BYTES)
    names = FolderSecrets.derive(folder_secret).name_key
    newcomer = Newcomer(member_name, Role.OWNER, [(public, device_name)])
    changes = (
        Genesis(
            signer.random(32),
            commitment(folder_secret),
            padding,
            CUT_VERSION,
            seal_name(names, FOLDER_SUBJECT, folder_name),
            (recovery,),
        ),
        _admit(names, newcomer, signer.random),
    )
    recipients = sorted(
        [
            Recipient(public.id, public.seal, Share.MEMBER),
            Recipient(recovery.id, recovery.seal, Share.MEMBER),
        ],
        key=lambda recipient: recipient.id,
    )
    secret = signer.random(SECRET_BYTES)
    epoch, wraps = _open_epoch(signer, _Place(NO_FOLDER, NO_ENTRY, 1), recipients, folder_secret, secret, None)
    entry = _signed(signer, None, 0, NO_ENTRY, changes, epoch)
    roster = Roster.from_genesis_untrusted(entry)
    return Outcome(entry, roster, wraps, Secrets(folder_secret, roster.epoch.id, secret, {}))


def admit(roster: Roster, secrets: Secrets, signer: Signer, newcomers: Sequence[Newcomer]) -> Outcome:
    """Admit all of them in one entry, under one new epoch."""
    changes = [_admit(secrets.keys.name_key, newcomer, signer.random) for newcomer in newcomers]
    return compose(roster, secrets, signer, changes)


def remove(
    roster: Roster, secrets: Secrets, signer: Signer, member: MemberId, journals: Sequence[JournalSeal] = ()
) -> Outcome:
    """Remove a member for good. `journals` are the last changesets known of that member's devices."""
    return compose(roster, secrets, signer, [Remove(member, tuple(journals))])


def rotate(roster: Roster, secrets: Secrets, signer: Signer) -> Outcome:
    """Open a new epoch and change nothing else."""
    return compose(roster, secrets, signer, [Rotate()])


def leave(roster: Roster, secrets: Secrets, signer: Signer, journals: Sequence[JournalSeal] = ()) -> Outcome:
    """The signer's own member goes. No epoch is opened: who goes may not know the next secret."""
    found = roster.device(signer.keys.id)
    if found is None:
        raise TrustError("this device is not a member's")
    return compose(roster, secrets, signer, [Leave(found[0].id, tuple(journals))])


def device_lost(
    roster: Roster, secrets: Secrets, signer: Signer, device: DeviceId, journals: Sequence[JournalSeal] = ()
) -> Outcome:
    """Take out one device at once; its member stays with the others."""
    return compose(roster, secrets, signer, [DeviceLost(device, tuple(journals))])


def rename_folder(roster: Roster, secrets: Secrets, signer: Signer, name: str) -> Outcome:
    """Another folder name for everybody."""
    return compose(roster, secrets, signer, [SetPolicy(seal_name(secrets.keys.name_key, FOLDER_SUBJECT, name), ())])


def rule_addresses(roster: Roster, secrets: Secrets, signer: Signer, rules: AddressRules) -> Outcome:
    """Other address rules for everybody, in place of those that held."""
    return compose(roster, secrets, signer, [SetPolicy(None, (), rules)])


def change_settings(roster: Roster, secrets: Secrets, signer: Signer, settings: Sequence[tuple[int, int]]) -> Outcome:
    """Other settings for everybody; those that are not named stay."""
    return compose(roster, secrets, signer, [SetPolicy(None, tuple(settings))])


def suspend(
    roster: Roster, secrets: Secrets, signer: Signer, member: MemberId, journals: Sequence[JournalSeal] = ()
) -> Outcome:
    """Take a member out until `reactivate`."""
    return compose(roster, secrets, signer, [Suspend(member, tuple(journals))])


def reactivate(roster: Roster, secrets: Secrets, signer: Signer, member: MemberId) -> Outcome:
    """Let a suspended member in again, with the rights it had."""
    return compose(roster, secrets, signer, [Reactivate(member)])


def change_role(
    roster: Roster,
    secrets: Secrets,
    signer: Signer,
    member: MemberId,
    role: Role,
    capabilities: Capability | None = None,
    journals: Sequence[JournalSeal] = (),
) -> Outcome:
    """Another role; without capabilities its usual ones."""
    given = USUAL_CAPABILITIES[role] if capabilities is None else capabilities
    return compose(roster, secrets, signer, [ChangeRole(member, role, given, tuple(journals))])


def expire(roster: Roster, secrets: Secrets, signer: Signer, member: MemberId, until: int | None) -> Outcome:
    """Say when a membership ends, in unix seconds; None: never."""
    return compose(roster, secrets, signer, [Expire(member, until or 0)])


def recover(
    roster: Roster,
    secrets: Secrets,
    signer: Signer,
    key: RecoveryKey,
    *,
    devices: Sequence[DeviceId],
    owner: MemberId,
    journals: Sequence[JournalSeal] = (),
) -> Outcome:
    """By the printed key: only these devices stay, and one of their members is an owner from now on.

    Raises: TrustError when the key is not this folder's.
    """
    changes: list[Change] = [Recover(tuple(sorted(devices)), roster.recovery, tuple(journals))]
    if roster.members[owner].role is not Role.OWNER:
        changes.append(ChangeRole(owner, Role.OWNER, Capability.NONE, ()))
    return compose(roster, secrets, replace(signer, keys=key), changes)


def stand_by(roster: Roster, secrets: Secrets, signer: Signer) -> Outcome:
    """An entry that changes nothing: that an owner signs it says that they stand by what was decided before it."""
    return compose(roster, secrets, signer, [SetPolicy(None, ())])


def rescue(roster: Roster, secrets: Secrets, signer: Signer, key: RecoveryKey, newcomer: Newcomer) -> Outcome:
    """By the printed key, for a machine that has nothing else: who is active stays, and the newcomer is an owner too.

    Raises: TrustError when the key is not this folder's.
    """
    active = [member for member in roster.members.values() if member.status is Status.ACTIVE]
    devices = sorted(device for member in active for device in member.devices)
    changes: list[Change] = [
        Recover(tuple(devices), roster.recovery, ()),
        _admit(secrets.keys.name_key, newcomer, signer.random),
    ]
    return compose(roster, secrets, replace(signer, keys=key), changes)


def decide_quarrel(roster: Roster, signer: Signer, place: int | None) -> bytes:
    """The entry by which another owner chooses between two histories: on ours, or on the branch of this place.

    It changes nothing: that it is signed there is what decides. Raises TrustError.
    """
    chosen = roster if place is None else roster.on_branch(place)
    changes: tuple[Change, ...] = (SetPolicy(None, ()),)
    signer = _not_before(chosen, signer)
    chosen.after(signer.keys.id, changes, signer.now)
    return _signed(signer, chosen.folder_id, chosen.number + 1, chosen.head, changes, None)


def link(roster: Roster, secrets: Secrets, signer: Signer) -> Outcome:
    """Link every epoch that a fork left behind and that we can open. Any member who reads may."""
    return compose(roster, secrets, signer, _something(_links(roster, secrets)))


def merge(roster: Roster, secrets: Secrets, signer: Signer) -> Outcome:
    """End every fork: settle the branches that lost, take out whom they took out, link their epochs."""
    return compose(roster, secrets, signer, _something(_merging(roster, secrets)))


def _something(changes: list[Change]) -> list[Change]:
    if not changes:
        raise TrustError("no fork has left anything to do")
    return changes


def _merging(roster: Roster, secrets: Secrets) -> list[Change]:
    changes: list[Change] = []
    for branch in roster.to_merge:
        for at in range(0, len(branch), MAX_LOST):
            changes.append(Merge(branch[0].previous, tuple(entry.hash for entry in branch[at : at + MAX_LOST]), ()))
    seen: list[Change] = []
    for change in roster.departures:
        if not any(type(change) is type(other) and _whom(change) == _whom(other) for other in seen):
            seen.append(change)
    return changes + seen + _links(roster, secrets)


def _whom(change: Change) -> bytes | None:
    match change:
        case Remove(member) | Suspend(member):
            return member
        case DeviceLost(device):
            return device
        case _:
            return None


def _links(roster: Roster, secrets: Secrets) -> list[Change]:
    found: list[Change] = []
    for epoch in roster.left_behind().values():
        secret = secrets.of(epoch.id)
        if secret is not None:
            found.append(Link(epoch.id, epoch.member_certificate, seal_linked(secrets.epoch, secret, epoch.id)))
    return found


def compose(roster: Roster, secrets: Secrets, signer: Signer, changes: Sequence[Change]) -> Outcome:
    """One entry with these changes and, where they demand it, a new epoch. What opens one merges a fork as well, if the
    signer has the rights for it and stays.

    An admin who may not read has the secrets of an older epoch, or none but those of before it all: what takes somebody
    out counts without a new one, and leaves it due.

    Raises: TrustError when the signer has no right to one of them, or when the secrets are not those of the head.
    """
    is_current = secrets.epoch_id == roster.epoch.id
    if not is_current and not _is_kept_out(roster, signer):
        raise TrustError("the newest epoch of this folder is not open here yet", fix="wait until it has arrived")
    signer = _not_before(roster, signer)
    merges = any(isinstance(change, Merge | Recover) for change in changes)
    if is_current and roster.is_unmerged and not merges and not _only_goes(roster, signer, changes):
        try:
            return compose(roster, secrets, signer, [*_merging(roster, secrets), *changes])
        except TrustError:
            pass  # the merge takes a higher rank, or says the same: the change must not wait for it
    draft = roster.after(signer.keys.id, changes, signer.now)
    number = roster.number + 1
    if not draft.opens_epoch:
        entry = _signed(signer, roster.folder_id, number, roster.head, tuple(changes), None)
        return Outcome(entry, roster.extend_untrusted([entry]), None, secrets)
    if not is_current:
        raise TrustError("only an owner or an admin who reads the folder may open an epoch")
    secret = signer.random(SECRET_BYTES)
    place = _Place(roster.folder_id, roster.head, roster.epoch.number + 1)
    previous = seal_previous(secret, secrets.epoch, secrets.epoch_id)
    epoch, wraps = _open_epoch(signer, place, draft.recipients, secrets.folder, secret, previous)
    entry = _signed(signer, roster.folder_id, number, roster.head, tuple(changes), epoch)
    grown = roster.extend_untrusted([entry])
    return Outcome(entry, grown, wraps, secrets.with_epoch(grown.epoch.id, secret))


def _is_kept_out(roster: Roster, signer: Signer) -> bool:
    """Whether the signer is a member that no epoch is sealed to, because it may not read."""
    found = roster.device(signer.keys.id)
    return found is not None and share_of(found[0].rights) is Share.CONTACT


def _only_goes(roster: Roster, signer: Signer, changes: Sequence[Change]) -> bool:
    """Whether the signer takes out themselves, or devices of their own, and nothing else. Nobody opposes that unless it
    says more (`ca.forks`)."""
    own = roster.member_of(signer.keys.id)
    return all(
        isinstance(change, Leave) or (isinstance(change, DeviceLost) and roster.member_of(change.device) is own)
        for change in changes
    )


def _not_before(roster: Roster, signer: Signer) -> Signer:
    """History goes forward, whatever this computer's clock says."""
    return replace(signer, now=max(signer.now, roster.entries[-1].time))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in which roster an epoch opens."""

    folder: FolderId
    previous: EntryHash
    number: int


def _admit(name_key: bytes, newcomer: Newcomer, random: Random) -> Admit:
    member = MemberId(random(16))
    capabilities = USUAL_CAPABILITIES[newcomer.role] if newcomer.capabilities is None else newcomer.capabilities
    devices = [EntryDevice(public, seal_name(name_key, public.id, name)) for public, name in newcomer.devices]
    return Admit(member, seal_name(name_key, member, newcomer.name), newcomer.role, capabilities, tuple(devices))


def _open_epoch(
    signer: Signer,
    place: _Place,
    recipients: Sequence[Recipient],
    folder_secret: bytes,
    secret: bytes,
    previous_sealed: bytes | None,
) -> tuple[EntryEpoch, Mapping[DeviceId, bytes]]:
    keys = EpochSecrets.derive(secret)
    member_certificate = folder_certificate(keys.tls, signer.now)
    vault_certificate = folder_certificate(keys.vault.tls, signer.now)
    contact_key = FolderSecrets.derive(folder_secret).contact_key
    payloads = {
        Share.MEMBER: Payload(Share.MEMBER, secret, folder_secret).encode(),
        Share.VAULT: Payload(Share.VAULT, keys.vault.secret, contact_key).encode(),
        Share.CONTACT: Payload(Share.CONTACT, bytes(SECRET_BYTES), contact_key).encode(),
    }
    wraps = {}
    for to in recipients:
        info = wrap_info(place.folder, place.previous, to.id, member_certificate, vault_certificate)
        wraps[to.id] = signer.sealer.seal(to.seal, payloads[to.share], info)
    root = WrapTree(wraps).root
    return EntryEpoch(place.number, member_certificate, vault_certificate, previous_sealed, root, len(wraps)), wraps


def _signed(
    signer: Signer,
    folder: FolderId | None,
    number: int,
    previous: EntryHash,
    changes: tuple[Change, ...],
    epoch: EntryEpoch | None,
) -> bytes:
    body = encode_body(number, previous, signer.keys.id, signer.now, changes, epoch)
    return body + sign(signer.keys, Purpose.ENTRY, folder, body)


# --- receiving an epoch ----------------------------------------------------------------------------------------------


def receive_wrap(
    roster: Roster,
    recipient: DeviceId,
    seal_seed: bytes,
    wrap: bytes,
    proof: WrapProof | None,
    *,
    held: Secrets | None = None,
    sealer: Sealer = HPKE,
) -> Secrets:
    """Open the current epoch for this device (or recovery key), and through it every epoch before.

    Without a proof the wrap was sealed anew (`seal_again`): what is in it still has to be what the roster commits to.

    The secret is used only if the roster names this very wrap, F is the one committed to in genesis, both certificates
    are of the keys that E yields, and the chain leads to what is held already. Else the old epoch stays in use.

    Raises: TrustError for all of that, and for a share that is not a reading member's.
    """
    epoch = roster.epoch
    if proof is not None:
        check_wrap(epoch.wraps_root, epoch.wraps_count, recipient, wrap, proof)
    try:
        payload = payload_untrusted(sealer.open(seal_seed, wrap, epoch.wrap_info(recipient)))
    except CodecError:
        raise TrustError("the sealed secret is malformed") from None
    if payload.share is not Share.MEMBER:
        raise TrustError("this device is not given what a reading member gets")
    if commitment(payload.folder) != roster.genesis.secret_commitment:
        raise TrustError("the folder secret received is not the one that the folder began with")
    keys = EpochSecrets.derive(payload.epoch)
    check_folder_certificate(epoch.member_certificate, keys.tls, epoch.opened_at)
    check_folder_certificate(epoch.vault_certificate, keys.vault.tls, epoch.opened_at)
    older = _open_chain(roster.epochs, payload.epoch, held)
    return with_links(roster, Secrets(payload.folder, epoch.id, payload.epoch, older))


def seal_again(roster: Roster, secrets: Secrets, recovery: PublicRecovery, sealer: Sealer = HPKE) -> bytes:
    """The newest epoch's secret for the holder of a recovery key, by a member who may not have the wrap made for it."""
    payload = Payload(Share.MEMBER, secrets.epoch, secrets.folder)
    return sealer.seal(recovery.seal, payload.encode(), roster.epoch.wrap_info(DeviceId(recovery.id)))


def with_links(roster: Roster, secrets: Secrets) -> Secrets:
    """The secrets, and those of epochs that forks left behind, as far as links lead there.

    A link counts if the secret in it yields the key of the certificate that it names; else it is passed over: whoever
    made it has said nothing that anybody could use.
    """
    found: dict[EpochId, bytes] = {}
    for id, linked in roster.links.items():
        under = secrets.of(linked.under)
        if under is None or secrets.of(id) is not None:
            continue
        try:
            secret = open_linked(under, linked.link.secret_sealed, id)
        except TrustError:
            continue
        if is_certificate_of(linked.link.member_certificate, member_tls_key(secret)):
            found[id] = secret
    return replace(secrets, older={**secrets.older, **found}) if found else secrets


def _open_chain(epochs: Sequence[EpochInfo], newest: bytes, held: Secrets | None) -> dict[EpochId, bytes]:
    """The secrets of all epochs before the last, newest first, until one is reached that is held already."""
    older: dict[EpochId, bytes] = {} if held is None else {**held.older, held.epoch_id: held.epoch}
    secret = newest
    for place in range(len(epochs) - 1, 0, -1):
        epoch, before = epochs[place], epochs[place - 1]
        if epoch.previous_sealed is None:  # a roster holds no such epoch; this is for the reader and for mypy
            raise TrustError("the chain of epochs is broken")
        secret = open_previous(secret, epoch.previous_sealed, before.id)
        known = held.of(before.id) if held is not None else None
        if known is not None and known != secret:
            raise TrustError("the chain of epochs leads to another secret than the one held")
        older[before.id] = secret
        if known is not None:
            return older
        check_folder_certificate(before.member_certificate, member_tls_key(secret), before.opened_at)
    return older


def check_wraps(roster: Roster, wraps: Mapping[DeviceId, bytes]) -> None:
    """Whether these are the wraps of the current epoch, all of them and no other: what every admin's device audits.

    Raises: TrustError. Who may be in the set was decided when the entry came in; here the bytes are compared.
    """
    if len(wraps) != roster.epoch.wraps_count or WrapTree(wraps).root != roster.epoch.wraps_root:
        raise TrustError("the sealed secrets are not those that the roster names")


# --- names -----------------------------------------------------------------------------------------------------------


def folder_name(roster: Roster, secrets: Secrets) -> str:
    """Raises TrustError when the name does not open."""
    return open_name(secrets.keys.name_key, FOLDER_SUBJECT, roster.name_sealed)


def member_name(member: Member, secrets: Secrets) -> str:
    """Raises TrustError when the name does not open."""
    return open_name(secrets.keys.name_key, member.id, member.name_sealed)


def device_name(member: Member, device: DeviceId, secrets: Secrets) -> str:
    """Raises TrustError when the name does not open; KeyError for a device that is not this member's."""
    return open_name(secrets.keys.name_key, device, member.device_names[device])
