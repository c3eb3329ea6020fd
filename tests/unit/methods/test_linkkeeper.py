"""Which share links live, and who gets in by one: with real rosters and a real database, on time that tests own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from ca.addresses import AddressRule, parse_network
from ca.ids import FolderId
from syncd.daemon.auditing import AuditLog
from syncd.daemon.devicedb import DeviceDb, FolderRow
from syncd.daemon.installation import Installation
from syncd.daemon.membership import FolderMembership
from syncd.daemon.running import RunningFolder
from syncd.engine import sharelinks
from syncd.engine.sharelinks import GUESSES, LONGEST_SETTING, POLICY_SETTING, End, ShareLink
from syncd.methods import visiting
from syncd.methods.linkkeeper import LinkKeeper
from syncd.methods.visiting import Visits
from syncd.model.ids import NodeId
from syncd.web.linkhost import Proved, Wrong
from tests.helpers.memberships import Devices, bring_in, new_folder, tell

SECRET = sharelinks.secret_text(bytes(range(32)))
PASSWORD = "correct horse battery"
SALT = bytes(16)
DIGEST = sharelinks.password_digest(PASSWORD, SALT)
DAY_S = 86_400

STRANGERS = 12


@dataclass
class Host:
    """What links know of a daemon: its installation, its folders, and where refusals are told."""

    installation: Installation
    folders: dict[FolderId, RunningFolder] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.audit = AuditLog(self.installation)
        self.settings = SimpleNamespace(rules=())
        self.refusals = SimpleNamespace(note=lambda event, address, why: self.refused.append(why))

    def folder(self, id_: FolderId) -> RunningFolder | None:
        return self.folders.get(id_)

    async def runs(self, membership: FolderMembership) -> None:
        """Let a folder run."""
        row = FolderRow(membership.folder_id, "Photos", b"/photos", b"m" * 16, "ann", 0.0)
        nothing = cast(Any, None)
        self.folders[row.id] = RunningFolder(row, membership, nothing, nothing, task=cast(Any, object()))
        await self.installation.on_disk(self.installation.db.put_folder, row)

    async def keeper(self) -> LinkKeeper:
        """As after a start of the daemon."""
        made = LinkKeeper(cast(Any, self))
        await made.load()
        return made

    async def told(self) -> list[str]:
        lines, wrong = await self.audit.lines()
        assert wrong is None
        return [line.action for line in lines]


def link_of(host: Host, membership: FolderMembership, **wishes: Any) -> ShareLink:
    now = int(host.installation.clock.now())
    made = ShareLink(
        id=b"i" * 16,
        folder=membership.folder_id,
        node=NodeId(b"n" * 32),
        name="x",
        is_directory=False,
        made=now,
        expires=now + 3_600,
        verifier=sharelinks.verifier_of(SECRET),
        salt=SALT,
        seen=now,
    )
    return replace(made, **wishes)


async def shared(**wishes: Any) -> tuple[Devices, Host, FolderMembership, LinkKeeper, ShareLink]:
    """Ann has a folder and a link."""
    devices = Devices()
    host = Host(devices.device("ann"))
    membership = await new_folder(host.installation)
    await host.runs(membership)
    keeper = await host.keeper()
    link = link_of(host, membership, **wishes)
    await keeper.put(link)
    await keeper.judge()
    assert keeper.living(link.id) is not None
    return devices, host, membership, keeper, link


# --- what ends -------------------------------------------------------------------------------------------------------


async def test_w2_link_that_a_request_saw_expire_is_over_for_good() -> None:
    devices, host, _, keeper, link = await shared()
    devices.clock.ahead_s += 3_601
    assert keeper.living(link.id) is None
    devices.clock.ahead_s -= DAY_S
    assert keeper.living(link.id) is None
    await keeper.judge()
    assert (await host.told())[-1] == "audit:link.end"
    again = await host.keeper()
    assert again.living(link.id) is None and again.links[0].end is End.EXPIRED
    assert not again.any_lives


async def test_w2_time_that_was_seen_is_on_disk() -> None:
    devices, host, _, keeper, link = await shared()
    devices.clock.ahead_s += 3_000
    await keeper.judge()
    devices.clock.ahead_s -= DAY_S
    again = await host.keeper()
    found = again.living(link.id)
    assert found is not None and found.seen >= link.made + 3_000, "and not a day earlier"


async def test_w3_policy_and_shorter_life_end_links() -> None:
    devices, host, membership, keeper, link = await shared()
    await membership.change_settings([(LONGEST_SETTING, 600)])
    devices.clock.ahead_s += 599
    assert keeper.living(link.id) is not None
    devices.clock.ahead_s += 2
    assert keeper.living(link.id) is None, "the policy counts for what was made before it"
    other = replace(link_of(host, membership), id=b"j" * 16)
    await keeper.put(other)
    await membership.change_settings([(POLICY_SETTING, 2)])
    assert keeper.living(other.id) is None
    await membership.change_settings([(POLICY_SETTING, 0)])
    assert keeper.living(other.id) is None, "what has ended does not come back"
    await keeper.judge()
    assert [one.end for one in (await host.keeper()).links] == [End.EXPIRED, End.FORBIDDEN] or [
        one.end for one in (await host.keeper()).links
    ] == [End.FORBIDDEN, End.EXPIRED]


async def test_w3_link_of_a_removed_member_ends_with_what_runs() -> None:
    devices = Devices()
    ann, ben = Host(devices.device("ann")), Host(devices.device("ben"))
    owner = await new_folder(ann.installation)
    guest = await bring_in(owner, ann.installation, ben.installation, "ben")
    await ben.runs(guest)
    keeper = await ben.keeper()
    link = link_of(ben, guest)
    await keeper.put(link)
    assert keeper.living(link.id) is None, "an editor without the right links"
    await owner.change_settings([(POLICY_SETTING, 1)])
    await tell(owner, guest)
    again = replace(link, id=b"j" * 16)
    await keeper.put(again)
    assert keeper.living(again.id) is not None, "all who read"
    cut: list[str] = []
    with keeper.running(again.id, lambda: cut.append("cut"), "10.0.0.1"):
        member = next(one for one in owner.members() if one.name == "ben")
        await owner.remove(member.id)
        await tell(owner, guest)
        await keeper.judge()
        assert cut == ["cut"]
    late: list[str] = []
    with keeper.running(again.id, lambda: late.append("cut"), "10.0.0.1"):
        assert late == ["cut"], "a download that begins a moment too late"
    assert {one.end for one in keeper.links} <= {End.LEFT, End.FORBIDDEN}


async def test_link_rests_while_its_folder_is_moved_or_paused_and_ends_when_it_is_left() -> None:
    _, host, membership, keeper, link = await shared()
    running = host.folders.pop(membership.folder_id)
    await keeper.judge()
    assert keeper.living(link.id) is None
    host.folders[membership.folder_id] = running
    assert keeper.living(link.id) is not None
    running.paused_until = float("inf")
    cut: list[str] = []
    with keeper.running(link.id, lambda: cut.append("cut"), "10.0.0.1"):
        await keeper.judge()
    assert cut and keeper.living(link.id) is None
    running.paused_until = None
    assert keeper.living(link.id) is not None
    host.folders.clear()
    await host.installation.on_disk(host.installation.db.forget_folder, membership.folder_id)
    await keeper.judge()
    assert keeper.links[0].end is End.LEFT


async def test_download_ends_with_a_folder_that_is_left_while_it_still_runs() -> None:
    _, host, membership, keeper, link = await shared()
    cut: list[str] = []
    with keeper.running(link.id, lambda: cut.append("cut"), "10.0.0.1"):
        await keeper.judge()
        assert not cut, "nothing has happened yet"
        await host.installation.on_disk(host.installation.db.forget_folder, membership.folder_id)
        assert membership.folder_id in host.folders
        await keeper.judge()
    assert cut == ["cut"]
    assert keeper.links[0].end is End.LEFT


async def test_w1_damaged_row_opens_nothing_and_others_go_on() -> None:
    _, host, _, _, link = await shared()
    db = host.installation.db
    await host.installation.on_disk(db.put_share_link, b"k" * 16, link.folder, b"\x80")
    await host.installation.on_disk(db.put_share_link, b"l" * 16, link.folder, sharelinks.pack(replace(link, used=7)))
    again = await host.keeper()
    assert [(one.id, one.used) for one in again.links] == [(link.id, 0)]
    assert again.living(link.id) is not None and again.living(b"k" * 16) is None and again.living(b"l" * 16) is None


async def test_links_of_a_database_that_is_a_copy_end() -> None:
    """The copy may be older than a revocation."""
    _, host, _, _, link = await shared()
    host.installation.db.moved_aside = "device.db.broken"
    again = await host.keeper()
    assert again.living(link.id) is None and again.links[0].end is End.DOUBTFUL


# --- W8 --------------------------------------------------------------------------------------------------------------


@pytest.mark.slowest
async def test_w8_a_thousand_races_of_fifty_have_one_winner_each() -> None:
    _, _, _, keeper, link = await shared(most=1)
    for race in range(1_000):
        one = replace(link, id=race.to_bytes(16, "big"))
        await keeper.put(one)
        won: list[bool] = []

        async def run(id: bytes = one.id, won: list[bool] = won) -> None:
            won.append(await keeper.take(id))

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(run)
        assert won.count(True) == 1 and len(won) == 50


# --- W6 --------------------------------------------------------------------------------------------------------------


def proving(host: Host, keeper: LinkKeeper, link: ShareLink) -> Callable[..., Any]:
    visits = Visits(cast(Any, host), keeper, most_strangers=STRANGERS)

    async def prove(password: str, from_: int, secret: str = SECRET, id_: bytes = link.id) -> Proved | Wrong:
        return await visits.prove(id_.hex(), secret, password, f"10.0.{from_ // 200}.{from_ % 200}")

    return prove


async def test_w6_wrong_passwords_from_everywhere_get_ten_a_minute_and_an_alarm(autojump_clock: MockClock) -> None:
    _, host, _, keeper, link = await shared(has_password=True, password=DIGEST)
    prove = proving(host, keeper, link)
    answers = [await prove("not this one", number) for number in range(40)]
    assert sum(isinstance(one, Wrong) and not one.wait_s for one in answers) == GUESSES
    waits = await prove(PASSWORD, 999)
    assert isinstance(waits, Wrong) and 0 < waits.wait_s <= 60
    assert "audit!link.guessed" in await host.told()
    await trio.sleep(61)
    assert isinstance(await prove(PASSWORD, 999), Proved)


async def test_who_lacks_the_secret_keeps_out_nobody_who_has_it() -> None:
    _, host, _, keeper, link = await shared(has_password=True, password=DIGEST)
    prove = proving(host, keeper, link)
    answers = [await prove(PASSWORD, number, secret="A" * 43) for number in range(STRANGERS + 5)]
    answers += [await prove(PASSWORD, number, id_=b"u" * 16) for number in range(5)]
    assert sum(not one.wait_s for one in answers) == STRANGERS
    assert isinstance(await prove(PASSWORD, 999), Proved)
    assert not isinstance(await prove(PASSWORD, 998, secret="A" * 43), Proved)


async def test_right_ones_of_a_crowd_behind_one_address_all_get_in() -> None:
    _, host, _, keeper, link = await shared(has_password=True, password=DIGEST)
    prove = proving(host, keeper, link)
    answers: list[Proved | Wrong] = []

    async def come() -> None:
        answers.append(await prove(PASSWORD, 7))

    async with trio.open_nursery() as nursery:
        for _ in range(GUESSES + 2):
            nursery.start_soon(come)
    assert (
        all(isinstance(one, Proved) for one in answers)
        and len({one.cookie for one in answers if isinstance(one, Proved)}) == GUESSES + 2
    )


async def test_database_without_the_table_is_migrated() -> None:
    connection = sqlite3.connect(":memory:")
    db = DeviceDb.open(lambda: connection, lambda: "aside")
    assert db.share_links() == []
    db.put_share_link(b"i" * 16, FolderId(b"f" * 32), b"body")
    assert db.share_links() == [(b"i" * 16, b"body")]
    db.drop_share_link(b"i" * 16)
    assert db.share_links() == []
    db.close()


# --- what people outside can cause ----------------------------------------------------------------------------------


async def test_who_has_a_link_fills_neither_the_audit_log_nor_the_sessions(autojump_clock: MockClock) -> None:
    _, host, _, keeper, link = await shared()
    link = replace(link, expires=link.expires + 2 * 3_600)
    other = replace(link, id=b"o" * 16)
    await keeper.put(link)
    await keeper.put(other)
    visits = Visits(cast(Any, host), keeper)
    honest = await visits.prove(other.id.hex(), SECRET, "", "10.9.9.9")
    answers = [await visits.prove(link.id.hex(), SECRET, "", f"10.1.{n % 50}.1") for n in range(3_000)]
    let_in = [one for one in answers if isinstance(one, Proved)]
    assert len(let_in) == 50 * visiting.MAX_OPENED, "so many a minute from one address"
    assert isinstance(honest, Proved) and visits.visitor(other.id.hex(), honest.cookie, "10.9.9.9") is not None
    here = [visits.visitor(link.id.hex(), one.cookie, "10.1.0.1") for one in let_in]
    assert sum(one is not None for one in here) == visiting.MAX_OF_LINK
    assert here[-1] is not None, "who came last"
    told = await host.told()
    assert told.count("audit:link.open") == 1 + sharelinks.TOLD
    await trio.sleep(sharelinks.TOLD_S)
    await keeper.judge()
    lines, _ = await host.audit.lines()
    assert lines[-1].action == "audit:link.open"
    assert f"and {len(let_in) - sharelinks.TOLD:,} more within an hour" in lines[-1].about
    assert isinstance(await visits.prove(link.id.hex(), SECRET, "", "10.1.0.1"), Proved)
    assert len(await host.told()) == len(lines) + 1, "and from then on they are told again"


async def test_w3_disk_that_refuses_to_write_keeps_no_link_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    _, host, membership, keeper, link = await shared()
    other = replace(link, id=b"j" * 16)
    await keeper.put(other)
    db = host.installation.db
    real, cut = db.put_share_link, list[bytes]()

    def full(id: bytes, folder: FolderId, body: bytes) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(DeviceDb, "put_share_link", lambda self, *row: full(*row))
    with (
        keeper.running(link.id, lambda: cut.append(link.id), "10.0.0.1"),
        keeper.running(other.id, lambda: cut.append(other.id), "10.0.0.1"),
    ):
        await membership.change_settings([(POLICY_SETTING, 2)])
        with pytest.raises(sqlite3.OperationalError):
            await keeper.judge()
    assert sorted(cut) == [link.id, other.id], "both, not only the one that was to be written first"
    monkeypatch.setattr(DeviceDb, "put_share_link", lambda self, *row: real(*row))
    await keeper.judge()
    assert {one.end for one in (await host.keeper()).links} == {End.FORBIDDEN}, "written once that is possible"
    assert (await host.told()).count("audit:link.end") == 2


async def test_download_ends_where_the_folder_allows_its_address_no_more() -> None:
    _, _, membership, keeper, link = await shared()
    cut: list[str] = []
    with (
        keeper.running(link.id, lambda: cut.append("there"), "203.0.113.7"),
        keeper.running(link.id, lambda: cut.append("here"), "192.168.1.7"),
    ):
        await membership.rule_addresses((AddressRule(True, parse_network("192.168.0.0/16")),))
        await keeper.judge()
        assert cut == ["there"]
    found = keeper.living(link.id)
    assert found is not None and keeper.refuses(found, "203.0.113.7") is not None
    assert keeper.refuses(found, "192.168.1.7") is None
