"""Who is asked, what goes where, and that a log gets no progress lines."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from syncd.cli.terminal import Terminal
from syncd.errors import SyncdError


class Tty(io.StringIO):
    """A stream that says it is a terminal."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def isatty(self) -> bool:
        return True


def person(typed: str = "", **options: Any) -> Terminal:
    return Terminal(stdin=Tty(typed), stdout=Tty(), stderr=Tty(), **options)


def script(**options: Any) -> Terminal:
    return Terminal(stdin=io.StringIO(), stdout=io.StringIO(), stderr=io.StringIO(), **options)


def written(stream: object) -> str:
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


@pytest.mark.parametrize(("typed", "answer"), [("y\n", True), ("NO\n", False), ("\n", True), ("what?\nn\n", False)])
def test_person_answers(typed: str, answer: bool) -> None:
    assert person(typed).confirm("Allow?", flag="--yes") is answer


def test_question_goes_to_stderr() -> None:
    terminal = person("y\n")
    terminal.confirm("Allow?", flag="--yes", default=False)
    assert written(terminal.stderr) == "Allow? [y/N] "
    assert written(terminal.stdout) == ""


@pytest.mark.parametrize("terminal", [script(), person("y\n", ask=False), person("y\n", json=True)])
def test_nobody_to_ask_names_the_flag(terminal: Terminal) -> None:
    with pytest.raises(SyncdError) as caught:
        terminal.confirm("Allow?", flag="--yes")
    assert (caught.value.id, caught.value.fix) == ("SY-USE-02", "give --yes")


def test_end_of_input_is_walking_away() -> None:
    with pytest.raises(KeyboardInterrupt):
        person("").confirm("Allow?", flag="--yes")


def test_prompt_takes_its_default() -> None:
    assert person("\n").prompt("Where?", flag="PATH", default="~/Photos") == "~/Photos"
    assert person("/srv\n").prompt("Where?", flag="PATH", default="~/Photos") == "/srv"


def test_progress_is_drawn_in_place_and_taken_away() -> None:
    terminal = person()
    terminal.draw("3 %")
    terminal.draw("4 %")
    terminal.talk("joined")
    assert written(terminal.stderr) == "\r\x1b[K3 %\r\x1b[K4 %\r\x1b[Kjoined\n"


def test_log_gets_no_progress() -> None:
    terminal = script()
    terminal.draw("3 %")
    assert written(terminal.stderr) == ""


@pytest.mark.parametrize("terminal", [person(quiet=True), person(json=True)])
def test_talk_can_be_silenced(terminal: Terminal) -> None:
    terminal.talk("hint")
    terminal.draw("3 %")
    assert written(terminal.stderr) == ""
    terminal.error(["error"])
    assert written(terminal.stderr) == "error\n"


def test_colour_only_on_a_terminal_that_wants_it() -> None:
    for terminal, coloured in ((person(), True), (person(colour=False), False), (script(), False)):
        terminal.result("● in sync")
        assert ("\x1b[32m" in written(terminal.stdout)) is coloured


def test_ascii_terminal_gets_ascii() -> None:
    terminal = person(ascii=True)
    terminal.result("● in sync · ü")
    assert written(terminal.stdout) == "* in sync - \\xfc\n"


def test_json_keeps_names_that_are_not_utf8() -> None:
    terminal = script()
    terminal.result_json({"path": "a\udcff"})
    assert json.loads(written(terminal.stdout)) == {"path": "a\udcff"}
