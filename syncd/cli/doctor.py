"""Blocking. `syncd doctor`: everything that could be wrong, in order, each with what to do about it."""

from __future__ import annotations

import json
import os
import platform
import sys
import zipfile
from pathlib import Path
from typing import Annotated, Any

from syncd import __version__
from syncd.catalogue import Exit
from syncd.checks import Check, installation_checks, repair
from syncd.cli import text
from syncd.cli.client import NotRunning
from syncd.cli.options import Option
from syncd.cli.session import Session, command
from syncd.config import settings_with_origin
from syncd.errors import ConfigError, SyncdError
from syncd.home import LOG_NAME, is_locked

SCHEMA = "syncd.doctor/1"
LOG_BYTES = 1 << 20


@command()
def doctor(
    session: Session,
    fix: Annotated[bool, Option("--fix", help="Set right what can be set right without a question.")] = False,
    bundle: Annotated[
        str | None, Option("--bundle", metavar="FILE", help="Write a zip for a report: no keys, no contents.")
    ] = None,
) -> int:
    """Look for everything that could be wrong, and say what to do. Exit 1 if something is. `--json` prints
    syncd.doctor/1."""
    done = repair(session.place.home) if fix and not session.flags.dry_run else []
    checks = examine(session)
    result = {"schema": SCHEMA, "ok": all(check["ok"] for check in checks), "fixed": done, "checks": checks}
    if bundle is not None and not session.flags.dry_run:
        write_bundle(session, Path(os.path.abspath(os.path.expanduser(bundle))), result)
    session.show(result, lambda: doctor_lines(result, verbose=session.flags.verbose))
    return Exit.DONE if result["ok"] else Exit.FAILED


def examine(session: Session) -> list[dict[str, Any]]:
    """What the daemon finds; without one, what can be found from outside."""
    try:
        checks: list[dict[str, Any]] = session.call("doctor")["checks"]
    except NotRunning:
        why = "nothing answers on the control socket" + (
            "; a daemon holds the home and may still be starting" if is_locked(session.place.home) else ""
        )
        absent = Check("daemon", False, why, "syncd service install, or syncd run", "SY-HOME-02")
        found = [absent, *installation_checks(session.place.home, daemon_runs=is_locked(session.place.home))]
        return [dict(check.as_json()) for check in [*found, *service_checks(session.place.home)]]
    return [*checks, *(dict(check.as_json()) for check in service_checks(session.place.home))]


def service_checks(home: Path) -> list[Check]:
    """Whether syncd starts by itself. It need not; but who believes that it does wants to know."""
    from syncd.cli.supervisors import supervisor

    try:
        state = supervisor(home, system=False).state()
    except SyncdError:
        return [Check("service", True, "no service manager here; syncd runs as long as somebody runs it")]
    if not state.installed:
        return [Check("service", True, "not installed: syncd does not start by itself (syncd service install)")]
    if not state.enabled:
        return [Check("service", False, f"{state.name} does not start by itself", "syncd service install")]
    if not state.running:
        return [Check("service", False, f"{state.name} does not run", "syncd service start; syncd service logs")]
    return [Check("service", True, f"{state.name} runs and starts by itself")]


def doctor_lines(result: dict[str, Any], *, verbose: bool) -> list[str]:
    """First what was set right, then what is wrong with what to do, then one line about the rest."""
    wrong = [check for check in result["checks"] if not check["ok"]]
    fine = [check for check in result["checks"] if check["ok"]]
    lines = [f"● {text.escape_line(done)}" for done in result["fixed"]]
    for check in wrong:
        error = f"  [{check['id']}]" if check["id"] else ""
        lines.append(f"○ {text.escape_line(check['name'])}: {text.escape_line(check['why'])}{error}")
        if check["try"]:
            lines.append(f"    try  {text.escape_line(check['try'])}")
    if verbose:
        lines += [f"● {text.escape_line(check['name'])}: {text.escape_line(check['why'])}" for check in fine]
    summary = f"{len(wrong)} of {len(wrong) + len(fine)} checks found something." if wrong else "Nothing is wrong."
    return [*lines, summary if verbose or wrong else f"{summary} ({len(fine)} checks; -v lists them)"]


def write_bundle(session: Session, path: Path, result: dict[str, Any]) -> None:
    """A zip for a report. Never in it: keys, databases, links and codes, contents of files."""
    about = {"version": __version__, "python": sys.version, "system": platform.platform(), "doctor": result}
    with (
        open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as bundle,
    ):
        bundle.writestr("about.json", json.dumps(about, indent=2))
        for name in ("status", "peers"):
            try:
                bundle.writestr(f"{name}.json", json.dumps(session.call(name, **_parameters(name)), indent=2))
            except SyncdError as error:
                bundle.writestr(f"{name}.txt", f"{error}: {error.why}")
        # Not the file: addresses of hooks may hold a secret of their receiver.
        bundle.writestr("settings.json", json.dumps(_settings(session.place.home), indent=2))
        bundle.writestr(LOG_NAME, _tail(session.place.home / LOG_NAME))
    session.terminal.talk(f"wrote {path}: names of folders, peers and files are in it; look before you send it")


def _parameters(name: str) -> dict[str, Any]:
    return {"folder": None, "cwd": None} if name == "status" else {}


def _settings(home: Path) -> Any:
    try:
        return settings_with_origin(home)
    except ConfigError as error:
        return f"{error}: {error.why}"


def _tail(path: Path) -> bytes:
    """The end of a file; nothing if it is not there."""
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, path.stat().st_size - LOG_BYTES))
            return stream.read(LOG_BYTES)
    except FileNotFoundError:
        return b""
