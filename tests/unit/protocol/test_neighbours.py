"""Which announcements are passed on, when many of them come and some are meant to harm."""

from __future__ import annotations

import pytest

from syncd.errors import RemoteProtocolError
from syncd.protocol.announcements import encode_txt
from syncd.protocol.neighbours import MAX_NEIGHBOURS, Neighbours
from syncd.seams import Announcement, Found

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
HOSTS = ["10.0.0.7"]


def instance(number: int) -> bytes:
    return number.to_bytes(16, "big")


def hear(
    neighbours: Neighbours,
    who: int,
    *keys: bytes,
    pairing: tuple[int, ...] = (),
    hosts: list[str] = HOSTS,
    port: int = 22067,
) -> Found | None:
    txt = encode_txt(Announcement(port, keys, pairing), instance(who), lambda length: bytes([who % 251]) * length)
    properties = {key.encode(): value for key, value in txt.items()}
    return neighbours.maybe_news_untrusted(instance(who), properties, hosts, port)


def ours() -> Neighbours:
    neighbours = Neighbours()
    neighbours.set_keys([KEY])
    return neighbours


def test_member_of_our_folder_is_passed_on() -> None:
    found = hear(ours(), 1, OTHER_KEY, KEY)
    assert found is not None
    assert (found.instance, found.addresses, found.pairing) == (instance(1), ("10.0.0.7:22067",), ())


def test_open_code_is_passed_on_to_who_has_no_folder_yet() -> None:
    found = hear(Neighbours(), 1, OTHER_KEY, pairing=(7,))
    assert found is not None and found.pairing == (7,)


def test_other_folders_mean_nothing() -> None:
    neighbours = ours()
    assert hear(neighbours, 1, OTHER_KEY) is None
    assert len(neighbours) == 0


def test_same_words_again_are_no_news_and_others_are() -> None:
    neighbours = ours()
    assert hear(neighbours, 1, KEY) is not None
    assert hear(neighbours, 1, KEY) is None
    assert hear(neighbours, 1, KEY, port=443) is not None
    assert hear(neighbours, 1, KEY, pairing=(7,)) is not None


def test_announcement_without_a_usable_address_is_nothing() -> None:
    assert hear(ours(), 1, KEY, hosts=["127.0.0.1", "8.8.8.8"]) is None


def test_copied_tag_under_another_id_means_nothing() -> None:
    txt = encode_txt(Announcement(22067, (KEY,)), instance(1), bytes)
    properties = {key.encode(): value for key, value in txt.items()}
    assert ours().maybe_news_untrusted(instance(2), properties, HOSTS, 22067) is None


def test_goodbye_counts_only_of_who_was_passed_on() -> None:
    neighbours = ours()
    hear(neighbours, 1, KEY)
    assert neighbours.maybe_goodbye(instance(1)) == Found(instance(1), ())
    assert neighbours.maybe_goodbye(instance(1)) is None
    assert neighbours.maybe_goodbye(instance(2)) is None


def test_flood_of_invented_codes_displaces_no_member() -> None:
    neighbours = ours()
    hear(neighbours, 0, KEY)
    for who in range(1, 10_000):
        hear(neighbours, who, pairing=(7,))
    assert len(neighbours) == MAX_NEIGHBOURS
    assert hear(neighbours, 0, KEY) is None  # still known
    assert hear(neighbours, 10_000, KEY) is not None


def test_beyond_sixty_four_members_new_ones_wait() -> None:
    neighbours = ours()
    for who in range(MAX_NEIGHBOURS):
        assert hear(neighbours, who, KEY) is not None
    assert hear(neighbours, 1_000, KEY) is None
    neighbours.maybe_goodbye(instance(5))
    assert hear(neighbours, 1_000, KEY) is not None


def test_malformed_announcement_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        ours().maybe_news_untrusted(instance(1), {b"v": b"2"}, HOSTS, 22067)
