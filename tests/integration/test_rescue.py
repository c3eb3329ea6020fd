"""A computer is gone with its disk. A new one, the printed key and one peer: every folder, its past and settings."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ca.keyfiles import load_recovery
from tests.helpers.computers import (
    SYNC_S,
    Computer,
    Disappointment,
    computers,
    demand_equal,
    join,
    loopback_config,
    share,
    start_all,
    wait_until,
)

pytestmark = pytest.mark.slowest


@pytest.fixture
def group(tmp_path: Path) -> Iterator[list[Computer]]:
    with computers(("anna", "ben", "dora"), tmp_path, "Notes") as group:
        group[0].config = loopback_config(group[0].port) + '[log]\nlevel = "debug"\n'
        start_all(group[:2])
        yield group


def rescue(computer: Computer, address: str, words: str, *flags: str) -> subprocess.CompletedProcess[str]:
    command = computer.command("rescue", address, *flags, "--yes", "--json")
    return subprocess.run(command, input=words + "\n", capture_output=True, text=True, timeout=90, check=False)


def share_two_folders(anna: Computer, ben: Computer) -> None:
    photos = anna.place / "Photos"
    photos.mkdir()
    (photos / "one.raw").write_bytes(bytes(range(256)) * 4096)
    (anna.folder / "plan").write_text("as agreed")
    join(ben, share(anna, "Notes"))
    options = ("--name", "Photos", "--role", "editor", "--link", "--yes", "--no-wait")
    link = anna.ask("share", str(photos), *options)["link"]
    ben.ask("join", link, str(ben.place / "Photos"), "--yes", "--no-wait")
    for computer in (anna, ben):
        computer.wait_synced(SYNC_S)


def kept_at(computer: Computer) -> list[Any]:
    """How often, by its log, others left their settings with a computer."""
    log = computer.log.read_text(errors="replace")
    return [line for line in log.splitlines() if "left its settings" in line]


def test_new_machine_gets_folders_past_and_settings_from_one_peer(group: list[Computer]) -> None:
    anna, ben, dora = group
    share_two_folders(anna, ben)
    anna.ask("retention", "Notes", "--keep", "all 30d, daily 2y")
    anna.ask("snapshot", "add", "before the trip", "Notes")
    time.sleep(1.1)
    (anna.folder / "plan").write_text("changed since")
    anna.wait_synced(SYNC_S)
    key = load_recovery(anna.home)
    assert key is not None
    wait_until(lambda: len(kept_at(ben)) >= 2, SYNC_S, "the settings are not left with ben")
    expected = {"Notes": anna.folder, "Photos": anna.place / "Photos"}
    for name, folder in expected.items():
        wait_until(lambda f=folder, n=name: same(f, ben.place / n), SYNC_S, f"{name} is not at ben")  # type: ignore[misc]
    anna.kill()
    shutil.rmtree(anna.place)

    dora.folder = dora.place / "back" / "Notes"
    dora.place.mkdir()
    dora.home.mkdir(mode=0o700)
    (dora.home / "config.toml").write_text(loopback_config(dora.port))
    dora.folder.parent.mkdir()
    dora.folder.mkdir()
    dora.start()
    address = f"127.0.0.1:{ben.port}"
    wrong = rescue(dora, address, type(key)(bytes(32)).text)
    assert wrong.returncode == 7 and "SY-RESCUE-01" in wrong.stderr
    assert dora.ask("folders")["folders"] == []

    nobody = rescue(dora, address, key.text, "--device", "nobody", "--into", str(dora.place / "back"))
    assert nobody.returncode == 7 and "no settings of nobody are there" in nobody.stderr
    assert "Settings are there of " in nobody.stderr
    assert dora.ask("folders")["folders"] == []

    done = rescue(dora, address, " ".join(key.words), "--into", str(dora.place / "back"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert sorted(one["name"] for one in found["folders"]) == ["Notes", "Photos"]
    dora.wait_synced(SYNC_S)
    for name in expected:
        demand_equal(ben.place / name, dora.place / "back" / name)
    assert Path(found["config"]).read_text().endswith('[log]\nlevel = "debug"\n')
    assert dora.ask("retention", "Notes")["keep"] == "all 30d, daily 730d"
    assert "before the trip" in [one["name"] for one in dora.ask("snapshot", "list", "Notes")["snapshots"]]

    versions = dora.ask("history", str(dora.folder / "plan"))["versions"]
    assert [one["action"] for one in versions] == ["changed", "created"]
    dora.ask("restore", str(dora.folder / "plan"), "--snapshot", "before the trip", "--yes")
    wait_until(lambda: (ben.folder / "plan").read_text() == "as agreed", SYNC_S, "what dora restores does not arrive")
    roles = {member["name"]: member["role"] for member in ben.ask("members", "Notes")["members"]}
    assert sorted(roles.values()) == ["editor", "owner", "owner"]
    actions = [line["action"] for line in ben.ask("audit")["audit"]]
    assert "recovery key used" in actions


def same(one: Path, other: Path) -> bool:
    try:
        demand_equal(one, other)
    except Disappointment:
        return False
    return True


def test_nobody_gets_anything_for_a_key_of_another_folder_or_for_a_key_that_is_not_proved(
    group: list[Computer],
) -> None:
    anna, ben, dora = group
    share_two_folders(anna, ben)
    dora.start()
    dora.ask("share", str(dora.folder), "--name", "Hers", "--no-wait")
    own = load_recovery(dora.home)
    assert own is not None
    refused = rescue(dora, f"127.0.0.1:{ben.port}", own.text)
    assert refused.returncode == 7 and "SY-RESCUE-01" in refused.stderr
    assert [one["name"] for one in dora.ask("folders")["folders"]] == ["Hers"]
