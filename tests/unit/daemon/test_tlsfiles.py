"""The files that `folder show` names: right, private, and gone with the epoch."""

from __future__ import annotations

import base64
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from trio.testing import MockClock

from syncd.daemon.tlsfiles import FolderTls, drop_tls_keys, folder_tls_files
from syncd.errors import ConfigError, TrustError
from syncd.protocol.messages import RosterPage
from tests.helpers.memberships import Devices, bring_in, new_folder, restarted


async def test_certificate_and_key_belong_together(tmp_path: Path) -> None:
    ann = await new_folder(Devices().device("ann", home=tmp_path))
    shown = folder_tls_files(ann, tmp_path, ["127.0.0.1:22067"])
    certificate = x509.load_pem_x509_certificate(shown.cert.read_bytes())
    key = load_pem_private_key(key_of(shown).read_bytes(), None)
    assert certificate.public_bytes(Encoding.DER) == ann.epoch.member_certificate
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert shown.pin == base64.b64encode(sha256(public).digest()).decode()
    assert (shown.sni, shown.listen) == (ann.label, ("127.0.0.1:22067",))


def key_of(shown: FolderTls) -> Path:
    assert shown.key is not None
    return shown.key


async def test_no_key_is_written_or_left_where_a_passphrase_locks_the_keys(tmp_path: Path) -> None:
    ann = await new_folder(Devices().device("ann", home=tmp_path))
    written = key_of(folder_tls_files(ann, tmp_path, []))
    drop_tls_keys(tmp_path)
    shown = folder_tls_files(ann, tmp_path, [], with_key=False)
    assert shown.key is None and shown.cert.exists() and not written.exists()


async def test_files_are_private(tmp_path: Path) -> None:
    ann = await new_folder(Devices().device("ann", home=tmp_path))
    for _ in range(2):  # writing them again is fine
        shown = folder_tls_files(ann, tmp_path, [])
    assert {shown.cert.stat().st_mode & 0o777, key_of(shown).stat().st_mode & 0o777} == {0o600}
    assert {place.stat().st_mode & 0o777 for place in (key_of(shown).parent, key_of(shown).parent.parent)} == {0o700}


def exist(shown: FolderTls) -> bool:
    return shown.cert.exists() or key_of(shown).exists()


async def test_files_go_with_the_next_rotation(tmp_path: Path) -> None:
    ann = await new_folder(Devices().device("ann", home=tmp_path))
    shown = folder_tls_files(ann, tmp_path, [])
    await ann.rotate()
    assert not exist(shown)


async def test_files_of_a_past_epoch_go_at_the_start_and_those_of_this_stay(tmp_path: Path) -> None:
    here = Devices().device("ann", home=tmp_path)
    ann = await new_folder(here)
    shown = folder_tls_files(ann, tmp_path, [])
    await restarted(here, ann.folder_id)
    assert exist(shown)
    old = {file: file.read_bytes() for file in (shown.cert, key_of(shown))}
    await ann.rotate()
    folder_tls_files(ann, tmp_path, [])
    for file, content in old.items():
        file.write_bytes(content)
    await restarted(here, ann.folder_id)
    assert not exist(shown)


async def test_no_files_without_the_epochs_secret(tmp_path: Path, autojump_clock: MockClock) -> None:
    devices = Devices()
    host, guest = devices.device("ann"), devices.device("bob")
    ann = await new_folder(host)
    bob = await bring_in(ann, host, guest, "bob")
    await ann.rotate()
    await bob.receive_untrusted(RosterPage(tuple(ann.roster.raw_after(bob.roster.number)), ann.roster.number))
    with pytest.raises(TrustError):
        folder_tls_files(bob, tmp_path, [])


async def test_home_that_is_gone_is_told(tmp_path: Path) -> None:
    ann = await new_folder(Devices().device("ann"))
    with pytest.raises(ConfigError):
        folder_tls_files(ann, tmp_path / "gone", [])
