"""Whoever holds a recovery key is answered as long as a folder lists it, and one folder more costs only that one."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from ca.epochs import recovery_label
from ca.ids import FolderId
from ca.recovery import PublicRecovery, RecoveryKey
from syncd.daemon.host import Host
from syncd.daemon.rescuing import Rescue
from syncd.daemon.running import RunningFolder

ONE, TWO = RecoveryKey(b"1" * 32).public, RecoveryKey(b"2" * 32).public


@dataclass
class Table:
    """The labels that are answered."""

    answered: list[str] = field(default_factory=list)

    def add_recovery(self, label: str, certificate: bytes, key: object) -> None:
        self.answered.append(label)

    def remove(self, label: str) -> None:
        self.answered.remove(label)


def folder(number: int, *keys: PublicRecovery) -> RunningFolder:
    roster = SimpleNamespace(recovery=keys)
    return cast(RunningFolder, SimpleNamespace(id=FolderId(bytes([number]) * 32), membership=Membership(roster)))


@dataclass
class Membership:
    _roster: Any
    asked: int = 0

    @property
    def roster(self) -> Any:
        self.asked += 1
        return self._roster


def rescue() -> tuple[Rescue, Table]:
    table = Table()
    own = SimpleNamespace(certificate=b"certificate", keys=SimpleNamespace(tls=object()))
    return Rescue(cast(Host, SimpleNamespace(installation=own, table=table))), table


def test_a_key_is_answered_once_and_until_the_last_folder_that_lists_it_has_gone() -> None:
    served, table = rescue()
    first, second = folder(1, ONE), folder(2, ONE, TWO)
    served.relabel(first)
    served.relabel(second)
    served.relabel(second)
    assert sorted(table.answered) == sorted([recovery_label(ONE.id), recovery_label(TWO.id)])
    served.forget(second.id)
    assert table.answered == [recovery_label(ONE.id)]
    served.forget(first.id)
    assert table.answered == []


def test_a_key_that_a_roster_lists_no_more_is_not_answered_any_more() -> None:
    served, table = rescue()
    served.relabel(folder(1, ONE))
    served.relabel(folder(1, TWO))
    assert table.answered == [recovery_label(TWO.id)]


def test_one_folder_more_has_no_other_looked_at() -> None:
    served, _ = rescue()
    others = [folder(number, ONE) for number in range(20)]
    for other in others:
        served.relabel(other)
    served.relabel(folder(99, ONE))
    assert all(cast(Any, other.membership).asked == 1 for other in others)
