"""Pure. Who may ask what: the whole table, row by row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ca.ids import DeviceId
from ca.roles import Role
from syncd.protocol.authorize import Allow, Asker, Refuse, authorize
from syncd.protocol.requests import Route
from syncd.protocol.tls import Kind

DEVICE = DeviceId(b"d" * 32)
EDITOR = Asker(Kind.MEMBER, speaks_syncd=True, device=DEVICE, role=Role.EDITOR)
UNPROVED = Asker(Kind.MEMBER, speaks_syncd=True)
CONTROL = Asker(Kind.CONTROL, speaks_syncd=True, device=DEVICE, role=Role.EDITOR)

DATA = {Route.HEADS, Route.HAVE, Route.PROVE, Route.NEEDS, Route.BLOCKS, Route.BLOCK}
ROSTER = {Route.READ_ROSTER, Route.SUBMIT_ENTRY}
COMMANDS = {Route.COMMAND, Route.REPORT, Route.KEEP}


def allowed(asker: Asker) -> set[Route]:
    return {route for route in Route if isinstance(authorize(asker, route), Allow)}


def status(asker: Asker, route: Route) -> int:
    verdict = authorize(asker, route)
    assert isinstance(verdict, Refuse)
    return verdict.status


@pytest.mark.parametrize(
    ("asker", "routes"),
    [
        (EDITOR, DATA | {Route.HELLO}),
        (replace(EDITOR, role=Role.VIEWER), DATA | {Route.HELLO}),
        (replace(EDITOR, role=Role.OWNER), DATA | {Route.HELLO}),
        (UNPROVED, {Route.HELLO, Route.BLOCK}),
        (replace(UNPROVED, speaks_syncd=False), {Route.BLOCK}),
        (replace(EDITOR, role=None), {Route.HELLO}),
        (replace(EDITOR, role=None, was_member=True), {Route.HELLO}),
        (replace(EDITOR, role=Role.VAULT), {Route.HELLO}),
        (replace(EDITOR, epoch_is_current=False), set()),
        (replace(UNPROVED, epoch_is_current=False), set()),
        (replace(EDITOR, address_refused=True), set()),
        (replace(UNPROVED, address_refused=True), set()),
        (replace(CONTROL, address_refused=True), ROSTER | COMMANDS | {Route.HELLO}),
        (CONTROL, ROSTER | COMMANDS | {Route.HELLO}),
        (replace(CONTROL, device=None, role=None), {Route.HELLO}),
        (replace(CONTROL, role=None, was_member=True), ROSTER | {Route.HELLO}),
        (replace(CONTROL, role=None), {Route.HELLO, Route.SUBMIT_ENTRY}),
        (replace(CONTROL, speaks_syncd=False), set()),
        (Asker(Kind.PAIRING, speaks_syncd=True), {Route.PAIR}),
        (Asker(Kind.PAIRING, speaks_syncd=False), set()),
        (Asker(Kind.RECOVERY, speaks_syncd=True), {Route.RECOVER}),
        (Asker(Kind.RECOVERY, speaks_syncd=False), set()),
        (replace(EDITOR, kind=Kind.VAULT), set()),
    ],
)
def test_table(asker: Asker, routes: set[Route]) -> None:
    assert allowed(asker) == routes


def test_block_on_the_certificate_alone_is_marked() -> None:
    assert authorize(UNPROVED, Route.BLOCK) == Allow(unproved=True)
    assert authorize(EDITOR, Route.BLOCK) == Allow()


def test_never_a_member_and_no_such_folder_look_the_same() -> None:
    assert status(replace(CONTROL, role=None), Route.READ_ROSTER) == 404


def test_removed_device_fails_with_its_next_request() -> None:
    assert isinstance(authorize(EDITOR, Route.BLOCKS), Allow)
    assert status(replace(EDITOR, role=None, was_member=True), Route.BLOCKS) == 403
