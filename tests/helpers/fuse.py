"""Blocking. A file system of our own through /dev/fuse: what stands in one directory, shown at another as an odd disk
would show it.

`python -m tests.helpers.fuse BACKING PLACE ODDITY` mounts it, writes a line, and serves until its input ends, then
unmounts. It speaks the kernel's protocol (linux/fuse.h) itself, so that nothing has to be installed: root and
/dev/fuse are enough. Every object is held by a descriptor of its inode, as the kernel holds it by a number; so open
files outlive their names, and inode numbers are those below. Nothing is cached by the kernel: two spellings of a name
must not be remembered as two things.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import stat
import struct
import sys
import time
from collections.abc import Callable, Sequence

from tests.helpers.odddisks import ODD_DISKS, OddDisk

_MAJOR, _MINOR = 7, 31
_MOST_WRITE = 1 << 17
_MS_NOSUID_NODEV = 2 | 4
_MNT_DETACH = 2
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2
_SET_MODE, _SET_SIZE, _SET_ATIME, _SET_MTIME, _SET_ATIME_NOW, _SET_MTIME_NOW = 1, 8, 16, 32, 128, 256
_LOOKUP, _FORGET, _INTERRUPT, _DESTROY, _BATCH_FORGET = 1, 2, 36, 38, 42

_IN = struct.Struct("<IIQQIIII")
_OUT = struct.Struct("<IiQ")
_ATTR = struct.Struct("<QQQQQQIIIIIIIIII")
_ENTRY = struct.Struct("<QQQQII")
_OPENED = struct.Struct("<QII")
_IO = struct.Struct("<QQIIQII")
_SETATTR = struct.Struct("<IIQQQQQQIIIIIIII")
_INIT = struct.Struct("<IIIIHHIIHHI28x")
_STATFS = struct.Struct("<QQQQQIIII24x")
_DIRENT = struct.Struct("<QQII")

_libc = ctypes.CDLL(None, use_errno=True)
_O_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Node:
    """An inode that the kernel knows of."""

    __slots__ = ("fd", "key", "lookups", "names", "number")

    def __init__(self, fd: int, number: int) -> None:
        self.fd, self.number, self.lookups = fd, number, 0
        found = os.fstat(fd)
        self.key = found.st_dev, found.st_ino
        self.names: dict[str | bytes, bytes] | None = None
        """Of a directory: by what the disk takes for the same name, the name as it keeps it."""

    @property
    def place(self) -> str:
        return f"/proc/self/fd/{self.fd}"


class Server:
    """Answers the kernel, one request after the other."""

    def __init__(self, device: int, backing: bytes, odd: OddDisk) -> None:
        self._device, self._odd = device, odd
        root = Node(os.open(backing, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), 1)
        self._nodes = {1: root}
        self._by_inode = {root.key: root}
        self._newest = 1
        self._listings: dict[int, list[bytes]] = {}
        self._handlers: dict[int, Callable[[Node, bytes], bytes]] = {
            _LOOKUP: self._lookup, 3: self._getattr, 4: self._setattr, 5: self._readlink, 6: self._symlink,
            8: self._mknod, 9: self._mkdir, 10: self._unlink, 11: self._rmdir, 12: self._rename, 13: self._link,
            14: self._open, 15: self._read, 16: self._write, 17: self._statfs, 18: self._release, 20: self._fsync,
            21: self._setxattr, 22: self._getxattr, 23: self._listxattr, 24: self._removexattr, 25: _nothing,
            26: _init, 27: self._opendir, 28: self._readdir, 29: self._releasedir, 30: _nothing, _DESTROY: _nothing,
            45: self._rename2,
        }  # fmt: skip

    def serve(self, until: int) -> None:
        """Until there is something to read from the descriptor `until`, or nothing is mounted any more."""
        poll = select.poll()
        poll.register(self._device, select.POLLIN)
        poll.register(until, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if until in ready:
                return
            try:
                request = os.read(self._device, _MOST_WRITE + 4096)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                if error.errno not in (errno.ENOENT, errno.EINTR, errno.EAGAIN):  # taken back, or not there yet
                    raise
                continue
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        _, opcode, unique, number, *_ = _IN.unpack_from(request)
        body = request[_IN.size :]
        if opcode == _FORGET:
            self._forget(number, *struct.unpack("<Q", body))
        elif opcode == _BATCH_FORGET:
            for one, times in struct.iter_unpack("<QQ", body[8:]):
                self._forget(one, times)
        elif opcode != _INTERRUPT:
            self._reply(unique, opcode, number, body)

    def _reply(self, unique: int, opcode: int, number: int, body: bytes) -> None:
        answer, failed = b"", 0
        handler = self._handlers.get(opcode)
        try:
            if handler is None:
                raise OSError(errno.ENOSYS, "")
            answer = handler(self._nodes[number] if number else self._nodes[1], body)
        except OSError as error:
            failed = -(error.errno or errno.EIO)
        try:
            os.write(self._device, _OUT.pack(_OUT.size + len(answer), failed, unique) + answer)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):  # whoever asked waits no more
                raise

    # Names.

    def _names(self, parent: Node) -> dict[str | bytes, bytes]:
        if parent.names is None:
            listed = os.open(parent.place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                parent.names = {self._odd.key(os.fsencode(name)): os.fsencode(name) for name in os.listdir(listed)}
            finally:
                os.close(listed)
        return parent.names

    def _there(self, parent: Node, name: bytes) -> bytes:
        """The name under which the directory has it."""
        stored = self._names(parent).get(self._odd.key(name))
        if stored is None:
            raise OSError(errno.ENOENT, "")
        return stored

    def _free(self, parent: Node, name: bytes) -> bytes:
        """The name as it would be kept, if nothing has it."""
        stored = self._odd.stored(name)
        if self._odd.key(name) in self._names(parent):
            raise OSError(errno.EEXIST, "")
        return stored

    def _entry(self, parent: Node, stored: bytes) -> bytes:
        node = self._node(os.open(stored, _O_PATH, dir_fd=parent.fd))
        node.lookups += 1
        return _ENTRY.pack(node.number, 0, 0, 0, 0, 0) + self._attr(node)

    def _node(self, fd: int) -> Node:
        found = os.fstat(fd)
        known = self._by_inode.get((found.st_dev, found.st_ino))
        if known is not None:
            os.close(fd)
            return known
        self._newest += 1
        node = Node(fd, self._newest)
        self._nodes[node.number] = self._by_inode[node.key] = node
        return node

    def _made(self, parent: Node, name: bytes, make: Callable[[bytes], object]) -> bytes:
        stored = self._free(parent, name)
        make(stored)
        self._names(parent)[self._odd.key(name)] = stored
        return self._entry(parent, stored)

    def _forget(self, number: int, times: int) -> None:
        node = self._nodes.get(number)
        if node is None or number == 1:
            return
        node.lookups -= times
        if node.lookups <= 0:
            del self._nodes[number], self._by_inode[node.key]
            os.close(node.fd)

    def _lookup(self, parent: Node, body: bytes) -> bytes:
        name = body[:-1]
        if len(name) > 255:
            raise OSError(errno.ENAMETOOLONG, "")
        return self._entry(parent, self._there(parent, name))

    def _symlink(self, parent: Node, body: bytes) -> bytes:
        if not self._odd.symlinks:
            raise OSError(errno.EPERM, "")
        name, target, _ = body.split(b"\0")
        return self._made(parent, name, lambda stored: os.symlink(target, stored, dir_fd=parent.fd))

    def _mknod(self, parent: Node, body: bytes) -> bytes:
        mode, device = struct.unpack_from("<II", body)
        if not (stat.S_ISREG(mode) or self._odd.symlinks):
            raise OSError(errno.EPERM, "")
        return self._made(parent, body[16:-1], lambda stored: os.mknod(stored, mode, device, dir_fd=parent.fd))

    def _mkdir(self, parent: Node, body: bytes) -> bytes:
        (mode,) = struct.unpack_from("<I", body)
        return self._made(parent, body[8:-1], lambda stored: os.mkdir(stored, mode, dir_fd=parent.fd))

    def _link(self, parent: Node, body: bytes) -> bytes:
        if not self._odd.links:
            raise OSError(errno.EPERM, "")
        node = self._nodes[struct.unpack_from("<Q", body)[0]]
        return self._made(parent, body[8:-1], lambda stored: os.link(node.place, stored, dst_dir_fd=parent.fd))

    def _unlink(self, parent: Node, body: bytes) -> bytes:
        os.unlink(self._there(parent, body[:-1]), dir_fd=parent.fd)
        del self._names(parent)[self._odd.key(body[:-1])]
        return b""

    def _rmdir(self, parent: Node, body: bytes) -> bytes:
        os.rmdir(self._there(parent, body[:-1]), dir_fd=parent.fd)
        del self._names(parent)[self._odd.key(body[:-1])]
        return b""

    def _rename(self, parent: Node, body: bytes) -> bytes:
        name, to_name, _ = body[8:].split(b"\0")
        return self._renamed(parent, name, self._nodes[struct.unpack_from("<Q", body)[0]], to_name, 0)

    def _rename2(self, parent: Node, body: bytes) -> bytes:
        to_number, flags = struct.unpack_from("<QI", body)
        name, to_name, _ = body[16:].split(b"\0")
        if flags & _RENAME_EXCHANGE and not self._odd.exchange:
            raise OSError(errno.EINVAL, "")
        return self._renamed(parent, name, self._nodes[to_number], to_name, flags)

    def _renamed(self, parent: Node, name: bytes, to_parent: Node, to_name: bytes, flags: int) -> bytes:
        stored, names, to_names = self._there(parent, name), self._names(parent), self._names(to_parent)
        there = to_names.get(self._odd.key(to_name))
        if flags & _RENAME_EXCHANGE:
            _rename_at(parent.fd, stored, to_parent.fd, self._there(to_parent, to_name), flags)
            return b""
        to_stored = self._odd.stored(to_name)
        is_itself = parent is to_parent and there == stored
        if there is not None and there != to_stored and not is_itself:
            if flags & _RENAME_NOREPLACE:
                raise OSError(errno.EEXIST, "")
            os.rename(stored, there, src_dir_fd=parent.fd, dst_dir_fd=to_parent.fd)
            to_stored = there  # what is replaced keeps its spelling
        else:
            _rename_at(parent.fd, stored, to_parent.fd, to_stored, flags)
        del names[self._odd.key(name)]
        to_names[self._odd.key(to_name)] = to_stored
        return b""

    # What is known of an inode.

    def _attr(self, node: Node) -> bytes:
        found, step = os.fstat(node.fd), self._odd.time_step_ns
        mode = found.st_mode
        if not self._odd.modes and not stat.S_ISLNK(mode):
            mode = stat.S_IFMT(mode) | (0o755 if stat.S_ISDIR(mode) else 0o644)
        times = [when // step * step for when in (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)]
        return _ATTR.pack(
            found.st_ino, found.st_size, found.st_blocks,
            *(when // 1_000_000_000 for when in times), *(when % 1_000_000_000 for when in times),
            mode, found.st_nlink, found.st_uid, found.st_gid, found.st_rdev, found.st_blksize, 0,
        )  # fmt: skip

    def _getattr(self, node: Node, _: bytes) -> bytes:
        return struct.pack("<QII", 0, 0, 0) + self._attr(node)

    def _setattr(self, node: Node, body: bytes) -> bytes:
        valid, _, _, size, _, atime, mtime, _, atime_ns, mtime_ns, _, mode, *_ = _SETATTR.unpack_from(body)
        if valid & _SET_MODE and self._odd.modes:
            os.chmod(node.place, stat.S_IMODE(mode))
        if valid & _SET_SIZE:
            os.truncate(node.place, size)
        if valid & (_SET_ATIME | _SET_MTIME):
            found, now = os.fstat(node.fd), time.time_ns()
            times = [found.st_atime_ns, found.st_mtime_ns]
            if valid & _SET_ATIME:
                times[0] = now if valid & _SET_ATIME_NOW else atime * 1_000_000_000 + atime_ns
            if valid & _SET_MTIME:
                times[1] = now if valid & _SET_MTIME_NOW else mtime * 1_000_000_000 + mtime_ns
            os.utime(node.place, ns=(times[0], times[1]))
        return self._getattr(node, b"")

    def _readlink(self, node: Node, _: bytes) -> bytes:
        return os.readlink(b"", dir_fd=node.fd)

    def _statfs(self, node: Node, _: bytes) -> bytes:
        found = os.statvfs(node.place)
        blocks = found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree
        return _STATFS.pack(*blocks, found.f_bsize, 255, found.f_frsize, 0)

    def _setxattr(self, node: Node, body: bytes) -> bytes:
        self._demand_xattrs()
        size, flags = struct.unpack_from("<II", body)
        name, _, value = body[8:].partition(b"\0")
        os.setxattr(node.place, name, value[:size], flags)
        return b""

    def _getxattr(self, node: Node, body: bytes) -> bytes:
        self._demand_xattrs()
        return _sized(os.getxattr(node.place, body[8:-1]), body)

    def _listxattr(self, node: Node, body: bytes) -> bytes:
        self._demand_xattrs()
        return _sized(b"".join(os.fsencode(name) + b"\0" for name in os.listxattr(node.place)), body)

    def _removexattr(self, node: Node, body: bytes) -> bytes:
        self._demand_xattrs()
        os.removexattr(node.place, body[:-1])
        return b""

    def _demand_xattrs(self) -> None:
        if not self._odd.xattrs:
            raise OSError(errno.EOPNOTSUPP, "")

    # Contents.

    def _open(self, node: Node, body: bytes) -> bytes:
        (flags,) = struct.unpack_from("<I", body)
        wanted = flags & (os.O_ACCMODE | os.O_TRUNC)
        return _OPENED.pack(os.open(node.place, wanted | os.O_CLOEXEC), 0, 0)

    def _read(self, _: Node, body: bytes) -> bytes:
        handle, offset, size, *_ignored = _IO.unpack_from(body)
        return os.pread(handle, size, offset)

    def _write(self, _: Node, body: bytes) -> bytes:
        handle, offset, size, *_ignored = _IO.unpack_from(body)
        return struct.pack("<II", os.pwrite(handle, body[_IO.size : _IO.size + size], offset), 0)

    def _release(self, _: Node, body: bytes) -> bytes:
        os.close(struct.unpack_from("<Q", body)[0])
        return b""

    def _fsync(self, _: Node, body: bytes) -> bytes:
        os.fsync(struct.unpack_from("<Q", body)[0])
        return b""

    def _opendir(self, node: Node, _: bytes) -> bytes:
        handle = os.open(node.place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        types = ((b".", stat.S_IFDIR, 1), (b"..", stat.S_IFDIR, 1))
        found = [_DIRENT.pack(inode, 0, len(name), kind >> 12) + name for name, kind, inode in types]
        with os.scandir(handle) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                kind = entry.stat(follow_symlinks=False).st_mode >> 12
                found.append(_DIRENT.pack(entry.inode(), 0, len(name), kind) + name)
        self._listings[handle] = found
        return _OPENED.pack(handle, 0, 0)

    def _readdir(self, _: Node, body: bytes) -> bytes:
        handle, offset, size, *_ignored = _IO.unpack_from(body)
        answer = b""
        for number, entry in enumerate(self._listings[handle][offset:], offset + 1):
            entry = entry[:8] + struct.pack("<Q", number) + entry[16:]
            entry += bytes(-len(entry) % 8)
            if len(answer) + len(entry) > size:
                break
            answer += entry
        return answer

    def _releasedir(self, _: Node, body: bytes) -> bytes:
        (handle,) = struct.unpack_from("<Q", body)
        del self._listings[handle]
        os.close(handle)
        return b""


def _nothing(_: Node, __: bytes) -> bytes:
    return b""


def _init(_: Node, body: bytes) -> bytes:
    _, _, ahead, _ = struct.unpack_from("<IIII", body)
    return _INIT.pack(_MAJOR, _MINOR, ahead, 0, 12, 10, _MOST_WRITE, 1, 0, 0, 0)


def _sized(value: bytes, body: bytes) -> bytes:
    (size,) = struct.unpack_from("<I", body)
    if not size:
        return struct.pack("<II", len(value), 0)
    if len(value) > size:
        raise OSError(errno.ERANGE, "")
    return value


def _rename_at(fd: int, name: bytes, to_fd: int, to_name: bytes, flags: int) -> None:
    if _libc.renameat2(fd, name, to_fd, to_name, flags):
        raise OSError(ctypes.get_errno(), "")


def mount(device: int, place: bytes, name: str) -> None:
    """Raises OSError."""
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other"
    if _libc.mount(name.encode(), place, b"fuse." + name.encode(), _MS_NOSUID_NODEV, options.encode()):
        raise OSError(ctypes.get_errno(), f"cannot mount on {os.fsdecode(place)}")


def main(arguments: Sequence[str]) -> None:
    backing, place, odd = os.fsencode(arguments[0]), os.fsencode(arguments[1]), ODD_DISKS[arguments[2]]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends when those who use it have ended
    os.umask(0)
    device = os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    mount(device, place, "odd")
    os.write(1, b"mounted\n")
    try:
        Server(device, backing, odd).serve(until=0)
    finally:
        _libc.umount2(place, _MNT_DETACH)


if __name__ == "__main__":
    main(sys.argv[1:])
