"""An open page stays true, and many open pages, or one that stalls, cost no more than their bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from syncd.web.live import MAX_LISTENERS
from syncd.web.server import MAX_CONNECTIONS
from tests.browser.test_views import AXE, come_in, worst
from tests.helpers.chromium import Browser
from tests.helpers.page import Served, serving
from tests.helpers.page_states import STATES, asks_to_join, busy, status

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.long]

TABS = 50


async def test_what_changes_shows_without_reloading(browser: Browser, tmp_path: Path) -> None:
    script: dict[str, Any] = STATES["empty"]()
    async with serving(tmp_path, script) as page, browser.profile() as person:
        tab = await person.tab()
        await come_in(tab, page)
        assert await tab.run("document.getElementById('verdict-words').innerText") == "No folders yet."
        await tab.run("document.body.dataset.test = 'the same document'")
        script.update(busy(), requests={"requests": [asks_to_join("carla")]})
        await tab.wait_for("document.getElementById('verdict-words').innerText.includes('3,204 files')")
        await tab.wait_for("document.querySelector('main').innerText.includes('carla wants to join')")
        assert await tab.run("document.body.dataset.test") == "the same document"
        assert await tab.run("document.title.includes('3,204')")
        assert (tab.console, tab.failed) == ([], [])


async def test_what_a_person_is_typing_is_left_alone(browser: Browser, tmp_path: Path) -> None:
    script: dict[str, Any] = busy()
    async with serving(tmp_path, script) as page, browser.profile() as person:
        tab = await person.tab()
        await come_in(tab, page)
        await tab.goto(page.url + "/sharing")
        await tab.run(
            "document.querySelector('[name=path]').focus(); document.querySelector('[name=path]').value = '/ho'"
        )
        script.update(requests={"requests": [asks_to_join("carla")]}, status=status(*script["status"]["folders"][:1]))
        await tab.wait_for("document.querySelector('main').innerText.includes('carla wants to join')")
        assert await tab.run("document.activeElement.name + document.activeElement.value") == "path/ho"


@pytest.mark.slowest
async def test_fifty_tabs_share_one_stream_and_all_learn_what_is_new(browser: Browser, tmp_path: Path) -> None:
    script: dict[str, Any] = STATES["empty"]()
    async with serving(tmp_path, script) as page, browser.profile() as person:
        first = await person.tab()
        await come_in(first, page)
        tabs = [first]
        for _ in range(TABS - 1):
            tab = await person.tab()
            await tab.goto(page.url + "/")
            tabs.append(tab)
        script.update(busy())
        for tab in tabs:
            await tab.wait_for("document.getElementById('verdict-words').innerText.includes('3,204 files')")
        assert sum(url.endswith("/events") for tab in tabs for url in tab.requests) == 1
        assert page.server.connections < MAX_CONNECTIONS


async def test_another_tab_listens_when_the_one_that_did_is_closed(browser: Browser, tmp_path: Path) -> None:
    script: dict[str, Any] = STATES["empty"]()
    async with serving(tmp_path, script) as page, browser.profile() as person:
        first, second = await person.tab(), await person.tab()
        await come_in(first, page)
        await second.goto(page.url + "/")
        await browser.send("Target.closeTarget", {"targetId": first.target})
        script.update(busy())
        await second.wait_for("document.getElementById('verdict-words').innerText.includes('3,204 files')")


@pytest.mark.alone
async def test_a_connection_that_breaks_and_comes_back_is_not_called_lost(browser: Browser, tmp_path: Path) -> None:
    script: dict[str, Any] = STATES["empty"]()
    async with serving(tmp_path, script) as page, browser.profile() as person:
        tab = await person.tab()
        await come_in(tab, page)
        await tab.run(WATCH_LOST)
        for verdict, state in (("3,204 files", busy()), ("No folders yet.", STATES["empty"]())):
            await settle(page)
            assert await page.cut() > 0
            script.update(state)
            await tab.wait_for(f"document.getElementById('verdict-words').innerText.includes({verdict!r})")
        assert await tab.run("[window.shownLost, document.getElementById('lost').hidden]") == [0, True]


async def test_a_daemon_that_stays_away_is_told_to_everybody_and_its_page_opens_when_it_is_back(
    browser: Browser, axe: str, tmp_path: Path
) -> None:
    async with browser.profile() as person:
        async with serving(tmp_path, busy()) as page:
            tab, other = await person.tab(), await person.tab()
            await come_in(tab, page)
            await other.goto(page.url + "/settings")
            await settle(page)
        for one in (tab, other):
            await one.wait_for("!document.getElementById('lost').hidden")
            assert "was lost" in await one.text()
            await one.run(axe)
            assert worst(await one.run(AXE)) == []
        other.expect_load()  # the one that can be seen
        async with serving(tmp_path, busy(), page.address):
            await other.wait_loaded()
            assert "syncd web" in await other.text()


WATCH_LOST = """
window.shownLost = 0;
new MutationObserver(() => { window.shownLost += !document.getElementById('lost').hidden; })
  .observe(document.getElementById('lost'), { attributes: true });
"""


async def settle(page: Served) -> None:
    """Until a browser listens."""
    with trio.fail_after(60):
        while not page.server.listeners:  # noqa: ASYNC110 - a browser is another process
            await trio.sleep(0.01)


async def test_streams_that_nobody_reads_are_bounded_and_end(tmp_path: Path) -> None:
    """No browser: clients that ask for the stream and then never read a byte."""
    async with serving(tmp_path, busy()) as page:
        cookie, _ = await page.enter()
        host, _, port = page.address.rpartition(":")
        request = f"GET /events HTTP/1.1\r\nhost: {page.address}\r\ncookie: {cookie}\r\n\r\n".encode()
        stalled = [await trio.open_tcp_stream(host, int(port)) for _ in range(MAX_LISTENERS)]
        for stream in stalled:
            await stream.send_all(request)
            await stream.receive_some(1)
        assert (await page.get("/events", cookie)).status == 503
        assert (await page.get("/", cookie)).status == 200
        assert page.server.listeners == MAX_LISTENERS
        for stream in stalled:
            await stream.aclose()
        with trio.fail_after(60):
            while page.server.listeners:  # noqa: ASYNC110 - the server's own tasks notice, one by one
                await trio.sleep(0.01)
        assert (await page.get("/", cookie)).status == 200


async def test_connections_beyond_the_bound_are_closed_and_the_others_live(tmp_path: Path) -> None:
    async with serving(tmp_path, busy()) as page:
        cookie, _ = await page.enter()
        host, _, port = page.address.rpartition(":")
        idle = [await trio.open_tcp_stream(host, int(port)) for _ in range(MAX_CONNECTIONS)]
        with trio.fail_after(60):
            while page.server.connections < MAX_CONNECTIONS:  # noqa: ASYNC110 - accepted by a task of the server
                await trio.sleep(0.01)
        one_more = await trio.open_tcp_stream(host, int(port))
        with trio.fail_after(60):
            assert await one_more.receive_some() == b""
        await one_more.aclose()
        await idle.pop().aclose()
        with trio.fail_after(60):
            while page.server.connections == MAX_CONNECTIONS:  # noqa: ASYNC110 - as above
                await trio.sleep(0.01)
        assert (await page.get("/", cookie)).status == 200
        for stream in idle:
            await stream.aclose()
