"""Blocking. What is fuzzed: every function through which bytes from outside come in, and what it may raise.

The promise of each: a value, or the declared error, and nothing else. `run` keeps it, or raises what was not declared.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ca import backup, codec, recovery
from ca.addresses import maybe_refusal, parse_network, rules_untrusted
from ca.certs import device_tls_key_untrusted, folder_point_untrusted
from ca.device import parse_device_text
from ca.entries import decode_entry_untrusted
from ca.errors import ConfigError, RemoteProtocolError, SyncdError, TrustError
from ca.roster import Roster
from ca.wraps import payload_untrusted, wrap_proof_untrusted
from syncd.config import parse_settings
from syncd.daemon.devicedb import DeviceDb, own_wrap_untrusted
from syncd.daemon.joinrequests import unpack_untrusted as unpack_request_untrusted
from syncd.daemon.securitylog import _maybe_burst
from syncd.engine import sharelinks
from syncd.engine.invites import unpack_untrusted as unpack_invite_untrusted
from syncd.model import changesets, heads, lists, paths, records
from syncd.model.ignores import parse_ignores
from syncd.net.sockets import split_address
from syncd.protocol import announcements, links, messages, possession
from syncd.protocol.frames import FrameReader
from syncd.protocol.heads import Head, check_request_head_untrusted, check_response_head_untrusted
from syncd.protocol.invitation import decode_body_untrusted
from syncd.protocol.inviter import InviterSession
from syncd.protocol.joiner import JoinerSession
from syncd.protocol.pairing import Channel
from syncd.protocol.refusals import printable
from syncd.protocol.requests import request_untrusted
from syncd.protocol.tls import certificate_key_untrusted
from syncd.web import linkgate
from syncd.web.methods import METHODS, parse_params_untrusted
from tests.helpers.rosters import keys_of

LABEL: Final = "f01e01"
MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Target:
    """One way in. `declared`: all that it may raise."""

    name: str
    read: Callable[[bytes], object]
    declared: tuple[type[BaseException], ...] = (RemoteProtocolError,)

    def run(self, data: bytes) -> bool:
        """Whether it was understood. Raises whatever was not declared."""
        try:
            self.read(data)
        except self.declared:
            return False
        return True


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _decoded(data: bytes) -> Any:
    return codec.decode_untrusted(data, max_bytes=MAX_BYTES)


def _codec(data: bytes) -> None:
    assert codec.encode(_decoded(data)) == data


def _request(data: bytes) -> None:
    check_request_head_untrusted(data)
    line, *rest = data[:-4].split(b"\r\n")
    method, target, _ = line.split(b" ")
    fields = tuple((name.lower(), value.strip()) for name, _, value in (one.partition(b":") for one in rest))
    request_untrusted(Head(method, target, fields), LABEL)


def _frames(data: bytes) -> None:
    reader = FrameReader([64, 1024, 8])
    for start in range(0, len(data), 7):
        reader.feed_untrusted(data[start : start + 7])
    reader.end_untrusted()


def _txt(data: bytes) -> None:
    properties = {one.partition(b"=")[0]: one.partition(b"=")[2] for one in data.split(b"\0")}
    announcements.decode_txt_untrusted(properties)


def _found(data: bytes) -> None:
    hosts = _text(data).split(",")
    announcements.maybe_instance(hosts[0])
    assert len(announcements.addresses_untrusted(hosts, len(data))) <= announcements.MAX_ADDRESSES


def _config(data: bytes) -> None:
    parse_settings(data.decode(), file=Path("x"), home=Path("/h"), socket=Path("/s"))


def _inviter(data: bytes) -> None:
    channel = Channel(b"j" * 32, b"i" * 32)
    session = InviterSession.for_link(_keys("ann"), b"s" * 16, channel)
    session.receive_untrusted(data)


def _joiner(data: bytes) -> None:
    link = links.Link(b"s" * 16, b"f" * links.FINGERPRINT_BYTES, 1 << 31, ())
    session = JoinerSession.for_link(_keys("bob"), link, Channel(b"j" * 32, b"i" * 32), host="host", system="system")
    session.receive_untrusted(data)


@functools.cache
def _keys(name: str) -> Any:
    return keys_of(name)


def _database(data: bytes) -> None:
    """In memory, where SQLite has no log beside the file; a new one begins where the damaged one is moved aside."""
    held = [_sound_database(), data[:18] + data[18:20].replace(b"\2", b"\1") + data[20:]]
    database = DeviceDb.open(lambda: _in_memory(held[-1]), lambda: f"aside {len(held.pop())}")
    try:
        database.folders()
        database.requests()
    finally:
        database.close()
        for copy in Path().glob("x.before-*"):  # so SQLite calls what is in memory, and migrating keeps a copy of it
            copy.unlink()


def _in_memory(data: bytes) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    if data:
        connection.deserialize(data)
    return connection


@functools.cache
def _sound_database() -> bytes:
    connection = _in_memory(b"")
    DeviceDb.open(lambda: connection, lambda: "")
    return bytes(connection.serialize())


def _parameters(data: bytes) -> None:
    for name in METHODS:
        parse_params_untrusted(name, data)


def _link_request(data: bytes) -> None:
    """A head from outside: whatever is asked, no name in it leads out of a directory, and no range out of a file."""
    check_request_head_untrusted(data)
    line, *fields = data.split(b"\r\n")[:-2]
    method, target, _ = line.split(b" ")
    pairs = (field.partition(b":") for field in fields)
    head = Head(method, target, tuple((name.lower(), value.strip()) for name, _, value in pairs))
    asked = linkgate.asked_untrusted(head)
    if isinstance(asked, linkgate.Asked):
        assert not any(name in (b"", b".", b"..") or b"/" in name for name in asked.path)
        for name in asked.path:
            assert "\r" not in linkgate.disposition(name.decode("utf-8", "surrogateescape"))[1]
    linkgate.cookie_untrusted(head)
    part = linkgate.part_untrusted(head, 1000, "tag")
    assert part.start + part.length <= 1000 or not part.length


def _link_form(data: bytes) -> None:
    form = linkgate.fields_untrusted(data)
    wanted = linkgate.wanted_untrusted(form)
    assert wanted is None or not any(name in (b"", b".", b"..") or b"/" in name for name in wanted[1])
    sharelinks.password_trouble(form.get("password", ""))
    assert not sharelinks.shows_secret(None, form.get("secret", ""))


def _rule(data: bytes) -> None:
    rules = rules_untrusted(_decoded(data))
    maybe_refusal(rules, "10.1.2.3")
    maybe_refusal(rules, "::1")


def _printable(data: bytes) -> None:
    assert printable(_text(data)).isprintable()


def _name(data: bytes) -> None:
    paths.validate_name_untrusted(data)
    assert paths.show(data).isprintable()


TARGETS: Final[dict[str, Target]] = {
    target.name: target
    for target in (
        Target("codec", _codec),
        Target("entry", decode_entry_untrusted),
        Target("roster", Roster.from_file_untrusted, (RemoteProtocolError, TrustError)),
        Target("wrap-payload", payload_untrusted, (RemoteProtocolError, TrustError)),
        Target("wrap-proof", lambda data: wrap_proof_untrusted(_decoded(data))),
        Target("own-wrap", own_wrap_untrusted),
        Target("folder-certificate", lambda data: folder_point_untrusted(data, 1_800_000_000)),
        Target("device-certificate", device_tls_key_untrusted),
        Target("certificate-key", certificate_key_untrusted),
        Target("address-rules", _rule),
        Target("network", lambda data: parse_network(_text(data)), (ConfigError,)),
        Target("device-id", lambda data: parse_device_text(_text(data)), (ConfigError,)),
        Target("changeset", changesets.decode_untrusted),
        Target("changeset-body", changesets._inflate_untrusted),
        Target("head", heads.decode_head_untrusted),
        Target("record", lambda data: records.record_untrusted(_decoded(data))),
        Target("list", lists.parse_list_untrusted),
        Target("list-of-lists", lambda data: lists.join_parts_untrusted([data[:760], data[760:]], 99, b"d" * 32)),
        Target("name", _name),
        Target("ignores", parse_ignores, (SyncdError,)),
        Target("request", _request),
        Target("response", check_response_head_untrusted),
        Target("hello", messages.Hello.decode_untrusted),
        Target("heads-page", messages.HeadsPage.decode_untrusted),
        Target("have", messages.HaveRequest.decode_untrusted),
        Target("bitmap", lambda data: messages.Bitmap.decode_untrusted(data, len(data))),
        Target("prove", possession.ProveRequest.decode_untrusted),
        Target("proofs", lambda data: possession.ProveAnswer.decode_untrusted(data, len(data) % 5)),
        Target("blocks", messages.BlocksRequest.decode_untrusted),
        Target("needs", messages.Needs.decode_untrusted),
        Target("roster-page", messages.RosterPage.decode_untrusted),
        Target("submit", messages.RosterSubmit.decode_untrusted),
        Target("frames", _frames),
        Target("txt", _txt),
        Target("announced-addresses", _found),
        Target("pairing-body", lambda data: decode_body_untrusted(data, 1 << 15)),
        Target("inviter", _inviter),
        Target("joiner", _joiner),
        Target("code", lambda data: links.parse_code_untrusted(_text(data))),
        Target("link", lambda data: links.parse_link_untrusted(_text(data))),
        Target("invitation-on-disk", unpack_invite_untrusted),
        Target("share-link-request", _link_request),
        Target("share-link-form", _link_form),
        Target("share-link-on-disk", sharelinks.unpack_untrusted),
        Target("request-on-disk", lambda data: unpack_request_untrusted("id", data)),
        Target("device-backup", backup.wants_recovery_key, (ConfigError,)),
        Target("device-backup-content", backup.Backup.decode_untrusted),
        Target("recovery-words", lambda data: recovery.parse(_text(data)), (ConfigError,)),
        Target("config", _config, (ConfigError, UnicodeDecodeError)),
        Target("address", lambda data: split_address(_text(data)), (ValueError,)),
        Target("parameters", _parameters),
        Target("security-log", lambda data: _maybe_burst(data.decode("ascii", "replace"))),
        Target("printable", _printable),
        Target("database", _database, (SyncdError,)),
    )
}
