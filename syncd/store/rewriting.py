"""Blocking. One rule more or less in the file where it stands: that of all members, or this computer's own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from ca.values import dataclass
from syncd.model.ignores import SHARED_NAME, Ignores, parse_ignores
from syncd.seams import Tree
from syncd.store.filtering import MAX_BYTES
from syncd.treetypes import LocallyChanged, NotThere, Read, Stat, TreeError

MODE = 0o644
OWN_FILE = (b".syncd", b"ignore")


class NoSuchRule(Exception):
    """It does not stand in that file; the message is the rule."""


@dataclass(frozen=True, slots=True)
class RuleFiles:
    """Both files as they are. `shared_stat` None: there is no shared one."""

    shared: bytes
    own: bytes
    shared_stat: Stat | None

    @property
    def rules(self) -> Ignores:
        """What holds."""
        return parse_ignores(self.shared).and_own(parse_ignores(self.own))

    def changed(self, add: Sequence[str], remove: Sequence[str], *, local: bool) -> RuleFiles:
        """The same with rules added at the end, or taken out. Raises NoSuchRule."""
        if local:
            return RuleFiles(self.shared, _changed(self.own, add, remove), self.shared_stat)
        return RuleFiles(_changed(self.shared, add, remove), self.own, self.shared_stat)


def _changed(text: bytes, add: Sequence[str], remove: Sequence[str]) -> bytes:
    lines = text.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    for rule in map(_as_line, remove):
        stay = [line for line in lines if line.strip() != rule.strip()]
        if len(stay) == len(lines):
            raise NoSuchRule(rule.decode("utf-8", "replace"))
        lines = stay
    present = {line.strip() for line in lines}
    lines += [rule for rule in map(_as_line, add) if rule.strip() not in present]
    return b"".join(line + b"\n" for line in lines)


def _as_line(rule: str) -> bytes:
    return rule.encode("utf-8", "surrogateescape")


def read_files(tree: Tree) -> RuleFiles:
    """Raises TreeError where the shared file cannot be read, as it would be replaced then by what is not known."""
    (shared,) = tree.read_many([(SHARED_NAME,)], MAX_BYTES)
    own = tree.read_ignore() or b""
    if isinstance(shared, Read):
        return RuleFiles(shared.content, own, shared.stat)
    if isinstance(shared, NotThere):
        return RuleFiles(b"", own, None)
    raise shared


def add_own(tree: Tree, rules: Sequence[str]) -> None:
    """More rules for this computer."""
    tree.write_ignore(_changed(tree.read_ignore() or b"", rules, ()))


def write_files(tree: Tree, before: RuleFiles, after: RuleFiles, token: bytes) -> None:
    """Write the one that changed, as an editor would who renames what he has written. Raises LocallyChanged when
    somebody else has changed it since it was read."""
    if after.own != before.own:
        if (tree.read_ignore() or b"") != before.own:
            raise LocallyChanged("somebody else has changed the rules in this moment", OWN_FILE)
        tree.write_ignore(after.own)
    if after.shared == before.shared:
        return
    was = before.shared_stat
    tree.stage_small(token, after.shared, MODE if was is None else was.mode, None)
    tree.flush([token])
    try:
        if was is None:
            tree.create(token, (SHARED_NAME,))
            return
        replaced = tree.exchange(token, (SHARED_NAME,), was)
    except TreeError:
        tree.drop_staged(token)
        raise
    if replaced.edited or not _is_still(tree, token, before.shared):  # what they write stands again, and counts
        _put_back(tree, token, replaced.new)
        raise LocallyChanged("somebody else has changed the rules in this moment", (SHARED_NAME,))
    tree.drop_old(token)


def _is_still(tree: Tree, token: bytes, text: bytes) -> bool:
    """Whether what was replaced holds that and nobody can write into it any more, so that it may go."""
    reader = tree.open_old(token)
    try:
        found = memoryview(bytearray(len(text) + 1))
        return not reader.is_open_for_writing() and bytes(found[: reader.read_into(0, found)]) == text
    finally:
        reader.close()


def _put_back(tree: Tree, token: bytes, ours: Stat | None) -> None:
    """What lies in `.syncd/old` stays there, kept for good, where even this does not go."""
    with suppress(TreeError):
        if ours is not None:
            tree.retire((SHARED_NAME,), token + b"ours", ours)
        tree.put_back(token, (SHARED_NAME,))
        tree.drop_old(token + b"ours")
