"""Which parts of a picture have to be looked at to repair its damage.

A network with a receptive field of r pixels needs r pixels of context around a hole and nothing
else, so a scratch in a large photograph is repaired in a few windows. They are found by recursive
cuts (the XY-cut of Nagy & Seth, 1984): the bounding box of the damage is cut across its rows or
its columns

    where a cut passes through no damage and the two windows have fewer pixels than the one, or
    where a box is too long, in its middle third, through the fewest damaged pixels, if they are
    few,

and each piece shrinks to the bounding box of its own damage. A long scratch thus becomes a chain
of windows that meet where it is thinnest, while a large hole stays whole, because two halves
filled on their own would not fit together. The boxes are disjoint and cover all damage; windows
(boxes with their margins) may overlap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_cdt
from torch import Tensor

__all__ = ["FARTHEST", "Window", "margin_for", "windows"]

NEAREST, FARTHEST = 20, 64
LARGEST = 64
THIN = 32  # damaged pixels that a cut may pass through; a network sees across them
SPREAD = 0.6


@dataclass(frozen=True)
class Window:
    """A box of rows and columns with its surroundings.

    Args:
        top: First damaged row.
        bottom: One past the last.
        left: First damaged column.
        right: One past the last.
    """

    top: int
    bottom: int
    left: int
    right: int

    def grown(self, margin: int, shape: tuple[int, ...]) -> Window:
        """With a margin on all sides, inside a picture of ``shape`` (height, width)."""
        return Window(
            max(self.top - margin, 0), min(self.bottom + margin, shape[0]),
            max(self.left - margin, 0), min(self.right + margin, shape[1]),
        )  # fmt: skip

    def inside(self, other: Window) -> Window:
        """Relative to another window."""
        return Window(
            self.top - other.top, self.bottom - other.top,
            self.left - other.left, self.right - other.left,
        )  # fmt: skip

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index of ``[channels, height, width]``."""
        return slice(None), slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def sides(self) -> tuple[int, int]:
        return self.bottom - self.top, self.right - self.left


def windows(
    damaged: Tensor, *, margin: int = FARTHEST, largest: int = LARGEST, spread: float = SPREAD
) -> tuple[Window, ...]:
    """The boxes to repair, each to be seen with ``margin`` pixels around it.

    Args:
        damaged: ``[height, width]``, True where damaged.
        margin: Context in pixels.
        largest: Longest side of a box; longer ones are cut where they are thin.
        spread: Share of the picture from which on one window for all is cheaper than many.

    Returns:
        Disjoint boxes in reading order; none if the damage is so spread out that the picture is
        better repaired as a whole.
    """
    boxes = tuple(cut(damaged.cpu(), margin, largest))
    shape = tuple(damaged.shape)
    total = sum(area(box, margin, shape) for box in boxes)
    return boxes if total < spread * damaged.numel() else ()


def margin_for(damaged: Tensor) -> int:
    """Context that damage of this thickness needs, in pixels: thin scratches need little.

    From 20 for lines to 64, the receptive field of ``photo``, for holes of 26 pixels and more.
    """
    outside = np.pad(~damaged.cpu().numpy(), 1, constant_values=True)
    thickness = 2 * float(distance_transform_cdt(~outside, metric="chessboard").max())
    return int(min(max(NEAREST, 12 + 2 * thickness), FARTHEST))


def cut(damaged: Tensor, margin: int, largest: int) -> Iterator[Window]:
    """The recursion of the module's docstring, without recursion."""
    shape = tuple(damaged.shape)
    waiting = [Window(0, shape[0], 0, shape[1])]
    while waiting:
        box = shrunk(damaged, waiting.pop())
        if box is None:
            continue
        pieces = clean_cut(damaged, box, margin) or forced_cut(damaged, box, largest)
        if pieces is None:
            yield box
        else:
            waiting.extend(reversed(pieces))


def shrunk(damaged: Tensor, box: Window) -> Window | None:
    """The bounding box of the damage in ``box``; ``None`` if there is none."""
    part = damaged[box.slices[1:]]
    rows = part.any(dim=1).nonzero()[:, 0].tolist()
    columns = part.any(dim=0).nonzero()[:, 0].tolist()
    if not rows:
        return None
    return Window(
        box.top + rows[0], box.top + rows[-1] + 1,
        box.left + columns[0], box.left + columns[-1] + 1,
    )  # fmt: skip


def clean_cut(damaged: Tensor, box: Window, margin: int) -> tuple[Window, Window] | None:
    """The widest undamaged strip across the box, if cutting there saves pixels."""
    part, shape = damaged[box.slices[1:]], tuple(damaged.shape)
    best: tuple[int, tuple[Window, Window]] | None = None
    for axis in (0, 1):
        position = widest_gap(part.any(dim=1 - axis))
        if position is None:
            continue
        pieces = split(box, axis, position)
        tight = [piece for piece in (shrunk(damaged, p) for p in pieces) if piece is not None]
        cost = sum(area(piece, margin, shape) for piece in tight)
        if cost < area(box, margin, shape) and (best is None or cost < best[0]):
            best = cost, pieces
    return None if best is None else best[1]


def forced_cut(damaged: Tensor, box: Window, largest: int) -> tuple[Window, Window] | None:
    """A cut across the middle third of the longer side, where the damage is thinnest."""
    axis = 0 if box.sides[0] >= box.sides[1] else 1
    length = box.sides[axis]
    if length <= largest:
        return None
    count = damaged[box.slices[1:]].sum(dim=1 - axis)
    first = length // 3
    middle = count[first : length - first]
    if int(middle.min()) > THIN:
        return None
    return split(box, axis, first + int(middle.argmin()) + 1)


def widest_gap(used: Tensor) -> int | None:
    """The middle of the longest run of False; the first and last entries are True."""
    lines = used.nonzero()[:, 0]
    gaps = lines.diff()
    if gaps.numel() == 0 or int(gaps.max()) == 1:
        return None
    index = int(gaps.argmax())
    return int(lines[index] + lines[index + 1] + 1) // 2


def split(box: Window, axis: int, position: int) -> tuple[Window, Window]:
    if axis == 0:
        middle = box.top + position
        return (
            Window(box.top, middle, box.left, box.right),
            Window(middle, box.bottom, box.left, box.right),
        )
    middle = box.left + position
    return (
        Window(box.top, box.bottom, box.left, middle),
        Window(box.top, box.bottom, middle, box.right),
    )


def area(box: Window, margin: int, shape: tuple[int, ...]) -> int:
    rows, columns = box.grown(margin, shape).sides
    return rows * columns
