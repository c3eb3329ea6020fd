from __future__ import annotations

import segno

from syncd.cli.qr import render
from syncd.protocol.links import Link, format_link

LINK = format_link(
    Link(bytes(range(16)), bytes(range(16, 32)), 1_800_000_000, ("192.168.1.20:22067", "[fd00::20]:22067"))
)


def test_drawing_holds_every_module_of_the_code() -> None:
    lines = render(LINK).splitlines()
    drawn = [[int(cell in cells) for cell in line] for line in lines for cells in ("▄ ", "▀ ")]
    expected = [list(row) for row in segno.make(LINK.upper(), micro=False, error="m").matrix_iter(border=4)]
    assert drawn[: len(expected)] == expected


def test_usual_link_fits_a_terminal() -> None:
    lines = render(LINK).splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 50


def test_upper_case_makes_the_code_smaller() -> None:
    assert segno.make_qr(LINK.upper(), error="m").symbol_size() < segno.make_qr(LINK, error="m").symbol_size()
