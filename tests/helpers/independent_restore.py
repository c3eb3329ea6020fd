"""Blocking. Restores a folder from an exported store and the recovery key alone, by what docs/storage.md says of it.

    python independent_restore.py STORE DIRECTORY [MOMENT] < recovery-key

It imports nothing of syncd, to show that the document is enough; its BLAKE3 takes up to 1,024 bytes.
"""

from __future__ import annotations

import base64
import json
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
LANES = [(n, 4 + (n + s) % 4, 8 + (n + 2 * s) % 4, 12 + (n + 3 * s) % 4) for s in (0, 1) for n in range(4)]
KEYED, CONTEXT, MATERIAL, DATA, LIST, CHECKPOINT, ENTRY = 16, 32, 64, 1, 2, 4, 76


def compress(chain: tuple[int, ...], block: bytes, counter: int, flags: int) -> tuple[int, ...]:
    words = struct.unpack("<16I", block.ljust(64, b"\0"))
    v = [*chain, *IV[:4], counter, 0, len(block), flags]
    for _ in range(7):
        for number, (a, b, c, d) in enumerate(LANES):
            for word, first, second in zip(words[2 * number :], (16, 8), (12, 7), strict=False):
                v[a] = (v[a] + v[b] + word) & 0xFFFFFFFF
                v[d] = turn(v[d] ^ v[a], first)
                v[c] = (v[c] + v[d]) & 0xFFFFFFFF
                v[b] = turn(v[b] ^ v[c], second)
        words = tuple(words[place] for place in ORDER)
    return tuple([v[i] ^ v[i + 8] for i in range(8)] + [v[i + 8] ^ chain[i] for i in range(8)])


def turn(word: int, bits: int) -> int:
    return (word >> bits | word << 32 - bits) & 0xFFFFFFFF


def blake3(data: bytes, key: bytes | None = None, mode: int = 0, length: int = 32) -> bytes:
    assert len(data) <= 1024
    chain = IV if key is None else struct.unpack("<8I", key)
    blocks = [data[at : at + 64] for at in range(0, max(1, len(data)), 64)]
    for number, block in enumerate(blocks[:-1]):
        chain = compress(chain, block, 0, mode | (number == 0))[:8]
    flags = mode | (len(blocks) == 1) | 2 | 8
    output = b"".join(struct.pack("<16I", *compress(chain, blocks[-1], n, flags)) for n in range(-(-length // 64)))
    return output[:length]


def derive(secret: bytes, purpose: str, length: int = 32) -> bytes:
    return blake3(secret, blake3(b"syncd/1 " + purpose.encode(), None, CONTEXT), MATERIAL, length)


def recovery_seed(line: str) -> bytes:
    letters = line.strip().removeprefix("syncd-recovery:").replace("-", "").upper()
    kept = "".join(letters[at : at + 14][:-1] for at in range(0, len(letters), 14))
    return base64.b32decode(kept + "=" * (-len(kept) % 8))


class Store:
    def __init__(self, path: Path, seed: bytes) -> None:
        assert (path / "format").read_text() == "syncd store 1\n"
        keys = json.loads((path / "keys.json").read_text())
        self.path, self.folder, self.padded = path, bytes.fromhex(keys["folder"]), bool(keys["padding"])
        seal = derive(seed, "recovery sealing key", 96)
        pair = MLKEM768X25519PrivateKey(
            MLKEM768PrivateKey.from_seed_bytes(seal[:64]), X25519PrivateKey.from_private_bytes(seal[64:])
        )
        suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
        key = suite.decrypt(bytes.fromhex(keys["sealed"][0]), pair, info=b"syncd/1 store" + self.folder)
        self.epochs: dict[bytes, tuple[bytes, bytes]] = {}
        for one in keys["epochs"]:
            epoch = bytes.fromhex(one["id"])
            self.epochs[epoch[:8]] = epoch, AESGCMSIV(key).decrypt(bytes(12), bytes.fromhex(one["secret"]), epoch)
        self.places = {pid: place for pack in sorted((path / "packs").iterdir()) for pid, place in self.index(pack)}

    def open(self, kind: int, entry: bytes, sealed: bytes) -> bytes:
        epoch, secret = self.epochs[entry[68:76]]
        content = derive(secret, "content key" if kind in (DATA, LIST) else "metadata key")
        named = bytes((1, kind)) + self.folder + epoch + entry[:32] + entry[64:68]
        key = blake3(named, content, KEYED, 44)
        return AESGCM(key[:32]).decrypt(key[32:], sealed, None)[: int.from_bytes(entry[64:68], "big")]

    def sealed_length(self, entry: bytes) -> int:
        length = int.from_bytes(entry[64:68], "big")
        if self.padded and length > 1:
            exponent = length.bit_length() - 1
            mask = (1 << exponent - exponent.bit_length()) - 1
            length = (length + mask) & ~mask
        return length + 16

    def index(self, pack: Path) -> list[tuple[bytes, tuple[Path, int, bytes]]]:
        raw = pack.read_bytes()
        count, end = struct.unpack(">I8s", raw[-12:])
        assert raw.startswith(b"syncd pack\0\0\0\0\0\0" + self.folder + b"\x01") and end == b"syncdend"
        trailer = raw[-12 - count * ENTRY : -12]
        parts = [trailer[at : at + ENTRY] for at in range(0, len(trailer), ENTRY)]
        at = len(raw) - 12 - len(trailer) - sum(map(self.sealed_length, parts))
        packed = b""
        for part in parts:
            packed += self.open(LIST, part, raw[at : at + self.sealed_length(part)])
            at += self.sealed_length(part)
        found, at = [], 64
        for entry in (packed[start : start + ENTRY] for start in range(0, len(packed), ENTRY)):
            found.append((entry[:32], (pack, at, entry)))
            at += self.sealed_length(entry)
        return found

    def block(self, kind: int, place: tuple[Path, int, bytes]) -> bytes:
        with place[0].open("rb") as file:
            file.seek(place[1])
            return self.open(kind, place[2], file.read(self.sealed_length(place[2])))

    def moment(self, name: str) -> list[dict[str, Any]]:
        blocks = [self.block(CHECKPOINT, place) for _, place in self.index(self.path / "moments" / name)]
        return [json.loads(line) for line in zlib.decompress(b"".join(blocks)).splitlines()][1:]


def restore(store: Store, target: Path, moment: str) -> None:
    target.mkdir()
    modes: list[tuple[bytes, int]] = []
    for one in store.moment(moment):
        path = os.path.join(os.fsencode(target), one["path"].encode("utf-8", "surrogateescape"))
        if one["kind"] == "directory":
            os.mkdir(path)
            modes.append((path, one["mode"]))
        elif one["kind"] == "link":
            os.symlink(one["target"].encode("utf-8", "surrogateescape"), path)
        else:
            with open(path, "xb") as file:
                for at in range(0, len(entries := base64.b64decode(one["blocks"])), ENTRY):
                    file.write(store.block(DATA, store.places[entries[at : at + 32]]))
            os.chmod(path, one["mode"])
            os.utime(path, ns=(one["mtime"], one["mtime"]))
    for path, mode in reversed(modes):
        os.chmod(path, mode)


if __name__ == "__main__":
    chosen = sys.argv[3] if len(sys.argv) > 3 else max(os.listdir(Path(sys.argv[1]) / "moments"))
    restore(Store(Path(sys.argv[1]), recovery_seed(sys.stdin.readline())), Path(sys.argv[2]), chosen)
