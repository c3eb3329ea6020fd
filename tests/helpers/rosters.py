"""Pure. Folders with members for tests, and entries that break one rule while keeping all others.

`Company` grows a roster the proper way, through `ca.authority`. `forge` signs whatever it is told, because the
authority refuses to make what the tests need to be refused elsewhere too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from blake3 import blake3

from ca import authority, device, recovery
from ca.authority import Newcomer, Outcome, Secrets, Signer
from ca.certs import folder_certificate
from ca.device import DeviceKeys, PublicDevice, Purpose, sign
from ca.entries import Admit, Change, EntryDevice, EntryEpoch, encode_body, entry_hash
from ca.epochs import EpochSecrets, seal_previous
from ca.ids import DeviceId, EntryHash, FolderId, MemberId
from ca.roles import Capability, Role
from ca.roster import Member, Roster
from ca.wraps import Sealer
from tests.helpers.sealer import SimulationSealer

NOW = 1_800_000_000
DAY_S = 24 * 3600


def seeded(seed: str) -> Callable[[int], bytes]:
    """Randomness that repeats: each call continues one endless stream."""
    at = 0

    def draw(length: int) -> bytes:
        nonlocal at
        at += length
        return blake3(seed.encode()).digest(length=length, seek=at - length)

    return draw


def keys_of(name: str) -> DeviceKeys:
    """The device keys of a person in the tests; the same name gives the same keys."""
    return device.generate(seeded(f"keys of {name}"))


def public_of(name: str) -> PublicDevice:
    return keys_of(name).public


@dataclass(slots=True)
class Company:
    """A folder begun by ann; everybody has one device, named like them."""

    now: int = NOW
    sealer: Sealer = field(default_factory=SimulationSealer)
    random: Callable[[int], bytes] = field(default_factory=lambda: seeded("company"))
    people: dict[str, DeviceKeys] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    recovery_key: recovery.RecoveryKey = field(default_factory=lambda: recovery.generate(seeded("recovery")))

    def __post_init__(self) -> None:
        if self.outcomes:
            return  # parted from another
        self.people["ann"] = keys_of("ann")
        self.outcomes.append(
            authority.make_genesis(
                self.signer("ann"),
                folder_name="pictures",
                member_name="ann",
                device_name="ann's laptop",
                recovery=self.recovery_key.public,
            )
        )

    def signer(self, name: str) -> Signer:
        return Signer(self.people[name], self.now, self.random, self.sealer)

    @property
    def roster(self) -> Roster:
        return self.outcomes[-1].roster

    @property
    def secrets(self) -> Secrets:
        return self.outcomes[-1].secrets

    @property
    def raws(self) -> list[bytes]:
        return self.roster.raw_after(-1)

    def member(self, name: str) -> Member:
        member = self.roster.member_of(self.people[name].id)
        assert member is not None
        return member

    def id(self, name: str) -> DeviceId:
        return self.people[name].id

    def admit(self, name: str, role: Role, capabilities: Capability | None = None, *, by: str = "ann") -> Outcome:
        newcomer = Newcomer(name, role, [(public_of(name), f"{name}'s laptop")], capabilities)
        outcome = self.did(authority.admit(self.roster, self.secrets, self.signer(by), [newcomer]))
        self.people[name] = keys_of(name)
        return outcome

    def remove(self, name: str, *, by: str = "ann") -> Outcome:
        return self.did(authority.remove(self.roster, self.secrets, self.signer(by), self.member(name).id))

    def rotate(self, *, by: str = "ann") -> Outcome:
        return self.did(authority.rotate(self.roster, self.secrets, self.signer(by)))

    def leave(self, name: str) -> Outcome:
        return self.did(authority.leave(self.roster, self.secrets, self.signer(name)))

    def lost(self, name: str, *, by: str = "ann") -> Outcome:
        return self.did(authority.device_lost(self.roster, self.secrets, self.signer(by), self.people[name].id))

    def change_role(self, name: str, role: Role, capabilities: Capability | None = None, *, by: str = "ann") -> Outcome:
        member = self.member(name).id
        return self.did(authority.change_role(self.roster, self.secrets, self.signer(by), member, role, capabilities))

    def recover(self, staying: Sequence[str], *, owner: str) -> Outcome:
        return self.did(
            authority.recover(
                self.roster,
                self.secrets,
                self.signer("ann"),
                self.recovery_key,
                devices=[self.people[name].id for name in staying],
                owner=self.member(owner).id,
            )
        )

    def meet(self, other: Company) -> None:
        """Learn of another branch; the secrets stay those of this one, which has to be the one that counts."""
        last = self.outcomes[-1]
        self.outcomes.append(replace(last, roster=last.roster.take_untrusted(other.raws)))

    @property
    def raws_head(self) -> EntryHash:
        return entry_hash(self.raws[-1])

    def did(self, outcome: Outcome) -> Outcome:
        self.outcomes.append(outcome)
        return outcome


def parted(company: Company, seed: str) -> Company:
    """The same folder as others know it who from now on hear nothing of this one."""
    people, outcomes = dict(company.people), list(company.outcomes)
    return replace(company, random=seeded(seed), people=people, outcomes=outcomes)


# --- entries that need not be right ----------------------------------------------------------------------------------


def admit_change(name: str, role: Role = Role.EDITOR, capabilities: Capability = Capability.NONE) -> Admit:
    """Somebody new, with names of zeros (nobody opens them here)."""
    member = MemberId(seeded(f"member {name}")(16))
    return Admit(member, bytes(48), role, capabilities, (EntryDevice(public_of(name), bytes(48)),))


def epoch_after(company: Company, *, recipients: int = 0, seed: str = "next", at: int | None = None) -> EntryEpoch:
    """An epoch that would rightly follow, sealed to so many more recipients than the last (its wraps are nobody's)."""
    roster, secret = company.roster, seeded(f"secret {seed}")(32)
    keys, at = EpochSecrets.derive(secret), company.now if at is None else at
    return EntryEpoch(
        roster.epoch.number + 1,
        folder_certificate(keys.tls, at),
        folder_certificate(keys.vault.tls, at),
        seal_previous(secret, company.secrets.epoch, company.secrets.epoch_id),
        bytes(32),
        roster.epoch.wraps_count + recipients,
    )


@dataclass(frozen=True, slots=True)
class Forgery:
    """An entry to be signed; every field is right unless a test replaces it."""

    number: int
    previous: EntryHash
    signer: DeviceId
    time: int
    changes: tuple[Change, ...]
    epoch: EntryEpoch | None
    folder: FolderId | None
    purpose: Purpose
    keys: DeviceKeys

    def raw(self) -> bytes:
        body = encode_body(self.number, self.previous, self.signer, self.time, self.changes, self.epoch)
        return body + sign(self.keys, self.purpose, self.folder, body)

    def but(self, **changed: object) -> Forgery:
        return replace(self, **changed)  # type: ignore[arg-type]


def forge(company: Company, changes: Sequence[Change], epoch: EntryEpoch | None, *, by: str = "ann") -> Forgery:
    """The next entry of this roster, signed by this person."""
    keys, roster = company.people[by], company.roster
    return Forgery(
        roster.number + 1,
        roster.head,
        keys.id,
        company.now,
        tuple(changes),
        epoch,
        roster.folder_id,
        Purpose.ENTRY,
        keys,
    )
