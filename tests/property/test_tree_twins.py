"""The simulated tree is believable: any sequence of acts has the same outcome on it as on a real directory."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path as FilePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.seams import Tree
from syncd.store.tree import DirTree
from syncd.treetypes import Attributes, Kind, Path, Read, Replaced, Stat, TreeError
from tests.helpers.realuser import RealUser
from tests.helpers.simdisk import SimDisk
from tests.helpers.simtree import SimTree
from tests.suites.tree_suite import MARKER, User

pytestmark = pytest.mark.needs("linux")

PATHS: list[Path] = [(b"a",), (b"b",), (b"d",), (b"d", b"a"), (b"d", b"e"), (b"d", b"e", b"a")]
TOKENS = [b"t1", b"t2"]
NOWHERE = Stat(Kind.FILE, 0, 0, 0, 0, 0, 0, 0)


@dataclass
class Twin:
    """One of the two: a tree, its user, and the stats that were noted on the way."""

    tree: Tree
    user: User
    noted: dict[Path, Stat] = field(default_factory=dict)
    acts: int = 0

    def note(self, path: Path) -> object:
        self.noted[path] = self.tree.stat(path)
        return self.noted[path]

    def expected(self, path: Path) -> Stat:
        return self.noted.get(path, NOWHERE)

    def unlike_any_before(self) -> bytes:
        """Every content has its own size, so that no edit hides in one tick of the clock."""
        return b"x" * self.acts


Act = Callable[[Twin], object]

paths, tokens = st.sampled_from(PATHS), st.sampled_from(TOKENS)


def act(do: Callable[..., object], *arguments: st.SearchStrategy[object]) -> st.SearchStrategy[Act]:
    return st.tuples(*arguments).map(lambda given: lambda twin: do(twin, *given))


acts = st.one_of(
    act(lambda twin, path: twin.note(path), paths),
    act(lambda twin, path: twin.user.write(path, twin.unlike_any_before()), paths),
    act(lambda twin, path: twin.user.save(path, twin.unlike_any_before()), paths),
    act(lambda twin, path: twin.user.delete(path), paths),
    act(lambda twin, path: twin.user.mkdir(path), paths),
    act(lambda twin, path: twin.user.symlink(path, b"no/where"), paths),
    act(lambda twin, path: list(twin.tree.read_many([path], 100)), paths),
    act(lambda twin, path: twin.tree.read_link(path), paths),
    act(lambda twin, path: names(twin.tree.list_dir(path)), paths),
    act(lambda twin, token: twin.tree.stage_small(token, b"staged", 0o640, 10**18), tokens),
    act(lambda twin, token: twin.tree.stage_link(token, b"target"), tokens),
    act(lambda twin, token: twin.tree.drop_staged(token), tokens),
    act(lambda twin, token: twin.tree.drop_old(token), tokens),
    act(lambda twin, token, path: twin.tree.create(token, path), tokens, paths),
    act(lambda twin, token, path: twin.tree.exchange(token, path, twin.expected(path)), tokens, paths),
    act(lambda twin, token, path: twin.tree.retire(path, token, twin.expected(path)), tokens, paths),
    act(lambda twin, token, path: twin.tree.put_back(token, path), tokens, paths),
    act(lambda twin, token, path: twin.tree.park(path, token, twin.expected(path)), tokens, paths),
    act(lambda twin, token, path: twin.tree.unpark(token, path), tokens, paths),
    act(lambda twin, path, target: twin.tree.move(path, target, twin.expected(path)), paths, paths),
    act(lambda twin, path: twin.tree.make_dir(path, 0o750), paths),
    act(lambda twin, path: twin.tree.remove_dir(path), paths),
    act(lambda twin, path: twin.tree.set_attributes(path, Attributes(0o604, 10**18), twin.expected(path)), paths),
)


def names(listed: list[tuple[bytes, Stat]]) -> list[tuple[bytes, object]]:
    return sorted((name, comparable(stat)) for name, stat in listed)


def comparable(result: object) -> object:
    """What must be equal of two results; inode numbers and times are each tree's own."""
    match result:
        case Stat(kind=Kind.FILE):
            return result.kind, result.size, result.mode
        case Stat():
            return result.kind
        case Read():
            return comparable(result.stat), result.content
        case Replaced():
            return comparable(result.old), result.edited, comparable(result.new)
        case TreeError():
            return type(result)
        case list():
            return [comparable(each) for each in result]
    return result


def outcome(do: Act, twin: Twin) -> object:
    twin.acts += 1
    try:
        return comparable(do(twin))
    except TreeError as error:
        return type(error)
    except OSError:
        return TreeError  # the user of the real folder has no classes of ours


def is_same(simulated: object, real: object) -> bool:
    if real is TreeError:
        return isinstance(simulated, type) and issubclass(simulated, TreeError)
    return simulated == real


def state(twin: Twin) -> object:
    tree = twin.tree
    own = [names(each()) for each in (tree.list_staged, tree.list_old, tree.list_parked)]
    return twin.user.contents(), own, {path: outcome(lambda twin: twin.tree.stat(path), twin) for path in PATHS}  # noqa: B023


@given(st.lists(acts, max_size=40))
def test_simulated_and_real_tree_agree(sequence: list[Act]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = FilePath(directory)
        disk = SimDisk()
        real = Twin(DirTree(bytes(root), directory, time.monotonic), RealUser(root))
        simulated = Twin(SimTree(disk), disk)
        for twin in (real, simulated):
            twin.tree.write_marker(MARKER)
        for number, do in enumerate(sequence):
            outcomes = outcome(do, simulated), outcome(do, real)
            assert is_same(*outcomes), (number, outcomes)
        assert state(simulated) == state(real)
        real.tree.close()
