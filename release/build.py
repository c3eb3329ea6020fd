"""Blocking. Everything that a release consists of: python -m release.build DIRECTORY"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from release.deb import ROOT
from release.deb import build as build_deb
from release.sbom import bill


def build(target: Path) -> list[Path]:
    """sdist, a wheel made from that sdist, constraints, bill of materials, and the .deb where dpkg is."""
    target.mkdir(parents=True, exist_ok=True)
    source = build_sdist(target)
    made = [source, build_wheel(source, target)]
    (target / "constraints.txt").write_bytes((ROOT / "constraints.txt").read_bytes())
    (target / "sbom.cdx.json").write_text(json.dumps(bill("syncd"), indent=1) + "\n")
    made += [target / "constraints.txt", target / "sbom.cdx.json"]
    if shutil.which("dpkg-deb"):
        made.append(build_deb(target / "deb"))
        check_deb(made[-1], target / "deb" / "unpacked")
    return made


def check_deb(package: Path, place: Path) -> None:
    """lintian finds neither error nor warning, and what is inside runs without anything from outside."""
    if shutil.which("lintian"):
        subprocess.run(["lintian", "--fail-on", "error,warning", str(package)], check=True)
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run(["dpkg-deb", "--extract", str(package), str(place)], check=True)
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from syncd.cli import main; main()"
    library = str(place / "usr" / "lib" / "syncd")
    subprocess.run([sys.executable, "-I", "-S", "-c", code, library, "version"], check=True)
    shutil.rmtree(place)


def build_sdist(target: Path) -> Path:
    """The source, as setuptools packs it."""
    code = "import sys; from setuptools.build_meta import build_sdist; print(build_sdist(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(target.resolve())], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return target / done.stdout.strip().splitlines()[-1]


def build_wheel(source: Path, target: Path) -> Path:
    """A wheel of what is in the sdist and nothing else: what is missing there is missing here."""
    with tarfile.open(source) as archive:
        place = target / "from-sdist"
        shutil.rmtree(place, ignore_errors=True)
        archive.extractall(place, filter="data")
    (tree,) = place.iterdir()
    code = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(target.resolve())], cwd=tree, capture_output=True, text=True, check=True
    )
    shutil.rmtree(place)
    return target / done.stdout.strip().splitlines()[-1]


if __name__ == "__main__":
    for path in build(Path(sys.argv[1])):
        print(path)
