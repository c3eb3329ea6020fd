"""Blocking. `syncd key show`: how others recognise this device."""

from __future__ import annotations

from syncd.cli import text
from syncd.cli.session import Session, command


@command()
def show(session: Session) -> None:
    """Show the id of this device and the two words that others see. `--json` prints syncd.key/1."""
    found = session.call("key.show")
    rows = [["name", text.escape(found["name"])], ["key words", found["words"]], ["id", found["id"]]]
    session.show(found, lambda: text.table(rows))
