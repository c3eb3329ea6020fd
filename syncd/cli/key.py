"""Blocking. `syncd key show`: how others recognise this device."""

from __future__ import annotations

from typing import Annotated

import typer

from syncd.cli import text
from syncd.cli.session import Session, command


@command()
def show(
    session: Session,
    keys: Annotated[bool, typer.Option("--keys", help="Only the public keys, as `member add` takes them.")] = False,
) -> None:
    """Show the id of this device and the two words that others see. `--json` prints syncd.key/1."""
    found = session.call("key.show")
    rows = [["name", text.escape(found["name"])], ["key words", found["words"]], ["id", found["id"]]]
    session.show(found, lambda: [found["keys"]] if keys else text.table(rows))
