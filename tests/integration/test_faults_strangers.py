"""Wrong codes, old links, and bytes that no correct syncd sends: refused in words, and everything else goes on."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.helpers.computers import Computer, Stolen, computers, free_ports, steal_certificate
from tests.helpers.faults import (
    demand_others_go_on,
    demand_quiet_log,
    invitation,
    leave,
    look,
    problems,
    refusal,
    share_another,
    wait_for,
)

REPLY_S = 5.0


@pytest.fixture(scope="module")
def carla(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Computer]:
    """Somebody who would like to join."""
    with computers(("carla",), tmp_path_factory.mktemp("carla"), "common") as (carla,):
        carla.start()
        yield carla
        demand_quiet_log(carla)


def invite(anna: Computer, *options: str) -> dict[str, object]:
    return anna.ask("share", str(anna.folder), "--role", "editor", "--no-wait", *options)


def try_to_join(carla: Computer, anna: Computer, invitation: str) -> tuple[str, int]:
    target = str(carla.place / "target")
    found = refusal(carla, "join", invitation, target, "--via", f"127.0.0.1:{anna.port}", "--yes", "--no-wait")
    assert not (carla.place / "target").exists()
    assert look(carla, "folders")["folders"] == []
    return found.id, found.exit


def test_wrong_words_are_refused_and_burn_the_code(two: tuple[Computer, Computer], carla: Computer) -> None:
    anna = two[0]
    code = str(invite(anna)["code"])
    number, *words = code.split("-")
    wrong = "-".join((number, words[1], words[0], words[2] if words[0] != words[1] else words[1]))
    for _ in range(3):
        assert try_to_join(carla, anna, wrong) == ("SY-PAIR-03", 9)
    assert try_to_join(carla, anna, code) in {("SY-PAIR-07", 9), ("SY-PAIR-10", 9)}
    assert not any(one["code"] == code for one in look(anna, "invites")["invites"])


def test_used_link(two: tuple[Computer, Computer], carla: Computer) -> None:
    anna, ben = two
    shared = share_another(anna, ben, "used")
    link = invitation(anna, shared.here)
    carla.ask("join", link, str(carla.place / "used"), "--yes", "--no-wait")
    leave(carla, "used")
    assert try_to_join(carla, anna, link) == ("SY-PAIR-10", 9)


def test_expired_link(two: tuple[Computer, Computer], carla: Computer) -> None:
    anna = two[0]
    link = str(invite(anna, "--link", "--yes", "--expires", "1s")["link"])
    wait_for(lambda: not look(anna, "invites")["invites"], 10, "the link does not end")
    assert try_to_join(carla, anna, link) == ("SY-PAIR-04", 9)


def test_revoked_link(two: tuple[Computer, Computer], carla: Computer) -> None:
    anna = two[0]
    link = str(invite(anna, "--link", "--yes")["link"])
    for one in look(anna, "invites")["invites"]:
        look(anna, "invite.revoke", invite=one["id"])
    assert try_to_join(carla, anna, link) == ("SY-PAIR-10", 9)


@pytest.mark.parametrize("text", ["7-guitar", "hello", "syncd:AAAA", "7-guitar-uncle-merit-merit", "0-a-b-c"])
def test_text_that_is_no_invitation(two: tuple[Computer, Computer], carla: Computer, text: str) -> None:
    assert try_to_join(carla, two[0], text) == ("SY-PAIR-02", 2)


def test_nobody_there(carla: Computer) -> None:
    (port,) = free_ports(1)
    found = refusal(
        carla, "join", "7-guitar-uncle-merit", str(carla.place / "x"), "--via", f"127.0.0.1:{port}", "--yes"
    )
    assert (found.id, found.exit) in {("SY-PAIR-01", 10), ("SY-PAIR-08", 10)}


# --- bytes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attack:
    """What a member, or a stranger, sends."""

    name: str
    head: bytes
    body: bytes = b""


GARBAGE = os.urandom(4096)
MEMBER_ATTACKS = [
    Attack("nothing-http", b"\x00\x01\x02 what is this\r\n\r\n"),
    Attack("hello-garbage", b"POST /v1/hello HTTP/1.1\r\nHost: {label}\r\nContent-Length: 4096\r\n\r\n", GARBAGE),
    Attack("hello-truncated", b"POST /v1/hello HTTP/1.1\r\nHost: {label}\r\nContent-Length: 4096\r\n\r\n", GARBAGE[:9]),
    Attack("hello-huge", b"POST /v1/hello HTTP/1.1\r\nHost: {label}\r\nContent-Length: 99999999999\r\n\r\n"),
    Attack("hello-nested", b"POST /v1/hello HTTP/1.1\r\nHost: {label}\r\nContent-Length: 4000\r\n\r\n", b"\x81" * 4000),
    Attack(
        "two-lengths", b"POST /v1/hello HTTP/1.1\r\nHost: {label}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"
    ),
    Attack(
        "chunked-too",
        b"POST /v1/have HTTP/1.1\r\nHost: {label}\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    Attack(
        "have-without-hello", b"POST /v1/have HTTP/1.1\r\nHost: {label}\r\nContent-Length: 32\r\n\r\n", GARBAGE[:32]
    ),
    Attack("heads-without-hello", b"GET /v1/heads/0 HTTP/1.1\r\nHost: {label}\r\n\r\n"),
    Attack("unknown-path", b"GET /../../etc/passwd HTTP/1.1\r\nHost: {label}\r\n\r\n"),
    Attack("wrong-host", b"GET /v1/heads/0 HTTP/1.1\r\nHost: attacker.example\r\n\r\n"),
    Attack("long-line", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: {label}\r\n\r\n"),
    Attack("old-http", b"GET /v1/heads/0 HTTP/1.0\r\n\r\n"),
]


@pytest.fixture(scope="module")
def stolen(two: tuple[Computer, Computer]) -> Stolen:
    return steal_certificate(two[0], "common")


@pytest.mark.parametrize("attack", MEMBER_ATTACKS, ids=lambda attack: attack.name)
def test_hostile_request_with_a_members_certificate(
    two: tuple[Computer, Computer], stolen: Stolen, attack: Attack
) -> None:
    """Whatever comes, the answer is an HTTP error or the end of the connection, and never repeats the input."""
    answer = send(two[0].port, stolen, attack)
    status = answer.split(b" ", 2)[1] if answer else b""
    assert status == b"" or status[:1] == b"4" or status == b"505", answer[:200]
    assert b"Traceback" not in answer
    assert b"passwd" not in answer


def send(port: int, stolen: Stolen, attack: Attack) -> bytes:
    """All that the daemon answers until it closes; nothing if it just closes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(stolen.certificate, stolen.key)
    answer = b""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=REPLY_S) as raw,
            context.wrap_socket(raw, server_hostname=stolen.label) as stream,
        ):
            stream.sendall(attack.head.replace(b"{label}", stolen.label.encode()) + attack.body)
            raw.shutdown(socket.SHUT_WR)
            while piece := stream.recv(65536):
                answer += piece
    except OSError:
        return answer
    return answer


def test_garbage_instead_of_a_handshake(two: tuple[Computer, Computer]) -> None:
    hellos = (GARBAGE, b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x16\x03\x01\xff\xff" + GARBAGE, b"")
    for hello in hellos * 4:
        with socket.create_connection(("127.0.0.1", two[0].port), timeout=REPLY_S) as raw:
            try:
                raw.sendall(hello)
                raw.shutdown(socket.SHUT_WR)
                assert b"HTTP" not in raw.recv(4096)
            except OSError:  # cut at once, which is as good
                continue


def test_after_all_that_everything_goes_on(two: tuple[Computer, Computer]) -> None:
    demand_others_go_on(*two)
    assert not problems(two[0])
