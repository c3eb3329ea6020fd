"""What real commands of real daemons print with --json is what the published schema says, errors included."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

import pytest
from jsonschema import Draft202012Validator

from syncd.cli.shapes import COMMANDS, error_schema, schema_of
from tests.helpers.computers import Computer, sharing_computers

pytestmark = pytest.mark.long


# In this order on one computer: what takes something away comes last. `$` is the folder's path.
LINES = """
status
wait --for synced --timeout 60
folders
ls Photos
transfers
traffic
folder show Photos
folder rescan Photos
folder addresses Photos
security
peers
members Photos
member role Photos ben viewer --yes
member suspend Photos ben --yes
member reactivate Photos ben --yes
member expire Photos ben 30d --yes
rotate Photos
share Photos --no-wait
share Photos --link --yes --no-wait
invites
link create $/x --expires 1h --max-downloads 2 --dry-run
link list
link policy Photos --who all
requests
conflicts
changes Photos
storage list
audit
audit --kind admin
retention Photos
prune Photos --dry-run
scrub Photos
filter list Photos
filter test *.tmp Photos
filter add *.none Photos --dry-run
check Photos
pause Photos
resume Photos
history $/x
diff $ --at 1h
search x Photos
snapshot add before Photos
snapshot list Photos
snapshot remove before Photos
restore $/x --at 1s --dry-run --yes
undo --list
explain $/x
key show
key list
key list Photos --unused 30d
key lock --dry-run
config path
config show
config get log.level
config set log.level info
config unset log.level
limits
config check
notify add webhook http://127.0.0.1:9/x --on stale=3d
notify list
notify test
notify remove 1
doctor
completion fish
version
help exit-codes
service install --dry-run
service allow / --dry-run
member remove Photos ben --yes
folder leave Photos --yes
stop
db check
db backup $/../copies
db vacuum
""".strip().splitlines()

FAILING = """
compare /nonexistent
filter remove *.none --yes
folder show Nonsense
folder move Nonsense /nowhere
resolve /nonexistent --keep mine
approve 0123
deny 0123
invite revoke 0123
link show 0123
link revoke 0123
link create /nonexistent
join nonsense
explain /nonexistent
member remove Photos nobody --yes
device archive nobody --yes
service start
service stop
service restart
service uninstall
config get nonsense
db rollback
log
nonsense
""".strip().splitlines()

ELSEWHERE = {
    "key backup": "tests of backups", "key restore": "tests of backups",
    "key unlock": "tests/integration/test_key_passphrase.py",
    "key passphrase": "tests/integration/test_key_passphrase.py",
    "drill": "tests of restoring", "export": "tests of exports", "rescue": "tests of emergencies",
    "member add": "tests of governing",
    "join": "every test of two computers",
    "lockdown": "tests of emergencies", "recover": "tests of emergencies", "folder decide": "tests of emergencies",
    "service logs": "tests/integration/test_cli_service.py", "config edit": "tests/integration/test_operating.py",
    "web": "tests of the page",
}  # fmt: skip


@pytest.fixture(scope="module")
def anna(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Computer]:
    place = tmp_path_factory.mktemp("schemas")
    with sharing_computers(
        ("anna", "ben"), place, "Photos", write=lambda folder: (folder / "x").write_text("x")
    ) as group:
        yield group[0]


def command_of(words: list[str]) -> str:
    return " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]


def test_every_command_prints_what_its_schema_says(anna: Computer) -> None:
    faults = []
    for line in LINES:
        words = [word.replace("$", str(anna.folder)) for word in shlex.split(line)]
        done = anna.run(*words, "--json", timeout_s=120)
        assert done.stdout, (line, done.stderr)
        name = json.loads(done.stdout)["schema"]
        assert name in COMMANDS[command_of(words)], line
        validator = Draft202012Validator(schema_of(name))
        faults += [
            f"{line}: {error.json_path}: {error.message}" for error in validator.iter_errors(json.loads(done.stdout))
        ]
    assert faults == []


@pytest.mark.parametrize("line", FAILING)
def test_every_failure_is_one_object_on_stderr(anna: Computer, line: str) -> None:
    done = anna.run(*line.split(), "--json", timeout_s=60)
    assert (done.returncode != 0, done.stdout) == (True, "")
    error = json.loads(done.stderr)
    Draft202012Validator(error_schema()).validate(error)
    told = error["error"]
    assert told["why"] and told["try"] and told["exit"] == done.returncode


def test_every_command_is_run_here_or_named() -> None:
    run = {command_of(line.split()) for line in [*LINES, *FAILING]}
    assert sorted(name for name, shape in COMMANDS.items() if shape and name not in run | set(ELSEWHERE)) == []
