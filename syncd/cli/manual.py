"""Pure. Manual pages, made of the tree of commands and the texts of `syncd help`, in the macros of man(7).

They are made when a package is built (`make man`) and lie nowhere in the repository, so they are never out of date.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from syncd import __version__
from syncd.catalogue import EXIT_MEANING, Exit

_FILES = (
    ("~/.local/share/syncd", "the home: keys, databases, the control socket; --home or SYNCD_HOME name another one"),
    ("config.toml", "in the home: the settings, see syncd-config(5)"),
    (".syncd", "in each folder: what recognises the folder, what is being fetched, what was replaced"),
)
_ENVIRONMENT = (
    ("SYNCD_HOME", "the home, where --home is not given"),
    ("SYNCD_CODE", "the code or link for syncd join"),
    ("NO_COLOR", "no colours"),
)


def pages(root: Any, topics: Mapping[str, str]) -> dict[str, str]:
    """Every page by the name of its file."""
    context = root.make_context("syncd", [], resilient_parsing=True)
    found = dict(_commands(root, context))
    made = {"syncd.1": _overview(root, context, found)}
    made |= {
        f"syncd-{words.replace(' ', '-')}.1": _command(words, one, made_of) for words, (one, made_of) in found.items()
    }
    made["syncd-config.5"] = _topic("syncd-config", 5, "settings of syncd", topics["config"])
    made["syncd-ignore.5"] = _topic("syncd-ignore", 5, "what stays out of a folder of syncd", topics["ignore"])
    made["syncd-security.7"] = _topic("syncd-security", 7, "what syncd promises, and what not", topics["security"])
    return made


def _commands(group: Any, context: Any, words: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    for name in group.list_commands(context):
        found = group.commands[name]
        below = found.make_context(name, [], parent=context, resilient_parsing=True)
        if hasattr(found, "commands"):
            yield from _commands(found, below, f"{words}{name} ")
        else:
            yield words + name, (found, below)


def _overview(root: Any, context: Any, found: Mapping[str, tuple[Any, Any]]) -> str:
    lines = [*_head("syncd", 1, "keep folders equal on the computers of people who trust each other")]
    lines += [".SH SYNOPSIS", ".B syncd", r"[\-\-home \fIDIR\fR] \fICOMMAND\fR \fR[\fIOPTIONS\fR]"]
    lines += [".SH DESCRIPTION", *_paragraphs(str(root.help))]
    lines += [".SH COMMANDS"]
    for words, (command, _) in found.items():
        lines += [".TP", rf"\fBsyncd\-{_text(words.replace(' ', '-'))}\fR(1)", _text(_first(command.help))]
    lines += [".SH OPTIONS", "These stand before the command; all but the first two also behind it."]
    lines += _options(root, context)
    lines += [".SH EXIT STATUS", *_table([(str(int(code)), EXIT_MEANING[code]) for code in Exit])]
    lines += [".SH FILES", *_table(_FILES), ".SH ENVIRONMENT", *_table(_ENVIRONMENT)]
    return "\n".join([*lines, ".SH SEE ALSO", r"syncd\-config(5), syncd\-ignore(5), syncd\-security(7)", ""])


def _command(words: str, command: Any, context: Any) -> str:
    name = f"syncd-{words.replace(' ', '-')}"
    lines = [*_head(name, 1, _first(command.help).rstrip("."))]
    usage = " ".join(command.collect_usage_pieces(context))
    lines += [".SH SYNOPSIS", rf"\fBsyncd {_text(words)}\fR {_text(usage)}"]
    lines += [".SH DESCRIPTION", *_paragraphs(str(command.help)), ".SH OPTIONS", *_options(command, context)]
    return "\n".join([*lines, ".SH SEE ALSO", "syncd(1)", ""])


def _topic(name: str, section: int, about: str, text: str) -> str:
    body = [_text(line) or "." for line in text.splitlines()]
    return "\n".join(
        [*_head(name, section, about), ".SH DESCRIPTION", ".nf", *body, ".fi", ".SH SEE ALSO", "syncd(1)", ""]
    )


def _head(name: str, section: int, about: str) -> list[str]:
    return [
        f'.TH {name.upper()} {section} "" "syncd {__version__}" "syncd"',
        ".SH NAME",
        rf"{_text(name)} \- {_text(about)}",
    ]


def _options(command: Any, context: Any) -> list[str]:
    lines: list[str] = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            lines += [".TP", rf"\fB{_text(record[0])}\fR", _text(" ".join(record[1].split()) or "-")]
    return lines


def _table(rows: Any) -> list[str]:
    return [line for name, meaning in rows for line in (".TP", rf"\fB{_text(name)}\fR", _text(meaning))]


def _paragraphs(text: str) -> list[str]:
    return [line for part in text.split("\n\n") for line in (".PP", _text(" ".join(part.split())))]


def _first(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split())


def _text(text: str) -> str:
    """Plain text in the language of roff: backslashes, hyphens, and what would be a command at the start of a line."""
    escaped = re.sub(r"-", r"\\-", text.replace("\\", r"\e"))
    return rf"\&{escaped}" if escaped[:1] in (".", "'") else escaped
