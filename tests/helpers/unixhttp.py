"""Blocking. Asking a daemon on its Unix socket, without the start of a command."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ANSWER_S = 170.0


def ask_socket(
    path: Path, verb: str, target: str, body: str, headers: Mapping[str, str], answer_s: float = ANSWER_S
) -> str:
    """One HTTP request to a Unix socket. Raises OSError when nobody listens, RuntimeError for a refusal."""
    connection = http.client.HTTPConnection("localhost")
    with socket.socket(socket.AF_UNIX) as connected:
        connected.settimeout(answer_s)
        directory = os.open(path.parent, os.O_PATH)  # an address of a socket has at most 107 bytes
        try:
            connected.connect(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.close(directory)
        connection.sock = connected
        connection.request(verb, target, body, dict(headers))
        response = connection.getresponse()
        text = response.read().decode()
    if response.status != 200:
        raise RuntimeError(f"{target}: {response.status} {text[:200]}")
    return text


def call(home: Path, method: str, params: Mapping[str, object], answer_s: float = ANSWER_S) -> Any:
    """What the daemon of a home answers; of a method that streams, the result at the end."""
    [path] = home.glob("*.sock")
    fields = {"Content-Type": "application/json"}
    text = ask_socket(path, "POST", f"/rpc/{method}", json.dumps(params), fields, answer_s)
    answer = json.loads(text.splitlines()[-1])
    if "error" in answer:
        raise RuntimeError(f"{home}: {method}: {answer['error']}")
    return answer.get("result", answer)
