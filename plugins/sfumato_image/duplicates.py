"""Near-duplicates: whether a picture, resized or recompressed, is in a set.

The difference hash says for each cell of an 8×8 grid whether the picture gets brighter to the
right (Krawetz, 2013). It survives resizing, recompression and changes of tone. Hashes of unrelated
pictures differ in about 32 of 64 bits, of copies in a few. ``photo``'s training manifest carries
one for each photograph, so that an evaluation set can be checked against it without the pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image

__all__ = ["Match", "difference_hash", "matches"]

SIDE = 8
NEAR = 8
"""Bits; two unrelated pictures come as near as this about once in 10⁹ pairs."""


class Match(NamedTuple):
    """Two pictures that look like one."""

    name: str
    other: str
    bits: int


def difference_hash(image: Image.Image) -> int:
    """The 64-bit difference hash of a picture."""
    small = image.convert("L").resize((SIDE + 1, SIDE), Image.Resampling.LANCZOS)
    grey = np.asarray(small, dtype=np.int16)
    bits = (grey[:, 1:] > grey[:, :-1]).ravel()
    return int("".join("1" if bit else "0" for bit in bits), 2)


def matches(
    pictures: Iterable[tuple[str, Image.Image]], hashes: Mapping[str, int], *, bits: int = NEAR
) -> list[Match]:
    """Pictures that are near-duplicates of hashed ones, upright or mirrored."""
    found = []
    for name, image in pictures:
        mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        own = (difference_hash(image), difference_hash(mirrored))
        for other, value in hashes.items():
            distance = min((value ^ h).bit_count() for h in own)
            if distance <= bits:
                found.append(Match(name, other, distance))
    return found
