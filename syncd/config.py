"""Blocking. `config.toml` of the home -> `Settings`, read once at start and passed down.

The file is for people: an unknown key is an error, and every message names the key as it is written. Without a file, or
without a key, the defaults of this module hold.
"""

from __future__ import annotations

import platform
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

from syncd import home as homes
from syncd.errors import ConfigError

DEFAULT_PORT = 22067
DEFAULT_LISTEN = (f":{DEFAULT_PORT}",)  # an empty host is every address of the machine
LONGEST_NAME = 64

LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a daemon is told from outside."""

    home: Path
    socket: Path
    listen: tuple[str, ...] = DEFAULT_LISTEN  # `host:port`, as seams.Network takes them
    listen_configured: bool = False  # then a taken port is an error; by default the next free of ten is used
    peers: tuple[str, ...] = ()  # `host:port`
    discovery: bool = True
    device_name: str = "syncd"
    log_level: LogLevel = "info"


def load_settings(home: Path, *, socket: Path | None = None) -> Settings:
    """Read the settings of a home. Raises ConfigError: SY-CONF-01 what is wrong, SY-CONF-02 it cannot be read."""
    file = home / homes.CONFIG_NAME
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read", id="SY-CONF-02", why=str(error)) from error
    return parse_settings(text, file=file, home=home, socket=socket or homes.socket_path(home))


def parse_settings(text: str, *, file: Path, home: Path, socket: Path) -> Settings:
    """Build the settings from the text of a config file; `file` is only its name for messages."""
    try:
        config = _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not TOML", id="SY-CONF-02", why=str(error)) from error
    except ValidationError as error:
        raise ConfigError(f"{file} is not valid", id="SY-CONF-01", why=_explain(error), fix=f"edit {file}") from error
    network = config.network
    return Settings(
        home=home,
        socket=socket,
        listen=DEFAULT_LISTEN if network.listen is None else tuple(network.listen),
        listen_configured=network.listen is not None,
        peers=tuple(network.peers),
        discovery=network.discovery,
        device_name=config.device.name or host_name(),
        log_level=config.log.level,
    )


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


_Listen = Annotated[str, AfterValidator(parse_address)]
_Peer = Annotated[str, AfterValidator(_reachable)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Network(_Section):
    listen: list[_Listen] | None = None
    peers: list[_Peer] = []
    discovery: bool = True


class _Device(_Section):
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_NAME)] | None = None


class _Log(_Section):
    level: LogLevel = "info"


class _File(_Section):
    network: _Network = _Network()
    device: _Device = _Device()
    log: _Log = _Log()


def _explain(error: ValidationError) -> str:
    """The first fault, with the key as a person wrote it: `network.listen[0]: ...`."""
    first = error.errors(include_url=False, include_context=False)[0]
    key = ""
    for part in first["loc"]:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
    unknown = first["type"] == "extra_forbidden"
    message = "this key is unknown" if unknown else first["msg"].removeprefix("Value error, ")
    more = error.error_count() - 1
    return f"{key}: {message}" + (f" (and {more} more)" if more else "")
