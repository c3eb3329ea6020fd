from __future__ import annotations

import pytest

from ca import device
from ca.device import (
    DeviceKeys,
    PublicDevice,
    Purpose,
    device_text,
    device_words,
    parse_device_text,
    sign,
    verify,
)
from ca.errors import ConfigError, TrustError
from ca.ids import FolderId
from tests.helpers.rosters import keys_of, seeded

ANN = keys_of("ann")
FOLDER = FolderId(b"f" * 32)
OTHER = FolderId(b"o" * 32)


def test_id_depends_on_each_of_the_three_keys() -> None:
    ann, bob = ANN.public, keys_of("bob").public
    mixed = [
        PublicDevice(bob.sign, ann.seal, ann.tls),
        PublicDevice(ann.sign, bob.seal, ann.tls),
        PublicDevice(ann.sign, ann.seal, bob.tls),
    ]
    assert len({ann.id, *(each.id for each in mixed)}) == 4


def test_same_randomness_gives_the_same_device() -> None:
    assert device.generate(seeded("x")).id == device.generate(seeded("x")).id != device.generate(seeded("y")).id


def test_key_of_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="length"):
        PublicDevice(ANN.public.sign[:-1], ANN.public.seal, ANN.public.tls)


def test_secrets_do_not_show_when_printed() -> None:
    shown = repr(ANN) + str(ANN)
    assert ANN.sign_seed.hex() not in shown and repr(ANN.sign_seed) not in shown


def test_signature_holds_for_its_purpose_folder_and_body_only() -> None:
    signature = sign(ANN, Purpose.HEAD, FOLDER, b"body")
    verify(ANN.public.sign, Purpose.HEAD, FOLDER, b"body", signature)
    wrong = [
        (ANN.public.sign, Purpose.ENTRY, FOLDER, b"body"),
        (ANN.public.sign, Purpose.HEAD, OTHER, b"body"),
        (ANN.public.sign, Purpose.HEAD, None, b"body"),
        (ANN.public.sign, Purpose.HEAD, FOLDER, b"bodx"),
        (keys_of("bob").public.sign, Purpose.HEAD, FOLDER, b"body"),
        (ANN.public.tls, Purpose.HEAD, FOLDER, b"body"),
    ]
    for arguments in wrong:
        with pytest.raises(TrustError):
            verify(*arguments, signature)


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65)])
def test_bytes_that_are_no_signature_are_refused(signature: bytes) -> None:
    with pytest.raises(TrustError):
        verify(ANN.public.sign, Purpose.HEAD, FOLDER, b"body", signature)


def test_bytes_that_are_no_key_are_refused() -> None:
    with pytest.raises(TrustError):
        verify(b"\xff" * 32, Purpose.HEAD, FOLDER, b"body", sign(ANN, Purpose.HEAD, FOLDER, b"body"))


def test_purposes_are_distinct_and_none_begins_another() -> None:
    values = [purpose.value + b"\x00" for purpose in Purpose]
    assert len(set(values)) == len(values)
    assert all(not one.startswith(other) for one in values for other in values if one != other)


def test_text_of_an_id_is_eight_groups_of_seven() -> None:
    groups = device_text(ANN.id).split("-")
    assert [len(group) for group in groups] == [7] * 8


@pytest.mark.parametrize("disguise", [str.upper, lambda text: f" {text} ", lambda text: text.replace("-", " ")])
def test_typed_id_may_look_different(disguise: object) -> None:
    assert callable(disguise)
    assert parse_device_text(disguise(device_text(ANN.id))) == ANN.id


def test_digits_that_look_like_letters_are_forgiven() -> None:
    typed = device_text(ANN.id).replace("o", "0").replace("i", "1").replace("b", "8")
    assert parse_device_text(typed) == ANN.id


def test_any_single_wrong_letter_is_noticed() -> None:
    right = device_text(ANN.id)
    for place, letter in enumerate(right):
        if letter != "-":
            wrong = right[:place] + ("a" if letter != "a" else "c") + right[place + 1 :]
            with pytest.raises(ConfigError):
                parse_device_text(wrong)


@pytest.mark.parametrize(
    "typed", ["", "abc", "é" * 56, "=" * 56, "a" * 14, device_text(ANN.id)[:-1], device_text(ANN.id) * 2]
)
def test_what_is_no_id_is_refused(typed: str) -> None:
    with pytest.raises(ConfigError):
        parse_device_text(typed)


def test_words_are_two_and_the_same_for_the_same_device() -> None:
    assert device_words(ANN.id) == device_words(ANN.id)
    assert len(device_words(ANN.id).split("-")) == 2


def test_private_keys_come_back_from_their_seeds() -> None:
    again = DeviceKeys(ANN.sign_seed, ANN.seal_seed, ANN.tls_seed)
    assert again.public == ANN.public
