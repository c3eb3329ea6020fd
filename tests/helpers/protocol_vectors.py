"""Blocking. Inputs and expected outcomes of `syncd.protocol`, as JSON for other implementations to check themselves.

`FILES` computes every outcome from its input alone, and tests/unit/protocol/test_vectors.py recomputes what is on disk.
The files change only together with the format: `python -m tests.helpers.protocol_vectors` writes them anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ca.device import DeviceKeys, generate
from ca.ids import DeviceId, EntryHash, EpochId, FolderId
from ca.wraps import WrapProof
from syncd.errors import RemoteProtocolError
from syncd.model.ids import Cid
from syncd.protocol.frames import FrameReader, FrameStatus, pack_frame
from syncd.protocol.heads import Head, RequestRefused, check_request_head_untrusted
from syncd.protocol.hello import Channel, prove
from syncd.protocol.messages import (
    Bitmap,
    BlocksRequest,
    HaveRequest,
    HeadsPage,
    Hello,
    RosterPage,
    RosterSubmit,
)
from syncd.protocol.possession import ProveAnswer, ProveRequest
from syncd.protocol.requests import request_untrusted
from syncd.protocol.tls import Endpoint, Kind, Side

DIRECTORY = Path(__file__).resolve().parents[1] / "vectors" / "protocol"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class VectorFile:
    about: str
    inputs: Callable[[], Iterable[Json]]
    output: Callable[[Json], Json]


# --- hello -----------------------------------------------------------------------------------------------------------


def hello_inputs() -> Iterable[Json]:
    common = {
        "seed_byte": 7,
        "exporter": "0f" * 32,
        "certificate": "30820101aabbcc",
        "folder": "f0" * 32,
        "roster_head": "2e" * 32,
    }
    for kind in ("MEMBER", "CONTROL"):
        for side in ("CLIENT", "SERVER"):
            yield {**common, "kind": kind, "side": side, "epoch": "e0" * 32 if kind == "MEMBER" else None}


def hello_output(given: Json) -> Json:
    device = _device(given["seed_byte"])
    certificate = bytes.fromhex(given["certificate"])
    endpoint = Endpoint(
        Kind[given["kind"]],
        "label",
        FolderId(bytes.fromhex(given["folder"])),
        None if given["epoch"] is None else EpochId(bytes.fromhex(given["epoch"])),
    )
    channel = Channel(endpoint, Side[given["side"]], bytes.fromhex(given["exporter"]), certificate, certificate)
    proof = prove(channel, device, EntryHash(bytes.fromhex(given["roster_head"])))
    return {"device": device.id.hex(), "sign_public": device.public.sign.hex(), "proof": proof.hex()}


def _device(seed_byte: int) -> DeviceKeys:
    return generate(lambda length: bytes([seed_byte]) * length)


# --- messages --------------------------------------------------------------------------------------------------------

CIDS = tuple(Cid(bytes([number]) * 32) for number in (1, 2, 3))


def _messages() -> Iterable[tuple[str, Any]]:
    device = _device(7)
    head, log = EntryHash(b"\x2e" * 32), b"\x10" * 16
    yield (
        "hello",
        Hello(device.public, b"\x0f" * 64, head, 300, log, b"\xd1" * 32, b"head", ("192.0.2.1:22067",), swap=False),
    )
    yield "hello", Hello(device.public, b"\x0f" * 64, head, 0, log, bytes(32), None, (), swap=True)
    yield "heads", HeadsPage(log, 5, 70_000, (b"one", b"two"), head)
    told = (DeviceId(b"\x01" * 32), DeviceId(b"\x02" * 32))
    yield "heads", HeadsPage(log, 5, 70_000, (b"one", b"two"), head, "192.0.2.1:22067", (b"", b"sealed two"), told)
    near = ((DeviceId(b"\x01" * 32), ("192.0.2.1:22067",)), (DeviceId(b"\x02" * 32), ()))
    yield "heads", HeadsPage(log, 5, 5, (), head, near=near)
    yield "have", HaveRequest(CIDS, hold=True)
    yield "bitmap of 9", Bitmap.of([True, False, False, True, False, False, False, False, True])
    yield "prove", ProveRequest(b"\x9a" * 32, CIDS, hold=True)
    yield "proofs of 3", ProveAnswer((FrameStatus.OK, FrameStatus.GONE, FrameStatus.BUSY), (b"\x5a" * 32,))
    yield "blocks", BlocksRequest(CIDS)
    proof = WrapProof(1, 3, (b"\x51" * 32, b"\x52" * 32))
    wraps = ((DeviceId(b"\x01" * 32), b"wrap one"), (DeviceId(b"\x02" * 32), b"wrap two"))
    yield "roster page", RosterPage((b"\xee" * 70,), 9, b"wrap two", proof, wraps)
    yield "roster page", RosterPage((), 9)
    yield "submit", RosterSubmit(b"\xee" * 70, wraps)


_DECODERS: dict[str, Callable[[bytes], Any]] = {
    "hello": Hello.decode_untrusted,
    "heads": HeadsPage.decode_untrusted,
    "have": HaveRequest.decode_untrusted,
    "bitmap of 9": lambda data: Bitmap.decode_untrusted(data, 9),
    "prove": ProveRequest.decode_untrusted,
    "proofs of 3": lambda data: ProveAnswer.decode_untrusted(data, 3),
    "blocks": BlocksRequest.decode_untrusted,
    "roster page": RosterPage.decode_untrusted,
    "submit": RosterSubmit.decode_untrusted,
}


def message_inputs() -> Iterable[Json]:
    for name, message in _messages():
        encoded = message.encode()
        for data in (encoded, encoded[:-1], encoded + b"\x00", b"\xa0", encoded[:1] + b"\x02" + encoded[2:]):
            yield {"message": name, "encoded": data.hex()}
    yield {"message": "bitmap of 9", "encoded": Bitmap(b"\x00\x7f").encode().hex()}
    yield {"message": "submit", "encoded": RosterSubmit(b"\xee" * 70, ((DeviceId(bytes(32)), b""),)).encode().hex()}


def message_output(given: Json) -> Json:
    data = bytes.fromhex(given["encoded"])
    try:
        message = _DECODERS[given["message"]](data)
    except RemoteProtocolError:
        return {"accepted": False}
    return {"accepted": True, "says": _shown(message)}


def _shown(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [_shown(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: _shown(getattr(value, name)) for name in value.__dataclass_fields__}
    return value


# --- frames ----------------------------------------------------------------------------------------------------------


def frame_inputs() -> Iterable[Json]:
    good = (
        pack_frame(1, FrameStatus.OK, b"\xc1" * 20)
        + pack_frame(2, FrameStatus.CHANGED)
        + pack_frame(0, FrameStatus.GONE)
    )
    streams = [
        good,
        pack_frame(0, FrameStatus.BUSY) + pack_frame(1, FrameStatus.GONE) + pack_frame(2, FrameStatus.OK, b"\xc2" * 32),
        good[:-1],
        good[:12],
        good + b"\x00",
        pack_frame(0, FrameStatus.GONE) * 2,
        pack_frame(3, FrameStatus.GONE),
        pack_frame(0, FrameStatus.OK, bytes(33)),
        b"\x04" + good[1:],
        b"\x01" + good[1:],
        bytes.fromhex("000000000000000000"),
    ]
    for stream in streams:
        yield {"limits": [32, 32, 32], "stream": stream.hex()}


def frame_output(given: Json) -> Json:
    reader = FrameReader(given["limits"])
    try:
        frames = reader.feed_untrusted(bytes.fromhex(given["stream"]))
        reader.end_untrusted()
    except RemoteProtocolError:
        return {"accepted": False}
    return {
        "accepted": True,
        "frames": [[frame.index, frame.status.name.lower(), bytes(frame.ciphertext).hex()] for frame in frames],
    }


# --- requests --------------------------------------------------------------------------------------------------------


def request_inputs() -> Iterable[Json]:
    host = "Host: label\r\n"
    block = "/v1/blocks/" + "0a" * 32
    heads = [
        f"GET {block} HTTP/1.1\r\n{host}\r\n",
        f"GET {block.upper().replace('V1', 'v1').replace('BLOCKS', 'blocks')} HTTP/1.1\r\n{host}\r\n",
        f"GET {block}0 HTTP/1.1\r\n{host}\r\n",
        f"GET {block}?a=b HTTP/1.1\r\n{host}\r\n",
        f"GET https://label{block} HTTP/1.1\r\n{host}\r\n",
        f"PUT {block} HTTP/1.1\r\n{host}\r\n",
        f"GET {block} HTTP/1.0\r\n{host}\r\n",
        f"GET {block} HTTP/1.1\n{host}\n",
        f"GET {block} HTTP/1.1\r\n\r\n",
        f"GET {block} HTTP/1.1\r\nHost: other\r\n\r\n",
        f"GET {block} HTTP/1.1\r\n{host}{host}\r\n",
        f"GET /v1/heads/17 HTTP/1.1\r\n{host}Syncd-Log: {'0a' * 16}\r\nSyncd-Wait: 25\r\n\r\n",
        f"GET /v1/heads/17 HTTP/1.1\r\n{host}Syncd-Level: 1\r\n\r\n",
        f"GET /v1/heads/17 HTTP/1.1\r\n{host}Syncd-Word: 70000\r\nSyncd-Level: 1\r\n\r\n",
        f"GET /v1/heads/17 HTTP/1.1\r\n{host}Syncd-Word: 0\r\n\r\n",
        f"GET /v1/heads/17 HTTP/1.1\r\n{host}Syncd-Level: 0\r\n\r\n",
        f"GET /v1/heads/017 HTTP/1.1\r\n{host}\r\n",
        f"GET /v1/heads/17 HTTP/1.1\r\n{host}Syncd-Wait: 56\r\n\r\n",
        f"POST /v1/have HTTP/1.1\r\n{host}Content-Length: 40\r\n\r\n",
        f"POST /v1/have HTTP/1.1\r\n{host}Content-Length: +40\r\n\r\n",
        f"POST /v1/have HTTP/1.1\r\n{host}Content-Length: 1048577\r\n\r\n",
        f"POST /v1/have HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n",
        f"POST /v1/have HTTP/1.1\r\n{host}Content-Length: 4\r\nContent-Encoding: gzip\r\n\r\n",
        f"POST /v1/have HTTP/1.1\r\n{host}Content-Length: 4\r\nExpect: 100-continue\r\n\r\n",
        f"POST /v1/have HTTP/1.1\r\n{host}\r\n",
        f"GET /v1/roster/3 HTTP/1.1\r\n{host}\r\n",
        f"GET /v1/roster HTTP/1.1\r\n{host}\r\n",
    ]
    for head in heads:
        yield {"label": "label", "head": head}


def request_output(given: Json) -> Json:
    raw = given["head"].encode()
    try:
        check_request_head_untrusted(raw)
        request = request_untrusted(_parsed(raw), given["label"])
    except RequestRefused as refusal:
        return {"status": refusal.status}
    return {
        "endpoint": request.route.name.lower(),
        "content_length": request.content_length,
        "number": request.number,
        "cid": None if request.cid is None else request.cid.hex(),
        "log_id": None if request.log_id is None else request.log_id.hex(),
        "wait_s": request.wait_s,
        "is_level": request.is_level,
    }


def _parsed(raw: bytes) -> Head:
    """A checked head can be read in one way only, so a few lines read it."""
    first, *lines = raw[:-4].split(b"\r\n")
    method, target, _ = first.split(b" ")
    fields = [line.partition(b":") for line in lines]
    return Head(method, target, tuple((name.lower(), value.strip()) for name, _, value in fields))


FILES: dict[str, VectorFile] = {
    "hello": VectorFile(
        "The proof of a device on a channel; the device's seeds are all of one byte.", hello_inputs, hello_output
    ),
    "messages": VectorFile("The only bytes of a message; everything else is refused.", message_inputs, message_output),
    "frames": VectorFile(
        "Whole streams that answer a request for as many cids as there are limits.", frame_inputs, frame_output
    ),
    "requests": VectorFile(
        "Request heads on a connection to a label: what they ask for, or the status that refuses them.",
        request_inputs,
        request_output,
    ),
}


def main() -> None:
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for name, file in FILES.items():
        cases = [{"input": given, "output": file.output(given)} for given in file.inputs()]
        text = json.dumps({"about": file.about, "cases": cases}, indent=1)
        (DIRECTORY / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
