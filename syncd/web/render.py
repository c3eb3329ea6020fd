"""Blocking. Templates and assets, read once from the package at start, and how values are written into a page.

Every value is escaped by the template engine; names of other people are besides made plainly visible
(`wording.escape`) and set apart in their direction by `<bdi>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from importlib import resources
from typing import Any, Final
from urllib.parse import quote

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup, escape

from ca.values import dataclass
from syncd import wording
from syncd.verdict import state_of

TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
UTF8: Final = "; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that pages load: its bytes, what they are, and a name for exactly these bytes."""

    body: bytes
    media_type: str
    etag: str


def read_assets() -> dict[str, Asset]:
    """Everything below /assets/, by name. There is nothing else to be had."""
    found = {}
    for file in (resources.files("syncd.web") / "assets").iterdir():
        kind = TYPES.get("." + file.name.rpartition(".")[2])
        if kind is not None:
            body = file.read_bytes()
            found[file.name] = Asset(body, kind + UTF8, f'"{sha256(body).hexdigest()[:20]}"')
    return found


class Pages:
    """All templates, compiled when they are first used."""

    def __init__(self) -> None:
        folder = resources.files("syncd.web") / "pages"
        texts = {file.name: file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith(".html")}
        self._environment = Environment(
            loader=DictLoader(texts), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._environment.filters.update(
            size=wording.size,
            rate=wording.rate,
            count=wording.count,
            share=wording.share,
            duration=wording.duration,
            name=name,
            safe_text=wording.escape,
            in_address=in_address,
            setting=setting,
            sentence=sentence,
        )
        self._environment.globals.update(state_of=state_of)

    def render(self, template: str, values: Mapping[str, Any], now: datetime) -> str:
        """A whole page. A value that a template wants and nobody gave is an error."""
        return self._environment.get_template(template).render(
            **values, ago=lambda text: _ago(text, now), until=lambda text: wording.until(text, now, None), clock=_clock
        )


def name(text: str | None) -> Markup:
    """A name that nobody can trust: visible, escaped, and alone in its direction."""
    return Markup("<bdi>{}</bdi>").format(wording.escape(text or ""))


def setting(value: object) -> str:
    """A value of the configuration in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(wording.escape(str(one)) for one in value) or "none"
    return "not set" if value is None else wording.escape(str(value))


def sentence(text: str) -> str:
    """Words that begin a sentence; units and names in it keep their letters."""
    return text[:1].upper() + text[1:]


def in_address(text: str) -> str:
    """A name as part of an address; bytes that are no UTF-8 survive the way there and back (`page.fields_of`)."""
    return quote(text.encode("utf-8", "surrogateescape"), safe="")


def _ago(text: str | None, now: datetime) -> Markup:
    """`3 days ago`, with the moment itself for those who point at it."""
    if text is None:
        return escape("never")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(text, _clock(text), wording.ago(text, now))


def _clock(text: str | None) -> str:
    return wording.clock(text, None)
