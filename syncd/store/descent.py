"""Blocking. From the root's descriptor down to where a verb works, and what may be a name on the way."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from syncd.store.places import Places
from syncd.store.syscalls import O_DIR, open_beneath
from syncd.treetypes import PRIVATE, NameRefused, Path, TreeError, show_path, tree_error

O_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def check_path(path: Path) -> None:
    """Refuse what is no name, whoever asked; the paths of peers have been through `model/paths.py` already."""
    for name in path:
        check_name(name, path)


def check_name(name: bytes, path: Path) -> None:
    if not name or b"/" in name or b"\0" in name or name in (b".", b"..") or name.lower() == PRIVATE:
        raise NameRefused(f"no name for a file: {show_path(path)}", path)


def check_token(token: bytes) -> bytes:
    if not token.isalnum() or len(token) > 64:
        raise NameRefused(f"no token: {token!r}", (PRIVATE, token))
    return token


class Directory:
    """An open directory, closed at the end of the `with` unless it is the root, which stays open.

    To be listed, the root is opened once more: two threads that list by one descriptor share its position, and each
    would see half of the names."""

    __slots__ = ("_keep", "fd", "path")

    def __init__(self, places: Places, path: Path, flags: int = O_DIR) -> None:
        check_path(path)
        self.path = path
        self._keep = not path and flags == O_DIR
        if path:
            self.fd = open_beneath(places.root, path, flags)
        else:
            self.fd = places.root if self._keep else reopen(places.root)

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, *_: object) -> None:
        if not self._keep:
            os.close(self.fd)


def reopen(directory: int) -> int:
    return os.open(b".", O_LIST, dir_fd=directory)


class Parents:
    """The directories of a run of paths: each is opened once for all neighbours in the run that lie in it."""

    __slots__ = ("_open", "_places")

    def __init__(self, places: Places) -> None:
        self._places = places
        self._open: Directory | None = None

    def __enter__(self) -> Parents:
        return self

    def __exit__(self, *_: object) -> None:
        if self._open is not None:
            self._open.__exit__()
            self._open = None

    def of(self, path: Path) -> int:
        """The directory in which the last name of `path` stands."""
        parent = path[:-1]
        if not path:
            raise NameRefused("the folder's root cannot be replaced, moved or deleted", path)
        check_name(path[-1], path)
        if self._open is None or self._open.path != parent:
            self.__exit__()
            self._open = Directory(self._places, parent)
        return self._open.fd


def translated(error: OSError, path: Path) -> TreeError:
    return tree_error(error.errno or 0, error.strerror or "failed", path)


def attempt(
    path: Path, function: Callable[_Arguments, _Result], /, *arguments: _Arguments.args, **named: _Arguments.kwargs
) -> _Result | TreeError:
    """Do one item of a batch: an error is its result, and the next item follows."""
    try:
        return function(*arguments, **named)
    except OSError as error:
        return translated(error, path)
    except TreeError as error:
        return error
