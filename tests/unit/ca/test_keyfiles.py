from __future__ import annotations

import os
from pathlib import Path

import pytest

from ca import keyfiles
from ca.codec import decode_untrusted, encode
from ca.errors import ConfigError
from tests.helpers.rosters import seeded


def device_file(home: Path) -> Path:
    return home / "keys" / "device.key"


def test_identity_is_made_once_and_stays(tmp_path: Path) -> None:
    first = keyfiles.load_or_create(tmp_path / "home", seeded("a"))
    assert keyfiles.load_or_create(tmp_path / "home", seeded("b")).public == first.public


def test_modes_are_tight_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        keyfiles.load_or_create(tmp_path / "home", seeded("a"))
        keyfiles.load_or_create_recovery(tmp_path / "home", seeded("r"))
    finally:
        os.umask(before)
    keys = tmp_path / "home" / "keys"
    assert [oct(path.stat().st_mode & 0o7777) for path in (tmp_path / "home", keys)] == ["0o700"] * 2
    assert {path.name: oct(path.stat().st_mode & 0o7777) for path in keys.iterdir()} == {
        "device.key": "0o600",
        "recovery.key": "0o600",
    }


def test_mode_is_tight_from_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at in the moment before the content is synced."""
    seen = []

    def look(descriptor: int) -> None:
        seen.append(os.fstat(descriptor).st_mode & 0o7777)

    monkeypatch.setattr(os, "fsync", look)
    keyfiles.load_or_create(tmp_path, seeded("a"))
    assert seen[0] == 0o600


def test_crash_before_the_name_is_given_leaves_no_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken, pytest.raises(ConfigError):
        broken.setattr(os, "fsync", fail)
        keyfiles.load_or_create(tmp_path, seeded("a"))
    assert list((tmp_path / "keys").iterdir()) == []
    assert keyfiles.load_or_create(tmp_path, seeded("a")).id


def test_two_at_once_get_one_identity(tmp_path: Path) -> None:
    """The slower one finds the name taken, keeps its own copy to itself, and reads the other's."""
    winner = seeded("winner")

    def overtaken(length: int) -> bytes:
        keyfiles.load_or_create(tmp_path, winner)
        return bytes(length)

    assert keyfiles.load_or_create(tmp_path, overtaken).id == keyfiles.load_or_create(tmp_path, seeded("later")).id
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["device.key"]


def damaged_forms(raw: bytes) -> dict[str, bytes]:
    value = decode_untrusted(raw, max_bytes=4096)
    assert isinstance(value, dict)
    return {
        "empty": b"",
        "one byte": raw[:1],
        "truncated": raw[:-1],
        "one byte more": raw + b"\x00",
        "line end added": raw + b"\r\n",
        "byte order mark": b"\xef\xbb\xbf" + raw,
        "text": b"-----BEGIN PRIVATE KEY-----\n",
        "newer format": encode({**value, 1: 2}),
        "one key changed": encode({**value, 2: bytes(32)}),
        "id changed": encode({**value, 5: bytes(32)}),
        "huge": raw * 100,
    }


def test_damaged_file_is_an_error_and_stays_as_it_is(tmp_path: Path) -> None:
    keyfiles.load_or_create(tmp_path, seeded("a"))
    path = device_file(tmp_path)
    for name, content in damaged_forms(path.read_bytes()).items():
        path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            keyfiles.load_or_create(tmp_path, seeded("b"))
        assert (caught.value.id, path.read_bytes()) == ("SY-KEY-01", content), name


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601])
def test_file_that_others_reach_is_an_error_that_names_the_command(tmp_path: Path, mode: int) -> None:
    keyfiles.load_or_create(tmp_path, seeded("a"))
    device_file(tmp_path).chmod(mode)
    with pytest.raises(ConfigError) as caught:
        keyfiles.load_or_create(tmp_path, seeded("a"))
    assert caught.value.fix == f"chmod 600 {device_file(tmp_path)}"
    device_file(tmp_path).chmod(0o400)
    assert keyfiles.load_or_create(tmp_path, seeded("a")).id


def test_directory_that_others_reach_is_an_error(tmp_path: Path) -> None:
    keyfiles.load_or_create(tmp_path, seeded("a"))
    (tmp_path / "keys").chmod(0o750)
    with pytest.raises(ConfigError, match="read by others"):
        keyfiles.load_or_create(tmp_path, seeded("a"))


@pytest.mark.parametrize("kind", ["symlink", "dangling symlink", "directory", "fifo"])
def test_what_is_no_file_is_an_error(tmp_path: Path, kind: str) -> None:
    keyfiles.load_or_create(tmp_path, seeded("a"))
    path, elsewhere = device_file(tmp_path), tmp_path / "elsewhere"
    path.rename(elsewhere)
    match kind:
        case "symlink":
            path.symlink_to(elsewhere)
        case "dangling symlink":
            path.symlink_to(tmp_path / "nowhere")
        case "directory":
            path.mkdir(mode=0o700)
        case _:
            os.mkfifo(path, 0o600)
    with pytest.raises(ConfigError):
        keyfiles.load_or_create(tmp_path, seeded("b"))


def test_keys_directory_that_is_a_symlink_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "keys").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="not a directory"):
        keyfiles.load_or_create(tmp_path, seeded("a"))


@pytest.mark.needs("root")
def test_file_of_somebody_else_is_an_error(tmp_path: Path) -> None:
    keyfiles.load_or_create(tmp_path, seeded("a"))
    os.chown(device_file(tmp_path), 12345, -1)
    with pytest.raises(ConfigError, match="somebody else"):
        keyfiles.load_or_create(tmp_path, seeded("a"))


def test_home_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError):
        keyfiles.load_or_create(tmp_path / "file" / "home", seeded("a"))


def test_recovery_key_is_made_once_and_can_be_moved_away(tmp_path: Path) -> None:
    assert keyfiles.load_recovery(tmp_path) is None
    first = keyfiles.load_or_create_recovery(tmp_path, seeded("r"))
    loaded = keyfiles.load_recovery(tmp_path)
    assert loaded is not None and loaded.seed == first.seed
    assert keyfiles.load_or_create_recovery(tmp_path, seeded("s")).seed == first.seed
    (tmp_path / "keys" / "recovery.key").unlink()
    assert keyfiles.load_recovery(tmp_path) is None


def test_damaged_recovery_key_is_an_error(tmp_path: Path) -> None:
    keyfiles.load_or_create_recovery(tmp_path, seeded("r"))
    path = tmp_path / "keys" / "recovery.key"
    value = decode_untrusted(path.read_bytes(), max_bytes=4096)
    assert isinstance(value, dict)
    for content in (b"", encode({**value, 2: bytes(32)}), encode({1: 1})):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="damaged"):
            keyfiles.load_recovery(tmp_path)
