"""Pure. The table of who may do what. Everything that is decided about a right is decided here, on every peer alike.

A role gives some actions outright and others only together with a capability that the person was given by name. Admins
carry an explicit list of capabilities; one without READ manages a folder that it cannot read.
"""

from __future__ import annotations

from enum import Enum, IntEnum, IntFlag
from functools import lru_cache
from typing import Final


class Role(IntEnum):
    """The value is the code in an entry and, at the same time, the rank: nobody acts upon a higher one."""

    VAULT = 0
    VIEWER = 1
    EDITOR = 2
    ADMIN = 3
    OWNER = 4


class Capability(IntFlag):
    """Rights given by name. The value is the code in an entry."""

    NONE = 0
    READ = 1
    WRITE = 2
    DELETE = 4
    ADMIT = 8
    REMOVE = 16
    ROLES = 32
    POLICY = 64
    RESTORE = 128
    AUDIT = 256
    LINKS = 512
    VAULTS = 1024


class LinkPolicy(IntEnum):
    """Who may make share links of a folder. The value is the code in a policy; a folder that says nothing has the
    first."""

    MEMBERS = 0
    """Who holds the right `links`."""
    ALL = 1
    """Everybody who may read."""
    OFF = 2


class Action(Enum):
    """What a device can ask to do."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    STORE = "store"
    ADMIT = "admit"
    REMOVE = "remove"
    CHANGE_ROLE = "change role"
    SET_POLICY = "set policy"
    OPEN_EPOCH = "open epoch"
    RESTORE = "restore"
    SEE_AUDIT = "see audit"
    SHARE_LINKS = "share links"
    MANAGE_VAULTS = "manage vaults"


ALL_CAPABILITIES: Final = Capability((1 << len(Capability)) - 1)

_NEEDS: Final = {
    Action.READ: Capability.READ,
    Action.WRITE: Capability.READ | Capability.WRITE,
    Action.DELETE: Capability.READ | Capability.WRITE | Capability.DELETE,
    Action.ADMIT: Capability.ADMIT,
    Action.REMOVE: Capability.REMOVE,
    Action.CHANGE_ROLE: Capability.ROLES,
    Action.SET_POLICY: Capability.POLICY,
    Action.RESTORE: Capability.RESTORE,
    Action.SEE_AUDIT: Capability.AUDIT,
    Action.SHARE_LINKS: Capability.LINKS,
    Action.MANAGE_VAULTS: Capability.VAULTS,
}

_GIVEN_BY_ROLE: Final = {
    Role.VAULT: Capability.NONE,
    Role.VIEWER: Capability.READ,
    Role.EDITOR: Capability.READ | Capability.WRITE,
    Role.ADMIN: Capability.NONE,
    Role.OWNER: ALL_CAPABILITIES,
}

_CAN_BE_ADDED: Final = {
    Role.VAULT: Capability.NONE,
    Role.VIEWER: Capability.NONE,
    Role.EDITOR: Capability.DELETE | Capability.LINKS,
    Role.ADMIN: ALL_CAPABILITIES,
    Role.OWNER: Capability.NONE,
}

USUAL_CAPABILITIES: Final = {
    Role.VAULT: Capability.NONE,
    Role.VIEWER: Capability.NONE,
    Role.EDITOR: Capability.DELETE,
    Role.ADMIN: ALL_CAPABILITIES,
    Role.OWNER: Capability.NONE,
}
"""What a member gets who is given a role and nothing is said about capabilities."""


def held(role: Role, capabilities: Capability) -> Capability:
    """Everything that somebody with this role and these additional capabilities holds."""
    return _GIVEN_BY_ROLE[role] | capabilities & _CAN_BE_ADDED[role]


def fits(role: Role, capabilities: Capability) -> bool:
    """Whether these capabilities can be added to this role at all."""
    return not capabilities & ~_CAN_BE_ADDED[role]


@lru_cache(maxsize=1024)  # flags are slow objects, and every request and every entry asks
def may(role: Role, capabilities: Capability, action: Action) -> bool:
    """Whether somebody with this role and these capabilities may do this."""
    if action is Action.STORE:
        return role is Role.VAULT
    if action is Action.OPEN_EPOCH:
        return role >= Role.ADMIN and may(role, capabilities, Action.READ)
    needed = _NEEDS[action]
    return held(role, capabilities) & needed == needed


@lru_cache(maxsize=1024)
def may_grant(role: Role, capabilities: Capability, new_role: Role, new_capabilities: Capability) -> bool:
    """Whether somebody may give this role with these capabilities: nobody grants what they do not hold."""
    return new_role <= role and not held(new_role, new_capabilities) & ~held(role, capabilities)


def outranks(role: Role, other: Role) -> bool:
    """Whether somebody may remove, suspend or demote the other: a lower rank, or one owner another."""
    return role > other or role is other is Role.OWNER


def may_share_links(role: Role, capabilities: Capability, policy: LinkPolicy) -> bool:
    """Whether somebody may give people outside of the folder a link to something in it."""
    if policy is LinkPolicy.OFF or not may(role, capabilities, Action.READ):
        return False
    return policy is LinkPolicy.ALL or may(role, capabilities, Action.SHARE_LINKS)


def reads(role: Role, capabilities: Capability) -> bool:
    """Whether the epoch's secret is for them."""
    return may(role, capabilities, Action.READ)
