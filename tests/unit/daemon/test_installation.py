"""What the parts of one installation share."""

from __future__ import annotations

from ca.certs import device_tls_key_untrusted
from ca.ids import DeviceId, FolderId
from tests.helpers.memberships import Devices

BOB = DeviceId(b"b" * 32)


async def test_address_book_remembers_where_devices_were_seen() -> None:
    devices = Devices()
    own = devices.device("ann")
    await own.book.note(BOB, ["10.0.0.2:22067"], "hello")
    devices.clock.ahead_s += 10
    await own.book.note(BOB, ["10.0.0.3:22067"], "hello")
    assert await own.book.addresses(BOB) == ("10.0.0.3:22067", "10.0.0.2:22067")
    await own.book.seen(FolderId(b"f" * 32), BOB)
    assert list(await own.on_disk(own.db.last_seen, FolderId(b"f" * 32))) == [BOB]


def test_control_certificate_shows_the_devices_tls_key() -> None:
    own = Devices().device("ann")
    assert device_tls_key_untrusted(own.certificate) == own.keys.public.tls
