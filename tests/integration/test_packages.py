"""What a release consists of: everything is in it, the same as here. `make package` checks the .deb itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from release.build import build_sdist, build_wheel
from release.sbom import bill
from tests.helpers.sources import ROOT

pytestmark = pytest.mark.long


NOT_CODE = re.compile(r".*\.(html|css|js|svg|service|socket|conf|typed|woff2)$")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    target = tmp_path_factory.mktemp("dist")
    source = build_sdist(target)
    return source, build_wheel(source, target)


def tracked() -> set[str]:
    """Every file of the repository."""
    shown = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return set(shown.splitlines())


def test_source_has_every_file_of_the_repository(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {name for name in tracked() if name not in (".gitignore", "syncd/units")}
    assert sorted(wanted - inside) == []


def test_wheel_has_every_module_and_all_that_belongs_to_them(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as archive:
        inside = set(archive.namelist())
    packages = {name for name in tracked() if name.startswith(("ca/", "syncd/"))} - {"syncd/units"}
    units = {name.replace("systemd/", "syncd/units/", 1) for name in tracked() if name.startswith("systemd/")}
    assert sorted((packages | units) - inside) == []
    assert [name for name in inside if not name.startswith(("ca/", "syncd/", "syncd-"))] == []
    assert [name for name in packages | units if not name.endswith(".py") and not NOT_CODE.match(name)] == []


def test_installed_wheel_finds_its_units_and_pages(built: tuple[Path, Path], tmp_path: Path) -> None:
    """In a directory of its own, without the checkout."""
    with zipfile.ZipFile(built[1]) as archive:
        archive.extractall(tmp_path)
    code = (
        "import syncd, importlib.resources as r; root = r.files('syncd'); "
        "print(syncd.__file__); print((root / 'units' / 'user' / 'syncd.service').read_text()[:20])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout.startswith(str(tmp_path)) and "# syncd for one" in done.stdout


def test_bill_of_materials_names_what_is_needed_and_nothing_else() -> None:
    made = bill("syncd")
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.5")
    names = {part["name"]: part["version"] for part in made["components"]}  # type: ignore[attr-defined]
    assert {"trio", "cryptography", "pyopenssl", "h11", "zeroconf"} <= set(names)
    assert not {"pytest", "mypy", "hypothesis", "sphinx"} & set(names)
    pinned = dict(
        line.lower().replace("_", "-").split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    assert {name: version for name, version in names.items() if name in pinned and pinned[name] != version} == {}
    assert json.dumps(made) == json.dumps(bill("syncd")), "the same environment gives the same bytes"
