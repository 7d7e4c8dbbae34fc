"""Bits per character of general-purpose compressors: what a model of text has to beat.

The cost of a text given another is what compressing it after the other adds. Compressors see bytes;
figures are per character.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable

from sfumato.errors import InvalidOptionError, MissingDependencyError, UnknownNameError

__all__ = ["COMPRESSORS", "bits_per_character"]


def ppm(data: bytes, order: int) -> int:
    """Size after prediction by partial matching (PPMd, variant H; Shkarin, 2002)."""
    try:
        import pyppmd
    except ImportError as error:
        raise MissingDependencyError("PPMd", ["pyppmd"], "pyppmd") from error
    encoder = pyppmd.Ppmd7Encoder(order, 256 << 20)
    return len(encoder.encode(data) + encoder.flush(endmark=False))


def pack_lzma(data: bytes, order: int) -> int:
    """Size after LZMA with a window over everything."""
    window = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 64 << 20}
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=[window]))


COMPRESSORS: dict[str, Callable[[bytes, int], int]] = {
    "zlib": lambda data, _: len(zlib.compress(data, 9)),
    "bz2": lambda data, _: len(bz2.compress(data, 9)),
    "lzma": pack_lzma,
    "ppmd": ppm,
}


def bits_per_character(text: str, method: str, *, given: str = "", order: int = 8) -> float:
    """Bits per character of ``text`` under a compressor.

    zlib and bz2 see 32 and 900 kB at a time, so ``given`` hardly helps them.

    Args:
        text: What is measured.
        method: A name of ``COMPRESSORS``.
        given: A text that the compressor sees first, such as the training text.
        order: Longest context of PPMd.

    Raises:
        UnknownNameError: If there is no such method.
        InvalidOptionError: If the text is empty, or the order is none.
        MissingDependencyError: If PPMd is asked for without pyppmd.
    """
    if method not in COMPRESSORS:
        raise UnknownNameError("compressor", method, COMPRESSORS)
    if not text:
        raise InvalidOptionError("compression", "an empty text", "give some characters")
    if not 2 <= order <= 64:
        raise InvalidOptionError("compression", f"order={order}", "use 2 to 64")
    size = COMPRESSORS[method]
    before = size(given.encode(), order) if given else 0
    return 8 * (size((given + text).encode(), order) - before) / len(text)
