"""Where the home is, who may use it, and that only one daemon does."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from syncd.errors import ConfigError, StoreBusy
from syncd.home import is_locked, lock_home, prepare_home, resolve_home, short_address


def test_option_wins_over_the_environment(tmp_path: Path) -> None:
    assert resolve_home(str(tmp_path), {"SYNCD_HOME": "/elsewhere"}) == tmp_path


def test_environment_wins_over_the_default() -> None:
    assert resolve_home(None, {"SYNCD_HOME": "/elsewhere"}) == Path("/elsewhere")


@pytest.mark.needs("linux")
def test_default_follows_the_platform() -> None:
    assert resolve_home(None, {"XDG_DATA_HOME": "/data"}) == Path("/data/syncd")
    assert resolve_home(None, {}) == Path.home() / ".local/share/syncd"


def test_relative_home_becomes_absolute() -> None:
    assert resolve_home("here", {}) == Path.cwd() / "here"


def test_home_is_made_private(tmp_path: Path) -> None:
    prepare_home(tmp_path / "a" / "home")
    assert stat.S_IMODE((tmp_path / "a" / "home").stat().st_mode) == 0o700


def test_open_home_is_closed_to_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    prepare_home(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_file_in_place_of_the_home_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(ConfigError) as caught:
        prepare_home(tmp_path / "home")
    assert caught.value.id == "SY-HOME-06"


@pytest.mark.needs("root")
def test_home_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 12_345, -1)
    with pytest.raises(ConfigError) as caught:
        prepare_home(tmp_path)
    assert caught.value.id == "SY-HOME-04"


def test_second_lock_names_the_holder(tmp_path: Path) -> None:
    with lock_home(tmp_path) as pid:
        assert pid == os.getpid()
        assert is_locked(tmp_path)
        with pytest.raises(StoreBusy, match=f"pid {os.getpid()}") as caught, lock_home(tmp_path):
            pass
    assert caught.value.id == "SY-HOME-01"


def test_lock_can_be_taken_again_after_it_was_given_back(tmp_path: Path) -> None:
    with lock_home(tmp_path):
        pass
    assert not is_locked(tmp_path)
    with lock_home(tmp_path):
        assert is_locked(tmp_path)


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    holder = (
        "import os,sys,pathlib;from syncd.home import lock_home\nwith lock_home(pathlib.Path(sys.argv[1])): os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", holder, str(tmp_path)], check=False)
    with lock_home(tmp_path):
        assert is_locked(tmp_path)


@pytest.mark.needs("linux")
def test_socket_with_a_long_path_can_be_used(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as client:
        with short_address(deep / "control.sock") as address:
            listening.bind(address)
        listening.listen()
        with short_address(deep / "control.sock") as address:
            client.connect(address)
    assert (deep / "control.sock").exists()
