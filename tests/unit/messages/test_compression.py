"""Compressed bodies: each compression that kombu knows here is opened up to a bound, and no further."""

from __future__ import annotations

import bz2
import json
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import override_settings
from kombu import compression as kombu_compression

from taskq.exceptions import DecodeError, EncodeError, InvalidTaskError, SignatureMismatch
from taskq.messages import compression, protocol, serializers
from taskq.messages.protocol import MOST_OUTSIDE
from taskq.records import Envelope

from .test_protocol_retry import received

MIB = 1024 * 1024
METHODS = ["gzip", "bzip2", "xz", "zstd", "brotli"]
KNOWN = {*kombu_compression._aliases}  # type: ignore[attr-defined]


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    if request.param not in KNOWN:
        pytest.skip(f"kombu knows no {request.param} here")
    return str(request.param)


@pytest.fixture
def peak() -> Iterator[Callable[[], int]]:
    """Return the most memory that Python has held during the test, in bytes."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def sent(args: tuple[Any, ...], **options: Any) -> Envelope:
    return protocol.build(name="shop.add", args=args, kwargs={}, queue="q", **options)


def read(envelope: Envelope, **given: Any) -> Any:
    return protocol.decode_body(
        envelope.body, envelope.content_type, envelope.content_encoding, envelope.headers, envelope.properties, **given
    )


def body_of(payload: bytes, method: str) -> tuple[str, dict[str, str], dict[str, str]]:
    """Return a compressed body as it is stored, with its header and its property."""
    data, content_type = compression.compress(payload, method)
    return serializers.to_base64(data), {"compression": content_type}, {"body_encoding": "base64"}


def test_each_compression_is_read_back(method: str) -> None:
    envelope = sent((["x" * 5000],), compression=method)
    assert len(envelope.body) < 1000
    assert read(envelope)[0] == [["x" * 5000]]


@override_settings(TASKQ_MAX_MESSAGE_SIZE=MIB)
def test_a_bomb_is_opened_up_to_the_bound(method: str, peak: Callable[[], int]) -> None:
    body, headers, properties = body_of(bytes(64 * MIB), method)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    with pytest.raises(InvalidTaskError, match="TASKQ_MAX_MESSAGE_SIZE"):
        protocol.load_body(body, "application/json", "utf-8", headers, properties)
    # xz has tables of 8 MiB.
    assert peak() - before < 16 * MIB


@override_settings(TASKQ_MAX_MESSAGE_SIZE=5000)
@pytest.mark.parametrize(("size", "fits"), [(5000, True), (5001, False)])
def test_the_bound_is_exact(method: str, size: int, fits: bool) -> None:
    payload = b'"' + b"x" * (size - 2) + b'"'
    body, headers, properties = body_of(payload, method)
    if fits:
        assert protocol.load_body(body, "application/json", "utf-8", headers, properties) == "x" * (size - 2)
    else:
        with pytest.raises(InvalidTaskError, match="5000 bytes is above TASKQ_MAX_MESSAGE_SIZE"):
            protocol.load_body(body, "application/json", "utf-8", headers, properties)


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + data], ids=["cut", "two"])
def test_a_body_is_one_whole_stream(method: str, change: Callable[[bytes], bytes]) -> None:
    data, content_type = compression.compress(b'"some text"', method)
    with pytest.raises(DecodeError):
        serializers.decompress(change(data), {"compression": content_type})


def test_outside_a_task_less_is_opened() -> None:
    envelope = sent(("x" * MOST_OUTSIDE,), compression="gzip")
    assert len(read(envelope)[0][0]) == MOST_OUTSIDE
    with pytest.raises(InvalidTaskError, match="outside a task's process"):
        read(envelope, most=MOST_OUTSIDE)
    plain = sent(("x" * MOST_OUTSIDE,))
    with pytest.raises(InvalidTaskError, match="outside a task's process"):
        read(plain, most=MOST_OUTSIDE)


@override_settings(TASKQ_SIGNING=True)
@pytest.mark.parametrize("header", [{}, {"taskq_signature": "0" * 64}], ids=["unsigned", "forged"])
def test_a_seal_is_verified_without_opening_the_body(header: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    monkeypatch.setattr(compression, "decompress", lambda *args: opened.append(args))
    message = received(sent((), compression="bzip2"))
    message.headers = json.dumps({**json.loads(message.headers), **header})
    with pytest.raises(SignatureMismatch):
        protocol.verify(message)
    assert not opened


@override_settings(TASKQ_MAX_MESSAGE_SIZE=10_000)
def test_the_sender_refuses_compressed_arguments_that_no_worker_opens() -> None:
    with pytest.raises(ValueError, match="TASKQ_MAX_MESSAGE_SIZE"):
        sent(("x" * 10_000,), compression="gzip")
    assert sent(("x" * 9_000,), compression="gzip").body


@override_settings(TASKQ_MAX_MESSAGE_SIZE=1000)
def test_a_size_is_in_bytes() -> None:
    serializers.check_size("x" * 1000)
    with pytest.raises(InvalidTaskError):
        serializers.check_size("€" * 334)


@pytest.fixture
def own_compression() -> Iterator[str]:
    """A compression of the project: kombu has its decoder, which opens a body whole."""
    kombu_compression.register(bz2.compress, lambda data: bz2.decompress(data), "application/x-own", ["own"])
    yield "own"
    for table in (kombu_compression._encoders, kombu_compression._decoders):  # type: ignore[attr-defined]
        del table["application/x-own"]
    del kombu_compression._aliases["own"]  # type: ignore[attr-defined]


def test_a_compression_without_a_bound_needs_a_setting(own_compression: str) -> None:
    with pytest.raises(EncodeError, match="TASKQ_MAX_MESSAGE_SIZE"):
        sent((1,), compression=own_compression)
    with override_settings(TASKQ_MAX_MESSAGE_SIZE=None):
        envelope = sent((1,), compression=own_compression)
        assert read(envelope)[0] == [1]
    with pytest.raises(DecodeError, match="TASKQ_MAX_MESSAGE_SIZE"):
        read(envelope)


@pytest.mark.parametrize("name", ["application/x-nothing", ["list"], {"a": 1}, 7], ids=str)
def test_an_unknown_compression_is_no_crash(name: Any) -> None:
    with pytest.raises(DecodeError):
        protocol.load_body("[[], {}, {}]", "application/json", "utf-8", {"compression": name}, {})
