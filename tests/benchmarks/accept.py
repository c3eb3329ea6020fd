"""Blocking. `python -m tests.benchmarks.accept SOCKET COMMAND...`: run a command for each connection to a Unix socket.

stunnel can connect to a Unix socket, and rsync's daemon cannot listen on one; over loopback TCP the plain bytes would
be on the wire that is measured.
"""

from __future__ import annotations

import socket
import subprocess
import sys


def main() -> None:
    path, *command = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            connection, _ = listener.accept()
            with connection:
                subprocess.run(command, stdin=connection.fileno(), stdout=connection.fileno(), check=False)


if __name__ == "__main__":
    main()
