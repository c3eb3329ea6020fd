"""Share links in a real browser, opened by somebody who has nothing but the address, with scripts and without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from syncd.cli import client
from tests.browser.test_views import AXE, worst
from tests.helpers.chromium import Browser, Tab
from tests.helpers.computers import Computer, computers, loopback_config

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.long]

PASSWORD = "correct horse battery"
WAIT_S = 30.0
OWNED = "<script>document.title = 'owned'; parent.document.title = 'owned'</script>"


@pytest.fixture(scope="module")
def anna(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Computer]:
    with computers(("anna",), tmp_path_factory.mktemp("links"), "Notes") as (anna,):
        anna.config = loopback_config(anna.port) + '[links]\nlisten = "127.0.0.1:0"\n'
        (anna.folder / "sub").mkdir(parents=True)
        (anna.folder / "plan.txt").write_text("the plan")
        (anna.folder / "<img src=x onerror=alert(1)>").write_text("odd")
        (anna.folder / "page.html").write_text(OWNED)
        (anna.folder / "sub" / "deep.txt").write_text("deep")
        anna.start()
        anna.ask("share", str(anna.folder), "--yes", "--no-wait")
        anna.ask("wait", "--for", "scanned", "--timeout", "30")
        yield anna


def link(anna: Computer, path: str, password: str | None = PASSWORD) -> str:
    params = {"path": str(anna.folder / path), "password": password}
    return str(client.call(anna.home / "control.sock", "link.create", params, timeout_s=WAIT_S)["url"])


async def visitor(browser: Browser, person: Any, downloads: Path, *, javascript: bool = True) -> Tab:
    """A tab of somebody who has clicked the warning about the certificate away."""
    tab: Tab = await person.tab(javascript=javascript)
    await tab.send("Security.setIgnoreCertificateErrors", ignore=True)
    allow = {"behavior": "allow", "downloadPath": str(downloads), "browserContextId": person.context}
    await browser.send("Browser.setDownloadBehavior", allow)
    return tab


async def fill(tab: Tab, **values: str) -> None:
    for name, value in values.items():
        await tab.run(f"document.querySelector('[name={name}]').value = {json.dumps(value)}")
    await tab.click("button")


async def arrived(file: Path) -> bytes:
    """A download, which has its name when it is whole."""
    path = trio.Path(file)
    with trio.fail_after(WAIT_S):
        while not await path.exists():  # noqa: ASYNC110 - the browser is another process
            await trio.sleep(0.05)
    return await path.read_bytes()


async def demand_accessible(tab: Tab, axe: str) -> None:
    await tab.run(axe)
    assert worst(await tab.run(AXE)) == []


async def test_link_with_a_password_is_opened_and_downloaded(
    anna: Computer, browser: Browser, axe: str, tmp_path: Path
) -> None:
    """The script puts the secret into the form; a wrong password is said, and the link still stands in the address."""
    url = link(anna, "plan.txt")
    address, _, secret = url.partition("#")
    async with browser.profile() as person:
        tab = await visitor(browser, person, tmp_path)
        await tab.goto(url)
        assert await tab.run("document.getElementById('paste').hidden")
        assert "plan.txt" not in await tab.text()
        await demand_accessible(tab, axe)
        await fill(tab, password="not this one")
        assert "the password is wrong" in await tab.text()
        await demand_accessible(tab, axe)
        await fill(tab, password=PASSWORD)
        shown = await tab.text()
        assert "plan.txt" in shown and "This link works until" in shown
        assert await tab.run("document.title") == "Shared with you"
        await demand_accessible(tab, axe)
        await tab.run("document.querySelector('button').click()")
        assert await arrived(tmp_path / "plan.txt") == b"the plan"
        assert not [one for one in tab.requests if not one.startswith(address.partition("/l/")[0])], "asks nobody else"
        assert not [one for one in tab.requests if secret in one], "the secret is in no address that is asked for"
        assert (tab.dialogs, await tab.run("document.cookie")) == ([], "")
        await tab.goto(address + "/list/nothing")
        await demand_accessible(tab, axe)


async def test_directory_is_walked_and_what_lies_in_it_runs_nothing(
    anna: Computer, browser: Browser, axe: str, tmp_path: Path
) -> None:
    async with browser.profile() as person:
        tab = await visitor(browser, person, tmp_path)
        await tab.goto(link(anna, "", password=None))
        await tab.click("button")
        assert "<img src=x onerror=alert(1)>" in await tab.text()
        for dark in (False, True):
            await tab.dress(dark=dark)
            await demand_accessible(tab, axe)
        await tab.run("document.querySelector('[aria-label=\"Download page.html\"]').click()")
        assert await arrived(tmp_path / "page.html") == OWNED.encode()
        assert await tab.run("document.title") == "Shared with you"
        await tab.click("th a")
        assert "deep.txt" in await tab.text()
        await demand_accessible(tab, axe)
        await tab.run("document.querySelector('button.first').click()")
        assert (await arrived(tmp_path / "sub.zip")).startswith(b"PK")
        assert (tab.dialogs, tab.console) == ([], [])


async def test_link_is_opened_without_scripts(anna: Computer, browser: Browser, tmp_path: Path) -> None:
    """A person pastes the part of the address behind `#`."""
    url = link(anna, "plan.txt")
    async with browser.profile() as person:
        tab = await visitor(browser, person, tmp_path, javascript=False)
        await tab.goto(url)
        assert "The part of the link behind #" in await tab.text()
        await fill(tab, secret=url.partition("#")[2], password=PASSWORD)
        assert "plan.txt" in await tab.text() and "This link works until" in await tab.text()
        await tab.run("document.querySelector('button').click()")
        assert await arrived(tmp_path / "plan.txt") == b"the plan"
        assert (tab.dialogs, tab.console) == ([], [])


async def test_another_site_can_neither_frame_a_link_nor_send_its_forms(
    anna: Computer, browser: Browser, tmp_path: Path
) -> None:
    url = link(anna, "plan.txt", password=None)
    address = url.partition("#")[0]
    used = anna.ask("link", "show", address.rpartition("/")[2])["used"]
    async with browser.profile() as person:
        tab = await visitor(browser, person, tmp_path)
        await tab.goto(url)
        await tab.click("button")
        assert "plan.txt" in await tab.text()
        other = await visitor(browser, person, tmp_path)
        evil = address.replace("127.0.0.1", "localhost").partition("/l/")[0]
        await other.goto(evil + "/")  # another origin, with the cookie jar of the same person
        send = f"""fetch({json.dumps(address + "/take")}, {{method: "POST", credentials: "include", mode: "no-cors",
            body: new URLSearchParams({{what: "get", path: ""}})}}).then(() => "sent", () => "refused")"""
        assert await other.run(send) in ("sent", "refused")
        assert anna.ask("link", "show", address.rpartition("/")[2])["used"] == used
        read = f"fetch({json.dumps(address)}, {{credentials: 'include'}}).then(a => a.text(), () => 'refused')"
        assert await other.run(read) == "refused"
