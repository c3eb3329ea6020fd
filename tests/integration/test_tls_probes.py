"""More than sixty handshakes that must fail, each with two TLS libraries, each beside its partner that works.

A probe is refused when not one byte of HTTP comes back. On labels of control and pairing, where certificates that
nobody knows belong, a probe is refused when it gets nothing of a folder.
"""

from __future__ import annotations

import contextlib
import datetime
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ca.certs import throwaway_certificate
from syncd.protocol import tls
from tests.helpers.folders import NOW, Folder, Identity, make_device_identity, make_folder, make_identity
from tests.helpers.listener import CIPHERTEXT, listening
from tests.helpers.probes import STACKS, Answer, Attempt
from tests.helpers.rosters import seeded

FOLDER = make_folder(1)
OTHER = make_folder(2)
EARLIER = make_folder(1, epoch=9)
VAULT = make_folder(3)
"""The vault certificate of FOLDER's epoch."""
DEVICE = make_device_identity()

MEMBER_LABEL, VAULT_LABEL, CONTROL_LABEL, PAIRING_LABEL = FOLDER.label, "vault1", "control1", "pair-7"


def table() -> tls.LabelTable:
    made = tls.LabelTable()
    FOLDER.serve(made)
    OTHER.serve(made)
    made.add_vault(VAULT_LABEL, FOLDER.folder_id, FOLDER.epoch_id, VAULT.identity.certificate, VAULT.identity.key)
    made.add_control(CONTROL_LABEL, FOLDER.folder_id, DEVICE.certificate, DEVICE.key)
    made.add_pairing(PAIRING_LABEL, partial(throwaway_certificate, seeded("inviter")))
    return made


MEMBER = Attempt(FOLDER.identity, MEMBER_LABEL, host=MEMBER_LABEL)
"""The partner of all probes."""


def twin(folder: Folder, **changes: Any) -> Identity:
    """Another certificate for the folder's key."""
    return make_identity(folder.identity.key, **changes)


def rsa_identity(bits: int) -> Identity:
    key = rsa.generate_private_key(65_537, bits)
    return Identity(_self_signed(key), key)  # type: ignore[arg-type]  # no key of ours is RSA


def _self_signed(key: Any, extensions: int = 0) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "syncd")])
    moment = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(moment).not_valid_after(moment + datetime.timedelta(days=9))
    for number in range(extensions):
        oid = x509.ObjectIdentifier(f"1.3.6.1.4.1.55555.{number + 1}")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, b"\x05\x00"), critical=number == 0)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


AUTHORITY = make_folder(4, identity=make_identity(is_authority=True))
"""What a folder's certificate must not be."""

IDENTITIES: dict[str, Identity | None] = {
    "no certificate": None,
    "another folder's": OTHER.identity,
    "the epoch's before": EARLIER.identity,
    "same name, another key": make_identity(),
    "same key, another serial": twin(FOLDER),
    "same key, another name": twin(FOLDER, name="SYNCD"),
    "same key, an authority": twin(FOLDER, is_authority=True),
    "same key, expired": twin(FOLDER, not_after=NOW - 1),
    "same key, not yet valid": twin(FOLDER, not_before=NOW + 86_400),
    "same key, valid for ever": twin(FOLDER, not_after=NOW + 10_000 * 86_400),
    "child of the folder's": make_identity(issuer=FOLDER.identity),
    "child of another folder's": make_identity(issuer=OTHER.identity),
    "child of an authority": make_identity(issuer=AUTHORITY.identity),
    "same key, signed by another": make_identity(FOLDER.identity.key, issuer=OTHER.identity),
    "device's": make_device_identity(),
    "this device's own": DEVICE,
    "RSA 1024": rsa_identity(1024),
    "RSA 2048": rsa_identity(2048),
    "P-384": make_identity(ec.generate_private_key(ec.SECP384R1())),
    "P-521": make_identity(ec.generate_private_key(ec.SECP521R1())),
    "secp256k1": make_identity(ec.generate_private_key(ec.SECP256K1())),
    "10 extensions, one critical and unknown": Identity(
        _self_signed(FOLDER.identity.key, extensions=10), FOLDER.identity.key
    ),
    "10,000 extensions": Identity(_self_signed(FOLDER.identity.key, extensions=1000), FOLDER.identity.key),
}

NAMES = {
    "no name": None,
    "unknown name": "f99e99",
    "another folder's name": OTHER.label,
    "the epoch's name before": EARLIER.label,
    "upper case": MEMBER_LABEL.upper(),
    "trailing dot": MEMBER_LABEL + ".",
    "longer": MEMBER_LABEL + "0",
    "shorter": MEMBER_LABEL[:-1],
    "below": "a." + MEMBER_LABEL,
    "star": "*",
    "IPv4": "127.0.0.1",
    "IPv6": "::1",
    "255 bytes": "a" * 255,
    "NUL behind": MEMBER_LABEL + "\0",
    "NUL and more": MEMBER_LABEL + "\0.example.org",
    "beyond ASCII": "ä" * 10,
    "control bytes": "\r\n\x1b[31m",
    "localhost": "localhost",
}

SHAPES: dict[str, Attempt] = {
    "SSL 3.0": replace(MEMBER, versions=(0, 0)),
    "TLS 1.0": replace(MEMBER, versions=(1, 1)),
    "TLS 1.1": replace(MEMBER, versions=(2, 2)),
    "TLS 1.2": replace(MEMBER, versions=(3, 3)),
    "TLS 1.0 to 1.2": replace(MEMBER, versions=(1, 3)),
    "AES-128-GCM only": replace(MEMBER, suite="TLS_AES_128_GCM_SHA256"),
    "AES-128-CCM only": replace(MEMBER, suite="TLS_AES_128_CCM_SHA256"),
    "AES-128-CCM-8 only": replace(MEMBER, suite="TLS_AES_128_CCM_8_SHA256"),
    "chain: foreign, then the folder's": replace(MEMBER, identity=OTHER.identity, chain=(FOLDER.identity.certificate,)),
    "chain: child, then the folder's": replace(
        MEMBER, identity=make_identity(issuer=FOLDER.identity), chain=(FOLDER.identity.certificate,)
    ),
    "chain: child, then an authority": replace(
        MEMBER, identity=make_identity(issuer=AUTHORITY.identity), chain=(AUTHORITY.identity.certificate,)
    ),
    "compressed certificate": replace(MEMBER, compressed=True),
    "chain of 2 MB": replace(MEMBER, chain=tuple([_self_signed(FOLDER.identity.key, extensions=900)] * 100)),
    "member's certificate on the vault's name": replace(MEMBER, sni=VAULT_LABEL, host=VAULT_LABEL),
    "vault's certificate on the member's name": replace(MEMBER, identity=VAULT.identity),
    "another folder's certificate on the vault's name": replace(
        MEMBER, identity=OTHER.identity, sni=VAULT_LABEL, host=VAULT_LABEL
    ),
}

PROBES: dict[str, Attempt] = {
    **{f"certificate: {name}": replace(MEMBER, identity=identity) for name, identity in IDENTITIES.items()},
    **{
        f"vault: {name}": replace(MEMBER, identity=identity, sni=VAULT_LABEL, host=VAULT_LABEL)
        for name, identity in list(IDENTITIES.items())[:12]
    },
    **{f"name: {name}": replace(MEMBER, sni=sni) for name, sni in NAMES.items()},
    **SHAPES,
}

CANNOT = {
    ("openssl", "SSL 3.0"): "it was built without it",
    ("openssl", "compressed certificate"): "it was built without compression, which is the point",
    ("openssl", "name: NUL behind"): "its interface takes no NUL",
    ("openssl", "name: NUL and more"): "its interface takes no NUL",
    ("tlslite", "certificate: secp256k1"): "it offers no signature with this curve in TLS 1.3",
}
"""What a library cannot even send. The other one does."""

PARTNERS: dict[str, Attempt] = {
    "member": MEMBER,
    "member of the other folder": Attempt(OTHER.identity, OTHER.label, host=OTHER.label),
    "ChaCha20": replace(MEMBER, suite="TLS_CHACHA20_POLY1305_SHA256"),
    "AES-256-GCM": replace(MEMBER, suite="TLS_AES_256_GCM_SHA384"),
    "from TLS 1.2 on": replace(MEMBER, versions=(3, 4)),
    "no protocol named, as curl": replace(MEMBER, alpn=()),
    "several protocols": replace(MEMBER, alpn=(b"h2", b"http/1.1", tls.ALPN)),
}


@dataclass(frozen=True, slots=True)
class Case:
    stack: str
    name: str
    attempt: Attempt

    def __str__(self) -> str:
        return f"{self.stack}: {self.name}"


async def attempt_all(chosen: list[Case]) -> dict[str, Answer]:
    """The answers to some attempts at one listener, in turn. Again and again a member gets in between."""
    answers: dict[str, Answer] = {}
    async with listening(table()) as server:
        for number, case in enumerate(chosen):
            ask = STACKS[case.stack]
            answers[case.name] = await trio.to_thread.run_sync(ask, case.attempt, server.port)
            if number % 10 == 0 or case is chosen[-1]:
                partner = await trio.to_thread.run_sync(ask, MEMBER, server.port)
                assert partner.data.endswith(CIPHERTEXT), f"behind {case} no member gets in any more"
    return answers


def cases_of(stack: str, attempts: dict[str, Attempt]) -> list[Case]:
    return [Case(stack, name, attempt) for name, attempt in attempts.items() if (stack, name) not in CANNOT]


@pytest.mark.parametrize("stack", STACKS)
def test_there_are_sixty_probes_for_each_library(stack: str) -> None:
    assert len(cases_of(stack, PROBES)) >= 60


@pytest.mark.parametrize("stack", STACKS)
async def test_partners_get_in(stack: str) -> None:
    answers = await attempt_all(cases_of(stack, PARTNERS))
    assert {name: answer.status for name, answer in answers.items()} == dict.fromkeys(PARTNERS, 200)
    assert all(answer.data.endswith(CIPHERTEXT) for answer in answers.values())


@pytest.mark.parametrize("stack", STACKS)
async def test_probes_are_refused_without_a_byte(stack: str) -> None:
    answers = await attempt_all(cases_of(stack, PROBES))
    assert [name for name, answer in answers.items() if answer.leaked] == []


@pytest.mark.parametrize("stack", STACKS)
async def test_unknown_certificate_gets_nothing_of_a_folder_where_it_may_shake_hands(stack: str) -> None:
    crossed = {
        f"{name} on {label}": replace(MEMBER, identity=identity, sni=label, host=label)
        for name, identity in (("member", FOLDER.identity), ("device", DEVICE), ("stranger", make_identity()))
        for label in (CONTROL_LABEL, PAIRING_LABEL)
    }
    answers = await attempt_all(cases_of(stack, crossed))
    assert {answer.status for answer in answers.values()} == {404}
    assert not any(CIPHERTEXT in answer.data for answer in answers.values())


@pytest.mark.parametrize("stack", STACKS)
async def test_no_certificate_is_refused_on_every_label(stack: str) -> None:
    labels = (MEMBER_LABEL, VAULT_LABEL, CONTROL_LABEL, PAIRING_LABEL)
    bare = {label: replace(MEMBER, identity=None, sni=label, host=label) for label in labels}
    assert not any(answer.leaked for answer in (await attempt_all(cases_of(stack, bare))).values())


ENDLESS = bytes.fromhex("1603014000") + bytes(16_384)
RAW = {
    "HTTP in clear": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.9\r\n",
    "hello of SSL 2.0": bytes.fromhex("802e0100020015000000100100800200800300800400800500800600400700c0") + bytes(16),
    "a record of 16 KiB and one": bytes.fromhex("1603014001") + bytes(16_385),
    "records of nothing": bytes.fromhex("1603010000") * 5_000,
    "alerts": bytes.fromhex("15030100020100") * 5_000,
    "a fatal alert": bytes.fromhex("15030100020228"),
    "change of ciphers first": bytes.fromhex("140303000101") * 100,
    "application data first": bytes.fromhex("1703030020") + bytes(32),
    "heartbeat": bytes.fromhex("180303000301ffff"),
    "a hello that never ends": ENDLESS[:5] + bytes.fromhex("0101ffff") + ENDLESS[9:] + ENDLESS * 5,
    "zeros": bytes(70_000),
    "nothing but an end": b"",
}


@pytest.mark.parametrize("sent", RAW.values(), ids=RAW.keys())
async def test_what_is_no_handshake_is_cut(sent: bytes) -> None:
    async with listening(table()) as server:
        data = b""
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            with trio.fail_after(60), contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(sent)
                await stream.send_eof()
                while more := await stream.receive_some():
                    data += more
        assert not data or data[0] == 0x15  # at most an alert
        with trio.fail_after(60):
            while server.doorkeeper.busy:  # noqa: ASYNC110 - the kernel decides when an end is noticed
                await trio.sleep(0.01)
        partner = await trio.to_thread.run_sync(STACKS["openssl"], MEMBER, server.port)
        assert partner.data.endswith(CIPHERTEXT)
