"""Blocking. Putting an object where another one stands, so that nothing is ever overwritten: what stood there gets a
place in `.syncd/old`, and what a disk says that it has done, or has not, is found out and not believed.

Descriptors of directories and what the root is known to be come from `store.tree`, whose verbs these are.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from syncd.store.descent import Parents, check_token
from syncd.store.files import stat_of
from syncd.store.places import Places
from syncd.store.syscalls import Renames
from syncd.treetypes import IsADirectory, Kind, LocallyChanged, Path, Replaced, Stat, show_path

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


class Exchanges:
    """One run of changes to names that users see. All methods raise OSError and TreeError."""

    def __init__(self, places: Places, renames: Renames, left: dict[bytes, Stat], *, is_stable: bool) -> None:
        """`left`: by token, staged objects that the disk kept from leaving `old` again; it outlasts this run.
        `is_stable`: inode numbers of this disk last."""
        self._places = places
        self._renames = renames
        self._left = left
        self._is_stable = is_stable

    def _stat(self, parent: int, name: bytes) -> Stat:
        return stat_of(os.stat(name, dir_fd=parent, follow_symlinks=False), self._places.owners)

    def give_name(self, place: int, token: bytes, parents: Parents, path: Path) -> Stat:
        """Give an object of `place` a name that nothing has."""
        parent, name = parents.of(path), path[-1]
        before = self._stat(place, check_token(token))
        self._renames.noreplace(place, token, parent, name)
        return self.now_or(before, parent, name)

    def now_or(self, before: Stat, parent: int, name: bytes) -> Stat:
        """The stat after a rename that was made; the one from before where the disk would not tell.

        An error here would say that nothing was done. What has happened since is found by the next look: its ctime, or
        that it is gone.
        """
        try:
            return self._stat(parent, name)
        except OSError:
            return before

    def exchange(self, parents: Parents, token: bytes, path: Path, expected: Stat) -> Replaced:
        """The staged object goes to `old` first, to be exchanged there: no crash leaves a user's bytes in the stage."""
        parent, name = parents.of(path), path[-1]
        self._require(parent, path, expected)
        staged = self._stat(self._places.stage, check_token(token))
        self._drop_left(token)
        self._renames.noreplace(self._places.stage, token, self._places.old, token)
        try:
            self._renames.exchange(self._places.old, token, parent, name)
        except OSError as error:
            if not self._was_exchanged(token, staged):
                self._take_back(token, staged)
                if error.errno == errno.ENOTSUP:
                    return self._exchange_in_steps(parents, token, path, expected, staged)
                if error.errno == errno.ENOENT:
                    raise LocallyChanged(f"deleted meanwhile: {show_path(path)}", path) from error
                raise
        old = self.now_or(expected, self._places.old, token)
        if old.kind is Kind.DIR:
            self._exchange_back(token, parent, name, staged)
            raise self._is_directory_now(path, old)
        return self._replaced(token, parent, name, expected, staged)

    def _was_exchanged(self, token: bytes, staged: Stat) -> bool:
        """Whether the disk has done what it says that it could not: then the user's bytes lie under the token, and may
        not go to the stage."""
        try:
            found = self._stat(self._places.old, token)
        except OSError:
            return False
        return self._is_stable and (found.kind, found.ino) != (staged.kind, staged.ino)

    def _take_back(self, token: bytes, staged: Stat) -> None:
        """To the stage again."""
        try:
            self._renames.noreplace(self._places.old, token, self._places.stage, token)
        except OSError:
            self._left[token] = staged
            raise

    def _drop_left(self, token: bytes) -> None:
        """What could not be taken back goes now: else its token would be taken whenever that is tried again. It goes
        only if it is the very inode that was staged: the disk may have said that it failed, and done it."""
        left = self._left.get(token)
        if left is None:
            return
        with suppress(FileNotFoundError):
            if left.same_but_moved(self._stat(self._places.old, token)):
                os.unlink(token, dir_fd=self._places.old)
        del self._left[token]

    def _exchange_back(self, token: bytes, parent: int, name: bytes, staged: Stat) -> None:
        try:
            self._renames.exchange(self._places.old, token, parent, name)
        except FileNotFoundError:  # what was staged is gone from there: somebody has deleted it at once
            self._give_back(token, parent, name)
        else:
            self._take_back(token, staged)

    def _give_back(self, token: bytes, parent: int, name: bytes) -> None:
        """Put a directory of the user back; under its token, beside its name, if something else has that by now: left
        out of sight it and all that is in it would be missed, and what is missed is deleted everywhere."""
        try:
            self._renames.noreplace(self._places.old, token, parent, name)
        except FileExistsError:
            self._renames.noreplace(self._places.old, token, parent, token)

    def _exchange_in_steps(self, parents: Parents, token: bytes, path: Path, expected: Stat, staged: Stat) -> Replaced:
        """Where names cannot be exchanged: a second name for the old inode, then a rename over the first.

        A file that another program puts at the name between the two calls is lost; `Personality.exchange` is False
        then.
        """
        parent, name = parents.of(path), path[-1]
        try:
            os.link(name, token, src_dir_fd=parent, dst_dir_fd=self._places.old, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return self._exchange_without_links(parents, token, path, expected, staged)
        try:
            os.rename(token, name, src_dir_fd=self._places.stage, dst_dir_fd=parent)
        except OSError:
            if self._stat(self._places.old, token).nlink == 1:  # its other name is gone all the same
                return self._replaced(token, parent, name, expected, staged)._replace(new=None)
            os.unlink(token, dir_fd=self._places.old)  # else this token would be taken whenever that is tried again
            raise
        return self._replaced(token, parent, name, expected, staged)

    def _exchange_without_links(
        self, parents: Parents, token: bytes, path: Path, expected: Stat, staged: Stat
    ) -> Replaced:
        """There is a moment without the name."""
        parent, name = parents.of(path), path[-1]
        self._renames.noreplace(parent, name, self._places.old, token)
        old = self.now_or(expected, self._places.old, token)
        if old.kind is Kind.DIR:  # it cannot have a second name
            self._give_back(token, parent, name)
            raise self._is_directory_now(path, old)
        try:
            self.give_name(self._places.stage, token, parents, path)
        except OSError:
            try:
                self._renames.noreplace(self._places.old, token, parent, name)
            except OSError:  # somebody took the name in that moment, and keeps it; or the disk does nothing any more
                return self._replaced(token, parent, name, expected, staged)._replace(new=None)
            raise
        return self._replaced(token, parent, name, expected, staged)

    def _replaced(self, token: bytes, parent: int, name: bytes, expected: Stat, staged: Stat) -> Replaced:
        old = self.now_or(expected, self._places.old, token)  # where it would not tell, it is compared in a minute
        try:
            new: Stat | None = self._stat(parent, name)
        except FileNotFoundError:
            new = None  # somebody deleted it at once: the watch will tell
        except OSError:
            new = staged
        return Replaced(old, not self.comparable(expected, old).same_but_moved(old), new)

    def retire(self, parents: Parents, path: Path, token: bytes, expected: Stat) -> Replaced:
        parent = parents.of(path)
        self._require(parent, path, expected)
        self._renames.noreplace(parent, path[-1], self._places.old, check_token(token))
        old = self.now_or(expected, self._places.old, token)
        if old.kind is Kind.DIR:
            self._give_back(token, parent, path[-1])
            raise self._is_directory_now(path, old)
        return Replaced(old, not self.comparable(expected, old).same_but_moved(old))

    def _is_directory_now(self, path: Path, found: Stat) -> LocallyChanged:
        """What somebody put there in the last moment has things of its own in it, and is back in its place."""
        return LocallyChanged(f"a directory meanwhile: {show_path(path)}", path, found)

    def _require(self, parent: int, path: Path, expected: Stat) -> None:
        """Exactly the expected object, or LocallyChanged; never a directory."""
        found = self._found(parent, path)
        if found.kind is Kind.DIR:
            raise IsADirectory(f"is a directory: {show_path(path)}", path)
        if not self.comparable(expected, found).same(found):
            raise LocallyChanged(f"changed meanwhile: {show_path(path)}", path, found)

    def require_inode(self, parent: int, path: Path, expected: Stat) -> Stat:
        found = self._found(parent, path)
        if found.kind is not expected.kind or self.comparable(expected, found).ino != found.ino:
            raise LocallyChanged(f"another object meanwhile: {show_path(path)}", path, found)
        return found

    def _found(self, parent: int, path: Path) -> Stat:
        try:
            return self._stat(parent, path[-1])
        except FileNotFoundError:
            raise LocallyChanged(f"deleted meanwhile: {show_path(path)}", path) from None

    def comparable(self, expected: Stat, found: Stat) -> Stat:
        """Where inode numbers do not last, they cannot be compared."""
        return expected if self._is_stable else expected._replace(ino=found.ino)
