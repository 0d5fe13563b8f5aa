"""Compresses bodies, and decompresses them up to a bound: a few bytes of bzip2 or xz may stand for gigabytes.

The compressions are kombu's, with its names. kombu's decoders have no bound, so the decompressors of each library are
used instead, which stop at one. Called by ``serializers``, which knows the bound.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from kombu import compression as kombu_compression

from taskq.exceptions import DecodeError, EncodeError

#: The most memory for xz's tables. The header of a body says how much they take: after ``xz -9`` 65 MiB.
_XZ_MEMORY = 128 * 1024 * 1024
_UNBOUNDED = "The compression {!r} can't be opened up to a bound, only without one: TASKQ_MAX_MESSAGE_SIZE = None."

# kombu has no type hints.
_kombu: Any = kombu_compression


class Decompressor(Protocol):
    """An object of ``zlib``, ``bz2``, ``lzma`` or ``zstd`` that decompresses one body."""

    @property
    def eof(self) -> bool:
        """Whether the body is complete."""

    @property
    def unused_data(self) -> bytes:
        """The data after the end of the body."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return the decompressed ``data``, ``max_length`` bytes of it at most."""


class _Brotli:
    """Brotli's decompressor with the methods of the others. Brotli has bounds since version 1.2."""

    #: Data after the end is an error of Brotli's.
    unused_data = b""

    def __init__(self) -> None:
        self._brotli = _kombu.brotli.Decompressor()

    @property
    def eof(self) -> bool:
        return bool(self._brotli.is_finished())

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        try:
            plain: bytes = self._brotli.process(data, output_buffer_limit=max_length)
        except TypeError:
            raise DecodeError("Brotli opens bodies up to a bound since its version 1.2: upgrade it.") from None
        return plain


def _bounded() -> dict[Any, Callable[[], Decompressor]]:
    """Return the bounded decompressors of the installed libraries, by the decoders that kombu has registered."""
    found: dict[Any, Callable[[], Decompressor]] = {zlib.decompress: zlib.decompressobj}
    bz2, lzma, zstd, brotli = (getattr(_kombu, name, None) for name in ("bz2", "lzma", "zstd", "brotli"))
    if bz2 is not None:
        found[bz2.decompress] = bz2.BZ2Decompressor
    if lzma is not None:
        found[lzma.decompress] = partial(lzma.LZMADecompressor, memlimit=_XZ_MEMORY)
    if zstd is not None:
        found[zstd.decompress] = zstd.ZstdDecompressor
    if brotli is not None:
        found[brotli.decompress] = _Brotli
    return found


_BOUNDED = _bounded()


def compress(payload: bytes, method: str, *, bounded: bool = False) -> tuple[bytes, str]:
    """Return ``payload`` compressed, and the value of the header ``compression``.

    Raises ``EncodeError`` for an unknown compression; if ``bounded``, also for a compression that has no bounded
    decompressor.
    """
    try:
        compressed, content_type = _kombu.compress(payload, method)
    except KeyError:
        raise EncodeError(
            f"The compression {method!r} is not installed: see compression= or TASKQ_COMPRESSION."
        ) from None
    if bounded and _kombu.get_decoder(content_type) not in _BOUNDED:
        raise EncodeError(_UNBOUNDED.format(method))
    return compressed, content_type


def decompress(payload: bytes, content_type: str, most: int | None) -> bytes:
    """Reverse ``compress``. Of more than ``most`` bytes, return a beginning that is longer: the caller refuses it.

    Raises ``DecodeError``; with a bound also for a compression that the project has registered with kombu: its decoder
    has no bound.
    """
    try:
        decoder = _kombu.get_decoder(content_type)
    except (KeyError, TypeError):
        raise DecodeError(f"The compression {content_type!r:.200} of the message is not installed here.") from None
    try:
        if most is None:
            plain: bytes = decoder(payload)
            return plain
        return _decompress_bounded(decoder, payload, content_type, most)
    except DecodeError:
        raise
    except Exception as exc:  # each library has errors of its own
        raise DecodeError(f"The body can't be decompressed as {content_type!r}: {exc}.") from exc


def _decompress_bounded(decoder: Any, payload: bytes, content_type: str, most: int) -> bytes:
    make = _BOUNDED.get(decoder)
    if make is None:
        raise DecodeError(_UNBOUNDED.format(content_type))
    stream = make()
    plain = stream.decompress(payload, most + 1)
    # Exactly one stream: a body of a million empty streams would take for ever.
    if len(plain) <= most and (not stream.eof or stream.unused_data):
        raise DecodeError(f"The body is not one whole stream of {content_type!r}.")
    return plain
