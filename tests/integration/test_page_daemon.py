"""The page of a real daemon, opened by the real command: what it shows is so, and what it does happens."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import pytest

from tests.helpers.computers import (
    Computer,
    computers,
    join,
    loopback_config,
    share,
    start_all,
    wait_equal,
    wait_until,
)

pytestmark = pytest.mark.long


NAMES = ("anna", "ben")
SYNC_S = 60.0
WAIT_S = 20.0


class Visitor:
    """A browser without scripts: keeps a cookie, follows redirects, fills in forms."""

    def __init__(self, link: str) -> None:
        parts = urlsplit(link)
        self.host = parts.netloc
        self.cookie = ""
        self.csrf = ""
        self.status = 0
        self.content_type = ""
        self.path = ""
        token = parts.query.partition("=")[2]
        self.page = self._ask("POST", "/enter", {"token": token})
        self.csrf = self.get("/settings").partition('name="csrf" value="')[2].partition('"')[0]

    def get(self, path: str) -> str:
        """A page, whose text is kept in `page`."""
        self.page = self._ask("GET", path, None)
        return self.page

    def fetch(self, path: str) -> bytes:
        """What is no text, byte by byte."""
        return self.get(path).encode("latin-1")

    def do(self, action: str, **fields: str) -> str:
        """Send a form of the page, and come where it leads."""
        self.page = self._ask("POST", f"/do/{action}", {"csrf": self.csrf, **fields})
        return self.page

    def _ask(self, method: str, path: str, form: dict[str, str] | None) -> str:
        self.path = path
        headers = {"Sec-Fetch-Site": "same-origin"} | ({"Cookie": self.cookie} if self.cookie else {})
        body = None
        if form is not None:
            headers |= {"Origin": f"http://{self.host}", "Content-Type": "application/x-www-form-urlencoded"}
            body = urlencode(form)
        connection = http.client.HTTPConnection(self.host, timeout=WAIT_S)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            self.content_type = answer.headers["Content-Type"] or ""
            raw = answer.read()
        finally:
            connection.close()
        self.status = answer.status
        if cookie := answer.headers["Set-Cookie"]:
            self.cookie = cookie.partition(";")[0]
        if answer.status == 303:
            return self._ask("GET", answer.headers["Location"], None)
        return raw.decode("latin-1" if self.content_type.startswith("image/") else "utf-8")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[Computer]]:
    with computers(NAMES, tmp_path, "Photos") as both:
        for one in both:
            one.config = loopback_config(one.port) + '[web]\nlisten = "127.0.0.1:0"\n'
        start_all(both)
        yield both


def together(pair: list[Computer]) -> tuple[Computer, Computer, str]:
    """Both share one folder with something in it; its id."""
    anna, ben = pair
    (anna.folder / "room").mkdir()
    (anna.folder / "room" / "notes.txt").write_text("first")
    (anna.folder / "long.bin").write_bytes(os.urandom(2 << 20))
    link = share(anna, "Photos")
    join(ben, link)
    ben.wait_synced(SYNC_S)
    anna.wait_in_place(ben, SYNC_S)
    return anna, ben, str(anna.ask("status")["folders"][0]["id"])


def visit(computer: Computer, *flags: str) -> Visitor:
    return Visitor(computer.run("web", "--print", *flags).stdout.strip())


def test_page_shows_what_the_command_line_says_and_does_what_it_does(pair: list[Computer]) -> None:
    anna, ben, folder = together(pair)
    visitor = visit(anna)
    assert "All in sync." in visitor.get("/")
    assert "ben" in visitor.get("/network") and "TLS 1.3" in visitor.page
    files = visitor.get(f"/files?folder={folder}")
    assert "long.bin" in files and "has it" in files
    assert "notes.txt" in visitor.get(f"/files?folder={folder}&path=room")
    listed = anna.ask("ls", "Photos", "room")["entries"]
    assert [(one["name"], list(one["peers"].values())) for one in listed] == [("notes.txt", [True])]
    sent = sum(anna.ask("traffic")["peers"][0]["sent"])
    assert sent >= 2 << 20
    assert "long.bin" not in visitor.get("/transfers")
    assert anna.ask("transfers")["files"] == []
    assert "Invite" in visitor.get("/sharing") and "ben" in visitor.page
    invited = visitor.do("share", path=str(anna.folder), role="viewer", kind="code", expires="1h", back="/sharing")
    code = anna.ask("invites")["invites"][0]["code"]
    assert code in invited
    assert "works no more" in visitor.do("revoke", invite=anna.ask("invites")["invites"][0]["id"], back="/sharing")
    assert anna.ask("invites")["invites"] == []
    members = {one["name"]: one for one in anna.ask("members", "Photos")["members"]}
    visitor.do("role", folder=folder, member=members["ben"]["id"], role="viewer", back="/sharing")
    assert {one["name"]: one["role"] for one in anna.ask("members", "Photos")["members"]}["ben"] == "viewer"
    assert "was removed" in visitor.do("remove", folder=folder, member=members["ben"]["id"], back="/sharing")
    assert [one["you"] for one in anna.ask("members", "Photos")["members"]] == [True]
    assert ben.run("status").returncode == 0


def test_folder_goes_back_to_a_moment_and_forth_again(pair: list[Computer]) -> None:
    anna, ben, folder = together(pair)
    notes = anna.folder / "room" / "notes.txt"
    notes.write_text("second, and longer")
    wait_until(lambda: len(anna.ask("changes", "Photos")["changes"]) > 1, WAIT_S, "the change is not seen")
    anna.wait_synced(SYNC_S)
    change = anna.ask("changes", "Photos")["changes"][0]
    visitor = visit(anna)
    assert change["id"] in visitor.get(f"/history?folder={folder}")
    assert "room/notes.txt" in visitor.get(f"/history?folder={folder}&before={change['id']}")
    assert "Restore this" in visitor.get(f"/versions?folder={folder}&path=room/notes.txt")
    back = f"/restore?folder={folder}&before={change['id']}"
    assert "Go back to this" in visitor.get(back)
    visitor.do("restore", where=quote(str(anna.folder)), before=change["id"], at="", back=back)
    where = visitor.page
    wait_until(lambda: notes.read_text() == "first", WAIT_S, f"nothing was restored: {where}")
    undo = anna.ask("undo", "--list", "Photos")
    assert undo
    wait_until(lambda: (ben.folder / "room" / "notes.txt").read_text() == "first", SYNC_S, "ben does not follow")


def test_session_ends_with_the_daemon_and_a_link_for_looking_changes_nothing(pair: list[Computer]) -> None:
    anna, _ = pair
    share(anna, "Photos")
    looker = visit(anna, "--read-only")
    looker.do("share", path=str(anna.folder), role="owner", kind="link", expires="7d", back="/")
    assert looker.status == 403
    visitor = visit(anna)
    assert visitor.status == 200
    anna.stop()
    anna.start()
    again = visit(anna)
    assert again.status == 200
    visitor.host = again.host
    visitor.get("/")
    assert visitor.status == 401
    assert json.loads(anna.run("version", "--json").stdout)["version"]


PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(40)


def in_conflict(pair: list[Computer], files: dict[str, tuple[bytes, bytes]]) -> tuple[Computer, Computer, str]:
    """Both change the same files while they do not hear of each other."""
    anna, ben, folder = together(pair)
    for name in files:
        (anna.folder / name).write_bytes(b"as it was")
    wait_equal([anna.folder, ben.folder], SYNC_S)
    ben.wait_synced(SYNC_S)
    anna.stop()
    for name, (_, theirs) in files.items():
        (ben.folder / name).write_bytes(theirs)
    ben.run("wait", "--for", "scanned", "--timeout", "20")
    wait_until(lambda: "changed" in ben.run("changes", "Photos").stdout, WAIT_S, "ben's change is not seen")
    ben.stop()
    for name, (ours, _) in files.items():
        (anna.folder / name).write_bytes(ours)
    start_all(pair)
    wait_until(lambda: len(anna.ask("conflicts")["conflicts"]) == len(files), SYNC_S, "no conflict")
    wait_equal([anna.folder, ben.folder], SYNC_S)
    anna.wait_synced(SYNC_S)
    return anna, ben, folder


def test_conflict_is_compared_and_settled_on_the_page(pair: list[Computer]) -> None:
    files = {
        "plan.txt": (b"same\nby train\n", b"same\nby bus\n"),
        "look.png": (PICTURE + b"anna", PICTURE + b"ben"),
        "both": (b"one", b"two"),
    }
    anna, ben, folder = in_conflict(pair, files)
    visitor = visit(anna)
    assert "3 files were changed in two places" in visitor.get("/conflicts")
    compared = visitor.get(f"/compare?folder={folder}&path=plan.txt")
    assert "by train" in compared and "by bus" in compared and "Keep both" in compared
    assert "by bus" in anna.run("compare", str(anna.folder / "plan.txt")).stdout
    assert 'src="/picture?' in visitor.get(f"/compare?folder={folder}&path=look.png")
    assert visitor.fetch(f"/picture?folder={folder}&path=look.png") in files_of(files, "look.png")
    assert visitor.content_type == "image/png"
    for path in ("plan.txt", "room/notes.txt", "../home/keys/device.key", "long.bin"):
        visitor.get(f"/picture?folder={folder}&path={path}")
        assert visitor.status == 404, path
    (aside,) = [
        version["path"]
        for conflict in anna.ask("conflicts")["conflicts"]
        for version in conflict["versions"]
        if conflict["path"] == "plan.txt" and version["path"] != "plan.txt"
    ]
    wanted = (anna.folder / aside).read_bytes()
    visitor.do("resolve", where=quote(str(anna.folder / aside)), keep="this", back="/conflicts")
    assert "counts. The other one is in its history." in visitor.page
    wait_until(lambda: (ben.folder / "plan.txt").read_bytes() == wanted, SYNC_S, "ben does not follow")
    assert "all 2 versions are kept" in visitor.do(
        "resolve", where=quote(str(anna.folder / "both")), keep="both", back="/conflicts"
    )
    wait_until(lambda: len(anna.ask("conflicts")["conflicts"]) == 1, SYNC_S, "the conflicts stay")
    anna.wait_synced(SYNC_S)
    kept = {path.read_bytes() for path in anna.folder.glob("both*")}
    assert kept == {b"one", b"two"}


def files_of(files: dict[str, tuple[bytes, bytes]], name: str) -> set[bytes]:
    return set(files[name])


def test_folder_rests_and_works_again_from_the_page(pair: list[Computer]) -> None:
    anna, _, folder = together(pair)
    visitor = visit(anna)
    assert "Photos rests until" in visitor.do("pause", **{"for": "8h"}, folder=folder, back=f"/folder?folder={folder}")
    assert anna.ask("status")["folders"][0]["state"] == "paused"
    assert "Let it work again" in visitor.page
    assert "Photos works again." in visitor.do("resume", folder=folder, back=f"/folder?folder={folder}")
    assert anna.ask("status")["folders"][0]["state"] != "paused"


def test_setting_is_changed_on_the_page_by_the_rules_of_the_command_line(pair: list[Computer]) -> None:
    anna, _ = pair
    file = anna.home / "config.toml"
    file.write_text(file.read_text() + "# a comment of hers\n")
    visitor = visit(anna)
    assert "debug, info, warning, error" in visitor.get("/setting?key=log.level").lower()
    assert "log.level is changed now." in visitor.do("set", key="log.level", value="debug", back="/")
    assert "# a comment of hers" in file.read_text() and 'level = "debug"' in file.read_text()
    before = file.read_text()
    for key, value in (("log.level", "loud"), ("web.listen", "0.0.0.0:80"), ("network.nonsense", "1")):
        refused = visitor.do("set", key=key, value=value, back=f"/setting?key={key}")
        assert visitor.status == 409 and "SY-CONF-01" in refused, key
        told = anna.run("config", "set", key, value)
        assert told.returncode == 11
        assert file.read_text() == before
    assert "with the next start" in visitor.do("set", key="device.name", value="anna-desk", back="/")
    assert "is changed now" in visitor.do("unset", key="log.level", back="/")
    assert anna.ask("config", "get", "log.level")["settings"][0]["origin"] == "default"
    visitor.get("/setting?key=nonsense")
    assert visitor.status == 404
