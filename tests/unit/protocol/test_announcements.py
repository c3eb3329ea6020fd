"""What is said on the local network, and what is believed of what is heard there."""

from __future__ import annotations

from random import Random

import pytest

from syncd.errors import RemoteProtocolError
from syncd.protocol.announcements import (
    MAX_TAGS,
    TAG_BYTES,
    addresses_untrusted,
    decode_txt_untrusted,
    encode_txt,
    host_name,
    local_hosts,
    maybe_instance,
    service_name,
    tag,
)
from syncd.seams import Announcement

HERE, THERE = bytes(16), bytes(range(16))
KEY, OTHER_KEY = b"k" * 32, b"o" * 32


def txt(announcement: Announcement, instance: bytes = HERE) -> dict[bytes, bytes | None]:
    """As another machine receives it."""
    properties = encode_txt(announcement, instance, Random(instance).randbytes)
    assert all(len(key) + 1 + len(value) <= 255 for key, value in properties.items())
    return {key.encode(): value for key, value in properties.items()}


def test_who_holds_the_key_recognises_the_folder() -> None:
    tags, pairing = decode_txt_untrusted(txt(Announcement(22067, (KEY,), (42, 7))))
    assert tag(KEY, HERE) in tags
    assert tag(OTHER_KEY, HERE) not in tags
    assert pairing == (7, 42)


def test_two_appearances_have_nothing_in_common() -> None:
    announcement = Announcement(22067, (KEY, OTHER_KEY))
    first, _ = decode_txt_untrusted(txt(announcement, HERE))
    second, _ = decode_txt_untrusted(txt(announcement, THERE))
    assert not set(first) & set(second)


@pytest.mark.parametrize(("folders", "shown"), [(0, 4), (1, 4), (4, 4), (5, 8), (33, 64), (128, 128), (500, 128)])
def test_number_of_folders_is_rounded_up(folders: int, shown: int) -> None:
    keys = tuple(index.to_bytes(32, "big") for index in range(folders))
    tags, _ = decode_txt_untrusted(txt(Announcement(1, keys)))
    assert len(tags) == len(set(tags)) == shown
    assert list(tags) == sorted(tags)
    assert {tag(key, HERE) for key in keys[:MAX_TAGS]} <= set(tags)


def test_numbers_appear_only_while_codes_are_open() -> None:
    assert b"p" not in txt(Announcement(22067, (KEY,)))


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {b"v": None},
        {b"v": b"2"},
        {b"v": b"1", b"t": b"x" * (TAG_BYTES + 1)},
        {b"v": b"1", b"t": bytes(TAG_BYTES * (MAX_TAGS + 1))},
        {b"v": b"1", b"p": b""},
        {b"v": b"1", b"p": b"0"},
        {b"v": b"1", b"p": b"100"},
        {b"v": b"1", b"p": b"7,7"},
        {b"v": b"1", b"p": b"42,7"},
        {b"v": b"1", b"p": b"7,"},
        {b"v": b"1", b"p": "\u0667".encode()},
        {b"v": b"1", b"p": b",".join(b"%d" % number for number in range(1, 18))},
    ],
)
def test_malformed_announcement_is_dropped_whole(properties: dict[bytes, bytes | None]) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_txt_untrusted(properties)


def test_unknown_properties_are_ignored() -> None:
    assert decode_txt_untrusted({b"v": b"1", b"z": b"\xff" * 200, b"y": None}) == ((), ())


@pytest.mark.parametrize(
    "host", ["10.1.2.3", "172.31.0.1", "192.168.1.2", "169.254.3.4", "100.64.0.1", "fd00::1", "fe80::1%3"]
)
def test_neighbours_are_dialled(host: str) -> None:
    assert local_hosts([host]) == (host,)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "8.8.8.8",
        "172.32.0.1",
        "224.0.0.251",
        "255.255.255.255",
        "::1",
        "::",
        "2001:4860:4860::8888",
        "ff02::fb",
        "fe80::1",
        "fe80::1%a b",
        "fd00::1%3",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "localhost",
        "10.1",
        "",
        "\u0661\u0660.0.0.1",
    ],
)
def test_announcement_leads_to_no_other_address(host: str) -> None:
    assert local_hosts([host]) == ()


def test_addresses_are_few_and_written_one_way() -> None:
    assert addresses_untrusted(["10.0.0.1", "fd00::1", "10.0.0.1", "8.8.8.8"], 22067) == (
        "10.0.0.1:22067",
        "[fd00::1]:22067",
    )
    assert len(addresses_untrusted([f"10.0.0.{host}" for host in range(200)], 1)) == 8


@pytest.mark.parametrize("port", [None, 0, -1, 65536])
def test_no_port_no_address(port: int | None) -> None:
    assert addresses_untrusted(["10.0.0.1"], port) == ()


def test_names_are_the_random_id_and_nothing_else() -> None:
    assert maybe_instance(service_name(THERE)) == THERE
    assert host_name(THERE) == f"{THERE.hex()}.local."


@pytest.mark.parametrize(
    "name",
    ["", "printer._syncd._tcp.local.", THERE.hex(), service_name(THERE).upper(), f"a{service_name(THERE)}", "é" * 32],
)
def test_other_names_are_not_ours(name: str) -> None:
    assert maybe_instance(name) is None
