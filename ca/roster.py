"""Pure. The roster: a chain of signed entries and the membership that follows from it.

An entry counts only if its signer held the right in the state *before* it; so a roster is read from genesis on, and
every peer that reads the same entries comes to the same state. A Roster never changes: `extend_untrusted` and
`take_untrusted` give a new one or raise, and what raised leaves no trace.

Entries that do not continue ours have a class each, since callers react differently: `Rollback` (they want us to
forget), `Fork` (a second history, where there must be none), `Gap` (entries in between are missing: ask for them).
`take_untrusted` is for those who live with forks: it keeps every branch, lets `ca.forks` say which one is the chain,
and shows as out whom another branch takes out, until a merge says so on the chain.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum
from typing import Final

from ca.addresses import AddressRules
from ca.branches import Chains, Gap, prefix
from ca.codec import bytes_up_to, decode_untrusted, encode, list_of
from ca.departures import departures, is_unmerged, without
from ca.device import PublicDevice
from ca.entries import MAX_ENTRY_BYTES, Change, Genesis, JournalSeal, SignedEntry, decode_entry_untrusted
from ca.errors import CodecError, TrustError
from ca.forks import Weighed, weigh
from ca.ids import DeviceId, EntryHash, EpochId, FolderId, MemberId
from ca.membership import Fold, begin_fold
from ca.recovery import PublicRecovery
from ca.roles import Role
from ca.state import NOBODY, EpochInfo, LinkedEpoch, Member, Recipient, Rights, State, Status, share_of
from ca.tree import last_shared
from ca.values import dataclass
from ca.wraps import Share

__all__ = [
    "Draft",
    "EpochInfo",
    "Fork",
    "Gap",
    "Head",
    "Member",
    "Recipient",
    "Relation",
    "Rights",
    "Rollback",
    "Roster",
    "Status",
]

DAY_S: Final = 24 * 3600
ROTATION_AFTER_S: Final = 30 * DAY_S
FREEZE_AFTER_S: Final = 45 * DAY_S
EXPIRY_WARNING_S: Final = 60 * DAY_S
MAX_ROSTER_FILE_BYTES: Final = 256 << 20


class Rollback(TrustError):
    """Somebody offers a roster older than one that we have already acted upon."""


class Fork(TrustError):
    """Two entries, both rightly signed, continue the same roster: stop exchanging this folder and raise the alarm."""

    def __init__(self, ours: SignedEntry, theirs: SignedEntry) -> None:
        super().__init__(f"the folder's membership has two histories from entry {theirs.number} on", id="SY-FORK-01")
        self.ours = ours
        self.theirs = theirs


@dataclass(frozen=True, slots=True)
class Head:
    """The newest entry somebody knows."""

    number: int
    hash: EntryHash


class Relation(Enum):
    """How somebody's head stands to our roster."""

    SAME = "same"
    BEHIND = "behind"  # an ancestor of ours, or on a branch that lost: they are to catch up
    UNKNOWN = "unknown"  # newer than ours, or on another branch: their entries after our common ones will tell


# --- the roster ------------------------------------------------------------------------------------------------------


class Roster:
    """An unbroken chain of entries from genesis, every one of them rightly signed, and what follows from it."""

    __slots__ = ("_others", "_seen", "_state", "_weighed", "departures", "quarrel")

    def __init__(self, state: State, others: Sequence[State] = (), weighed: Weighed | None = None) -> None:
        """`others`: the states at the ends of other branches, which lost or quarrel with this one; `weighed`: what they
        come to together, if that is known."""
        self._state = state
        self._others = tuple(others)
        self._weighed = weighed or weigh([state, *others]).on(state)
        self.quarrel = self._weighed.quarrel
        """Members who took out each other, so that nobody knows which history is right."""
        self.departures = tuple(departures(self._weighed))
        """Who goes because of other branches, as changes that a merge has to make."""
        self._seen = without(state, self.departures, self.quarrel) if others else state

    # Reading it in.

    @classmethod
    def from_genesis_untrusted(cls, raw: bytes) -> Roster:
        """Raises CodecError or TrustError."""
        return cls(begin_fold(decode_entry_untrusted(raw)).state)

    @classmethod
    def from_entries_untrusted(
        cls, raws: Sequence[bytes], *, folder: FolderId | None = None, anchor: Head | None = None
    ) -> Roster:
        """A whole roster, of this folder and not older than `anchor`.

        Raises: CodecError, TrustError; Rollback when it ends before the anchor or passes it on another branch.
        """
        if not raws:
            raise CodecError("a roster has at least one entry")
        roster = cls.from_genesis_untrusted(raws[0])
        if folder is not None and roster.folder_id != folder:
            raise TrustError("this is the roster of another folder")
        roster = roster.extend_untrusted(raws[1:])
        if anchor is not None and not roster.contains(anchor):
            raise Rollback("the roster lacks an entry that is known to exist", id="SY-TRUST-03")
        return roster

    def extend_untrusted(self, raws: Iterable[bytes]) -> Roster:
        """This roster with these entries behind it; those that it has already are skipped. All of them or none.

        Raises: CodecError (form), Gap, Fork, TrustError (any rule broken).
        """
        fold: Fold | None = None
        for raw in raws:
            entry = decode_entry_untrusted(raw)
            state = fold.state if fold else self._state
            if entry.hash in state.numbers:
                continue
            if entry.previous != state.entries[-1].hash:
                raise _misfit(state, entry)
            if entry.number != len(state.entries):
                raise TrustError("the entry's number is not the next")
            fold = fold or Fold(self._state.copy())
            fold.apply(entry)
        if fold is None:
            return self
        return self._settled(Chains(fold.state, self._others)) if self._others else Roster(fold.state)

    def take_untrusted(self, raws: Iterable[bytes]) -> Roster:
        """This roster with these entries on whichever branch they belong to, and the chain that then counts. All of
        them or none.

        Raises: CodecError (form), Gap, TrustError (any rule broken, or too many branches).
        """
        chains = Chains(self._state, self._others)
        return self._settled(chains) if chains.take([decode_entry_untrusted(raw) for raw in raws]) else self

    def _settled(self, chains: Chains) -> Roster:
        weighed, others = chains.settled()
        same = weighed.chain.entries[-1].hash == self.head and [other.entries[-1].hash for other in others] == [
            other.entries[-1].hash for other in self._others
        ]
        return self if same else Roster(weighed.chain, others, weighed)

    def export(self) -> bytes:
        """All entries in one file, for `syncd-ca`."""
        return encode([entry.raw for entry in self._state.entries])

    @classmethod
    def from_file_untrusted(cls, data: bytes) -> Roster:
        """The inverse of `export`, verified anew. Raises CodecError or TrustError."""
        value = decode_untrusted(data, max_bytes=MAX_ROSTER_FILE_BYTES, max_items=1 << 20)
        return cls.from_entries_untrusted(list_of(bytes_up_to(MAX_ENTRY_BYTES), 1 << 20, minimum=1)(value))

    # What it says.

    @property
    def folder_id(self) -> FolderId:
        return FolderId(self._state.entries[0].hash)

    @property
    def head(self) -> EntryHash:
        return self._state.entries[-1].hash

    @property
    def number(self) -> int:
        return len(self._state.entries) - 1

    @property
    def head_at(self) -> Head:
        return Head(self.number, self.head)

    @property
    def entries(self) -> Sequence[SignedEntry]:
        return self._state.entries

    def raw_after(self, number: int) -> list[bytes]:
        """The entries after the one of this number (-1: all), as they travel."""
        return [entry.raw for entry in self._state.entries[number + 1 :]]

    @property
    def genesis(self) -> Genesis:
        return self._state.genesis

    @property
    def members(self) -> Mapping[MemberId, Member]:
        """Everybody who ever was one, by id; look at `status`."""
        return self._seen.members

    @property
    def name_sealed(self) -> bytes:
        return self._state.name_sealed

    @property
    def settings(self) -> Mapping[int, int]:
        return self._state.settings

    @property
    def addresses(self) -> AddressRules:
        """From which networks content may be exchanged."""
        return self._state.addresses

    @property
    def recovery(self) -> tuple[PublicRecovery, ...]:
        return self._state.recovery

    @property
    def epochs(self) -> Sequence[EpochInfo]:
        return self._state.epochs

    @property
    def epoch(self) -> EpochInfo:
        return self._state.epochs[-1]

    def device(self, device: DeviceId) -> tuple[Member, PublicDevice] | None:
        """The device and its member, if it counts now."""
        return self._seen.active(device)

    def device_of_key(self, public: bytes) -> DeviceId | None:
        """Whose public key (signing, sealing or TLS) this is, removed devices included."""
        return self._state.keys.get(public)

    def public_of(self, device: DeviceId) -> PublicDevice | None:
        """The keys of a device that was ever admitted, to verify what it signed while it counted."""
        return self._state.publics.get(device)

    def witness_of(self, device: DeviceId) -> PublicDevice | None:
        """The keys of a device that was ever admitted, be it on a branch that lost: to verify what it signed there.
        Nobody says that it counted."""
        states = (self._state, *self._others)
        return next((state.publics[device] for state in states if device in state.publics), None)

    def lost_epochs(self) -> frozenset[EpochId]:
        """Epochs that void entries opened: nobody links them, so who was not sealed to cannot open them."""
        return (
            frozenset(
                EpochId(signed.hash)
                for signed in self._weighed.beside
                if signed.entry.epoch is not None and not self._weighed.counts(signed)
            )
            - self._state.links.keys()
        )

    def is_on_chain(self, entry: EntryHash) -> bool:
        """Whether the entry is one of this history, and not of one that lost."""
        return entry in self._state.numbers

    def member_of(self, device: DeviceId) -> Member | None:
        """The member, of whatever status, that a device ever admitted belongs or last belonged to."""
        return self._seen.members.get(self._seen.owner_of.get(device, NOBODY))

    def owners_of_devices(self) -> Mapping[DeviceId, MemberId]:
        """Every device that was ever admitted, and its latest member."""
        return self._state.owner_of

    def entry_that_ended(self, device: DeviceId) -> SignedEntry | None:
        """The entry that took the device out: all that a removed device is still told. None while it counts."""
        history = self._state.rights.get(device, ())
        if not history or history[-1][1] is not None:
            return None
        return self._state.entries[history[-1][0]]

    def knows(self, entry: EntryHash) -> bool:
        """Whether the entry is on the chain, or on a branch that we have met."""
        return self.number_of(entry) is not None

    def number_of(self, entry: EntryHash) -> int | None:
        """The number of an entry of the chain. One of a branch that lost stands where the branch parted from it."""
        number = self._state.numbers.get(entry)
        return number if number is not None else self._parted_at(entry)

    def _parted_at(self, entry: EntryHash) -> int | None:
        settled = self._state.settled.get(entry)
        if settled is not None:
            return settled.parent
        return next((last_shared(self._state, other) for other in self._others if entry in other.numbers), None)

    def rights_at(self, entry: EntryHash, device: DeviceId) -> Rights | None:
        """What the device could do once this entry stood; None if nothing, or if the entry is unknown here."""
        number = self.number_of(entry)
        return None if number is None else self._seen.rights_at(number, device)

    def role_at(self, entry: EntryHash, device: DeviceId) -> Role | None:
        rights = self.rights_at(entry, device)
        return None if rights is None else rights.role

    def journal_seals(self, device: DeviceId) -> Sequence[tuple[int, JournalSeal]]:
        """The cuts through this device's journals, each with the number of the entry that made it."""
        return self._seen.journals.get(device, ())

    def barred(self) -> frozenset[DeviceId]:
        """Devices that could read at some time and may not now: removed, or left with a role that does not read. They
        know every epoch's secret up to that moment, whenever they came."""
        return frozenset(
            device
            for device, history in self._seen.rights.items()
            if not _reads(history[-1][1]) and any(_reads(rights) for _, rights in history)
        )

    def recipients(self) -> list[Recipient]:
        """Whom an epoch opened now is sealed to, ordered by id."""
        return self._seen.recipients()

    # Where others stand, and what time does.

    def contains(self, head: Head) -> bool:
        return self._state.numbers.get(head.hash) == head.number

    def relation(self, head: Head) -> Relation:
        """What somebody's head tells us before a single entry is exchanged."""
        if head.hash == self.head:
            return Relation.SAME
        return Relation.UNKNOWN if self.shared_with(head) is None else Relation.BEHIND

    def shared_with(self, head: Head) -> int | None:
        """The number of our newest entry that is known to whoever has this head; None if we cannot know."""
        return head.number if self.contains(head) else self._parted_at(head.hash)

    def rotation_due(self, now: int) -> bool:
        """Somebody went who could not open an epoch, or this one is thirty days old."""
        return self._state.rotation_pending or now - self.epoch.opened_at >= ROTATION_AFTER_S

    @property
    def rotation_pending(self) -> bool:
        """Somebody went who could not open an epoch: open one now, not after thirty days."""
        return self._state.rotation_pending

    def expires_soon(self, now: int) -> bool:
        return self.epoch.valid_until - now <= EXPIRY_WARNING_S

    def is_frozen(self, now: int) -> bool:
        """No entry for 45 days: membership may be old, so no new content is sent."""
        return now - self._state.entries[-1].time > FREEZE_AFTER_S

    def has_epoch(self, epoch: EpochId) -> bool:
        """Whether the chain has this epoch."""
        return EntryHash(epoch) in self._state.numbers

    def last_shared_with(self, other: Roster) -> int:
        """The number of the last entry that both chains have."""
        return last_shared(self._state, other._state)

    def counts_on_chain(self, device: DeviceId) -> bool:
        """Whether the chain alone has this device among the active ones: another branch may have taken it out."""
        return self._state.active(device) is not None

    # Branches that lost.

    @property
    def branches(self) -> tuple[Sequence[SignedEntry], ...]:
        """The entries of every other branch behind those that it shares with the chain."""
        return tuple(other.entries[last_shared(self._state, other) + 1 :] for other in self._others)

    @property
    def tips(self) -> frozenset[EntryHash]:
        """The ends of all other branches: two devices that have the same chain may still have met others."""
        return frozenset(other.entries[-1].hash for other in self._others)

    def stray(self, known: Collection[EntryHash] = ()) -> list[bytes]:
        """The entries of all other branches as they travel, for somebody who has not met them. `known`: the ends of
        those that they have met."""
        unmet = [branch for branch in self.branches if branch[-1].hash not in known]
        return list(dict.fromkeys(entry.raw for branch in unmet for entry in branch))

    @property
    def is_unmerged(self) -> bool:
        """A branch that lost has entries that count and that no merge has settled, or none of a rank that could."""
        return bool(self.departures) or any(is_unmerged(self._weighed, signed) for signed in self._weighed.beside)

    @property
    def to_merge(self) -> tuple[Sequence[SignedEntry], ...]:
        """The branches that a merge has to settle: those on which anything still counts."""
        waiting = {signed.hash for signed in self._weighed.beside if is_unmerged(self._weighed, signed)}
        return tuple(branch for branch in self.branches if any(entry.hash in waiting for entry in branch))

    @property
    def links(self) -> Mapping[EpochId, LinkedEpoch]:
        """Epochs that forks left behind and somebody linked."""
        return self._state.links

    def left_behind(self) -> dict[EpochId, EpochInfo]:
        """Epochs of branches that lost and were merged, or wait for it, and that nobody has linked yet."""
        merged = {entry.hash for branch in self.to_merge for entry in branch} | self._state.settled.keys()
        return {
            epoch.id: epoch
            for other in self._others
            for epoch in other.epochs
            if EntryHash(epoch.id) in merged and epoch.id not in self._state.links
        }

    def at_epoch(self, epoch: EpochId) -> Roster | None:
        """The chain, or a branch, as it was when this epoch opened; None if we have no such epoch."""
        for state in (self._state, *self._others):
            number = state.numbers.get(EntryHash(epoch))
            if number is not None:
                return Roster(prefix(state, number).state)
        return None

    def on_branch(self, place: int) -> Roster:
        """The same entries with another branch as the chain, for the owner who decides a quarrel by signing there."""
        others = [other for other in self._others if other is not self._others[place]]
        return Roster(self._others[place], [self._state, *others])

    def branch_that_keeps(self, member: MemberId) -> int | None:
        """In a quarrel, where this member is still in: -1 for the chain, or the place of a branch; None: nowhere."""
        for place, state in enumerate([self._state, *self._others], start=-1):
            found = state.members.get(member)
            if found is not None and found.status is Status.ACTIVE:
                return place
        return None

    # Before signing.

    def after(self, device: DeviceId, changes: Sequence[Change], now: int) -> Draft:
        """What an entry with these changes would lead to, by the very rules that will judge it. Raises TrustError."""
        fold = Fold(self._state.copy())
        member, _ = fold.signer(device, changes, now)
        opens = fold.change(device, member, changes, len(self._state.entries), now)
        return Draft(opens, tuple(fold.state.recipients()))


def _reads(rights: Rights | None) -> bool:
    return rights is not None and share_of(rights) is Share.MEMBER


@dataclass(frozen=True, slots=True)
class Draft:
    """Whether the entry has to open an epoch, and to whom it would be sealed."""

    opens_epoch: bool
    recipients: tuple[Recipient, ...]


def _misfit(state: State, entry: SignedEntry) -> TrustError:
    """Why an entry does not continue this chain.

    A fork is one only if its entry is right after the one it continues, or anybody could raise the alarm.
    """
    chains = Chains(state, ())
    try:
        chains.take([entry])
    except TrustError as error:
        return error
    return Fork(state.entries[entry.number], entry)
