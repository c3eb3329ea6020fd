"""The home of a daemon: its databases, its keys, its port, its lock, and how daemons end."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.helpers.computers import SLACK, Computer, computers, share, start_all, wait_equal
from tests.helpers.faults import (
    Shared,
    demand_others_go_on,
    demand_quiet_log,
    look,
    mounted,
    refusal,
    remount,
    share_another,
    show,
    start_refusal,
    wait_content,
    wait_for,
    wait_no_problem,
    wait_problem,
)
from tests.helpers.machinetime import Stopwatch

STOP_S = 2.0


@pytest.fixture(scope="module")
def carla(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Computer]:
    """Somebody who does not run, but has run before."""
    with computers(("carla",), tmp_path_factory.mktemp("carla"), "common") as (carla,):
        carla.start()
        carla.stop()
        yield carla


def database_of(computer: Computer, shared: Shared) -> Path:
    id_ = next(one["id"] for one in look(computer, "folders")["folders"] if one["name"] == shared.name)
    return computer.home / f"folder-{id_[:16]}.db"


def flip_pages(database: Path) -> None:
    """Garbage in the middle of every page but the first."""
    content = bytearray(database.read_bytes())
    for start in range(4096, len(content), 4096):
        content[start : start + 512] = os.urandom(512)
    database.write_bytes(content)


def make_text(database: Path) -> None:
    database.write_bytes(b"this was a database once\n" * 400)


def truncate(database: Path) -> None:
    os.truncate(database, database.stat().st_size // 2)


def make_empty(database: Path) -> None:
    os.truncate(database, 0)


def test_damaged_databases_are_moved_aside_and_the_folders_rejoin_without_losing_anything(
    two: tuple[Computer, Computer],
) -> None:
    """Absence never deletes: what was removed while the database was broken comes back, what was changed is kept."""
    anna, ben = two
    harms: tuple[Callable[[Path], None], ...] = (flip_pages, make_text, truncate, make_empty, Path.unlink)
    hurt = [share_another(anna, ben, f"db-{harm.__name__}") for harm in harms]
    for shared in hurt:
        for number in range(60):
            (shared.here / f"f{number:02}").write_bytes(b"x%d" % number)
    for shared in hurt:
        wait_equal((shared.here, shared.there), 25)
        shared.wait_synced()
    databases = [database_of(ben, shared) for shared in hurt]
    ben.stop()
    for harm, shared, database in zip(harms, hurt, databases, strict=True):
        harm(database)
        (shared.there / "f01").unlink()
        (shared.there / "f02").write_bytes(b"changed while the database was broken")
        (shared.there / "mine").write_bytes(b"written meanwhile")
    ben.start()
    for shared, database in zip(hurt, databases, strict=True):
        told = wait_problem(ben, "SY-DB-01", folder=shared.name)
        assert "broken-1" in told["why"]
        assert database.with_name(database.name + ".broken-1").exists()
        wait_content(shared.there / "f01", b"x1")
        wait_content(shared.here / "mine", b"written meanwhile")
        wait_for(lambda at=shared.here: len(list(at.glob("f*"))) == 61, 25, "the conflict copy does not arrive")  # type: ignore[misc]
        wait_equal((shared.here, shared.there), 25)
        assert {path.read_bytes() for path in shared.here.glob("f02*")} == {
            b"x2",
            b"changed while the database was broken",
        }
    demand_others_go_on(anna, ben)


def test_older_database_from_a_backup_loses_nothing(two: tuple[Computer, Computer]) -> None:
    anna, ben = two
    shared = share_another(anna, ben, "older")
    shared.wait_equal_file("first", b"1")
    shared.wait_synced()
    database = database_of(ben, shared)
    ben.stop()
    backup = database.read_bytes()
    ben.start()
    (shared.there / "bens").write_bytes(b"after the backup")
    wait_content(shared.here / "bens", b"after the backup")
    shared.wait_equal_file("annas", b"after the backup too")
    shared.wait_synced()
    ben.stop()
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    database.write_bytes(backup)
    (shared.there / "offline").write_bytes(b"with the old database")
    ben.start()
    wait_content(shared.here / "offline", b"with the old database")
    wait_equal((shared.here, shared.there), 25)
    for name, content in (("first", b"1"), ("bens", b"after the backup"), ("annas", b"after the backup too")):
        assert (shared.here / name).read_bytes() == content
    assert show(ben, "older")["conflicts"] == 0
    demand_others_go_on(anna, ben)


def test_folder_database_of_a_newer_program_stops_that_folder_alone(two: tuple[Computer, Computer]) -> None:
    anna, ben = two
    shared = share_another(anna, ben, "newer")
    shared.wait_equal_file("first", b"1")
    shared.wait_synced()
    database = database_of(ben, shared)
    ben.stop()
    try:
        with of_version(database, 99):
            demand_it_is_left_alone(anna, ben, shared)
    finally:
        ben.start()
    shared.wait_equal_file("second", b"2")
    wait_no_problem(ben, "newer")


def demand_it_is_left_alone(anna: Computer, ben: Computer, shared: Shared) -> None:
    ben.start()
    try:
        told = wait_problem(ben, "SY-DB-02", folder="newer")
        assert "newer" in told["why"]
        assert show(ben, "newer")["state"] == "stopped"
        assert refusal(ben, "share", str(shared.there), "--no-wait").id == "SY-DB-02"
        demand_others_go_on(anna, ben)
    finally:
        ben.stop()


@contextmanager
def of_version(database: Path, version: int) -> Iterator[None]:
    """The schema of a database is said to be of that version; afterwards it says again what it said, whatever failed
    meanwhile."""
    before = set_version(database, version)
    try:
        yield
    finally:
        set_version(database, before)


def set_version(database: Path, version: int) -> int:
    """Which one it was."""
    with closing(sqlite3.connect(database)) as connection:
        (before,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version={version}")
    return int(before)


@contextmanager
def instead(file: Path, content: bytes) -> Iterator[None]:
    """A file says something else, until the end."""
    before = file.read_bytes()
    file.write_bytes(content)
    try:
        yield
    finally:
        file.write_bytes(before)


def test_device_database_of_a_newer_program_is_left_alone(carla: Computer) -> None:
    with of_version(carla.home / "device.db", 99):
        found = start_refusal(carla)
    assert (found.id, found.exit) == ("SY-DB-02", 12)


def test_port_in_use(carla: Computer) -> None:
    with socket.create_server(("127.0.0.1", carla.port)):
        found = start_refusal(carla)
    assert (found.id, found.exit) == ("SY-NET-01", 1)
    assert str(carla.port) in found.what


def test_address_of_another_machine(carla: Computer) -> None:
    config = carla.home / "config.toml"
    with instead(config, config.read_bytes().replace(b"127.0.0.1", b"192.0.2.1")):
        found = start_refusal(carla)
    assert (found.id, found.exit) == ("SY-NET-02", 11)


def test_second_daemon_on_one_home(two: tuple[Computer, Computer]) -> None:
    anna = two[0]
    assert anna.daemon is not None
    found = start_refusal(anna)
    assert (found.id, found.exit) == ("SY-HOME-01", 1)
    assert str(anna.daemon.pid) in found.what
    look(anna, "status")


def test_home_open_to_others_is_closed(carla: Computer) -> None:
    carla.home.chmod(0o755)
    carla.start()
    carla.stop()
    assert stat.S_IMODE(carla.home.stat().st_mode) == 0o700
    loose = [path for path in carla.home.rglob("*") if not path.is_socket() and path.stat().st_mode & 0o077]
    assert [path.name for path in loose] in ([], ["config.toml"])


def test_key_file_open_to_others_is_refused(carla: Computer) -> None:
    key = next(path for path in carla.home.rglob("*key*") if path.is_file())
    key.chmod(0o644)
    try:
        found = start_refusal(carla)
    finally:
        key.chmod(0o600)
    assert (found.id, found.exit) == ("SY-KEY-02", 6)
    assert found.fix.startswith("chmod 600")


def test_damaged_key_file_is_never_replaced(carla: Computer) -> None:
    key = next(path for path in carla.home.rglob("*key*") if path.is_file())
    damaged = key.read_bytes()[:-10]
    with instead(key, damaged):
        found = start_refusal(carla)
        assert key.read_bytes() == damaged
    assert (found.id, found.exit) == ("SY-KEY-01", 11)


def test_broken_configuration(carla: Computer) -> None:
    config = carla.home / "config.toml"
    for text, id_ in ((b"[network\n", "SY-CONF-02"), (b"[network]\nlistne = []\n", "SY-CONF-01")):
        with instead(config, text):
            found = start_refusal(carla)
        assert (found.id, found.exit) == (id_, 11)


@pytest.mark.parametrize("harm", [make_text, make_empty, Path.unlink], ids=["text", "empty", "gone"])
def test_damaged_device_database_costs_a_sole_owner_nothing(carla: Computer, harm: Callable[[Path], None]) -> None:
    carla.start()
    carla.run("share", str(carla.folder), "--link", "--yes", "--no-wait")
    before = look(carla, "folders")["folders"]
    carla.stop()
    harm(carla.home / "device.db")
    carla.start()
    wait_problem(carla, "SY-DB-01")
    after = look(carla, "folders")["folders"]
    assert [(one["id"], one["epoch"], one["role"]) for one in after] == [
        (one["id"], one["epoch"], one["role"]) for one in before
    ]
    carla.stop()
    demand_quiet_log(carla)


def drop_tables(database: Path) -> None:
    with closing(sqlite3.connect(database)) as db:
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type='table'").fetchall():
            db.execute(f'DROP TABLE "{name}"')


def test_empty_database_of_a_folder_is_told_but_not_where_a_crash_cut_its_beginning_off(carla: Computer) -> None:
    folder = carla.place / "emptied"
    folder.mkdir()
    (folder / "kept").write_text("kept")
    carla.start()
    carla.run("share", str(folder), "--link", "--yes", "--no-wait")
    shown = show(carla, "emptied")
    database = carla.home / f"folder-{shown['id'][:16]}.db"

    def starts_with(harm: Callable[[Path], None]) -> list[str]:
        carla.stop()
        harm(database)
        carla.start()
        wait_for(lambda: show(carla, "emptied")["state"] == "synced", 25, "it does not come to rest")
        assert (folder / "kept").read_text() == "kept"
        return [problem["id"] for problem in show(carla, "emptied")["problems"]]

    def cut_off(database: Path) -> None:
        make_empty(database)
        with closing(sqlite3.connect(carla.home / "device.db")) as db, db:
            db.execute("DELETE FROM begun")  # noted when a beginning is over

    assert starts_with(drop_tables) == ["SY-DB-01"]
    assert starts_with(lambda database: None) == []
    assert starts_with(make_empty) == ["SY-DB-01"]
    assert starts_with(cut_off) == []
    assert starts_with(Path.unlink) == ["SY-DB-01"]
    carla.run("folder", "leave", "emptied", "--yes")
    carla.run("share", str(folder), "--link", "--yes", "--no-wait")
    assert show(carla, "emptied")["problems"] == []
    carla.stop()
    demand_quiet_log(carla)


def test_damaged_device_database_leaves_the_files_and_the_folder_can_be_joined_again(
    two: tuple[Computer, Computer], carla: Computer
) -> None:
    anna = two[0]
    carla.start()
    shared = share_another(anna, carla, "forgotten")
    shared.wait_equal_file("kept", b"kept")
    shared.wait_synced()
    carla.stop()
    make_text(carla.home / "device.db")
    make_text(carla.home / "device.db.copy")
    carla.start()
    wait_problem(carla, "SY-DB-01")
    assert look(carla, "folders")["folders"] == []
    assert (shared.there / "kept").read_bytes() == b"kept"
    (shared.there / "mine").write_bytes(b"mine")
    again = share_another(anna, carla, "forgotten")
    again.wait_equal_file("new", b"new")
    wait_content(shared.here / "mine", b"mine")
    wait_equal((shared.here, shared.there), 25)
    assert show(again.ben, "forgotten")["conflicts"] == 0
    carla.stop()
    demand_quiet_log(carla)


@pytest.mark.alone
def test_signal_ends_the_daemon_within_two_seconds_also_in_the_middle_of_a_transfer(
    two: tuple[Computer, Computer],
) -> None:
    anna, ben = two
    name = "big"
    big = os.urandom(48 << 20)
    (anna.folder / name).write_bytes(big)
    wait_for(
        lambda: (ben.folder / name).exists() or look(anna, "status")["transfer"]["sent_bytes"] > 1 << 20,
        25,
        "nothing is sent",
    )
    assert ben.daemon is not None
    ben.daemon.send_signal(signal.SIGTERM)
    watch = Stopwatch()
    assert ben.daemon.wait(120) == 0
    took_s = watch.seconds()
    print(f"stopping took {took_s:.2f} s")  # noqa: T201
    assert took_s <= STOP_S * SLACK
    assert not (ben.folder / name).exists() or (ben.folder / name).read_bytes() == big
    ben.start()
    wait_content(ben.folder / name, big)


def test_kill_in_the_middle_of_writing_loses_nothing(two: tuple[Computer, Computer]) -> None:
    anna, ben = two
    # Made elsewhere: of a file that is seen before its author has written to it, the empty state is a version, too.
    made = anna.place / "many"
    made.mkdir()
    for number in range(300):
        (made / f"f{number}").write_bytes(os.urandom(3000))
    made.rename(anna.folder / "many")
    target = ben.folder / "many"
    for computer in (ben, anna):
        wait_for(lambda: target.exists() and any(target.iterdir()), 25, "nothing arrives")
        computer.kill()
        for path in target.iterdir():
            assert path.stat().st_size == 3000  # no half file is ever seen
        computer.start()
    wait_equal((anna.folder, ben.folder), 25)
    assert len(list((anna.folder / "many").iterdir())) == 300
    wait_no_problem(ben)


@pytest.mark.needs("mount")
def test_full_home_stops_nothing_for_good(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "size=3m,mode=700") as small, computers(("anna",), tmp_path, "common") as (anna,):
        anna.place.mkdir()
        anna.home.symlink_to(small)
        (small / "config.toml").write_text(f'[network]\nlisten = ["127.0.0.1:{anna.port}"]\ndiscovery = false\n')
        start_all((anna,))
        share(anna, "common")
        wait_for(lambda: look(anna, "status")["in_sync"], 20, "it is not settled")
        for number in range(6_000):
            (anna.folder / f"a rather long name to fill the rows with {number}").write_bytes(b"")
        wait_problem(anna, "SY-DISK-01", folder="common", timeout_s=40)
        remount(small, "size=64m,mode=700")
        assert look(anna, "wait", folders=["common"], timeout_s=30, **{"for": "synced"})["done"]
        wait_for(lambda: show(anna, "common")["files"] == 6_000, 40, "it does not go on")
        wait_no_problem(anna, "common")
        demand_quiet_log(anna)
