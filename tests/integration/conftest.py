"""Fixtures of tests with real daemons."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.computers import Computer
from tests.helpers.faults import demand_quiet_log, pair


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Computer, Computer]]:
    """Anna and ben, who share a folder and run; at the end no log may have a word of an error."""
    with pair(tmp_path_factory.mktemp("two")) as (anna, ben):
        yield anna, ben
        demand_quiet_log(anna)
        demand_quiet_log(ben)
