"""A command is obeyed once: not again, not a later time, not with a changed byte, and not from who may not command."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import trio

from syncd.daemon import commanding
from syncd.daemon.commanding import Obedience
from syncd.daemon.restoring import bring
from syncd.engine.commanding import LIFETIME_MS
from syncd.protocol.commands import NONCE_BYTES, Report, Restore, Rule, State, issue, signed_untrusted
from syncd.protocol.refusals import Event
from tests.helpers.simulation import SimComputer, Simulation, simulate

pytestmark = pytest.mark.long

SEED = 6


@dataclass
class Office:
    """Ana founded the folder, bert obeys, cleo is an editor."""

    ana: SimComputer
    bert: SimComputer
    cleo: SimComputer
    number: int = 0

    def command(self, signer: SimComputer, *, number: int | None = None, late_ms: int = 0) -> bytes:
        self.number += 1
        number = self.number if number is None else number
        issued_ms = int(self.bert.clock.now() * 1000) - late_ms + self.number
        membership = self.bert.folder.membership
        command = Restore(
            membership.device,
            number.to_bytes(NONCE_BYTES, "big"),
            issued_ms,
            issued_ms + LIFETIME_MS,
            membership.head,
            signer.keys.id,
            int(self.bert.clock.now() * 1000) - 1,
            (),
            None,
            None,
            Rule.EXACT,
        )
        return issue(signer.keys, membership.folder_id, command).encode()

    @property
    def obedience(self) -> Obedience:
        commands = self.bert.daemon.surroundings.commands
        assert isinstance(commands, Obedience)
        return commands

    async def obey(self, raw: bytes, handed_in_by: SimComputer | None = None) -> State:
        commands = self.obedience
        by = (handed_in_by or self.ana).keys.id
        return Report.decode_untrusted(await commands.obey_untrusted(self.bert.folder.id, by, raw)).state

    async def report(self, raw: bytes) -> Report:
        """What became of a command, once it is over."""
        nonce = signed_untrusted(raw).command.nonce
        while True:
            found = self.obedience.report(self.bert.folder.id, self.ana.keys.id, nonce)
            assert found is not None
            report = Report.decode_untrusted(found)
            if report.state is not State.RUNNING:
                return report
            await trio.sleep(1.0)

    async def actions(self) -> list[str]:
        found = await self.bert.call("audit", last=1000)
        assert found["wrong"] is None
        return [line["action"] for line in found["audit"] if line["action"].startswith("remote")]


async def open_office(simulation: Simulation) -> Office:
    await simulation.share_with_all()
    ana, bert, cleo = simulation
    bert.daemon.settings = replace(bert.daemon.settings, remote_restore=True)
    return Office(ana, bert, cleo)


def test_command_works_once() -> None:
    async def story(simulation: Simulation) -> None:
        office = await open_office(simulation)
        raw = office.command(office.ana)
        assert await office.obey(raw) is State.RUNNING
        assert await office.obey(raw) is State.REFUSED
        assert await office.obey(raw, handed_in_by=office.cleo) is State.REFUSED
        await simulation.settle(tuple(simulation))
        assert await office.obey(office.command(office.ana)) is State.RUNNING
        await simulation.settle(tuple(simulation))
        assert sorted(await office.actions()) == [
            *["remote restore begun"] * 2,
            *["remote restore done"] * 2,
            "remote restore refused",  # what cleo handed in says nothing of ana
        ]

    simulate(story, SEED)


def test_command_works_once_also_across_a_restart() -> None:
    async def story(simulation: Simulation) -> None:
        office = await open_office(simulation)
        raw = office.command(office.ana)
        assert await office.obey(raw) is State.RUNNING
        await office.bert.crash()
        await simulation.start(office.bert)
        await simulation.settle(tuple(simulation))
        office.bert.daemon.settings = replace(office.bert.daemon.settings, remote_restore=True)
        assert await office.obey(raw) is State.REFUSED
        assert await office.obey(office.command(office.ana)) is State.RUNNING

    simulate(story, SEED)


def test_older_command_is_refused_after_a_later_one() -> None:
    async def story(simulation: Simulation) -> None:
        office = await open_office(simulation)
        earlier = office.command(office.ana, late_ms=60_000)
        assert await office.obey(office.command(office.ana)) is State.RUNNING
        assert await office.obey(earlier) is State.REFUSED
        assert await office.obey(office.command(office.ana)) is State.RUNNING

    simulate(story, SEED)


def test_every_changed_byte_and_a_foreign_signature_are_refused() -> None:
    async def story(simulation: Simulation) -> None:
        office = await open_office(simulation)
        raw = office.command(office.ana)
        signed = signed_untrusted(raw)
        unsigned = replace(signed, signature=bytes(64)).encode()
        assert await office.obey(unsigned) is State.REFUSED
        other_body = replace(signed.command, path=(b"elsewhere",)).encode()
        assert await office.obey(replace(signed, body=other_body).encode()) is State.REFUSED
        by_cleo = issue(office.cleo.keys, office.bert.folder.id, signed.command).encode()
        assert await office.obey(by_cleo) is State.REFUSED
        of_another_folder = issue(office.ana.keys, type(office.bert.folder.id)(bytes(32)), signed.command).encode()
        assert await office.obey(of_another_folder) is State.REFUSED
        assert await office.obey(raw) is State.RUNNING

    simulate(story, SEED)


def test_command_of_an_editor_is_refused_whoever_hands_it_in() -> None:
    async def story(simulation: Simulation) -> None:
        office = await open_office(simulation)
        assert await office.obey(office.command(office.cleo), handed_in_by=office.ana) is State.REFUSED
        assert await office.obey(office.command(office.ana), handed_in_by=office.cleo) is State.RUNNING

    simulate(story, SEED)


def test_nobody_fills_the_audit_log_in_the_name_of_another() -> None:
    async def story(simulation: Simulation) -> None:
        office = await open_office(simulation)
        genuine = office.command(office.ana)
        forged = replace(signed_untrusted(office.command(office.ana)), signature=bytes(64)).encode()
        for opted_in in (False, True):
            office.bert.daemon.settings = replace(office.bert.daemon.settings, remote_restore=opted_in)
            for by in (office.ana, office.cleo):
                assert await office.obey(forged, handed_in_by=by) is State.REFUSED
            assert await office.obey(office.command(office.cleo), handed_in_by=office.cleo) is State.REFUSED
        office.bert.daemon.settings = replace(office.bert.daemon.settings, remote_restore=False)
        assert await office.obey(genuine, handed_in_by=office.cleo) is State.REFUSED
        assert await office.actions() == []
        assert office.bert.daemon.refusals.counts[Event.RIGHT] == 7
        assert await office.obey(genuine) is State.REFUSED
        assert await office.actions() == ["remote restore refused"]

    simulate(story, SEED)


def test_command_stops_when_the_person_takes_the_permission_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless(*_: object, **__: object) -> None:
        await trio.sleep_forever()

    async def story(simulation: Simulation) -> None:
        office = await open_office(simulation)
        first, second = office.command(office.ana), office.command(office.ana)
        with monkeypatch.context() as patched:
            patched.setattr(commanding, "bring", endless)
            assert await office.obey(first) is State.RUNNING
            assert await office.obey(second) is State.RUNNING
            await trio.sleep(10.0)
            office.bert.daemon.settings = replace(office.bert.daemon.settings, remote_restore=False)
            for raw in (first, second):
                report = await office.report(raw)
                assert (report.state, report.trouble) == (State.FAILED, "SY-CMD-01")
        office.bert.daemon.settings = replace(office.bert.daemon.settings, remote_restore=True)
        third = office.command(office.ana)
        assert await office.obey(third) is State.RUNNING
        assert (await office.report(third)).state is State.DONE

    simulate(story, SEED)


def test_commands_are_carried_out_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    at_work: list[int] = []

    async def slow(*args: object, **named: object) -> object:
        at_work.append(1)
        assert len(at_work) == 1
        await trio.sleep(3.0)
        at_work.pop()
        return await bring(*args, **named)  # type: ignore[arg-type]

    async def story(simulation: Simulation) -> None:
        office = await open_office(simulation)
        monkeypatch.setattr(commanding, "bring", slow)
        commands = [office.command(office.ana) for _ in range(3)]
        for raw in commands:
            assert await office.obey(raw) is State.RUNNING
        assert [(await office.report(raw)).state for raw in commands] == [State.DONE] * 3

    simulate(story, SEED)
