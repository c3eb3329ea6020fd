"""Async. The inviter's side of pairing: open codes and links, who asks to join, and who is let in.

The rules are in `engine.invites`, the connections in `answering.py`; here each new value of an invitation is computed,
written to disk, and only then answered. A pairing label is answered only while its invitation is open. The admission
itself does not depend on the joiner's connection: whoever was let in while it was gone gets its admission when it comes
back.
"""

from __future__ import annotations

import base64
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final, TypeAlias

import trio

from ca.certs import throwaway_certificate
from ca.device import PublicDevice
from ca.epochs import MAX_NAME_BYTES, code_label, link_label
from ca.errors import CodecError
from ca.ids import DeviceId, FolderId
from ca.roles import Role
from ca.roster import Status
from ca.values import dataclass
from syncd.daemon import joinrequests
from syncd.daemon.devicedb import DeviceDb
from syncd.daemon.installation import Installation
from syncd.daemon.joinrequests import JoinRequest
from syncd.daemon.membership import FolderMembership
from syncd.engine import invites as rules
from syncd.engine.invites import Claim, Invite, Why
from syncd.errors import ConfigError, StoreCorrupt, TrustError
from syncd.protocol.invitation import Admission, Applicant, Offer, one_line
from syncd.protocol.links import FINGERPRINT_BYTES, Code, Link, format_link
from syncd.protocol.pairing import POLL_S
from syncd.protocol.tls import LabelTable

log = logging.getLogger("syncd.inviting")

HOUSEKEEPING_S: Final = 5.0
BLUR_S: Final = 0.05
"""SPAKE2 takes some milliseconds, in Python not always as many."""
_MAX_REQUEST_BYTES: Final = 4096
_MAX_ADDRESS_BYTES: Final = 300


@dataclass(frozen=True, slots=True)
class About:
    """What a joiner is told of a folder beyond its membership."""

    files: int
    size_bytes: int
    addresses: tuple[tuple[DeviceId, tuple[str, ...]], ...] = ()  # where members can be reached, ourselves included


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """Somebody tried a code with wrong words, from this `host:port`."""

    invite: Invite
    address: str


@dataclass(frozen=True, slots=True)
class Requested:
    """A person has to decide."""

    request: JoinRequest


@dataclass(frozen=True, slots=True)
class Joined:
    """A device that was invited is a member and has its admission on disk."""

    invite: Invite
    device: DeviceId


InviterEvent: TypeAlias = AttemptFailed | Requested | Joined


class Inviter:
    """All open invitations of this device. `load` first; `run` while the daemon lives."""

    def __init__(
        self,
        installation: Installation,
        table: LabelTable,
        maybe_folder: Callable[[FolderId], FolderMembership | None],
        about: Callable[[FolderId], About],
    ) -> None:
        self.on_event: list[Callable[[InviterEvent], None]] = []
        self.on_numbers: list[Callable[[], None]] = []
        self._opened = trio.Event()
        """Called when `numbers` has changed."""
        self.numbers: tuple[int, ...] = ()
        """Of the codes that are open, for the announcement."""
        self._installation = installation
        self._table = table
        self._maybe_folder = maybe_folder
        self._about = about
        self._invites: dict[bytes, Invite] = {}
        self._requests: dict[str, JoinRequest] = {}
        self._labels: dict[str, bytes] = {}
        self._label_of: dict[bytes, str] = {}
        """The same by invitation: a label takes a hash, and each change asks for all of them."""
        self._lock = trio.Lock()
        self._decisions: dict[tuple[bytes, DeviceId], trio.Event] = {}

    # life ----------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read what was open when the daemon stopped. Raises StoreCorrupt."""
        own = self._installation
        try:
            found = [rules.unpack_untrusted(packed) for packed in await own.on_disk(own.db.invites)]
            requests = [joinrequests.unpack_untrusted(id, body) for id, body in await own.on_disk(own.db.requests)]
        except CodecError as error:
            raise StoreCorrupt("an invitation cannot be read back from the disk", id="SY-DB-01") from error
        self._invites = {invite.id: invite for invite in found}
        self._requests = {request.id: request for request in requests}
        self._relabel()

    async def run(self) -> None:
        """Close invitations when their time is over. Runs until cancelled."""
        while True:
            async with self._lock:
                await self._forget_what_is_over()
            self._relabel()
            self._opened = trio.Event()
            with trio.move_on_after(HOUSEKEEPING_S if self._invites or self._requests else math.inf):
                await self._opened.wait()

    async def _forget_what_is_over(self) -> None:
        own, now = self._installation, self._installation.now_s()
        for invite in [invite for invite in self._invites.values() if rules.is_over(invite, now)]:
            await own.on_disk(own.db.drop_invite, invite.id)
            del self._invites[invite.id]
        for request in list(self._requests.values()):
            made = self._invites.get(request.invite)
            if made is None or not rules.answers(made, now):
                await self._drop_request(request)

    # making and ending ---------------------------------------------------------------------------------------

    def invites(self, folder: FolderId | None = None) -> tuple[Invite, ...]:
        """What is open, oldest first; of all folders, or of one."""
        now = self._installation.now_s()
        found = [invite for invite in self._invites.values() if rules.answers(invite, now)]
        return tuple(sorted((i for i in found if folder in (None, i.folder)), key=lambda invite: invite.made))

    async def open_code(self, folder: FolderId, role: Role, *, lifetime_s: int = rules.CODE_LIFETIME_S) -> Invite:
        """A new code. Raises: TrustError when we may not admit anybody with this role, ConfigError."""
        self._check_may_admit(folder, role)
        own = self._installation
        async with self._lock:
            invite = rules.new_code(
                self._invites.values(), folder, role, own.now_s(), own.random.token, lifetime_s=lifetime_s
            )
            await self._write(invite)
        return invite

    async def open_link(
        self,
        folder: FolderId,
        role: Role,
        *,
        uses: int = 1,
        asks: bool = True,
        lifetime_s: int = rules.LINK_LIFETIME_S,
    ) -> Invite:
        """A new link; `link_text` spells it. Raises: as `open_code`."""
        self._check_may_admit(folder, role)
        own = self._installation
        invite = rules.new_link(
            folder, role, own.now_s(), own.random.token, uses=uses, asks=asks, lifetime_s=lifetime_s
        )
        async with self._lock:
            await self._write(invite)
        return invite

    def code_text(self, invite: Invite) -> str:
        """How a person reads out a code."""
        return Code(invite.number, invite.words).text

    def link_text(self, invite: Invite, addresses: tuple[str, ...]) -> str:
        """The link, with the addresses by which we can be reached now."""
        fingerprint = self._installation.id[:FINGERPRINT_BYTES]
        return format_link(Link(invite.secret, fingerprint, invite.expires, addresses))

    async def revoke(self, id: bytes) -> Invite:
        """Take an invitation back. Raises: ConfigError for one that is not there."""
        async with self._lock:
            invite = rules.revoke(self._invite(id))
            await self._write(invite)
            for request in [request for request in self._requests.values() if request.invite == id]:
                await self._drop_request(request)
        for (of, _), decision in self._decisions.items():
            if of == id:
                decision.set()
        return invite

    # requests ------------------------------------------------------------------------------------------------

    def requests(self, folder: FolderId | None = None) -> tuple[JoinRequest, ...]:
        """Who waits for a person, longest first."""
        found = [request for request in self._requests.values() if folder in (None, request.folder)]
        return tuple(sorted(found, key=lambda request: (request.since, request.id)))

    async def approve(self, id: str, role: Role | None = None) -> JoinRequest:
        """Let somebody in, with the role of the invitation or another.

        Raises: ConfigError for a request that is not there; TrustError when it cannot be done (any more).
        """
        request = self._request(id)
        invite = self._invite(request.invite)
        wanted = invite.role if role is None else role
        self._check_may_admit(request.folder, wanted)
        await self._admit(invite, request.device, request.member_name, request.host, wanted)
        async with self._lock:
            await self._drop_request(request)
        return replace(request, role=wanted)

    async def deny(self, id: str) -> JoinRequest:
        """Turn somebody away. Raises: ConfigError for a request that is not there."""
        request = self._request(id)
        async with self._lock:
            await self._write(rules.deny(self._invite(request.invite), request.device.id))
            await self._drop_request(request)
        self._decide(request.invite, request.device.id)
        return request

    # what connections ask ------------------------------------------------------------------------------------

    def invite_at(self, label: str) -> Invite:
        """The open invitation that answers this label. Raises: TrustError when there is none (any more)."""
        id = self._labels.get(label)
        if id is None:
            raise TrustError("this invitation is no longer open")
        return self._invite(id)

    async def _step(self, id: bytes, rule: Callable[[Invite], rules.Outcome]) -> tuple[Invite, Why | None]:
        """Apply a rule: compute, write, and only then return."""
        async with self._lock:
            before = self._invite(id)
            after, why = rule(before)
            if after != before:
                await self._write(after)
        return after, why

    async def start_attempt(self, id: bytes) -> Why | None:
        return (await self._step(id, lambda invite: rules.start_attempt(invite, self._installation.now_s())))[1]

    def proof_failed(self, id: bytes, address: str) -> None:
        self._relabel()
        self._tell(AttemptFailed(self._invite(id), address))

    async def blur(self) -> None:
        """Wait a random moment, so that nobody reads from the time of an answer what was computed with the code."""
        await trio.sleep(int.from_bytes(self._installation.random.token(2), "big") / (1 << 16) * BLUR_S)

    async def prove(self, id: bytes, device: DeviceId) -> Why | None:
        may_admit = self._may_admit(self._invite(id))
        return (
            await self._step(
                id, lambda invite: rules.prove(invite, device, self._installation.now_s(), may_admit=may_admit)
            )
        )[1]

    def offer(self, id: bytes) -> Offer:
        """What this invitation offers. Raises: TrustError when the folder is gone."""
        invite, own = self._invite(id), self._installation
        folder, about = self._folder(invite.folder), self._about(invite.folder)
        head = folder.head_at
        return Offer(
            own.keys.public,
            one_line(folder.member_name(own.id), MAX_NAME_BYTES),
            invite.folder,
            one_line(folder.folder_name, MAX_NAME_BYTES),
            invite.role,
            head.hash,
            head.number,
            about.files,
            about.size_bytes,
            invite.asks,
        )

    async def ask(self, id: bytes, applicant: Applicant, member_name: str, address: str) -> Why | None:
        """A proved device wants in: let it, or note the request for a person."""
        own, device = self._installation, applicant.device.id
        before = self._invite(id)
        if self._is_suspended(before, device):
            return Why.SUSPENDED
        may_admit = self._may_admit(before)
        invite, why = await self._step(id, lambda invite: rules.claim(invite, device, own.now_s(), may_admit=may_admit))
        if why is not None or self._is_in(invite, device):
            return why
        if self._was_removed(invite, device):
            return Why.REVOKED
        if rules.is_admitted(invite, device) or not invite.asks:
            return await self._admit_by_itself(invite, applicant, member_name)
        async with self._lock:
            await self._note_request(invite, applicant, member_name, address)
        return None

    async def decided(self, id: bytes, device: DeviceId) -> Admission | Why | None:
        """What was decided about a device that waits; None when nothing was within POLL_S."""
        decision = self._decisions.setdefault((id, device), trio.Event())
        if self._is_open(id, device):
            with trio.move_on_after(POLL_S):
                await decision.wait()
        invite = self._invite(id)
        if self._is_in(invite, device):
            return self._admission(invite.folder, device)
        if self._was_removed(invite, device):
            return Why.REVOKED
        _, why = rules.claim(invite, device, self._installation.now_s(), may_admit=self._may_admit(invite))
        return why

    def _is_open(self, id: bytes, device: DeviceId) -> bool:
        """Whether a decision, or the entry that follows from it, is still to come."""
        invite = self._invite(id)
        waits = invite.claims.get(device) in (Claim.WAITING, Claim.ADMITTED)
        return waits and not self._is_in(invite, device) and not self._was_removed(invite, device)

    async def delivered(self, id: bytes, device: DeviceId) -> None:
        """The device has its admission on disk."""
        invite, _ = await self._step(id, lambda invite: (rules.deliver(invite, device), None))
        self._decisions.pop((id, device), None)
        self._tell(Joined(invite, device))

    # admitting -----------------------------------------------------------------------------------------------

    async def _admit_by_itself(self, invite: Invite, applicant: Applicant, member_name: str) -> Why | None:
        """No person is asked: by a link that says so, or because one said yes before we were stopped."""
        try:
            await self._admit(invite, applicant.device, member_name, applicant.host, invite.role)
        except TrustError as error:
            log.warning("an invited device is not admitted: %s", error)
            return Why.FORBIDDEN
        return None

    async def _admit(self, invite: Invite, device: PublicDevice, name: str, host: str, role: Role) -> None:
        """Invitation and roster entry go to disk in one transaction; the use is taken before, so none is spent twice.

        Raises: TrustError when either says no; the use is given back.
        """
        folder = self._folder(invite.folder)
        async with self._lock:
            before = self._invite(invite.id)
            if not rules.is_admitted(before, device.id):
                after, why = rules.admit(
                    before, device.id, self._installation.now_s(), may_admit=self._may_admit(before)
                )
                if why is not None:
                    raise TrustError(f"the invitation is {why.value}", id="SY-PAIR-10")
                self._invites[invite.id] = after
            if folder.roster.device(device.id) is not None:  # by another invitation, or by this one before a crash
                await self._write(self._invite(invite.id))

        def write(db: DeviceDb, _: FolderId) -> None:
            db.put_invite(invite.id, invite.folder, rules.pack(self._invites[invite.id]))

        try:
            if folder.roster.device(device.id) is None:
                await folder.admit(
                    device, name, role, device_name=host, also=write, is_one_of_several=before.uses_left > 1
                )
        except BaseException:
            self._give_back(invite.id, device.id)
            raise
        self._relabel()
        self._decide(invite.id, device.id)

    def _give_back(self, id: bytes, device: DeviceId) -> None:
        """The entry was not made: the device waits as before, if it does not stand in the roster after all."""
        invite = self._invite(id)
        if self._folder(invite.folder).roster.device(device) is None:
            self._invites[id] = replace(invite, claims={**invite.claims, device: Claim.WAITING})

    def _admission(self, id: FolderId, device: DeviceId) -> Admission | Why:
        folder = self._folder(id)
        page = folder.page_for(device, folder.roster.number)
        if page is None or page.wrap is None or page.proof is None:
            return Why.FORBIDDEN  # removed since, or an epoch came whose sealed secrets we do not have
        return Admission(tuple(folder.roster.raw_after(-1)), page.wrap, page.proof, self._about(id).addresses)

    def _is_in(self, invite: Invite, device: DeviceId) -> bool:
        """Whether the device was admitted by this invitation and stands in the roster."""
        folder = self._maybe_folder(invite.folder)
        return rules.is_admitted(invite, device) and folder is not None and folder.roster.device(device) is not None

    def _was_removed(self, invite: Invite, device: DeviceId) -> bool:
        """Whether the device was admitted by this invitation and taken out since: it is not let in twice."""
        folder = self._maybe_folder(invite.folder)
        ended = None if folder is None else folder.roster.entry_that_ended(device)
        return rules.is_admitted(invite, device) and ended is not None

    def _is_suspended(self, invite: Invite, device: DeviceId) -> bool:
        """Whether it is a member's who is suspended: no invitation ends that."""
        folder = self._maybe_folder(invite.folder)
        if folder is None or folder.roster.device(device) is not None:
            return False
        member = folder.roster.member_of(device)
        return member is not None and member.status is Status.SUSPENDED and device in member.devices

    def _may_admit(self, invite: Invite) -> bool:
        folder = self._maybe_folder(invite.folder)
        return folder is not None and folder.may_admit(invite.role)

    def _check_may_admit(self, folder: FolderId, role: Role) -> None:
        if not self._folder(folder).may_admit(role):
            raise TrustError("this device may not invite anybody with this role", id="SY-SHARE-04")

    # what is written and told --------------------------------------------------------------------------------

    async def _write(self, invite: Invite) -> None:
        own = self._installation
        await own.on_disk(own.db.put_invite, invite.id, invite.folder, rules.pack(invite))
        self._invites[invite.id] = invite
        self._relabel()

    async def _note_request(self, invite: Invite, applicant: Applicant, name: str, address: str) -> None:
        for request in self._requests.values():
            if (request.invite, request.device.id) == (invite.id, applicant.device.id):
                return
        own = self._installation
        request = JoinRequest(
            self._new_id(),
            invite.folder,
            invite.id,
            invite.role,
            applicant.device,
            name,
            applicant.host,
            applicant.system,
            address,
            own.now_s(),
        )
        await own.on_disk(own.db.put_request, request.id, request.folder, joinrequests.pack(request))
        self._requests[request.id] = request
        self._tell(Requested(request))

    async def _drop_request(self, request: JoinRequest) -> None:
        await self._installation.on_disk(self._installation.db.drop_request, request.id)
        self._requests.pop(request.id, None)

    def _new_id(self) -> str:
        while True:
            id = base64.b32encode(self._installation.random.token(5)).decode()[:4].lower()
            if id not in self._requests:
                return id

    def _decide(self, id: bytes, device: DeviceId) -> None:
        self._decisions.pop((id, device), trio.Event()).set()

    def _tell(self, event: InviterEvent) -> None:
        for callback in self.on_event:
            callback(event)

    def _relabel(self) -> None:
        """Answer the labels of open invitations, and no others."""
        self._opened.set()
        now = self._installation.now_s()
        known, self._label_of = self._label_of, {}
        for invite in self._invites.values():
            if rules.answers(invite, now):
                self._label_of[invite.id] = known.get(invite.id) or _label(invite)
        wanted = {label: invite for invite, label in self._label_of.items()}
        for label in self._labels.keys() - wanted.keys():
            self._table.remove(label)
        for label in wanted.keys() - self._labels.keys():
            self._table.add_pairing(label, partial(throwaway_certificate, self._installation.random.token))
        self._labels = wanted
        numbers = rules.numbers_on_air(self._invites.values(), now)
        if numbers != self.numbers:
            self.numbers = numbers
            for callback in self.on_numbers:
                callback()

    def _invite(self, id: bytes) -> Invite:
        invite = self._invites.get(id)
        if invite is None:
            raise ConfigError("no such invitation", id="SY-FIND-01", fix="syncd invites")
        return invite

    def _request(self, id: str) -> JoinRequest:
        request = self._requests.get(id)
        if request is None:
            why = "It was answered, or was taken back, or nobody has asked."
            raise ConfigError("no such request", id="SY-FIND-01", why=why, fix="syncd requests")
        return request

    def _folder(self, id: FolderId) -> FolderMembership:
        folder = self._maybe_folder(id)
        if folder is None:
            raise TrustError("the folder of this invitation is gone")
        return folder


def _label(invite: Invite) -> str:
    return code_label(invite.number) if invite.is_code else link_label(invite.secret)
