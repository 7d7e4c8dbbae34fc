"""Time travel: going back to a noisier level and down again, so that errors can be revised.

A walk over the levels of a grid visits them in order; every ``length`` levels it jumps back up by
as many, ``repeats`` − 1 times (RePaint, Lugmayr et al., 2022; DDNM, Wang et al., 2023, § 3.3). A
jump over several levels is one draw of q(x_t | x_s), not a walk.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from sfumato.errors import InvalidOptionError
from sfumato.processes import Level

__all__ = ["check_travel", "itinerary", "stops"]


def itinerary(count: int, length: int, repeats: int) -> list[int]:
    """Indices of the levels to visit: neighbours one up are steps, smaller ones are jumps back.

    Args:
        count: Steps of the grid; levels are 0 (noise) to ``count`` (data).
        length: Levels of one stretch, 1 or more.
        repeats: How often each stretch is walked, 1 or more.
    """
    path = [0]
    for start in range(0, count, length):
        end = min(start + length, count)
        for turn in range(repeats):
            path += range(start if turn else start + 1, end + 1)
    return path


def stops(levels: list[Level], length: int, repeats: int) -> Iterator[tuple[Level, Level, bool]]:
    """Pairs (from, to, down): ``down`` is false for a jump back to more noise."""
    path = itinerary(len(levels) - 1, length, repeats)
    for here, there in itertools.pairwise(path):
        yield levels[here], levels[there], there > here


def check_travel(name: str, length: int, repeats: int) -> None:
    """Refuses lengths and repeats that make no sense."""
    if length < 1 or repeats < 1:
        raise InvalidOptionError(
            name, f"length={length}, repeats={repeats}", "use 1 or more of both"
        )
