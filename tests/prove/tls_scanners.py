"""Blocking. What two programs that judge TLS servers say of a real daemon: sslyze (PyPI) and testssl.sh (Debian)."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.helpers.computers import Disappointment, sharing_computers

CLAIM = (
    "sslyze finds a member's label to be what Mozilla calls modern, and that no session is resumed; testssl.sh finds "
    "nothing above LOW (but for what certificates of the public web need and pinned ones do not)"
)

FOLDER = "Notes"
SCAN_S = 900.0
CALLS_PER_S = 40.0
PINNED = "path validation failed"
EXPLAINED = {
    "cert_trust": "the certificate names nobody and is pinned to the byte: no name and no authority stands behind it",
    "cert_chain_of_trust": "as cert_trust",
    "cert_revocation": "certificates are replaced by a rotation, at once and by everybody, and never revoked",
    "cert_extlifeSpan": "397 days: a rotation ends a certificate after 30 days, its own end is for who is offline",
    "cert_subjectAltName": "as cert_trust",
    "scanProblem": "testssl.sh has no certificate to show, and so gets no answer over HTTP",
}
HARMLESS = {"OK", "INFO", "LOW", "DEBUG", "WARN"}


def prove(place: Path) -> str:
    """Raises Disappointment also where a scanner could not be installed."""
    sslyze = _installed_sslyze(place)
    testssl = shutil.which("testssl") or shutil.which("testssl.sh")
    if testssl is None:
        raise Disappointment("testssl.sh is not installed: apt install testssl.sh")
    with sharing_computers(("anna", "ben"), place, FOLDER) as (anna, _):
        tls = anna.ask("folder", "show", FOLDER)["tls"]
        with paced(anna.port) as port:
            judged = _sslyze(sslyze, place, port, tls)
            found = _testssl(testssl, place, port, tls)
        anna.ask("status")
    return f"{judged}; {found}"


@contextlib.contextmanager
def paced(port: int) -> Iterator[int]:
    """A port that leads to another, by so many connections a second as the door lets one address in."""
    turn = threading.Lock()

    class Forward(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with turn:
                time.sleep(1 / CALLS_PER_S)
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as other:
                back = threading.Thread(target=pump, args=(other, self.request), daemon=True)
                back.start()
                pump(self.request, other)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Forward) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Bytes from one socket to the other, until the end of them."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _installed_sslyze(place: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", str(place / "sslyze")], check=True)
    command = [str(place / "sslyze/bin/python"), "-m", "pip", "install", "--quiet", "sslyze"]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        raise Disappointment("sslyze cannot be installed")
    return place / "sslyze/bin/sslyze"


def _sslyze(program: Path, place: Path, port: int, tls: dict[str, Any]) -> str:
    """With the folder's certificate."""
    report = place / "sslyze.json"
    command = [
        str(program), "--slow_connection", "--mozilla_config", "modern", "--sni", tls["sni"], "--cert", tls["cert"],
        "--key", tls["key"], "--resum", "--early_data", "--json_out", str(report), f"127.0.0.1:{port}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=SCAN_S, check=False)
    (result,) = json.loads(report.read_text())["server_scan_results"]
    scans = result["scan_result"]
    failed = [name for name, scan in scans.items() if scan["status"] == "ERROR"]
    issues = [
        line.strip(" *") for line in done.stdout.rpartition("COMPLIANCE")[2].splitlines() if line.startswith("  ")
    ]
    issues = [
        line for line in issues if line.startswith(("tls_", "cipher", "certificate", "ocsp", "hsts", "rsa", "ecdh"))
    ]
    unexplained = [issue for issue in issues if PINNED not in issue.lower()]
    resumed = scans["session_resumption"]["result"] or {}
    kinds = {resumed.get("session_id_resumption_result"), resumed.get("tls_ticket_resumption_result")}
    if failed or unexplained or kinds & {"FULLY_SUPPORTED", "PARTIALLY_SUPPORTED"}:
        raise Disappointment(f"sslyze: failed {failed}, found {unexplained}, resumption {kinds}")
    return (
        f"sslyze: {len(scans)} scans, modern, but that no authority stands behind the pinned certificate; no resumption"
    )


def _testssl(program: str, place: Path, port: int, tls: dict[str, Any]) -> str:
    report = place / "testssl.json"
    hosts = ["--ip", "127.0.0.1", f"{tls['sni']}:{port}"]
    command = [program, "--quiet", "--color", "0", "--warnings", "batch", "--jsonfile", str(report), *hosts]
    subprocess.run(command, capture_output=True, timeout=SCAN_S, check=False)
    found = json.loads(report.read_text())
    bad = [one for one in found if one["severity"] not in HARMLESS]
    unexplained = [f"{one['id']}: {one['finding']}" for one in bad if one["id"].split()[0] not in EXPLAINED]
    if unexplained:
        raise Disappointment(f"testssl.sh: {'; '.join(unexplained)}"[:600])
    if len(found) < 20:
        raise Disappointment(f"testssl.sh looked at {len(found)} things only")
    return f"testssl.sh: {len(found)} findings, {len(bad)} above LOW, all explained"
