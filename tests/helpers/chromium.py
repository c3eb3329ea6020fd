"""Async. A real Chromium without a window, driven over the pipe of its own debugging protocol.

Every test gets a profile of its own inside one browser process (a browser context). What the page asked the network
for, and what it said on its console, is kept, so that a test can demand that nothing was asked and nothing was said.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-features=Translate,OptimizationHints,MediaRouter,DialMediaRouteProvider",
    "--no-first-run",
    "--no-default-browser-check",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
)
START_S: Final = 30.0
ANSWER_S: Final = 60.0  # axe takes its time on a page of thousands of cells
MAX_EVENTS: Final = 10_000
READ_BYTES: Final = 1 << 16

Json = dict[str, Any]


class BrowserError(Exception):
    """The browser refused a command, or a script on a page failed."""


@dataclass(slots=True)
class Tab:
    """One page. `requests`: every address that it asked for; `console`: errors and messages; `dialogs`: alerts."""

    browser: Browser
    session: str
    target: str
    requests: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    _loaded: trio.Event = field(default_factory=trio.Event)

    async def send(self, method: str, **params: Any) -> Json:
        """A command of the protocol to this page."""
        return await self.browser.send(method, params, self.session)

    async def goto(self, url: str) -> None:
        """Go there and wait until it is loaded."""
        self.expect_load()
        answer = await self.send("Page.navigate", url=url)
        if answer.get("errorText") not in (None, "net::ERR_HTTP_RESPONSE_CODE_FAILURE"):
            raise BrowserError(f"{url}: {answer['errorText']}")
        await self.wait_loaded()

    async def wait_loaded(self) -> None:
        with trio.fail_after(ANSWER_S):
            await self._loaded.wait()

    async def click(self, selector: str) -> None:
        """Click what leads to another page, and wait until that is loaded."""
        self.expect_load()
        await self.run(f"document.querySelector({json.dumps(selector)}).click()")
        await self.wait_loaded()

    async def run(self, script: str) -> Any:
        """The value of a script, which may be a promise."""
        answer = await self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if details := answer.get("exceptionDetails"):
            raise BrowserError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    async def text(self) -> str:
        return str(await self.run("document.body.innerText"))

    async def wait_for(self, script: str, timeout_s: float = ANSWER_S) -> Any:
        """Until the script gives something true."""
        with trio.fail_after(timeout_s):
            while not (value := await self.run(script)):  # noqa: ASYNC110 - the browser is another process
                await trio.sleep(0.05)
        return value

    def expect_load(self) -> None:
        """What follows leads to another page: `wait_loaded` waits for that one."""
        self._loaded = trio.Event()

    async def press(self, key: str) -> None:
        """A key as a person presses it: `Tab`, `Enter`."""
        extra = {"Enter": {"text": "\r"}}.get(key, {})
        code = {"Tab": 9, "Enter": 13}[key]
        for kind in ("keyDown", "keyUp"):
            await self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **extra)

    async def dress(self, *, width: int = 1280, height: int = 900, dark: bool = False, zoom: float = 1.0) -> None:
        """The size of the window, and whether the person likes it dark."""
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=round(width / zoom),
            height=round(height / zoom),
            deviceScaleFactor=zoom,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self, whole: bool = True, scale: float = 1.0) -> bytes:
        """What it looks like, as PNG: all of the page, or what the window shows of it."""
        found = await self.send("Page.getLayoutMetrics")
        page, window = found["cssContentSize"], found["cssLayoutViewport"]
        height = page["height"] if whole else window["clientHeight"]
        clip = {"x": 0, "y": 0, "width": window["clientWidth"], "height": height, "scale": scale}
        answer = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole, clip=clip)
        return base64.b64decode(answer["data"])

    def note(self, method: str, params: Json) -> None:
        """An event of this page."""
        match method:
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Network.responseReceived":
                self.statuses[params["response"]["url"]] = params["response"]["status"]
            case "Network.loadingFailed":
                self.failed.append(params.get("blockedReason") or params["errorText"])
            case "Runtime.consoleAPICalled":
                self.console.append(" ".join(str(value.get("value")) for value in params["args"]))
            case "Runtime.exceptionThrown":
                self.console.append(str(params["exceptionDetails"].get("exception", {}).get("description")))
            case "Log.entryAdded":
                self.console.append(params["entry"]["text"])
            case "Page.loadEventFired":
                self._loaded.set()
            case "Page.javascriptDialogOpening":
                self.dialogs.append(params["message"])


class Browser:
    """A running Chromium."""

    def __init__(self, into: trio.lowlevel.FdStream, out: trio.lowlevel.FdStream) -> None:
        self._into = into
        self._out = out
        self._number = 0
        self._waiting: dict[int, trio.MemorySendChannel[Json]] = {}
        self._tabs: dict[str, Tab] = {}
        self._lock = trio.Lock()

    async def read(self) -> None:
        """Take in what the browser says, until it ends."""
        data = bytearray()
        while more := await self._out.receive_some(READ_BYTES):
            data += more
            *messages, rest = data.split(b"\0")
            data = bytearray(rest)
            for message in messages:
                self._take(json.loads(message))

    def _take(self, message: Json) -> None:
        if (number := message.get("id")) is not None:
            waiting = self._waiting.pop(number, None)
            if waiting is not None:
                waiting.send_nowait(message)
        elif (tab := self._tabs.get(message.get("sessionId", ""))) is not None:
            tab.note(message["method"], message["params"])

    async def send(self, method: str, params: Mapping[str, Any] | None = None, session: str | None = None) -> Json:
        """A command; its result. Raises BrowserError."""
        self._number += 1
        number = self._number
        send, receive = trio.open_memory_channel[Json](1)
        self._waiting[number] = send
        message: Json = {"id": number, "method": method, "params": dict(params or {})}
        if session is not None:
            message["sessionId"] = session
        async with self._lock:
            await self._into.send_all(json.dumps(message).encode() + b"\0")
        with trio.fail_after(ANSWER_S):
            answer = await receive.receive()
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error'].get('message')}")
        result: Json = answer.get("result", {})
        return result

    @asynccontextmanager
    async def profile(self) -> AsyncIterator[Profile]:
        """A profile of its own: cookies and storage end with it."""
        context = (await self.send("Target.createBrowserContext"))["browserContextId"]
        try:
            yield Profile(self, context)
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(5), suppress(BrowserError):
                await self.send("Target.disposeBrowserContext", {"browserContextId": context})


@dataclass(slots=True)
class Profile:
    """Cookies and tabs of one person."""

    browser: Browser
    context: str

    async def tab(self, *, javascript: bool = True) -> Tab:
        """A new, empty page."""
        browser = self.browser
        target = (await browser.send("Target.createTarget", {"url": "about:blank", "browserContextId": self.context}))[
            "targetId"
        ]
        session = (await browser.send("Target.attachToTarget", {"targetId": target, "flatten": True}))["sessionId"]
        tab = browser._tabs[session] = Tab(browser, session, target)
        for domain in ("Page", "Network", "Runtime", "Log"):
            await tab.send(f"{domain}.enable")
        if not javascript:
            await tab.send("Emulation.setScriptExecutionDisabled", value=True)
        return tab


@asynccontextmanager
async def chromium(*flags: str, inside: Sequence[str] = ()) -> AsyncIterator[Browser]:
    """Start a browser with an empty home, and end it. `inside`: the command that runs others on another machine."""
    place = Path(tempfile.mkdtemp(prefix="chromium-"))
    program = shutil.which("chromium") or "chromium"
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    command = [*inside, program, *FLAGS, *flags, f"--user-data-dir={place}", "--remote-debugging-pipe", "about:blank"]
    # The browser reads commands from descriptor 3 and answers on 4.
    script = f"import os, sys; os.dup2({to_read}, 3); os.dup2({from_write}, 4); os.execvp(sys.argv[1], sys.argv[1:])"
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", script, *command],
        pass_fds=(to_read, from_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(to_read)
    os.close(from_write)
    into, out = trio.lowlevel.FdStream(to_write), trio.lowlevel.FdStream(from_read)
    browser = Browser(into, out)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(browser.read)
            with trio.fail_after(START_S):
                await browser.send("Browser.getVersion")
            yield browser
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            process.terminate()
            with trio.move_on_after(5):
                await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()
            await into.aclose()
            await out.aclose()
        shutil.rmtree(place, ignore_errors=True)
