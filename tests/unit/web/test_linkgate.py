"""What may be asked of a share link, and in which form."""

from __future__ import annotations

from urllib.parse import unquote

import pytest

from syncd.protocol.heads import Head
from syncd.web import linkgate
from syncd.web.linkgate import Asked, Asset, Part, Refused, Verb, asked_untrusted

ID = "0a" * 16
FORM = (b"content-type", b"application/x-www-form-urlencoded")
HOST = (b"host", b"files.example:22090")


def head(target: str, *fields: tuple[bytes, bytes], method: str = "GET") -> Head:
    return Head(method.encode(), target.encode(), (HOST, *fields))


@pytest.mark.parametrize(
    ("target", "verb", "path"),
    [
        (f"/l/{ID}", Verb.SHOW, ()),
        (f"/l/{ID}/list/sub", Verb.LIST, (b"sub",)),
        (f"/l/{ID}/list/sub/a%20b", Verb.LIST, (b"sub", b"a b")),
        (f"/l/{ID}/get", Verb.GET, ()),
        (f"/l/{ID}/get/%ff%3Cscript%3E", Verb.GET, (b"\xff<script>",)),
        (f"/l/{ID}/zip/sub", Verb.ZIP, (b"sub",)),
    ],
)
def test_what_is_asked(target: str, verb: Verb, path: tuple[bytes, ...]) -> None:
    for method in ("GET", "HEAD"):
        assert asked_untrusted(head(target, method=method)) == Asked(ID, verb, path)


def test_rest_of_a_list_is_asked_for_by_a_name() -> None:
    name = b"a&b\xff?"
    target = f"/l/{ID}/list/sub?after={linkgate.in_address((name,))}"
    assert asked_untrusted(head(target)) == Asked(ID, Verb.LIST, (b"sub",), name)


@pytest.mark.parametrize(
    "way",
    [
        "..",
        "%2e%2e",
        "a/..",
        "a/%2e%2e/b",
        ".",
        "a//b",
        "/a",
        "a/",
        "%2fetc",
        "a%2fb",
        "a%00",
        ".syncd",
        ".SYNCD",
        "a/" * 300 + "a",
    ],
)
def test_w9_way_out_of_a_directory_is_no_address(way: str) -> None:
    for word in ("list", "get", "zip"):
        assert asked_untrusted(head(f"/l/{ID}/{word}/{way}")) == Refused(404)
    assert linkgate.wanted_untrusted({"what": "get", "path": way}) is None
    assert linkgate.wanted_untrusted({"what": "get", "path": "a/b"}) == (Verb.GET, (b"a", b"b"))


@pytest.mark.parametrize(
    "target",
    ["/", "/l", "/l/", "/l/" + ID[:-1], "/l/" + ID + "0", "/l/" + ID.upper(), f"/l/{ID}/", f"/l/{ID}/expires",
     f"/l/{ID}?x=1", "/links",
     f"/l/{ID}/list/a?after=b&c=d", f"/l/{ID};a", "/assets/page.js", "/assets/../link.js", "/assets/live.js", f"http://x/l/{ID}"],
)  # fmt: skip
def test_w13_nothing_else_is_there(target: str) -> None:
    assert asked_untrusted(head(target)) == Refused(404)


def test_w15_no_get_changes_anything_and_w10_nothing_edits_a_link() -> None:
    """The whole table of addresses: what POST may ask, and what GET may not."""
    words = ["", "/list/a", "/take", "/get", "/get/a", "/zip", "/expires", "/password"]
    posts = {word: asked_untrusted(head(f"/l/{ID}{word}", FORM, method="POST")) for word in words}
    assert {word for word, asked in posts.items() if isinstance(asked, Asked)} == {"", "/take"}
    assert {verb.verb for verb in posts.values() if isinstance(verb, Asked)} == {Verb.PROVE, Verb.TAKE}
    assert asked_untrusted(head(f"/l/{ID}/take")) == Refused(405)
    assert not isinstance(asked_untrusted(head(f"/l/{ID}/expires")), Asked)


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"])
def test_w4_other_methods_are_answered_without_a_look(method: str) -> None:
    assert asked_untrusted(head(f"/l/{ID}", method=method)) == Refused(405)


@pytest.mark.parametrize(
    "field",
    [(b"origin", b"https://evil.example"), (b"origin", b"null"), (b"origin", b"http://files.example:22090"),
     (b"sec-fetch-site", b"cross-site"), (b"sec-fetch-site", b"same-site")],
)  # fmt: skip
def test_form_of_another_site_is_refused(field: tuple[bytes, bytes]) -> None:
    assert asked_untrusted(head(f"/l/{ID}", FORM, field, method="POST")) == Refused(403)
    own = (b"origin", b"https://files.example:22090")
    assert isinstance(
        asked_untrusted(head(f"/l/{ID}", FORM, own, (b"sec-fetch-site", b"same-origin"), method="POST")), Asked
    )


def test_form_that_came_through_a_reverse_proxy_is_ours_by_the_configured_name() -> None:
    form = head(f"/l/{ID}", FORM, (b"origin", b"https://files.example.org"), method="POST")
    assert asked_untrusted(form) == Refused(403)
    assert isinstance(asked_untrusted(form, "https://Files.example.org"), Asked)
    assert asked_untrusted(form, "https://files.example.org:444") == Refused(403)


@pytest.mark.parametrize("kind", [b"text/plain", b"application/json", b"multipart/form-data", b""])
def test_what_is_no_form_is_refused(kind: bytes) -> None:
    assert asked_untrusted(head(f"/l/{ID}", (b"content-type", kind), method="POST")) == Refused(403)


def test_assets_are_three_files() -> None:
    for name in ("link.js", "page.css", "none.svg"):
        assert asked_untrusted(head(f"/assets/{name}")) == Asset(name)


# --- cookies ---------------------------------------------------------------------------------------------------------


def test_cookie_is_strict_and_comes_back() -> None:
    token = "5f" * 32
    _, value = linkgate.set_cookie(ID, token, 60)
    parts = value.split("; ")
    assert {f"Path=/l/{ID}", "Max-Age=60", "Secure", "HttpOnly", "SameSite=Strict"} == set(parts[1:])
    assert linkgate.cookie_untrusted(head("/", (b"cookie", parts[0].encode()))) == token


@pytest.mark.parametrize(
    "sent",
    [b"", b"__Secure-link=", b"__Secure-link=abc", b"other=" + b"5f" * 32, b"=;;", b'__Secure-link="' + b"5" * 63],
)
def test_what_is_no_cookie_of_ours_is_none(sent: bytes) -> None:
    assert linkgate.cookie_untrusted(head("/", (b"cookie", sent))) is None


# --- ranges ----------------------------------------------------------------------------------------------------------

WHOLE = Part(0, 1000, is_whole=True)


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        (b"bytes=0-", Part(0, 1000)),
        (b"bytes=0-0", Part(0, 1)),
        (b"bytes=500-", Part(500, 500)),
        (b"bytes=990-5000", Part(990, 10)),
        (b"bytes=-10", Part(990, 10)),
        (b"bytes=-5000", Part(0, 1000)),
        (b"bytes=999-999", Part(999, 1)),
        (b"bytes=1000-", Part(1000, 0)),
        (b"bytes=999999999999999999-", Part(999999999999999999, 0)),
        (b"bytes=-0", Part(1000, 0)),
        (b"bytes=5-2", WHOLE),
        (b"bytes=-", WHOLE),
        (b"bytes=0-1,5-6", WHOLE),
        (b"bytes=0-1, 0-1", WHOLE),
        (b"lines=0-1", WHOLE),
        (b"bytes=a-b", WHOLE),
        (b"bytes=9999999999999999999-", WHOLE),
    ],
)
def test_range(asked: bytes, part: Part) -> None:
    found = linkgate.part_untrusted(head("/", (b"range", asked)), 1000, "tag")
    assert found == part
    assert found.is_possible is (part.length > 0)


def test_range_of_another_content_is_the_whole() -> None:
    ask = (b"range", b"bytes=5-")
    assert linkgate.part_untrusted(head("/", ask, (b"if-range", b'"tag"')), 1000, "tag") == Part(5, 995)
    for other in (b'"gat"', b"tag", b'W/"tag"', b"Sat, 21 Nov 2026 10:00:00 GMT"):
        assert linkgate.part_untrusted(head("/", ask, (b"if-range", other)), 1000, "tag") == WHOLE


def test_empty_file_is_whole() -> None:
    assert linkgate.part_untrusted(head("/"), 0, "tag").is_possible


@pytest.mark.parametrize(
    "name",
    [
        "x",
        'a"b',
        "a\r\nset-cookie: x=1",
        "../../etc/passwd",
        "\u202egnp.exe",
        "é" * 300,
        "\udcff.bin",
        "",
        "...",
        "<script>",
    ],
)
def test_w11_name_never_leaves_its_header(name: str) -> None:
    field, value = linkgate.disposition(name)
    assert field == "content-disposition" and value.startswith('attachment; filename="')
    plain, _, exact = value.removeprefix('attachment; filename="').partition("\"; filename*=UTF-8''")
    assert plain and not set(plain) & set('"\\/\r\n<>:') and plain.isascii()
    assert exact.isascii() and not set(exact) & set('"\\/\r\n<>;: ')
    saved = unquote(exact)  # what a browser makes of it
    assert not set(saved) & set("/\\\r\n\u202e")


def test_name_in_another_script_is_kept() -> None:
    _, value = linkgate.disposition("Übersicht 2026 - für Łukasz \u0645\u06cc\u200c.pdf")
    assert unquote(value.partition("UTF-8''")[2]) == "Übersicht 2026 - für Łukasz \u0645\u06cc\u200c.pdf"


# --- forms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"what=get&path=%ff",
        b"what=get&path=%ed%a0%80",
        b"what=get&path=..%2fx",
        b"what=get&path=%252e%252e",
        b"what=get&path=a%2500",
        b"what=show&path=a",
        b"path=a",
        b"\xff",
        b"&".join([b"what=get"] * 9),
    ],
)
def test_what_no_page_of_ours_sends_asks_for_nothing(body: bytes) -> None:
    assert linkgate.wanted_untrusted(linkgate.fields_untrusted(body)) is None


def test_form_asks_for_the_name_that_the_page_has() -> None:
    body = b"what=get&path=sub%2Fa%2520b%25ff"
    assert linkgate.wanted_untrusted(linkgate.fields_untrusted(body)) == (Verb.GET, (b"sub", b"a b\xff"))
