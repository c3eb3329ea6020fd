"""A process that stands in for `syncd run`: takes the home and the control socket, and has no folders.

`python daemon_process.py HOME MANNER`, where MANNER is serve, refuse (a configuration error), late (that error, when
somebody has asked already), crash or hang.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import trio

from syncd.controlsocket import open_control
from syncd.home import lock_home, socket_path
from syncd.web.control import Params, Progress, Result, serve_control


class IdleApi:
    """Answers version and stop."""

    def __init__(self, scope: trio.CancelScope) -> None:
        self._scope = scope

    async def call(self, name: str, params: Params, progress: Progress) -> Result:
        if name == "stop":
            self._scope.cancel()
            return {"schema": "syncd.stop/1", "pid": os.getpid()}
        if name == "folders":
            return {"schema": "syncd.folders/1", "folders": []}
        if name == "share":
            invite = {"code": "7-guitar-uncle-merit", "link": None, "expires": None, "role": "editor", "uses": 1}
            about = {"folder": "ab" * 32, "name": "Photos", "path": params["path"], "files": 1, "bytes": 1}
            return {"schema": "syncd.share/1", **about, **invite}
        return {"schema": "syncd.version/1", "version": "0", "pid": os.getpid(), "listen": [], "uptime_s": 0.0}


async def serve(home: Path) -> None:
    with trio.CancelScope() as scope:
        await serve_control(socket_path(home), IdleApi(scope))


def main() -> None:
    home, manner = Path(sys.argv[1]), sys.argv[2]
    match manner:
        case "refuse" | "late":
            if manner == "late":
                _asked = open_control(socket_path(home)).accept()
            error = {
                "id": "SY-CONF-01",
                "what": "config.toml is not valid",
                "why": "network.x",
                "try": "edit",
                "exit": 11,
            }
            sys.stderr.write("some line of the log\n" + json.dumps({"error": error}) + "\n")
            sys.exit(11)
        case "crash":
            sys.exit("out of luck")
        case "hang":
            trio.run(trio.sleep_forever)
        case _:
            with lock_home(home):
                trio.run(serve, home)


if __name__ == "__main__":
    main()
