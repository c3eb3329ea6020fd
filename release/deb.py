"""Blocking. Builds a Debian package that carries its environment: python -m release.deb DIRECTORY

The libraries lie in /usr/lib/syncd and are seen by nobody else; the interpreter is Debian's. Wheels are those of the
constraints, so a machine of the same architecture and the same minor version of Python is needed to build it. Beside
them: units, users, manual pages, completion, the bill of materials. `dpkg-deb` is all that it takes.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

from release.man import write_pages
from release.sbom import bill
from syncd import __version__
from syncd.cli.completion import SCRIPTS

ROOT = Path(__file__).resolve().parents[1]
MAINTAINER = "syncd maintainers <maintainers@syncd.invalid>"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
NEXT_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor + 1}"
DATE = "Sat, 21 Nov 2026 12:00:00 +0000"

LAUNCHER = """\
#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "/usr/lib/syncd")

from {module} import main

main()
"""
CHANGE = """\
syncd ({version}) unstable; urgency=medium

  * See /usr/share/doc/syncd/NEWS.md.gz.

 -- {maintainer}  {date}
"""
POSTINST = """\
#!/bin/sh
set -e
if [ "$1" = configure ]; then
    systemd-sysusers syncd.conf || true
    systemd-tmpfiles --create syncd.conf || true
    if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
fi
"""
PRERM = """\
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl disable --now syncd.socket syncd.service || true
fi
"""
POSTRM = """\
#!/bin/sh
set -e
# Keys, databases and folders stay: /var/lib/syncd is removed by a person or not at all.
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
"""
OVERRIDES = """\
# The libraries are carried along on purpose: those of Debian 12 are older than syncd works with.
syncd: embedded-library *
# Wheels come stripped or not as their makers built them.
syncd: unstripped-binary-or-object *
syncd: binary-without-manpage *
syncd: hardening-no-fortify-functions *
syncd: hardening-no-relro *
syncd: hardening-no-bindnow *
# Programs of libraries that nobody starts here.
syncd: unusual-interpreter *
# They are found by a path that the launcher names, and belong to nobody else.
syncd: package-installs-python-egg *
syncd: python3-script-but-no-python3-dep *
# Started by `systemctl enable` or `syncd service install --system`, never by the installation alone.
syncd: maintainer-script-calls-systemctl *
"""


def build(target: Path) -> Path:
    """The package, written into `target`."""
    tree = target / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    library = tree / "usr/lib/syncd"
    library.mkdir(parents=True)
    _install(library)
    _launchers(tree / "usr/bin")
    _system_files(tree)
    _documents(tree, library)
    _control(tree)
    _set_modes(tree)
    architecture = _architecture()
    package = target / f"syncd_{__version__}_{architecture}.deb"
    command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(tree), str(package)]
    subprocess.run(command, check=True, capture_output=True)
    return package


def _install(library: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    subprocess.run(
        [*pip, "--constraint", str(ROOT / "constraints.txt"), "--target", str(library), str(ROOT)], check=True
    )
    shutil.rmtree(library / "bin", ignore_errors=True)
    for path in [*library.rglob("direct_url.json"), *library.rglob("*.dist-info/REQUESTED")]:
        path.unlink()  # where it was built is nobody's business


def _launchers(place: Path) -> None:
    place.mkdir(parents=True)
    for name, module in (("syncd", "syncd.cli"), ("syncd-ca", "ca.cli")):
        (place / name).write_text(LAUNCHER.format(module=module))


def _system_files(tree: Path) -> None:
    units = ROOT / "systemd"
    for source, place in (
        ("system", "usr/lib/systemd/system"),
        ("user", "usr/lib/systemd/user"),
        ("sysusers.d", "usr/lib/sysusers.d"),
        ("tmpfiles.d", "usr/lib/tmpfiles.d"),
        ("sysctl.d", "usr/lib/sysctl.d"),
    ):
        shutil.copytree(units / source, tree / place)
    user = tree / "usr/lib/systemd/user/syncd.service"
    user.write_text(user.read_text().replace("%h/.local/bin/syncd", "/usr/bin/syncd"))
    for shell, path in (
        ("bash", "usr/share/bash-completion/completions/syncd"),
        ("zsh", "usr/share/zsh/vendor-completions/_syncd"),
        ("fish", "usr/share/fish/vendor_completions.d/syncd.fish"),
    ):
        (tree / path).parent.mkdir(parents=True)
        (tree / path).write_text(SCRIPTS[shell])


def _documents(tree: Path, library: Path) -> None:
    write_pages(tree / "usr/share/man", compressed=True)
    place = tree / "usr/share/doc/syncd"
    place.mkdir(parents=True)
    (place / "copyright").write_text(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
        "Upstream-Name: syncd\n\nFiles: *\nCopyright: 2026 the authors of syncd\nLicense: Apache-2.0\n"
        " On Debian systems, the text is in /usr/share/common-licenses/Apache-2.0.\n"
    )
    shutil.copy(ROOT / "NOTICE", place / "NOTICE")
    (place / "sbom.cdx.json").write_text(json.dumps(bill("syncd", str(library)), indent=1))
    entry = CHANGE.format(version=__version__, maintainer=MAINTAINER, date=DATE)
    (place / "changelog.gz").write_bytes(gzip.compress(entry.encode(), 9, mtime=0))
    (place / "NEWS.md.gz").write_bytes(gzip.compress((ROOT / "CHANGELOG.md").read_bytes(), 9, mtime=0))
    overrides = tree / "usr/share/lintian/overrides"
    overrides.mkdir(parents=True)
    (overrides / "syncd").write_text(OVERRIDES)


def _control(tree: Path) -> None:
    place = tree / "DEBIAN"
    place.mkdir()
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file()) // 1024
    architecture = _architecture()
    (place / "control").write_text(
        textwrap.dedent(f"""\
        Package: syncd
        Version: {__version__}
        Architecture: {architecture}
        Maintainer: {MAINTAINER}
        Installed-Size: {size}
        Depends: python3 (>= {PYTHON}), python3 (<< {NEXT_PYTHON}~), libc6 (>= 2.34)
        Recommends: systemd
        Section: net
        Priority: optional
        Description: keep folders equal on computers, without a server in the middle
         Every folder has a certificate of its own that all its members share, files
         travel as encrypted blocks of which only the changed ones are sent, and when
         somebody leaves, certificate and keys change at once. What is replaced or
         deleted is set aside first, and two versions of one file are both kept.
        """)
    )
    for name, text in (("postinst", POSTINST), ("prerm", PRERM), ("postrm", POSTRM)):
        (place / name).write_text(text)
    files = sorted(path for path in tree.rglob("*") if path.is_file() and "DEBIAN" not in path.parts)
    sums = subprocess.run(
        ["md5sum", *(str(path.relative_to(tree)) for path in files)],
        cwd=tree,
        capture_output=True,
        text=True,
        check=True,
    )
    (place / "md5sums").write_text(sums.stdout)


def _architecture() -> str:
    shown = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    return shown.stdout.strip()


def _set_modes(tree: Path) -> None:
    """The same whatever the umask is: programs may be run, all else is only read."""
    programs = {
        tree / "usr/bin/syncd",
        tree / "usr/bin/syncd-ca",
        *(tree / "DEBIAN" / one for one in ("postinst", "prerm", "postrm")),
    }
    for directory, _, names in os.walk(tree):
        os.chmod(directory, 0o755)
        for name in names:
            path = Path(directory, name)
            path.chmod(0o755 if path in programs else 0o644)


if __name__ == "__main__":
    wanted = Path(sys.argv[1])
    wanted.mkdir(parents=True, exist_ok=True)
    print(build(wanted))
