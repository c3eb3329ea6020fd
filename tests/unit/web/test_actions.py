"""Everything that the page can do, the command line can do; and forms become parameters, or are refused."""

from __future__ import annotations

import ast
import json

import pytest

from syncd.cli.commands import TREE, Branch, Leaf
from syncd.errors import ConfigError
from syncd.web.actions import ACTIONS
from syncd.web.methods import METHODS, parse_params_untrusted
from syncd.web.page import STEPS, VIEWS, fields_of
from syncd.web.render import in_address
from tests.helpers.sources import ROOT

FORM = {
    "folder": "ab" * 32,
    "member": "cd" * 16,
    "invite": "ef" * 8,
    "id": "abcd",
    "path": "/home/anna/Photos",
    "name": "",
    "role": "editor",
    "kind": "code",
    "expires": "15m",
    "code": "7-guitar-uncle-merit",
    "join": "00" * 8,
    "where": "%2Fhome%2Fanna%2FPhotos",
    "keep": "both",
    "space": "20G",
    "key": "log.level",
    "value": "debug",
    "for": "8h",
    "at": "1700000000",
    "before": "",
    "password": "",
    "most": "3",
}
SHOWN_WITHOUT_ASKING = {"config.show": ("config", "settings_with_origin")}
"""Methods whose command needs no daemon: its module, and the function of the daemon's side that it calls itself."""
each_action = pytest.mark.parametrize("name", ACTIONS)


def leaf(words: str) -> Leaf:
    first, _, second = words.partition(" ")
    found = TREE[first]
    if isinstance(found, Branch):
        return found.leaves[second]
    assert not second
    return found


def calls(source: str, *functions: str) -> list[ast.Call]:
    """Calls of these functions in a module's text."""
    nodes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [node for node in nodes if ast.unparse(node.func) in functions]


def texts(call: ast.Call) -> set[str]:
    """The arguments of a call that are plain text."""
    return {str(argument.value) for argument in call.args if isinstance(argument, ast.Constant)}


def methods_called(module: str) -> set[str]:
    """The methods of the control socket that a module of the command line asks for."""
    source = (ROOT / "syncd" / "cli" / f"{module}.py").read_text("utf-8")
    asked = calls(source, "session.call", "session.stream", "guest.session.call", "guest.session.stream")
    return set().union(*map(texts, asked)) & set(METHODS)


def views_ask() -> list[ast.Call]:
    sources = [path.read_text("utf-8") for path in sorted((ROOT / "syncd" / "web" / "views").glob("*.py"))]
    return [call for source in sources for call in calls(source, "asked.call", "maybe_call")]


@each_action
def test_command_line_does_the_same_by_the_same_method(name: str) -> None:
    action = ACTIONS[name]
    assert action.method in METHODS
    assert action.method in methods_called(leaf(action.words).module)


@each_action
def test_form_becomes_parameters_that_the_method_takes(name: str) -> None:
    action = ACTIONS[name]
    parse_params_untrusted(action.method, json.dumps(action.params(FORM)).encode())


def test_everything_that_a_view_asks_for_a_command_shows_too() -> None:
    every = {found for module in (ROOT / "syncd" / "cli").glob("*.py") for found in methods_called(module.stem)}
    asked = set().union(*map(texts, views_ask())) & set(METHODS)
    assert len(asked) >= 8
    assert sorted(asked - every - set(SHOWN_WITHOUT_ASKING)) == []
    for module, function in SHOWN_WITHOUT_ASKING.values():
        assert calls((ROOT / "syncd" / "cli" / f"{module}.py").read_text("utf-8"), function)


def test_no_view_changes_anything() -> None:
    """What a GET may ask: methods that only look, or that say what they would do."""
    changing = {action.method for action in ACTIONS.values()}
    for call in views_ask():
        if texts(call) & changing:
            assert "dry_run=True" in [ast.unparse(keyword) for keyword in call.keywords]
    assert not VIEWS.keys() & STEPS.keys()


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("share", "path", "relative/path"),
        ("share", "path", ""),
        ("share", "role", "emperor"),
        ("share", "kind", "pigeon"),
        ("share", "expires", "9999d"),
        ("find", "code", " "),
        ("link", "path", "relative/path"),
        ("link", "expires", "9999d"),
        ("link", "most", "0"),
        ("link", "most", "-1"),
        ("link", "most", "\u0663"),
        ("link", "most", "1000001"),
        ("link", "most", "000000001" + "0" * 5_000),
        ("restore", "at", "1" * 5_000),
        ("restore", "at", "yesterday"),
        ("restore", "at", ""),
        ("restore", "where", "etc"),
        ("resolve", "keep", "none"),
        ("resolve", "where", ""),
        ("pause", "for", "99999h"),
        ("join", "path", "~/Photos"),
    ],
)
def test_field_that_does_not_fit_is_refused(name: str, field: str, value: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ACTIONS[name].params(FORM | {field: value})
    assert raised.value.id == "SY-WEB-02"


@pytest.mark.parametrize("name", ["plain", "a b&c=d/e?f#g", "\udcff\udcfe", "日本", "%2e%2e", "+"])
def test_name_in_an_address_comes_back_as_it_was(name: str) -> None:
    assert fields_of(f"path={in_address(name)}&x=") == {"path": name, "x": ""}
