"""The certificate that browsers see: an own one that nobody else can read, or one that people configured."""

from __future__ import annotations

import base64
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca.custody import LINKS_FILE
from ca.homekey import HomeKey
from syncd.errors import ConfigError
from syncd.methods.linkcert import VALID, open_certificate

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
DAY_S = 86_400.0


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "keys").mkdir(mode=0o700)
    return tmp_path


def own(home: Path, now: float = NOW) -> str:
    return open_certificate(home, None, ["192.168.1.7", "anna-laptop"], now, os.urandom).fingerprint


def test_own_certificate_is_made_once_and_kept_from_others(home: Path) -> None:
    first = own(home)
    file = home / "keys" / LINKS_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert own(home) == first and len(first.split(":")) == 32
    found = x509.load_pem_x509_certificate(file.read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["anna-laptop"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["192.168.1.7"]
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert found.not_valid_after_utc - found.not_valid_before_utc <= VALID + timedelta(days=2)


@pytest.mark.parametrize(("later_days", "stays"), [(0, True), (360, True), (370, False), (500, False), (-5, False)])
def test_own_certificate_is_renewed_a_month_before_its_end(home: Path, later_days: int, stays: bool) -> None:
    first = own(home)
    assert (own(home, NOW + later_days * DAY_S) == first) is stays


def test_own_certificate_that_others_could_read_or_that_is_a_link_is_not_used(home: Path, tmp_path: Path) -> None:
    first = own(home)
    file = home / "keys" / LINKS_FILE
    file.chmod(0o644)
    second = own(home)
    assert second != first and stat.S_IMODE(file.stat().st_mode) == 0o600
    moved = tmp_path / "elsewhere.pem"
    file.rename(moved)
    file.symlink_to(moved)
    assert own(home) not in (first, second)
    assert not file.is_symlink()


def test_configured_certificate_is_taken_and_a_bad_one_said(home: Path, tmp_path: Path) -> None:
    fingerprint = own(home)
    good = str(home / "keys" / LINKS_FILE)
    found = open_certificate(home, (good, good), [], NOW, os.urandom)
    assert (found.fingerprint, found.is_configured) == (fingerprint, True)
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    other = tmp_path / "other"
    (other / "keys").mkdir(parents=True, mode=0o700)
    own(other)
    for files in (
        (str(bad), good),
        (str(tmp_path / "none"), good),
        (good, str(bad)),
        (good, str(other / "keys" / LINKS_FILE)),
    ):
        with pytest.raises(ConfigError) as raised:
            open_certificate(home, files, [], NOW, os.urandom)
        assert raised.value.id == "SY-LINK-06"


def test_certificate_of_a_version_that_nobody_knows_is_a_bad_one(home: Path) -> None:
    first = own(home)
    file = home / "keys" / LINKS_FILE
    text = file.read_text()
    der = x509.load_pem_x509_certificate(text.encode()).public_bytes(Encoding.DER)
    version = bytes.fromhex("a003020102")
    odd = base64.encodebytes(der.replace(version, version[:-1] + b"\7", 1)).decode()
    file.write_text(
        f"-----BEGIN CERTIFICATE-----\n{odd}-----END CERTIFICATE-----\n{text[text.index('-----BEGIN P') :]}"
    )
    with pytest.raises(ConfigError) as raised:
        open_certificate(home, (str(file), str(file)), [], NOW, os.urandom)
    assert raised.value.id == "SY-LINK-06"
    assert own(home) != first, "an own one is made anew"


def test_key_of_a_home_with_a_passphrase_is_encrypted_and_the_certificate_stays(home: Path) -> None:
    key, names = HomeKey(bytes(32)), ["anna-laptop"]
    first = open_certificate(home, None, names, NOW, os.urandom, key)
    assert b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in (home / "keys" / LINKS_FILE).read_bytes()
    assert open_certificate(home, None, names, NOW, os.urandom, key).fingerprint == first.fingerprint
    for other in (None, HomeKey(bytes(31) + b"x")):
        with pytest.raises(ConfigError):
            open_certificate(home, None, names, NOW, os.urandom, other)
