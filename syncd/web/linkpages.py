"""Async. The answers to requests for share links: the proof, what is shown, and the bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import trio

from ca.values import dataclass
from syncd import http
from syncd.errors import SyncdError
from syncd.model.paths import Path
from syncd.protocol.door import owner_of
from syncd.protocol.heads import Head, RequestRefused
from syncd.web.linkgate import (
    HEADERS,
    HSTS,
    MAX_FORM_BYTES,
    SANDBOX,
    Asked,
    Asset,
    Refused,
    Verb,
    asked_untrusted,
    cookie_untrusted,
    disposition,
    fields_untrusted,
    in_address,
    part_untrusted,
    set_cookie,
    wanted_untrusted,
)
from syncd.web.linkhost import File, Host, NotHere, Proved, Thing, TooMany, Visitor
from syncd.web.render import Pages, read_assets

BODY_S: Final = 10.0
MAX_DOWNLOADS: Final = 16
"""Which run at the same time, each with a buffer of some blocks."""
MAX_OF_ADDRESS: Final = 8
MAX_ZIPS: Final = 4
"""Of these: each has all names of a directory in memory."""
HTML: Final = ("content-type", "text/html; charset=utf-8")
WRONG: Final = "This opens nothing: the link is wrong or has ended, or the password is wrong."
SLOW: Final = "Too many tries. Nothing was looked at; try again in a minute."
_SAID: Final[Mapping[int, tuple[str, str]]] = {
    403: ("Not like this", "Press the button on the page of the link."),
    404: ("There is nothing here", "The address names nothing that is shared."),
    405: ("Not like this", "This way of asking is not used here."),
    410: ("No more downloads", "As many as this link allows were begun."),
    413: ("Too many files for one zip file", "Download the directories in it one by one."),
    503: ("Not just now", "A new version is arriving, or many are downloading. Try again in a minute."),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `cut` ends the connection; `proved` is called when it is known that a proof was shown."""

    host: str
    cut: Callable[[], None]
    proved: Callable[[], None]


class Answers:
    """Answers requests. It knows templates, the host knows the rest."""

    def __init__(self, host: Host, *, is_strict: bool, origin: str | None) -> None:
        self._host = host
        self._origin = origin
        self._pages = Pages()
        self._assets = read_assets()
        self._fields = (*HEADERS, HSTS) if is_strict else HEADERS
        self._downloads: Counter[str | Verb] = Counter()

    async def answer(self, head: Head, body: http.Body, caller: Caller) -> http.Response:
        """Answer one request. Raises RequestRefused for a body that is too long."""
        if body.length is not None and body.length > MAX_FORM_BYTES:
            raise RequestRefused(413, "a form over the limit")
        match asked_untrusted(head, self._origin):
            case Refused(status):
                answer = self._said(status)
            case Asset(name):
                found = self._assets[name]
                answer = http.Response(200, found.body, (*self._fields, ("content-type", found.media_type)))
            case asked if asked.verb is Verb.PROVE:
                answer = await self._prove(asked, await _form(body), caller)
            case asked:
                answer = await self._visit(asked, head, body, caller)
        return _headless(answer) if head.method == b"HEAD" else answer

    async def _prove(self, asked: Asked, form: Mapping[str, str], caller: Caller) -> http.Response:
        found = await self._host.prove(asked.link, form.get("secret", ""), form.get("password", ""), caller.host)
        if isinstance(found, Proved):
            caller.proved()
            cookie = set_cookie(asked.link, found.cookie, found.seconds)
            return self._see(f"/l/{asked.link}", cookie)
        if found.wait_s:
            return self._proof(asked, 429, SLOW, ("retry-after", str(int(found.wait_s) + 1)))
        return self._proof(asked, 403, WRONG)

    async def _visit(self, asked: Asked, head: Head, body: http.Body, caller: Caller) -> http.Response:
        cookie = cookie_untrusted(head)
        visitor = None if cookie is None else self._host.visitor(asked.link, cookie, caller.host)
        if visitor is None:
            return self._proof(asked, 200 if asked.verb is Verb.SHOW else 403, "")
        caller.proved()
        back = f"/l/{asked.link}"
        try:
            match asked.verb:
                case Verb.TAKE:
                    return await self._take(asked, visitor, await _form(body), back)
                case Verb.GET | Verb.ZIP:
                    return await self._download(asked, head, visitor, caller, back)
                case _:
                    return await self._show(asked, visitor, back)
        except NotHere:
            return self._said(503, back, ("retry-after", "60"))
        except TooMany:
            return self._said(413, back)

    # showing -------------------------------------------------------------------------------------------------

    async def _show(self, asked: Asked, visitor: Visitor, back: str) -> http.Response:
        shown = await visitor.show(asked.path, asked.after)
        if shown is None or (asked.verb is Verb.LIST and not shown.thing.is_directory):
            return self._said(404, back)
        here = f"{back}/list/{in_address(asked.path)}" if asked.path else back
        verb = Verb.ZIP if shown.thing.is_directory else Verb.GET
        entries = [{**_thing(one), "at": in_address((*asked.path, one.name))} for one in shown.entries]
        expires = datetime.fromtimestamp(visitor.expires, UTC)
        return self._html(
            "link_shown.html",
            {
                "link": asked.link,
                "thing": _thing(shown.thing),
                "at": in_address(asked.path),
                "entries": entries,
                "crumbs": await self._crumbs(asked, visitor, back),
                "more": None if shown.after is None else f"{here}?after={in_address((shown.after,))}",
                "may_begin": visitor.left is None or visitor.left > 0,
                "left": visitor.left,
                "is_taken": visitor.has_taken(verb, asked.path),
                "taken": {one["at"] for one in entries if visitor.has_taken(Verb.GET, _below(asked.path, one))},
                "expires": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "ends": f"{expires:%Y-%m-%d %H:%M} UTC",
            },
        )

    async def _crumbs(self, asked: Asked, visitor: Visitor, back: str) -> list[tuple[str, str]]:
        """The way from what is shared to what is shown; nothing at the top."""
        top = await visitor.show((), b"") if asked.path else None
        if top is None:
            return []
        steps = [
            (f"{back}/list/{in_address(asked.path[:end])}", asked.path[end - 1])
            for end in range(1, len(asked.path) + 1)
        ]
        return [(where, as_text(name)) for where, name in [(back, top.thing.name), *steps]]

    # downloading ---------------------------------------------------------------------------------------------

    async def _take(self, asked: Asked, visitor: Visitor, form: dict[str, str], back: str) -> http.Response:
        wanted = wanted_untrusted(form)
        shown = None if wanted is None else await visitor.show(wanted[1], b"")
        if wanted is None or shown is None or shown.thing.is_directory != (wanted[0] is Verb.ZIP):
            return self._said(404, back)
        if not await visitor.take(*wanted):
            return self._said(410, back)
        verb, path = wanted
        return self._see(f"{back}/{verb.value}/{in_address(path)}" if path else f"{back}/{verb.value}")

    async def _download(self, asked: Asked, head: Head, visitor: Visitor, caller: Caller, back: str) -> http.Response:
        shown = await visitor.show(asked.path, b"")
        if shown is None or shown.thing.is_directory != (asked.verb is Verb.ZIP):
            return self._said(404, back)
        if not visitor.has_taken(asked.verb, asked.path):
            return self._said(403, back)
        place = (asked.verb, owner_of(caller.host))
        if not self._has_place(*place):
            raise NotHere
        self._downloads.update(place)
        pieces = None
        try:
            answer = await self._opened(asked, head, visitor, as_text(shown.thing.name), caller.cut, back)
            if isinstance(answer.body, AsyncGenerator):
                pieces = self._placed(place, answer.body)
        finally:
            if pieces is None:
                self._leave(place)
        return answer if pieces is None else replace(answer, body=pieces)

    def _has_place(self, verb: Verb, owner: str) -> bool:
        """Whether one more download may run: a zip file, or a file, for somebody at this address."""
        running = self._downloads
        if running[Verb.GET] + running[Verb.ZIP] >= MAX_DOWNLOADS or running[owner] >= MAX_OF_ADDRESS:
            return False
        return verb is not Verb.ZIP or running[Verb.ZIP] < MAX_ZIPS

    def _leave(self, place: tuple[Verb, str]) -> None:
        self._downloads.subtract(place)
        self._downloads += Counter()  # forgets who has none

    async def _placed(
        self, place: tuple[Verb, str], pieces: AsyncGenerator[memoryview, None]
    ) -> AsyncGenerator[memoryview, None]:
        """Bytes that go out, while they keep their place."""
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    yield piece
        finally:
            self._leave(place)

    async def _opened(
        self, asked: Asked, head: Head, visitor: Visitor, name: str, cut: Callable[[], None], back: str
    ) -> http.Response:
        if asked.verb is Verb.ZIP:
            fields = (*self._bytes_fields("application/zip", name + ".zip"), ("accept-ranges", "none"))
            return http.Response(200, await self._begun(head, visitor, await visitor.zip(asked.path), cut), fields)
        file = await visitor.file(asked.path)
        return self._said(404, back) if file is None else await self._file(head, visitor, file, name, cut)

    async def _file(
        self, head: Head, visitor: Visitor, file: File, name: str, cut: Callable[[], None]
    ) -> http.Response:
        part = part_untrusted(head, file.size, file.tag)
        fields = (
            *self._bytes_fields("application/octet-stream", name),
            ("accept-ranges", "bytes"),
            ("etag", f'"{file.tag}"'),
        )
        if not part.is_possible:
            return http.Response(416, b"", (*fields, ("content-range", f"bytes */{file.size}")))
        if not part.is_whole:
            last = part.start + part.length - 1
            fields = (*fields, ("content-range", f"bytes {part.start}-{last}/{file.size}"))
        pieces = await self._begun(head, visitor, file.read(part.start, part.length), cut)
        return http.Response(200 if part.is_whole else 206, pieces, fields, part.length)

    async def _begun(
        self, head: Head, visitor: Visitor, pieces: AsyncGenerator[memoryview, None], cut: Callable[[], None]
    ) -> AsyncGenerator[memoryview, None] | _Nothing:
        """Bytes of which the first have been read, so that a file which is being changed can be answered at all."""
        if head.method == b"HEAD":
            return _Nothing()
        try:
            first = await anext(pieces, memoryview(b""))
        except SyncdError as error:
            await pieces.aclose()
            raise NotHere from error
        return self._sent(visitor, first, pieces, cut)

    async def _sent(
        self, visitor: Visitor, first: memoryview, pieces: AsyncGenerator[memoryview, None], cut: Callable[[], None]
    ) -> AsyncGenerator[memoryview, None]:
        """Bytes on their way out, until the link ends. What fails in the middle ends the connection: nobody shall take
        a part for the whole."""
        try:
            with visitor.running(cut):
                yield first
                async for piece in pieces:
                    yield piece
        except SyncdError:
            cut()
            await trio.lowlevel.checkpoint()
            raise
        finally:
            await pieces.aclose()

    def _bytes_fields(self, kind: str, name: str) -> http.Fields:
        """What people put into a file never becomes a page of ours."""
        kept = tuple(field for field in self._fields if field[0] != SANDBOX[0])
        return (SANDBOX, *kept, ("content-type", kind), disposition(name))

    # pages ---------------------------------------------------------------------------------------------------

    def _proof(self, asked: Asked, status: int, wrong: str, *more: tuple[str, str]) -> http.Response:
        return self._html("link_proof.html", {"link": asked.link, "wrong": wrong}, status, *more)

    def _said(self, status: int, back: str | None = None, *more: tuple[str, str]) -> http.Response:
        what, why = _SAID[status]
        return self._html("link_said.html", {"what": what, "why": why, "back": back}, status, *more)

    def _see(self, where: str, *more: tuple[str, str]) -> http.Response:
        return http.Response(303, b"", (*self._fields, ("location", where), *more))

    def _html(
        self, template: str, values: Mapping[str, Any], status: int = 200, *more: tuple[str, str]
    ) -> http.Response:
        text = self._pages.render(template, values, datetime.fromtimestamp(self._host.now(), UTC))
        return http.Response(status, text.encode("utf-8", "backslashreplace"), (*self._fields, HTML, *more))


def as_text(name: bytes) -> str:
    """A name for a page or a header; bytes that are no UTF-8 are kept apart."""
    return name.decode("utf-8", "surrogateescape")


def _thing(thing: Thing) -> dict[str, Any]:
    return {"name": as_text(thing.name), "raw": thing.name, "is_directory": thing.is_directory, "size": thing.size}


def _below(path: Path, entry: Mapping[str, Any]) -> Path:
    return (*path, entry["raw"])


def _headless(answer: http.Response) -> http.Response:
    """The same answer without its body, which is not begun."""
    length = len(answer.body) if isinstance(answer.body, (bytes, bytearray, memoryview)) else answer.length
    return http.Response(answer.status, _Nothing(), answer.fields, length, close=answer.close)


class _Nothing:
    """A body that has a length and no bytes."""

    def __aiter__(self) -> _Nothing:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration


async def _form(body: http.Body) -> dict[str, str]:
    with suppress(trio.TooSlowError), trio.fail_after(BODY_S):
        return fields_untrusted(await body.read(MAX_FORM_BYTES))
    raise RequestRefused(408, "a form that never came")
