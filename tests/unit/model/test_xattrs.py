from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.model.xattrs import MAX_BYTES, MAX_XATTRS, is_bounded, is_valid, merge, pack, portable, travels, unpack

NAMES = st.sampled_from([b"user.a", b"user.b", b"user.c", b"user.d"])
SETS = st.dictionaries(NAMES, st.binary(max_size=2)).map(lambda found: tuple(sorted(found.items())))


@pytest.mark.parametrize("name", [b"user.rating", b"user.xdg.tags", b"user.\xff", b"user.overlays", b"user.Paxos"])
def test_attribute_of_a_user_travels(name: bytes) -> None:
    assert travels(name)


@pytest.mark.parametrize(
    "name",
    [
        b"security.capability", b"security.selinux", b"system.posix_acl_access", b"trusted.overlay.opaque",
        b"com.apple.quarantine", b"user", b"user.", b"USER.a", b"user.a\0", b"user." + b"a" * 251,
        b"user.overlay.redirect", b"user.overlay.opaque", b"user.containers.override_stat", b"user.DOSATTRIB",
        b"user.fuseoverlayfs.opaque", b"user.pax.flags", b"user.rootlesscontainers", b"user.syncd", b"user.Overlay.x",
        b"user.virtfs.mode", b"user.virtfs.uid", b"user.virtiofsd.security.capability", b"user.rsync.%stat",
        b"user.SAMBA_PAI", b"user.NTACL",
    ],
)  # fmt: skip
def test_attribute_that_gives_powers_does_not(name: bytes) -> None:
    assert not travels(name)
    assert portable({name: b"1", b"user.a": b"2"}) == ((b"user.a", b"2"),)
    assert not is_valid(((name, b"1"),))


def test_set_that_is_too_large_stays_whole() -> None:
    assert portable({b"user.%d" % number: b"" for number in range(MAX_XATTRS + 1)}) is None
    assert portable({b"user.a": bytes(MAX_BYTES - 5)}) is None
    assert portable({b"user.a": bytes(MAX_BYTES - 6), b"security.x": bytes(MAX_BYTES)}) is not None


def test_record_says_names_in_order_and_each_once() -> None:
    assert is_valid(((b"user.a", b""), (b"user.b", b"")))
    assert not is_valid(((b"user.b", b""), (b"user.a", b"")))
    assert not is_valid(((b"user.a", b""), (b"user.a", b"")))
    assert not is_valid(tuple((b"user.%03d" % number, b"") for number in range(MAX_XATTRS + 1)))
    assert not is_valid(((b"user.a", bytes(MAX_BYTES)),))


@given(SETS, SETS)
def test_who_changed_nothing_takes_what_others_have(before: tuple, into: tuple) -> None:  # type: ignore[type-arg]
    assert merge(before, before, into) == into
    assert merge((), (), into) == into, "a disk that holds none"


@given(SETS, SETS, SETS)
def test_change_here_is_done_to_what_others_have(before: tuple, now: tuple, into: tuple) -> None:  # type: ignore[type-arg]
    merged = dict(merge(before, now, into))
    was, will, others = dict(before), dict(now), dict(into)
    for name in was.keys() | will.keys() | others.keys():
        expected = others.get(name) if was.get(name) == will.get(name) else will.get(name)
        assert merged.get(name) == expected
    assert merge(before, now, before) == now
    assert merge(now, before, merge(before, now, before)) == before


@given(SETS)
def test_column(xattrs: tuple) -> None:  # type: ignore[type-arg]
    assert unpack(pack(xattrs)) == xattrs
    assert (pack(xattrs) is None) == (not xattrs)
    assert is_bounded(xattrs)
