"""The list of guards is true, and a handful of them is removed here; the others by `make prove ONLY=mutants`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.mutants import ROOT, Copy, Guard, doubled, guards, without

HANDFUL = (
    'raise BlockRefused("a block decrypts to another content than its name says")',
    'return Refuse(403, "not an active device of this folder")',
    'raise RequestRefused(421, "the host is not the name of this connection")',
)


def test_every_guard_is_where_the_list_says() -> None:
    for guard in guards():
        source = (ROOT / guard.file).read_text()
        assert without(guard, source) != source
    assert len(guards()) > 200


def test_every_doubled_guard_is_there_and_its_double_is_one_that_is_missed() -> None:
    missed = {str(guard) for guard in guards()}
    for guard, other in doubled():
        source = (ROOT / guard.file).read_text()
        assert without(guard, source) != source
        assert other.startswith("OpenSSL: ") or other in missed, other


def test_every_test_of_the_list_exists() -> None:
    assert [test for guard in guards() for test in guard.tests if not (ROOT / test).exists()] == []


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    return Copy(tmp_path_factory.mktemp("mutants") / "tree")


@pytest.mark.parametrize("line", HANDFUL)
def test_guard_is_missed(copy: Copy, line: str) -> None:
    guard = next(guard for guard in guards() if guard.line == line)
    assert copy.is_missed(guard)


def test_what_is_no_guard_is_not_missed(copy: Copy) -> None:
    harmless = Guard("ca/ids.py", "from __future__ import annotations", 1, ("tests/unit/ca/test_roles.py",))
    assert not copy.is_missed(harmless)


def test_whole_statement_is_removed() -> None:
    source = "if a:\n    raise B(\n        c,\n    )\nd()\n"
    assert without(Guard("x", "raise B(", 1, ()), source) == "if a:\n    pass\nd()\n"


def test_outdated_line_is_told(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="not there any more"):
        without(Guard("x", "raise B", 2, ()), "raise B\n")
