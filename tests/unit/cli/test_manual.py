"""Manual pages: one for every command, and none that groff has a complaint about."""

from __future__ import annotations

import subprocess

import pytest

from syncd.cli.help import TOPICS
from syncd.cli.manual import pages
from syncd.cli.root import application
from tests.unit.cli.test_tree import ALL

PAGES = pages(application(), TOPICS)


def test_every_command_has_a_page() -> None:
    leaves = {path for path, command in ALL.items() if not hasattr(command, "commands")}
    assert {f"{path.replace(' ', '-')}.1" for path in leaves} <= set(PAGES)
    assert {"syncd.1", "syncd-config.5", "syncd-ignore.5", "syncd-security.7"} <= set(PAGES)


@pytest.mark.needs("groff")
def test_groff_has_no_complaint() -> None:
    whole = "\n".join(PAGES.values())
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-rLL=100n"], input=whole, capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if "adjust" not in line and "break" not in line]
    assert (done.returncode, complaints) == (0, [])
    assert "--no-wait" in done.stdout and "syncd-share" in done.stdout


def test_page_names_flags_and_exit_codes() -> None:
    assert r"\-\-uses" in PAGES["syncd-share.1"]
    assert r"\fB12\fR" in PAGES["syncd.1"]
