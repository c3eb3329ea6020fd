from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ca import homekey
from ca.errors import ConfigError
from ca.homekey import HomeKey, is_sealed, locked_device, make_lock, open_lock
from ca.ids import DeviceId
from tests.helpers.rosters import seeded

KEY = HomeKey(bytes(range(32)))
DEVICE = DeviceId(b"d" * 32)
PASSPHRASE = "neun große Schiffe"


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock says itself what a guess costs."""
    monkeypatch.setattr(homekey, "_MEMORY_KIB", 256)
    monkeypatch.setattr(homekey, "_PASSES", 1)


def test_sealed_opens_under_its_name_and_key_alone() -> None:
    sealed = KEY.seal("device.key", b"secret")
    assert is_sealed(sealed) and b"secret" not in sealed
    assert KEY.open("device.key", sealed) == b"secret"
    for key, name in ((KEY, "recovery.key"), (HomeKey(bytes(32)), "device.key")):
        with pytest.raises(ValueError):
            key.open(name, sealed)


def test_every_changed_byte_of_what_is_sealed_is_noticed() -> None:
    sealed = KEY.seal("device.key", b"secret")
    for at in range(len(homekey.SEALED_MAGIC), len(sealed)):
        changed = sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :]
        with pytest.raises(ValueError):
            KEY.open("device.key", changed)


def test_pem_keeps_its_form_and_hides_the_key() -> None:
    private = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    content = b"-----BEGIN CERTIFICATE-----\nnot looked at\n-----END CERTIFICATE-----\n" + private
    sealed = KEY.seal("links.pem", content)
    assert is_sealed(sealed) and not is_sealed(content)
    assert sealed.startswith(content[: -len(private)]) and private[40:80] not in sealed
    assert KEY.open("links.pem", sealed) == content
    with pytest.raises(ValueError):
        HomeKey(bytes(32)).open("links.pem", sealed)


def test_lock_opens_by_its_passphrase_however_it_is_typed_and_by_no_other(cheap: None) -> None:
    lock = make_lock(KEY, "neun große Schiffe ä", DEVICE, seeded("salt"))
    assert KEY.secret not in lock
    assert locked_device(lock) == DEVICE
    assert open_lock(lock, "neun große Schiffe a\u0308").secret == KEY.secret
    for other in ("neun grosse Schiffe ä", "", "neun große Schiffe ä "):
        with pytest.raises(ConfigError) as told:
            open_lock(lock, other)
        assert told.value.id == "SY-KEY-11"


def test_every_changed_byte_of_a_lock_is_noticed(cheap: None) -> None:
    lock = make_lock(KEY, PASSPHRASE, DEVICE, seeded("salt"))
    for at in range(len(lock)):
        for bit in (1, 0x80):
            changed = lock[:at] + bytes((lock[at] ^ bit,)) + lock[at + 1 :]
            if _cost(changed) > 1 << 20:
                continue  # it would be computed, for a second or more, and refused like the others
            with pytest.raises(ConfigError) as told:
                open_lock(changed, PASSPHRASE)
            assert told.value.id in ("SY-KEY-01", "SY-KEY-11")


def _cost(lock: bytes) -> int:
    try:
        _, memory, passes, *_ = homekey._parsed(lock)
    except ConfigError:
        return 0
    return memory * passes


def test_short_passphrase_is_refused() -> None:
    with pytest.raises(ConfigError) as told:
        make_lock(KEY, "elevenchars", DEVICE, seeded("salt"))
    assert told.value.id == "SY-KEY-12"


def test_a_guess_costs_what_is_promised() -> None:
    """RFC 9106 asks for 64 MiB and three passes at least where memory is short."""
    assert (homekey._MEMORY_KIB, homekey._PASSES) == (128 * 1024, 3)
    _, memory, passes, lanes, _, _ = homekey._parsed(make_lock(KEY, PASSPHRASE, DEVICE, seeded("salt")))
    assert (memory, passes, lanes) == (128 * 1024, 3, 4)


def test_mark_of_an_editor_is_no_part_of_a_passphrase_and_accents_count_once(cheap: None) -> None:
    lock = make_lock(KEY, "neun große Schiffé", DEVICE, seeded("lock"))
    for said in ("\ufeffneun große Schiffé", "neun große Schiffe\u0301"):
        assert open_lock(lock, said) == KEY
    with pytest.raises(ConfigError) as told:
        make_lock(KEY, "e\u0301" * 6 + "\ufeff", DEVICE, seeded("lock"))
    assert told.value.id == "SY-KEY-12"
