"""What the tests in a real browser share: one Chromium for a test, and axe-core's text."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib import resources

import pytest

from tests.helpers.chromium import Browser, chromium


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core; skipped by reason where the package that carries it is not installed."""
    try:
        return (resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
    except ModuleNotFoundError:
        pytest.skip("needs axe-core (.ci/setup installs it)")
