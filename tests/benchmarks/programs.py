"""Blocking. The programs that are compared, each brought to do the same: keep the target's folder like the source's.

syncd and Syncthing stay and notice changes. rsync and unison are run once for every sync, at the moment of the change,
so for them the time until somebody would have run them is not in the figures.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from tests.benchmarks.laboratory import End, Pair
from tests.helpers.computers import wait_until

START_S = 60.0


class Program(Protocol):
    """One way to sync."""

    name: str
    about: str
    stays: bool
    """It notices changes by itself; else it is run once for every sync."""
    needs: tuple[str, ...]
    """Commands that have to be installed."""
    own_names: tuple[str, ...]
    """Names in the folder that are the program's own."""

    def prepare(self, pair: Pair) -> None:
        """Keys and configuration: not timed."""

    def begin(self, pair: Pair) -> None:
        """From nothing running to a sync under way."""

    def changed(self, pair: Pair) -> None:
        """The source has changed."""

    def permit(self, pair: Pair) -> None:
        """A person says that the change of this moment, which looks like an accident, is meant."""

    def is_busy(self, pair: Pair) -> bool:
        """A run is under way."""


def is_installed(program: Program) -> bool:
    return all(shutil.which(command) for command in program.needs)


class Syncd:
    """This checkout, with its defaults: flushes are on. Discovery is off, since there is nobody else."""

    name = "syncd"
    about = "defaults (flushes on), discovery off, joined by a link"
    stays = True
    needs: tuple[str, ...] = ()
    own_names: tuple[str, ...] = (".syncd",)
    _command = str(Path(sys.executable).with_name("syncd"))

    def prepare(self, pair: Pair) -> None:
        for end in pair.ends:
            config = f'[network]\nlisten = ["{end.address}"]\ndiscovery = false\n'
            (end.home / "config.toml").write_text(config)

    def begin(self, pair: Pair) -> None:
        for end in pair.ends:
            end.spawn(self._command, "--home", str(end.home), "run")
        source, target = pair.ends
        self._wait_for(source)
        shared = self._ask(source, "share", str(source.folder), "--link", "--yes", "--no-wait", "--json")
        self._wait_for(target)
        self._ask(target, "join", json.loads(shared)["link"], str(target.folder), "--yes", "--no-wait")

    def changed(self, pair: Pair) -> None:
        """It has seen that."""

    def permit(self, pair: Pair) -> None:
        self._approve(pair.ends[0])  # where the wave began; the other one takes that for an answer

    def _approve(self, end: End) -> None:
        wait_until(lambda: bool(self._asked(end)), START_S, f"the brake of {end.name} did not ask")
        while waiting := self._asked(end):
            for request in waiting:
                try:
                    self._ask(end, "approve", request, "--yes")
                except RuntimeError as error:
                    if "SY-BRAKE-02" not in str(error):  # the wave has grown since it was shown: it is shown anew
                        raise

    def _asked(self, end: End) -> list[str]:
        return [one["id"] for one in json.loads(self._ask(end, "requests", "--json"))["requests"]]

    def is_busy(self, pair: Pair) -> bool:
        return False

    def _ask(self, end: End, *arguments: str) -> str:
        return end.ask(self._command, "--home", str(end.home), *arguments)

    @staticmethod
    def _wait_for(end: End) -> None:
        wait_until(lambda: any(end.home.glob("*.sock")), START_S, f"{end.name}: syncd does not answer")


@dataclass(frozen=True, slots=True)
class Tuning:
    """Settings of Syncthing that differ from its defaults."""

    folder: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    compression: str = "metadata"


class Syncthing:
    """As it comes, but nothing that calls out: no discovery, relays, reports or upgrades."""

    name = "syncthing"
    about = "defaults (fsync on, watcher delay 10 s), only direct addresses, nothing that calls out"
    stays = True
    needs: tuple[str, ...] = ("syncthing",)
    own_names: tuple[str, ...] = (".stfolder",)
    tuning: ClassVar[Tuning] = Tuning()
    _quiet: ClassVar[Mapping[str, str]] = {
        "globalAnnounceEnabled": "false",
        "localAnnounceEnabled": "false",
        "relaysEnabled": "false",
        "natEnabled": "false",
        "urAccepted": "-1",
        "autoUpgradeIntervalH": "0",
        "crashReportingEnabled": "false",
        "startBrowser": "false",
        "stunKeepaliveStartS": "0",
    }

    def prepare(self, pair: Pair) -> None:
        ids = {}
        for end in pair.ends:
            end.ask("syncthing", "generate", f"--home={end.home}", "--no-default-folder")
            text = (end.home / "config.xml").read_text()
            found = re.search(r'<device id="([A-Z0-9-]{63})"', text)
            assert found is not None
            ids[end.name] = found[1]
            (end.folder / ".stfolder").mkdir()
        for end in pair.ends:
            self._configure(end, pair, ids)

    def _configure(self, end: End, pair: Pair, ids: Mapping[str, str]) -> None:
        path = end.home / "config.xml"
        root = ET.parse(path).getroot()
        options, gui, template = root.find("options"), root.find("gui"), root.find("defaults/folder")
        assert options is not None
        assert gui is not None
        assert template is not None
        for key, value in {**self._quiet, **self.tuning.options, "listenAddress": f"tcp://{end.address}"}.items():
            _put(options, key, value)
        _put(gui, "address", str(end.home / "gui.sock"))
        _put(gui, "unixSocketPermissions", "0600")
        for device in root.findall("device"):
            root.remove(device)
        folder = ET.fromstring(ET.tostring(template))
        folder.attrib |= {"id": "bench", "path": str(end.folder), "rescanIntervalS": "3600", "fsWatcherEnabled": "true"}
        for key, value in self.tuning.folder.items():
            if key in folder.attrib:
                folder.set(key, value)
            else:
                _put(folder, key, value)
        for device in folder.findall("device"):
            folder.remove(device)
        for other in pair.ends:
            ET.SubElement(folder, "device", id=ids[other.name], introducedBy="")
            device = ET.SubElement(
                root, "device", id=ids[other.name], name=other.name, compression=self.tuning.compression
            )
            _put(device, "address", f"tcp://{other.address}")
        root.append(folder)
        ET.ElementTree(root).write(path)

    def begin(self, pair: Pair) -> None:
        for end in pair.ends:
            end.spawn(
                *("syncthing", "serve", f"--home={end.home}", "--no-browser", "--no-upgrade", "--logfile=-"),
                "--no-restart",
                environment={"STNOUPGRADE": "1", "STNODEFAULTFOLDER": "1"},
            )

    def changed(self, pair: Pair) -> None:
        """It notices by itself."""

    def permit(self, pair: Pair) -> None:
        """It does not ask."""

    def is_busy(self, pair: Pair) -> bool:
        return False


class SyncthingTuned(Syncthing):
    """As fast as its settings make it: no fsync, watcher delay 1 s, more copiers and hashers, no compression."""

    name = "syncthing tuned"
    about = "disableFsync, fsWatcherDelayS=1, copiers=4, hashers=2, pullerMaxPendingKiB=131072, databaseTuning=large"
    tuning = Tuning(
        folder={
            "fsWatcherDelayS": "1",
            "disableFsync": "true",
            "scanProgressIntervalS": "-1",
            "copyRangeMethod": "copy_file_range",
            "caseSensitiveFS": "true",
            "maxConcurrentWrites": "16",
            "copiers": "4",
            "pullerMaxPendingKiB": "131072",
            "hashers": "2",
        },
        options={
            "setLowPriority": "false",
            "progressUpdateIntervalS": "1",
            "databaseTuning": "large",
            "reconnectionIntervalS": "5",
        },
        compression="never",
    )


class _Runs:
    """A program that is run once for every sync."""

    stays = False
    own_names: tuple[str, ...] = ()
    _run: subprocess.Popen[bytes] | None = None

    def begin(self, pair: Pair) -> None:
        self.serve(pair.source)
        self.changed(pair)

    def serve(self, source: End) -> None:
        raise NotImplementedError

    def command(self, pair: Pair) -> tuple[str, ...]:
        raise NotImplementedError

    def environment(self, end: End) -> dict[str, str]:
        return {}

    def changed(self, pair: Pair) -> None:
        """Run it at the target, again as long as nobody listens yet."""
        script = 'for i in $(seq 100); do "$@" && exit 0; sleep 0.02; done; exit 1'
        command = ("sh", "-c", script, "sh", *self.command(pair))
        self._run = pair.target.spawn(*command, environment=self.environment(pair.target))

    def permit(self, pair: Pair) -> None:
        """It does not ask."""

    def is_busy(self, pair: Pair) -> bool:
        pair.target.collect()
        return self._run in pair.target.running


class Rsync(_Runs):
    """The daemon at the source, plain TCP; nothing is flushed (its default)."""

    name = "rsync"
    about = "daemon at the source, `rsync -a --delete`, plain TCP, no flush"
    needs: tuple[str, ...] = ("rsync",)
    _flags: tuple[str, ...] = ()

    def prepare(self, pair: Pair) -> None:
        text = f"use chroot = no\nuid = root\ngid = root\nreverse lookup = no\n[f]\npath = {pair.source.folder}\n"
        (pair.source.home / "rsyncd.conf").write_text(text)

    def serve(self, source: End) -> None:
        config = source.home / "rsyncd.conf"
        source.spawn("rsync", "--daemon", "--no-detach", f"--config={config}", f"--port={source.port}")

    def command(self, pair: Pair) -> tuple[str, ...]:
        return ("rsync", "-a", "--delete", *self._flags, self.url(pair.source), f"{pair.target.folder}/")

    def url(self, source: End) -> str:
        return f"rsync://{source.address}/f/"


class RsyncFsync(Rsync):
    """As rsync, and every file is flushed."""

    name = "rsync fsync"
    about = "as rsync, with `--fsync`"
    _flags = ("--fsync",)


class RsyncTls(Rsync):
    """As rsync, through stunnel at both ends; between rsync and stunnel it goes through pipes."""

    name = "rsync TLS"
    about = "as rsync, through stunnel (TLS 1.3, mutual) at both ends"
    needs: tuple[str, ...] = ("rsync", "stunnel4", "openssl")

    def prepare(self, pair: Pair) -> None:
        super().prepare(pair)
        source = pair.source
        key, certificate = source.home / "key.pem", source.home / "certificate.pem"
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3", "-subj", "/CN=bench")
        source.ask("openssl", "req", "-x509", *curve, "-keyout", str(key), "-out", str(certificate))
        common = f"foreground = yes\ndebug = err\nsslVersionMin = TLSv1.3\ncert = {certificate}\nkey = {key}\n"
        common += f"CAfile = {certificate}\nverifyPeer = yes\n"
        serving = f"pid =\n{common}[rsync]\naccept = {source.address}\nconnect = {source.home / 'rsync.sock'}\n"
        (source.home / "stunnel.conf").write_text(serving)
        dialling = f"{common}client = yes\nconnect = {source.address}\nTIMEOUTclose = 0\n"
        (pair.target.home / "stunnel.conf").write_text(dialling)
        shell = pair.target.home / "shell"
        shell.write_text(f"#!/bin/sh\nexec stunnel4 {pair.target.home / 'stunnel.conf'}\n")
        shell.chmod(0o755)
        self._flags = (f"--rsh={shell}",)

    def serve(self, source: End) -> None:
        daemon = ("rsync", "--server", "--daemon", f"--config={source.home / 'rsyncd.conf'}", ".")
        accept = Path(__file__).with_name("accept.py")
        source.spawn(sys.executable, "-S", str(accept), str(source.home / "rsync.sock"), *daemon)
        source.spawn("stunnel4", str(source.home / "stunnel.conf"))

    def url(self, source: End) -> str:
        return "source::f/"


class Unison(_Runs):
    """The server at the source; no watching, one run for each sync."""

    name = "unison"
    about = "`unison -socket` at the source, `-batch -auto -times`, plain TCP"
    needs: tuple[str, ...] = ("unison",)

    def prepare(self, pair: Pair) -> None:
        for end in pair.ends:
            (end.home / ".unison").mkdir()

    def serve(self, source: End) -> None:
        source.spawn("unison", "-socket", str(source.port), environment=self.environment(source))

    def command(self, pair: Pair) -> tuple[str, ...]:
        source, target = pair.ends
        there = f"socket://{source.address}/{source.folder}"
        flags = ("-batch", "-auto", "-silent", "-times", "-confirmbigdel=false", "-dumbtty")
        return ("unison", str(target.folder), there, *flags, "-logfile", str(target.home / "unison.log"))

    def environment(self, end: End) -> dict[str, str]:
        return {"UNISON": str(end.home / ".unison"), "UNISONLOCALHOSTNAME": end.name}


PROGRAMS: Mapping[str, Callable[[], Program]] = {
    kind.name: kind for kind in (Syncd, SyncthingTuned, Syncthing, Rsync, RsyncFsync, RsyncTls, Unison)
}


def _put(parent: ET.Element, tag: str, text: str) -> None:
    element = parent.find(tag)
    if element is None:
        element = ET.SubElement(parent, tag)
    element.text = text
