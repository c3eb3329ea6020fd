"""Pure. What a daemon answers in four states: nothing there, much going on, much broken, a million files. And names as
an attacker would choose them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Json = dict[str, Any]
Script = dict[str, Any]

NOW = "2026-11-21T12:00:00Z"
EARLIER = "2026-11-18T09:30:00Z"
FOLDER, WORK = "ab" * 32, "cd" * 32
BEN, NAS, ATTIC = "ben-device-id", "nas-device-id", "attic-device-id"
MILLION = 1_000_000


def peer(id_: str, name: str, *, connected: bool = True, has: float | None = 1.0, role: str = "editor") -> Json:
    return {
        "id": id_,
        "name": name,
        "role": role,
        "connected": connected,
        "through": [],
        "last_seen": NOW if connected else EARLIER,
        "have_ratio": has,
    }


def folder(id_: str, name: str, state: str, peers: list[Json], **more: Any) -> Json:
    return {
        "id": id_,
        "name": name,
        "path": f"/home/anna/{name}",
        "role": "owner",
        "state": state,
        "epoch": 3,
        "epoch_id": "11" * 32,
        "files": 12_408,
        "bytes": 51_600_000_000,
        "need": {"files": 0, "bytes": 0},
        "held": 0,
        "conflicts": 0,
        "requests": 0,
        "old_bytes": 120_000_000,
        "history": {"plain_bytes": 120_000_000, "packed_bytes": 3_000_000_000},
        "problems": [],
        "peers": peers,
        "recovery_keys": [],
        "only_here": 0,
    } | more


def status(*folders: Json, in_sync: bool = False, rates: tuple[int, int] = (0, 0), problems: Any = ()) -> Json:
    return {
        "schema": "syncd.status/1",
        "version": "0.1.0",
        "device": {"id": "own-device-id", "words": "carpet-tennis", "name": "ben-desktop"},
        "in_sync": in_sync,
        "folders": list(folders),
        "problems": list(problems),
        "keys": {"locked": False, "passphrase": False, "warning": None},
        "refused": {"count": 0, "hosts": 0, "most": None},
        "transfer": {
            "received_bytes": 48_100_000_000,
            "sent_bytes": 2_000_000_000,
            "duplicate_bytes": 0,
            "blocks_fetched": 190_000,
            "receive_rate": rates[0],
            "send_rate": rates[1],
        },
    }


def contact(id_: str, name: str, words: str, *, connected: bool = True, rtt: float | None = 1.4) -> Json:
    return {
        "id": id_,
        "name": name,
        "words": words,
        "folders": ["Photos", "Work"],
        "connected": connected,
        "through": [],
        "how": "lan" if connected else None,
        "address": "192.168.1.23:22067" if connected else None,
        "last_seen": NOW if connected else EARLIER,
        "rtt_ms": rtt if connected else None,
    }


def member(id_: str, name: str, role: str, words: str, *, you: bool = False) -> Json:
    device = {"id": f"{name}-device", "name": name, "words": words}
    rights = {"role": role, "status": "active", "can": ["delete"] if role == "editor" else [], "until": None}
    return {"id": id_, "name": name, **rights, "since": EARLIER, "you": you, "devices": [device]}


def traffic(*peers: tuple[str, str, list[int], list[int]]) -> Json:
    return {
        "schema": "syncd.traffic/1",
        "span": "15m",
        "step_s": 10.0,
        "began": NOW,
        "peers": [{"id": id_, "name": name, "received": got, "sent": gave} for id_, name, got, gave in peers],
    }


def entry(
    name: str, size: int, state: str = "here", kind: str = "file", has: Mapping[str, bool] = MappingProxyType({})
) -> Json:
    return {"name": name, "kind": kind, "bytes": size, "mtime": EARLIER, "state": state, "peers": dict(has)}


def ls(entries: list[Json], peers: list[Json], after: str | None = None) -> Json:
    listed = [{key: one[key] for key in ("id", "name", "connected", "have_ratio")} for one in peers]
    about = {"schema": "syncd.ls/1", "folder": FOLDER, "name": "Photos", "path": ""}
    return {**about, "peers": listed, "entries": entries, "after": after}


def run(state: str, blocks: int, by: str | None = None, holders: int = 0) -> Json:
    return {"state": state, "blocks": blocks, "by": by, "holders": holders}


def transfer(path: str, size: int, done: int, strip: list[Json]) -> Json:
    senders = sorted({one["by"] for one in strip if one["by"]})
    about = {"folder": FOLDER, "name": "Photos", "path": path, "bytes": size, "done_bytes": done}
    return {**about, "peers": senders, "strip": strip}


def transfers(*files: Json, total: int | None = None, eta_s: int | None = None, rate: int = 0) -> Json:
    return {
        "schema": "syncd.transfers/1",
        "receive_rate": rate,
        "total": len(files) if total is None else total,
        "need_bytes": sum(one["bytes"] - one["done_bytes"] for one in files),
        "eta_s": eta_s,
        "files": list(files),
    }


def share_link(path: str, state: str = "open", **more: Any) -> Json:
    """A link for people outside."""
    return {
        "id": "5e" * 16,
        "folder": FOLDER,
        "name": "Photos",
        "path": path,
        "kind": "file",
        "made": NOW,
        "expires": "2026-11-28T12:00:00Z",
        "password": True,
        "most": None,
        "used": 2,
        "state": state,
        "why": None,
        **more,
    }


def invite(id_: str, code: str | None, role: str = "editor") -> Json:
    return {
        "id": id_,
        "folder": FOLDER,
        "name": "Photos",
        "kind": "code" if code else "link",
        "code": code,
        "role": role,
        "uses_left": 1,
        "attempts_left": 3 if code else None,
        "opened": NOW,
        "expires": "2026-11-28T12:00:00Z",
    }


def asks_to_join(name: str = "anna-laptop", host: str = "anna-laptop") -> Json:
    return {
        "id": "jx7k",
        "kind": "join",
        "folder": FOLDER,
        "name": "Photos",
        "since": NOW,
        "member": name,
        "host": host,
        "system": "macOS",
        "address": "192.168.1.40:52011",
        "words": "tulip-orbit",
        "role": "editor",
    }


HELD = {
    "id": "w1-abab",
    "kind": "held",
    "folder": WORK,
    "name": "Work",
    "since": NOW,
    "author": "nas",
    "files": 2_113,
    "of_files": 3_120,
    "paths": ["plan.xlsx", "2024/", "2025/"],
    "direction": "there",
}
DOCTOR = [
    {"name": "home", "ok": True, "why": "", "try": "", "id": None},
    {"name": "keys are yours alone", "ok": True, "why": "", "try": "", "id": None},
]
SETTINGS = [
    {"key": "network.listen", "value": None, "origin": "default", "about": "addresses to listen on", "at_once": False},
    {"key": "network.peers", "value": ["nas.local:22067"], "origin": "file", "about": "more addresses to try",
     "at_once": True},
    {"key": "log.level", "value": "info", "origin": "default", "about": "debug, info, warning, error", "at_once": True},
]  # fmt: skip


def changes(number: int) -> Json:
    """So many changes, and sixty steps of time."""
    kinds = ("added", "changed", "moved", "deleted")
    bins = [
        {"began": EARLIER, **{kind: (at * (at_kind + 3)) % (23 - 5 * at_kind) for at_kind, kind in enumerate(kinds)}}
        for at in range(60)
    ]
    made = [
        {"id": f"{at:012x}", "time": EARLIER, "by": ("ben-desktop", "anna-laptop", "nas")[at % 3], "added": at * 7 % 41,
         "changed": at % 5, "moved": at % 2, "deleted": at * 3 % 4, "approves": at % 7 == 6}
        for at in range(number)
    ]  # fmt: skip
    about = {"schema": "syncd.changes/1", "folder": FOLDER, "name": "Photos", "path": "/home/anna/Photos"}
    return {**about, "bins": bins if number else [], "changes": made}


def difference(path: str, change: str, before: int | None, after: int | None) -> Json:
    about = {"change": change, "path": path, "from": None, "by": "anna-laptop"}
    return {**about, "size_before": before, "size": after}


DIFFERENCES = [
    difference("2025/beach.jpg", "added", None, 4_812_300),
    difference("notes.txt", "changed", 812, 900),
    difference("old/draft.txt", "deleted", 12_000, None),
]
COUNTS = {"added": 1, "changed": 1, "attributes": 0, "moved": 0, "deleted": 1}
RESTORED = {
    "name": "Photos",
    "counts": COUNTS,
    "bytes": 12_812,
    "from_peers": {"blocks": 2, "bytes": 12_000},
    "missing_blocks": 0,
    "incomplete": [],
    "estimate_s": 4.2,
    "refused": [],
    "differences": [{"change": one["change"], "path": one["path"]} for one in DIFFERENCES],
    "dry_run": True,
    "undo": "d1",
}


def version(id_: str, action: str, kept: str, *, current: bool = False) -> Json:
    about = {"id": id_ * 12, "time": EARLIER, "by": "anna-laptop", "device": "anna-laptop", "action": action}
    return {**about, "size": 812, "current": current, "kept": kept}


VERSIONS = [version("a", "changed", "here", current=True), version("b", "changed", "peer"), version("c", "added", "no")]


COMPARED = {
    "folder": FOLDER,
    "name": "Photos",
    "path": "plan.txt",
    "versions": [
        {"path": "plan.txt", "by": "ben-desktop", "time": EARLIER, "bytes": 412, "hash": "ab12", "media": "text",
         "rows": None},
        {"path": "plan (conflict anna-laptop 8ab9f42c).txt", "by": "anna-laptop", "time": EARLIER, "bytes": 431,
         "hash": "8ab9", "media": "text", "rows": [
             {"change": "skipped", "left": None, "right": None, "lines": 12},
             {"change": "same", "left": "Saturday: by train to the coast", "right": "Saturday: by train to the coast",
              "lines": 1},
             {"change": "changed", "left": "Leave at 8:10 from platform 3", "right": "Leave at 9:02 from platform 7",
              "lines": 1},
             {"change": "right", "left": None, "right": "Bring the small tent", "lines": 1},
             {"change": "left", "left": "Call Carla about the keys", "right": None, "lines": 1},
             {"change": "same", "left": "Sunday: the lighthouse", "right": "Sunday: the lighthouse", "lines": 1},
         ]},
    ],
}  # fmt: skip


def stored(id_: str, name: str, level: str, why: str, *, packs: int = 0) -> Json:
    """What `storage` says of one folder."""
    days = [
        {"began": f"2026-11-{day + 1:02}T00:00:00Z", "packs": packs and (day * 5) % 7 if day % 3 else 0}
        for day in range(28)
    ]
    copies = [
        {"id": "ME", "name": "this computer", "role": "owner", "connected": True, "whole_at": NOW, "fresh": True},
        {
            "id": BEN,
            "name": "anna-laptop",
            "role": "editor",
            "connected": True,
            "whole_at": NOW,
            "fresh": level == "good",
        },
        {"id": NAS, "name": "nas", "role": "viewer", "connected": False, "whole_at": None, "fresh": False},
    ]
    return {
        "id": id_, "name": name, "path": "/home/anna/" + name, "files": 12_408, "bytes": 51_600_000_000,
        "plain": {"files": 12, "bytes": 800_000_000},
        "packs": {"packs": packs, "bytes": packs * 260_000_000, "read_since": EARLIER if packs else None},
        "keep": "all 90d, daily 1y", "always": "all 30d", "space_bytes": 20 << 30, "newest_snapshot": EARLIER,
        "newest_change": EARLIER, "database_bytes": 48_000_000, "days": days, "free_bytes": 310_000_000_000,
        "disk_bytes": 500_000_000_000, "copies": copies, "level": level, "why": why,
    }  # fmt: skip


def happenings(number: int, *, intact: bool = True) -> Json:
    """So many records, of all kinds in turn."""
    told = [
        ("event", "ben-desktop", "files", "Photos", "14 added, 2 changed (1c9f02ab7e11)", True),
        ("admin", "page", "member.change", "Photos", "member=nas what=role role=viewer", True),
        ("audit", "anna-laptop", "admit", "Photos", "nas as editor (entry 7)", True),
        ("operator", "command line", "pause", "Work", "for_s=7200", True),
        ("fault", "daemon", "SY-DISK-01", "Work", "2025/holiday.mp4: the disk is full", False),
        ("audit", "192.168.1.77", "refused pairing", None, "3 times: wrong words for a code", False),
    ]
    records = [
        dict(zip(("kind", "actor", "action", "folder", "what", "ok"), told[at % len(told)], strict=True))
        | {"time": EARLIER}
        for at in range(number)
    ]
    kinds = ("event", "audit", "admin", "operator", "fault")
    days = [
        {"began": f"2026-10-{day + 1:02}T00:00:00Z"}
        | {kind: number and day * (at + 2) % (19 - 3 * at) for at, kind in enumerate(kinds)}
        for day in range(30)
    ]  # fmt: skip
    wrong = None if intact else "line 17 does not follow the one before it"
    return {"audit": records, "total": number * 4, "days": days, "lines": number * 3, "wrong": wrong}


def script(state: Json, **answers: Any) -> Script:
    """Every method that a view may ask, quiet unless said otherwise."""
    nothing = {
        "status": state,
        "peers": {"peers": []},
        "requests": {"requests": []},
        "invites": {"invites": []},
        "links": {"links": []},
        "members": {"members": [member("aa" * 16, "ben-desktop", "owner", "carpet-tennis", you=True)]},
        "conflicts": {"conflicts": []},
        "compare": COMPARED,
        "storage": {"folders": []},
        "audit": happenings(0),
        "prune": {
            "versions": 210,
            "freed_bytes": 1_900_000_000,
            "kept_bytes": 400_000_000,
            "keep": "all 90d, daily 1y",
            "short_of_space": False,
        },
        "traffic": traffic(),
        "transfers": transfers(),
        "ls": ls([], []),
        "changes": changes(0),
        "diff": {"counts": COUNTS, "differences": DIFFERENCES},
        "history": {"versions": VERSIONS},
        "restore": RESTORED,
        "doctor": {"ok": True, "checks": DOCTOR},
        "config.show": {"settings": SETTINGS},
        "version": {
            "version": "0.1.0",
            "home": "/home/anna/.local/state/syncd",
            "listen": ["0.0.0.0:22067"],
            "uptime_s": 86_400.0 * 3,
        },
        "key.show": {"id": "SY1-KPTX3-Q7MNA-22WLC-0FHDR", "words": "carpet-tennis", "name": "ben-desktop"},
        "folder.leave": {
            "name": "Photos",
            "path": "/home/anna/Photos",
            "files": 12_408,
            "bytes": 51_600_000_000,
            "alone": True,
            "old_bytes": 0,
            "packed_bytes": 1_200_000_000,
            "only_here_since": None,
        },
        "member.remove": {
            "name": "Photos",
            "member": {"id": "bb" * 16, "name": "nas", "role": "editor", "devices": 1},
            "epoch": 3,
            "pending": ["attic-vault"],
        },
    }
    return nothing | answers


def empty() -> Script:
    """A daemon that was started a minute ago."""
    return script(status(in_sync=True))


PEERS = [peer(BEN, "anna-laptop"), peer(NAS, "nas"), peer(ATTIC, "attic-vault", role="vault")]
CONTACTS = [
    contact(BEN, "anna-laptop", "tulip-orbit"),
    contact(NAS, "nas", "farmer-merit", rtt=0.6),
    contact(ATTIC, "attic-vault", "jigsaw-chorus", rtt=23.0),
]
LINKS = [
    share_link("/home/anna/Photos/2025", kind="directory", most=5),
    share_link("/home/anna/Photos/letter.pdf", password=False),
    share_link("/home/anna/Photos/old.zip", "ended", why="it was revoked"),
]
MEMBERS = [
    member("aa" * 16, "ben-desktop", "owner", "carpet-tennis", you=True),
    member("bb" * 16, "anna-laptop", "editor", "tulip-orbit"),
    member("cc" * 16, "nas", "viewer", "farmer-merit"),
    member("dd" * 16, "attic-vault", "vault", "jigsaw-chorus"),
]
ENTRIES = [
    entry("2024", 0, kind="directory"),
    entry("2025", 0, kind="directory"),
    entry("beach.jpg", 4_812_300, has={BEN: True, NAS: True}),
    entry("concert.flac", 31_000_000, "waiting", has={BEN: True, NAS: False}),
    entry("notes.txt", 812, has={BEN: False, NAS: False}),
]


def _wave(number: int, most: int) -> list[int]:
    """Some traffic that goes up and down."""
    return [most * ((step * (7 + number) + number * 13) % 29) // 29 for step in range(90)]


def busy() -> Script:
    """A folder that is being filled, another that is level."""
    photos = folder(
        FOLDER, "Photos", "syncing", [peer(BEN, "anna-laptop"), peer(NAS, "nas", has=0.62), PEERS[2]],
        need={"files": 3_204, "bytes": 19_300_000_000}, files=9_204, bytes=32_300_000_000, requests=1,
    )  # fmt: skip
    work = folder(WORK, "Work", "synced", [peer(BEN, "anna-laptop"), PEERS[2]], files=3_120, bytes=2_000_000_000)
    strip = [run("have", 44), run("arriving", 3, "anna-laptop"), run("arriving", 2, "nas"), run("held", 58, None, 2)]
    return script(
        status(photos, work, rates=(92_000_000, 1_300_000)),
        peers={"peers": CONTACTS},
        requests={"requests": [asks_to_join()]},
        invites={"invites": [invite("01" * 8, "7-guitar-uncle-merit"), invite("02" * 8, None, "viewer")]},
        links={"links": LINKS},
        members={"members": MEMBERS},
        traffic=traffic(
            (BEN, "anna-laptop", _wave(1, 80_000_000), _wave(2, 9_000_000)),
            (NAS, "nas", _wave(3, 40_000_000), _wave(4, 21_000_000)),
            (ATTIC, "attic-vault", [0] * 90, _wave(5, 30_000_000)),
        ),
        transfers=transfers(
            transfer("2025/holiday.mp4", 1_900_000_000, 780_000_000, strip),
            transfer("2025/concert.flac", 31_000_000, 12_000_000, [run("have", 9), run("arriving", 12, "nas")]),
            transfer(
                "scans/letters.pdf",
                8_000_000,
                4_000_000,
                [run("have", 12), run("held", 4, None, 1), run("nobody", 3), run("have", 4)],
            ),
            total=412,
            eta_s=208,
            rate=92_000_000,
        ),
        ls=ls(ENTRIES, photos["peers"]),
        changes=changes(24),
        storage={
            "folders": [
                stored(FOLDER, "Photos", "good", "2 computers are known to have all of it", packs=9),
                stored(WORK, "Work", "warn", "only this computer is known to have all of it"),
            ]
        },
        audit=happenings(18),
    )


def broken() -> Script:
    """Whatever can be wrong, is."""
    problems = [
        {
            "id": "SY-FILE-04",
            "path": "plan.xlsx",
            "why": "it is open and changing; it is tried again every minute",
            "try": "close it in the program that has it open",
        },
        {
            "id": "SY-DISK-01",
            "path": "2025/holiday.mp4",
            "why": "the disk is full",
            "try": "free 1.8 GiB",
        },
    ]
    away = [peer(BEN, "anna-laptop", connected=False, has=None), peer(NAS, "nas", has=0.4)]
    photos = folder(FOLDER, "Photos", "stopped", away, problems=[
        {"id": "SY-ROOT-01", "path": None, "why": "the folder's directory is gone: is the disk mounted?",
         "try": "mount it, or: syncd folder leave Photos"}])  # fmt: skip
    work = folder(WORK, "Work", "waiting", away, problems=problems, need={"files": 2, "bytes": 1_900_000_000},
                  conflicts=2, requests=1)  # fmt: skip
    device = {"id": "SY-NET-03", "path": None, "why": "this network carries no multicast", "try": "[network] peers"}
    version = {"path": "plan.xlsx", "by": "ben-desktop", "time": EARLIER, "bytes": 18_400, "hash": "ab12"}
    aside = version | {"path": "plan (conflict anna 8ab9f42c).xlsx", "by": "anna-laptop", "bytes": 19_020}
    return script(
        status(photos, work, problems=[device]),
        peers={"peers": [contact(BEN, "anna-laptop", "tulip-orbit", connected=False), CONTACTS[1]]},
        requests={"requests": [HELD]},
        members={"members": MEMBERS},
        conflicts={
            "conflicts": [
                {"folder": WORK, "name": "Work", "path": "plan.xlsx", "versions": [version, aside]},
                {"folder": WORK, "name": "Work", "path": "todo.txt", "versions": [version | {"path": "todo.txt"}] * 2},
            ]
        },
        storage={"folders": [stored(FOLDER, "Photos", "bad", "no computer is known to have all of it", packs=3)]},
        audit=happenings(12, intact=False),
        transfers=transfers(
            transfer("2025/holiday.mp4", 1_900_000_000, 400_000_000, [run("have", 20), run("nobody", 70)])
        ),
        ls=ls([entry("plan.xlsx", 18_400, "waiting", has={NAS: False})], away),
        doctor={
            "ok": False,
            "checks": [
                DOCTOR[0],
                {
                    "name": "folder Photos",
                    "ok": False,
                    "why": "the directory is gone",
                    "try": "mount it",
                    "id": "SY-ROOT-01",
                },
            ],
        },
    )


def million() -> Script:
    """A folder of a million files, and everything else as much as the daemon ever tells."""
    peers = [peer(f"peer-{number:02}-device-id", f"peer-{number:02}", connected=number % 3 > 0) for number in range(40)]
    problem = {"id": "SY-FILE-04", "why": "it is open and changing", "try": "close it"}
    problems = [problem | {"path": f"big/{number:06}.bin"} for number in range(100)]
    photos = folder(FOLDER, "Photos", "syncing", peers, files=MILLION, bytes=4 << 40, problems=problems,
                    need={"files": 312_500, "bytes": 1 << 40}, conflicts=1_200)  # fmt: skip
    entries = [
        entry(f"{number:07}.jpg", 4_000_000 + number, has={one["id"]: True for one in peers[:32] if one["connected"]})
        for number in range(100)
    ]
    return script(
        status(photos, rates=(250_000_000, 90_000_000)),
        peers={"peers": [contact(one["id"], one["name"], "farmer-merit", connected=one["connected"]) for one in peers]},
        members={"members": [*MEMBERS, *(member(f"{at:032x}", f"peer-{at:02}", "editor", "a-b") for at in range(40))]},
        traffic=traffic(
            *((one["id"], one["name"], _wave(at, 9_000_000), _wave(at + 1, 4_000_000)) for at, one in enumerate(peers))
        ),
        transfers=transfers(
            *(
                transfer(f"big/{number:06}.bin", 4 << 30, 1 << 30, [run("have", 1), run("held", 1, None, 3)] * 60)
                for number in range(20)
            ),
            total=2_048,
        ),
        ls=ls(entries, peers[:32], after="MDAwMDA5OS5qcGc="),
        changes=changes(500),
        storage={
            "folders": [stored(FOLDER, "Photos", "good", "40 computers are known to have all of it", packs=9_000)]
        },
        audit=happenings(200),
        conflicts={
            "conflicts": [
                {
                    "folder": FOLDER,
                    "name": "Photos",
                    "path": f"{number:07}.jpg",
                    "versions": [
                        {"path": f"{number:07}.jpg", "by": "ben", "time": EARLIER, "bytes": 1, "hash": "a"},
                        {"path": f"{number:07} (conflict).jpg", "by": "anna", "time": EARLIER, "bytes": 2, "hash": "b"},
                    ],
                }
                for number in range(1_200)
            ]
        },
    )


STATES = {"empty": empty, "busy": busy, "broken": broken, "million": million}


# --- hostile names --------------------------------------------------------------------------------------------------

ELSEWHERE = "http://127.0.0.1:9"
HOSTILE_NAMES = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    f"<img src={ELSEWHERE}/img.png>",
    f"<svg onload=fetch('{ELSEWHERE}/svg')>",
    f"<link rel=stylesheet href={ELSEWHERE}/x.css>",
    f"<iframe src={ELSEWHERE}/frame></iframe>",
    f"<meta http-equiv=refresh content='0;url={ELSEWHERE}/meta'>",
    f"<form action={ELSEWHERE}/form><input name=csrf autofocus onfocus=alert(1)></form>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "${alert(1)}`",
    "'; drop table node; --",
    "</title></textarea></script><script>alert(1)</script>",
    "--><script>alert(1)</script><!--",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "a\u202egpj.exe",
    "\u2066\u2067\u2068isolates\u2069",
    "\x1b[2J\x1b]0;owned\x07",
    "line\nbreak\r\nSet-Cookie: a=b",
    "\x00nul",
    "tab\tand\u200bzero\ufeffwidth",
    "not utf-8 \udcff\udcfe",
    "../../../etc/passwd",
    "\\\\server\\share",
    "x" * 255,
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 family",
)


def hostile(name: str) -> Script:
    """Every name that somebody else chooses is `name`."""
    bad = busy()

    def spoil(value: Any, keys: frozenset[str]) -> Any:
        match value:
            case Mapping():
                return {
                    key: name if key in keys and isinstance(inner, str) else spoil(inner, keys)
                    for key, inner in value.items()
                }
            case list():
                return [spoil(inner, keys) for inner in value]
        return value

    chosen = frozenset(
        {
            "left",
            "right",
            "name",
            "path",
            "member",
            "host",
            "system",
            "why",
            "by",
            "address",
            "author",
            "actor",
            "action",
            "what",
        }
    )
    spoiled: Script = spoil(bad | {"conflicts": broken()["conflicts"]}, chosen)
    return spoiled
