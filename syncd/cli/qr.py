"""Pure. A link as a QR code in a terminal, two modules to a character."""

from __future__ import annotations

import segno

from syncd.protocol.links import qr_form

_QUIET_MODULES = 4  # the standard's margin; scanners need it on dark terminals
_CELLS = {(0, 0): "█", (0, 1): "▀", (1, 0): "▄", (1, 1): " "}


def render(link: str, *, exact: bool = False) -> str:
    """Lines of half blocks. Light modules are drawn: as it should be on a dark terminal, inverted on a light one.

    `exact`: every letter as it is, which takes more room.
    """
    code = segno.make(link if exact else qr_form(link), micro=False, error="m", boost_error=False)
    rows = [tuple(row) for row in code.matrix_iter(border=_QUIET_MODULES)]
    if len(rows) % 2:
        rows.append((0,) * len(rows[0]))
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return "\n".join("".join(_CELLS[cell] for cell in zip(upper, lower, strict=True)) for upper, lower in pairs)
