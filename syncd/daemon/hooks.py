"""Blocking. Telling an alarm: by a request to a web address, by a program, by mail, on the screen. It raises HookFailed
only.

A hook is written into `config.toml` by the person whom the daemon belongs to; nothing that comes from a peer chooses a
target. Texts do come from peers: they travel as JSON, as environment variables and as the body of a mail, never as a
part of a command line or of a header.
"""

from __future__ import annotations

import http.client
import json
import os
import platform
import smtplib
import ssl
import subprocess
import urllib.parse
from collections.abc import Mapping
from email.message import EmailMessage
from email.policy import SMTP
from typing import assert_never

from syncd.config import Command, Desktop, Mail, Target, Webhook
from syncd.errors import SyncdError

TIMEOUT_S = 20.0


class HookFailed(SyncdError):
    """The alarm did not arrive."""


def deliver(target: Target, told: Mapping[str, object]) -> None:
    """Send one notification. `told` is the object of `syncd.notification/1`."""
    try:
        match target:
            case Webhook():
                _post(target, told)
            case Command():
                _run(target, told)
            case Mail():
                _mail(target, told)
            case Desktop():
                _show(told)
            case _:
                assert_never(target)
    except (OSError, ValueError, http.client.HTTPException, smtplib.SMTPException, subprocess.SubprocessError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise HookFailed(f"{described(target)} was not told", id="SY-HOOK-01", why=why) from error


def described(target: Target) -> str:
    """A target in a few words; what may be secret in an address (path, query) is left out."""
    match target:
        case Webhook(url):
            return f"webhook {urllib.parse.urlsplit(url).netloc}"
        case Command(command):
            return f"command {command[0]}"
        case Mail(to=to):
            return f"mail {to}"
        case Desktop():
            return "desktop"
    assert_never(target)


def _post(target: Webhook, told: Mapping[str, object]) -> None:
    address = urllib.parse.urlsplit(target.url)
    connection: http.client.HTTPConnection
    if address.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(address.netloc, timeout=TIMEOUT_S, context=context)
    else:
        connection = http.client.HTTPConnection(address.netloc, timeout=TIMEOUT_S)
    try:
        path = (address.path or "/") + (f"?{address.query}" if address.query else "")
        headers = {"Content-Type": "application/json", "User-Agent": "syncd"}
        connection.request("POST", path, json.dumps(told), headers)
        answer = connection.getresponse()
        answer.read(1024)  # no redirect is followed: the address that was written down is the one that is told
        if not 200 <= answer.status < 300:
            raise ValueError(f"the answer was {answer.status} {answer.reason}")
    finally:
        connection.close()


def _run(target: Command, told: Mapping[str, object]) -> None:
    variables = {"SYNCD_EVENT": str(told["event"]), "SYNCD_TEXT": str(told["text"]).replace("\0", "")}
    done = subprocess.run(
        target.command,
        input=json.dumps(told).encode(),
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=TIMEOUT_S,
        check=False,
        cwd="/",
    )
    if done.returncode:
        said = done.stderr[-200:].decode("utf-8", "replace").strip()
        raise ValueError(f"it ended with code {done.returncode}" + (f": {said}" if said else ""))


_MACOS = "on run argv\ndisplay notification (item 2 of argv) with title (item 1 of argv)\nend run"


def _show(told: Mapping[str, object]) -> None:
    """On the screen of whoever is logged in. The texts are arguments of their own, never part of a script or markup."""
    title, text = f"syncd: {_line(told['event'])}", _plain(f"{told['text']}  →  {told['try']}")
    if platform.system() == "Darwin":
        command = ["osascript", "-e", _MACOS, title, text]
    else:
        command = ["notify-send", "--app-name=syncd", "--", title, text]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        said = done.stderr[-200:].decode("utf-8", "replace").strip()
        raise ValueError(said or f"{command[0]} ended with code {done.returncode}; is somebody logged in?")


def _plain(text: str) -> str:
    """Servers of notifications read simple markup, so what could begin some is written out."""
    return (
        "".join(char if char.isprintable() else " " for char in text[:300]).replace("&", "&amp;").replace("<", "&lt;")
    )


def _mail(target: Mail, told: Mapping[str, object]) -> None:
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"] = target.sender, target.to
    message["Subject"] = f"syncd on {_line(told['device'])}: {told['event']}"
    message.set_content(f"{told['text']}\n\nDo this:  {told['try']}\n")
    host, _, port = target.server.rpartition(":")
    with smtplib.SMTP(host.strip("[]"), int(port), timeout=TIMEOUT_S) as server:
        server.ehlo()
        if server.has_extn("starttls"):
            server.starttls(context=ssl.create_default_context())
        server.send_message(message)


def _line(value: object) -> str:
    return "".join(char if char.isprintable() else " " for char in str(value))[:80]
