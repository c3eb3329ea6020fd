"""Async. The listener as `openssl s_client` and `curl` see it: other implementations, other habits."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE

import pytest
import trio
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from syncd.protocol import tls
from tests.helpers.folders import Folder, Identity, make_device_identity, make_folder, make_identity
from tests.helpers.listener import CIPHERTEXT, Listening, listening

pytestmark = pytest.mark.needs("openssl")

FOLDER = make_folder(1)
OTHER = make_folder(2)
TARGET = "/v1/blocks/" + "00" * 32
PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Files:
    """Certificate and key of an identity as files, as `folder show` gives them."""

    certificate: str
    key: str

    @classmethod
    def write(cls, where: Path, identity: Identity, name: str) -> Files:
        certificate, key = where / f"{name}.pem", where / f"{name}.key"
        certificate.write_bytes(identity.certificate_pem())
        key.write_bytes(identity.key_pem())
        return cls(str(certificate), str(key))


def table_of(*folders: Folder) -> tls.LabelTable:
    table = tls.LabelTable()
    for folder in folders:
        folder.serve(table)
    return table


async def s_client(server: Listening, files: Files | None, label: str | None, *options: str) -> str:
    """Ask for one block; what openssl printed, which holds the block if it was served."""
    request = f"GET {TARGET} HTTP/1.1\r\nHost: {label}\r\nConnection: close\r\n\r\n".encode()
    command = ["openssl", "s_client", "-connect", server.address, "-ign_eof", *options]
    command += ["-servername", label] if label is not None else ["-noservername"]
    command += ["-cert", files.certificate, "-key", files.key] if files is not None else []
    return await run(command, request)


async def run(command: Sequence[str], stdin: bytes = b"") -> str:
    with trio.fail_after(PATIENCE_S):
        done = await trio.run_process(list(command), stdin=stdin, capture_stdout=True, capture_stderr=True, check=False)
    return (done.stdout + done.stderr).decode("latin-1")


def is_served(output: str) -> bool:
    return CIPHERTEXT.decode("latin-1") in output


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files.write(tmp_path, FOLDER.identity, "folder")


async def test_folder_certificate_is_served_under_tls_1_3(files: Files) -> None:
    async with listening(table_of(FOLDER)) as server:
        output = await s_client(server, files, FOLDER.label, "-tls1_3")
    assert is_served(output)
    assert "TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384" in output


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1", "-tls1_2"])
async def test_older_versions_are_refused(files: Files, version: str) -> None:
    async with listening(table_of(FOLDER)) as server:
        assert not is_served(await s_client(server, files, FOLDER.label, version, "-cipher", "ALL:@SECLEVEL=0"))
        assert is_served(await s_client(server, files, FOLDER.label))


@pytest.mark.parametrize("group", ["P-521", "X448"])
async def test_keys_are_agreed_on_by_few_groups(files: Files, group: str) -> None:
    async with listening(table_of(FOLDER)) as server:
        assert not is_served(await s_client(server, files, FOLDER.label, "-groups", group))
        for good in ("X25519", "P-256", "P-384"):
            assert is_served(await s_client(server, files, FOLDER.label, "-groups", good))


async def test_missing_certificate_missing_name_and_foreign_certificate_are_refused(
    files: Files, tmp_path: Path
) -> None:
    async with listening(table_of(FOLDER, OTHER)) as server:
        assert not is_served(await s_client(server, None, FOLDER.label))
        assert not is_served(await s_client(server, files, None))
        assert not is_served(await s_client(server, files, "nobody"))
        assert not is_served(await s_client(server, files, OTHER.label))
        child = Files.write(tmp_path, make_identity(issuer=FOLDER.identity), "child")
        assert not is_served(await s_client(server, child, FOLDER.label))
        assert is_served(await s_client(server, files, FOLDER.label))


async def test_early_data_is_not_offered(files: Files) -> None:
    async with listening(table_of(FOLDER)) as server:
        output = await s_client(server, files, FOLDER.label)
    assert "Max Early Data: 0" in output or "Early data was not sent" in output


# --- resumption ----------------------------------------------------------------------------------------------------


async def test_session_is_never_resumed(files: Files, tmp_path: Path) -> None:
    session = tmp_path / "session"
    async with listening(table_of(FOLDER, OTHER)) as server:
        assert is_served(await s_client(server, files, FOLDER.label, "-sess_out", str(session)))
        again = await s_client(server, files, FOLDER.label, *resuming(session))
        assert is_served(again)
        assert "Reused" not in again
        assert not is_served(await s_client(server, None, FOLDER.label, *resuming(session)))
        assert not is_served(await s_client(server, files, OTHER.label, *resuming(session)))


async def test_removed_member_cannot_resume_after_a_rotation(files: Files, tmp_path: Path) -> None:
    session = tmp_path / "session"
    table = table_of(FOLDER)
    async with listening(table) as server:
        assert is_served(await s_client(server, files, FOLDER.label, "-sess_out", str(session)))
        rotated = make_folder(1, epoch=2)
        table.remove(FOLDER.label)
        rotated.serve(table)
        assert not is_served(await s_client(server, files, FOLDER.label, *resuming(session)))
        assert not is_served(await s_client(server, files, rotated.label, *resuming(session)))
        new_files = Files.write(tmp_path, rotated.identity, "rotated")
        assert is_served(await s_client(server, new_files, rotated.label))


async def test_resumption_would_be_seen(files: Files, tmp_path: Path) -> None:
    """The partner of the two above: the same commands do resume where a server allows it."""
    session = tmp_path / "session"
    async with trio.open_nursery() as nursery:
        port = await accepted_port(await nursery.start(s_server, files))
        connect = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-ign_eof"]
        request = b"GET / HTTP/1.0\r\n\r\n"
        await run([*connect, "-sess_out", str(session)], request)
        assert "Reused, TLSv1.3" in await run([*connect, *resuming(session)], request)
        nursery.cancel_scope.cancel()


async def s_server(files: Files, *, task_status: trio.TaskStatus[trio.Process]) -> None:
    command = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", files.certificate, "-key", files.key, "-www"]
    await trio.run_process(command, stdout=PIPE, stderr=DEVNULL, check=False, task_status=task_status)


async def accepted_port(process: trio.Process) -> int:
    assert process.stdout is not None
    printed = b""
    while b"ACCEPT " not in printed or not printed.endswith(b"\n"):
        printed += await process.stdout.receive_some()
    return int(printed.split(b"ACCEPT ")[1].split()[0].rpartition(b":")[2])


def resuming(session: Path) -> list[str]:
    """Options that try to resume; a server that gave no session left nothing to try with."""
    return ["-sess_in", str(session)] if session.exists() else []


# --- curl ----------------------------------------------------------------------------------------------------------


def pin_of(identity: Identity) -> str:
    """What `folder show` prints for `curl --pinnedpubkey`."""
    public = identity.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(public).digest()).decode()


def curl(server: Listening, folder: Folder, *options: str, target: str = TARGET) -> list[str]:
    return [
        "curl",
        *("--silent", "--show-error", "--insecure", "--max-time", "15"),
        *("--pinnedpubkey", f"sha256//{pin_of(folder.identity)}"),
        *("--connect-to", f"{folder.label}:443:{server.address}"),
        *options,
        f"https://{folder.label}{target}",
    ]


@pytest.mark.needs("curl")
async def test_curl_with_the_folder_certificate_gets_a_block_and_nothing_else(files: Files) -> None:
    identified = ("--cert", files.certificate, "--key", files.key, "--write-out", " status %{http_code}")
    async with listening(table_of(FOLDER)) as server:
        output = await run(curl(server, FOLDER, *identified))
        assert is_served(output)
        assert output.endswith("status 200")
        assert (await run(curl(server, FOLDER, *identified, target="/v1/heads/0"))).endswith("status 403")
        assert (await run(curl(server, FOLDER, *identified, "--data", "x", target="/v1/have"))).endswith("status 403")
        assert (await run(curl(server, FOLDER, *identified, target="/"))).endswith("status 400")


@pytest.mark.needs("curl")
async def test_curl_without_the_certificate_gets_nothing(files: Files, tmp_path: Path) -> None:
    stranger = Files.write(tmp_path, make_device_identity(), "stranger")
    async with listening(table_of(FOLDER)) as server:
        assert not is_served(await run(curl(server, FOLDER)))
        assert not is_served(await run(curl(server, FOLDER, "--cert", stranger.certificate, "--key", stranger.key)))
        assert is_served(await run(curl(server, FOLDER, "--cert", files.certificate, "--key", files.key)))


@pytest.mark.needs("curl")
async def test_curl_notices_another_key_by_the_pin(files: Files) -> None:
    impostor = make_folder(1)
    async with listening(table_of(impostor)) as server:
        output = await run(curl(server, FOLDER, "--cert", files.certificate, "--key", files.key))
    assert "public key" in output
