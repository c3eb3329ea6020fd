"""Blocking. Inputs and expected outcomes of `ca`, as JSON that another implementation can check itself with.

Each file under tests/vectors/ca has a sentence and cases of input and output; bytes are hexadecimal. `FILES` computes
an output from an input alone, so tests/unit/ca/test_vectors.py recomputes every case on disk. The files change
only together with the format: `python -m tests.helpers.ca_vectors` writes them anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ca import recovery
from ca.certs import device_certificate, folder_certificate, public_point
from ca.codec import Encodable, decode_untrusted, encode
from ca.device import DeviceKeys, Purpose, device_text, device_words, sign, signed_bytes
from ca.epochs import (
    EpochSecrets,
    FolderSecrets,
    code_label,
    commitment,
    control_label,
    link_label,
    seal_name,
    seal_previous,
)
from ca.errors import CodecError, TrustError
from ca.ids import DeviceId, EntryHash, EpochId, FolderId
from ca.roles import Role
from ca.roster import Fork, Gap, Roster
from ca.wraps import HpkeSealer, WrapTree, check_wrap, payload_untrusted, wrap_info
from tests.helpers.rosters import NOW, Company, epoch_after, forge, keys_of, seeded

DIRECTORY = Path(__file__).resolve().parents[1] / "vectors" / "ca"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class VectorFile:
    about: str
    inputs: Callable[[], Iterable[Json]]
    output: Callable[[Json], Json]


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


# --- codec -----------------------------------------------------------------------------------------------------------


def described(value: Any) -> Any:
    """A value in JSON: bytes as {"bytes": hex}, integers as {"int": decimal}, maps as {"map": [[key, value], …]}."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return {"int": str(value)}
        case bytes():
            return {"bytes": value.hex()}
        case dict():
            return {"map": [[key, described(item)] for key, item in value.items()]}
        case _:
            return [described(item) for item in value]


def codec_inputs() -> Iterable[Json]:
    edges: list[Encodable] = [
        0,
        1,
        23,
        24,
        255,
        256,
        65535,
        65536,
        2**32 - 1,
        2**32,
        2**64 - 1,
        -1,
        -24,
        -25,
        -256,
        -257,
        -(2**64),
    ]
    others: list[Encodable] = [
        None,
        True,
        False,
        b"",
        b"\x00" * 24,
        "",
        "Zoë 🚲",
        [],
        [[], [[]]],
        {},
        {0: 1, 23: b"x", 24: None, 255: [2]},
    ]
    both: list[Encodable] = [*edges, *others, [1, b"two", "three", {4: [True, None]}]]
    for value in both:
        yield {"encoded": encode(value).hex()}
    for refused in (
        "", "1800", "1817", "1900ff", "1a0000ffff", "1b00000000ffffffff", "3800", "580161", "780161", "980100",
        "b8010000", "9f00ff", "5f4161ff", "bf0000ff", "a201000000", "a200000000", "a119010000", "a12000", "a1616100",
        "a1f500", "f814", "f7", "f90000", "fb0000000000000000", "c000", "1c", "ff", "61ff", "63eda080", "62c080",
        "0000", "9affffffff", "bbffffffffffffffff", "5bffffffffffffffff",
    ):  # fmt: skip
        yield {"encoded": refused}


def codec_output(case: Json) -> Json:
    try:
        return {"value": described(decode_untrusted(raw(case["encoded"]), max_bytes=1 << 20))}
    except CodecError:
        return {"refused": True}


# --- devices and signatures ------------------------------------------------------------------------------------------


def device_inputs() -> Iterable[Json]:
    for name in ("ann", "bob"):
        keys = keys_of(name)
        yield {"sign_seed": keys.sign_seed.hex(), "seal_seed": keys.seal_seed.hex(), "tls_seed": keys.tls_seed.hex()}


def device_output(case: Json) -> Json:
    keys = DeviceKeys(raw(case["sign_seed"]), raw(case["seal_seed"]), raw(case["tls_seed"]))
    return {
        "sign": keys.public.sign.hex(),
        "seal": keys.public.seal.hex(),
        "tls": keys.public.tls.hex(),
        "id": keys.id.hex(),
        "text": device_text(keys.id),
        "words": device_words(keys.id),
        "certificate": device_certificate(keys).hex(),
    }


def signature_inputs() -> Iterable[Json]:
    keys = keys_of("ann")
    for purpose in Purpose:
        for folder in (b"f" * 32, None):
            yield {
                **next(iter(device_inputs())),
                "sign": keys.public.sign.hex(),
                "purpose": purpose.value.decode(),
                "folder": folder.hex() if folder else None,
                "body": encode({1: "body", 2: 3}).hex(),
            }


def signature_output(case: Json) -> Json:
    keys = DeviceKeys(raw(case["sign_seed"]), raw(case["seal_seed"]), raw(case["tls_seed"]))
    folder = FolderId(raw(case["folder"])) if case["folder"] else None
    purpose, body = Purpose(case["purpose"].encode()), raw(case["body"])
    return {
        "signed_bytes": signed_bytes(purpose, folder, body).hex(),
        "signature": sign(keys, purpose, folder, body).hex(),
    }  # fmt: skip


# --- secrets ---------------------------------------------------------------------------------------------------------


def epoch_inputs() -> Iterable[Json]:
    for opened_at, byte in ((NOW, 1), (0, 2), (2_600_000_000, 255)):
        yield {"secret": (bytes([byte]) * 32).hex(), "previous": (b"p" * 32).hex(), "opened_at": opened_at}


def epoch_output(case: Json) -> Json:
    secret, opened_at = raw(case["secret"]), case["opened_at"]
    keys = EpochSecrets.derive(secret)
    return {
        "tls_point": public_point(keys.tls).hex(),
        "tls_private": f"{keys.tls.private_numbers().private_value:064x}",
        "content_key": keys.content_key.hex(),
        "metadata_key": keys.metadata_key.hex(),
        "label": keys.label,
        "announcement_key": keys.announcement_key.hex(),
        "vault_secret": keys.vault.secret.hex(),
        "vault_tls_point": public_point(keys.vault.tls).hex(),
        "vault_label": keys.vault.label,
        "vault_announcement_key": keys.vault.announcement_key.hex(),
        "member_certificate": folder_certificate(keys.tls, opened_at).hex(),
        "vault_certificate": folder_certificate(keys.vault.tls, opened_at).hex(),
        "previous_sealed": seal_previous(secret, raw(case["previous"]), EpochId(b"i" * 32)).hex(),
    }


def folder_inputs() -> Iterable[Json]:
    for name in ("", "pictures", "Zoë 🚲", "x" * 128):
        yield {"secret": (b"F" * 32).hex(), "listener": (b"d" * 32).hex(), "subject": b"folder".hex(), "name": name}


def folder_output(case: Json) -> Json:
    secret = raw(case["secret"])
    keys = FolderSecrets.derive(secret)
    return {
        "commitment": commitment(secret).hex(),
        "id_key": keys.id_key.hex(),
        "cut_seed": keys.cut_seed.hex(),
        "name_key": keys.name_key.hex(),
        "contact_key": keys.contact_key.hex(),
        "control_label": control_label(keys.contact_key, DeviceId(raw(case["listener"]))),
        "link_label_of_16_zeros": link_label(bytes(16)),
        "code_label_of_7": code_label(7),
        "name_sealed": seal_name(keys.name_key, raw(case["subject"]), case["name"]).hex(),
    }


def recovery_inputs() -> Iterable[Json]:
    return ({"seed": seed.hex()} for seed in (bytes(32), b"\xff" * 32, seeded("recovery")(32)))


def recovery_output(case: Json) -> Json:
    key = recovery.RecoveryKey(raw(case["seed"]))
    return {
        "words": key.words,
        "text": key.text,
        "sign": key.public.sign.hex(),
        "seal": key.public.seal.hex(),
        "id": key.public.id.hex(),
    }


# --- wraps and rosters -----------------------------------------------------------------------------------------------


def wrap_inputs() -> Iterable[Json]:
    """Wraps by HPKE, which never seals the same twice: they are to be opened, not to be made."""
    made = Company(sealer=HpkeSealer())
    wraps = made.admit("bob", Role.EDITOR).wraps or {}
    epoch, tree = made.roster.epoch, WrapTree(wraps)
    for name in ("ann", "bob"):
        keys = made.people[name]
        proof = tree.proof(keys.id)
        yield {
            "seal_seed": keys.seal_seed.hex(),
            "recipient": keys.id.hex(),
            "folder": epoch.folder.hex(),
            "previous": epoch.previous_entry.hex(),
            "member_certificate": epoch.member_certificate.hex(),
            "vault_certificate": epoch.vault_certificate.hex(),
            "wrap": wraps[keys.id].hex(),
            "all_wraps": {recipient.hex(): wrap.hex() for recipient, wrap in sorted(wraps.items())},
            "proof": encode(proof.encodable()).hex(),
        }


def wrap_output(case: Json) -> Json:
    recipient, wrap = DeviceId(raw(case["recipient"])), raw(case["wrap"])
    info = wrap_info(
        FolderId(raw(case["folder"])),
        EntryHash(raw(case["previous"])),
        recipient,
        raw(case["member_certificate"]),
        raw(case["vault_certificate"]),
    )
    tree = WrapTree({DeviceId(raw(each)): raw(sealed) for each, sealed in case["all_wraps"].items()})
    proof = tree.proof(recipient)
    check_wrap(tree.root, proof.count, recipient, wrap, proof)
    payload = payload_untrusted(HpkeSealer().open(raw(case["seal_seed"]), wrap, info))
    return {
        "info": info.hex(),
        "root": tree.root.hex(),
        "proof": encode(proof.encodable()).hex(),
        "share": payload.share.name.lower(),
        "epoch_secret": payload.epoch.hex(),
        "folder_secret": payload.folder.hex(),
    }


def roster_inputs() -> Iterable[Json]:
    """One roster, and each way in which a next entry can go wrong."""
    made = Company()
    made.admit("bob", Role.ADMIN)
    made.admit("cy", Role.EDITOR)
    made.remove("cy", by="bob")
    raws = [entry.hex() for entry in made.raws]
    changes, epoch = made.roster.entries[1].changes, epoch_after(made)
    other = Company()
    fork = forge(other, changes, epoch_after(other, recipients=1, seed="other")).raw()
    yield {"case": "whole", "entries": raws}
    yield {"case": "gap", "entries": [*raws[:2], raws[3]]}
    yield {"case": "fork", "entries": [*raws, fork.hex()]}
    yield {
        "case": "other key signs",
        "entries": [*raws, forge(made, changes, epoch).but(keys=keys_of("bob")).raw().hex()],
    }
    yield {"case": "removed device signs", "entries": [*raws, forge(made, changes, epoch, by="cy").raw().hex()]}
    yield {"case": "no epoch", "entries": [*raws, forge(made, made.roster.entries[3].changes, None).raw().hex()]}
    yield {"case": "truncated", "entries": [*raws[:-1], raws[-1][:-2]]}
    yield {"case": "no genesis", "entries": raws[1:]}


def roster_output(case: Json) -> Json:
    try:
        roster = Roster.from_entries_untrusted([raw(entry) for entry in case["entries"]])
    except CodecError:
        return {"refused": "malformed"}
    except Gap:
        return {"refused": "gap"}
    except Fork:
        return {"refused": "fork"}
    except TrustError:
        return {"refused": "no right"}
    members = roster.members.values()
    return {
        "folder": roster.folder_id.hex(),
        "head": roster.head.hex(),
        "epoch": roster.epoch.number,
        "members": [[member.id.hex(), member.role.name.lower(), member.status.value] for member in members],
        "recipients": [[to.id.hex(), to.share.name.lower()] for to in roster.recipients()],
    }


FILES = {
    "codec": VectorFile("The only bytes of a value; everything else is refused.", codec_inputs, codec_output),
    "devices": VectorFile("A device from its three seeds.", device_inputs, device_output),
    "signatures": VectorFile("What each purpose signs.", signature_inputs, signature_output),
    "epochs": VectorFile("What an epoch's secret yields.", epoch_inputs, epoch_output),
    "folders": VectorFile("What a folder's secret yields.", folder_inputs, folder_output),
    "recovery": VectorFile("A recovery key from its seed.", recovery_inputs, recovery_output),
    "wraps": VectorFile("Sealed secrets, opened and proved.", wrap_inputs, wrap_output),
    "rosters": VectorFile("Entries and what follows from them, or why not.", roster_inputs, roster_output),
}


def write() -> None:
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for name, file in FILES.items():
        cases = [{"input": case, "output": file.output(case)} for case in file.inputs()]
        text = json.dumps({"about": file.about, "cases": cases}, indent=1, ensure_ascii=False)
        (DIRECTORY / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
