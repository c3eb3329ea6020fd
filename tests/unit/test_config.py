"""config.toml: what may stand there, and how a mistake is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from syncd.config import (
    ABOUT,
    DEFAULT_LISTEN,
    MAX_CONFIG_BYTES,
    USUAL_CONDITIONS,
    Hook,
    Mail,
    Settings,
    Webhook,
    known_keys,
    load_settings,
    parse_address,
    parse_condition,
    parse_settings,
)
from syncd.errors import ConfigError


def parse(text: str) -> Settings:
    return parse_settings(text, file=Path("config.toml"), home=Path("/home/h"), socket=Path("/home/h/control.sock"))


def test_missing_file_gives_the_defaults(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    assert (settings.listen, settings.listen_configured, settings.peers) == (DEFAULT_LISTEN, False, ())
    assert settings.discovery and settings.device_name
    assert settings.socket == tmp_path / "control.sock"


def test_every_key_is_taken() -> None:
    settings = parse(
        """
        [network]
        listen = ["127.0.0.1:22067", "[::1]:0"]
        peers = ["nas.example:22067"]
        discovery = false
        [device]
        name = " anna-laptop "
        [log]
        level = "debug"
        """
    )
    assert settings.listen == ("127.0.0.1:22067", "[::1]:0")
    assert settings.listen_configured
    assert settings.peers == ("nas.example:22067",)
    assert not settings.discovery
    assert (settings.device_name, settings.log_level) == ("anna-laptop", "debug")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[network]\nlisten = ['localhost']", "network.listen[0]: 'localhost' is not HOST:PORT"),
        ("[network]\nlisten = 'localhost:1'", "network.listen: "),
        ("[network]\npeers = ['nas:1', ':22067']", "network.peers[1]: ':22067' names nobody"),
        ("[network]\nlissten = []", "network.lissten: this key is unknown"),
        ("[network]\ndiscovery = 'yes'", "network.discovery: "),
        ("[log]\nlevel = 'loud'", "log.level: "),
        ("[device]\nname = ''", "device.name: "),
        ("colour = 1\nsize = 2", "colour: this key is unknown (and 1 more)"),
    ],
)
def test_mistake_is_told_with_its_key(text: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert caught.value.id == "SY-CONF-01"
    assert re.match(r"line \d: " + re.escape(named), caught.value.why)


@pytest.mark.parametrize("content", [b"[network", b"\xff\xfe"])
def test_file_that_is_not_toml_is_told_as_such(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.toml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path)
    assert caught.value.id == "SY-CONF-02"


@pytest.mark.parametrize("text", ["nas:22067", "1.2.3.4:1", "[::1]:22067", ":22067", "nas:0"])
def test_address_keeps_its_one_form(text: str) -> None:
    assert parse_address(f" {text} ") == text


@pytest.mark.parametrize(
    "text", ["nas", "nas:", "nas:x", "nas:65536", "::1:22067", "[::1]", "a/b:1", "a b:1", "nas:-1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"HOST:PORT|brackets"):
        parse_address(text)


# --- lines, hooks, sizes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("# x\n[network]\n\npeers = [1]\n", "line 4: network.peers[0]: "),
        ("[netwrk]\n", "line 1: netwrk: this key is unknown"),
        ("[network]\ndiscovry = true\n", "did you mean network.discovery?"),
        ("[log]\nlevel='loud'\n", "line 2: log.level: "),
        ('[[notify]]\nkind="webhook"\nurl="ftp://x"\n', "line 3: notify[0].url: 'ftp://x' is no http"),
        ('[[notify]]\nkind="mail"\nto="a@b"\n[[notify]]\nkind="command"\ncommand=[]\n', "line 6: notify[1].command"),
        ('[[notify]]\nkind="pigeon"\n', "line 1: notify[0]"),
        ('[[notify]]\nkind="mail"\nto="a@b"\non=["stale=soon"]\n', "none of stale=3d"),
        ('[[notify]]\nkind="mail"\nto="a@b"\non=["conflict=3d"]\n', "takes no such limit"),
        ("a=" + "[" * 5000, ""),
    ],
)  # fmt: skip
def test_mistake_is_told_with_its_line(text: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert caught.value.id in ("SY-CONF-01", "SY-CONF-02")
    assert why in caught.value.why


def test_hooks_are_read() -> None:
    hooks = parse(
        """
        [[notify]]
        kind = "webhook"
        url = "https://example.org/hook"
        on = ["stale=2d", "disk=10%", "conflict"]
        [[notify]]
        kind = "command"
        command = ["/usr/bin/notify-send", "syncd"]
        [[notify]]
        kind = "mail"
        to = "anna@example.org"
        sender = "syncd@example.org"
        """
    ).hooks
    assert hooks[0] == Hook(
        Webhook("https://example.org/hook"), (("stale", 172_800.0), ("disk", 10.0), ("conflict", 0.0))
    )
    assert tuple(name for name, _ in hooks[1].on) == USUAL_CONDITIONS
    assert hooks[2].target == Mail("anna@example.org", "localhost:25", "syncd@example.org")


def test_huge_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("#" * (MAX_CONFIG_BYTES + 1))
    with pytest.raises(ConfigError, match="too large"):
        load_settings(tmp_path)


def test_every_setting_is_explained() -> None:
    assert list(ABOUT) == [key for key in ABOUT if key in known_keys()]
    assert ABOUT.keys() == known_keys().keys()


def test_every_simple_key_is_known() -> None:
    assert {"network.listen", "network.peers", "network.discovery", "device.name", "log.level", "log.format"} <= set(
        known_keys()
    )


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("behind", ("behind", 86_400.0)),
        ("behind=2h", ("behind", 7_200.0)),
        ("copies=3", ("copies", 3.0)),
        ("refused=20", ("refused", 20.0)),
        ("digest=7d", ("digest", 7 * 86_400.0)),
        ("disk=10%", ("disk", 10.0)),
    ],
)
def test_condition_with_its_limit(text: str, parsed: tuple[str, float]) -> None:
    assert parse_condition(text) == parsed


@pytest.mark.parametrize("text", ["copies=3d", "refused=5%", "disk=5", "behind=3", "conflict=1", "digest=%", "calm"])
def test_limit_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"takes no such limit|is none of"):
        parse_condition(text)
