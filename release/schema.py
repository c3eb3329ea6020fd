"""Blocking. Writes docs/schema.json: python -m release.schema"""

from __future__ import annotations

import json
from pathlib import Path

from syncd.cli.shapes import document

if __name__ == "__main__":
    target = Path(__file__).resolve().parents[1] / "docs" / "schema.json"
    target.write_text(json.dumps(document(), indent=1) + "\n", encoding="utf-8")
    print(target)
