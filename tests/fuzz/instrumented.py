"""Blocking. One target under atheris: `python -m tests.fuzz.instrumented NAME OPTIONS...`. Does not return."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["ca", "syncd"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
