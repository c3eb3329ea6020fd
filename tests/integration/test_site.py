"""The documentation site: built without a warning, whole, and asking nobody else for anything."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.sources import ROOT

pytestmark = pytest.mark.long

LOADED = re.compile(r"""<(?:link|script|img)[^>]+(?:href|src)=["'](https?:)?//""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-b",
        "html",
        str(ROOT / "docs"),
        str(target),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return target


def test_every_document_is_a_page_and_can_be_found(site: Path) -> None:
    documents = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    documents -= {path for path in documents if "template" in path.name}
    assert sorted(map(str, documents - {path.relative_to(site) for path in site.rglob("*.html")})) == []
    front = (site / "index.html").read_text("utf-8")
    for part in ("Tutorial", "How to", "Reference", "Explanation"):
        assert part in front


def test_pictures_are_in_it(site: Path) -> None:
    shown = set(re.findall(r'src="_images/([^"]+)"', (site / "pictures.html").read_text("utf-8")))
    assert len(shown) >= 44
    assert all((site / "_images" / name).exists() for name in shown)


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = {path.relative_to(site): path.read_text("utf-8") for path in site.rglob("*.html")}
    assert [str(name) for name, text in pages.items() if LOADED.search(text)] == []
