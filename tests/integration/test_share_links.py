"""Share links of a real daemon, opened by people outside: the rows W1 to W15 of what was done to the links of others,
each with what still works."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import re
import socket
import ssl
import subprocess
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ca.custody import LINKS_FILE
from syncd.cli import client
from syncd.methods import linkcert
from syncd.web import linkpages, linkseats
from tests.helpers.computers import (
    Computer,
    computers,
    contents_below,
    loopback_config,
    sharing_computers,
    wait_until,
)
from tests.helpers.machinetime import Stopwatch
from tests.helpers.recipients import Answer, Recipient, unverified

PASSWORD = "correct horse battery"
WAIT_S = 20.0
BIG = 24 << 20

FILES = {
    b"x": b"hello",
    b"empty": b"",
    b"page.html": b"<script>document.title='owned'</script>",
    b"picture.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    b"sub/deep/y": b"deep",
    b"sub/<b>&'\"": b"odd",
    b"sub/\xff\xfe": b"no text",
    b"medium": os.urandom(3_000_000),
}


@pytest.fixture(scope="module")
def anna(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Computer]:
    """One computer with a folder of some files, a link in the tree that leads out of it, and no limits."""
    with computers(("anna",), tmp_path_factory.mktemp("links"), "Notes") as (anna,):
        anna.config = loopback_config(anna.port) + '[links]\nlisten = "127.0.0.1:0"\n'
        anna.folder.mkdir(parents=True)
        for name, content in FILES.items():
            path = os.path.join(os.fsencode(anna.folder), name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
        (anna.folder / "sub" / "out").symlink_to("/etc")
        (anna.folder / "passwd").symlink_to("/etc/passwd")
        with open(anna.folder / "big", "wb") as file:
            file.write(os.urandom(BIG))
        anna.start()
        anna.ask("share", str(anna.folder), "--yes", "--no-wait")
        anna.ask("wait", "--for", "scanned", "--timeout", "30")
        yield anna
        assert "Traceback" not in anna.log.read_text(), anna.last_words(60)


def call(anna: Computer, method: str, **params: Any) -> dict[str, Any]:
    """What the command line asks, without its start."""
    return dict(client.call(anna.home / "control.sock", method, params, timeout_s=WAIT_S))


def create(
    anna: Computer,
    path: str = "",
    *,
    password: str | None = None,
    most: int | None = None,
    expires_s: int | None = None,
) -> dict[str, Any]:
    """A new link."""
    where = str(anna.folder / path)
    return call(anna, "link.create", path=where, password=password, most=most, expires_s=expires_s)


def rescan(anna: Computer) -> None:
    """Let what was just written be seen."""
    assert anna.run("folder", "rescan", "Notes").returncode == 0


def opened(anna: Computer, path: str = "", **wishes: Any) -> Recipient:
    """Somebody who has a new link and has shown its proof."""
    recipient = Recipient(create(anna, path, **wishes)["url"])
    assert recipient.prove(wishes.get("password", "")) == 303
    return recipient


def is_dead(person: Recipient) -> bool:
    """Whether a link opens nothing any more; with the last one that lived the port is closed as well."""
    try:
        return person.download().status == 403 and person.prove() == 403
    except (ConnectionError, ssl.SSLError):  # the latter where it closes in the midst of a handshake
        return True


def told(anna: Computer, link: Recipient) -> list[str]:
    """What the audit log has about a link."""
    lines = call(anna, "audit", last=1000)["audit"]
    return [line["action"] for line in lines if line["actor"] == f"link {link.id[:8]}"]


# --- what it is for --------------------------------------------------------------------------------------------------


def test_file_is_downloaded_with_its_password_and_says_until_when(anna: Computer) -> None:
    """By the command, as a person types it."""
    command = anna.command(
        "link", "create", str(anna.folder / "x"), "--expires", "1h", "--password-file", "-", "--json"
    )
    done = subprocess.run(command, input=PASSWORD + "\n", capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["kind"], made["password"], made["state"]) == ("file", True, "open")
    person = Recipient(made["url"])
    assert person.prove(PASSWORD) == 303
    page = person.ask("GET").text
    assert "<bdi>x</bdi>" in page and f'datetime="{made["expires"]}"' in page
    assert person.take() == 303
    came = person.download()
    assert (came.status, came.body) == (200, FILES[b"x"])
    assert came.fields["content-disposition"].startswith('attachment; filename="x"')
    assert told(anna, person) == ["link.open", "link.download"]


def test_directory_is_listed_and_downloaded_as_a_zip(anna: Computer) -> None:
    person = opened(anna)
    page = person.ask("GET").text
    assert all(f"<bdi>{name}</bdi>" in page for name in ("x", "sub", "page.html", "Notes"))
    inner = person.ask("GET", "/list/sub").text
    assert "&lt;b&gt;&amp;" in inner and "\\xff\\xfe" in inner
    for name, content in FILES.items():
        assert person.take(name) == 303, name
        assert person.download(name).body == content, name
    assert person.take(what="zip") == 303
    with zipfile.ZipFile(io.BytesIO(person.download(what="zip").body)) as archive:
        assert archive.testzip() is None
        found = {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
    assert found["Notes/sub/deep/y"] == b"deep" and found["Notes/medium"] == FILES[b"medium"]
    assert len(found) == len(FILES) + 1  # and the big one


def test_range_goes_on_where_it_ended(anna: Computer) -> None:
    person = opened(anna, "medium")
    assert person.take() == 303
    whole = person.download()
    tag = whole.fields["etag"]
    content = FILES[b"medium"]
    for asked, start, stop in (
        ("0-0", 0, 1),
        ("1500000-", 1_500_000, 3_000_000),
        ("-7", 2_999_993, 3_000_000),
        ("1048570-1048590", 1_048_570, 1_048_591),
    ):
        part = person.download(Range=f"bytes={asked}", If_Range=tag)
        assert (part.status, part.body) == (206, content[start:stop]), asked
        assert part.fields["content-range"] == f"bytes {start}-{stop - 1}/3000000"
    beyond = person.download(Range="bytes=3000000-")
    assert (beyond.status, beyond.body, beyond.fields["content-range"]) == (416, b"", "bytes */3000000")
    assert person.download(Range="bytes=5-", If_Range='"another"').body == content, "another content: the whole"


def test_new_content_is_shown_once_it_is_there(anna: Computer) -> None:
    path = anna.folder / "changing"
    path.write_bytes(b"first")
    rescan(anna)
    person = opened(anna, "changing")
    assert person.take() == 303
    first = person.download()
    path.write_bytes(b"second version")
    wait_until(lambda: person.download().body == b"second version", WAIT_S, "the new content is never shown")
    assert person.download().fields["etag"] != first.fields["etag"]


# --- W1 ... W15 ------------------------------------------------------------------------------------------------------


def test_w2_expired_link_ends_for_good(anna: Computer) -> None:
    """The shortest life is a minute, so the clock of the test is the rule's own; here is what the command line says."""
    too_short = anna.run("link", "create", str(anna.folder / "x"), "--expires", "59s")
    too_long = anna.run("link", "create", str(anna.folder / "x"), "--expires", "31d")
    assert (too_short.returncode, too_long.returncode) == (2, 2)
    assert "SY-LINK-04" in too_short.stderr and "SY-LINK-04" in too_long.stderr
    assert create(anna, "x")["expires"] is not None, "a link without an end there is none"


def test_w3_revoked_link_is_dead_at_the_next_request_and_in_a_running_download(anna: Computer) -> None:
    person = opened(anna, "big")
    other = opened(anna, "x")
    assert person.take() == 303
    connection = person.connect()
    connection.request("GET", person.path + "/get", headers={"Cookie": person.cookie})
    running = connection.getresponse()
    assert running.status == 200 and len(running.read(1000)) == 1000
    assert anna.run("link", "revoke", person.id[:8]).returncode == 0
    with pytest.raises((http.client.IncompleteRead, ConnectionError, ssl.SSLError)):
        running.read()
    connection.close()
    assert person.download().status == 403
    assert person.ask("GET").body == Recipient(person.link).ask("GET").body, "as if it had never been"
    assert person.prove() == 403
    assert other.ask("GET").status == 200 and "bdi" in other.ask("GET").text
    assert told(anna, person)[-1] == "link.download"


def test_w4_same_checks_for_every_way_of_asking(anna: Computer) -> None:
    person = opened(anna, password=PASSWORD)
    assert person.take(b"x") == 303
    assert person.take(what="zip") == 303
    stranger = Recipient(person.link)
    for method in ("GET", "HEAD"):
        for below in ("/get/x", "/zip", "/list/sub", "/get/sub/deep/y"):
            assert stranger.ask(method, below).status == 403, (method, below)
            assert stranger.ask(method, below, Range="bytes=0-0").status == 403
    assert stranger.ask("POST", "/take", {"what": "get", "path": "x"}).status == 403
    assert stranger.ask("OPTIONS").status == 405
    head = person.ask("HEAD", "/get/x")
    assert (head.status, head.body, head.fields["content-length"]) == (200, b"", "5")
    assert person.ask("GET", "/get/x").status == 200
    assert person.ask("GET", "/get/medium").status == 403, "only what was taken"


@pytest.mark.parametrize("typed", ["", "\0", PASSWORD + "\0", "x" * 5000, "é" * 2000, "\udcff"])
def test_w5_odd_passwords_are_wrong(anna: Computer, typed: str) -> None:
    made = create(anna, "x", password=PASSWORD)
    assert Recipient(made["url"]).prove(typed) == 403
    assert Recipient(made["url"]).prove(PASSWORD) == 303


def test_w5_password_of_a_mebibyte_is_not_even_read(anna: Computer) -> None:
    person = Recipient(create(anna, "x", password=PASSWORD)["url"])
    connection = person.connect()
    connection.putrequest("POST", person.path)
    connection.putheader("Content-Type", "application/x-www-form-urlencoded")
    connection.putheader("Content-Length", str(1 << 20))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
    assert person.prove(PASSWORD) == 303


def test_wrong_link_wrong_secret_and_wrong_password_are_told_alike(anna: Computer) -> None:
    locked, open_ = create(anna, "x", password=PASSWORD), create(anna, "x")
    revoked = create(anna, "x")
    call(anna, "link.revoke", id=revoked["id"])

    def bare(answer: Answer) -> tuple[int, str, dict[str, str]]:
        text = re.sub(r"/l/[0-9a-f]{32}", "/l/ID", answer.text)
        return answer.status, text, answer.fields

    unknown = "https://" + Recipient(locked["url"]).address + "/l/" + "0" * 32 + "#" + "A" * 43
    asked = [bare(Recipient(url).ask("GET")) for url in (unknown, locked["url"], open_["url"], revoked["url"])]
    assert all(one == asked[0] for one in asked)
    wrong = [
        bare(Recipient(unknown).ask("POST", form={"secret": "A" * 43, "password": PASSWORD})),
        bare(Recipient(revoked["url"]).ask("POST", form={"secret": Recipient(revoked["url"]).secret})),
        bare(Recipient(open_["url"]).ask("POST", form={"secret": "A" * 43})),
        bare(Recipient(locked["url"]).ask("POST", form={"secret": "A" * 43, "password": PASSWORD})),
        bare(Recipient(locked["url"]).ask("POST", form={"secret": Recipient(locked["url"]).secret, "password": "no"})),
    ]
    assert wrong[0][0] == 403 and all(one == wrong[0] for one in wrong)
    assert "x" not in re.findall(r"<bdi>(.*?)</bdi>", asked[0][1])
    assert Recipient(locked["url"]).prove(PASSWORD) == 303


def test_w7_cookie_of_one_link_is_worth_nothing_for_another(anna: Computer) -> None:
    one, other = opened(anna, "x"), create(anna, "medium")
    thief = Recipient(other["url"], cookie=one.cookie)
    assert thief.take() == 403 and thief.download().status == 403
    fixed = Recipient(other["url"], cookie="__Secure-link=" + "ab" * 32)
    before = fixed.cookie
    assert fixed.prove() == 303
    assert fixed.cookie != before, "a session is never the one that a browser came with"
    assert Recipient(other["url"], cookie=before).take() == 403
    assert fixed.take() == 303 and one.take() == 303


def test_w8_single_download_and_fifty_who_want_it(anna: Computer) -> None:
    made = create(anna, "x", most=1)
    people = [Recipient(made["url"]) for _ in range(50)]
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(Recipient.prove, people)) == {303}
        taken = list(pool.map(Recipient.take, people))
    assert sorted(taken) == [303] + [410] * 49
    winner = people[taken.index(303)]
    for _ in range(3):
        assert winner.download(Range="bytes=1-").body == FILES[b"x"][1:], "going on is no second download"
        assert winner.take() == 303
    assert Recipient(made["url"]).prove() == 403, "who comes now learns nothing"
    assert call(anna, "link.show", id=made["id"])["used"] == 1


def test_w9_nobody_leaves_the_directory_nor_follows_a_link_in_it(anna: Computer) -> None:
    person = opened(anna, "sub")
    assert "out" not in re.findall(r"<bdi>(.*?)</bdi>", person.ask("GET").text)
    for way in ("out", "out/passwd", "../x", "%2e%2e/x", "deep/../../x", "deep/..%2f..%2fx", ".syncd/marker"):
        for word in ("list", "get", "zip"):
            assert person.ask("GET", f"/{word}/{way}").status == 404, way
        assert person.ask("POST", "/take", {"what": "get", "path": way}).status == 404, way
    assert opened(anna).ask("GET", "/get/passwd").status == 404
    refused = anna.run("link", "create", str(anna.folder / "passwd"))
    assert refused.returncode == 7 and "SY-LINK-03" in refused.stderr
    assert person.take(b"deep/y") == 303 and person.download(b"deep/y").body == b"deep"


def test_w10_recipient_changes_nothing_of_the_link(anna: Computer) -> None:
    person = opened(anna, "x", expires_s=3600)
    before = call(anna, "link.show", id=person.id)
    for method in ("PUT", "PATCH", "DELETE"):
        assert person.ask(method, form={"expires": "2099-01-01"}).status == 405
    assert person.ask("POST", "/expires", {"expires": "2099"}).status == 404
    assert person.ask("POST", "?expires=2099", {"secret": person.secret}).status == 404
    assert call(anna, "link.show", id=person.id) == before


@pytest.mark.parametrize("name", [b"page.html", b"picture.svg"])
def test_w11_what_people_share_never_becomes_a_page(anna: Computer, name: bytes) -> None:
    person = opened(anna)
    assert person.take(name) == 303
    fields = person.download(name).fields
    assert fields["content-type"] == "application/octet-stream"
    assert fields["content-disposition"].startswith("attachment;")
    assert fields["x-content-type-options"] == "nosniff"
    assert fields["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert fields["cross-origin-resource-policy"] == "same-origin"
    assert person.download(name).body == FILES[name]


def test_w12_secret_and_id_stand_in_no_title_log_or_header(anna: Computer) -> None:
    made = create(anna, "x", password=PASSWORD)
    person = Recipient(made["url"])
    assert (person.prove("wrong one"), person.prove(PASSWORD), person.take()) == (403, 303, 303)
    pages = [Recipient(made["url"]).ask("GET"), person.ask("GET"), person.download()]
    log = anna.log.read_text() + str(anna.ask("audit", "--last", "1000")) + str(call(anna, "links"))
    for page in pages:
        assert page.fields["referrer-policy"] == "strict-origin"
        title = re.search(r"<title>(.*)</title>", page.body.decode("latin-1"))
        assert title is None or title[1] == "Shared with you"
        assert person.secret not in page.body.decode("latin-1") + str(page.fields)
    assert person.secret not in log and PASSWORD not in log
    assert person.id not in anna.log.read_text()
    for file, content in contents_below(anna.home):
        assert person.secret.encode() not in content and PASSWORD.encode() not in content, file
    assert person.id[:8] in anna.log.read_text(), "links are told apart"


def test_w13_there_is_no_list_of_links(anna: Computer) -> None:
    person = opened(anna, "x")
    root = Recipient(person.link.replace(person.path, "/"), cookie=person.cookie)
    for below in ("", "l", "l/", "links", "api", "assets/", "rpc/links", "status", ".well-known/security.txt"):
        assert root.ask("GET", below).status == 404
    assert len(person.id) == 32 and len(person.secret) == 43


def test_w14_link_follows_its_file_and_not_the_name(anna: Computer) -> None:
    path = anna.folder / "plan"
    path.write_bytes(b"the plan")
    rescan(anna)
    person = opened(anna, "plan")
    assert person.take() == 303
    path.rename(anna.folder / "sub" / "renamed plan")
    wait_until(lambda: "renamed plan" in person.ask("GET").text, WAIT_S, "the link does not follow")
    assert person.download().body == b"the plan"
    (anna.folder / "sub" / "renamed plan").unlink()
    wait_until(lambda: person.download().status == 404, WAIT_S, "what was deleted is still given out")
    path.write_bytes(b"another plan")
    rescan(anna)
    assert person.download().status == 404, "another file of that name was never shared"
    found = call(anna, "link.show", id=person.id)
    assert (found["state"], found["why"]) == ("rests", "what it shows was deleted, or is not in place here")
    assert opened(anna, "plan").ask("GET").status == 200


def test_w15_looking_counts_and_changes_nothing(anna: Computer) -> None:
    person = opened(anna, "x", most=2)
    before = call(anna, "link.show", id=person.id)
    for method in ("GET", "HEAD"):
        for below in ("", "/get", "/take", "/list", "/zip", "/get/x"):
            person.ask(method, below)
    assert call(anna, "link.show", id=person.id) == before
    assert person.take() == 303
    assert call(anna, "link.show", id=person.id)["used"] == 1


# --- the rest of the rules -------------------------------------------------------------------------------------------


def test_pause_rests_and_policy_ends(anna: Computer) -> None:
    person = opened(anna, "x")
    assert person.take() == 303
    call(anna, "pause", folder="Notes")
    assert person.download().status == 403
    call(anna, "resume", folder="Notes")
    wait_until(lambda: person.download().status == 200, WAIT_S, "it does not work again after the pause")
    off = call(anna, "link.policy", folder="Notes", who="off")
    assert (off["who"], off["you_may"]) == ("off", False)
    assert is_dead(person)
    refused = anna.run("link", "create", str(anna.folder / "x"))
    assert refused.returncode == 6 and "SY-LINK-02" in refused.stderr
    lines = call(anna, "audit", last=1000)["audit"]
    assert any(line["action"] == "link.create" and not line["ok"] for line in lines)
    call(anna, "link.policy", folder="Notes", who="members")
    assert is_dead(person), "what has ended does not come back"
    assert call(anna, "link.show", id=person.id)["state"] == "ended"
    assert opened(anna, "x").take() == 303
    call(anna, "link.policy", folder="Notes", longest_s=3600)
    assert anna.run("link", "create", str(anna.folder / "x"), "--expires", "2h").returncode == 2
    assert create(anna, "x", expires_s=3600)["state"] == "open"
    call(anna, "link.policy", folder="Notes", longest_s=30 * 86_400)


@pytest.mark.slowest
def test_listener_is_there_as_long_as_a_link_lives_and_comes_back_with_the_daemon(anna: Computer) -> None:
    for who in ("off", "members"):
        call(anna, "link.policy", folder="Notes", who=who)
    assert call(anna, "links")["listen"] == []
    made = create(anna, "x", password=PASSWORD)
    host, _, port = made["listen"][0].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=WAIT_S):
        pass
    anna.stop()
    anna.start()
    wait_until(lambda: call(anna, "links")["listen"] != [], WAIT_S, "it does not listen again")
    address = call(anna, "links")["addresses"][0]
    person = Recipient(f"{address}{made['url'][made['url'].index('/l/') :]}")
    wait_until(lambda: person.prove(PASSWORD) == 303, WAIT_S, "the link does not open after a restart")
    assert call(anna, "links")["fingerprint"] == made["fingerprint"], "the certificate stays"
    call(anna, "link.revoke", id=made["id"])
    again = call(anna, "links")
    assert again["listen"] == []
    with pytest.raises(OSError):
        socket.create_connection((host, int(address.rpartition(":")[2])), timeout=WAIT_S)


def test_only_tls_from_1_2_with_forward_secrecy(anna: Computer) -> None:
    made = create(anna, "x")
    host, _, port = made["listen"][0].rpartition(":")

    def shake(context: ssl.SSLContext) -> str:
        plain = socket.create_connection((host, int(port)), timeout=WAIT_S)
        with plain, context.wrap_socket(plain) as secured:
            assert secured.session is None or not secured.session.has_ticket
            return str(secured.version()) + " " + str(secured.cipher()[0])  # type: ignore[index]

    assert shake(unverified()).startswith("TLSv1.3")
    older = unverified()
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    assert shake(older).startswith("TLSv1.2 ECDHE-")
    for worse in (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1):
        context = unverified()
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning):
            context.minimum_version = context.maximum_version = worse
        with pytest.raises((ssl.SSLError, ConnectionError)):
            shake(context)
    no_secrecy = unverified()
    no_secrecy.maximum_version = ssl.TLSVersion.TLSv1_2
    no_secrecy.set_ciphers("AES256-GCM-SHA384")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        shake(no_secrecy)
    with socket.create_connection((host, int(port)), timeout=WAIT_S) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        with contextlib.suppress(ConnectionError):
            answer = plain.recv(100)
        assert not answer.startswith(b"HTTP"), "nothing is said in the clear"


@pytest.mark.slowest
def test_whoever_asks_without_a_pause_waits_and_others_are_answered(anna: Computer) -> None:
    """Two hundred requests in one go: they are answered at our pace, and nobody else waits for that."""
    made = create(anna, "x")
    hasty = Recipient(made["url"])
    host, _, port = hasty.address.rpartition(":")
    number = 200
    plain = socket.create_connection((host, int(port)), timeout=WAIT_S, source_address=(hasty.host, 0))
    answers = b""
    began = time.monotonic()
    with plain, unverified().wrap_socket(plain) as secured:
        secured.sendall(f"HEAD {hasty.path} HTTP/1.1\r\nHost: {hasty.address}\r\n\r\n".encode() * number)
        assert Recipient(made["url"]).prove() == 303
        while answers.count(b"HTTP/1.1 200") < number:
            more = secured.recv(65_536)
            assert more, answers[-200:]
            answers += more
    least_s = number / linkseats.PER_ADDRESS_S - linkseats.BURST_S
    assert time.monotonic() - began > least_s - 0.1


@pytest.mark.slowest
def test_strangers_who_sit_on_the_line_keep_nobody_out(anna: Computer) -> None:
    """Four addresses take every place they can get, as nothing has to be proved for that."""
    made = create(anna, "x")
    running = opened(anna, "big")
    assert running.take() == 303
    download = running.connect()
    download.request("GET", running.path + "/get", headers={"Cookie": running.cookie})
    coming = download.getresponse()
    assert len(coming.read(1000)) == 1000
    hosts = [Recipient(made["url"]).host for _ in range(4)]
    sitting = []
    for number in range(128):
        stranger = Recipient(made["url"], host=hosts[number % 4]).connect()
        stranger.request("GET", "/l/" + "0" * 32)
        assert stranger.getresponse().read()
        sitting.append(stranger)
    person = Recipient(made["url"])
    assert person.prove() == 303 and person.take() == 303
    assert person.download().body == FILES[b"x"]
    assert len(coming.read()) == BIG - 1000, "nor is a download cut for them"
    for connection in (*sitting, download):
        connection.close()


@pytest.mark.slowest
def test_one_address_takes_not_all_the_downloads(anna: Computer) -> None:
    made = create(anna, "big")
    greedy, person = Recipient(made["url"]), Recipient(made["url"])
    assert (greedy.prove(), greedy.take(), person.prove(), person.take()) == (303,) * 4
    slow = []
    for _ in range(linkpages.MAX_OF_ADDRESS):
        connection = greedy.connect()
        connection.request("GET", greedy.path + "/get", headers={"Cookie": greedy.cookie})
        assert connection.getresponse().read(1000)
        slow.append(connection)
    assert greedy.download().status == 503
    assert len(person.download().body) == BIG
    for connection in slow:
        connection.close()
    wait_until(lambda: greedy.download(Range="bytes=0-9").status == 206, WAIT_S, "its places do not come back")


def test_answers_without_a_configured_certificate_pin_no_browser_to_it(anna: Computer) -> None:
    assert "strict-transport-security" not in opened(anna, "x").ask("GET").fields


@pytest.mark.slowest
def test_w3_link_ends_with_the_membership_of_who_made_it(tmp_path: Path) -> None:
    """Ben, an editor who was given the right, made one; anna suspends him while somebody downloads. With the configured
    certificate browsers are told to come by HTTPS only."""
    with sharing_computers(
        ("anna", "ben"), tmp_path, "Notes", write=lambda folder: (folder / "big").write_bytes(os.urandom(BIG))
    ) as (anna, ben):
        refused = ben.run("link", "create", str(ben.folder / "big"))
        assert refused.returncode == 6 and "SY-LINK-02" in refused.stderr
        anna.ask("member", "role", "Notes", "ben", "editor", "--can", "links", "--yes")
        (ben.home / "keys" / "own.pem").write_bytes(made_certificate(ben).read_bytes())
        with (ben.home / "config.toml").open("a") as config:
            pem = ben.home / "keys" / "own.pem"
            config.write(f'[links]\nlisten = "127.0.0.1:0"\ncertificate = "{pem}"\nkey = "{pem}"\n')
        ben.stop()
        ben.start()
        wait_until(lambda: call(ben, "link.policy", folder="Notes")["you_may"], WAIT_S, "the right does not arrive")
        ben.wait_synced(60)
        person = opened(ben, "big")
        assert "max-age" in person.ask("GET").fields["strict-transport-security"]
        assert person.take() == 303
        connection = person.connect()
        connection.request("GET", person.path + "/get", headers={"Cookie": person.cookie})
        running = connection.getresponse()
        assert len(running.read(1000)) == 1000
        anna.ask("member", "suspend", "Notes", "ben", "--yes")
        wait_until(lambda: call(ben, "link.show", id=person.id)["state"] == "ended", WAIT_S, "ben's link lives on")
        with pytest.raises((http.client.IncompleteRead, ConnectionError, ssl.SSLError)):
            running.read()
        connection.close()
        assert is_dead(person)
        anna.ask("member", "reactivate", "Notes", "ben", "--yes")
        wait_until(lambda: call(ben, "link.policy", folder="Notes")["you_may"], WAIT_S, "ben does not come back")
        assert is_dead(person)
        shown = call(ben, "link.show", id=person.id)
        assert (shown["state"], "member" in shown["why"] or "may not" in shown["why"]) == ("ended", True)
        ben.stop()
        ben.start()
        assert call(ben, "link.show", id=person.id)["state"] == "ended", "on disk as well"
        assert "link.end" in told(ben, person)


def made_certificate(ben: Computer) -> Path:
    """A certificate with its key, made by syncd for something else."""
    place = ben.place / "made"
    (place / "keys").mkdir(parents=True, mode=0o700)
    linkcert.open_certificate(place, None, ["localhost"], time.time(), os.urandom)
    return place / "keys" / LINKS_FILE


def test_w6_ten_wrong_passwords_a_minute_and_an_alarm(anna: Computer) -> None:
    made = create(anna, "x", password=PASSWORD)
    watch = Stopwatch()
    with ThreadPoolExecutor(8) as pool:
        statuses = list(
            pool.map(lambda _: Recipient(made["url"]).prove("not this one"), range(60))
        )  # from 60 addresses
    assert watch.seconds() < 60
    assert statuses.count(403) <= 10 and statuses.count(429) >= 50
    assert Recipient(made["url"]).prove(PASSWORD) == 429, "nor is the right one looked at"
    assert "link.guessed" in told(anna, Recipient(made["url"]))
    assert any(one["event"] == "link" for one in call(anna, "security", last=100)["refusals"])
