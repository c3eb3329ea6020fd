"""Blocking. Writes tests/fuzz/corpus anew: a few good inputs for each target, from the vectors and from what we encode.

`python -m tests.fuzz.seeds`. The corpus is in the repository, so that every fuzzer starts behind the first check.
"""

from __future__ import annotations

import json
import tempfile
import zlib
from pathlib import Path
from typing import Any

from ca import recovery
from ca.addresses import AddressRule, parse_network, sorted_rules
from ca.authority import HPKE
from ca.backup import Backup, seal_to_recovery
from ca.certs import device_certificate
from ca.codec import decode_untrusted, encode
from ca.device import device_text
from ca.ids import DeviceId, FolderId
from ca.roles import Role
from syncd.daemon.devicedb import DeviceDb
from syncd.engine import sharelinks
from syncd.engine.sharelinks import ShareLink
from syncd.model.ids import NodeId
from syncd.protocol.announcements import encode_txt
from syncd.protocol.links import Code, Link, format_link
from syncd.seams import Announcement
from tests.fuzz.run import CORPUS
from tests.fuzz.targets import LABEL, TARGETS
from tests.helpers.authors import Author, directory
from tests.helpers.rosters import Company, keys_of, seeded

VECTORS = CORPUS.parents[1] / "vectors"
MOST = 6
_BACKUP = Backup(DeviceId(b"d" * 32), 1_700_000_000_000, (("device.key", b"k"), ("device.db", b"d")))
_SHARE_LINK = ShareLink(
    b"i" * 16, FolderId(b"f" * 32), NodeId(b"n" * 32), "x", False, 1, 9, b"v" * 32, b"s" * 16, True, b"p" * 32, 3, 1, 2
)
MAX_SEED_BYTES = 20_000


def _cases(file: str) -> list[dict[str, Any]]:
    return list(json.loads((VECTORS / file).read_text())["cases"])


def _messages(kind: str) -> list[bytes]:
    inputs = [case["input"] for case in _cases("protocol/messages.json")]
    return [bytes.fromhex(one["encoded"]) for one in inputs if one["message"] == kind]


def made() -> dict[str, list[bytes]]:
    """Good inputs by target."""
    company = Company()
    company.admit("bob", Role.EDITOR)
    company.remove("bob")
    arrived = [Author("ann").publish(directory(number)) for number in (1, 2)]
    changesets = [bytes.fromhex(case["encoded"]) for case in _cases("model/changesets.json")]
    rules = sorted_rules([AddressRule(True, parse_network("10.0.0.0/8")), AddressRule(False, parse_network("::1"))])
    link = Link(b"s" * 16, b"f" * 16, 1 << 31, ("192.168.1.2:22067",))
    txt = encode_txt(Announcement(1, (b"k" * 32,), (7, 9)), b"i" * 16, seeded("txt"))
    request = f"GET /v1/blocks/{'0a' * 32} HTTP/1.1\r\nHost: {LABEL}\r\n\r\n".encode()
    return {
        "codec": [bytes.fromhex(case["input"]["encoded"]) for case in _cases("ca/codec.json")[:MOST]],
        "entry": company.raws,
        "roster": [company.roster.export()],
        "folder-certificate": [entry.epoch.member_certificate for entry in company.roster.entries if entry.epoch],
        "device-certificate": [device_certificate(keys_of("ann"))],
        "certificate-key": [device_certificate(keys_of("ann"))],
        "address-rules": [encode([rule.encodable() for rule in rules])],
        "network": [b"10.0.0.0/8", b"2001:db8::/32"],
        "device-id": [device_text(keys_of("ann").id).encode()],
        "changeset": changesets,
        "changeset-body": [zlib.compress(one, 1) for one in changesets[:2]],
        "head": [bytes.fromhex(json.loads((VECTORS / "model/heads.json").read_text())["cases"][0]["encoded"])],
        "record": [encode(_record(one)) for one in changesets[:2]],
        "list": [bytes(75 * 4), b""],
        "name": [b"report.pdf", "bär".encode(), b".syncd", b"\xff\xfe"],
        "ignores": [b"*.tmp\n!keep.tmp\n/build/\n"],
        "request": [request, request.replace(b"GET", b"POST")],
        "response": [b"HTTP/1.1 200 \r\ncontent-length: 5\r\n\r\n"],
        "hello": _messages("hello"),
        "heads-page": _messages("heads page"),
        "device-backup": [seal_to_recovery(_BACKUP, recovery.generate(seeded("backup")).public, HPKE)],
        "device-backup-content": [_BACKUP.encode()],
        "have": _messages("have"),
        "prove": _messages("prove"),
        "proofs": _messages("proofs of 3"),
        "bitmap": _messages("bitmap"),
        "blocks": _messages("blocks"),
        "needs": _messages("needs"),
        "roster-page": _messages("roster page"),
        "submit": _messages("submit"),
        "frames": [bytes.fromhex(case["input"]["stream"]) for case in _cases("protocol/frames.json")[:MOST]],
        "txt": [b"\0".join(f"{key}=".encode() + value for key, value in txt.items())],
        "announced-addresses": [b"192.168.1.2,fe80::1%eth0,10.0.0.1"],
        "code": [_spoken(Code(7, ("acorn", "acorn", "acorn")))],
        "link": [format_link(link).encode()],
        "share-link-request": [
            f"GET /l/{'0a' * 16}/get/sub/a%20b?after=x HTTP/1.1\r\nhost: h:1\r\ncookie: __Secure-link={'5f' * 32}\r\n"
            'range: bytes=5-9\r\nif-range: "tag"\r\n\r\n'.encode(),
            f"POST /l/{'0a' * 16} HTTP/1.1\r\nhost: h:1\r\norigin: https://h:1\r\n"
            "content-type: application/x-www-form-urlencoded\r\n\r\n".encode(),
        ],
        "share-link-form": [b"what=get&path=sub/a%2520b", b"secret=" + b"A" * 43 + b"&password=correct%20horse"],
        "share-link-on-disk": [sharelinks.pack(_SHARE_LINK)],
        "recovery-words": [b"acorn " * 33],
        "config": [b'[network]\nlisten = ["127.0.0.1:1"]\nallow = ["10.0.0.0/8"]\n[log]\nlevel = "info"\n'],
        "address": [b"127.0.0.1:22067", b"[::1]:5"],
        "parameters": [b"{}", b'{"folder": "x", "cwd": null}'],
        "security-log": [b'{"number":0,"event":"label","host":"h","why":"w","began":1.0,"last":2.0,"count":3}'],
        "printable": [b"a name\n\x1b[31m"],
        "database": [_database()],
        "wrap-proof": [encode([0, 3, [b"h" * 32]])],
        "pairing-body": [arrived[0].body or b""],
    }


def _record(changeset: bytes) -> Any:
    value: Any = decode_untrusted(changeset, max_bytes=1 << 20)
    return value[-1][0] if isinstance(value[-1], list) and value[-1] else []


def _spoken(code: Code) -> bytes:
    return "-".join([str(code.number), *code.words]).encode()


def _database() -> bytes:
    with tempfile.TemporaryDirectory() as place:
        DeviceDb.open_in(Path(place)).close()
        return (Path(place) / "device.db").read_bytes()


def main() -> None:
    found = made()
    assert not set(found) - set(TARGETS)
    for name, inputs in found.items():
        place = CORPUS / name
        place.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(inputs[:MOST]):
            if len(data) <= MAX_SEED_BYTES or name == "database":
                (place / str(number)).write_bytes(data)


if __name__ == "__main__":
    main()
