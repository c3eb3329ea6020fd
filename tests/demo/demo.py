"""Blocking. `make demo`: real daemons on this machine, each with its own home, keep a folder equal before your eyes.

Everything goes through the command line that people use. Set N=3 for more computers. With ONCE=1 the
demonstration checks its own result, prints a summary and ends (exit 0, or 1 with the reason); otherwise the
daemons stay up until Ctrl-C, so that you can play with the folders.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.helpers.computers import (
    NAMES,
    SYNCD,
    Computer,
    Disappointment,
    computers,
    demand_equal,
    fresh_place,
    is_served,
    join,
    share,
    steal_certificate,
    wait_equal,
    wait_until,
)

PLACE = Path(__file__).resolve().parents[2] / ".demo"
FOLDER = "Notes"

SMALL_FILES = 400
BIG_FILE_BYTES = 64 << 20
SYNC_S, NEWS_S, REMOVAL_S = 180.0, 20.0, 5.0
SILENCE_S = 3.0  # how long a removed member is watched not to receive anything
PROGRESS_S = 0.25

MIB = 1 << 20


@dataclass(slots=True)
class Summary:
    """What was measured, in the order in which it happened."""

    lines: list[tuple[str, str]] = field(default_factory=list)

    def add(self, what: str, value: str) -> None:
        self.lines.append((what, value))

    def show(self) -> None:
        print("\nSummary")
        for what, value in self.lines:
            print(f"  {what:<44} {value}")


def say(text: str) -> None:
    print(text, flush=True)


def write_sample(folder: Path) -> int:
    """A small library of notes with everything that names and files can be. Returns its size in bytes."""
    chance = random.Random("syncd demo")
    total = 0
    for number in range(SMALL_FILES):
        place = folder / f"year {2000 + number % 20}" / f"month {number % 12 + 1}"
        place.mkdir(parents=True, exist_ok=True)
        text = chance.randbytes(chance.randint(0, 20_000))
        (place / f"note {number}.txt").write_bytes(text)
        total += len(text)
    (folder / "film.bin").write_bytes(chance.randbytes(BIG_FILE_BYTES))
    (folder / "tea ☕ and Käse.txt").write_text("names are bytes\n")
    (folder / "script.sh").write_text("#!/bin/sh\necho hello\n")
    (folder / "script.sh").chmod(0o755)
    (folder / "empty room").mkdir()
    (folder / "newest").symlink_to("year 2019")
    return total + BIG_FILE_BYTES


def folders_of(group: Sequence[Computer]) -> list[Path]:
    return [computer.folder for computer in group]


def all_have(group: Sequence[Computer], name: str) -> bool:
    return all((computer.folder / name).exists() for computer in group)


def none_has(group: Sequence[Computer], name: str) -> bool:
    return not any((computer.folder / name).exists() for computer in group)


def show_share_and_join(group: Sequence[Computer], summary: Summary) -> None:
    anna, *others = group
    size_bytes = write_sample(anna.folder)
    link = share(anna, FOLDER, uses=len(others))
    say(f"  anna shares {SMALL_FILES} notes and a film, {size_bytes / MIB:.0f} MiB, and passes on a link of one line")
    for other in others:
        started = time.monotonic()
        join(other, link)
        say(f"  {other.name} joined after {time.monotonic() - started:.1f} s and fetches")
        watch_progress(other, size_bytes)
        took_s = time.monotonic() - started
        entries = demand_equal(anna.folder, other.folder)
        say(f"  {other.name} has all {entries} entries: bytes, modes, times and symlink targets are equal")
        rate = f"{size_bytes / MIB / took_s:.0f} MiB/s, {entries / took_s:.0f} entries/s"
        summary.add(f"{other.name} joined and was in sync", f"{took_s:.1f} s ({rate})")


def watch_progress(computer: Computer, size_bytes: int) -> None:
    """Print how far a download is until the folder is in sync."""
    waiter = subprocess.Popen(
        computer.command("wait", "--for", "synced", "--timeout", f"{SYNC_S:g}"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    started, before = time.monotonic(), 0
    while waiter.poll() is None:
        received = computer.transfer()["received_bytes"]
        if received != before:
            percent = min(100, 100 * received // size_bytes)
            rate = received / MIB / (time.monotonic() - started)
            say(f"    {computer.name}  {percent:3d} %  {received / MIB:6.1f} MiB  {rate:5.0f} MiB/s")
        before = received
        time.sleep(PROGRESS_S)
    if waiter.returncode != 0:
        raise Disappointment(f"{computer.name}: not in sync (syncd wait: exit code {waiter.returncode})")


def show_edits(group: Sequence[Computer], summary: Summary) -> None:
    for writer in group:
        name = f"written by {writer.name}.txt"
        (writer.folder / name).write_text(f"{writer.name} was here\n")
        took_s = wait_until(partial(all_have, group, name), NEWS_S, f"{name} did not arrive")
        say(f"  {writer.name} writes a file: everywhere after {took_s:.2f} s")
        summary.add(f"a file written by {writer.name} was everywhere", f"{took_s:.2f} s")
    show_move_and_delete(group, summary)
    show_small_change(group, summary)


def show_move_and_delete(group: Sequence[Computer], summary: Summary) -> None:
    anna, ben = group[:2]
    before = ben.transfer()["received_bytes"]
    (anna.folder / "year 2003").rename(anna.folder / "the year 2003")
    wait_until(partial(all_have, group, "the year 2003"), NEWS_S, "the renamed directory did not arrive")
    (ben.folder / "script.sh").unlink()
    wait_until(partial(none_has, group, "script.sh"), NEWS_S, "the deletion did not arrive")
    wait_equal(folders_of(group), NEWS_S)
    travelled = (ben.transfer()["received_bytes"] - before) / 1024
    say(f"  anna renames a directory, ben deletes a file: {travelled:.1f} KiB travelled to ben")
    summary.add("directory renamed and file deleted", f"{travelled:.1f} KiB travelled")


def show_small_change(group: Sequence[Computer], summary: Summary) -> None:
    anna, ben = group[:2]
    before = ben.transfer()["received_bytes"]
    with (anna.folder / "film.bin").open("r+b") as film:
        film.seek(BIG_FILE_BYTES // 2)
        film.write(b"one small change")
    wait_equal(folders_of(group), NEWS_S)
    travelled = (ben.transfer()["received_bytes"] - before) / 1024
    say(f"  anna changes 16 bytes in the middle of the film: {travelled:.0f} KiB travelled to ben")
    summary.add("16 bytes changed in a file of 64 MiB", f"{travelled:.0f} KiB travelled")


def show_removal(group: Sequence[Computer], summary: Summary) -> None:
    anna, leaver = group[0], group[-1]
    stolen = steal_certificate(leaver, FOLDER)
    if not is_served(anna, stolen):
        raise Disappointment("the certificate of the folder was refused before the removal")
    started = time.monotonic()
    epoch = anna.ask("member", "remove", FOLDER, leaver.name, "--yes")["epoch"]
    wait_until(lambda: not is_served(anna, stolen), REMOVAL_S, "the old certificate is still accepted")
    took_s = time.monotonic() - started
    say(f"  anna removes {leaver.name}: epoch {epoch}, the old certificate is refused after {took_s:.2f} s")
    summary.add(f"{leaver.name} removed, old certificate refused", f"{took_s:.2f} s")
    show_silence(group[:-1], leaver)


def show_silence(stayed: Sequence[Computer], leaver: Computer) -> None:
    (stayed[0].folder / "after the removal.txt").write_text("not for everybody\n")
    (leaver.folder / "from outside.txt").write_text("nobody reads this\n")
    time.sleep(SILENCE_S)
    wait_equal(folders_of(stayed), NEWS_S)
    if not none_has([leaver], "after the removal.txt"):
        raise Disappointment(f"a new file reached {leaver.name}, who was removed")
    if not none_has(stayed, "from outside.txt"):
        raise Disappointment(f"an edit by {leaver.name}, who was removed, arrived")
    say(f"  nothing new reaches {leaver.name}, and nothing of {leaver.name}'s arrives; the others go on")


def stay(group: Sequence[Computer]) -> None:
    say("\nThe daemons stay up. The folders:")
    for computer in group:
        say(f"  {computer.name:<6} {computer.folder}")
    say(f"Ask any of them, for example:\n  {SYNCD} --home {group[0].home} status")
    say("Ctrl-C ends the demonstration and removes all of this.")
    while True:
        for computer in group:
            computer.demand_alive()
        time.sleep(PROGRESS_S)


def demonstrate(count: int, once: bool) -> None:
    summary = Summary()
    with fresh_place(PLACE) as place, computers(NAMES[:count], place, FOLDER) as group:
        say(f"1  Start {count} daemons, each with its own home")
        for computer in group:
            computer.start()
            say(f"  {computer.name} listens on 127.0.0.1:{computer.port}")
        say("2  Share and join")
        show_share_and_join(group, summary)
        say("3  Edit on every side")
        show_edits(group, summary)
        say("4  Remove a member")
        show_removal(group, summary)
        summary.show()
        if not once:
            stay(group)


def main() -> int:
    count = int(os.environ.get("N") or 2)
    once = os.environ.get("ONCE", "") not in ("", "0")
    if not 2 <= count <= len(NAMES):
        print(f"N must be between 2 and {len(NAMES)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    try:
        demonstrate(count, once)
    except Disappointment as error:
        print(f"\ndemo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("\nstopped")
        return 0
    say(f"\ndemo passed in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
