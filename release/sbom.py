"""Blocking. The list of what is inside a package, as CycloneDX 1.5: python -m release.sbom [DIRECTORY] > sbom.json

It names what `syncd` needs to run, transitively, as it is installed here or in the site-packages DIRECTORY, with exact
versions, licences and hashes of the files' records. Nothing is asked of the network.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions

from packaging.markers import default_environment
from packaging.requirements import Requirement


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(first: str, place: str | None = None) -> list[Distribution]:
    """A distribution and everything that it needs on this platform, by name."""
    there = distributions(path=[place]) if place else distributions()
    installed = {canonical(one.metadata["Name"]): one for one in there}
    found: dict[str, Distribution] = {}
    waiting = [canonical(first)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = installed[name]
            waiting += _needs(found[name])
    return [found[name] for name in sorted(found)]


def _needs(one: Distribution) -> Iterator[str]:
    environment = {key: str(value) for key, value in default_environment().items()} | {"extra": ""}
    for text in one.requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            yield canonical(requirement.name)


def bill(first: str, place: str | None = None) -> dict[str, object]:
    """The document. It has no time and no random number in it: the same environment gives the same bytes."""
    parts = closure(first, place)
    (main,) = (one for one in parts if canonical(one.metadata["Name"]) == first)
    references = {
        canonical(one.metadata["Name"]): f"pkg:pypi/{canonical(one.metadata['Name'])}@{one.version}" for one in parts
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": _component(main, "application")},
        "components": [_component(one, "library") for one in parts if one is not main],
        "dependencies": [
            {
                "ref": references[canonical(one.metadata["Name"])],
                "dependsOn": sorted({references[name] for name in _needs(one)}),
            }
            for one in parts
        ],
    }


def _maybe(one: Distribution, field: str) -> str:
    found = one.metadata.get_all(field)
    return found[0] if found else ""


def _component(one: Distribution, kind: str) -> dict[str, object]:
    name = canonical(one.metadata["Name"])
    purl = f"pkg:pypi/{name}@{one.version}"
    licence = _maybe(one, "License-Expression") or _maybe(one, "License")
    shown = licence.splitlines()[0] if licence else ""
    record = one.read_text("RECORD") or ""
    return {
        "type": kind,
        "bom-ref": purl,
        "name": name,
        "version": one.version,
        "purl": purl,
        **({"licenses": [{"license": {"name": shown}}]} if shown else {}),
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(record.encode()).hexdigest()}],
    }


if __name__ == "__main__":
    print(json.dumps(bill("syncd", *sys.argv[1:2]), indent=1))
