"""Pure. The roster: a chain of signed entries and the membership that follows from it.

An entry counts only if its signer held the right in the state *before* it; so a roster is read from genesis on, and
every peer that reads the same entries comes to the same state. A Roster never changes: `extend_untrusted` gives a new
one or raises, and what raised leaves no trace.

Three ways in which a peer's entries can fail to continue ours have a class each, since callers react differently:
`Rollback` (they want us to forget), `Fork` (somebody signed a second history: stop, alarm), `Gap` (entries in between
are missing: ask for them).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ca.addresses import AddressRules
from ca.codec import bytes_up_to, decode_untrusted, encode, list_of
from ca.device import PublicDevice, Purpose, verify
from ca.entries import MAX_ENTRY_BYTES, Change, Genesis, JournalSeal, SignedEntry, decode_entry_untrusted
from ca.errors import CodecError, TrustError
from ca.ids import DeviceId, EntryHash, FolderId, MemberId
from ca.membership import Fold, begin_fold
from ca.recovery import PublicRecovery
from ca.roles import Role
from ca.state import NOBODY, EpochInfo, Member, Recipient, Rights, State, Status

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


class Gap(TrustError):
    """The entry names one before it that we do not have: fetch the entries in between, or earlier ones."""


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
    BEHIND = "behind"  # an ancestor of ours: they are to catch up
    UNKNOWN = "unknown"  # newer than ours, or on another branch: their entries after our common ones will tell


# --- the roster ------------------------------------------------------------------------------------------------------


class Roster:
    """An unbroken chain of entries from genesis, every one of them rightly signed, and what follows from it."""

    __slots__ = ("_state",)

    def __init__(self, state: State) -> None:
        self._state = state

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
        return Roster(fold.state) if fold else self

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
        return self._state.members

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
        return self._state.active(device)

    def device_of_key(self, public: bytes) -> DeviceId | None:
        """Whose public key (signing, sealing or TLS) this is, removed devices included."""
        return self._state.keys.get(public)

    def public_of(self, device: DeviceId) -> PublicDevice | None:
        """The keys of a device that was ever admitted, to verify what it signed while it counted."""
        return self._state.publics.get(device)

    def member_of(self, device: DeviceId) -> Member | None:
        """The member, of whatever status, that a device ever admitted belongs or last belonged to."""
        return self._state.members.get(self._state.owner_of.get(device, NOBODY))

    def entry_that_ended(self, device: DeviceId) -> SignedEntry | None:
        """The entry that took the device out: all that a removed device is still told. None while it counts."""
        history = self._state.rights.get(device, ())
        if not history or history[-1][1] is not None:
            return None
        return self._state.entries[history[-1][0]]

    def knows(self, entry: EntryHash) -> bool:
        return entry in self._state.numbers

    def number_of(self, entry: EntryHash) -> int | None:
        return self._state.numbers.get(entry)

    def rights_at(self, entry: EntryHash, device: DeviceId) -> Rights | None:
        """What the device could do once this entry stood; None if nothing, or if the entry is unknown here."""
        number = self._state.numbers.get(entry)
        if number is None:
            return None
        for since, rights in reversed(self._state.rights.get(device, ())):
            if since <= number:
                return rights
        return None

    def role_at(self, entry: EntryHash, device: DeviceId) -> Role | None:
        rights = self.rights_at(entry, device)
        return None if rights is None else rights.role

    def journal_seals(self, device: DeviceId) -> Sequence[tuple[int, JournalSeal]]:
        """The cuts through this device's journals, each with the number of the entry that made it."""
        return self._state.journals.get(device, ())

    def recipients(self) -> list[Recipient]:
        """Whom an epoch opened now is sealed to, ordered by id."""
        return self._state.recipients()

    # Where others stand, and what time does.

    def contains(self, head: Head) -> bool:
        return self._state.numbers.get(head.hash) == head.number

    def relation(self, head: Head) -> Relation:
        """What somebody's head tells us before a single entry is exchanged."""
        if head.hash == self.head:
            return Relation.SAME
        return Relation.BEHIND if self.contains(head) else Relation.UNKNOWN

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

    # Before signing.

    def after(self, device: DeviceId, changes: Sequence[Change], now: int) -> Draft:
        """What an entry with these changes would lead to, by the very rules that will judge it. Raises TrustError."""
        fold = Fold(self._state.copy())
        member, _ = fold.signer(device)
        opens = fold.change(device, member, changes, len(self._state.entries), now)
        return Draft(opens, tuple(fold.state.recipients()))


@dataclass(frozen=True, slots=True)
class Draft:
    """Whether the entry has to open an epoch, and to whom it would be sealed."""

    opens_epoch: bool
    recipients: tuple[Recipient, ...]


def _misfit(state: State, entry: SignedEntry) -> TrustError:
    """Why an entry does not continue this chain.

    A fork is one only if its entry is right after the one it continues, or anybody could raise the alarm.
    """
    if entry.number == 0:
        return TrustError("this is the roster of another folder")
    parent = state.numbers.get(entry.previous)
    if parent is None:
        return Gap(f"entry {entry.number} continues one that is unknown here")
    if entry.number != parent + 1:
        return TrustError("the entry's number is not the next")
    signer = state.publics.get(entry.signer)
    if signer is not None:  # before the work below, which a stranger could otherwise ask for with any bytes
        verify(signer.sign, Purpose.ENTRY, FolderId(state.entries[0].hash), entry.body, entry.signature)
    fold = begin_fold(state.entries[0], check_signature=False)
    for ours in state.entries[1 : parent + 1]:
        fold.apply(ours, check_signature=False)
    fold.apply(entry)
    return Fork(state.entries[parent + 1], entry)
