"""What the planner does with what it has taken out of the way."""

from __future__ import annotations

from dataclasses import replace

from syncd.engine.plan import Case, CopyCase, Holder, Kind, Move, Place, Retire, Version, plan

PARKED, ROOT, CLOSED = 0, 1, 9
OUT = Place(ROOT, b"plan (name 0a1b2c3d)")
PARKED_FILE = Case(
    node=5,
    kind=Kind.FILE,
    lives=True,
    version=Version(1, 0),
    size=1,
    parent=CLOSED,
    parent_ready=False,
    wanted_name=b"plan",
    holder=None,
    disk_kind=Kind.FILE,
    disk_parent=PARKED,
    disk_name=b"token",
    same_content=True,
    same_attributes=True,
    way_out=OUT,
)
OTHER = replace(PARKED_FILE, node=6, parent=ROOT, parent_ready=True, disk_parent=ROOT, disk_name=b"x", way_out=None)
COPY = CopyCase(Version(2, 0), Kind.FILE, 1, None, 7, PARKED, b"token", way_out=OUT)


def test_what_is_parked_and_waits_for_nobody_who_moves_is_to_be_seen() -> None:
    assert plan([PARKED_FILE]).operations == (Move(5, OUT),)


def test_what_is_parked_stays_so_while_something_moves() -> None:
    assert plan([PARKED_FILE, OTHER]).operations == (Move(6, Place(ROOT, b"plan")),)


def test_what_is_parked_does_not_wait_for_a_name_whose_owner_stays() -> None:
    blocked = replace(PARKED_FILE, parent=ROOT, parent_ready=True, holder=Holder(8, False, 8, leaving=False))
    assert plan([blocked, OTHER]).operations == (Move(5, OUT), Move(6, Place(ROOT, b"plan")))


def test_what_is_parked_and_stuck_is_to_be_seen_and_nothing_else_is_done_with_it() -> None:
    stuck = replace(PARKED_FILE, parent=ROOT, parent_ready=True, is_stuck=True)
    assert plan([stuck]).operations == (Move(5, OUT),)
    assert plan([replace(stuck, way_out=None, copies=(COPY,))]).operations == (Move(5, OUT, 7),)


def test_conflict_copy_that_is_not_wanted_any_more_while_it_is_parked_is_put_where_it_can_be_retired() -> None:
    settled = replace(PARKED_FILE, parent=ROOT, parent_ready=True, disk_parent=ROOT, disk_name=b"plan", way_out=None)
    (_, operation) = plan([replace(settled, copies=(COPY,))]).operations
    assert operation == Move(5, OUT, 7)
    standing = replace(COPY, disk_parent=OUT.parent, disk_name=OUT.name, way_out=None)
    (_, operation) = plan([replace(settled, copies=(standing,))]).operations
    assert operation == Retire(5, 7)
