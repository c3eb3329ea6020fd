"""Blocking. `config.toml` of the home -> `Settings`, read at start and at SIGHUP, and passed down.

The file is for people: an unknown key is an error, and every message names the key as it is written and its line.
Without a file, or without a key, the defaults of this module hold.
"""

from __future__ import annotations

import difflib
import platform
import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from ca.addresses import AddressRule, AddressRules, Network, parse_network, sorted_rules
from ca.values import dataclass
from syncd import home as homes
from syncd.engine.limits import NO_LIMITS, UNLIMITED, Limits, parse_limits, parse_only, parse_rate, parse_window
from syncd.errors import ConfigError
from syncd.tables import (
    Fault,
    Faults,
    boolean,
    checked,
    default_of,
    keys_of,
    list_of,
    one_of,
    section,
    section_by,
    takes,
    text,
)

DEFAULT_PORT = 22067
DEFAULT_LISTEN = (f":{DEFAULT_PORT}",)  # an empty host is every address of the machine
DEFAULT_WEB_LISTEN = "127.0.0.1:22080"
DEFAULT_LINKS_LISTEN = ":22090"
LONGEST_NAME = 64

MAX_CONFIG_BYTES = 1 << 20
_HOST = re.compile(r"[a-z0-9.\[\]:-]{1,253}")

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "console", "journal", "json", "syslog"]
Condition = Literal[
    "stale", "behind", "copies", "conflict", "mass-delete", "error", "refused", "certificate", "disk", "digest"
]  # fmt: skip

CONDITION_DEFAULTS: dict[Condition, float] = {
    "stale": 3 * 86_400.0,  # seconds without a word of a peer
    "behind": 86_400.0,  # seconds during which a folder was not in sync
    "copies": 2.0,  # computers that are known to have all of a folder
    "conflict": 0.0,
    "mass-delete": 0.0,
    "error": 0.0,
    "refused": 100.0,  # refusals within an hour
    "certificate": 400 * 86_400.0,  # seconds since the folder's certificate was made
    "disk": 5.0,  # percent that are free
    "digest": 86_400.0,  # seconds from one summary to the next
}
USUAL_CONDITIONS: tuple[Condition, ...] = ("stale", "conflict", "mass-delete", "error", "certificate", "disk")
"""What a hook tells that names no conditions."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A notification becomes a POST of JSON."""

    url: str


@dataclass(frozen=True, slots=True)
class Command:
    """A notification starts a program, without a shell; it gets the JSON on stdin and SYNCD_EVENT, SYNCD_TEXT."""

    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mail:
    """A notification becomes a mail, handed to an SMTP server."""

    to: str
    server: str
    sender: str


@dataclass(frozen=True, slots=True)
class Desktop:
    """A notification appears on the screen of the person whose daemon it is."""


Target: TypeAlias = Webhook | Command | Mail | Desktop


@dataclass(frozen=True, slots=True)
class Hook:
    """Whom to tell, and on what: each condition with its limit (seconds or percent; 0 where there is none)."""

    target: Target
    on: tuple[tuple[Condition, float], ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a daemon is told from outside."""

    home: Path
    socket: Path
    listen: tuple[str, ...] = DEFAULT_LISTEN  # `host:port`, as seams.Network takes them
    listen_configured: bool = False  # then a taken port is an error; by default the next free of ten is used
    peers: tuple[str, ...] = ()  # `host:port`
    rules: AddressRules = ()  # who may connect to this device at all, before a byte is read
    discovery: bool = True
    device_name: str = "syncd"
    log_level: LogLevel = "info"
    log_format: LogFormat = "auto"
    hooks: tuple[Hook, ...] = ()
    metrics_listen: str | None = None  # `host:port` on loopback; None: only on the control socket
    web_listen: str = DEFAULT_WEB_LISTEN  # `host:port` on loopback
    web_listen_configured: bool = False
    web_hosts: tuple[str, ...] = ()  # more values of Host by which the page may be asked for
    links_listen: str = DEFAULT_LINKS_LISTEN  # `host:port`; only while a share link lives
    links_listen_configured: bool = False
    links_url: str | None = None  # how people outside reach that address: `https://name[:port]`
    links_certificate: tuple[str, str] | None = None  # files of the certificate and its key
    remote_restore: bool = False  # whether admins may have this device restore
    restore_below: str | None = None  # outside of folders: only in directories below this one
    limits: Limits = NO_LIMITS  # how fast content may come and go, and when


RELOADABLE = frozenset({"log_level", "log_format", "hooks", "peers", "remote_restore", "restore_below", "limits"})
"""Settings that SIGHUP changes; the others take a restart."""
RELOADABLE_KEYS = frozenset({"log.level", "log.format", "network.peers", "restore.remote", "restore.below"}) | {
    "limits.up",
    "limits.down",
    "limits.schedule",
    "limits.only",
}
"""The same, as they are called in the file."""


ABOUT: dict[str, str] = {
    "network.listen": "addresses to listen on; a configured port that is taken is an error",
    "network.peers": "`HOST:PORT` to try besides those found",
    "network.discovery": "announce and look on the local network",
    "network.allow": "who may connect; others are refused",
    "network.deny": "who may not connect",
    "device.name": "how others see this computer",
    "log.level": "debug, info, warning, error",
    "log.format": "console, journal, json (one object a line), syslog (RFC 5424); auto is journal under systemd and "
    "console elsewhere",
    "metrics.listen": "health and numbers on this loopback address",
    "web.listen": "where the status page is, on loopback",
    "web.hosts": "more names by which a browser may ask for the page",
    "links.listen": "where share links are served, by HTTPS, while one lives",
    "links.url": "how people outside reach that, as https://files.example.org",
    "links.certificate": "a certificate for share links (PEM), in place of one that this device signs itself",
    "links.key": "the key of that certificate (PEM)",
    "restore.remote": "an owner or admin of a folder may have this computer restore parts of it (`syncd restore --on`)",
    "limits.up": "the most that is sent, as 500 kB/s or 20 Mbit/s; pause: nothing",
    "limits.down": "the most that is received",
    "limits.schedule": "other limits for parts of the week, in local time",
    "limits.only": "further limits for single folders and peers",
    "restore.below": "the directory below which others may have this computer restore outside of folders; "
    "symlinks in it are not followed",
}
"""Every setting in a few words; docs/settings.md has the same."""


def load_settings(home: Path, *, socket: Path | None = None) -> Settings:
    """Read the settings of a home. Raises ConfigError: SY-CONF-01 what is wrong, SY-CONF-02 it cannot be read."""
    file = home / homes.CONFIG_NAME
    return parse_settings(read_config(file), file=file, home=home, socket=socket or homes.socket_path(home))


def read_config(file: Path) -> str:
    """The text of a config file, empty if there is none. Raises ConfigError SY-CONF-02."""
    try:
        with open(file, "rb") as stream:
            raw = stream.read(MAX_CONFIG_BYTES + 1)
        if len(raw) > MAX_CONFIG_BYTES:
            raise ConfigError(
                f"{file} is too large", id="SY-CONF-02", why=f"It has more than {MAX_CONFIG_BYTES} bytes."
            )
        return raw.decode("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read", id="SY-CONF-02", why=str(error)) from error


def parse_settings(content: str, *, file: Path, home: Path, socket: Path) -> Settings:
    """Build the settings from the content of a config file; `file` is only its name for messages."""
    try:
        config = section(_File)(tomllib.loads(content))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not TOML", id="SY-CONF-02", why=str(error)) from error
    except (RecursionError, ValueError) as error:
        why = _explain(error, content) if isinstance(error, Faults) else str(error)
        raise ConfigError(f"{file} is not valid", id="SY-CONF-01", why=why, fix=f"edit {file}") from error
    network = config.network
    return Settings(
        home=home,
        socket=socket,
        listen=DEFAULT_LISTEN if network.listen is None else network.listen,
        listen_configured=network.listen is not None,
        peers=network.peers,
        rules=_rules(network.allow, network.deny),
        discovery=network.discovery,
        device_name=config.device.name or host_name(),
        log_level=config.log.level,
        log_format=config.log.format,
        hooks=tuple(_hook(entry) for entry in config.notify),
        metrics_listen=config.metrics.listen,
        web_listen=config.web.listen or DEFAULT_WEB_LISTEN,
        web_listen_configured=config.web.listen is not None,
        web_hosts=config.web.hosts,
        links_listen=config.links.listen or DEFAULT_LINKS_LISTEN,
        links_listen_configured=config.links.listen is not None,
        links_url=config.links.url,
        links_certificate=config.links.files,
        remote_restore=config.restore.remote,
        restore_below=config.restore.below,
        limits=parse_limits(config.limits.up, config.limits.down, config.limits.schedule, config.limits.only),
    )


def known_keys() -> dict[str, Any]:
    """Every key of the file that has one value, with its default, as `config show` lists them."""
    return {
        f"{name}.{entry}": default_of(type(default_of(_File, name)), entry)
        for name in keys_of(_File)
        if name != "notify"  # of these there may be several
        for entry in keys_of(type(default_of(_File, name)))
    }


def settings_with_origin(home: Path) -> list[dict[str, Any]]:
    """Every setting with its value, and where it comes from: `file` or `default`. Raises ConfigError."""
    file = home / homes.CONFIG_NAME
    content = read_config(file)
    parse_settings(content, file=file, home=home, socket=homes.socket_path(home))
    written = tomllib.loads(content)
    found = []
    for setting, default in known_keys().items():
        table, _, name = setting.partition(".")
        in_file = name in written.get(table, {})
        value = written[table][name] if in_file else default
        about = {"about": ABOUT[setting], "at_once": setting in RELOADABLE_KEYS}
        found.append({"key": setting, "value": value, "origin": "file" if in_file else "default", **about})
    return found


def host_name() -> str:
    """How this machine is called when nobody named it: the first part of its host name."""
    return platform.node().split(".")[0][:LONGEST_NAME] or "syncd"


def parse_address(text: str) -> str:
    """Check `HOST:PORT` and give its one form; IPv6 in brackets, an empty host allowed. Raises ValueError."""
    host, separator, port = text.strip().rpartition(":")
    if not separator or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"{text!r} is not HOST:PORT")
    if (":" in host) != (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"{text!r}: an IPv6 address stands in brackets, as in [::1]:{port}")
    if any(character.isspace() or character == "/" for character in host):
        raise ValueError(f"{text!r} is not HOST:PORT")
    return f"{host}:{int(port)}"


def _reachable(text: str) -> str:
    address = parse_address(text)
    if address.startswith(":") or address.endswith(":0"):
        raise ValueError(f"{text!r} names nobody: a host and a port are needed")
    return address


def _network(text: str) -> Network:
    try:
        return parse_network(text)
    except ConfigError as error:
        raise ValueError(f"{error}: {error.why}") from error


def _rules(allowed: Iterable[Network], denied: Iterable[Network]) -> AddressRules:
    return sorted_rules([AddressRule(True, one) for one in allowed] + [AddressRule(False, one) for one in denied])


def _loopback(text: str) -> str:
    address = parse_address(text)
    if address.rpartition(":")[0] not in ("127.0.0.1", "[::1]", "localhost"):
        raise ValueError(f"{text!r} is not on this machine alone: 127.0.0.1, [::1] or localhost")
    return address


def _host_name(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ValueError(f"{text!r} is not NAME or NAME:PORT, as a browser sends it")
    return text


def _device_name(text: str) -> str:
    name = text.strip()
    if not 1 <= len(name) <= LONGEST_NAME:
        raise ValueError(f"a name has 1 to {LONGEST_NAME} characters")
    return name


def _absolute(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"{text!r} is not an absolute path")
    return text


def _https_address(text: str) -> str:
    if not re.fullmatch(r"https://[^\s/@?#]+", text):
        raise ValueError(f"{text!r} is not https://NAME or https://NAME:PORT")
    return text


_CONDITION = re.compile(rf"({'|'.join(CONDITION_DEFAULTS)})(?:=(\d+)([smhd%]?))?")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_UNITS_OF: dict[str, str] = {
    **dict.fromkeys(("stale", "behind", "certificate", "digest"), "smhd"),
    "disk": "%",
    **dict.fromkeys(("copies", "refused"), ""),
}
"""In what the limit of a condition is counted; the others have none."""


CONDITIONS = (
    "stale=3d, behind=1d, copies=2, conflict, mass-delete, error, refused=100, certificate=400d, disk=5%, digest=1d"
)
"""Every condition with its usual limit."""


def parse_condition(text: str) -> tuple[Condition, float]:
    """`stale=3d`, `copies=2`, `disk=5%`, `conflict`: what to tell about, from where on. Raises ValueError."""
    match = _CONDITION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is none of {CONDITIONS}")
    name, number, unit = match[1], match[2], match[3]
    units = _UNITS_OF.get(name)
    if number is not None and (units is None or (unit == "") != (units == "") or unit not in units):
        raise ValueError(f"{text!r}: {name} takes no such limit")
    condition: Condition = name  # type: ignore[assignment]  # the expression above admits no other word
    limit = CONDITION_DEFAULTS[condition] if number is None else float(number) * _SECONDS.get(unit or "%", 1)
    return condition, limit


def _web_address(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s/@]+(/\S*)?", text):
        raise ValueError(f"{text!r} is no http:// or https:// address (names and passwords do not belong in it)")
    return text


def _mail_address(text: str) -> str:
    if not re.fullmatch(r"[^\s@<>,]+@[^\s@<>,]+", text):
        raise ValueError(f"{text!r} is no mail address")
    return text


def _window(text: str) -> None:
    parse_window(text, UNLIMITED)


# --- what may stand in the file: sections, their keys and their defaults ----------------------------------------------


@dataclass(frozen=True, slots=True)
class _Network:
    listen: tuple[str, ...] | None = takes(list_of(text(parse_address)), None)
    peers: tuple[str, ...] = takes(list_of(text(_reachable)), ())
    allow: tuple[Network, ...] = takes(list_of(text(_network)), ())
    deny: tuple[Network, ...] = takes(list_of(text(_network)), ())
    discovery: bool = takes(boolean, True)


@dataclass(frozen=True, slots=True)
class _Device:
    name: str | None = takes(text(_device_name), None)


@dataclass(frozen=True, slots=True)
class _Log:
    level: LogLevel = takes(one_of(get_args(LogLevel)), "info")
    format: LogFormat = takes(one_of(get_args(LogFormat)), "auto")


@dataclass(frozen=True, slots=True)
class _Metrics:
    listen: str | None = takes(text(_loopback), None)


_ON = list_of(checked(parse_condition))


@dataclass(frozen=True, slots=True)
class _Webhook:
    url: str = takes(text(_web_address))
    kind: str = takes(text(str), "webhook")
    on: tuple[str, ...] = takes(_ON, USUAL_CONDITIONS)


@dataclass(frozen=True, slots=True)
class _Command:
    command: tuple[str, ...] = takes(list_of(text(str), least=1))
    kind: str = takes(text(str), "command")
    on: tuple[str, ...] = takes(_ON, USUAL_CONDITIONS)


@dataclass(frozen=True, slots=True)
class _Mail:
    to: str = takes(text(_mail_address))
    sender: str | None = takes(text(_mail_address), None)
    server: str = takes(text(_reachable), "localhost:25")
    kind: str = takes(text(str), "mail")
    on: tuple[str, ...] = takes(_ON, USUAL_CONDITIONS)


@dataclass(frozen=True, slots=True)
class _Desktop:
    kind: str = takes(text(str), "desktop")
    on: tuple[str, ...] = takes(_ON, USUAL_CONDITIONS)


_HOOKS = {"webhook": _Webhook, "command": _Command, "mail": _Mail, "desktop": _Desktop}


@dataclass(frozen=True, slots=True)
class _Web:
    listen: str | None = takes(text(_loopback), None)
    hosts: tuple[str, ...] = takes(list_of(text(_host_name)), ())


@dataclass(frozen=True, slots=True)
class _Links:
    listen: str | None = takes(text(parse_address), None)
    url: str | None = takes(text(_https_address), None)
    certificate: str | None = takes(text(_absolute), None)
    key: str | None = takes(text(_absolute), None)

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key are given together, or not at all")

    @property
    def files(self) -> tuple[str, str] | None:
        return None if self.certificate is None or self.key is None else (self.certificate, self.key)


@dataclass(frozen=True, slots=True)
class _Restore:
    remote: bool = takes(boolean, False)
    below: str | None = takes(text(_absolute), None)


@dataclass(frozen=True, slots=True)
class _Limits:
    up: str = takes(checked(parse_rate), "none")
    down: str = takes(checked(parse_rate), "none")
    schedule: tuple[str, ...] = takes(list_of(checked(_window), most=64), ())
    only: tuple[str, ...] = takes(list_of(checked(parse_only), most=256), ())


@dataclass(frozen=True, slots=True)
class _File:
    network: _Network = takes(section(_Network), _Network())
    device: _Device = takes(section(_Device), _Device())
    log: _Log = takes(section(_Log), _Log())
    metrics: _Metrics = takes(section(_Metrics), _Metrics())
    notify: tuple[_Webhook | _Command | _Mail | _Desktop, ...] = takes(list_of(section_by("kind", _HOOKS)), ())
    web: _Web = takes(section(_Web), _Web())
    links: _Links = takes(section(_Links), _Links())
    restore: _Restore = takes(section(_Restore), _Restore())
    limits: _Limits = takes(section(_Limits), _Limits())


def _hook(entry: _Webhook | _Command | _Mail | _Desktop) -> Hook:
    target: Target
    match entry:
        case _Webhook():
            target = Webhook(entry.url)
        case _Command():
            target = Command(tuple(entry.command))
        case _Mail():
            target = Mail(entry.to, entry.server, entry.sender or f"syncd@{platform.node() or 'localhost'}")
        case _Desktop():
            target = Desktop()
    return Hook(target, tuple(parse_condition(text) for text in entry.on))


# --- telling a mistake ---------------------------------------------------------------------------------------------


def _explain(error: Faults, content: str) -> str:
    """The first fault, with line and key as a person wrote it: `line 3: network.listen[0]: ...`."""
    first = error.faults[0]
    name = ""
    for part in first.where:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    message = f"{first.message}{_similar(first)}" if first.unknown else first.message
    more = len(error.faults) - 1
    line = line_of(content, first.where)
    at = f"line {line}: " if line else ""
    return f"{at}{name}: {message}" + (f" (and {more} more)" if more else "")


def _similar(fault: Fault) -> str:
    near = difflib.get_close_matches(".".join(map(str, fault.where)), [*known_keys(), *keys_of(_File)], n=1)
    return f"; did you mean {near[0]}?" if near else ""


def line_of(text: str, where: Sequence[int | str]) -> int | None:
    """The line on which a key stands: tomllib keeps none. None for a spelling this simple look does not find."""
    words = [part for part in where if isinstance(part, str)]
    entry = next((part for part in where[1:2] if isinstance(part, int)), 0)
    section, seen = "", -1
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[{1,2}\s*([\w.-]+)\s*\]{1,2}", line):
            section = header[1]
            seen += section == words[0]
            if words == [section] and (not isinstance(where[-1], int) or seen == entry):
                return number
        elif key := re.match(r"\s*([\w.-]+)\s*=", line):
            full = f"{section}.{key[1]}" if section else key[1]
            if full == ".".join(words[:2]) and (section != words[0] or seen == entry or entry == 0):
                return number
    return None
