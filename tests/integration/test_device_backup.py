"""A computer is gone with its disk, but a backup of its keys and state is there: it comes back as the same device."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ca.keyfiles import load_recovery
from tests.helpers.computers import (
    SYNC_S,
    Computer,
    computers,
    demand_equal,
    join,
    loopback_config,
    share,
    start_all,
    wait_until,
)
from tests.integration.test_rescue import same

PASSPHRASE = "nine tall ships sail"


@pytest.fixture
def group(tmp_path: Path) -> Iterator[list[Computer]]:
    with computers(("anna", "ben", "anew"), tmp_path, "Notes") as group:
        group[0].config = loopback_config(group[0].port) + '[log]\nlevel = "debug"\n'
        yield group


def with_input(computer: Computer, typed: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = computer.command(*arguments, "--json")
    return subprocess.run(command, input=typed + "\n", capture_output=True, text=True, timeout=60, check=False)


def code_of(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode != 0, done.stdout
    return str(json.loads(done.stderr)["error"]["id"])


def back_up(computer: Computer, file: Path) -> None:
    done = with_input(computer, PASSPHRASE, "key", "backup", str(file))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["opens_with"] == "passphrase"


@pytest.mark.slowest
def test_device_comes_back_from_an_old_backup_and_loses_nothing_that_happened_since(group: list[Computer]) -> None:
    anna, ben, _ = group
    start_all([anna, ben])
    (anna.folder / "plan").write_text("as agreed")
    link = share(anna, "Notes", uses=3)
    join(ben, link)
    ben.wait_synced(SYNC_S)
    anna.ask("retention", "Notes", "--keep", "all 30d, daily 2y", "--copies", "2")
    anna.ask("snapshot", "add", "before the trip", "Notes")
    file = anna.place.parent / "anna.backup"
    back_up(anna, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert b"PRIVATE" not in file.read_bytes() and PASSPHRASE.encode() not in anna.log.read_bytes()

    (anna.folder / "plan").write_text("changed since the backup")
    (anna.folder / "new").write_text("made since the backup")
    wait_until(lambda: same(anna.folder, ben.folder), SYNC_S, "what anna wrote last is not at ben")
    id_, epoch = anna.ask("key", "show")["id"], ben.ask("status")["folders"][0]["epoch"]
    anna.kill()
    shutil.rmtree(anna.place)

    anna.place.mkdir()
    assert code_of(with_input(anna, "nine tall ships sunk", "key", "restore", str(file), "--yes")) == "SY-KEY-05"
    assert not (anna.home / "keys").exists()
    done = with_input(anna, PASSPHRASE, "key", "restore", str(file), "--yes")
    assert done.returncode == 0, done.stderr
    assert [one["path"] for one in json.loads(done.stdout)["folders"]] == [str(anna.folder)]
    assert stat.S_IMODE((anna.home / "keys" / "device.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((anna.home / "device.db").stat().st_mode) == 0o600
    command = anna.command("run")
    with anna.log.open("ab") as log:
        anna.daemon = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    anna.wait_answers()
    anna.wait_synced(SYNC_S)
    demand_equal(anna.folder, ben.folder)
    assert (anna.folder / "plan").read_text() == "changed since the backup"
    assert anna.ask("key", "show")["id"] == id_
    assert ben.ask("status")["folders"][0]["epoch"] == epoch  # nobody was admitted, nobody had to be
    found = anna.ask("retention", "Notes")
    assert (found["keep"], found["copies"]) == ("all 30d, daily 730d", 2)
    assert "before the trip" in [one["name"] for one in anna.ask("snapshot", "list", "Notes")["snapshots"]]
    assert (anna.home / "config.toml").read_text().endswith('[log]\nlevel = "debug"\n')
    assert "device restored" in [line["action"] for line in anna.ask("audit")["audit"]]
    assert anna.ask("invites")["invites"] == []  # a link that was used up or revoked since must not come back
    assert not (anna.home / "restored.json").exists()

    (anna.folder / "plan").write_text("and it goes on")
    wait_until(lambda: (ben.folder / "plan").read_text() == "and it goes on", SYNC_S, "anna does not publish")
    assert not list(ben.folder.glob("*conflict*"))


@pytest.mark.slowest
def test_backup_for_the_recovery_key_opens_by_its_words_and_elsewhere(group: list[Computer]) -> None:
    anna, ben, _ = group
    anna.start()
    (anna.folder / "plan").write_text("as agreed")
    share(anna, "Notes")
    file = anna.place / "anna.backup"
    for _ in range(2):  # the second takes the place of the first
        assert anna.ask("key", "backup", str(file), "--recovery")["opens_with"] == "recovery key"
    (anna.place / "letter").write_text("mine")
    assert code_of(with_input(anna, PASSPHRASE, "key", "backup", str(anna.place / "letter"))) == "SY-HIST-05"
    assert code_of(with_input(anna, "too short", "key", "backup", str(anna.place / "b"))) == "SY-KEY-04"
    assert not (anna.place / "b").exists()
    key = load_recovery(anna.home)
    assert key is not None
    assert code_of(with_input(anna, key.text, "key", "restore", str(file), "--yes")) == "SY-KEY-07"
    anna.kill()

    ben.place.mkdir()
    into = ben.place / "back"
    look = with_input(ben, " ".join(key.words), "key", "restore", str(file), "--into", str(into), "--dry-run")
    assert look.returncode == 0 and not ben.home.exists()
    done = with_input(ben, " ".join(key.words), "key", "restore", str(file), "--into", str(into), "--yes")
    assert done.returncode == 0, done.stderr
    assert [one["path"] for one in json.loads(done.stdout)["folders"]] == [str(into / "Notes")]
    assert not (ben.home / "config.toml").exists(), "it names programs, and others could have sealed one"
    assert (ben.home / "config.toml.recovered").read_bytes() == (anna.home / "config.toml").read_bytes()
    (ben.home / "config.toml").write_text(loopback_config(ben.port))
    ben.start()
    wait_until(lambda: ben.ask("status")["folders"][0]["state"] == "synced", SYNC_S, "the folder does not come to life")
    markers = {(root / ".syncd" / "folder").read_bytes() for root in (into / "Notes", anna.folder)}
    assert len(markers) == 2, "the old directory could come back in the new one's place"
    assert ben.ask("status")["folders"][0]["problems"] == []


@pytest.mark.slowest
def test_restore_that_was_cut_off_is_nobody_until_it_is_done(group: list[Computer]) -> None:
    anna, ben, _ = group
    anna.start()
    file = anna.place / "anna.backup"
    back_up(anna, file)
    anna.kill()
    ben.home.mkdir(parents=True, mode=0o700)
    (ben.home / "restoring").touch()
    (ben.home / "device.db").write_bytes(b"half of it")
    refused = ben.run("run")
    assert refused.returncode == 11 and "SY-KEY-06" in refused.stderr
    assert not (ben.home / "keys" / "device.key").exists()
    done = with_input(ben, PASSPHRASE, "key", "restore", str(file), "--yes")
    assert done.returncode == 0, done.stderr
    assert (ben.home / "keys" / "device.key").read_bytes() == (anna.home / "keys" / "device.key").read_bytes()
    assert not (ben.home / "restoring").exists()


@pytest.mark.slowest
def test_two_machines_with_one_backup_are_found_out(group: list[Computer]) -> None:
    anna, ben, anew = group
    start_all([anna, ben])
    (anna.folder / "plan").write_text("as agreed")
    join(ben, share(anna, "Notes"))
    ben.wait_synced(SYNC_S)
    file = anna.place.parent / "anna.backup"
    back_up(anna, file)
    anew.place.mkdir()
    done = with_input(anew, PASSPHRASE, "key", "restore", str(file), "--into", str(anew.place), "--yes")
    assert done.returncode == 0, done.stderr
    peers = f'peers = ["127.0.0.1:{ben.port}"]\n'
    (anew.home / "config.toml").write_text(loopback_config(anew.port) + peers)
    anew.start()

    def told(computer: Computer) -> bool:
        return "SY-TWIN-01" in [one["id"] for one in computer.ask("status")["folders"][0]["problems"]]

    wait_until(lambda: told(anew) and told(anna), SYNC_S, "two machines are one device, and nobody says so")


@pytest.mark.long
def test_only_a_backup_of_this_very_device_is_replaced(group: list[Computer]) -> None:
    anna, ben, _ = group
    start_all([anna, ben])
    file = anna.place.parent / "backup"
    back_up(anna, file)
    of_anna = file.read_bytes()
    for typed in (PASSPHRASE, "another passphrase"):
        for more in ([], ["--dry-run"]):
            assert code_of(with_input(ben, typed, "key", "backup", str(file), *more)) == "SY-KEY-15"
    assert code_of(with_input(ben, PASSPHRASE, "key", "backup", str(file), "--yes")) == "SY-KEY-15", "it is anna's"
    assert file.read_bytes() == of_anna

    done = with_input(anna, "another passphrase", "key", "backup", str(file))
    assert done.returncode == 0, done.stderr
    (anna.home / "backups").unlink()  # as after a restore: what it wrote before is not known there
    assert code_of(with_input(anna, PASSPHRASE, "key", "backup", str(file))) == "SY-KEY-15"
    done = with_input(anna, "another passphrase", "key", "backup", str(file))
    assert done.returncode == 0, done.stderr
    assert file.read_bytes() != of_anna

    done = with_input(ben, PASSPHRASE, "key", "backup", str(file), "--yes")
    assert done.returncode == 0, "whose it is cannot be seen, and ben has said yes"
    (anna.place / "letter").write_text("mine")
    refused = with_input(anna, PASSPHRASE, "key", "backup", str(anna.place / "letter"), "--yes")
    assert code_of(refused) == "SY-HIST-05" and (anna.place / "letter").read_text() == "mine"
