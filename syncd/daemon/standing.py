"""Pure, but for the cost of its cryptography. Where this device stands in a folder: roster, secrets, sealed secrets.

A `Standing` is one moment; every step from it (a page from a peer, an entry of our own) gives another, or raises and
leaves no trace. Callers run these in a worker, write the step to disk, and only then act on it.

A new epoch counts only when its secret opens and yields the keys of both certificates that the roster names. Until
then the secrets of the epoch before stay in use for reading, and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Final

from ca.authority import Outcome, Secrets, check_wraps, receive_wrap
from ca.device import DeviceKeys
from ca.entries import decode_entry_untrusted, entry_hash
from ca.epochs import EpochSecrets
from ca.errors import CodecError, TrustError
from ca.ids import DeviceId, EntryHash, FolderId
from ca.roster import Fork, Gap, Head, Roster
from ca.wraps import Sealer, WrapTree, check_wrap
from syncd.daemon.devicedb import ENDED, FORK, OwnWrap, RosterChange, StoredRoster
from syncd.engine.membership import Update, compare, is_void, takes_out
from syncd.errors import StoreCorrupt
from syncd.model.cipher import Padding
from syncd.protocol.invitation import Admission, Offer
from syncd.protocol.messages import MAX_ENTRIES_IN_PAGE, MAX_PAGE_BYTES, MAX_WRAPS, RosterPage, RosterSubmit
from syncd.protocol.requests import Route
from syncd.store.keyring import EpochKeys, Keyring

_SUBMIT_MARGIN_BYTES: Final = 64 * 1024
_WRAP_OVERHEAD_BYTES: Final = 64

_NO_WRAPS: Final[Mapping[DeviceId, bytes]] = MappingProxyType({})


@dataclass(frozen=True)
class Standing:
    """What a device knows of a folder's membership at one moment. (No slots: the tree over the wraps is made once.)"""

    us: DeviceId
    roster: Roster
    secrets: Secrets | None = None  # of the newest epoch that could be opened, and all before
    own: OwnWrap | None = None  # what they were opened from
    wraps: Mapping[DeviceId, bytes] = field(
        default_factory=lambda: _NO_WRAPS, repr=False
    )  # all of the current epoch, or none
    fork: bytes | None = None  # the first entry of another history
    ended: bytes | None = None  # the entry that took us out, if it does not continue our roster
    trouble: str | None = None  # why the current epoch's secret was refused

    @property
    def is_current(self) -> bool:
        """We hold the secret of the current epoch."""
        return self.secrets is not None and self.secrets.epoch_id == self.roster.epoch.id

    @property
    def is_out(self) -> bool:
        return self.ended is not None or self.roster.device(self.us) is None

    @property
    def works(self) -> bool:
        """Nothing forbids to exchange content: we are in, we have the key, and there is one history."""
        return self.is_current and not self.is_out and self.fork is None

    @property
    def asks_after(self) -> int:
        """The number after which to ask others for entries: before the epoch's when its wraps are still missing."""
        if self.is_out or (self.is_current and self.wraps):
            return self.roster.number
        return max(0, self._epoch_number - 1)

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
        if self.roster.device(device) is None:
            ended = self.roster.entry_that_ended(device)
            return None if ended is None else RosterPage((ended.raw,), ended.number)
        entries = self._entries_after(after)
        if after + len(entries) < self.roster.number or self._tree is None or device not in self.wraps:
            return RosterPage(entries, self.roster.number)
        everybodys = tuple(sorted(self.wraps.items())) if after < self._epoch_number else ()
        return RosterPage(
            entries,
            self.roster.number,
            self.wraps[device],
            self._tree.proof(device),
            everybodys if len(everybodys) <= MAX_WRAPS else (),
        )

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
        fits = entry.epoch is not None and size <= room and len(self.wraps) <= MAX_WRAPS
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
    try:
        roster = Roster.from_entries_untrusted(stored.entries, folder=folder)
        secrets = None
        if stored.own is not None:
            then = _roster_of_epoch(roster, stored.own)
            secrets = receive_wrap(then, keys.id, keys.seal_seed, stored.own.wrap, stored.own.proof, sealer=sealer)
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
        stored.evidence.get(FORK),
        stored.evidence.get(ENDED),
    )


def _roster_of_epoch(roster: Roster, own: OwnWrap) -> Roster:
    """The roster as it was while the epoch of this wrap was the current one."""
    later = [epoch for epoch in roster.epochs if (roster.number_of(EntryHash(epoch.id)) or 0) > _number(roster, own)]
    if not later:
        return roster
    end = roster.number_of(EntryHash(later[0].id))
    return Roster.from_entries_untrusted([entry.raw for entry in roster.entries[:end]])


def _number(roster: Roster, own: OwnWrap) -> int:
    number = roster.number_of(EntryHash(own.epoch))
    if number is None:
        raise TrustError("a sealed secret of an epoch that the roster does not have")
    return number


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


def receive_untrusted(before: Standing, page: RosterPage, keys: DeviceKeys, sealer: Sealer) -> tuple[Standing, Update]:
    """The step that a page of somebody's roster makes.

    A second history and a hole before the page are no errors: the update says so. What is wrong about sealed secrets
    never undoes the entries: the secret is refused, and asked for again elsewhere.

    Raises: CodecError, TrustError for entries that break a rule.
    """
    try:
        roster = before.roster.extend_untrusted(page.entries)
    except Fork as fork:
        if is_void(fork.theirs, before.roster):
            return before, Update()
        return replace(before, fork=before.fork or fork.theirs.raw), Update(changed=True, fork=True)
    except Gap:
        return _take_lone_entry_untrusted(before, page)
    update = compare(before.roster, roster, before.us)
    after = replace(
        before,
        roster=roster,
        wraps=_NO_WRAPS if update.epoch_changed else before.wraps,
        ended=before.ended if before.ended and not roster.knows(entry_hash(before.ended)) else None,
    )
    after = _open_untrusted(_take_wraps_untrusted(after, page), page, keys, sealer)
    return after, replace(update, keys_arrived=after.is_current and after.secrets is not before.secrets)


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
    known = -1 if before is None else before.roster.number
    own_moved = before is None or before.own is not after.own
    wraps_moved = bool(after.wraps) and (before is None or before.wraps is not after.wraps)
    return RosterChange(
        after.roster.folder_id,
        known + 1,
        after.roster.raw_after(known),
        (after.roster.epoch.id, after.wraps) if wraps_moved else None,
        after.own if own_moved else None,
        {FORK: after.fork, ENDED: after.ended} if before is None or _evidence_moved(before, after) else None,
    )


def _evidence_moved(before: Standing, after: Standing) -> bool:
    return (before.fork, before.ended) != (after.fork, after.ended)


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
