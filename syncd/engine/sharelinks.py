"""Pure. The rules of share links: what one is, when it has ended, what proves it, how often somebody may guess.

A share link gives people outside of a folder one file or one directory of it. It stands for the *node*, not for a path:
it follows a rename, and what is deleted and made anew under the old name is another node, which nobody shared.

Whoever opens one shows a secret of 256 bits, and a password if the link has one. Of both only hashes are kept. `seen`
is the latest time at which anybody looked at the link: a clock that is set back brings nothing back to life. A link
that has ended stays ended, whatever becomes of the reason.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from base64 import urlsafe_b64encode
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import IntEnum
from itertools import pairwise
from typing import Final

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from ca.codec import array, boolean, bytes_of, bytes_up_to, decode_untrusted, encode, text, uint
from ca.digest import digest
from ca.ids import FolderId
from ca.roles import LinkPolicy
from ca.values import dataclass
from syncd.errors import CodecError
from syncd.model.ids import HASH_BYTES, NodeId

ID_BYTES: Final = 16
SECRET_BYTES: Final = 32
SALT_BYTES: Final = 16
LIFETIME_S: Final = 7 * 86_400
"""Unless somebody says otherwise."""
LONGEST_S: Final = 30 * 86_400
"""Unless the policy of the folder says otherwise."""
SHORTEST_S: Final = 60
MAX_LONGEST_S: Final = 10 * 365 * 86_400
MAX_DOWNLOADS: Final = 1_000_000
MAX_LINKS: Final = 1_000
"""Of one device, that live."""
KEPT_S: Final = 30 * 86_400
"""So long after its end a link is still listed."""
GUESSES: Final = 10
GUESSES_S: Final = 60.0
"""At most so many wrong passwords within so long."""
MAX_GUESSED: Final = 4_096
TOLD: Final = 100
TOLD_S: Final = 3_600.0
"""Of one kind about one link so many lines of the audit log within so long."""
MIN_PASSWORD: Final = 8
MAX_PASSWORD_BYTES: Final = 1_024

POLICY_SETTING: Final = 32
LONGEST_SETTING: Final = 33
"""Numbers in the settings of a folder's signed policy; those of retention come before."""

# OWASP's recommendation of 2024 for Argon2id: 19 MiB, two passes, one lane.
_PASSES, _LANES, _MEMORY_KIB = 2, 1, 19 * 1024
_COMMON: Final = frozenset(
    (
        "", "password", "passwort", "passw", "pass", "kennwort", "geheim", "secret", "welcome", "willkommen", "hallo",
        "hello", "admin", "administrator", "root", "guest", "login", "letmein", "iloveyou", "qwert", "qwerty",
        "qwertz", "qwertyui", "qwertzui", "qwertyuiop", "qwertzuiop", "asdfgh", "asdfghjk", "asdfghjkl", "abc",
        "abcd", "test", "testtest", "sommer", "winter", "summer", "spring", "monkey", "dragon", "master", "football",
        "baseball", "princess", "sunshine", "superman", "batman", "trustno", "syncd", "share", "sharelink",
        "download", "changeme", "default",
    )
)  # fmt: skip
"""Words with which lists of passwords begin, whatever digits are put around them."""
_FORMAT: Final = 1
_MAX_NAME: Final = 4_096
_MAX_PACKED: Final = 8_192
_NOBODY: Final = bytes(32)
_ID: Final = re.compile(r"[0-9a-f]{32}")
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{43}")


class End(IntEnum):
    """Why a link has ended. The value is the code on disk."""

    LIVES = 0
    EXPIRED = 1
    REVOKED = 2
    FORBIDDEN = 3
    """The folder's policy, or the right of this device, is gone."""
    LEFT = 4
    """This device is no member of the folder any more."""
    DOUBTFUL = 5
    """The database is an older one: whether the link had ended since is not known."""


@dataclass(frozen=True, slots=True)
class ShareLink:
    """One link. Times in unix seconds; `most` is the number of downloads it allows, 0 for any number."""

    id: bytes
    folder: FolderId
    node: NodeId
    name: str  # what the node was called when the link was made
    is_directory: bool
    made: int
    expires: int
    verifier: bytes
    salt: bytes
    has_password: bool = False
    password: bytes = b""
    most: int = 0
    used: int = 0
    seen: int = 0
    end: End = End.LIVES
    ended: int = 0

    @property
    def lives(self) -> bool:
        return self.end is End.LIVES

    @property
    def is_used_up(self) -> bool:
        """Nobody can begin another download. Who began one may go on with it until the link ends."""
        return bool(self.most) and self.used >= self.most


# --- life ------------------------------------------------------------------------------------------------------------


def passed(link: ShareLink, now: float) -> ShareLink:
    """The link as of now, which is never earlier than it was before. Grace there is none."""
    if not link.lives:
        return link
    seen = max(link.seen, int(now))
    if seen >= link.expires:
        return replace(link, seen=seen, end=End.EXPIRED, ended=seen)
    return link if seen == link.seen else replace(link, seen=seen)


def ended(link: ShareLink, why: End, now: float) -> ShareLink:
    """The link, over. The first reason stays."""
    link = passed(link, now)
    return replace(link, end=why, ended=link.seen) if link.lives else link


def taken(link: ShareLink) -> ShareLink | None:
    """The link with one download more; None if it allows no more."""
    return None if not link.lives or link.is_used_up else replace(link, used=link.used + 1)


def is_forgotten(link: ShareLink, now: float) -> bool:
    """Whether it has ended so long ago that it is not listed any more."""
    return not link.lives and now - link.ended > KEPT_S


def policy_untrusted(settings: Mapping[int, int]) -> LinkPolicy:
    """What a folder's policy says of links. What a later version may have written counts as off."""
    try:
        return LinkPolicy(settings.get(POLICY_SETTING, LinkPolicy.MEMBERS))
    except ValueError:
        return LinkPolicy.OFF


def longest_untrusted(settings: Mapping[int, int]) -> int:
    """For how many seconds a link of this folder may live."""
    return min(settings.get(LONGEST_SETTING, 0) or LONGEST_S, MAX_LONGEST_S)


# --- proof -----------------------------------------------------------------------------------------------------------


def secret_text(secret: bytes) -> str:
    """The part of the address behind `#`."""
    return urlsafe_b64encode(secret).rstrip(b"=").decode()


def id_untrusted(typed: str) -> bytes | None:
    """The id in the path of an address, in its one form; None for anything else."""
    return bytes.fromhex(typed) if _ID.fullmatch(typed) else None


def verifier_of(secret: str) -> bytes:
    """What is kept of a secret: it has 256 bits, so a plain hash tells nothing."""
    return digest("share link secret", secret.encode("utf-8", "surrogatepass"))


def shows_secret(link: ShareLink | None, typed: str) -> bool:
    """Whether this is the secret of a link that lives. The same work is done for a link that is not there."""
    known = _NOBODY if link is None else link.verifier
    fits = hmac.compare_digest(verifier_of(typed), known)
    return fits and bool(_SECRET.fullmatch(typed)) and link is not None and link.lives and known != _NOBODY


def password_digest(typed: str, salt: bytes) -> bytes:
    """Slow on purpose. A password that is too long is cut to something that nobody's hash is made of."""
    normal = _normal(typed)
    if len(normal) > MAX_PASSWORD_BYTES:
        normal = b""
    kdf = Argon2id(salt=salt, length=HASH_BYTES, iterations=_PASSES, lanes=_LANES, memory_cost=_MEMORY_KIB)
    return kdf.derive(normal)


def fits_password(link: ShareLink, found: bytes) -> bool:
    """Whether a digest is that of the link's password; a link without one takes any."""
    return not link.has_password or (bool(link.password) and hmac.compare_digest(found, link.password))


def password_trouble(typed: str) -> str | None:
    """Why this cannot become the password of a link; None if it can."""
    normal = _normal(typed)
    if len(typed) < MIN_PASSWORD:
        return f"It has fewer than {MIN_PASSWORD} characters."
    if len(normal) > MAX_PASSWORD_BYTES:
        return f"It has more than {MAX_PASSWORD_BYTES} bytes."
    if "\0" in typed:
        return "It has a character that no keyboard types."
    if len(set(typed)) < 4:
        return "It has fewer than four different characters, so it is among those that are tried first."
    if typed.casefold().strip("0123456789 .,!?*#$-_") in _COMMON:
        return "It is among those that are tried first."
    steps = {ord(after) - ord(before) for before, after in pairwise(typed)}
    return "It counts up or down, so it is among those that are tried first." if len(steps) == 1 else None


def _normal(typed: str) -> bytes:
    # Cut before it is normalised: one character of NFC comes of no more than four code points of these.
    return unicodedata.normalize("NFC", typed[: 8 * MAX_PASSWORD_BYTES]).encode("utf-8", "surrogatepass")


class Guesses:
    """How often somebody was wrong of late: by link, or by address. Of too many the one that was quiet longest is
    forgotten."""

    def __init__(self, most: int = GUESSES, within_s: float = GUESSES_S) -> None:
        self._most = most
        self._within_s = within_s
        self._known: OrderedDict[object, deque[float]] = OrderedDict()

    def wait_s(self, who: object, now: float) -> float:
        """How long the next guess has to wait; 0 when it may come."""
        times = self._known.get(who)
        if times is None or len(times) < self._most:
            return 0.0
        return max(0.0, times[0] + self._within_s - now)

    def number(self, who: object, now: float) -> int:
        """How many of late."""
        return sum(now - time < self._within_s for time in self._known.get(who, ()))

    def count(self, who: object, now: float) -> Callable[[], None]:
        """One guess more, before its answer is known: many at once gain nothing. What is returned takes it back."""
        times = self._known.pop(who, None) or deque(maxlen=self._most)
        if len(self._known) >= MAX_GUESSED:
            self._known.popitem(last=False)
        self._known[who] = times
        times.append(now)

        def take_back() -> None:
            if now in times:
                times.remove(now)

        return take_back


class Sums:
    """What happens too often to be told one by one: so often in a while it may be, the rest is counted."""

    def __init__(self, most: int = TOLD, within_s: float = TOLD_S) -> None:
        self._most = most
        self._within_s = within_s
        self._known: dict[tuple[bytes, str], tuple[float, int]] = {}

    def may_tell(self, what: tuple[bytes, str], now: float) -> bool:
        """Whether this one may be told; it is counted."""
        began, number = self._known.get(what, (now, 0))
        self._known[what] = (began, number + 1)
        return number < self._most

    def due(self, now: float) -> list[tuple[tuple[bytes, str], int]]:
        """How many were not told, of what began a while ago; from now on they are told again."""
        over = [(what, number) for what, (began, number) in self._known.items() if now - began >= self._within_s]
        for what, _ in over:
            del self._known[what]
        return [(what, number - self._most) for what, number in over if number > self._most]


# --- on disk ---------------------------------------------------------------------------------------------------------


def pack(link: ShareLink) -> bytes:
    """The bytes to keep on disk. They open nothing."""
    return encode(
        [
            _FORMAT, link.id, link.folder, link.node, link.name, link.is_directory, link.made, link.expires,
            link.verifier, link.salt, link.has_password, link.password, link.most, link.used, link.seen,
            link.end, link.ended,
        ]
    )  # fmt: skip


_SHAPE: Final = array(
    uint(_FORMAT, minimum=_FORMAT), bytes_of(ID_BYTES), bytes_of(32), bytes_of(HASH_BYTES), text(_MAX_NAME), boolean,
    uint(), uint(), bytes_of(32), bytes_of(SALT_BYTES), boolean, bytes_up_to(32), uint(MAX_DOWNLOADS),
    uint(MAX_DOWNLOADS), uint(), uint(max(End)), uint(),
)  # fmt: skip


def unpack_untrusted(packed: bytes) -> ShareLink:
    """The inverse. Raises: CodecError for what `pack` never wrote: a link without a verifier opens for nobody."""
    _, id, folder, node, name, is_directory, *rest = _SHAPE(decode_untrusted(packed, max_bytes=_MAX_PACKED))
    made, expires, verifier, salt, has_password, password, most, used, seen, end, ended = rest
    if len(password) != (HASH_BYTES if has_password else 0):
        raise CodecError("a password without its hash")
    return ShareLink(
        id, FolderId(folder), NodeId(node), name, is_directory, made, expires, verifier, salt, has_password, password,
        most, used, seen, End(end), ended,
    )  # fmt: skip
