from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from ca.certs import public_point
from ca.epochs import (
    MAX_NAME_BYTES,
    MAX_SEALED_NAME_BYTES,
    EpochSecrets,
    FolderSecrets,
    code_label,
    control_label,
    link_label,
    member_tls_key,
    open_name,
    open_previous,
    seal_name,
    seal_previous,
)
from ca.errors import TrustError
from ca.ids import DeviceId, EpochId

SECRET, OTHER = b"e" * 32, b"o" * 32
EPOCH, OTHER_EPOCH = EpochId(b"1" * 32), EpochId(b"2" * 32)
KEY, OTHER_KEY = b"k" * 32, b"l" * 32


def values(secrets: Any) -> list[Any]:
    """Everything a secret yields, nested ones included, in a form that compares."""
    found: list[Any] = []
    for field in dataclasses.fields(secrets):
        value = getattr(secrets, field.name)
        if isinstance(value, EllipticCurvePrivateKey):
            found.append(public_point(value))
        elif dataclasses.is_dataclass(value):
            found += values(value)
        else:
            found.append(value)
    return found


def test_every_key_is_for_one_thing_only() -> None:
    found = values(EpochSecrets.derive(SECRET)) + values(FolderSecrets.derive(SECRET))
    assert len(set(found)) == len(found) == 13


def test_other_secret_yields_nothing_in_common() -> None:
    assert not set(values(EpochSecrets.derive(SECRET))) & set(values(EpochSecrets.derive(OTHER)))


def test_secrets_do_not_show_when_printed() -> None:
    for secrets in (EpochSecrets.derive(SECRET), FolderSecrets.derive(SECRET)):
        assert all(repr(value) not in repr(secrets) for value in values(secrets))


def test_short_way_to_the_tls_key_is_the_same_key() -> None:
    assert public_point(member_tls_key(SECRET)) == public_point(EpochSecrets.derive(SECRET).tls)


def test_labels_are_names_that_dns_allows() -> None:
    keys = EpochSecrets.derive(SECRET)
    labels = [keys.label, keys.vault.label, control_label(KEY, DeviceId(SECRET)), link_label(b"x" * 16), code_label(99)]
    assert all(label.replace("-", "").isalnum() and label.islower() and len(label) <= 63 for label in labels)
    assert len(set(labels)) == len(labels)


def test_control_label_depends_on_folder_and_listener() -> None:
    labels = {control_label(key, DeviceId(device)) for key in (KEY, OTHER_KEY) for device in (SECRET, OTHER)}
    assert len(labels) == 4


def test_epoch_opens_the_one_before_it() -> None:
    assert open_previous(SECRET, seal_previous(SECRET, OTHER, EPOCH), EPOCH) == OTHER


@pytest.mark.parametrize(("secret", "epoch"), [(OTHER, EPOCH), (SECRET, OTHER_EPOCH)])
def test_other_secret_or_epoch_does_not(secret: bytes, epoch: EpochId) -> None:
    with pytest.raises(TrustError):
        open_previous(secret, seal_previous(SECRET, OTHER, EPOCH), epoch)


@pytest.mark.parametrize("name", ["", "ann", "Zoë 🚲", "a\nb", "x" * MAX_NAME_BYTES])
def test_name_opens_for_its_subject(name: str) -> None:
    sealed = seal_name(KEY, b"ann", name)
    assert open_name(KEY, b"ann", sealed) == name
    assert len(sealed) <= MAX_SEALED_NAME_BYTES


@pytest.mark.parametrize(("key", "subject"), [(OTHER_KEY, b"ann"), (KEY, b"bob")])
def test_name_does_not_open_elsewhere(key: bytes, subject: bytes) -> None:
    with pytest.raises(TrustError):
        open_name(key, subject, seal_name(KEY, b"ann", "ann"))


def test_lengths_of_names_hardly_show() -> None:
    assert len({len(seal_name(KEY, b"x", "a" * length)) for length in range(31)}) == 1


def test_too_long_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="128"):
        seal_name(KEY, b"ann", "é" * 65)


@pytest.mark.parametrize("padded", [bytes((200,)) + b"x" * 31, b"\x01a" + b"behind the name".ljust(30, b"\0")])
def test_sealed_bytes_that_are_no_name_are_refused(padded: bytes) -> None:
    """Whoever has the key can seal anything; a name has one form."""
    sealed = AESGCMSIV(KEY).encrypt(bytes(12), padded, b"ann")
    with pytest.raises(TrustError, match="malformed"):
        open_name(KEY, b"ann", sealed)
