"""Who asks by a recovery key proves to hold it on this very channel; all else is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ca import recovery
from ca.epochs import recovery_label
from ca.ids import DeviceId, FolderId
from ca.recovery import RecoveryKey
from syncd.errors import CodecError, TrustError
from syncd.protocol.rescue import Folders, Keepsake, KeptFor, RecoverPage, RecoverRequest, ask

KEY, OTHER = RecoveryKey(b"k" * 32), RecoveryKey(b"o" * 32)
EXPORTER = b"e" * 32
FOLDER = FolderId(b"f" * 32)


@pytest.mark.parametrize("folder", [None, FOLDER])
def test_request_of_the_keys_holder_is_taken(folder: FolderId | None) -> None:
    request = RecoverRequest.decode_untrusted(ask(KEY, EXPORTER, folder, 3).encode())
    request.check(EXPORTER)
    assert (request.sign_key, request.folder, request.held) == (KEY.public.sign, folder, 3)


@pytest.mark.parametrize(
    "request_",
    [
        replace(ask(KEY, EXPORTER, FOLDER), folder=None),
        replace(ask(KEY, EXPORTER, FOLDER), folder=FolderId(b"g" * 32)),
        replace(ask(KEY, EXPORTER, FOLDER), held=1),
        replace(ask(KEY, EXPORTER, FOLDER), signature=bytes(64)),
        replace(ask(OTHER, EXPORTER, FOLDER), sign_key=KEY.public.sign),
        ask(KEY, b"x" * 32, FOLDER),
    ],
)
def test_request_that_was_changed_or_carried_to_another_channel_is_refused(request_: RecoverRequest) -> None:
    with pytest.raises(TrustError):
        request_.check(EXPORTER)


def test_bodies_come_back_as_they_went() -> None:
    page = RecoverPage(b"page", DeviceId(b"d" * 32), ("h:1",), (KeptFor(DeviceId(b"c" * 32), 7, b"sealed"),), b"wrap")
    assert RecoverPage.decode_untrusted(page.encode()) == page
    assert Folders.decode_untrusted(Folders((FOLDER,)).encode()) == Folders((FOLDER,))
    assert Keepsake.decode_untrusted(Keepsake(5, b"sealed").encode()) == Keepsake(5, b"sealed")


@pytest.mark.parametrize("raw", [b"", b"\xa0", Keepsake(5, b"").encode(), ask(KEY, EXPORTER, None).encode()])
def test_anything_else_is_no_keepsake(raw: bytes) -> None:
    with pytest.raises(CodecError):
        Keepsake.decode_untrusted(raw)


def test_label_names_the_key_and_not_its_holder() -> None:
    assert recovery_label(DeviceId(KEY.id)) == recovery_label(DeviceId(recovery.parse(KEY.text).id))
    assert recovery_label(DeviceId(KEY.id)) != recovery_label(DeviceId(OTHER.id))
