from __future__ import annotations

import pytest

from ca.roles import ALL_CAPABILITIES, Action, Capability, Role, fits, may, may_grant, outranks, reads

NONE = Capability.NONE
READER = Capability.READ | Capability.WRITE

ALONE = {
    Role.VAULT: {Action.STORE},
    Role.VIEWER: {Action.READ},
    Role.EDITOR: {Action.READ, Action.WRITE},
    Role.ADMIN: set(),
    Role.OWNER: set(Action) - {Action.STORE},
}


@pytest.mark.parametrize("role", Role)
def test_role_alone_gives_exactly_this(role: Role) -> None:
    assert {action for action in Action if may(role, NONE, action)} == ALONE[role]


def test_editor_deletes_only_with_the_capability() -> None:
    assert may(Role.EDITOR, Capability.DELETE, Action.DELETE)
    assert not may(Role.EDITOR, NONE, Action.DELETE)


def test_admin_without_reading_removes_but_opens_no_epoch() -> None:
    assert may(Role.ADMIN, Capability.REMOVE, Action.REMOVE)
    assert not may(Role.ADMIN, Capability.REMOVE, Action.OPEN_EPOCH)
    assert may(Role.ADMIN, Capability.REMOVE | Capability.READ, Action.OPEN_EPOCH)
    assert not reads(Role.ADMIN, Capability.REMOVE)


@pytest.mark.parametrize("role", [Role.VAULT, Role.VIEWER, Role.EDITOR])
def test_capability_that_does_not_fit_the_role_gives_nothing(role: Role) -> None:
    assert not fits(role, Capability.ADMIT)
    assert not may(role, ALL_CAPABILITIES, Action.ADMIT)
    assert not may(role, ALL_CAPABILITIES, Action.OPEN_EPOCH)


def test_nobody_grants_what_they_do_not_hold() -> None:
    admitting = Capability.ADMIT | READER
    assert may_grant(Role.ADMIN, admitting, Role.EDITOR, NONE)
    assert not may_grant(Role.ADMIN, admitting, Role.EDITOR, Capability.DELETE)
    assert not may_grant(Role.ADMIN, Capability.ADMIT, Role.VIEWER, NONE)
    assert may_grant(Role.ADMIN, admitting, Role.ADMIN, Capability.READ)
    assert not may_grant(Role.ADMIN, admitting, Role.ADMIN, Capability.POLICY)
    assert not may_grant(Role.ADMIN, ALL_CAPABILITIES, Role.OWNER, NONE)
    assert may_grant(Role.OWNER, NONE, Role.OWNER, NONE)


def test_only_a_lower_rank_is_below_except_an_owner_for_an_owner() -> None:
    assert outranks(Role.OWNER, Role.OWNER)
    assert not outranks(Role.ADMIN, Role.ADMIN)
    assert not outranks(Role.ADMIN, Role.OWNER)
    assert outranks(Role.ADMIN, Role.EDITOR)
    assert not outranks(Role.VIEWER, Role.VIEWER)


def test_codes_never_change() -> None:
    assert [(role.name, role.value) for role in Role] == [
        ("VAULT", 0), ("VIEWER", 1), ("EDITOR", 2), ("ADMIN", 3), ("OWNER", 4),
    ]  # fmt: skip
    assert [each.name for each in Capability] == [
        "READ", "WRITE", "DELETE", "ADMIT", "REMOVE", "ROLES", "POLICY", "RESTORE", "AUDIT", "LINKS", "VAULTS",
    ]  # fmt: skip
    assert ALL_CAPABILITIES == 2047
