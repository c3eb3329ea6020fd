"""Blocking. `syncd completion`: what the Tab key offers. Names come from the daemon, quickly or not at all.

The scripts for the shells are small and all alike: they ask this program what could stand here. So there is one place
that knows, the tree of commands itself, and a new command is completed from the day it is there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated, Any

from syncd.cli import client
from syncd.cli.options import Argument
from syncd.cli.session import Session, command, usage
from syncd.errors import SyncdError

NAMES_TIMEOUT_S = 0.15
"""A Tab key that takes longer than this feels broken; then nothing is offered."""

_BASH = """\
_syncd() {
    local found one
    mapfile -t found < <(syncd completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    COMPREPLY=()
    for one in "${found[@]}"; do COMPREPLY+=("$(printf '%q' "$one")"); done
}
complete -o default -F _syncd syncd
"""
_ZSH = """\
#compdef syncd
_syncd() {
    local -a found
    found=(${(f)"$(syncd completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    if (( ${#found} )); then compadd -- "${found[@]}"; else _files; fi
}
compdef _syncd syncd
"""
_FISH = """\
function __syncd_words
    syncd completion words -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null
end
complete -c syncd -a '(__syncd_words)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
SCHEMA = "syncd.completion/1"


@command()
def completion(
    session: Session,
    shell: Annotated[str, Argument(metavar="bash|zsh|fish", help="Whose script is printed.")],
    words: Annotated[list[str] | None, Argument(metavar="WORD...", help="For the scripts: what was typed.")] = None,
) -> None:
    """Print a script that lets the Tab key complete commands, flags, folders and code words.

    For example in ~/.bashrc:  eval "$(syncd completion bash)". `--json` prints syncd.completion/1.
    """
    if shell == "words":
        found = candidates(session, words or [""])
        session.show({"schema": SCHEMA, "shell": None, "text": "\n".join(found)}, lambda: found)
        return
    if shell not in SCRIPTS:
        raise usage("that shell is not known", fix="syncd completion bash, zsh or fish")
    script = SCRIPTS[shell]
    session.show({"schema": SCHEMA, "shell": shell, "text": script}, lambda: script.rstrip("\n").split("\n"))


def candidates(session: Session, typed: Sequence[str]) -> list[str]:
    """What may stand in the place of the last word; nothing where a file is wanted or nothing is known."""
    from syncd.cli.root import application

    *before, last = typed
    found, position = application(), 0
    context = found.make_context("syncd", [], resilient_parsing=True)
    wants_value = False
    for word in before:
        if wants_value:
            wants_value = False
        elif word.startswith("-"):
            wants_value = _takes_value(found, word)
        elif hasattr(found, "commands"):
            if (below := found.commands.get(word)) is None:
                return []
            context = below.make_context(word, [], parent=context, resilient_parsing=True)
            found = below
        else:
            position += 1
    if wants_value:
        return []
    if last.startswith("-"):
        shown = [parameter for parameter in found.get_params(context) if not getattr(parameter, "hidden", False)]
        offered = [flag for parameter in shown for flag in parameter.opts if flag.startswith("--")]
    elif hasattr(found, "commands"):
        offered = found.list_commands(context)
    else:
        offered = _values(session, found, context, position, last)
    return sorted({one for one in offered if one.startswith(last)})


def _takes_value(found: Any, flag: str) -> bool:
    if "=" in flag:
        return False
    return any(flag in parameter.opts and not getattr(parameter, "is_flag", False) for parameter in found.params)


def _values(session: Session, found: Any, context: Any, position: int, last: str) -> list[str]:
    """Names for an argument, by what its place in the usage line calls it."""
    arguments = [parameter for parameter in found.get_params(context) if parameter.param_type_name == "argument"]
    if not arguments:
        return []
    wanted = str(arguments[min(position, len(arguments) - 1)].metavar)
    offered: list[str] = []
    if "CODE" in wanted:
        from syncd.cli.join import complete_code

        offered += complete_code(last)
    if "FOLDER" in wanted:
        offered += _names(session, "folders", "folders")
    if "PEER" in wanted or "MEMBER" in wanted:
        offered += _names(session, "peers", "peers")
    if "bash" in wanted:
        offered += SCRIPTS
    if "SY-" in wanted:
        from syncd.catalogue import CATALOGUE
        from syncd.cli.help import TOPICS

        offered += [*TOPICS, *CATALOGUE]
    return offered


def _names(session: Session, method: str, key: str) -> list[str]:
    try:
        answer = client.call(session.place.socket, method, {}, timeout_s=NAMES_TIMEOUT_S)
    except SyncdError:
        return []  # a Tab key says nothing about troubles
    return [one["name"] for one in answer[key] if os.linesep not in one["name"]]
