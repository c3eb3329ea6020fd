"""The user of a real folder: the same acts as `SimDisk` offers, on paths of a temporary directory."""

from __future__ import annotations

import os
import shutil
from pathlib import Path as FilePath

from syncd.store.files import stat_of
from syncd.treetypes import PRIVATE, Path, Stat


class RealUser:
    """Writes, renames and deletes as other programs do. `root` is the folder."""

    def __init__(self, root: FilePath) -> None:
        self._root = os.fsencode(root)

    def _at(self, path: Path) -> bytes:
        return b"/".join((self._root, *path))

    def write(self, path: Path, content: bytes) -> None:
        with open(self._at(path), "wb") as file:
            file.write(content)

    def save(self, path: Path, content: bytes) -> None:
        draft = self._at((*path[:-1], path[-1] + b"~"))
        with open(draft, "wb") as file:
            file.write(content)
        try:
            os.replace(draft, self._at(path))
        except OSError:
            os.unlink(draft)
            raise

    def open(self, path: Path) -> RealUserFile:
        return RealUserFile(os.open(self._at(path), os.O_RDWR))

    def read(self, path: Path) -> bytes:
        with open(self._at(path), "rb") as file:
            return file.read()

    def target(self, path: Path) -> bytes:
        return os.readlink(self._at(path))

    def delete(self, path: Path) -> None:
        if os.path.isdir(self._at(path)) and not os.path.islink(self._at(path)):
            shutil.rmtree(self._at(path))
        else:
            os.unlink(self._at(path))

    def rename(self, source: Path, target: Path) -> None:
        os.rename(self._at(source), self._at(target))

    def mkdir(self, path: Path) -> None:
        os.mkdir(self._at(path), 0o755)

    def symlink(self, path: Path, target: bytes) -> None:
        os.symlink(target, self._at(path))

    def make_other(self, path: Path) -> None:
        os.mkfifo(self._at(path))

    def hard_link(self, source: Path, target: Path) -> None:
        os.link(self._at(source), self._at(target))

    def chmod(self, path: Path, mode: int) -> None:
        os.chmod(self._at(path), mode)

    def utime(self, path: Path, mtime_ns: int) -> None:
        os.utime(self._at(path), ns=(mtime_ns, mtime_ns), follow_symlinks=False)

    def stat(self, path: Path) -> Stat:
        return stat_of(os.lstat(self._at(path)), frozenset((os.geteuid(),)))

    def contents(self) -> dict[Path, bytes | None]:
        """Everything a user sees: files with content, symlinks with b'-> target', directories with None."""
        seen: dict[Path, bytes | None] = {}
        self._look(self._root, (), seen)
        return seen

    def _look(self, directory: bytes, path: Path, seen: dict[Path, bytes | None]) -> None:
        for entry in os.scandir(directory):
            below = (*path, entry.name)
            if below == (PRIVATE,):
                continue
            if entry.is_symlink():
                seen[below] = b"-> " + os.readlink(entry.path)
            elif entry.is_dir():
                seen[below] = None
                self._look(entry.path, below, seen)
            else:
                seen[below] = self.read(below)


class RealUserFile:
    """An open file of the user."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, content: bytes, offset: int | None = None) -> None:
        os.pwrite(self._fd, content, os.fstat(self._fd).st_size if offset is None else offset)

    def close(self) -> None:
        os.close(self._fd)
