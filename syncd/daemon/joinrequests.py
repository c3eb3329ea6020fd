"""Pure. Who proved a code or a link and waits for a person to decide, and how that is kept on disk."""

from __future__ import annotations

from typing import Final

from ca.codec import array, bytes_of, decode_untrusted, encode, text, uint
from ca.device import KEY_BYTES, SEAL_PUBLIC_BYTES, PublicDevice
from ca.epochs import MAX_NAME_BYTES
from ca.ids import FolderId
from ca.roles import Role
from ca.values import dataclass
from syncd.protocol.invitation import MAX_HOST_BYTES

_MAX_REQUEST_BYTES: Final = 4096
_MAX_ADDRESS_BYTES: Final = 300


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """Somebody proved a code or link and waits for a person. `host`, `system` and the name are what they say."""

    id: str  # four letters, to be typed
    folder: FolderId
    invite: bytes
    role: Role
    device: PublicDevice
    member_name: str
    host: str
    system: str
    address: str
    since: int  # unix seconds


_REQUEST: Final = array(
    bytes_of(32),
    bytes_of(8),
    uint(max(Role)),
    array(bytes_of(KEY_BYTES), bytes_of(SEAL_PUBLIC_BYTES), bytes_of(KEY_BYTES)),
    text(MAX_NAME_BYTES),
    text(MAX_HOST_BYTES),
    text(MAX_HOST_BYTES),
    text(_MAX_ADDRESS_BYTES),
    uint(),
)


def pack(request: JoinRequest) -> bytes:
    """A request as the database keeps it, its id aside."""
    device = (request.device.sign, request.device.seal, request.device.tls)
    return encode(
        (
            request.folder,
            request.invite,
            request.role,
            device,
            request.member_name,
            request.host,
            request.system,
            request.address,
            request.since,
        )
    )


def unpack_untrusted(id: str, body: bytes) -> JoinRequest:
    """The inverse of `pack`. Raises: CodecError for what `pack` never wrote."""
    folder, invite, role, keys, name, host, system, address, since = _REQUEST(
        decode_untrusted(body, max_bytes=_MAX_REQUEST_BYTES)
    )
    return JoinRequest(
        id, FolderId(folder), invite, Role(role), PublicDevice(*keys), name, host, system, address, since
    )
