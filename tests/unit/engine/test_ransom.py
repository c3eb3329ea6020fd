"""What looks as if it had been encrypted for ransom, and what only looks odd."""

from __future__ import annotations

import base64
import random
import zlib

import pytest

from syncd.engine.ransom import LEAST_BYTES, looks_disguised, looks_encrypted

NOISE = random.Random("noise").randbytes(100_000)
TEXT = b"It was the best of times, it was the worst of times. " * 100


@pytest.mark.parametrize("size", [LEAST_BYTES, 1000, 4096, 90_000])
def test_noise_under_a_name_that_promises_something_is_suspicious(size: int) -> None:
    for start in range(0, 1000, 10):
        assert looks_encrypted(b"letter.docx", NOISE[start : start + size])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (b"letter.txt", TEXT),
        (b"letter.txt", base64.b64encode(NOISE)),
        (b"photo.jpg", b"\xff\xd8\xff\xe0" + NOISE),
        (b"film.mp4", b"\0\0\0\x20ftypisom" + NOISE),
        (b"book.docx", b"PK\x03\x04" + zlib.compress(NOISE)),
        (b"tiny.txt", NOISE[: LEAST_BYTES - 1]),
        (b"container", NOISE),  # programs that encrypt write nothing else all day, under names of their own
        (b"3f9a2b.c9r", NOISE),
    ],
)
def test_what_has_a_form_or_promises_none_is_not(name: bytes, content: bytes) -> None:
    assert not looks_encrypted(name, content)


@pytest.mark.parametrize(
    ("before", "after", "is_disguise"),
    [
        (b"letter.docx", b"letter.docx.locked", True),
        (b"photo.JPG", b"8f3a.wncry", True),
        (b"letter.docx", b"letter.pdf", False),
        (b"letter.txt", b"letter.txt.bak", False),
        (b"letter.txt", b"letter", False),
        (b"letter.txt", b"another letter.txt", False),
        (b"object.a1", b"object.a2", False),
    ],
)
def test_new_endings(before: bytes, after: bytes, is_disguise: bool) -> None:
    assert looks_disguised(before, after) is is_disguise
