"""What is understood without Typer is exactly what Typer understands; everything else is left to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from syncd.cli.commands import TREE, Branch
from syncd.cli.options import REQUIRED, Argument, Parameter, parameters_of
from syncd.cli.parsing import PLAIN_KINDS, understood
from syncd.cli.root import application
from syncd.cli.session import Command, Context, take_flags

Run = tuple[object, ...]

PLAIN = (
    "status",
    "--home /h status --json",
    "--home=/h --socket /s -q status Photos -y",
    "-y --timeout 2m share /tmp/x --link --uses 3 --no-wait --json",
    "share /tmp/x --role viewer --expires=2d --name Holidays",
    "join syncd:abc /tmp/y --yes --no-wait --via a:1 --via b:2 --filter *.o",
    "folder --json show Photos",
    "--json folder --utc show -v Photos",
    "wait Photos Music --timeout 5s",
    "link create a/b --max-downloads 5",
    "run --foreground",
    "stop",
    "help topics",
    "completion words folder sh",
)
LEFT_TO_TYPER = (
    "",
    "nonsense",
    "--version",
    "-h",
    "share --help",
    "share -qv /tmp",
    "share -- /tmp",
    "share --uses",
    "share --uses x /tmp",
    "share --uses -1 /tmp",
    "share --nam x /tmp",
    "share --link=yes /tmp",
    "share --name a --name b /tmp",
    "share /a /b",
    "join - /tmp",
    "folder",
    "folder nonsense",
    "status --home /h",
    "link create a --max-downloads 0",
)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """What commands were run, with what; none of them does anything."""
    seen: list[Run] = []

    def note(self: Command, given: Context, path: str, values: dict[str, Any]) -> int:
        flags = given.flags.merged(take_flags(values))
        seen.append((self.function, given.place, flags, path, values))
        return 7

    monkeypatch.setattr(Command, "run", note)
    return seen


def compare(words: Sequence[str], runs: list[Run]) -> None:
    run = understood(words)
    assert run is not None, words
    assert run() == 7
    assert application().main(args=list(words), prog_name="syncd", standalone_mode=False) == 7
    own, of_typer = runs
    assert own == of_typer


@pytest.mark.parametrize("line", PLAIN)
def test_what_is_plain_is_understood_as_typer_does(line: str, runs: list[Run]) -> None:
    compare(line.split(), runs)


@pytest.mark.parametrize("line", LEFT_TO_TYPER)
def test_everything_else_is_left_to_typer(line: str) -> None:
    assert understood(line.split()) is None


def test_what_is_empty_or_looks_like_a_flag_is_left_to_typer() -> None:
    for words in (["share", ""], ["share", "--name", ""], ["share", "--name="], ["share", "--name", "-y"], ["ls", " "]):
        assert (understood(words) is None) == (words != ["ls", " "]), words


def commands() -> Iterator[tuple[list[str], Command]]:
    for name, entry in TREE.items():
        if isinstance(entry, Branch):
            yield from (([name, second], leaf.load()) for second, leaf in entry.leaves.items())
        else:
            yield [name], entry.load()


ALL = {" ".join(words): command for words, command in commands()}


def value_of(parameter: Parameter) -> str:
    return "2" if parameter.kind in (int, int | None) else f"some{parameter.name}"


def words_for(parameter: Parameter) -> list[str]:
    if isinstance(parameter.declared, Argument):
        return [value_of(parameter)]
    name = parameter.declared.names[-1]
    if parameter.kind is bool:
        return [name]
    times = 2 if parameter.kind in (list[str], list[str] | None) else 1
    return [name, value_of(parameter)] * times


@pytest.mark.parametrize("path", ALL)
def test_every_command_is_the_same_with_all_it_takes_and_with_the_least(path: str, runs: list[Run]) -> None:
    own = parameters_of(ALL[path].function)
    if any(one.kind not in PLAIN_KINDS for one in own):  # a choice among words, a path
        assert understood([*path.split(), *(word for one in own for word in words_for(one))]) is None
        return
    compare([*path.split(), *(word for one in own for word in words_for(one))], runs)
    runs.clear()
    needed = [one for one in own if one.default is REQUIRED]
    compare([*path.split(), *(word for one in needed for word in words_for(one))], runs)
