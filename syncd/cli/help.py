"""Blocking. `syncd help`: commands, topics, exit codes, and what an id such as SY-PAIR-03 means."""

from __future__ import annotations

import json
from typing import Annotated, Any

from syncd.catalogue import CATALOGUE, EXIT_MEANING, Exit, Trouble
from syncd.cli import text
from syncd.cli.options import Argument
from syncd.cli.session import Session, command
from syncd.cli.shapes import document
from syncd.errors import SyncdError

SCHEMA = "syncd.help/1"

_WORDS = """\
folder    a directory that is kept equal on several computers
peer      a device that we are, or could be, connected to
member    a person or service that belongs to a folder, with one or more devices
role      owner, admin, editor or viewer: what a member may do
code      number and three words; works once, for 15 minutes; you confirm who comes
link      for far away; works until it expires, as often as you said; keep it secret
epoch     what a change of membership opens: a new certificate and a new key for the folder
conflict  a file that was changed in two places at once; both versions are kept"""

_FIRST_STEPS = """\
On the first computer:     syncd share ~/Photos      prints a code
On the second computer:    syncd join                asks for the code, then where to put it
Back on the first:         say yes to the name that is shown

From then on both stay equal:  syncd status
Another network, no multicast: syncd share --link Photos, or syncd join --via HOST:PORT"""

_SCRIPTS = """\
Every command takes --json and prints one object with a "schema"; share and join print one object per line when they
wait. Errors are one object on stderr, and the exit code says what kind:  syncd help exit-codes
Nothing is asked without a terminal or with --no-input; the error names the flag that answers, mostly --yes.

  syncd share ~/Photos --link --yes --no-wait --json
  syncd join LINK ~/Photos --yes --no-wait --json
  syncd wait --for synced --timeout 10m"""

_IGNORE = """\
What stays out of a folder, one pattern per line, as in .gitignore: in .syncdignore for all members, in .syncd/ignore
for this device only.

  *.tmp
  /build/
  !keep.tmp

The last line that matches decides, those of this device behind the others. Changing them deletes nothing anywhere;
syncd filter add and filter test say before what would enter or leave."""

_CONFIG = """\
config.toml in the home (--home DIR, SYNCD_HOME). All of it is optional; the daemon reads it when it starts, and
again on SIGHUP: then log, notify and peers change at once, the rest with the next start.

  [network]
  listen = ["0.0.0.0:22067"]     default: all addresses, port 22067 or the next free of ten
  peers = ["nas.example:22067"]  addresses to try besides those found
  discovery = true               announce and look on the local network

  [device]
  name = "anna-laptop"           default: the host name

  [metrics]
  listen = "127.0.0.1:22068"     health and numbers on loopback; default: only on the control socket

  [[notify]]                     syncd notify add writes these
  kind = "webhook"
  url = "https://example.org/hook"
  on = ["stale=3d", "conflict", "mass-delete", "error", "certificate=400d", "disk=5%"]

  [log]
  level = "info"                 debug, info, warning, error
  format = "auto"                console, journal, json, syslog; auto: journal under systemd, else console"""

_SECURITY = """\
What syncd promises, in one line each; docs/threat-model.md has the proofs and the limits.

Nobody who is not a member reads or changes anything: every folder has a certificate and keys of its own.
Who was removed gets nothing from that moment on; certificate and keys change at once.
A member cannot change what others wrote under their name: every change is signed by the device that made it.
Nothing is overwritten or deleted at once: what goes is set aside first, and a wave of deletions waits for you.
Keys lie in the home, for your user alone; who has your unlocked disk has them. Encrypt the disk,
or lock them by a passphrase: syncd key lock.
Nobody outside the project has reviewed it. Keep a backup."""

TOPICS = {
    "security": _SECURITY,
    "first-steps": _FIRST_STEPS,
    "words": _WORDS,
    "scripts": _SCRIPTS,
    "ignore": _IGNORE,
    "config": _CONFIG,
}


@command()
def help(
    session: Session,
    topic: Annotated[list[str] | None, Argument(metavar="TOPIC|COMMAND|SY-...")] = None,
) -> None:
    """Explain a topic, a command, or the id of an error."""
    words = topic or []
    body = explain(words)
    session.show({"schema": SCHEMA, "topic": " ".join(words) or None, "text": body}, lambda: body.split("\n"))


def explain(words: list[str]) -> str:
    """The text for what was asked. Raises SyncdError SY-FIND-01."""
    asked = " ".join(words)
    if not words:
        return _overview()
    if asked in ("exit-codes", "exit", "codes"):
        return _exit_codes()
    if asked == "json":
        return json.dumps(document(), indent=1)
    if asked == "errors":
        return "\n".join(text.table([entry.id, entry.title] for entry in CATALOGUE.values()))
    if entry := CATALOGUE.get(asked.upper()):
        return _trouble(entry)
    if asked in TOPICS:
        return TOPICS[asked]
    return _command_help(words)


def _overview() -> str:
    root = _root()
    context = root.make_context("syncd", [], resilient_parsing=True)
    topics = ", ".join([*TOPICS, "exit-codes", "errors", "json"])
    usage: str = root.get_help(context)
    return f"{usage}\n\nTopics for `syncd help TOPIC`: {topics}; or an id as SY-PAIR-03."


def _command_help(words: list[str]) -> str:
    found, context = _root(), None
    for word in ("syncd", *words):
        if word != "syncd" or context is not None:
            found = found.commands.get(word) if hasattr(found, "commands") else None
        if found is None:
            raise SyncdError(
                f"there is no command or topic {text.escape(' '.join(words))}",
                id="SY-FIND-01",
                why="The topics are " + ", ".join([*TOPICS, "exit-codes", "errors", "json"]) + ".",
                fix="syncd help",
            )
        context = found.make_context(word, [], parent=context, resilient_parsing=True)
    return str(found.get_help(context))


def _root() -> Any:
    from syncd.cli.root import application

    return application()


def _exit_codes() -> str:
    return "\n".join(text.table([f"{code:>3}", EXIT_MEANING[code]] for code in Exit))


def _trouble(entry: Trouble) -> str:
    rows = [["why", entry.why], ["try", entry.fix], ["exit code", f"{int(entry.exit)} ({EXIT_MEANING[entry.exit]})"]]
    return "\n".join([f"{entry.id}  {entry.title}", *text.table(rows, indent="  ")])
