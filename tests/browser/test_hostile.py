"""Names that others choose, web sites that the person also has open, and requests that no browser of theirs would send:
no state changes, no script runs, nothing is asked of anybody else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import trio

from syncd.web.actions import ACTIONS
from syncd.web.page import STEPS, VIEWS
from tests.browser.test_views import OF_A_FOLDER, come_in
from tests.helpers.chromium import Browser, Tab
from tests.helpers.page import Served, serving
from tests.helpers.page_states import FOLDER, HOSTILE_NAMES, busy, hostile

pytestmark = pytest.mark.long

chromium_needed = pytest.mark.needs("chromium")

HARMLESS: Final = frozenset(
    {
        "status", "peers", "requests", "members", "invites", "links", "conflicts", "traffic", "transfers", "ls",
        "changes",
        "diff", "history", "compare", "storage", "audit",
        "version",
        "key.show", "doctor", "config.show",
    }
)  # fmt: skip
"""What looking at the page asks of the daemon."""


def nothing_was_done(page: Served) -> bool:
    return set(page.api.names()) <= HARMLESS


# --- names ----------------------------------------------------------------------------------------------------------


@chromium_needed
async def test_hostile_names_are_text_and_nothing_else(browser: Browser, tmp_path: Path) -> None:
    """Every name that somebody else chooses, in every view: it is read as it stands, runs and fetches nothing."""
    for name in HOSTILE_NAMES:
        async with serving(tmp_path, hostile(name)) as page, browser.profile() as person:
            tab = await person.tab()
            await come_in(tab, page)
            for path in (*VIEWS, f"/folder{OF_A_FOLDER}"):
                await tab.goto(page.url + path)
                assert tab.statuses[page.url + path] == 200, (name, path)
                assert (
                    await tab.run("document.querySelectorAll('main script, iframe, img, link[href^=http]').length") == 0
                )
                assert (
                    await tab.run("document.querySelectorAll('main [onload],main [onerror],main [onfocus]').length")
                    == 0
                )
            assert (tab.dialogs, tab.console, tab.failed) == ([], [], []), name
            assert [url for url in tab.requests if not url.startswith(page.url)] == [], name
            assert nothing_was_done(page)


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=[str(at) for at in range(len(HOSTILE_NAMES))])
async def test_hostile_name_stands_on_the_page_without_control_characters(tmp_path: Path, name: str) -> None:
    async with serving(tmp_path, hostile(name)) as page:
        cookie, _ = await page.enter()
        for path in (*VIEWS, f"/folder{OF_A_FOLDER}"):
            answer = await page.get(path, cookie)
            text = answer.body.decode("utf-8")
            assert answer.status == 200
            assert "<script>alert" not in text and "<img" not in text and "<iframe" not in text
            assert [one for one in text if not one.isprintable() and one not in "\n\u200d"] == [], path
            assert "set-cookie" not in answer.fields


# --- other web sites ------------------------------------------------------------------------------------------------

EVIL = """<!doctype html><title>evil</title><body><script>
const target = TARGET, actions = ACTIONS;
const tries = [];
function form(enctype, action) {
  const form = document.createElement("form");
  Object.assign(form, {method: "post", action: target + "/do/" + action, enctype, target: "away"});
  for (const [name, value] of [["id", "jx7k"], ["folder", FOLDER], ["csrf", "guess"], ["back", "/"]]) {
    const input = document.createElement("input"); Object.assign(input, {name, value}); form.append(input);
  }
  document.body.append(form); form.submit();
}
window.attack = async () => {
  const frame = document.createElement("iframe"); frame.name = "away"; document.body.append(frame);
  const kinds = ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"];
  for (const action of actions) for (const kind of kinds) {
    form(kind, action); tries.push("form");
    await new Promise(done => setTimeout(done, 20));
  }
  for (const mode of ["no-cors", "cors", "same-origin"]) for (const credentials of ["include", "omit"])
    for (const action of actions) {
      const body = new URLSearchParams({id: "jx7k", folder: FOLDER, csrf: "guess"});
      await fetch(target + "/do/" + action, {method: "POST", mode, credentials, body}).catch(() => {});
      tries.push("fetch");
    }
  let read = "";
  for (const path of ["/", "/sharing", "/traffic.csv", "/events"]) {
    read += await fetch(target + path, {credentials: "include", signal: AbortSignal.timeout(500)})
      .then(answer => answer.text()).catch(() => "");
    tries.push("read");
  }
  const tags = {img: "src", script: "src", link: "href", iframe: "src", object: "data", embed: "src"};
  for (const [tag, key] of Object.entries(tags)) {
    const element = document.createElement(tag); element.rel = "stylesheet"; element[key] = target + "/sharing";
    document.body.append(element); tries.push(tag);
  }
  const source = new EventSource(target + "/events", {withCredentials: true});
  source.onmessage = event => read += event.data;
  source.addEventListener("state", event => read += event.data);
  tries.push("stream");
  try { new WebSocket(target.replace("http", "ws") + "/events"); } catch {}
  tries.push("socket");
  navigator.sendBeacon(target + "/do/approve", new URLSearchParams({id: "jx7k"})); tries.push("beacon");
  await new Promise(done => setTimeout(done, 500));
  source.close();
  const framed = [...document.querySelectorAll("iframe")].filter(frame => {
    try { return frame.contentDocument?.body?.innerText.includes("Photos"); } catch { return false; }
  });
  return {tries: tries.length, read, framed: framed.length};
};
</script>"""


@dataclass(slots=True)
class EvilSite:
    """Another web site on this machine: the nearest that an attacker can come."""

    address: str


@asynccontextmanager
async def evil_site(target: str) -> AsyncIterator[EvilSite]:
    text = (
        EVIL.replace("TARGET", json.dumps(target))
        .replace("ACTIONS", json.dumps(list(ACTIONS)))
        .replace("FOLDER", json.dumps(FOLDER))
        .encode()
    )
    head = f"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {len(text)}\r\nconnection: close\r\n\r\n"

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(head.encode() + text)

    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(trio.serve_tcp, answer, 0)
        yield EvilSite(f"127.0.0.1:{listeners[0].socket.getsockname()[1]}")
        nursery.cancel_scope.cancel()


async def attack(tab: Tab, url: str) -> dict[str, object]:
    await tab.goto(url)
    found: dict[str, object] = await tab.run("window.attack()")
    return found


@chromium_needed
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "evil.example"])
async def test_another_site_changes_and_reads_nothing(browser: Browser, tmp_path: Path, name: str) -> None:
    """Same machine and other port (another site in the same browser), same machine by name, and a stranger."""
    async with serving(tmp_path, busy()) as page, evil_site(page.url) as evil, browser.profile() as person:
        tab = await person.tab()
        await come_in(tab, page)
        before = len(page.api.calls)
        host = evil.address if name == "evil.example" else evil.address.replace("127.0.0.1", name)
        found = await attack(tab, f"http://{host}/")
        assert int(str(found["tries"])) >= 120
        assert (found["read"], found["framed"]) == ("", 0)
        assert nothing_was_done(page)
        asked = [called for called, _ in page.api.calls[before:] if called != "status"]
        assert asked == []  # not even looking: what another site sends is refused at the gate


@chromium_needed
async def test_rebound_name_is_refused_and_told_which_setting(tmp_path: Path) -> None:
    """The name of an attacker, made to mean this computer: the browser itself believes it is one site."""
    from tests.helpers.chromium import chromium

    async with (
        serving(tmp_path, busy()) as page,
        chromium("--host-resolver-rules=MAP rebound.example 127.0.0.1") as browser,
        browser.profile() as person,
    ):
        tab = await person.tab()
        port = page.address.rpartition(":")[2]
        await tab.goto(f"http://rebound.example:{port}/")
        assert tab.statuses[f"http://rebound.example:{port}/"] == 421
        assert "[web] hosts" in await tab.text()
        for path in ("/", "/events", "/enter?token=1", "/assets/page.css"):
            status = await tab.run(f"fetch('{path}').then(answer => answer.status)")
            assert status == 421, path
        posted = await tab.run(
            "fetch('/do/approve', {method: 'POST', body: new URLSearchParams({id: 1})}).then(a => a.status)"
        )
        assert posted == 421
        assert page.api.calls == []


# --- requests by hand -----------------------------------------------------------------------------------------------

FORM = {"id": "jx7k", "folder": FOLDER, "member": "bb" * 16, "invite": "01" * 8, "join": "00" * 8}
OTHERS = ("http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1")


@pytest.mark.parametrize("action", ACTIONS)
async def test_action_is_refused_to_everybody_but_our_own_form(tmp_path: Path, action: str) -> None:
    async with serving(tmp_path, busy()) as page:
        cookie, csrf = await page.enter()
        target = f"/do/{action}"
        refused = [
            await page.post(target, FORM),  # without a session
            await page.post(target, FORM | {"csrf": csrf}),
            await page.post(target, FORM, cookie),  # without the form's token
            await page.post(target, FORM | {"csrf": "0" * 64}, cookie),
            await page.post(target, FORM | {"csrf": csrf}, cookie + "0"),
            *[await page.post(target, FORM | {"csrf": csrf}, cookie, origin=origin) for origin in OTHERS],
            await page.post(target, FORM | {"csrf": csrf}, cookie, sec_fetch_site="cross-site"),
            await page.post(target, FORM | {"csrf": csrf}, cookie, sec_fetch_site="same-site"),
            await page.post(target, FORM | {"csrf": csrf}, cookie, host="evil.example"),
            await page.post(target, FORM | {"csrf": csrf}, cookie, content_type="application/json"),
            await page.get(f"{target}?csrf={csrf}&id=jx7k", cookie),
            await page.ask("PUT", target, {"host": page.address, "cookie": cookie}),
            await page.ask("DELETE", target, {"host": page.address, "cookie": cookie}),
            await page.ask("OPTIONS", target, {"host": page.address, "cookie": cookie}),
        ]
        assert [answer.status for answer in refused if answer.status < 400] == []
        looker, looker_csrf = await page.enter(read_only=True)
        assert (await page.post(target, FORM | {"csrf": looker_csrf}, looker)).status == 403
        assert nothing_was_done(page)


@pytest.mark.parametrize("path", [*VIEWS, *STEPS, "/join", "/events", "/traffic.csv", "/audit.csv", "/picture"])
async def test_nothing_is_shown_without_a_session(tmp_path: Path, path: str) -> None:
    async with serving(tmp_path, busy()) as page:
        for cookie in ("", "syncd-1=1", f"syncd-{page.address.rpartition(':')[2]}={'0' * 64}"):
            answer = await page.get(path + OF_A_FOLDER, cookie)
            assert answer.status == 401
            assert b"Photos" not in answer.body
        assert page.api.calls == []


@pytest.mark.parametrize(
    "path", [*VIEWS, "/join", "/enter?token=x", "/nowhere", "/assets/page.css", "/assets/none", "/do/none"]
)
async def test_every_answer_carries_the_headers_that_keep_it_apart(tmp_path: Path, path: str) -> None:
    async with serving(tmp_path, busy()) as page:
        cookie, _ = await page.enter()
        for given in (cookie, ""):
            fields = (await page.get(path, given)).fields
            assert "default-src 'none'" in fields["content-security-policy"]
            assert "unsafe" not in fields["content-security-policy"]
            assert "frame-ancestors 'none'" in fields["content-security-policy"]
            assert fields["x-frame-options"] == "DENY"
            assert fields["x-content-type-options"] == "nosniff"
            assert fields["cross-origin-resource-policy"] == "same-origin"
            assert not any(name.startswith("access-control") for name in fields)
            assert ("no-store" in fields["cache-control"]) is not path.startswith("/assets/page")


async def test_cookie_is_strict_and_hidden_from_scripts_and_the_link_works_once(tmp_path: Path) -> None:
    async with serving(tmp_path, busy()) as page:
        token = (await page.link()).partition("token=")[2]
        looked = await page.get(f"/enter?token={token}")  # whoever only looks uses nothing up
        assert looked.status == 200 and "set-cookie" not in looked.fields
        came = await page.post("/enter", {"token": token})
        assert came.status == 303
        assert {"httponly", "samesite=strict", "path=/"} <= set(came.fields["set-cookie"].lower().split("; "))
        assert (await page.post("/enter", {"token": token})).status == 401


@pytest.mark.parametrize(
    "back",
    ["//evil.example", "https://evil.example", "/\\evil.example", "/%0d%0aset-cookie:a=b", "javascript:alert(1)", ""],
)
async def test_answer_leads_to_no_other_site(tmp_path: Path, back: str) -> None:
    answer = {"kind": "join", "name": "Photos", "member": "anna"}
    async with serving(tmp_path, busy() | {"approve": answer}) as page:
        cookie, csrf = await page.enter()
        done = await page.post("/do/approve", {"id": "jx7k", "csrf": csrf, "back": back}, cookie)
        assert done.status == 303
        assert done.fields["location"].startswith("/?said=")


async def test_pin_stands_before_every_change_and_cannot_be_guessed_fast(tmp_path: Path) -> None:
    answer = {"kind": "join", "name": "Photos", "member": "anna"}
    async with serving(tmp_path, busy() | {"approve": answer}) as page:
        await page.server.set_pin("4711")
        cookie, csrf = await page.enter()
        form = {"id": "jx7k", "csrf": csrf, "back": "/sharing"}
        locked = await page.post("/do/approve", form, cookie)
        assert locked.fields["location"] == "/unlock?back=%2Fsharing"
        assert nothing_was_done(page)
        wrong = [(await page.post("/unlock", form | {"pin": str(guess)}, cookie)).status for guess in range(8)]
        assert wrong == [403] * 5 + [429] * 3
        assert (await page.post("/unlock", form | {"pin": "4711"}, cookie)).status == 429
    async with serving(tmp_path, busy() | {"approve": answer}) as page:
        cookie, csrf = await page.enter()
        form = {"id": "jx7k", "csrf": csrf, "back": "/sharing"}
        assert (await page.post("/unlock", form | {"pin": "4711"}, cookie)).fields["location"] == "/sharing"
        assert (await page.post("/do/approve", form, cookie)).status == 303
        assert page.api.params("approve")["id"] == "jx7k"


async def test_files_of_the_page_name_no_other_host(repository: Path) -> None:
    shipped = [*(repository / "syncd/web/assets").iterdir(), *(repository / "syncd/web/pages").iterdir()]
    texts = {file.name: file.read_text("utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "") for file in shipped}
    assert len(texts) > 20
    assert [name for name, text in texts.items() if "http://" in text or "https://" in text] == []
    assert [name for name, text in texts.items() if " style=" in text or "<style" in text or " onclick" in text] == []
