"""Grids for tokens: times from noise to data, as every sampler takes them.

What matters is the share of places that is still noise at each time, 1 − α(t). The grids here set
that share, so they mean the same for every survival α.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.processes.categorical import Categorical

__all__ = ["GRIDS", "cosine", "loop", "reveals", "uniform"]


def uniform(process: Categorical, steps: int, *, start: float = 1.0) -> Tensor:
    """Times uniform in t from ``start`` to 0, ``[steps + 1]``."""
    checked(steps, start)
    return torch.linspace(start, 0, steps + 1, dtype=torch.float64)


def cosine(process: Categorical, steps: int, *, start: float = 1.0) -> Tensor:
    """A share cos(π k/2K) is noise after k of K steps: few reveals first, many later (MaskGIT).

    ``start`` is the time to start at; the share falls from what it is there.
    """
    checked(steps, start)
    part = torch.arange(steps + 1, dtype=torch.float64) / steps
    return by_noise(process, torch.cos(math.pi / 2 * part), start)


def reveals(process: Categorical, hidden: Tensor | int, each: int = 1) -> Tensor:
    """Times between which ``each`` more of ``hidden`` places are revealed.

    Args:
        process: Whose times.
        hidden: How many places are hidden at t = 1: a number, or one for each item.
        each: Reveals per step, 1 or more.

    Returns:
        ``[steps + 1]``, or ``[steps + 1, batch]``; items with fewer places stay at 0 in the end.
    """
    most = int(torch.as_tensor(hidden).max())
    if each < 1 or most < 1:
        raise InvalidOptionError("grid", f"hidden={most}, each={each}", "use 1 or more of both")
    count = torch.as_tensor(hidden, dtype=torch.float64)
    step = torch.arange(-(-most // each) + 1, dtype=torch.float64)
    done = (step * each).reshape(-1, *(1,) * count.ndim)
    share = (1 - done / count.clamp(min=1)).clamp(min=0)
    return by_noise(process, share, 1.0)


def loop(
    process: Categorical, steps: int, *, hold: float = 0.5, first: float = 0.45, alive: float = 0.9
) -> Tensor:
    """Goes to a share ``alive`` of clean tokens, stands still, then goes to the end (ReMDM-loop).

    Args:
        process: Whose times.
        steps: Number of steps, at least one of them on the way down.
        hold: Share of the steps that stand still.
        first: Share of the steps before.
        alive: α at which to stand.
    """
    checked(steps, 1.0)
    if not (0 < alive < 1 and hold >= 0 and first > 0 and hold + first < 1):
        raise InvalidOptionError(
            "grid", f"hold={hold}, first={first}, alive={alive}",
            "use 0 < alive < 1 and shares that leave some steps for the end",
        )  # fmt: skip
    part = torch.arange(steps + 1, dtype=torch.float64) / steps
    rise = (part / first).clamp(max=1) * alive
    last = ((part - first - hold) / (1 - first - hold)).clamp(min=0) * (1 - alive)
    return by_noise(process, (1 - rise - last).clamp(min=0), 1.0)


GRIDS: dict[str, Callable[..., Tensor]] = {"cosine": cosine, "loop": loop, "uniform": uniform}


def by_noise(process: Categorical, share: Tensor, start: float) -> Tensor:
    """Times at which the shares of what is noise at ``start`` are still noise."""
    at = torch.as_tensor(start, dtype=torch.float64)
    times = process.survival.time_of(1 - share * (1 - process.survival.alpha(at)))
    times[0], times[-1] = at, 0.0
    return times


def checked(steps: int, start: float) -> None:
    if steps < 1 or not 0 < start <= 1:
        raise InvalidOptionError(
            "grid", f"steps={steps}, start={start}", "use 1 or more steps and 0 < start <= 1"
        )
