"""Pure, but for the cost of its cryptography. Where this device stands in a folder: roster, secrets, sealed secrets.

A `Standing` is one moment; every step from it (a page from a peer, an entry of our own) gives another, or raises and
leaves no trace. Callers run these in a worker, write the step to disk, and only then act on it.

A new epoch counts only when its secret opens and yields the keys of both certificates that the roster names. Until
then the secrets of the epoch before stay in use for reading, and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Final

from ca.authority import Outcome, Secrets, check_wraps, receive_wrap, with_links
from ca.branches import Gap
from ca.codec import bytes_up_to, decode_untrusted, encode, list_of
from ca.device import DeviceKeys, PublicDevice
from ca.entries import (
    MAX_ENTRY_BYTES,
    Admit,
    Change,
    ChangeCapabilities,
    ChangeRole,
    Expire,
    Reactivate,
    SetPolicy,
    SignedEntry,
    Suspend,
    decode_entry_untrusted,
    entry_hash,
)
from ca.epochs import EpochSecrets
from ca.errors import CodecError, TrustError
from ca.ids import DeviceId, EntryHash, FolderId
from ca.membership import CLOCK_SLACK_S
from ca.roster import Head, Roster
from ca.state import Member, Status, share_of
from ca.values import dataclass
from ca.wraps import Sealer, Share, WrapTree, check_wrap
from syncd.daemon.devicedb import AGAIN, BRANCH, ENDED, LEFT, OwnWrap, RosterChange, StoredRoster, own_wrap_untrusted
from syncd.engine.membership import Update, changes_on, compare, takes_out
from syncd.errors import StoreCorrupt
from syncd.model.cipher import Padding
from syncd.protocol.invitation import Admission, Offer
from syncd.protocol.messages import MAX_ENTRIES_IN_PAGE, MAX_PAGE_BYTES, RosterPage, RosterSubmit
from syncd.protocol.requests import Route
from syncd.store.keyring import EpochKeys, Keyring

_SUBMIT_MARGIN_BYTES: Final = 64 * 1024
_WRAP_OVERHEAD_BYTES: Final = 64
MAX_SHARED_WRAPS: Final = 512
"""In larger folders a change would cost every node a megabyte and more, instead of its own secret and a proof."""
MAX_EVIDENCE_BYTES: Final = 256 << 20
MAX_KEPT_ENTRIES: Final = 1 << 20

_SAID_AGAIN: Final = (Admit, Reactivate, ChangeRole, ChangeCapabilities, SetPolicy, Expire)

_NO_WRAPS: Final[Mapping[DeviceId, bytes]] = MappingProxyType({})


@dataclass(frozen=True)
class Standing:
    """What a device knows of a folder's membership at one moment. (No slots: what follows from it is found
    out once.)"""

    us: DeviceId
    roster: Roster
    secrets: Secrets | None = None  # of the newest epoch that could be opened, and all before
    own: OwnWrap | None = None  # what they were opened from
    wraps: Mapping[DeviceId, bytes] = field(
        default_factory=lambda: _NO_WRAPS, repr=False
    )  # all of the current epoch, or none
    left: tuple[OwnWrap, ...] = ()  # what epochs were opened from that a fork left behind
    again: tuple[bytes, ...] = ()  # entries of ours that were lost in a fork, to be made again
    ended: bytes | None = None  # the entry that took us out, if it does not continue our roster
    trouble: str | None = None  # why the current epoch's secret was refused

    @cached_property
    def is_current(self) -> bool:
        """We hold the secret of the current epoch."""
        return self.secrets is not None and self.secrets.epoch_id == self.roster.epoch.id

    @cached_property
    def may_read(self) -> bool:
        """Secrets of epochs are for us. An admin without that right governs a folder that it cannot read."""
        found = self.roster.device(self.us)
        return found is None or share_of(found[0].rights) is Share.MEMBER

    @cached_property
    def is_out(self) -> bool:
        """We were taken out. Not in a quarrel: nobody knows yet."""
        return self.ended is not None or (self.roster.device(self.us) is None and not self.roster.quarrel)

    @cached_property
    def is_suspended(self) -> bool:
        """We were taken out, and somebody can let us in again as who we are."""
        member = self.roster.member_of(self.us)
        if not self.is_out or member is None:
            return False
        if self.ended is None:
            return member.status is Status.SUSPENDED
        return any(isinstance(one, Suspend) for one in changes_on(decode_entry_untrusted(self.ended), member, self.us))

    @cached_property
    def works(self) -> bool:
        """Nothing forbids to exchange content: we are in, we have the key, and there is one history."""
        return self.is_current and not self.is_out and not self.roster.quarrel

    @cached_property
    def others(self) -> tuple[tuple[Member, PublicDevice], ...]:
        """All active devices but this one, each with its member, whose time may be over."""
        return tuple(
            (member, public)
            for member in self.roster.members.values()
            if member.status is Status.ACTIVE
            for device, public in member.devices.items()
            if device != self.us
        )

    @property
    def asks_after(self) -> int:
        """The number after which to ask others for entries: before the epoch's when its wraps are still missing."""
        if self.is_out or not self.may_read or (self.is_current and (self.wraps or not self.keeps_wraps)):
            return self.roster.number
        return max(0, self._epoch_number - 1)

    @property
    def keeps_wraps(self) -> bool:
        """Whether every device keeps the sealed secrets of all. In very large folders only who made them does."""
        return self.roster.epoch.wraps_count <= MAX_SHARED_WRAPS

    @property
    def is_complete(self) -> bool:
        """Nothing of what is known to exist is missing."""
        return self.asks_after == self.roster.number

    @property
    def _epoch_number(self) -> int:
        return self.roster.number_of(EntryHash(self.roster.epoch.id)) or 0

    @cached_property
    def _tree(self) -> WrapTree | None:
        return WrapTree(self.wraps) if self.wraps else None

    def epoch_keys(self) -> EpochSecrets | None:
        """TLS key and labels of the current epoch, if we may use them."""
        return self.secrets.epoch_keys() if self.works and self.secrets is not None else None

    # what others are told ------------------------------------------------------------------------------------

    def page_for(self, device: DeviceId, after: int) -> RosterPage | None:
        """The entries after a number, as far as they fit, for this device; None for one that was never a member."""
        if not self.roster.counts_on_chain(device):
            ended = self.roster.entry_that_ended(device)
            return None if ended is None else RosterPage((ended.raw,), ended.number)
        entries = self._entries_after(after)
        if self.roster.device(device) is None:
            return RosterPage(entries, self.roster.number)  # another branch took it out: entries hold no secret
        if after + len(entries) < self.roster.number or self._tree is None or device not in self.wraps:
            return RosterPage(entries, self.roster.number)
        everybodys = tuple(sorted(self.wraps.items())) if after < self._epoch_number else ()
        return RosterPage(
            entries,
            self.roster.number,
            self.wraps[device],
            self._tree.proof(device),
            everybodys if self.keeps_wraps else (),
        )

    def page_for_recovery(self, held: int) -> RosterPage:
        """Entries for the holder of a recovery key who has so many of them."""
        return RosterPage(self._entries_after(held - 1), self.roster.number)

    def _entries_after(self, after: int) -> tuple[bytes, ...]:
        entries: list[bytes] = []
        size = 0
        for entry in self.roster.entries[after + 1 : after + 1 + MAX_ENTRIES_IN_PAGE]:
            size += len(entry.raw)
            if entries and size > MAX_PAGE_BYTES:
                break
            entries.append(entry.raw)
        return tuple(entries)

    def submission(self) -> RosterSubmit:
        """Our newest entry, to be pushed to others; with the wraps of the epoch that it opens, if they fit."""
        entry = self.roster.entries[-1]
        room = Route.SUBMIT_ENTRY.max_body_bytes - len(entry.raw) - _SUBMIT_MARGIN_BYTES
        size = sum(len(wrap) + _WRAP_OVERHEAD_BYTES for wrap in self.wraps.values())
        fits = entry.epoch is not None and size <= room and self.keeps_wraps
        return RosterSubmit(entry.raw, tuple(sorted(self.wraps.items())) if fits else ())


# --- beginnings ------------------------------------------------------------------------------------------------------


def found(us: DeviceId, outcome: Outcome) -> Standing:
    """Where the maker of a folder stands after its genesis entry."""
    return _after(Standing(us, outcome.roster), outcome)


def join_untrusted(keys: DeviceKeys, offer: Offer, admission: Admission, sealer: Sealer) -> Standing:
    """Where a device stands that was admitted by pairing.

    Raises: TrustError (Rollback when the roster ends before what was offered), CodecError.
    """
    anchor = Head(offer.number, offer.head)
    roster = Roster.from_entries_untrusted(admission.entries, folder=offer.folder, anchor=anchor)
    if roster.device(keys.id) is None:
        raise TrustError("the roster received does not have this device among its members")
    secrets = receive_wrap(roster, keys.id, keys.seal_seed, admission.wrap, admission.proof, sealer=sealer)
    return Standing(keys.id, roster, secrets, OwnWrap(roster.epoch.id, admission.wrap, admission.proof))


def restore(keys: DeviceKeys, folder: FolderId, stored: StoredRoster, sealer: Sealer) -> Standing:
    """Where this device stood when it last wrote to disk. Everything is verified anew. Raises StoreCorrupt."""
    evidence = stored.evidence
    try:
        roster = Roster.from_entries_untrusted(stored.entries, folder=folder)
        branches = [raw for kind in sorted(evidence) if kind.startswith(BRANCH) for raw in _raws(evidence[kind])]
        roster = roster.take_untrusted(branches)
        left = tuple(own_wrap_untrusted(raw) for kind, raw in sorted(evidence.items()) if kind.startswith(LEFT))
        secrets = None if stored.own is None else _reopen(roster, [*left, stored.own], keys, sealer)
    except (TrustError, CodecError) as error:
        raise StoreCorrupt(
            "the membership of a folder cannot be read back from the disk", id="SY-DB-01", why=error.what
        ) from error
    has_wraps = stored.wraps is not None and stored.wraps[0] == roster.epoch.id
    return Standing(
        keys.id,
        roster,
        secrets,
        stored.own,
        stored.wraps[1] if stored.wraps is not None and has_wraps else _NO_WRAPS,
        left,
        _raws(evidence[AGAIN]) if AGAIN in evidence else (),
        evidence.get(ENDED),
    )


def _reopen(roster: Roster, wraps: Sequence[OwnWrap], keys: DeviceKeys, sealer: Sealer) -> Secrets | None:
    """The secrets in these wraps, the last of which is that of the newest epoch that could be opened."""
    secrets: Secrets | None = None
    for own in wraps:
        then = roster.at_epoch(own.epoch)
        if then is None:
            continue  # of a branch that was merged and linked since
        secrets = receive_wrap(then, keys.id, keys.seal_seed, own.wrap, own.proof, held=secrets, sealer=sealer)
    return None if secrets is None else with_links(roster, secrets)


def _raws(packed: bytes) -> tuple[bytes, ...]:
    value = decode_untrusted(packed, max_bytes=MAX_EVIDENCE_BYTES)
    return tuple(list_of(bytes_up_to(MAX_ENTRY_BYTES), MAX_KEPT_ENTRIES)(value))


# --- steps -----------------------------------------------------------------------------------------------------------


def follow(before: Standing, outcome: Outcome) -> tuple[Standing, Update]:
    """The step that an entry of our own makes."""
    after = _after(before, outcome)
    update = compare(before.roster, outcome.roster, before.us)
    return after, replace(update, keys_arrived=update.epoch_changed)


def _after(before: Standing, outcome: Outcome) -> Standing:
    if outcome.wraps is None:
        return replace(before, roster=outcome.roster, secrets=outcome.secrets)
    wraps = dict(outcome.wraps)
    own = OwnWrap(outcome.roster.epoch.id, wraps[before.us], WrapTree(wraps).proof(before.us))
    return replace(before, roster=outcome.roster, secrets=outcome.secrets, own=own, wraps=wraps, trouble=None)


def receive_untrusted(
    before: Standing, page: RosterPage, keys: DeviceKeys, sealer: Sealer, now: int
) -> tuple[Standing, Update]:
    """The step that a page of somebody's roster makes.

    A second history and a hole before the page are no errors: the update says so. What is wrong about sealed secrets
    never undoes the entries: the secret is refused, and asked for again elsewhere.

    Raises: CodecError, TrustError for entries that break a rule, or that are dated in the future of our clock.
    """
    refuse_from_the_future(before.roster, page.entries, now)
    try:
        roster = before.roster.take_untrusted(page.entries)
    except Gap:
        return _take_lone_entry_untrusted(before, page)
    update = compare(before.roster, roster, before.us)
    after = _on(before, roster, update)
    after = _open_untrusted(_take_wraps_untrusted(after, page), page, keys, sealer)
    return after, replace(update, keys_arrived=after.is_current and after.secrets is not before.secrets)


def refuse_from_the_future(known: Roster | None, entries: Sequence[bytes], now: int) -> None:
    """Entries may be dated as far ahead as clocks may differ, or the dates of a folder would run away."""
    for raw in entries:
        if known is not None and known.knows(entry_hash(raw)):
            continue
        time = decode_entry_untrusted(raw).time
        if time > now + CLOCK_SLACK_S:
            raise TrustError(
                "an entry of the membership is dated days ahead of this computer's clock",
                id="SY-CLOCK-01",
                why=f"it is dated {(time - now) // 3600} hours ahead",
            )


def _on(before: Standing, roster: Roster, update: Update) -> Standing:
    """The same standing with another roster."""
    left, again, own, secrets = before.left, before.again, before.own, before.secrets
    if update.switched:
        if own is not None and not roster.has_epoch(own.epoch):
            left = (*left, own)
        lost = [entry.raw for entry in before.roster.entries if not roster.contains(Head(entry.number, entry.hash))]
        again = (*again, *(raw for raw in lost if decode_entry_untrusted(raw).signer == before.us))
        came_back = next((wrap for wrap in left if wrap.epoch == roster.epoch.id), None)
        if came_back is not None and secrets is not None and (secret := secrets.of(came_back.epoch)) is not None:
            own, secrets = came_back, secrets.with_epoch(came_back.epoch, secret)  # nobody may be left to send it again
            left = tuple(wrap for wrap in left if wrap is not came_back)
    if secrets is not None and roster.links:
        secrets = with_links(roster, secrets)
    return replace(
        before,
        roster=roster,
        secrets=secrets,
        own=own,
        wraps=before.wraps if roster.epoch.id == before.roster.epoch.id else _NO_WRAPS,
        left=left,
        again=again,
        ended=before.ended if _is_still_out(before, roster) else None,
    )


def lost_changes(standing: Standing) -> list[Change]:
    """What our entries that a fork lost wanted, as far as it is ours to say again: departures are the merge's."""
    changes = [change for raw in standing.again for change in decode_entry_untrusted(raw).changes]
    return [change for change in changes if isinstance(change, _SAID_AGAIN)]


def _is_still_out(before: Standing, roster: Roster) -> bool:
    """Whether the lone entry that took us out may still be true: we have not seen the chain that it stands on."""
    if before.ended is None or roster.knows(entry_hash(before.ended)):
        return False
    return takes_out(decode_entry_untrusted(before.ended), roster, before.us)


def _take_lone_entry_untrusted(before: Standing, page: RosterPage) -> tuple[Standing, Update]:
    """A page that does not continue our roster: perhaps the one entry that a removed device is given."""
    if page.entries == (before.ended,):
        return before, Update()
    if len(page.entries) == 1 and page.wrap is None and not before.is_out:
        entry = decode_entry_untrusted(page.entries[0])
        if takes_out(entry, before.roster, before.us):
            return replace(before, ended=entry.raw), Update(changed=True, we_are_out=True)
    return before, Update(behind=True)


def _take_wraps_untrusted(standing: Standing, page: RosterPage) -> Standing:
    """Everybody's sealed secrets, if they are those of our current epoch (the page may be of another)."""
    if standing.wraps or not page.wraps:
        return standing
    wraps = dict(page.wraps)
    try:
        check_wraps(standing.roster, wraps)
    except TrustError:
        return standing
    return replace(standing, wraps=wraps)


def _open_untrusted(standing: Standing, page: RosterPage, keys: DeviceKeys, sealer: Sealer) -> Standing:
    """Open the current epoch with our own sealed secret, if the page has it and we lack it."""
    if not standing.may_read:
        return replace(standing, trouble=None)
    own = _own_wrap_untrusted(standing, page)
    if own is None or standing.is_current or standing.roster.device(standing.us) is None:
        return standing
    try:
        secrets = receive_wrap(
            standing.roster, standing.us, keys.seal_seed, own.wrap, own.proof, held=standing.secrets, sealer=sealer
        )
    except TrustError as error:
        return replace(standing, trouble=error.what)
    return replace(standing, secrets=secrets, own=own, trouble=None)


def _own_wrap_untrusted(standing: Standing, page: RosterPage) -> OwnWrap | None:
    """Our sealed secret of the current epoch, proved to be the one that the roster names."""
    epoch = standing.roster.epoch
    tree = standing._tree
    if tree is not None and standing.us in standing.wraps:
        return OwnWrap(epoch.id, standing.wraps[standing.us], tree.proof(standing.us))
    if page.wrap is None or page.proof is None:
        return None
    try:
        check_wrap(epoch.wraps_root, epoch.wraps_count, standing.us, page.wrap, page.proof)
    except TrustError:
        return None  # of another epoch than ours: of no use, and no proof of anything bad
    return OwnWrap(epoch.id, page.wrap, page.proof)


def change_between(before: Standing | None, after: Standing) -> RosterChange:
    """What has to be written for a step."""
    known = -1 if before is None else after.roster.last_shared_with(before.roster)
    own_moved = before is None or before.own is not after.own
    wraps_moved = bool(after.wraps) and (before is None or before.wraps is not after.wraps)
    old, new = {} if before is None else _evidence(before), _evidence(after)
    moved = {kind: new.get(kind) for kind in old.keys() | new.keys() if old.get(kind) != new.get(kind)}
    return RosterChange(
        after.roster.folder_id,
        known + 1,
        after.roster.raw_after(known),
        (after.roster.epoch.id, after.wraps) if wraps_moved else None,
        after.own if own_moved else None,
        moved,
        before is not None and known < before.roster.number,
    )


def _evidence(standing: Standing) -> dict[str, bytes]:
    """What is kept beside the chain: other branches, and what only this device has of them."""
    found = {BRANCH + branch[-1].hash.hex(): _packed(branch) for branch in standing.roster.branches}
    found |= {LEFT + own.epoch.hex(): own.encode() for own in standing.left}
    if standing.again:
        found[AGAIN] = encode(standing.again)
    if standing.ended is not None:
        found[ENDED] = standing.ended
    return found


def _packed(branch: Sequence[SignedEntry]) -> bytes:
    return encode([entry.raw for entry in branch])


# --- keys for content ------------------------------------------------------------------------------------------------


def make_keyring(standing: Standing, known: Mapping[bytes, EpochKeys]) -> tuple[Keyring, dict[bytes, EpochKeys]]:
    """Ciphers of every epoch whose secret is held, and their keys, to be handed in as `known` the next time.

    Raises LookupError while there is no secret at all.
    """
    secrets = standing.secrets
    if secrets is None:
        raise LookupError("no epoch of this folder could be opened here yet")
    epochs = {**secrets.older, secrets.epoch_id: secrets.epoch}
    keys = {epoch: known.get(epoch) or _content_keys(secret) for epoch, secret in epochs.items()}
    keyring = Keyring(
        standing.roster.folder_id,
        id_key=secrets.keys.id_key,
        cut_seed=secrets.keys.cut_seed,
        current=secrets.epoch_id,
        epochs=keys,
        padding=Padding(standing.roster.genesis.padding),
    )
    return keyring, {bytes(epoch): pair for epoch, pair in keys.items()}


def _content_keys(secret: bytes) -> EpochKeys:
    keys = EpochSecrets.derive(secret)
    return EpochKeys(keys.content_key, keys.metadata_key)
