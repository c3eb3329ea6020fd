"""What a person is told who stands in front of a daemon: that it is so, and why."""

from __future__ import annotations

import sqlite3

import pytest
import trio

from ca.device import device_text
from syncd.errors import SyncdError
from syncd.treetypes import TooLarge
from syncd.verdict import verdict
from tests.helpers.simulation import FOLDER, SimComputer, Simulation, simulate
from tests.simulation.removing import names, write

HERE = {"folder": FOLDER, "cwd": None}


async def refused(computer: SimComputer, method: str, **params: object) -> SyncdError:
    with pytest.raises(SyncdError) as caught:
        await computer.call(method, **params)
    return caught.value


def test_paused_folder_has_its_files_and_says_that_it_is_paused() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        write(ana, "letter", "five words are in it")
        await bert.join(await ana.share(uses=1))
        await simulation.settle()
        before = await bert.status()
        await bert.call("pause", for_s=None, **HERE)
        paused = await bert.status()
        assert (paused["state"], paused["files"], paused["bytes"]) == ("paused", before["files"], before["bytes"])
        explained = await bert.call("explain", path=f"{bert.path}/letter")
        assert (explained["state"], explained["why"]) == ("waiting", "its folder is paused")
        assert explained["try"] == f"syncd resume {FOLDER}"
        checks = [one for one in (await bert.call("doctor"))["checks"] if not one["ok"]]
        assert [(one["id"], one["try"]) for one in checks] == [("SY-FIND-05", f"syncd resume {FOLDER}")]
        assert (await refused(bert, "folder.rescan", wait=True, **HERE)).id == "SY-FIND-05"
        waited = await bert.call("wait", folders=[FOLDER], cwd=None, **{"for": "synced"}, timeout_s=1.0)
        assert [one["why"] for one in waited["folders"]] == ["it is paused"]

    simulate(story, 1, ("ana", "bert"))


def test_paused_folder_knows_after_a_start_who_was_seen_and_what_is_in_it() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        write(ana, "letter", "five words are in it")
        await bert.join(await ana.share(uses=1))
        await simulation.settle()
        await bert.call("pause", for_s=None, **HERE)
        await trio.sleep(10)
        before = await bert.status()
        (peer,) = before["peers"]
        await bert.stop()
        await simulation.start(bert)
        await trio.sleep(1)
        after = await bert.status()
        assert [one["last_seen"] for one in after["peers"]] == [peer["last_seen"]] and peer["last_seen"] is not None
        (listed,) = (await bert.call("peers"))["peers"]
        assert (listed["last_seen"], listed["connected"]) == (peer["last_seen"], False)
        (key,) = (await bert.call("key.list", **HERE))["folders"][0]["holders"]
        assert key["last_seen"] == peer["last_seen"]
        assert (after["files"], after["bytes"]) == (before["files"], before["bytes"])

    simulate(story, 1, ("ana", "bert"))


def test_file_with_three_versions_is_one_conflict_wherever_it_is_told() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert, cleo = simulation
        link = await ana.share(uses=2)
        for other in (bert, cleo):
            await other.join(link)
        await simulation.settle()
        simulation.internet.partition([ana.host], [bert.host], [cleo.host])
        for computer in simulation:
            write(computer, "letter", f"by {computer.name}")
        await trio.sleep(30)
        simulation.internet.heal()
        await simulation.settle()
        for computer in simulation:
            (conflict,) = (await computer.call("conflicts", folder=None))["conflicts"]
            assert len(conflict["versions"]) == 3
            assert (await computer.status())["conflicts"] == 1

    simulate(story, 1, ("ana", "bert", "cleo"))


def test_viewer_is_told_that_it_is_one_and_not_that_it_was_removed() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert, cleo = simulation
        link = await ana.share(uses=2)
        for other in (bert, cleo):
            await other.join(link)
        await simulation.settle()
        simulation.internet.partition([ana.host], [bert.host, cleo.host])
        for computer in (ana, bert):
            write(computer, "letter", f"by {computer.name}")
        await trio.sleep(30)
        simulation.internet.heal()
        await simulation.settle()
        await ana.call("member.change", folder=FOLDER, member="cleo", what="role", role="viewer")
        await trio.sleep(30)
        path = f"{cleo.path}/letter"
        assert (await refused(cleo, "resolve", path=path, keep="newest")).id == "SY-SHARE-04"
        itself = await refused(cleo, "member.change", folder=FOLDER, member="cleo", what="role", role="owner")
        assert "leave" not in itself.what and "only leave" in itself.why

    simulate(story, 1)


def test_who_was_taken_out_is_not_in_sync() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        await bert.join(await ana.share(uses=1))
        await simulation.settle()
        assert (await bert.status())["in_sync"]
        await ana.call("member.change", folder=FOLDER, member="bert", what="suspend")
        await trio.sleep(30)
        found = await bert.call("status")
        assert (found["in_sync"], verdict(found)) == (False, f"1 folder stopped: {FOLDER}.")

    simulate(story, 1, ("ana", "bert"))


def test_last_owner_is_told_how_to_go() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        await bert.join(await ana.share(uses=1))
        await simulation.settle()
        alone = await refused(ana, "folder.leave", **HERE)
        assert (alone.id, alone.fix) == ("SY-SHARE-04", f"syncd member role {FOLDER} MEMBER owner, then leave")
        assert (await ana.status())["in_sync"]
        own = device_text(ana.daemon.installation.id)
        assert str(await refused(ana, "lockdown", device=own)) == "this is the device you are at"
        await ana.call("member.change", folder=FOLDER, member="bert", what="role", role="owner")
        await ana.call("folder.leave", **HERE)

    simulate(story, 1, ("ana", "bert"))


def test_device_comes_by_the_name_that_it_was_given() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        await bert.join(await ana.share(uses=1))
        await simulation.settle()
        members = (await ana.call("members", **HERE))["members"]
        (found,) = [one for one in members if one["name"] == "bert"]
        assert [device["name"] for device in found["devices"]] == [bert.daemon.settings.device_name]

    simulate(story, 1, ("ana", "bert"))


def test_who_asks_for_what_is_not_there_is_told_where_to_look() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        await bert.join(await ana.share(uses=1))
        assert (await refused(ana, "approve", id="none", role=None)).fix == "syncd requests"
        nobody = await refused(bert, "join.find", code="7-guitar-uncle-merit", via=["nowhere:22067"])
        assert (nobody.id, str(nobody)) == ("SY-PAIR-08", "no syncd answers at nowhere:22067")

    simulate(story, 1, ("ana", "bert"))


def test_what_has_a_name_that_is_no_text_is_restored_and_undone_like_anything_else() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        await bert.join(await ana.share(uses=1))
        name = b"caf\xe9"
        path = f"{ana.path}/{name.decode(errors='surrogateescape')}"
        for words in (b"first", b"second"):
            ana.disk.write((name,), words)
            ana.disk.flush_file((name,))
            await simulation.settle()
        versions = (await ana.call("history", path=path, most=10))["versions"]
        how = {"existing": None, "only": None, "to": None, "on": None}
        done = await ana.call("restore", path=path, before=versions[0]["id"], dry_run=False, **how)
        await simulation.settle()
        assert ana.disk.contents()[name,] == b"first"
        deeds = (await ana.call("undo.list", **HERE))["deeds"]
        assert [(one["id"], one["about"]) for one in deeds] == [(done["undo"], f"{FOLDER}/caf\udce9")]
        await ana.call("undo", id=done["undo"], dry_run=False, **HERE)
        await simulation.settle()
        assert ana.disk.contents()[name,] == b"second"

    simulate(story, 1, ("ana", "bert"))


def test_folder_is_called_by_text_whatever_its_directory_is_called() -> None:
    async def story(simulation: Simulation) -> None:
        (ana,) = simulation
        asked = {"role": "editor", "link": True, "uses": 1, "yes": True, "dry_run": False}
        made = await ana.call("share", path="/ana/caf\udce9", **asked)
        assert (made["name"], made["path"]) == ("caf_", "/ana/caf\udce9")

    simulate(story, 1, ("ana",))


def test_who_was_started_alone_says_that_nobody_was_reached_and_not_that_it_is_in_sync() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        await bert.join(await ana.share(uses=1))
        write(bert, "letter", "by bert")
        await simulation.settle()
        assert (await bert.status())["state"] == "synced"
        await ana.stop()
        await bert.stop()
        await simulation.start(bert)
        await trio.sleep(30)
        found = await bert.call("status")
        assert (found["in_sync"], found["folders"][0]["state"]) == (False, "waiting")
        assert verdict(found) == f"Not known: no other member of {FOLDER} was reached."
        await simulation.start(ana)
        await simulation.settle()
        assert (await bert.status())["state"] == "synced"

    simulate(story, 1, ("ana", "bert"))


def test_of_a_name_that_nobody_knows_no_peer_is_said_to_have_it() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        write(ana, "letter", "words")
        await bert.join(await ana.share(uses=1))
        await simulation.settle()
        told = await ana.call("explain", path=f"{ana.path}/lettre")
        assert (told["state"], [peer["has"] for peer in told["peers"]]) == ("unknown", [None])
        assert [peer["has"] for peer in (await ana.call("explain", path=f"{ana.path}/letter"))["peers"]] == [True]

    simulate(story, 1, ("ana", "bert"))


def test_who_may_not_read_is_not_said_to_be_in_sync() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        write(ana, "letter", "words")
        await bert.join(await ana.share(uses=1))
        await simulation.settle()
        await ana.call("member.change", folder=FOLDER, member="bert", what="role", role="vault")
        await trio.sleep(30)
        write(ana, "letter", "other words")
        await trio.sleep(30)
        found = await bert.call("status")
        assert (found["folders"][0]["state"], verdict(found)) == ("stopped", f"1 folder stopped: {FOLDER}.")
        told = await bert.call("explain", path=f"{bert.path}/letter")
        assert (told["state"], told["id"]) == ("problem", "SY-TRUST-05")
        assert not any(peer["has"] for peer in told["peers"])
        await ana.call("member.change", folder=FOLDER, member="bert", what="role", role="editor")
        await simulation.settle()
        assert (await bert.status())["in_sync"]

    simulate(story, 1, ("ana", "bert"))


def test_restore_of_what_was_called_otherwise_then_says_so_instead_of_deleting_it() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        write(ana, "letter", "first words")
        await bert.join(await ana.share(uses=1))
        await simulation.settle()
        await trio.sleep(5)
        then_s = ana.clock.now()
        await trio.sleep(5)
        ana.disk.rename((b"letter",), (b"plan",))
        await simulation.settle()
        write(ana, "plan", "other words")
        write(ana, "later", "made since")
        await simulation.settle()
        wish = {"at_s": then_s, "dry_run": False}
        error = await refused(bert, "restore", path=f"{bert.path}/plan", **wish)
        assert (error.id, f"{FOLDER}/letter" in (error.fix or "")) == ("SY-HIST-01", True)
        await bert.call("restore", path=f"{bert.path}/letter", **wish)
        await bert.call("restore", path=f"{bert.path}/later", **wish)
        await simulation.settle()
        assert names(ana) >= {"letter"} and "later" not in names(ana)

    simulate(story, 1, ("ana", "bert"))


def test_snapshot_keeps_its_moment_until_its_name_is_removed() -> None:
    async def story(simulation: Simulation) -> None:
        (ana,) = simulation
        write(ana, "plan", "a plan")
        await ana.share(uses=1)
        await simulation.settle()
        asked = {"name": "before the move", **HERE}
        (first,) = (await ana.call("snapshot.add", **asked, at_s=None))["snapshots"]
        await trio.sleep(60)
        taken = await refused(ana, "snapshot.add", **asked, at_s=None)
        assert "syncd snapshot remove" in (taken.fix or "")
        found = (await ana.call("snapshots", **HERE))["snapshots"]
        assert [one for one in found if not one["scheduled"]] == [first]
        await ana.call("snapshot.remove", **asked)
        await ana.call("snapshot.add", **asked, at_s=None)

    simulate(story, 1, ("ana",))


def test_database_that_breaks_at_work_is_told_as_lost_and_set_aside_once() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        write(ana, "letter", "in the database that breaks")
        await bert.join(await ana.share(uses=1))
        await simulation.settle()
        (folder,) = bert.daemon.folders
        assert folder.task is not None and (await bert.status())["problems"] == []
        broken = sqlite3.DatabaseError("database disk image is malformed")
        broken.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        folder.task.database.on_failure(broken)
        await trio.sleep(1)
        await simulation.settle()
        (problem,) = (await bert.status())["problems"]
        assert problem["id"] == "SY-DB-01" and "broken-1" in problem["why"]
        assert "letter" in names(bert)

    simulate(story, 1, ("ana", "bert"))


async def whole_copies(computer: SimComputer) -> list[str]:
    (folder,) = (await computer.call("storage", **HERE))["folders"]
    return [one["name"] for one in folder["copies"] if one["fresh"]]


def test_viewer_who_lacks_files_that_others_have_is_no_whole_copy_but_takes_in_what_is_new() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        for name in ("kept", "deleted", "changed"):
            write(ana, name, name)
        await bert.join(await ana.share(uses=1))
        await ana.call("member.change", folder=FOLDER, member="bert", what="role", role="viewer")
        await simulation.settle()
        await trio.sleep(30)
        assert await whole_copies(ana) == ["this computer", "bert"]
        for name, harm in (("deleted", None), ("changed", "by bert, and only here")):
            if harm is None:
                bert.disk.delete((name.encode(),))
            else:
                write(bert, name, harm)
            await trio.sleep(30)
            assert (await bert.status())["only_here"] == 1
            assert await whole_copies(ana) == ["this computer"]
            await trio.sleep(300)
            assert await whole_copies(ana) == ["this computer"], "and it stays so"
            explained = await ana.call("explain", path=f"{ana.path}/deleted")
            assert [peer["has"] for peer in explained["peers"]] == [None]
            write(ana, "news", f"of {trio.current_time()}")
            waiting = {"folders": [FOLDER], "cwd": None, "for": "peer=bert", "timeout_s": 60.0}
            assert (await ana.call("wait", **waiting))["done"]
            assert bert.disk.read((b"news",)) == ana.disk.read((b"news",))
            await trio.sleep(600)
            assert (await ana.status())["problems"] == [], "what is new is there as well"
            if harm is None:
                await bert.call("reoffer", path=f"{bert.path}/{name}", dry_run=False)
            else:
                write(bert, name, name)
            await trio.sleep(30)
            assert await whole_copies(ana) == ["this computer", "bert"]
        write(bert, "own", "and what is new there takes nothing away")
        bert.disk.rename((b"kept",), (b"elsewhere",))
        await trio.sleep(30)
        assert (await bert.status())["only_here"] >= 2
        assert await whole_copies(ana) == ["this computer", "bert"]

    simulate(story, 1, ("ana", "bert"))


def test_who_calls_himself_by_the_name_of_another_is_told_by_his_own() -> None:
    """The author's name in a changeset is his own word; who he is, his signature says."""

    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        for number in range(300):
            write(ana, f"many{number}", "of these there are many")
        write(ana, "letter", "five words are in it")
        await bert.join(await ana.share(uses=1))
        await simulation.settle()
        await bert.call("pause", for_s=None, **HERE)
        write(bert, "letter", "no word is as it was before")
        write(ana, "letter", "other words are in it by now")
        await bert.call("resume", **HERE)
        assert bert.folder.task is not None
        bert.folder.task.store.journal.author_name = "ana"
        await simulation.settle()
        for number in range(50):
            bert.disk.delete((f"many{number}".encode(),))
        write(bert, "poem", "roses are red")
        await simulation.settle()
        changes = [(one["by"], one["deleted"]) for one in (await ana.call("changes", most=100, **HERE))["changes"]]
        assert ("bert", 50) in changes and not any(by == "ana" and deleted for by, deleted in changes)
        (version,) = (await ana.call("history", path=f"{ana.path}/poem", most=9))["versions"]
        assert (version["by"], version["device"]) == ("bert", "bert")
        (entry,) = (await ana.call("past", path=f"{ana.path}/poem", at_s=None, before=None, snapshot=None))["entries"]
        assert entry["by"] == "bert"
        events = (await ana.call("audit", kinds=["event"], last=100))["audit"]
        assert "bert" in {one["actor"] for one in events}
        (conflict,) = (await ana.call("conflicts", **HERE))["conflicts"]
        assert {version["by"] for version in conflict["versions"]} == {"ana", "bert"}
        about = {one["about"] for one in (await ana.call("undo.list", **HERE))["deeds"]}
        assert about == {"deletions by bert"}

    simulate(story, 1, ("ana", "bert"))


def test_change_that_is_dated_ahead_stands_where_it_came() -> None:
    """Else a member hides all that others do later: the lists of the latest begin with what he dated so."""

    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        await bert.join(await ana.share(uses=1))
        await simulation.settle()
        bert.clock.ahead_s = 20 * 86_400.0
        write(bert, "ahead", "of everybody")
        await simulation.settle()
        bert.clock.ahead_s = 0.0
        await trio.sleep(3_600)
        write(ana, "later", "than that")
        await simulation.settle()
        changes = (await ana.call("changes", most=100, **HERE))["changes"]
        assert [one["by"] for one in changes[:2]] == ["ana", "bert"]
        assert changes[0]["time"] > changes[1]["time"]
        events = (await ana.call("audit", kinds=["event"], last=100))["audit"]
        assert [one["actor"] for one in events[-2:]] == ["bert", "ana"]

    simulate(story, 1, ("ana", "bert"))


def test_who_cannot_write_a_file_is_no_whole_copy_though_nothing_more_comes_there_by_itself() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        for name in ("letter", "photograph"):
            write(ana, name, name)
        await bert.join(await ana.share(uses=1))
        await simulation.settle()
        await trio.sleep(30)
        assert await whole_copies(ana) == ["this computer", "bert"]
        bert.disk.fail_at(1, TooLarge("simulated", (b"film",)), "stage_small", for_ever=True)
        write(ana, "film", "too large for that disk")
        await trio.sleep(300)
        assert [one["path"] for one in (await bert.status())["problems"]] == ["film"]
        waiting = {"folders": [FOLDER], "cwd": None, "for": "peer=bert", "timeout_s": 60.0}
        assert (await ana.call("wait", **waiting))["done"], "nothing is to be waited for"
        assert await whole_copies(ana) == ["this computer"]
        bert.disk.mend()
        await trio.sleep(900)
        assert "film" in names(bert)
        assert await whole_copies(ana) == ["this computer", "bert"]

    simulate(story, 1, ("ana", "bert"))
