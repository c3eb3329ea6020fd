"""Imports point one way, and every module is the colour it says it is.

The order, each layer importing only from those before it:

    ca <- errors, seams <- model <- protocol <- engine <- config, workers, http <- store, net, web <- folder <- daemon
    <- methods <- main <- cli

`COLOURS` has one row per module. A new module fails here until somebody has decided what it is and written the row.
"""

from __future__ import annotations

import ast

import pytest

from tests.helpers.sources import Import, Module, modules

PURE, BLOCKING, ASYNC = "Pure", "Blocking", "Async"

LAYERS: tuple[tuple[str, ...], ...] = (
    ("ca",),
    ("syncd.errors", "syncd.tables", "syncd.treetypes"),
    ("syncd.catalogue", "syncd.seams"),
    ("syncd.model",),
    ("syncd.protocol",),
    ("syncd.engine",),
    ("syncd.home", "syncd.sidebyside", "syncd.wording"),
    ("syncd.config", "syncd.workers", "syncd.http", "syncd.verdict", "syncd.doorway", "syncd.controlsocket"),
    ("syncd.checks", "syncd.configfile"),
    ("syncd.store", "syncd.net", "syncd.web"),
    ("syncd.folder",),
    ("syncd.daemon",),
    ("syncd.methods",),
    ("syncd.main",),
    ("syncd.cli",),
    ("syncd.__main__",),
)

COLOURS: dict[str, str] = {
    "ca.addresses": PURE,
    "ca.authority": PURE,
    "ca.backup": PURE,
    "ca.branches": PURE,
    "ca.certs": PURE,
    "ca.cli": BLOCKING,
    "ca.codec": PURE,
    "ca.custody": BLOCKING,
    "ca.departures": PURE,
    "ca.device": PURE,
    "ca.digest": PURE,
    "ca.entries": PURE,
    "ca.epochs": PURE,
    "ca.errors": PURE,
    "ca.forks": PURE,
    "ca.hits": PURE,
    "ca.homekey": PURE,
    "ca.ids": PURE,
    "ca.keyfiles": BLOCKING,
    "ca.membership": PURE,
    "ca.privatefiles": BLOCKING,
    "ca.recovery": PURE,
    "ca.roles": PURE,
    "ca.roster": PURE,
    "ca.state": PURE,
    "ca.tree": PURE,
    "ca.values": PURE,
    "ca.words": PURE,
    "ca.wraps": PURE,
    "syncd": PURE,
    "syncd.__main__": BLOCKING,
    "syncd.catalogue": PURE,
    "syncd.checks": BLOCKING,
    "syncd.cli": BLOCKING,
    "syncd.cli.audit": BLOCKING,
    "syncd.cli.background": BLOCKING,
    "syncd.cli.client": BLOCKING,
    "syncd.cli.commands": BLOCKING,
    "syncd.cli.compare": BLOCKING,
    "syncd.cli.completion": BLOCKING,
    "syncd.cli.config": BLOCKING,
    "syncd.cli.conflicts": BLOCKING,
    "syncd.cli.custody": BLOCKING,
    "syncd.cli.db": BLOCKING,
    "syncd.cli.doctor": BLOCKING,
    "syncd.cli.emergency": BLOCKING,
    "syncd.cli.explain": BLOCKING,
    "syncd.cli.export": BLOCKING,
    "syncd.cli.failure": BLOCKING,
    "syncd.cli.filter": BLOCKING,
    "syncd.cli.folders": BLOCKING,
    "syncd.cli.help": BLOCKING,
    "syncd.cli.history": BLOCKING,
    "syncd.cli.invites": BLOCKING,
    "syncd.cli.join": BLOCKING,
    "syncd.cli.keep": BLOCKING,
    "syncd.cli.key": BLOCKING,
    "syncd.cli.limits": BLOCKING,
    "syncd.cli.link": BLOCKING,
    "syncd.cli.log": BLOCKING,
    "syncd.cli.look": BLOCKING,
    "syncd.cli.manual": PURE,
    "syncd.cli.members": BLOCKING,
    "syncd.cli.notify": BLOCKING,
    "syncd.cli.options": PURE,
    "syncd.cli.parsing": BLOCKING,
    "syncd.cli.peers": BLOCKING,
    "syncd.cli.privacy": PURE,
    "syncd.cli.progress": PURE,
    "syncd.cli.qr": PURE,
    "syncd.cli.requests": BLOCKING,
    "syncd.cli.rescue": BLOCKING,
    "syncd.cli.restore": BLOCKING,
    "syncd.cli.root": BLOCKING,
    "syncd.cli.run": BLOCKING,
    "syncd.cli.security": BLOCKING,
    "syncd.cli.service": BLOCKING,
    "syncd.cli.session": BLOCKING,
    "syncd.cli.shapes": PURE,
    "syncd.cli.share": BLOCKING,
    "syncd.cli.snapshots": BLOCKING,
    "syncd.cli.status": BLOCKING,
    "syncd.cli.storage": BLOCKING,
    "syncd.cli.supervisors": BLOCKING,
    "syncd.cli.tending": BLOCKING,
    "syncd.cli.terminal": BLOCKING,
    "syncd.cli.text": PURE,
    "syncd.cli.tree": BLOCKING,
    "syncd.cli.units": PURE,
    "syncd.cli.version": BLOCKING,
    "syncd.cli.wait": BLOCKING,
    "syncd.cli.web": BLOCKING,
    "syncd.cli.when": PURE,
    "syncd.config": BLOCKING,
    "syncd.configfile": BLOCKING,
    "syncd.controlsocket": BLOCKING,
    "syncd.daemon.answering": ASYNC,
    "syncd.daemon.app": ASYNC,
    "syncd.daemon.auditing": ASYNC,
    "syncd.daemon.beginning": ASYNC,
    "syncd.daemon.commanding": ASYNC,
    "syncd.daemon.devicedb": BLOCKING,
    "syncd.daemon.duties": ASYNC,
    "syncd.daemon.hooks": BLOCKING,
    "syncd.daemon.host": PURE,
    "syncd.daemon.installation": ASYNC,
    "syncd.daemon.inviting": ASYNC,
    "syncd.daemon.joinrequests": PURE,
    "syncd.daemon.logs": BLOCKING,
    "syncd.daemon.membership": ASYNC,
    "syncd.daemon.naming": PURE,
    "syncd.daemon.people": PURE,
    "syncd.daemon.rescuing": ASYNC,
    "syncd.daemon.resting": ASYNC,
    "syncd.daemon.restoring": ASYNC,
    "syncd.daemon.reviving": ASYNC,
    "syncd.daemon.running": ASYNC,
    "syncd.daemon.securitylog": ASYNC,
    "syncd.daemon.service": ASYNC,
    "syncd.daemon.standing": PURE,
    "syncd.daemon.systemd": BLOCKING,
    "syncd.daemon.tlsfiles": BLOCKING,
    "syncd.daemon.twinning": PURE,
    "syncd.daemon.views": PURE,
    "syncd.doorway": ASYNC,
    "syncd.engine.brake": PURE,
    "syncd.engine.commanding": PURE,
    "syncd.engine.detect": PURE,
    "syncd.engine.duties": PURE,
    "syncd.engine.happenings": PURE,
    "syncd.engine.invites": PURE,
    "syncd.engine.limits": PURE,
    "syncd.engine.membership": PURE,
    "syncd.engine.plan": PURE,
    "syncd.engine.protection": PURE,
    "syncd.engine.pull": PURE,
    "syncd.engine.ransom": PURE,
    "syncd.engine.rates": PURE,
    "syncd.engine.restore": PURE,
    "syncd.engine.retention": PURE,
    "syncd.engine.rot": PURE,
    "syncd.engine.sharelinks": PURE,
    "syncd.engine.timeline": PURE,
    "syncd.errors": PURE,
    "syncd.folder.applying": ASYNC,
    "syncd.folder.archiving": ASYNC,
    "syncd.folder.collecting": ASYNC,
    "syncd.folder.database": ASYNC,
    "syncd.folder.doubting": ASYNC,
    "syncd.folder.drilling": ASYNC,
    "syncd.folder.finishing": ASYNC,
    "syncd.folder.folder": ASYNC,
    "syncd.folder.following": ASYNC,
    "syncd.folder.gathering": ASYNC,
    "syncd.folder.ground": ASYNC,
    "syncd.folder.hearsay": PURE,
    "syncd.folder.keeping": ASYNC,
    "syncd.folder.lacking": ASYNC,
    "syncd.folder.metering": ASYNC,
    "syncd.folder.pacing": ASYNC,
    "syncd.folder.problems": PURE,
    "syncd.folder.proving": ASYNC,
    "syncd.folder.pulling": ASYNC,
    "syncd.folder.replicating": ASYNC,
    "syncd.folder.retrying": PURE,
    "syncd.folder.scanning": ASYNC,
    "syncd.folder.serving": ASYNC,
    "syncd.folder.traffic": PURE,
    "syncd.folder.unlisted": ASYNC,
    "syncd.folder.waves": ASYNC,
    "syncd.home": BLOCKING,
    "syncd.http": ASYNC,
    "syncd.main": ASYNC,
    "syncd.methods.alarms": PURE,
    "syncd.methods.alerting": ASYNC,
    "syncd.methods.api": ASYNC,
    "syncd.methods.attacks": PURE,
    "syncd.methods.comparing": ASYNC,
    "syncd.methods.custodian": ASYNC,
    "syncd.methods.enrolling": BLOCKING,
    "syncd.methods.entering": ASYNC,
    "syncd.methods.explaining": ASYNC,
    "syncd.methods.exporting": ASYNC,
    "syncd.methods.filtering": ASYNC,
    "syncd.methods.governing": ASYNC,
    "syncd.methods.guarding": ASYNC,
    "syncd.methods.handingout": ASYNC,
    "syncd.methods.history": ASYNC,
    "syncd.methods.inventory": PURE,
    "syncd.methods.joining": ASYNC,
    "syncd.methods.linkcert": BLOCKING,
    "syncd.methods.linking": ASYNC,
    "syncd.methods.linkkeeper": ASYNC,
    "syncd.methods.looking": ASYNC,
    "syncd.methods.measuring": ASYNC,
    "syncd.methods.metrics": PURE,
    "syncd.methods.operating": ASYNC,
    "syncd.methods.promising": ASYNC,
    "syncd.methods.requesting": ASYNC,
    "syncd.methods.reviewing": ASYNC,
    "syncd.methods.sharing": ASYNC,
    "syncd.methods.storing": ASYNC,
    "syncd.methods.tending": ASYNC,
    "syncd.methods.transferring": ASYNC,
    "syncd.methods.unlocking": ASYNC,
    "syncd.methods.visiting": ASYNC,
    "syncd.methods.waiting": ASYNC,
    "syncd.methods.witnessing": ASYNC,
    "syncd.model.changesets": PURE,
    "syncd.model.cipher": PURE,
    "syncd.model.conditions": PURE,
    "syncd.model.cutter": PURE,
    "syncd.model.heads": PURE,
    "syncd.model.ids": PURE,
    "syncd.model.ignores": PURE,
    "syncd.model.join": PURE,
    "syncd.model.lists": PURE,
    "syncd.model.naming": PURE,
    "syncd.model.packs": PURE,
    "syncd.model.paths": PURE,
    "syncd.model.patterns": PURE,
    "syncd.model.records": PURE,
    "syncd.model.view": PURE,
    "syncd.model.xattrs": PURE,
    "syncd.net.blocks": ASYNC,
    "syncd.net.circle": ASYNC,
    "syncd.net.connections": ASYNC,
    "syncd.net.contacts": PURE,
    "syncd.net.control": ASYNC,
    "syncd.net.dial": ASYNC,
    "syncd.net.discovery": ASYNC,
    "syncd.net.folders": PURE,
    "syncd.net.greeting": ASYNC,
    "syncd.net.interfaces": BLOCKING,
    "syncd.net.link": ASYNC,
    "syncd.net.listen": ASYNC,
    "syncd.net.meetings": ASYNC,
    "syncd.net.nearby": ASYNC,
    "syncd.net.peers": ASYNC,
    "syncd.net.selection": PURE,
    "syncd.net.serve": ASYNC,
    "syncd.net.sockets": ASYNC,
    "syncd.net.stream": ASYNC,
    "syncd.protocol.allowance": PURE,
    "syncd.protocol.announcements": PURE,
    "syncd.protocol.authorize": PURE,
    "syncd.protocol.commands": PURE,
    "syncd.protocol.door": PURE,
    "syncd.protocol.exchange": PURE,
    "syncd.protocol.frames": PURE,
    "syncd.protocol.heads": PURE,
    "syncd.protocol.hello": PURE,
    "syncd.protocol.invitation": PURE,
    "syncd.protocol.inviter": PURE,
    "syncd.protocol.joiner": PURE,
    "syncd.protocol.links": PURE,
    "syncd.protocol.messages": PURE,
    "syncd.protocol.neighbours": PURE,
    "syncd.protocol.pairing": PURE,
    "syncd.protocol.possession": PURE,
    "syncd.protocol.records": PURE,
    "syncd.protocol.refusals": PURE,
    "syncd.protocol.requests": PURE,
    "syncd.protocol.rescue": PURE,
    "syncd.protocol.tls": PURE,
    "syncd.protocol.twins": PURE,
    "syncd.seams": PURE,
    "syncd.sidebyside": PURE,
    "syncd.store.apart": BLOCKING,
    "syncd.store.apply": BLOCKING,
    "syncd.store.approvals": BLOCKING,
    "syncd.store.blocks": BLOCKING,
    "syncd.store.changes": BLOCKING,
    "syncd.store.commit": BLOCKING,
    "syncd.store.contents": BLOCKING,
    "syncd.store.copies": BLOCKING,
    "syncd.store.counts": BLOCKING,
    "syncd.store.db": BLOCKING,
    "syncd.store.deaths": BLOCKING,
    "syncd.store.departures": BLOCKING,
    "syncd.store.depot": BLOCKING,
    "syncd.store.descent": BLOCKING,
    "syncd.store.directory": BLOCKING,
    "syncd.store.doubts": BLOCKING,
    "syncd.store.draft": BLOCKING,
    "syncd.store.echoes": PURE,
    "syncd.store.examine": BLOCKING,
    "syncd.store.exchanging": BLOCKING,
    "syncd.store.files": BLOCKING,
    "syncd.store.filtering": BLOCKING,
    "syncd.store.folder": BLOCKING,
    "syncd.store.forms": BLOCKING,
    "syncd.store.glance": BLOCKING,
    "syncd.store.hashing": BLOCKING,
    "syncd.store.joining": BLOCKING,
    "syncd.store.journal": BLOCKING,
    "syncd.store.judging": BLOCKING,
    "syncd.store.keyring": BLOCKING,
    "syncd.store.late": BLOCKING,
    "syncd.store.lineage": BLOCKING,
    "syncd.store.listening": ASYNC,
    "syncd.store.listing": BLOCKING,
    "syncd.store.locating": BLOCKING,
    "syncd.store.looking": BLOCKING,
    "syncd.store.marker": PURE,
    "syncd.store.migrating": BLOCKING,
    "syncd.store.moments": BLOCKING,
    "syncd.store.names": BLOCKING,
    "syncd.store.older": BLOCKING,
    "syncd.store.outside": BLOCKING,
    "syncd.store.packing": BLOCKING,
    "syncd.store.packs": BLOCKING,
    "syncd.store.past": BLOCKING,
    "syncd.store.places": BLOCKING,
    "syncd.store.prepare": BLOCKING,
    "syncd.store.probe": BLOCKING,
    "syncd.store.proofs": BLOCKING,
    "syncd.store.pruning": BLOCKING,
    "syncd.store.publish": BLOCKING,
    "syncd.store.recorded": BLOCKING,
    "syncd.store.recovery": BLOCKING,
    "syncd.store.releasing": BLOCKING,
    "syncd.store.reoffer": BLOCKING,
    "syncd.store.resolving": BLOCKING,
    "syncd.store.resting": BLOCKING,
    "syncd.store.restoring": BLOCKING,
    "syncd.store.retiring": BLOCKING,
    "syncd.store.rewriting": BLOCKING,
    "syncd.store.rows": BLOCKING,
    "syncd.store.scan": BLOCKING,
    "syncd.store.schema": BLOCKING,
    "syncd.store.settle": PURE,
    "syncd.store.shared": BLOCKING,
    "syncd.store.shelf": BLOCKING,
    "syncd.store.snapshots": BLOCKING,
    "syncd.store.spelling": BLOCKING,
    "syncd.store.staging": BLOCKING,
    "syncd.store.standing": BLOCKING,
    "syncd.store.state": BLOCKING,
    "syncd.store.steps": BLOCKING,
    "syncd.store.survey": BLOCKING,
    "syncd.store.syscalls": BLOCKING,
    "syncd.store.tally": BLOCKING,
    "syncd.store.timing": BLOCKING,
    "syncd.store.totals": BLOCKING,
    "syncd.store.tree": BLOCKING,
    "syncd.store.watch": ASYNC,
    "syncd.store.denying": BLOCKING,
    "syncd.store.unlisted": BLOCKING,
    "syncd.store.waves": BLOCKING,
    "syncd.store.writing": BLOCKING,
    "syncd.tables": PURE,
    "syncd.treetypes": PURE,
    "syncd.verdict": PURE,
    "syncd.web.actions": PURE,
    "syncd.web.asgi": ASYNC,
    "syncd.web.asking": ASYNC,
    "syncd.web.calling": ASYNC,
    "syncd.web.control": ASYNC,
    "syncd.web.gate": PURE,
    "syncd.web.jobs": ASYNC,
    "syncd.web.linkgate": PURE,
    "syncd.web.linkhost": PURE,
    "syncd.web.linkpages": ASYNC,
    "syncd.web.linkseats": PURE,
    "syncd.web.linkserver": ASYNC,
    "syncd.web.live": ASYNC,
    "syncd.web.lock": ASYNC,
    "syncd.web.methods": PURE,
    "syncd.web.page": ASYNC,
    "syncd.web.pictures": PURE,
    "syncd.web.pin": BLOCKING,
    "syncd.web.plain": ASYNC,
    "syncd.web.render": BLOCKING,
    "syncd.web.server": ASYNC,
    "syncd.web.views.files": ASYNC,
    "syncd.web.views.home": ASYNC,
    "syncd.web.views.network": ASYNC,
    "syncd.web.views.past": ASYNC,
    "syncd.web.views.sharing": ASYNC,
    "syncd.web.views.upkeep": ASYNC,
    "syncd.web.views.watching": ASYNC,
    "syncd.wording": PURE,
    "syncd.workers": ASYNC,
}

# The world, which pure modules do not touch.
NEVER_PURE = {
    "asyncio", "fcntl", "multiprocessing", "os", "pathlib", "random", "secrets", "select", "shutil", "signal", "socket",
    "sqlite3", "sqlite_utils", "ssl", "subprocess", "tempfile", "threading", "time", "trio", "zeroconf",
}  # fmt: skip
NEVER_BLOCKING = {"asyncio", "trio"}
NAMED_IN_A_SIGNATURE = {("syncd.seams", "sqlite3.Connection")}  # what a seam hands out, and never makes itself

# The seams: only these modules may import what reads the clock, draws randomness, opens sockets or starts threads.
BEHIND_SEAMS: dict[str, set[str]] = {
    "asyncio": {"syncd.net.discovery"},  # zeroconf lives on an event loop of its own, in a thread of its own
    "random": set(),
    "secrets": set(),
    "socket": {
        "syncd.controlsocket",  # is there before trio, for who asks while a daemon loads
        "syncd.web.control",  # asks the kernel who is at the other end of the control socket
        "syncd.main",  # takes the control socket that the service manager made
        "syncd.daemon.systemd",  # tells the service manager how it goes; no simulation has one
    },
    "subprocess": {"syncd.daemon.hooks"},  # `notify` commands; no simulation has a hook
    "threading": {
        "syncd.store.keyring",
        "syncd.store.listening",
        "syncd.store.hashing",
        "syncd.store.shelf",
        "syncd.store.staging",
    },  # ciphers of a thread, locks on files and on the watches of several folders; starts no thread
    "time": {  # the real clock, that of the service manager, the doctor's look at it
        "syncd.net.discovery",  # its own thread pauses under a flood
        "syncd.main",
        "syncd.daemon.systemd",
        "syncd.checks",
        "syncd.store.migrating",  # how fast a migration goes is told, and nothing depends on it
    },
}
OUTSIDE_SIMULATION = ("ca.cli", "syncd.cli")  # short-lived programs of a person, never part of a simulated world

# Libraries that one place knows, so that their errors are translated once and they can be exchanged.
SOLE_IMPORTERS: dict[str, set[str]] = {
    "OpenSSL": {"syncd.protocol.tls", "syncd.protocol.records", "syncd.net.stream"},
    "h11": {"syncd.http"},
    "jinja2": {"syncd.web.render"},
    "pathspec": {"syncd.model.patterns"},
    "pyfastcdc": {"syncd.model.cutter"},
    "starlette": {"syncd.web.page"},
    "spake2": {"syncd.protocol.pairing"},
    "watchfiles": {"syncd.store.watch"},
    "zeroconf": {"syncd.net.discovery"},
}

# Who touches files at all. The user's folder is touched by `store.tree` and its parts alone, always from a descriptor
# (tests/unit/store/test_tree_real.py); everybody else here touches syncd's home, or is a program of a person.
TREE = {
    f"syncd.store.{name}"
    for name in ("tree", "descent", "directory", "exchanging", "files", "places", "probe", "syscalls")
}
OUTSIDE = {"syncd.store.outside", "syncd.store.depot", "syncd.methods.enrolling"}  # files that a person names
HOME = {
    "syncd.checks", "syncd.config", "syncd.configfile", "syncd.home", "syncd.daemon.devicedb",
    "syncd.folder.drilling", "syncd.daemon.installation", "syncd.methods.linkcert", "syncd.methods.linking",
    "syncd.methods.measuring", "syncd.daemon.rescuing",
    "syncd.daemon.reviving", "syncd.store.state", "syncd.cli.key",
    "syncd.daemon.securitylog", "syncd.daemon.tlsfiles", "syncd.store.db", "syncd.store.copies",
    "syncd.store.migrating", "syncd.store.shelf", "syncd.controlsocket", "syncd.web.control",
    "syncd.web.lock",
    "syncd.methods.unlocking", "syncd.web.page", "syncd.web.pin", "syncd.web.server",
}  # fmt: skip
BY_PATH = {
    "open", "stat", "lstat", "mkdir", "makedirs", "unlink", "remove", "rmdir", "rename", "replace", "link", "symlink",
    "readlink", "chmod", "chown", "utime", "listdir", "scandir", "walk", "fwalk", "truncate", "mkfifo", "mknod",
    "access", "getxattr", "setxattr", "listxattr", "removexattr",
}  # fmt: skip

MODULES = modules()
WITH_CODE = {name: module for name, module in MODULES.items() if not module.empty}
each_module = pytest.mark.parametrize("module", WITH_CODE.values(), ids=WITH_CODE.keys())


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def layer_of(name: str) -> tuple[int, str] | None:
    """Number of the layer, and which of its neighbours; None for what is not ours."""
    for number, packages in enumerate(LAYERS):
        for package in packages:
            if is_within(name, package):
                return number, package
    return None


def test_every_module_has_a_row_and_every_row_a_module() -> None:
    assert sorted(COLOURS) == sorted(WITH_CODE)


@each_module
def test_module_lies_in_a_layer(module: Module) -> None:
    assert module.name in ("ca", "syncd") or layer_of(module.name) is not None


@each_module
def test_docstring_begins_with_the_colour_of_the_table(module: Module) -> None:
    assert module.colour == COLOURS.get(module.name)


@each_module
def test_imports_point_only_to_earlier_layers(module: Module) -> None:
    assert [f"line {i.line}: {i.target}" for i in module.imports if not may_import(module.name, i)] == []


def may_import(importer: str, imported: Import) -> bool:
    here, there = layer_of(importer), layer_of(imported.target)
    if here is None or there is None:
        return here is not None or imported.top_package not in ("ca", "syncd")
    if here[1] == "syncd.cli" and there[1] in ("syncd.folder", "syncd.daemon", "syncd.methods", "syncd.main"):
        return not imported.at_top  # `syncd run` alone pays for the daemon
    if here[1] == "syncd.engine" and there[1] == "syncd.protocol":
        return is_within(imported.target, "syncd.protocol.messages")
    return here[1] == there[1] or there[0] < here[0]


@each_module
def test_module_keeps_its_colour(module: Module) -> None:
    forbidden = {PURE: NEVER_PURE, BLOCKING: NEVER_BLOCKING, ASYNC: set[str]()}[module.colour]
    imports = [i for i in module.imports if (module.name, i.target) not in NAMED_IN_A_SIGNATURE]
    assert [f"line {i.line}: {i.target}" for i in imports if i.top_package in forbidden] == []


@each_module
def test_world_is_reached_only_through_seams(module: Module) -> None:
    if any(is_within(module.name, program) for program in OUTSIDE_SIMULATION):
        return
    guarded = [i for i in module.imports if module.name not in BEHIND_SEAMS.get(i.top_package, {module.name})]
    assert [f"line {i.line}: {i.target}" for i in guarded] == []


@each_module
def test_library_is_imported_in_its_one_place(module: Module) -> None:
    strays = [i for i in module.imports if module.name not in SOLE_IMPORTERS.get(i.top_package, {module.name})]
    assert [f"line {i.line}: {i.target}" for i in strays] == []


@pytest.mark.parametrize(
    ("importer", "target", "allowed"),
    [
        ("ca.roster", "ca.codec", True),
        ("ca.roster", "syncd.errors", False),
        ("syncd.model.join", "ca.codec", True),
        ("syncd.model.join", "syncd.protocol.frames", False),
        ("syncd.engine.plan", "syncd.protocol.messages.Hello", True),
        ("syncd.engine.plan", "syncd.protocol.frames", False),
        ("syncd.store.index", "syncd.net.stream", False),
        ("syncd.net.serve", "syncd.protocol.frames", True),
        ("syncd.daemon.app", "syncd.net.stream", True),
        ("syncd.cli.run", "syncd.main", False),
        ("syncd.folder.scanning", "syncd.daemon.app", False),
        ("syncd.daemon.app", "syncd.methods.api", False),
    ],
)
def test_rule_itself(importer: str, target: str, allowed: bool) -> None:
    """The reader must refuse what it is there to refuse, or a mistake in it would let everything pass."""
    assert may_import(importer, Import(target, line=1, at_top=True)) is allowed


def test_command_line_may_load_the_daemon_late() -> None:
    assert may_import("syncd.cli.run", Import("syncd.main", line=1, at_top=False))


@each_module
def test_nobody_else_touches_files(module: Module) -> None:
    is_of_a_person = any(is_within(module.name, program) for program in ("ca", "syncd.cli"))
    if not is_of_a_person and module.name not in TREE | OUTSIDE | HOME:
        assert calls_by_path(MODULE_SOURCES[module.name]) == []


def calls_by_path(source: str) -> list[str]:
    """Lines that open, name or list files, and imports of the libraries that do."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="os"), attr=name)) if name in BY_PATH:
                found.append(f"line {node.lineno}: os.{name}")
            case ast.Call(func=ast.Name(id="open")):
                found.append(f"line {node.lineno}: open")
            case ast.Import(names=names) if any(one.name in FILE_LIBRARIES for one in names):
                found.append(f"line {node.lineno}: import")
            case ast.ImportFrom(module=name) if name in FILE_LIBRARIES:
                found.append(f"line {node.lineno}: import")
    return found


FILE_LIBRARIES = {"glob", "pathlib", "shutil", "tempfile"}
MODULE_SOURCES = {name: module.path.read_text(encoding="utf-8") for name, module in WITH_CODE.items()}


def test_reader_of_calls_sees_what_it_is_there_to_see() -> None:
    assert calls_by_path("import os\nos.rename(a, b)") == ["line 2: os.rename"]
    assert calls_by_path("from pathlib import Path\nopen(x)") == ["line 1: import", "line 2: open"]
    assert calls_by_path("import os\nos.path.join(a, b)\nself.open(x)") == []
