"""Async. One folder's membership on this device: every way in which it changes, and what follows at once.

The decisions are in `ca` and `standing`, what can be read from them in `people`; here is their order. A step (a page
received, an entry of our own) is computed in a worker, written to disk in one transaction, and then takes effect within
one turn of the event loop: state, SNI labels, then `on_update`, where connections are cut. So nobody sees a roster that
a crash could take back, and no connection of an epoch outlives it for longer than that turn.

Admissions that come within two seconds share one entry and one epoch. Removals never wait.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeAlias

import trio

from ca import authority
from ca.addresses import AddressRules
from ca.authority import Newcomer, Outcome, Secrets, Signer
from ca.device import PublicDevice
from ca.entries import JournalSeal
from ca.epochs import MAX_NAME_BYTES, control_label
from ca.ids import DeviceId, MemberId
from ca.recovery import RecoveryKey
from ca.roles import Action, Capability, Role
from ca.roster import Head, Relation, Roster
from ca.values import dataclass
from syncd.daemon import standing as steps
from syncd.daemon.devicedb import Also
from syncd.daemon.installation import Installation
from syncd.daemon.people import People
from syncd.daemon.standing import Standing
from syncd.daemon.tlsfiles import drop_tls_files
from syncd.engine.duties import Duty, next_duty
from syncd.engine.membership import Update, free_name
from syncd.errors import RemoteProtocolError, TrustError
from syncd.folder.ground import Rights
from syncd.model.ids import ChangesetHash, Incarnation
from syncd.protocol import tls
from syncd.protocol.invitation import one_line
from syncd.protocol.messages import RosterPage, RosterSubmit
from syncd.store.keyring import EpochKeys, Keyring

log = logging.getLogger("syncd.membership")

TOGETHER_S: Final = 2.0
"""Admissions within this time share an epoch."""
GATHER_S: Final = 0.5
"""Where others may follow at once, as by a link that is good for several, the first of them waits so long: those who
come right behind it would have to wait for two seconds."""
MAX_TOGETHER: Final = 256

JournalHead: TypeAlias = tuple[DeviceId, Incarnation, int, ChangesetHash]
"""Device, incarnation, counter and hash of the newest changeset of a journal."""


@dataclass(eq=False, slots=True)
class _Wish:
    """Somebody to admit, until it is done."""

    device: PublicDevice
    name: str
    role: Role
    device_name: str
    also: Also | None
    update: Update | None = None
    error: TrustError | None = None

    @property
    def is_settled(self) -> bool:
        return self.update is not None or self.error is not None


Opened: TypeAlias = tuple[Keyring | None, Mapping[bytes, EpochKeys]]
"""The ciphers of every epoch that could be opened, and their keys."""


class FolderMembership(People):
    """Made by the functions of `daemon.beginning`. What only reads is `People`; the rest belongs to the event loop."""

    def __init__(self, installation: Installation, standing: Standing, opened: Opened | None = None) -> None:
        """`opened`: what `steps.make_keyring` made of that standing; without it `open_keyring` has to follow."""
        super().__init__(standing, installation.now_s)
        self.on_update: list[Callable[[Update], None]] = []
        self._installation = installation
        self._keyring, self._content_keys = (None, {}) if opened is None else opened
        self._lock = trio.Lock()
        self._wishes: list[_Wish] = []
        self._admitted_at = -TOGETHER_S
        self._admits_at = 0.0
        self._moved = trio.Event()
        self._parted: frozenset[DeviceId] = frozenset()
        self._table: tls.LabelTable | None = None
        self._labels: frozenset[str] = frozenset()
        self._outgoing: tls.Outgoing | None = None

    def keyring(self) -> Keyring:
        """Ciphers of every epoch that could be opened. Raises LookupError while there is none."""
        if self._keyring is None:
            raise LookupError("no epoch of this folder could be opened here yet")
        return self._keyring

    def rights(self) -> Rights:
        """What the folder's task may do. Ask again after every update, and now and then, for the sake of the clock."""
        frozen = self.roster.is_frozen(self._installation.now_s())
        publishes, works = self.may(Action.WRITE), self._standing.works
        in_doubt = bool(self.roster.quarrel)  # who is suspended by it alone must not take their edits for a viewer's
        return Rights(publishes=publishes, exchanges=works and not frozen, waits=in_doubt or (publishes and not works))

    def problems(self) -> tuple[tuple[str, str], ...]:
        """What a person should know: ids of the catalogue, each with a reason."""
        standing, found = self._standing, []
        if standing.is_suspended:
            found.append(("SY-TRUST-06", "the membership list says that this device is suspended"))
        elif standing.is_out:
            found.append(("SY-TRUST-02", "the membership list says that this device was taken out"))
        elif self.has_ended:
            found.append(("SY-TRUST-06", "the membership of this device has ended"))
        if standing.roster.quarrel:
            found.append(
                (
                    "SY-FORK-01",
                    "owners have taken out each other; another owner, or the recovery key, has to decide",
                )
            )
        if not standing.is_out and self.roster.is_frozen(self._installation.now_s()):
            found.append(("SY-TRUST-04", "no entry of the membership list for 45 days"))
        if not standing.is_out and not standing.may_read:
            found.append(("SY-TRUST-05", "your role here does not include reading: nothing comes, and nothing goes"))
        if standing.trouble is not None:
            found.append(("SY-TRUST-01", standing.trouble))
        return tuple(found)

    # connections ---------------------------------------------------------------------------------------------

    def install(self, table: tls.LabelTable) -> None:
        """Answer this folder's labels in `table`, from now on those of whatever epoch is the current one."""
        self._table = table
        self._relabel()

    def uninstall(self) -> None:
        """Answer them no longer."""
        for label in self._labels:
            if self._table is not None:
                self._table.remove(label)
        self._table, self._labels = None, frozenset()

    def _relabel(self) -> None:
        table = self._table
        if table is None:
            return
        standing, own = self._standing, self._installation
        labels = set()
        if standing.secrets is not None:  # also when we are out: who let us in again has to be able to say so
            label = control_label(standing.secrets.keys.contact_key, own.id)
            if label not in self._labels:
                table.add_control(label, self.folder_id, own.certificate, own.keys.tls)
            labels.add(label)
        keys = standing.epoch_keys()
        if keys is not None:
            if keys.label not in self._labels:
                table.add_member(keys.label, self.folder_id, self.epoch.id, self.epoch.member_certificate, keys.tls)
            labels.add(keys.label)
        for label in self._labels - labels:
            table.remove(label)
        self._labels = frozenset(labels)

    def outgoing_member(self) -> tls.Outgoing:
        """How to dial another member. Raises TrustError while nothing may be exchanged."""
        keys = self._standing.epoch_keys()
        if keys is None:
            raise TrustError("the newest epoch of this folder is not open here")
        if self._outgoing is None:
            self._outgoing = tls.connect_member(
                keys.label, self.folder_id, self.epoch.id, self.epoch.member_certificate, keys.tls
            )
        return self._outgoing

    def outgoing_control(self, device: DeviceId) -> tls.Outgoing:
        """How to ask a device about the roster, also after we lost the epoch. Raises TrustError for a stranger."""
        public, secrets, own = self.roster.public_of(device), self.secrets, self._installation
        if public is None or secrets is None:
            raise TrustError("there is no way to call a device that was never a member here")
        label = control_label(secrets.keys.contact_key, device)
        return tls.connect_control(label, self.folder_id, own.certificate, own.keys.tls, peer_key=public.tls)

    # the roster, out and in ----------------------------------------------------------------------------------

    def page_for(self, device: DeviceId, after: int) -> RosterPage | None:
        """What a proven device is told that asks for the entries after a number. None: as if there were no folder."""
        return self._standing.page_for(device, after)

    def page_for_recovery(self, held: int) -> RosterPage:
        """Entries for the holder of a recovery key who has so many of them."""
        return self._standing.page_for_recovery(held)

    def submission(self) -> RosterSubmit:
        """Our newest entry, as it is pushed to others."""
        return self._standing.submission()

    async def submit_untrusted(self, submit: RosterSubmit) -> Update:
        """Take an entry that was pushed to us, like a page. If that leaves us behind: `catch_up` with its sender."""
        page = RosterPage((submit.entry,), 0, wraps=submit.wraps)
        return await self.receive_untrusted(page)

    async def receive_untrusted(self, page: RosterPage) -> Update:
        """Take a page of somebody's roster.

        Raises: RemoteProtocolError, TrustError for a page that breaks a rule. A fork is no exception: see the update.
        """
        own = self._installation
        async with self._lock:
            before = self._standing
            after, update = await own.workers.run_blocking(
                steps.receive_untrusted, before, page, own.keys, own.sealer, own.now_s()
            )
            if after != before:
                await self._adopt(after, update)
        if update.fork:
            log.error("SY-FORK-01 folder %s: its roster has two histories; exchange is stopped", self.folder_id.hex())
        if after.trouble and after.trouble != before.trouble:
            log.error("folder %s: the secret of its new epoch was refused: %s", self.folder_id.hex(), after.trouble)
        return update

    async def catch_up(self, fetch: Callable[[int], Awaitable[RosterPage]], theirs: Head | None = None) -> Update:
        """Ask one peer until we have all that it has.

        `fetch(n)` gets its page of the entries after number n; `theirs` is the head that its hello named. If its
        entries do not lead from ours to that head, they are asked for from the first one on, to find where it parted.

        Raises: as `receive_untrusted`, and what `fetch` raises.
        """
        update = await self._follow(fetch, self.asks_after)
        if update.fork or update.we_are_out or not (update.behind or self._is_foreign(theirs)):
            return update
        update |= await self._follow(fetch, 0)
        if not (update.fork or update.we_are_out) and (update.behind or self._is_foreign(theirs)):
            raise RemoteProtocolError("the peer's roster has a hole")
        return update

    async def _follow(self, fetch: Callable[[int], Awaitable[RosterPage]], after: int) -> Update:
        """Take page after page, until there are no more or one does not continue ours."""
        total = Update()
        while True:
            page = await fetch(after)
            total |= await self.receive_untrusted(page)
            after += len(page.entries)
            if total.behind or total.fork or total.we_are_out or not page.entries or after >= page.newest:
                return total

    def _is_foreign(self, head: Head | None) -> bool:
        return head is not None and not self.is_out and self.relation(head) is Relation.UNKNOWN

    # changes of our own --------------------------------------------------------------------------------------

    async def admit(
        self,
        device: PublicDevice,
        name: str,
        role: Role,
        *,
        device_name: str | None = None,
        also: Also | None = None,
        is_one_of_several: bool = False,
    ) -> Update:
        """Make somebody a member; a name that is taken gets a number. `also` is written in the same transaction.
        `is_one_of_several`: others may be about to be admitted, too.

        Raises: TrustError when this device may not.
        """
        name = one_line(name, MAX_NAME_BYTES)
        wish = _Wish(device, name, role, one_line(device_name or name, MAX_NAME_BYTES), also)
        if not self._wishes:
            gathers_s = GATHER_S if is_one_of_several else 0.0
            self._admits_at = max(self._admitted_at + TOGETHER_S, trio.current_time() + gathers_s)
        self._wishes.append(wish)
        try:
            await trio.sleep_until(self._admits_at)
            async with self._lock:
                while not wish.is_settled:
                    await self._admit_all()
        finally:
            if wish in self._wishes:
                self._wishes.remove(wish)
        if wish.error is not None:
            raise wish.error
        assert wish.update is not None, "a settled wish has one or the other"
        return wish.update

    async def _admit_all(self) -> None:
        wishes = self._wishes[:MAX_TOGETHER]
        try:
            try:
                await self._admit(wishes)
            except TrustError as error:
                if len(wishes) == 1:
                    wishes[0].error = error
                else:
                    await self._admit_each(wishes)
        finally:
            self._wishes = [wish for wish in self._wishes if not wish.is_settled]
            self._admitted_at = trio.current_time()

    async def _admit_each(self, wishes: Sequence[_Wish]) -> None:
        """One of them cannot be admitted: the others are not to suffer."""
        for wish in wishes:
            try:
                await self._admit([wish])
            except TrustError as error:
                wish.error = error

    async def _admit(self, wishes: Sequence[_Wish]) -> None:
        taken = {member.name for member in self.members()}
        newcomers = []
        for wish in wishes:
            name = free_name(wish.name, taken, MAX_NAME_BYTES)
            taken.add(name)
            newcomers.append(Newcomer(name, wish.role, [(wish.device, wish.device_name)]))
        update = await self._change(
            partial(authority.admit, newcomers=newcomers), [wish.also for wish in wishes if wish.also is not None]
        )
        for wish in wishes:
            wish.update = update

    async def enroll(self, people: Sequence[Newcomer]) -> Update:
        """Make all of them members by one entry; names that are taken get numbers. Raises: TrustError."""
        async with self._lock:
            taken, newcomers = {member.name for member in self.members()}, []
            for one in people:
                name = free_name(one.name, taken, MAX_NAME_BYTES)
                taken.add(name)
                newcomers.append(replace(one, name=name))
            return await self._change(partial(authority.admit, newcomers=newcomers))

    async def remove(self, member: MemberId, heads: Sequence[JournalHead] = ()) -> Update:
        """Take a member out for good. `heads`: the newest changesets of all journals that we know.

        Raises: TrustError when this device may not.
        """
        seals = self._seals_of_member(member, heads)
        async with self._lock:
            return await self._change(partial(authority.remove, member=member, journals=seals))

    def _seals_of_member(self, member: MemberId, heads: Sequence[JournalHead]) -> list[JournalSeal]:
        target = self.roster.members.get(member)
        return seals_of(heads, () if target is None else target.device_names)

    async def rotate(self) -> Update:
        """Open a new epoch. Raises: TrustError when this device may not."""
        async with self._lock:
            return await self._change(authority.rotate)

    async def confirm(self) -> Update:
        """Sign behind what others decided, without changing anything. Raises: TrustError when this device may not."""
        async with self._lock:
            return await self._change(authority.stand_by)

    async def rule_addresses(self, rules: AddressRules) -> Update:
        """Put these address rules in place of those that hold. Raises: TrustError when this device may not."""
        async with self._lock:
            return await self._change(partial(authority.rule_addresses, rules=rules))

    async def change_settings(self, settings: Sequence[tuple[int, int]]) -> Update:
        """Put these settings in place of those of the same numbers. Raises: TrustError when this device may not."""
        async with self._lock:
            return await self._change(partial(authority.change_settings, settings=settings))

    async def suspend(self, member: MemberId, heads: Sequence[JournalHead] = ()) -> Update:
        """Take a member out until `reactivate`. Raises: TrustError when this device may not."""
        seals = self._seals_of_member(member, heads)
        async with self._lock:
            return await self._change(partial(authority.suspend, member=member, journals=seals))

    async def reactivate(self, member: MemberId) -> Update:
        """Let a suspended member in again. Raises: TrustError when this device may not."""
        async with self._lock:
            return await self._change(partial(authority.reactivate, member=member))

    async def change_role(
        self, member: MemberId, role: Role, capabilities: Capability | None, heads: Sequence[JournalHead] = ()
    ) -> Update:
        """Another role, and its usual capabilities or these. Raises: TrustError when this device may not."""
        seals = self._seals_of_member(member, heads)
        change = partial(authority.change_role, member=member, role=role, capabilities=capabilities, journals=seals)
        async with self._lock:
            return await self._change(change)

    async def expire(self, member: MemberId, until: int | None) -> Update:
        """Say when a membership ends; None: never. Raises: TrustError when this device may not."""
        async with self._lock:
            return await self._change(partial(authority.expire, member=member, until=until))

    async def take_out_device(self, device: DeviceId, heads: Sequence[JournalHead] = ()) -> Update:
        """Take out one device for good, lost or archived. Raises: TrustError when this device may not."""
        seals = seals_of(heads, [device])
        async with self._lock:
            return await self._change(partial(authority.device_lost, device=device, journals=seals))

    async def recover(
        self, key: RecoveryKey, devices: Sequence[DeviceId], owner: MemberId, heads: Sequence[JournalHead] = ()
    ) -> Update:
        """By the printed key: only these devices stay, this one among them, and `owner` is one. Raises: TrustError."""
        seals = [seal for seal in seals_of(heads, self.roster.owners_of_devices()) if seal.device not in devices]
        change = partial(authority.recover, key=key, devices=devices, owner=owner, journals=seals)
        async with self._lock:
            return await self._change(change, in_quarrel=True)

    async def decide(self, place: int | None) -> Update:
        """In a quarrel of others, stand by our history (None) or by the branch of this place. Raises: TrustError."""
        own = self._installation
        entry = await own.workers.run_blocking(authority.decide_quarrel, self.roster, own.signer(), place)
        return await self.receive_untrusted(RosterPage((entry,), 0))

    async def leave(self, heads: Sequence[JournalHead] = ()) -> Update:
        """Take ourselves out. Raises: TrustError for the last owner."""
        found = self.roster.device(self.device)
        seals = seals_of(heads, () if found is None else found[0].devices)
        async with self._lock:
            return await self._change(partial(authority.leave, journals=seals))

    async def _change(
        self,
        make: Callable[[Roster, Secrets, Signer], Outcome],
        also: Sequence[Also] = (),
        *,
        in_quarrel: bool = False,
    ) -> Update:
        own, before = self._installation, self._standing
        if before.roster.quarrel and not in_quarrel:
            raise TrustError("the folder's membership has two histories", id="SY-FORK-01")
        if before.is_out:
            id_ = "SY-TRUST-06" if before.is_suspended else "SY-TRUST-02"
            raise TrustError("this device is no longer a member", id=id_)
        if before.secrets is None:
            raise TrustError("the folder's secret is not here yet", fix="wait until it has arrived")
        outcome = await own.workers.run_blocking(make, before.roster, before.secrets, own.signer())
        after, update = steps.follow(before, outcome)
        await self._adopt(after, update, also)
        return update

    async def _adopt(self, after: Standing, update: Update, also: Sequence[Also] = ()) -> None:
        """Disk first; then all that follows, in one turn of the event loop."""
        own, before = self._installation, self._standing
        keyring, keys = self._keyring, self._content_keys
        if after.secrets is not before.secrets and after.secrets is not None:
            keyring, keys = await own.workers.run_blocking(steps.make_keyring, after, keys)
        with trio.CancelScope(shield=True):  # once it is on disk it must also be in effect
            await own.on_disk(own.db.save_roster, steps.change_between(before, after), also)
            self._standing, self._keyring, self._content_keys, self._outgoing = after, keyring, keys, None
            self._relabel()
            self._moved.set()
            self._moved = trio.Event()
            for callback in self.on_update:
                callback(update)
            await own.keep_copy()
            if update.epoch_changed:
                await self.drop_tls_files()

    async def drop_tls_files(self) -> None:
        """Remove the files that `folder show` wrote for an epoch that is over."""
        own = self._installation
        if own.home is not None:
            await own.workers.run_blocking(drop_tls_files, own.home, self.folder_id, self.epoch.member_certificate)

    async def open_keyring(self) -> None:
        """Derive the keys of what was loaded; part of every beginning."""
        if self._standing.secrets is not None:
            self._keyring, self._content_keys = await self._installation.workers.run_blocking(
                steps.make_keyring, self._standing, self._content_keys
            )

    # what is owed --------------------------------------------------------------------------------------------

    @property
    def moved(self) -> trio.Event:
        """Set when the roster moves the next time."""
        return self._moved

    def next_duty(self, luck: float) -> Duty | None:
        """What this device has to do for the membership, and when."""
        standing = self._standing
        if not standing.works or standing.secrets is None:
            return None
        holds = standing.secrets.older.keys()
        return next_duty(
            standing.roster, self.device, self._installation.now_s(), luck, holds=holds, has_lost=bool(standing.again)
        )

    def part_with_the_ended(self) -> None:
        """Whoever's time is over by our clock is out here, whether or not somebody who may suspend them is there."""
        over = self.whose_time_is_over()
        if over != self._parted:
            self._parted = over
            for callback in self.on_update:
                callback(Update(removed=over - {self.device}))

    async def merge(self) -> Update:
        """End every fork that was met. Raises: TrustError when this device may not."""
        async with self._lock:
            return await self._change(authority.merge)

    async def link(self) -> Update:
        """Link the epochs that forks left behind and that we can open. Raises: TrustError."""
        async with self._lock:
            return await self._change(authority.link)

    async def say_again(self) -> Update:
        """Make those entries of ours again that a fork lost, as far as we still may."""
        async with self._lock:
            update = Update()
            for change in steps.lost_changes(self._standing):
                try:
                    update |= await self._change(partial(authority.compose, changes=[change]))
                except TrustError as error:
                    log.info("folder %s: not made again after a fork: %s", self.folder_id.hex(), error)
            await self._adopt(replace(self._standing, again=()), Update())
            return update


def seals_of(
    heads: Sequence[JournalHead], devices: Sequence[DeviceId] | Mapping[DeviceId, object]
) -> list[JournalSeal]:
    """The seals of these devices' journals."""
    return [
        JournalSeal(device, incarnation, counter, hash_)
        for device, incarnation, counter, hash_ in heads
        if device in devices
    ]
