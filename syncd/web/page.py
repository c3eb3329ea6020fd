"""Async. The status page: which address shows which view, and what a form does.

Every GET only shows; what changes something is a POST of one of our own forms, goes through `actions.ACTIONS` to the
method that the command line uses, and answers with a redirect, so that going back or reloading repeats nothing.
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from syncd.catalogue import Exit, Report, report
from syncd.errors import SyncdError
from syncd.seams import Clock, Random, Workers
from syncd.web import pin
from syncd.web.actions import ACTIONS, Action
from syncd.web.asking import Asked, Shown, digest, headline, level
from syncd.web.calling import call
from syncd.web.control import Api
from syncd.web.gate import HEADERS, UNLOCKED_S, Patience, Refusal, Session, Sessions
from syncd.web.jobs import Jobs
from syncd.web.live import Live
from syncd.web.render import Pages, read_assets
from syncd.web.views import files, home, network, past, sharing, upkeep, watching

View = Callable[[Asked], Awaitable[Shown]]

ASSET_HEADERS: Final = {"cache-control": "max-age=3600"}
SEE_OTHER: Final = 303
MAX_FIELDS: Final = 32
NOTES: Final[Mapping[str, str]] = {"share": "invite", "link": "link"}
"""Actions of which the answer is shown, and what views call it."""
_OUR_OWN_PATH = re.compile(r"/[a-z]*(\?[A-Za-z0-9%&=_.~+-]*)?")

VIEWS: Final[Mapping[str, tuple[str, View]]] = {
    "/": ("Home", home.home),
    "/network": ("Network", network.network),
    "/files": ("Who has what", files.files),
    "/transfers": ("Transfers", files.transfers),
    "/traffic": ("Traffic", network.traffic),
    "/history": ("History", past.history),
    "/conflicts": ("Conflicts", files.conflicts),
    "/sharing": ("Sharing", sharing.sharing),
    "/storage": ("Storage", watching.storage),
    "/audit": ("Audit", watching.audit),
    "/settings": ("Settings", upkeep.settings),
}
"""What the navigation lists."""
STEPS: Final[Mapping[str, tuple[str, View]]] = {
    "/folder": ("Folder", home.folder),
    "/leave": ("Leave a folder", home.leave),
    "/rotate": ("New certificate", sharing.rotate),
    "/member": ("A member", sharing.member),
    "/invited": ("Invitation", sharing.invited),
    "/linked": ("Share link", sharing.linked),
    "/versions": ("Versions", past.versions),
    "/compare": ("A conflict", files.compare),
    "/setting": ("A setting", upkeep.setting),
    "/prune": ("Old versions", watching.prune),
    "/join": ("Join a folder", sharing.join),
    "/restore": ("Go back", past.restore),
}
"""What other views lead to."""


class _Events(StreamingResponse):
    """A stream of events that ends with its reader, also where that leaves in the middle of one."""

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)


class Page:
    """The application behind the page. `nursery` is where calls go on after their answer."""

    def __init__(
        self,
        api: Api,
        clock: Clock,
        random: Random,
        workers: Workers,
        home: Path,
        nursery: trio.Nursery,
    ) -> None:
        self.sessions = Sessions(random.token)
        self.live = Live(api)
        self._api = api
        self._clock = clock
        self._workers = workers
        self._home = home
        self._nursery = nursery
        self._jobs = Jobs(api)
        self._patience = Patience()
        self._pages = Pages()
        self._assets = read_assets()

    def application(self) -> Starlette:
        """All routes. Anything else is 404."""
        tables = {"traffic": network.traffic_csv, "audit": watching.audit_csv}
        return Starlette(
            routes=[
                *(
                    Route(path, self._showing(path, *view), methods=["GET"])
                    for path, view in {**VIEWS, **STEPS}.items()
                ),
                *(Route(f"/{name}.csv", self._table(name, table), methods=["GET"]) for name, table in tables.items()),
                Route("/picture", self._picture, methods=["GET"]),
                Route("/events", self._events, methods=["GET"]),
                Route("/assets/{name}", self._asset, methods=["GET"]),
                Route("/enter", self._show_enter, methods=["GET"]),
                Route("/enter", self._enter, methods=["POST"]),
                Route("/unlock", self._show_unlock, methods=["GET"]),
                Route("/unlock", self._unlock, methods=["POST"]),
                Route("/go", self._sign_out, methods=["POST"]),
                Route("/do/{action}", self._do, methods=["POST"]),
            ],
            exception_handlers={404: self._not_found, 405: self._not_found},
        )

    # looking -------------------------------------------------------------------------------------------------

    def _showing(self, path: str, title: str, view: View) -> Callable[[Request], Awaitable[Response]]:
        async def show(request: Request) -> Response:
            session = self._session(request)
            if session is None:
                return self._closed(request)
            try:
                asked = await self._asked(request, session)
                shown = await view(asked)
            except SyncdError as error:
                return self._failed(request, session, report(error), "/")
            values = {**self._around(request, session, asked), "title": title, "at": path, **shown.values}
            return self._html(shown.template, values, shown.status)

        return show

    async def _asked(self, request: Request, session: Session) -> Asked:
        status = await call(self._api, "status", {"folder": None, "cwd": None})
        return Asked(session, fields_of(request.url.query), self._api, self._jobs, self._now(), status)

    def _around(self, request: Request, session: Session, asked: Asked) -> dict[str, Any]:
        """What the frame of every view shows."""
        note = asked.note()
        return {
            "status": asked.status,
            "verdict": headline(asked.status),
            "level": level(asked.status),
            "digest": digest(asked.status),
            "views": [(path, title) for path, (title, _) in VIEWS.items()],
            "csrf": session.csrf,
            "read_only": session.read_only,
            "here": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
            "said": None if note is None else note.get("text"),
        }

    def _table(self, name: str, table: Callable[[Asked], Awaitable[str]]) -> Callable[[Request], Awaitable[Response]]:
        """A view as a file for a spreadsheet."""

        async def download(request: Request) -> Response:
            session = self._session(request)
            if session is None:
                return self._closed(request)
            try:
                text = await table(await self._asked(request, session))
            except SyncdError as error:
                return self._failed(request, session, report(error), f"/{name}")
            disposition = {"content-disposition": f'attachment; filename="syncd-{name}.csv"'}
            return self._finished(PlainTextResponse(text, media_type="text/csv", headers=disposition))

        return download

    async def _picture(self, request: Request) -> Response:
        """A version of a conflict that is an image. The daemon says of what kind, never the file's name."""
        session = self._session(request)
        if session is None:
            return self._closed(request)
        try:
            asked = await self._asked(request, session)
            found = await call(self._api, "preview", {"path": files.path_of(asked)})
        except SyncdError as error:
            return self._failed(request, session, report(error), "/conflicts")
        return self._finished(Response(base64.b64decode(found["data"]), media_type=found["media"]))

    async def _events(self, request: Request) -> Response:
        if self._session(request) is None:
            return self._finished(PlainTextResponse("closed", 401))
        if self.live.is_full:
            return self._finished(PlainTextResponse("too many pages are open", 503, {"retry-after": "30"}))
        return self._finished(_Events(self.live.events()))

    async def _asset(self, request: Request) -> Response:
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            return self._finished(PlainTextResponse("not found", 404))
        headers = {**ASSET_HEADERS, "etag": asset.etag}
        if request.headers.get("if-none-match") == asset.etag:
            return self._finished(Response(status_code=304, headers=headers))
        return self._finished(Response(asset.body, media_type=asset.media_type, headers=headers))

    async def _not_found(self, request: Request, error: Exception) -> Response:
        refusal = Refusal(404, "there is no such view", "The address names nothing that is here.", "Go home.")
        return self.refuse(refusal)

    # coming and going ----------------------------------------------------------------------------------------

    async def _show_enter(self, request: Request) -> Response:
        """A link was followed. Nothing is used up before the person presses the button: programs follow links, too."""
        return self._html("enter.html", {"token": request.query_params.get("token", "")[:128]})

    async def _enter(self, request: Request) -> Response:
        form = await _form(request)
        came = self.sessions.enter(form.get("token", ""), self._clock.monotonic())
        if came is None:
            return self._closed(request)
        cookie, _ = came
        response = self._finished(RedirectResponse("/", SEE_OTHER))
        response.set_cookie(_cookie_name(request), cookie, httponly=True, samesite="strict", path="/")
        return response

    async def _sign_out(self, request: Request) -> Response:
        session = self._session(request)
        if session is None or not session.is_ours((await _form(request)).get("csrf", "")):
            return self._closed(request)
        self.sessions.end(session)
        return self._closed(request, status=200)

    def _session(self, request: Request) -> Session | None:
        cookie = request.cookies.get(_cookie_name(request))
        return None if cookie is None else self.sessions.find(cookie, self._clock.monotonic())

    def _closed(self, request: Request, status: int = 401) -> Response:
        return self._html("closed.html", {}, status)

    # doing ---------------------------------------------------------------------------------------------------

    async def _do(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            return self._closed(request)
        form = await _form(request)
        back = _our_own(form.get("back", "/"))
        if not session.is_ours(form.get("csrf", "")):
            refusal = Refusal(403, "refused, to protect you", "The form is not of this session.", "Go back, reload.")
            return self.refuse(refusal)
        if session.read_only:
            return self.refuse(Refusal(403, "this page only shows", "It was opened read-only.", "syncd web"))
        action = ACTIONS.get(request.path_params["action"])
        if action is None:
            return await self._not_found(request, Exception())
        if await self._is_locked(session):
            return self._finished(RedirectResponse("/unlock?" + urlencode({"back": back}), SEE_OTHER))
        try:
            return await self._act(request.path_params["action"], action, form, session, back)
        except SyncdError as error:
            return self._failed(request, session, report(error), back)

    async def _act(self, name: str, action: Action, form: Mapping[str, str], session: Session, back: str) -> Response:
        params = action.params(form)
        goal = action.leads_to or back
        key = self.sessions.name()
        if action.takes_long:
            self._jobs.start(self._nursery, key, session.key, action.method, params)
            earlier = fields_of(back.partition("?")[2]) if back.startswith(goal) else {}
            query = urlencode({**earlier, name: key}, errors="surrogateescape")
            return self._finished(RedirectResponse(f"{goal}?{query}", SEE_OTHER))
        done = await call(self._api, action.method, params)
        made = {NOTES[name]: done} if name in NOTES else {}
        session.keep(key, {"text": action.says(done), **made})
        separator = "&" if "?" in goal else "?"
        return self._finished(RedirectResponse(f"{goal}{separator}{urlencode({'said': key})}", SEE_OTHER))

    # the PIN -------------------------------------------------------------------------------------------------

    async def _is_locked(self, session: Session) -> bool:
        has_pin = await self._workers.run_blocking(pin.has_pin, self._home)
        return has_pin and session.unlocked_until <= self._clock.monotonic()

    async def _show_unlock(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            return self._closed(request)
        return self._unlock_form(session, request.query_params.get("back", "/"), "")

    async def _unlock(self, request: Request) -> Response:
        session = self._session(request)
        form = await _form(request)
        if session is None or not session.is_ours(form.get("csrf", "")):
            return self._closed(request)
        now, back = self._clock.monotonic(), form.get("back", "/")
        if wait_s := self._patience.wait_s(now):
            return self._unlock_form(session, back, f"Too many wrong PINs. Try again in {wait_s:.0f} s.", 429)
        self._patience.failed(now)  # counted before the answer is known: many tries at once gain nothing
        if not await self._workers.run_blocking(pin.is_pin, self._home, form.get("pin", "")):
            return self._unlock_form(session, back, "That was not the PIN.", 403)
        self._patience.succeeded()
        session.unlocked_until = now + UNLOCKED_S
        return self._finished(RedirectResponse(_our_own(back), SEE_OTHER))

    def _unlock_form(self, session: Session, back: str, wrong: str, status: int = 200) -> Response:
        return self._html("unlock.html", {"csrf": session.csrf, "back": _our_own(back), "wrong": wrong}, status)

    # answers -------------------------------------------------------------------------------------------------

    def refuse(self, refusal: Refusal) -> Response:
        """A page that says why not. It tells nothing about folders or people."""
        problem = {"id": None, "what": refusal.what, "why": refusal.why, "fix": refusal.fix}
        return self._html("refused.html", {"problem": problem}, refusal.status)

    def _failed(self, request: Request, session: Session, told: Report, back: str) -> Response:
        problem = {"id": told.id, "what": told.what, "why": told.why, "fix": told.fix}
        status = 404 if told.exit == Exit.NOT_FOUND else 409
        return self._html("refused.html", {"problem": problem, "back": _our_own(back)}, status)

    def _html(self, template: str, values: Mapping[str, Any], status: int = 200) -> Response:
        text = self._pages.render(template, values, self._now())
        body = text.encode("utf-8", "backslashreplace")
        return self._finished(Response(body, status, media_type="text/html; charset=utf-8"))

    def _finished(self, response: Response) -> Response:
        for name, value in HEADERS:
            response.headers.setdefault(name, value)
        return response

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form; of a name that is given twice the last one counts."""
    return fields_of((await request.body()).decode("latin-1"))


def fields_of(text: str) -> dict[str, str]:
    """The fields of a form or an address; nothing when there are too many. Bytes that are no UTF-8 are kept."""
    try:
        found = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="surrogateescape")
        return dict(found)
    except ValueError:
        return {}


def _cookie_name(request: Request) -> str:
    """Cookies know no ports: two daemons on one machine need two names."""
    return f"syncd-{request.scope['server'][1]}"


def _our_own(path: str) -> str:
    """A path of this page to go back to; home if it is anything else."""
    return path if _OUR_OWN_PATH.fullmatch(path) else "/"
