"""Pure. The rules of open invitations: who may still use one, how often it may be tried, and when it is over.

An `Invite` is a value that the daemon keeps on disk; every function here takes one and returns the next one, and often
the reason to refuse as well. The order is always: compute, write the new value to disk, and only then answer.

A code is tried with three guesses in all. `start_attempt` takes one before the inviter computes anything with the
words, `prove` gives it back to who knew them, so only wrong guesses and broken connections use a code up. A link has
no guesses to count, only uses.

A *claim* ties an invitation to the device that committed to it. It makes coming back harmless: a joiner whose
connection broke while a person was thinking, or after it was admitted and before it had the admission on its own
disk, begins again and is recognised. That holds for a day beyond the expiry, but only for devices that were admitted
in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Final

from ca.codec import array, boolean, bytes_of, bytes_up_to, decode_untrusted, encode, list_of, text, uint
from ca.ids import DeviceId, FolderId
from ca.roles import Role
from ca.values import dataclass
from ca.words import words_of
from syncd.errors import ConfigError

CODE_LIFETIME_S: Final = 15 * 60
LINK_LIFETIME_S: Final = 7 * 24 * 3600
REDELIVERY_S: Final = 24 * 3600
MAX_ATTEMPTS: Final = 3
MAX_USES: Final = 1_000
MAX_OPEN_CODES: Final = 16
"""As many as an announcement names."""

_NUMBERS: Final = range(1, 100)
_WORDS: Final = 3
_ID_BYTES: Final = 8
_SECRET_BYTES: Final = 16
_MAX_CLAIMS: Final = 4 * MAX_USES
_MAX_PACKED_BYTES: Final = 256 * 1024


class Why(Enum):
    """Why an invitation refuses somebody. The names are those of `protocol.invitation.Refusal`."""

    EXPIRED = "expired"
    BURNT = "burnt"
    USED = "used"
    REVOKED = "revoked"
    DENIED = "denied"
    FORBIDDEN = "forbidden"
    SUSPENDED = "suspended"


class Claim(IntEnum):
    """How far a device got with an invitation. The value is the code on disk."""

    WAITING = 1  # a person has to decide
    ADMITTED = 2  # it is in the roster; it may not know yet
    DELIVERED = 3
    DENIED = 4


@dataclass(frozen=True, slots=True)
class Invite:
    """A code (number and words) or a link (secret)."""

    id: bytes  # 8 bytes, for people to name it
    folder: FolderId
    role: Role
    made: int  # unix seconds, as all times here
    expires: int
    uses: int  # joins in all
    asks: bool  # whether a person must confirm; always for a code
    number: int = 0
    words: tuple[str, ...] = ()
    secret: bytes = b""
    attempts: int = 0
    revoked: bool = False
    claims: Mapping[DeviceId, Claim] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def is_code(self) -> bool:
        return self.number > 0

    @property
    def uses_left(self) -> int:
        taken = (Claim.ADMITTED, Claim.DELIVERED)
        return max(0, self.uses - sum(claim in taken for claim in self.claims.values()))

    @property
    def guesses_left(self) -> int:
        return max(0, MAX_ATTEMPTS - self.attempts)


Outcome = tuple[Invite, Why | None]
"""The invitation as it must go to disk now, and the reason to refuse or None."""


# --- making ----------------------------------------------------------------------------------------------------------


def new_code(
    existing: Iterable[Invite],
    folder: FolderId,
    role: Role,
    now: int,
    random: Callable[[int], bytes],
    *,
    lifetime_s: int = CODE_LIFETIME_S,
) -> Invite:
    """A code whose number no other open code has.

    Raises: ConfigError when 16 codes are open already.
    """
    taken = {invite.number for invite in existing if invite.is_code and answers(invite, now)}
    if len(taken) >= MAX_OPEN_CODES:
        raise ConfigError("too many codes are open", fix="syncd invites, then syncd invite revoke")
    free = [number for number in _NUMBERS if number not in taken]
    number = free[int.from_bytes(random(8), "big") % len(free)]
    words = tuple(words_of(random(_WORDS)))
    return Invite(random(_ID_BYTES), folder, role, now, now + lifetime_s, 1, True, number=number, words=words)


def new_link(
    folder: FolderId,
    role: Role,
    now: int,
    random: Callable[[int], bytes],
    *,
    uses: int = 1,
    asks: bool = True,
    lifetime_s: int = LINK_LIFETIME_S,
) -> Invite:
    """A link for 1 to 1,000 joins. Raises: ConfigError for another number."""
    if not 1 <= uses <= MAX_USES:
        raise ConfigError(f"a link is good for 1 to {MAX_USES} joins", fix="give another number with --uses")
    return Invite(
        random(_ID_BYTES), folder, role, now, now + lifetime_s, uses, asks, secret=random(_SECRET_BYTES)
    )  # fmt: skip


# --- answering -------------------------------------------------------------------------------------------------------


def answers(invite: Invite, now: int) -> bool:
    """Whether its pairing label has to be answered: somebody could still succeed."""
    if invite.is_code and not invite.guesses_left:
        return False
    return _why_closed(invite, now) is None or _redelivers(invite, now)


def is_over(invite: Invite, now: int) -> bool:
    """Whether it can be forgotten: nobody can use it, and no connection from before its end can still be going on."""
    return not answers(invite, now) and now >= invite.expires + REDELIVERY_S


def numbers_on_air(invites: Iterable[Invite], now: int) -> tuple[int, ...]:
    """The numbers to announce."""
    return tuple(sorted(invite.number for invite in invites if invite.is_code and answers(invite, now)))


def start_attempt(invite: Invite, now: int) -> Outcome:
    """Somebody wants to try the code. The new value must be on disk before anything is answered."""
    if not invite.guesses_left:
        return invite, Why.BURNT
    why = _why_closed(invite, now)
    if why is not None and not _redelivers(invite, now):
        return invite, why
    return replace(invite, attempts=invite.attempts + 1), None


def prove(invite: Invite, device: DeviceId, now: int, *, may_admit: bool) -> Outcome:
    """`device` has shown that it knows the secret. `may_admit`: whether the maker holds the right at this moment."""
    if invite.is_code:
        invite = replace(invite, attempts=max(0, invite.attempts - 1))
    return invite, _why_not(invite, device, now, may_admit)


def claim(invite: Invite, device: DeviceId, now: int, *, may_admit: bool) -> Outcome:
    """`device` commits: from now on it is the one that waits (or that came back)."""
    why = _why_not(invite, device, now, may_admit)
    if why is not None or device in invite.claims:
        return invite, why
    return _with_claim(invite, device, Claim.WAITING), None


def is_admitted(invite: Invite, device: DeviceId) -> bool:
    """Whether this device was put into the roster by this invitation, so that only the delivery is to be repeated.

    Whether it still is a member, the roster knows.
    """
    return invite.claims.get(device) is Claim.ADMITTED


def admit(invite: Invite, device: DeviceId, now: int, *, may_admit: bool) -> Outcome:
    """A person, or `--yes`, lets the waiting device in. The new value and the roster entry go to disk together."""
    if invite.claims.get(device) is not Claim.WAITING:
        return invite, Why.DENIED
    why = _why_not(invite, device, now, may_admit)
    return (invite, why) if why else (_with_claim(invite, device, Claim.ADMITTED), None)


def deny(invite: Invite, device: DeviceId) -> Invite:
    """A person turns the device away. A code ends with that: somebody knows it who should not."""
    return replace(_with_claim(invite, device, Claim.DENIED), revoked=invite.revoked or invite.is_code)


def deliver(invite: Invite, device: DeviceId) -> Invite:
    """The device has its admission on disk."""
    return _with_claim(invite, device, Claim.DELIVERED) if is_admitted(invite, device) else invite


def revoke(invite: Invite) -> Invite:
    """Its maker takes it back; who was admitted by it stays a member and still gets its admission."""
    return replace(invite, revoked=True)


def _why_not(invite: Invite, device: DeviceId, now: int, may_admit: bool) -> Why | None:
    state = invite.claims.get(device)
    match state:
        case Claim.DENIED:
            return Why.DENIED
        case Claim.ADMITTED if _redelivers(invite, now):
            return None
        case Claim.DELIVERED:
            return Why.USED
    why = _why_closed(invite, now) or (None if may_admit else Why.FORBIDDEN)
    return why or (_why_full(invite) if state is None else None)


def _why_closed(invite: Invite, now: int) -> Why | None:
    if invite.revoked:
        return Why.REVOKED
    if not invite.uses_left:
        return Why.USED
    return Why.EXPIRED if now >= invite.expires else None


def _why_full(invite: Invite) -> Why | None:
    """A code waits for one device at a time; a link takes more askers than it has uses, within reason."""
    waiting = Claim.WAITING in invite.claims.values()
    return Why.USED if (invite.is_code and waiting) or len(invite.claims) >= _MAX_CLAIMS else None


def _redelivers(invite: Invite, now: int) -> bool:
    return Claim.ADMITTED in invite.claims.values() and now < invite.expires + REDELIVERY_S


def _with_claim(invite: Invite, device: DeviceId, state: Claim) -> Invite:
    return replace(invite, claims=MappingProxyType({**invite.claims, device: state}))


# --- on disk ---------------------------------------------------------------------------------------------------------

_FORMAT: Final = 1
_SHAPE: Final = array(
    uint(_FORMAT, minimum=_FORMAT),
    bytes_of(_ID_BYTES),
    bytes_of(32),
    uint(max(Role)),
    uint(),
    uint(),
    uint(MAX_USES),
    boolean,
    uint(_NUMBERS.stop - 1),
    list_of(text(16), _WORDS),
    bytes_up_to(_SECRET_BYTES),
    uint(MAX_ATTEMPTS),
    boolean,
    list_of(array(bytes_of(32), uint(max(Claim), minimum=1)), _MAX_CLAIMS),
)


def pack(invite: Invite) -> bytes:
    """The bytes to keep on disk. They hold the secret."""
    return encode(
        [
            _FORMAT,
            invite.id,
            invite.folder,
            invite.role,
            invite.made,
            invite.expires,
            invite.uses,
            invite.asks,
            invite.number,
            invite.words,
            invite.secret,
            invite.attempts,
            invite.revoked,
            sorted(invite.claims.items()),
        ]
    )


def unpack_untrusted(packed: bytes) -> Invite:
    """The inverse. Raises: CodecError for what `pack` never wrote."""
    value = _SHAPE(decode_untrusted(packed, max_bytes=_MAX_PACKED_BYTES))
    _, id, folder, role, made, expires, uses, asks, number, words, secret, attempts, revoked, claims = value
    return Invite(
        id,
        FolderId(folder),
        Role(role),
        made,
        expires,
        uses,
        asks,
        number,
        words,
        secret,
        attempts,
        revoked,
        MappingProxyType({DeviceId(device): Claim(state) for device, state in claims}),
    )
