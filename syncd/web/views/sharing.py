"""Async. The views of people: who belongs to a folder and may do what, who is invited, who asks; and joining."""

from __future__ import annotations

from ca.roles import Action, Capability, Role, may
from syncd.web import pictures
from syncd.web.actions import GIVEN_ROLES, LIFETIMES
from syncd.web.asking import Asked, Shown
from syncd.web.calling import Json
from syncd.web.jobs import Job
from syncd.web.views.home import is_denied, missing, undecided

RIGHTS = (
    (Action.READ, "read"),
    (Action.WRITE, "write"),
    (Action.DELETE, "delete"),
    (Action.ADMIT, "invite"),
    (Action.REMOVE, "remove"),
    (Action.OPEN_EPOCH, "rotate"),
    (Action.STORE, "store unread"),
)


async def sharing(asked: Asked) -> Shown:
    """Requests, invitations, share links and members of every folder."""
    folders = []
    for folder in asked.status["folders"]:
        members = await asked.call("members", folder=folder["id"], cwd=None)
        folders.append({"folder": folder, "members": [_with_rights(member) for member in members["members"]]})
    requests = await asked.call("requests", folder=None, cwd=None)
    invites = await asked.call("invites", folder=None, cwd=None)
    links = await asked.call("links", folder=None, cwd=None)
    return Shown(
        "sharing.html",
        {
            "folders": folders,
            "requests": undecided(requests["requests"]),
            "denied": [one for one in requests["requests"] if is_denied(one)],
            "invites": invites["invites"],
            "links": links["links"],
            "rights": [words for _, words in RIGHTS],
            "roles": GIVEN_ROLES,
            "lifetimes": LIFETIMES,
        },
    )


def _with_rights(member: Json) -> Json:
    role = Role[member["role"].upper()]
    capabilities = Capability.NONE
    for name in member["can"]:
        capabilities |= Capability[name.upper()]
    rights = [member["status"] == "active" and may(role, capabilities, action) for action, _ in RIGHTS]
    return {**member, "may": rights}


async def invited(asked: Asked) -> Shown:
    """An invitation that was just opened: the code or the link, big, and as a QR code."""
    note = asked.note()
    if note is None or "invite" not in note:
        return missing("This invitation is not shown any more.")
    invite = note["invite"]
    return Shown("invited.html", {"invite": invite, "qr": pictures.qr(invite["link"]) if invite["link"] else None})


async def linked(asked: Asked) -> Shown:
    """A share link that was just made: its address is shown here once, and as a QR code."""
    note = asked.note()
    if note is None or "link" not in note:
        return missing("The address of this link is not shown any more.")
    link = note["link"]
    return Shown("linked.html", {"link": link, "qr": pictures.qr(link["url"], exact=True)})


async def member(asked: Asked) -> Shown:
    """One member: another role, a suspension, and what removing would do before it is done."""
    folder = asked.folder()
    if folder is None:
        return missing("There is no such folder here.")
    wanted = asked.query.get("member", "")
    members = (await asked.call("members", folder=folder["id"], cwd=None))["members"]
    found = next((one for one in members if one["id"] == wanted and not one["you"]), None)
    if found is None:
        return missing("There is no such member.")
    preview = await asked.call("member.remove", folder=folder["id"], member=wanted, dry_run=True)
    return Shown("member.html", {"folder": folder, "member": found, "preview": preview, "roles": GIVEN_ROLES})


async def rotate(asked: Asked) -> Shown:
    """What a new certificate would do, before it is made."""
    folder = asked.folder()
    return missing("There is no such folder here.") if folder is None else Shown("rotate.html", {"folder": folder})


async def join(asked: Asked) -> Shown:
    """Joining, step by step: the code, what was found, where it goes, how it went."""

    def job(name: str) -> Job | None:
        return asked.jobs.find(asked.query.get(name), asked.session.key)

    found, looked, joined = job("find"), job("look"), job("join")
    waiting = next((one for one in (joined, looked, found) if one is not None and not one.is_over), None)
    failed = next((one for one in (joined, looked, found) if one is not None and one.error is not None), None)
    return Shown(
        "join.html",
        {
            "found": None if found is None else found.result,
            "looked": None if looked is None else looked.result,
            "joined": None if joined is None else joined.result,
            "waiting": None if waiting is None else waiting.progress,
            "failed": None if failed is None else failed.error,
        },
    )
