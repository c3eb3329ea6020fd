"""A real daemon whose database holds a million files: what a person sees of it, and how soon."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from syncd.web.page import VIEWS
from tests.helpers.chromium import Browser
from tests.helpers.computers import Computer, free_ports, loopback_config, share
from tests.helpers.large import DIRECTORIES, FILES_EACH, fill
from tests.helpers.paces import pace_of_status

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.slowest, pytest.mark.alone]

FIRST_PAINT_MS = 1000.0


@pytest.fixture(scope="module")
def anna(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Computer]:
    """Shared with one file in it, stopped, filled with rows, its disk unplugged, and started again."""
    place = tmp_path_factory.mktemp("million")
    computer = Computer("anna", place, place / "folder", free_ports(1)[0])
    computer.config = loopback_config(computer.port) + '[web]\nlisten = "127.0.0.1:0"\n'
    computer.folder.mkdir()
    (computer.folder / "first.txt").write_text("one file of its own")
    computer.start()
    share(computer, "Pictures")
    computer.wait_synced(60)
    computer.stop()
    assert fill(computer.home) == DIRECTORIES * FILES_EACH + 1
    computer.folder.rename(place / "unplugged")
    computer.start()
    yield computer
    computer.stop()


async def test_every_view_of_a_million_files_is_painted_within_a_second(
    browser: Browser, anna: Computer, capsys: pytest.CaptureFixture[str]
) -> None:
    async with browser.profile() as person:
        tab = await person.tab()
        await tab.goto(anna.run("web", "--print").stdout.strip())
        await tab.wait_for("location.pathname === '/' && document.readyState === 'complete'")
        assert "1,000,001 files" in await tab.text()
        page = await tab.run("location.origin")
        folder = anna.ask("status")["folders"][0]["id"]
        took = {}
        for path in (*VIEWS, f"/folder?folder={folder}", f"/files?folder={folder}&path=0500"):
            await tab.goto(page + path)
            assert tab.statuses[page + path] == 200, path
            paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
            took[path.partition("?")[0]] = await tab.wait_for(paint)
        told = ", ".join(f"{path} {ms:.0f}" for path, ms in took.items())
        tell(capsys, f"first paint of a million files, in ms: {told}")
        assert {path: ms for path, ms in took.items() if ms > FIRST_PAINT_MS} == {}
        assert "picture-0000.jpg" in await tab.text()


def test_status_of_a_million_files_answers_at_once(anna: Computer, capsys: pytest.CaptureFixture[str]) -> None:
    seen = set()
    pace = pace_of_status(anna, lambda folder: seen.add(folder["files"]))
    tell(capsys, f"a million files: {pace}")
    assert seen == {DIRECTORIES * FILES_EACH + 1}
    assert pace.is_quick, pace


def tell(capsys: pytest.CaptureFixture[str], line: str) -> None:
    """A figure is worth reading also where the test passes."""
    with capsys.disabled():
        sys.stdout.write(f"\n{line}\n")
