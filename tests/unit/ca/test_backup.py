"""A backup opens with what it was sealed by, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ca import backup, recovery
from ca.authority import HPKE
from ca.backup import Backup
from ca.errors import CodecError, ConfigError
from ca.ids import DeviceId
from tests.helpers.rosters import seeded

MADE = Backup(DeviceId(b"d" * 32), 1_700_000_000_000, (("keys/device.key", b"secret" * 9), ("device.db", b"x" * 5000)))
PASSPHRASE = "nine tall ships sail"
KEY, OTHER = recovery.generate(seeded("key")), recovery.generate(seeded("other"))


@pytest.fixture(scope="module")
def by_passphrase() -> bytes:
    return backup.seal_by_passphrase(MADE, PASSPHRASE, seeded("salt"))


@pytest.fixture(scope="module")
def by_recovery() -> bytes:
    return backup.seal_to_recovery(MADE, KEY.public, HPKE)


def test_opens_with_its_passphrase_however_it_was_typed(by_passphrase: bytes) -> None:
    assert not backup.wants_recovery_key(by_passphrase)
    assert backup.open_by_passphrase(by_passphrase, PASSPHRASE) == MADE
    umlaut = backup.seal_by_passphrase(MADE, "zwölf Böcke im Heu", seeded("salt"))
    assert backup.open_by_passphrase(umlaut, "zwo\u0308lf Bo\u0308cke im Heu") == MADE


def test_opens_with_its_recovery_key(by_recovery: bytes) -> None:
    assert backup.wants_recovery_key(by_recovery)
    assert backup.open_by_recovery(by_recovery, recovery.parse(" ".join(KEY.words)), HPKE) == MADE


def test_nothing_of_it_can_be_read_without(by_passphrase: bytes, by_recovery: bytes) -> None:
    for sealed in (by_passphrase, by_recovery):
        assert b"secret" not in sealed and b"device.db" not in sealed and b"x" * 16 not in sealed


def test_another_passphrase_or_key_or_way_is_refused(by_passphrase: bytes, by_recovery: bytes) -> None:
    ways: list[Callable[[], Backup]] = [
        lambda: backup.open_by_passphrase(by_passphrase, PASSPHRASE + " "),
        lambda: backup.open_by_recovery(by_recovery, OTHER, HPKE),
        lambda: backup.open_by_recovery(by_passphrase, KEY, HPKE),
        lambda: backup.open_by_passphrase(by_recovery, PASSPHRASE),
    ]
    for refused in ways:
        with pytest.raises(ConfigError) as told:
            refused()
        assert told.value.id == "SY-KEY-05"


@pytest.mark.parametrize("at", [0, 14, 16, 20, 40, -17, -1])
def test_changed_bit_is_noticed(by_recovery: bytes, at: int) -> None:
    spoilt = bytearray(by_recovery)
    spoilt[at] ^= 1
    with pytest.raises(ConfigError):
        backup.open_by_recovery(bytes(spoilt), KEY, HPKE)


def test_changed_header_is_noticed(by_passphrase: bytes) -> None:
    spoilt = by_passphrase.replace(b"\x02\x01\x03", b"\x02\x02\x03", 1)
    assert spoilt != by_passphrase
    with pytest.raises(ConfigError):
        backup.open_by_recovery(spoilt, KEY, HPKE)


def test_short_passphrase_is_refused() -> None:
    with pytest.raises(ConfigError) as told:
        backup.seal_by_passphrase(MADE, "elevenchars", seeded("salt"))
    assert told.value.id == "SY-KEY-04"


def test_two_backups_by_one_passphrase_share_no_key(by_passphrase: bytes) -> None:
    again = backup.seal_by_passphrase(MADE, PASSPHRASE, seeded("other salt"))
    assert again[-64:] != by_passphrase[-64:]


def test_odd_contents_are_refused() -> None:
    for odd in (replace(MADE, files=(("", b""),)), replace(MADE, files=(("a", b""),) * 17)):
        with pytest.raises(CodecError):
            Backup.decode_untrusted(odd.encode())
