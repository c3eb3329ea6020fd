"""Async. The rules of a folder as a person asks for them, tries them, and changes them one at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from syncd.daemon.running import RunningFolder
from syncd.daemon.views import as_text
from syncd.errors import SyncdError, TrustError
from syncd.folder.folder import FolderTask
from syncd.model.ignores import SHARED_NAME, Ignores, parse_ignores
from syncd.seams import Random
from syncd.store.filtering import Comparison, Effect, Effects, read_rules
from syncd.store.rewriting import NoSuchRule, RuleFiles, read_files, write_files

Json = dict[str, Any]
Params = Mapping[str, Any]
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]
FindFolder = Callable[[str | None, str | None], RunningFolder]
FILTER_STEP = 2048
OWN_FILE = ".syncd/ignore"
TOKEN_BYTES = 12


class Filtering:
    """The methods of the control socket for rules."""

    def __init__(self, find_folder: FindFolder, random: Random) -> None:
        self._find_folder = find_folder
        self._random = random

    async def filters(self, params: Params, progress: Progress) -> Json:
        """The rules that hold, and with `rules` what these would change; nothing is changed by asking."""
        folder = self._find_folder(params["folder"], params["cwd"])
        task = folder.at_work()
        rules = await task.blocking(read_rules, task.store.tree)
        more = understood(params["rules"])
        effects = await _effects(task, rules, rules.and_own(more)) if params["rules"] else Effects()
        return {"schema": "syncd.filter/1", **_of(folder), **_rules_json(rules), **_effects_json(effects)}

    async def change(self, params: Params, progress: Progress) -> Json:
        """Rules added to a file, or taken out of it; with `dry_run` only what that would do."""
        folder = self._find_folder(params["folder"], params["cwd"])
        task = folder.at_work()
        understood(params["add"])
        if not params["local"] and not task.rights.publishes:
            fix = f"syncd filter add --local --folder {folder.name} RULE"
            raise TrustError("your role does not allow to change the rules of all", id="SY-SHARE-04", fix=fix)
        before = await task.blocking(read_files, task.store.tree)
        try:
            after = before.changed(params["add"], params["remove"], local=params["local"])
        except NoSuchRule as error:
            where = OWN_FILE if params["local"] else SHARED_NAME.decode()
            raise SyncdError(f"no such rule in {where}: {error}", id="SY-FIND-06") from error
        effects = await _effects(task, before.rules, after.rules)
        changes = (before.shared, before.own) != (after.shared, after.own)
        if changes and not params["dry_run"]:
            await self._write(task, before, after)
        return {
            "schema": "syncd.filter.change/1",
            **_of(folder),
            "file": OWN_FILE if params["local"] else SHARED_NAME.decode(),
            "changed": changes,
            **_rules_json(after.rules),
            **_effects_json(effects),
        }

    async def _write(self, task: FolderTask, before: RuleFiles, after: RuleFiles) -> None:
        token = self._random.token(TOKEN_BYTES).hex().encode()
        await task.blocking(write_files, task.store.tree, before, after, token)
        task.look_again([(SHARED_NAME,)])  # which is when rules are read


def understood(rules: Sequence[str]) -> Ignores:
    """Rules that somebody gave, each one. Raises SyncdError for what is none."""
    parsed = parse_ignores("\n".join(rules).encode("utf-8", "surrogateescape"))
    if parsed.problems:
        said = ", ".join(problem.partition(": ")[2] for problem in parsed.problems)
        raise SyncdError(f"no rule: {said}", id="SY-USE-01", fix="syncd help filter test")
    return parsed


async def _effects(task: FolderTask, before: Ignores, after: Ignores) -> Effects:
    comparison = Comparison(task.store, before, after, task.now_ns())
    while await task.db(comparison.db_step, FILTER_STEP):
        pass
    return comparison.effects


def _of(folder: RunningFolder) -> Json:
    return {"folder": folder.id.hex(), "name": folder.name}


def _rules_json(rules: Ignores) -> Json:
    return {"rules": list(rules.lines), "problems": list(rules.problems)}


def _effects_json(effects: Effects) -> Json:
    return {
        "leave": _effect_json(effects.leave),
        "enter": _effect_json(effects.enter),
        "not_fetched": _effect_json(effects.not_fetched),
        "fetch": _effect_json(effects.fetch),
    }


def _effect_json(effect: Effect) -> Json:
    paths = [as_text(b"/".join(path)) for path in effect.paths]
    return {"files": effect.files, "bytes": effect.size, "paths": paths}
