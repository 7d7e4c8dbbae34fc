"""Which data a prior can be used for, by their shape.

A prior models x of its own shape, in which ``None`` stands for any size. Where a plugin says so,
data of one channel are also taken for data of several that are all equal; they must share one unit,
or what is equal outside the network is not equal inside.
"""

from __future__ import annotations

from collections.abc import Sequence

from sfumato.codecs import Affine
from sfumato.errors import ShapeError
from sfumato.registry import load_plugin

__all__ = ["Sizes", "check", "stands_for", "words"]

Sizes = Sequence[int | None]


def words(sizes: Sizes) -> str:
    """A shape for people, such as "3×any×any"."""
    return "×".join("any" if n is None else str(n) for n in sizes)


def check(shape: Sequence[int], sizes: Sizes) -> None:
    """Checks that x of ``shape`` is what a prior of ``sizes`` models.

    Raises:
        ShapeError: If it is not.
    """
    fits = len(shape) == len(sizes) and all(
        want is None or want == got for want, got in zip(sizes, shape, strict=True)
    )
    if not fits:
        raise ShapeError("the data", shape, f"{words(sizes)}, as this prior models")


def stands_for(shape: Sequence[int], sizes: Sizes, codec: Affine, plugin: str) -> int:
    """For how many equal channels of a prior the one of x stands; 0 if it does not."""
    channels = (sizes[0] if sizes else None) or 1
    one_unit = isinstance(codec.shift, float) and isinstance(codec.scale, float)
    if len(shape) != len(sizes) or shape[0] != 1 or channels == 1 or not one_unit or not plugin:
        return 0
    return channels if load_plugin(plugin).equal_channels else 0
