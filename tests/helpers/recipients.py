"""Somebody outside with a share link: an HTTPS client that keeps a cookie and sends what it is told, byte for byte."""

from __future__ import annotations

import http.client
import itertools
import ssl
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode, urlsplit

WAIT_S = 30.0
_HOSTS = (f"127.0.{high}.{low}" for high, low in itertools.product(range(1, 255), range(1, 255)))
"""Everybody comes from an address of their own, as far as the loopback has some."""


def unverified() -> ssl.SSLContext:
    """What a browser does after its warning about a certificate that no authority signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(slots=True)
class Recipient:
    """A browser without scripts and without a memory but one cookie."""

    link: str
    cookie: str = ""
    host: str = field(default_factory=lambda: next(_HOSTS))

    @property
    def address(self) -> str:
        return urlsplit(self.link).netloc

    @property
    def path(self) -> str:
        return urlsplit(self.link).path

    @property
    def id(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def secret(self) -> str:
        return urlsplit(self.link).fragment

    def ask(self, method: str, below: str = "", form: dict[str, str] | None = None, **fields: str) -> Answer:
        """One request to the address of the link, or to one below it."""
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        body = None
        if self.cookie:
            headers["Cookie"] = self.cookie
        if form is not None:
            body = urlencode(form, errors="surrogateescape")
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection = self.connect()
        try:
            connection.request(method, self.path + below, body, headers)
            came = connection.getresponse()
            answer = Answer(came.status, {name.lower(): value for name, value in came.headers.items()}, came.read())
        finally:
            connection.close()
        if "set-cookie" in answer.fields:
            self.cookie = answer.fields["set-cookie"].partition(";")[0]
        return answer

    def connect(self) -> http.client.HTTPSConnection:
        """A connection that is not open yet."""
        return http.client.HTTPSConnection(
            self.address, timeout=WAIT_S, context=unverified(), source_address=(self.host, 0)
        )

    def prove(self, password: str = "", secret: str | None = None) -> int:
        """Fill in the form; the status."""
        return self.ask("POST", form={"secret": self.secret if secret is None else secret, "password": password}).status

    def take(self, path: bytes = b"", what: str = "get") -> int:
        """Press the button; the status."""
        return self.ask("POST", "/take", {"what": what, "path": quote(path, safe="/")}).status

    def download(self, path: bytes = b"", what: str = "get", **fields: str) -> Answer:
        """The bytes, once they were taken."""
        return self.ask("GET", f"/{what}/{quote(path, safe='/')}" if path else f"/{what}", None, **fields)
