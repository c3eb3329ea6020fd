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
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from tests.benchmarks.laboratory import End, Lab
from tests.helpers.computers import wait_until
from tests.helpers.unixhttp import ask_socket, call

START_S = 60.0


class Program(Protocol):
    """One way to sync."""

    name: str
    about: str
    stays: bool
    """It notices changes by itself; else it is run once for every sync."""
    serves_many: bool
    """It can be started at several targets at once."""
    needs: tuple[str, ...]
    """Commands that have to be installed."""
    own_names: tuple[str, ...]
    """Names in the folder that are the program's own."""

    def prepare(self, lab: Lab) -> None:
        """Keys and configuration: not timed."""

    def begin(self, lab: Lab) -> None:
        """From nothing running to a sync under way."""

    def open(self, lab: Lab) -> None:
        """From nothing running to a source that makes an index of its folder and can be joined."""

    def is_indexed(self, lab: Lab, files: int) -> bool:
        """The source has finished its index of so many files."""

    def join(self, lab: Lab) -> None:
        """All targets come to a source that is open, at once."""

    def rescan(self, lab: Lab) -> None:
        """The source looks at everything again; returns when it has."""

    def restart(self, lab: Lab) -> None:
        """The target was killed and comes back."""

    def changed(self, lab: Lab) -> None:
        """The source has changed."""

    def permit(self, lab: Lab) -> None:
        """A person says that the change of this moment, which looks like an accident, is meant."""

    def is_busy(self, lab: Lab) -> bool:
        """A run is under way."""


def is_installed(program: Program) -> bool:
    return all(shutil.which(command) for command in program.needs)


class Syncd:
    """This checkout, with its defaults: flushes are on. Discovery is off, since there is nobody else."""

    name = "syncd"
    about = "defaults (flushes on), discovery off, joined by a link"
    stays = True
    serves_many = True
    needs: tuple[str, ...] = ()
    own_names: tuple[str, ...] = (".syncd",)
    _command = str(Path(sys.executable).with_name("syncd"))
    _link = ""

    def prepare(self, lab: Lab) -> None:
        for end in lab.ends:
            config = f'[network]\nlisten = ["{end.address}"]\ndiscovery = false\n'
            (end.home / "config.toml").write_text(config)

    def begin(self, lab: Lab) -> None:
        for end in lab.ends:
            self._start(end)
        link = self._share(lab)
        self._wait_for(lab.target)
        self._ask(lab.target, "join", link, str(lab.target.folder), "--yes", "--no-wait")

    def open(self, lab: Lab) -> None:
        self._start(lab.source)
        self._link = self._share(lab)

    def is_indexed(self, lab: Lab, files: int) -> bool:
        call(lab.source.home, "wait", {"folders": [], "cwd": None, "for": "scanned", "timeout_s": None})
        [folder] = call(lab.source.home, "folders", {})["folders"]
        return bool(folder["files"] >= files)

    def join(self, lab: Lab) -> None:
        for target in lab.targets:
            self._start(target)
        for target in lab.targets:
            self._wait_for(target)
            joining = ("join", self._link, str(target.folder), "--as", target.name, "--yes", "--no-wait")
            target.spawn(self._command, "--home", str(target.home), *joining)

    def rescan(self, lab: Lab) -> None:
        call(lab.source.home, "folder.rescan", {"folder": None, "cwd": str(lab.source.folder), "wait": True})

    def restart(self, lab: Lab) -> None:
        self._start(lab.target)

    def _start(self, end: End) -> None:
        end.spawn(self._command, "--home", str(end.home), "run")

    def _share(self, lab: Lab) -> str:
        source, uses = lab.source, str(len(lab.targets) or 1)
        self._wait_for(source)
        sharing = ("share", str(source.folder), "--link", "--uses", uses, "--yes", "--no-wait", "--json")
        return str(json.loads(self._ask(source, *sharing))["link"])

    def changed(self, lab: Lab) -> None:
        """It has seen that."""

    def permit(self, lab: Lab) -> None:
        self._approve(lab.ends[0])  # where the wave began; the other one takes that for an answer

    def _approve(self, end: End) -> None:
        wait_until(lambda: bool(self._asked(end)), START_S, f"the brake of {end.name} did not ask")
        while waiting := self._asked(end):
            for request in waiting:
                try:
                    call(end.home, "approve", {"id": request})  # as the status page does for a click
                except RuntimeError as error:
                    if "SY-BRAKE-02" not in str(error):  # the wave has grown since it was shown: it is shown anew
                        raise

    def _asked(self, end: End) -> list[str]:
        return [one["id"] for one in call(end.home, "requests", {})["requests"]]

    def is_busy(self, lab: Lab) -> bool:
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
    serves_many = True
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

    def prepare(self, lab: Lab) -> None:
        ids = {}
        for end in lab.ends:
            end.ask("syncthing", "generate", f"--home={end.home}", "--no-default-folder")
            text = (end.home / "config.xml").read_text()
            found = re.search(r'<device id="([A-Z0-9-]{63})"', text)
            assert found is not None
            ids[end.name] = found[1]
            (end.folder / ".stfolder").mkdir()
        for end in lab.ends:
            self._configure(end, lab, ids)

    def _configure(self, end: End, lab: Lab, ids: Mapping[str, str]) -> None:
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
        for other in lab.ends:
            ET.SubElement(folder, "device", id=ids[other.name], introducedBy="")
            device = ET.SubElement(
                root, "device", id=ids[other.name], name=other.name, compression=self.tuning.compression
            )
            _put(device, "address", f"tcp://{other.address}")
        root.append(folder)
        ET.ElementTree(root).write(path)

    def begin(self, lab: Lab) -> None:
        for end in lab.ends:
            self._start(end)

    def open(self, lab: Lab) -> None:
        self._start(lab.source)

    def is_indexed(self, lab: Lab, files: int) -> bool:
        try:
            status = json.loads(self._rest(lab.source, "GET", "/rest/db/status?folder=bench"))
        except (OSError, RuntimeError):  # it does not listen yet
            return False
        return bool(status["state"] == "idle" and status["localFiles"] >= files)

    def join(self, lab: Lab) -> None:
        for target in lab.targets:
            self._start(target)

    def rescan(self, lab: Lab) -> None:
        self._rest(lab.source, "POST", "/rest/db/scan?folder=bench")

    def restart(self, lab: Lab) -> None:
        self._start(lab.target)

    def _start(self, end: End) -> None:
        end.spawn(
            *("syncthing", "serve", f"--home={end.home}", "--no-browser", "--no-upgrade", "--logfile=-"),
            "--no-restart",
            environment={"STNOUPGRADE": "1", "STNODEFAULTFOLDER": "1"},
        )

    @staticmethod
    def _rest(end: End, verb: str, target: str) -> str:
        """What its daemon answers; the socket is no part of the wire."""
        key = ET.parse(end.home / "config.xml").getroot().findtext("gui/apikey")
        return ask_socket(end.home / "gui.sock", verb, target, "", {"X-API-Key": str(key)})

    def changed(self, lab: Lab) -> None:
        """It notices by itself."""

    def permit(self, lab: Lab) -> None:
        """It does not ask."""

    def is_busy(self, lab: Lab) -> bool:
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
    serves_many = True
    own_names: tuple[str, ...] = ()
    _run: tuple[subprocess.Popen[bytes], ...] = ()

    def begin(self, lab: Lab) -> None:
        self.open(lab)
        self.changed(lab)

    def open(self, lab: Lab) -> None:
        self.serve(lab.source)

    def is_indexed(self, lab: Lab, files: int) -> bool:
        return True  # it makes none in advance

    def join(self, lab: Lab) -> None:
        self.changed(lab)

    def rescan(self, lab: Lab) -> None:
        self.changed(lab)
        while self.is_busy(lab):
            time.sleep(0.01)

    def restart(self, lab: Lab) -> None:
        self.changed(lab)

    def serve(self, source: End) -> None:
        raise NotImplementedError

    def command(self, lab: Lab, target: End) -> tuple[str, ...]:
        raise NotImplementedError

    def environment(self, end: End) -> dict[str, str]:
        return {}

    def changed(self, lab: Lab) -> None:
        """Run it at each target, again as long as nobody listens yet."""
        script = 'for i in $(seq 100); do "$@" && exit 0; sleep 0.02; done; exit 1'
        self._run = tuple(
            target.spawn("sh", "-c", script, "sh", *self.command(lab, target), environment=self.environment(target))
            for target in lab.targets
        )

    def permit(self, lab: Lab) -> None:
        """It does not ask."""

    def is_busy(self, lab: Lab) -> bool:
        for target in lab.targets:
            target.collect()
        running = [process for target in lab.targets for process in target.running]
        return any(run in running for run in self._run)


class Rsync(_Runs):
    """The daemon at the source, plain TCP; nothing is flushed (its default)."""

    name = "rsync"
    about = "daemon at the source, `rsync -a --delete`, plain TCP, no flush"
    needs: tuple[str, ...] = ("rsync",)

    def prepare(self, lab: Lab) -> None:
        text = f"use chroot = no\nuid = root\ngid = root\nreverse lookup = no\n[f]\npath = {lab.source.folder}\n"
        (lab.source.home / "rsyncd.conf").write_text(text)

    def serve(self, source: End) -> None:
        config = source.home / "rsyncd.conf"
        source.spawn("rsync", "--daemon", "--no-detach", f"--config={config}", f"--port={source.port}")

    def command(self, lab: Lab, target: End) -> tuple[str, ...]:
        return ("rsync", "-a", "--delete", *self._flags(target), self.url(lab.source), f"{target.folder}/")

    def _flags(self, target: End) -> tuple[str, ...]:
        return ()

    def url(self, source: End) -> str:
        return f"rsync://{source.address}/f/"


class RsyncFsync(Rsync):
    """As rsync, and every file is flushed."""

    name = "rsync fsync"
    about = "as rsync, with `--fsync`"

    def _flags(self, target: End) -> tuple[str, ...]:
        return ("--fsync",)


class RsyncInplace(Rsync):
    """As rsync, and files are patched where they lie."""

    name = "rsync inplace"
    about = "as rsync, with `--inplace`"

    def _flags(self, target: End) -> tuple[str, ...]:
        return ("--inplace",)


class RsyncTls(Rsync):
    """As rsync, through stunnel at both ends; between rsync and stunnel it goes through pipes."""

    name = "rsync TLS"
    about = "as rsync, through stunnel (TLS 1.3, mutual) at both ends"
    needs: tuple[str, ...] = ("rsync", "stunnel4", "openssl")

    def prepare(self, lab: Lab) -> None:
        super().prepare(lab)
        source = lab.source
        key, certificate = source.home / "key.pem", source.home / "certificate.pem"
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3", "-subj", "/CN=bench")
        source.ask("openssl", "req", "-x509", *curve, "-keyout", str(key), "-out", str(certificate))
        common = f"foreground = yes\ndebug = err\nsslVersionMin = TLSv1.3\ncert = {certificate}\nkey = {key}\n"
        common += f"CAfile = {certificate}\nverifyPeer = yes\n"
        serving = f"pid =\n{common}[rsync]\naccept = {source.address}\nconnect = {source.home / 'rsync.sock'}\n"
        (source.home / "stunnel.conf").write_text(serving)
        dialling = f"{common}client = yes\nconnect = {source.address}\nTIMEOUTclose = 0\n"
        for target in lab.targets:
            (target.home / "stunnel.conf").write_text(dialling)
            (target.home / "shell").write_text(f"#!/bin/sh\nexec stunnel4 {target.home / 'stunnel.conf'}\n")
            (target.home / "shell").chmod(0o755)

    def _flags(self, target: End) -> tuple[str, ...]:
        return (f"--rsh={target.home / 'shell'}",)

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
    serves_many = False

    def prepare(self, lab: Lab) -> None:
        for end in lab.ends:
            (end.home / ".unison").mkdir()

    def serve(self, source: End) -> None:
        source.spawn("unison", "-socket", str(source.port), environment=self.environment(source))

    def command(self, lab: Lab, target: End) -> tuple[str, ...]:
        there = f"socket://{lab.source.address}/{lab.source.folder}"
        flags = ("-batch", "-auto", "-silent", "-times", "-confirmbigdel=false", "-dumbtty")
        return ("unison", str(target.folder), there, *flags, "-logfile", str(target.home / "unison.log"))

    def environment(self, end: End) -> dict[str, str]:
        return {"UNISON": str(end.home / ".unison"), "UNISONLOCALHOSTNAME": end.name}


PROGRAMS: Mapping[str, Callable[[], Program]] = {
    kind.name: kind for kind in (Syncd, SyncthingTuned, Syncthing, Rsync, RsyncFsync, RsyncInplace, RsyncTls, Unison)
}


def _put(parent: ET.Element, tag: str, text: str) -> None:
    element = parent.find(tag)
    if element is None:
        element = ET.SubElement(parent, tag)
    element.text = text
