"""Pure. The proof by which a device ties itself to one TLS channel.

The folder certificate proves membership only, and everybody has the same. So each side signs, once per connection, what
makes this connection this one and no other: a value exported from the TLS channel (different for every handshake, known
to its two ends alone), who is client, what kind of connection to which folder and epoch, the certificate shown, itself,
and the roster head it goes by. A proof carried to another channel, played back, or reflected to its author is refused.
"""

from __future__ import annotations

from blake3 import blake3

from ca.codec import encode
from ca.device import DeviceKeys, PublicDevice, Purpose, sign, verify
from ca.ids import DeviceId, EntryHash
from ca.values import dataclass
from syncd.errors import TrustError
from syncd.protocol.messages import Hello
from syncd.protocol.tls import Endpoint, Kind, Side, certificate_key_untrusted
from syncd.protocol.twins import NO_RUN


@dataclass(frozen=True, slots=True)
class Channel:
    """One TLS channel as one of its ends sees it: all that a proof is bound to, but for the device itself."""

    endpoint: Endpoint
    side: Side  # ours
    exporter: bytes  # 32 bytes from the TLS channel
    own_certificate: bytes  # DER; on member and vault labels both are the epoch's
    peer_certificate: bytes


class Reflection(TrustError):
    """We are talking to ourselves: an address of our own, or somebody who sends our bytes back."""


class Twin(TrustError):
    """The other side has the keys of this very device, and is another daemon."""


def prove(channel: Channel, keys: DeviceKeys, roster_head: EntryHash) -> bytes:
    """Our proof, 64 bytes: that the device with `keys` is at our end of the channel."""
    body = _signed_body(channel, channel.side, channel.own_certificate, keys.id, roster_head)
    return sign(keys, Purpose.HELLO, channel.endpoint.folder_id, body)


def check_hello(channel: Channel, hello: Hello, own: DeviceId, run: bytes = NO_RUN) -> PublicDevice:
    """The device at the other end of the channel, as its hello proves. `own`: our device, which it must not be; `run`:
    of our daemon.

    Raises: Reflection for our own device; Twin where another daemon proves to be that; TrustError when the proof does
    not hold, or when the certificate of a control connection has not that device's key.
    """
    device = hello.device
    if device.id == own and hello.run == run:
        raise Reflection("the other side is this device itself")
    if channel.endpoint.kind is Kind.CONTROL and certificate_key_untrusted(channel.peer_certificate) != device.tls:
        raise TrustError("the device named in the hello has not the key of the certificate")
    body = _signed_body(channel, channel.side.other, channel.peer_certificate, device.id, hello.roster_head)
    verify(device.sign, Purpose.HELLO, channel.endpoint.folder_id, body, hello.proof)
    if device.id == own:
        raise Twin("another daemon runs with the keys of this device", id="SY-TWIN-01")
    return device


def _signed_body(channel: Channel, side: Side, certificate: bytes, device: DeviceId, roster_head: EntryHash) -> bytes:
    """Shape: [side, kind, exporter, folder id, epoch id, BLAKE3 of the certificate, device id, roster head]; the kinds
    without a folder or an epoch have null there."""
    endpoint = channel.endpoint
    return encode(
        (
            side.value,
            endpoint.kind.value,
            channel.exporter,
            endpoint.folder_id,
            endpoint.epoch_id,
            blake3(certificate).digest(),
            device,
            roster_head,
        )
    )
