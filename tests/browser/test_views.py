"""Every view in every state, in a real browser: readable by people and machines, quiet towards everybody else, quick.

`SYNCD_PICTURES=1` writes the pictures of the views to docs/pictures/, as the documents show them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from syncd.web.page import STEPS, VIEWS
from tests.helpers.chromium import Browser, Tab
from tests.helpers.page import Served, serving
from tests.helpers.page_states import FOLDER, STATES
from tests.helpers.sources import ROOT

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.long]

PICTURE_SCALE = 0.7
PICTURES = ROOT / "docs" / "pictures"
FIRST_PAINT_MS = 1000.0
OF_A_FOLDER = f"?folder={FOLDER}"
PAST = [
    f"/history{OF_A_FOLDER}&at=1763000000",
    f"/versions{OF_A_FOLDER}&path=notes.txt",
    f"/restore{OF_A_FOLDER}&before=ab",
]
COMPARED = f"/compare{OF_A_FOLDER}&path=plan.txt"
PATHS = [
    *PAST,
    *VIEWS,
    "/join",
    *(path + OF_A_FOLDER for path in ("/folder", "/leave", "/rotate", "/prune")),
    COMPARED,
    "/setting?key=log.level",
    f"/member{OF_A_FOLDER}&member={'bb' * 16}",
]
PICTURED = {(state, path) for state in STATES for path in VIEWS} | {("busy", COMPARED)}
DARK = ("/", "/network", "/conflicts", "/storage")
"""Views of which docs/pictures.md has a dark picture, too."""
AXE = "axe.run(document, {resultTypes: ['violations']}).then(found => found.violations)"
each_state = pytest.mark.parametrize("state", STATES)


async def come_in(tab: Tab, page: Served, *, read_only: bool = False) -> None:
    """As a person does who runs `syncd web`."""
    await tab.goto(await page.link(read_only=read_only))
    await tab.wait_for("location.pathname === '/' && document.readyState === 'complete'")


def paths_of(state: str) -> list[str]:
    return [path for path in PATHS if state != "empty" or FOLDER not in path]


def worst(violations: list[dict[str, Any]]) -> list[str]:
    return [f"{one['id']}: {node['html'][:120]}" for one in violations for node in one["nodes"]]


@each_state
async def test_every_view_is_whole_reachable_for_everybody_and_asks_nobody_else(
    browser: Browser, axe: str, tmp_path: Path, state: str
) -> None:
    async with serving(tmp_path, STATES[state]()) as page, browser.profile() as person:
        tab = await person.tab()
        await come_in(tab, page)
        for dark in (False,) if state == "million" else (False, True):
            await tab.dress(dark=dark)
            for path in paths_of(state):
                await tab.goto(page.url + path)
                assert tab.statuses[page.url + path] == 200, path
                await tab.run(axe)
                assert worst(await tab.run(AXE)) == [], (path, dark)
                await keep_picture(tab, state, path, dark)
        assert [url for url in tab.requests if not url.startswith(page.url)] == []
        assert (tab.console, tab.failed, tab.dialogs) == ([], [], [])


async def keep_picture(tab: Tab, state: str, path: str, dark: bool) -> None:
    if (
        os.environ.get("SYNCD_PICTURES")
        and (state, path) in PICTURED
        and (not dark or (path in DARK and state == "busy"))
    ):
        PICTURES.mkdir(exist_ok=True)
        (PICTURES / picture_name(state, path, dark)).write_bytes(
            await tab.picture(whole=state != "million", scale=PICTURE_SCALE)
        )


def picture_name(state: str, path: str, dark: bool) -> str:
    name = path.strip("/").partition("?")[0] or "home"
    return f"{name}-{state}{'-dark' if dark else ''}.png"


def test_every_view_in_every_state_has_its_picture_in_the_documents() -> None:
    text = (ROOT / "docs" / "pictures.md").read_text("utf-8")
    wanted = {picture_name(state, path, dark=False) for state, path in PICTURED}
    wanted |= {picture_name("busy", path, dark=True) for path in DARK}
    assert {path.name for path in PICTURES.iterdir()} == wanted, "SYNCD_PICTURES=1 writes them"
    assert [name for name in sorted(wanted) if f"pictures/{name}" not in text] == []


@each_state
async def test_every_view_says_the_same_without_javascript(browser: Browser, tmp_path: Path, state: str) -> None:
    async with serving(tmp_path, STATES[state]()) as page, browser.profile() as person:
        with_scripts, plain = await person.tab(), await person.tab(javascript=False)
        await come_in(with_scripts, page)
        for path in paths_of(state):
            await with_scripts.goto(page.url + path)
            await plain.goto(page.url + path)
            assert await shown(plain) == await shown(with_scripts), path


async def shown(tab: Tab) -> str:
    """The text of the view; scripts of a test run where those of the page do not."""
    document = await tab.send("DOM.getDocument")
    main = await tab.send("DOM.querySelector", nodeId=document["root"]["nodeId"], selector="main")
    html = (await tab.send("DOM.getOuterHTML", nodeId=main["nodeId"]))["outerHTML"]
    moving = ("<time", 'name="csrf"', 'type="range"', "&amp;at=")  # what differs from one second to the next
    return "\n".join(line for line in html.splitlines() if not any(word in line for word in moving))


async def test_coming_in_and_acting_work_without_javascript(browser: Browser, tmp_path: Path) -> None:
    answer = {"kind": "join", "name": "Photos", "member": "anna-laptop"}
    async with serving(tmp_path, STATES["busy"]() | {"approve": answer}) as page, browser.profile() as person:
        tab = await person.tab(javascript=False)
        await tab.goto(await page.link())
        await press_button(tab)
        await tab.goto(page.url + "/sharing")
        await press_button(tab)
        assert "anna-laptop is a member of Photos now." in await shown(tab)
        assert page.api.params("approve") == {"id": "jx7k", "role": None}


async def press_button(tab: Tab) -> None:
    """With the keyboard alone: to the first button, and Enter."""
    for _ in range(60):
        await tab.press("Tab")
        if await tab.run("document.activeElement.tagName") == "BUTTON":
            break
    else:
        raise AssertionError("no button is reached by keyboard")
    tab.expect_load()
    await tab.press("Enter")
    await tab.wait_loaded()


@pytest.mark.slowest
async def test_first_paint_of_a_million_files_comes_within_a_second(browser: Browser, tmp_path: Path) -> None:
    async with serving(tmp_path, STATES["million"]()) as page, browser.profile() as person:
        tab = await person.tab()
        await come_in(tab, page)
        for path in paths_of("million"):
            await tab.goto(page.url + path)
            paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
            assert await tab.wait_for(paint) <= FIRST_PAINT_MS, path


async def test_every_view_fits_a_telephone_and_a_zoom_of_two(browser: Browser, tmp_path: Path) -> None:
    async with serving(tmp_path, STATES["busy"]()) as page, browser.profile() as person:
        tab = await person.tab()
        await come_in(tab, page)
        for width, zoom in ((390, 1.0), (1280, 2.0)):
            await tab.dress(width=width, zoom=zoom)
            for path in VIEWS:
                await tab.goto(page.url + path)
                assert await tab.run("document.documentElement.scrollWidth <= innerWidth"), (path, width, zoom)


async def test_page_for_looking_shows_no_button_and_changes_nothing(browser: Browser, tmp_path: Path) -> None:
    async with serving(tmp_path, STATES["busy"]()) as page, browser.profile() as person:
        tab = await person.tab()
        await come_in(tab, page, read_only=True)
        for path in paths_of("busy"):
            await tab.goto(page.url + path)
            assert await tab.run("document.querySelectorAll('form[action^=\"/do/\"]').length") == 0, path
        assert not STEPS.keys() & VIEWS.keys()
