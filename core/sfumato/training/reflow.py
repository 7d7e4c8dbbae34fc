"""Reflow: pairs of noise and of what a teacher's flow makes of it (Liu, Gong & Liu, 2023).

The probability flow of a trained prior carries every noise z to one x₀. Trained on these pairs, and
not on noise and data drawn apart, a flow x_t = (1 − t) x₀ + t z has the same two ends, transports
at no greater cost E‖z − x₀‖² and is straighter: its

    S = ∫ E‖(z − x₀) − v(x_t, t)‖² dt

goes to zero, and with it what a single step from t = 1 gets wrong. The second flow is trained by
the loop and the loss of any other, with z in place of noise (``sfumato.training.couplings``), from
the teacher's weights or from none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.codecs import Affine
from sfumato.denoisers import Denoiser
from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.noise import Streams
from sfumato.processes import Flow, Gaussian, karras, like
from sfumato.samplers import Exponential, Sampler, run
from sfumato.samplers.base import require_flow
from sfumato.training.couplings import Pairs

__all__ = ["Stored", "reflow", "straightness"]


@dataclass(frozen=True, eq=False)
class Stored:
    """Points in memory as data to train on.

    Args:
        points: In physical units.
        condition: What else the items hold, one entry for each point.
    """

    points: Float[Tensor, "n *x"]
    condition: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.points)

    def item(self, index: int, generator: torch.Generator) -> Mapping[str, Any]:
        return {"x": self.points[index]} | {k: v[index] for k, v in self.condition.items()}


def reflow(
    teacher: Denoiser,
    like_x: Float[Tensor, "*x"],
    count: int,
    *,
    sampler: Sampler | None = None,
    grid: Tensor | None = None,
    codec: Affine | None = None,
    condition: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    batch: int = 1000,
) -> Pairs:
    """Pairs of x₀ and the noise that the teacher's flow brings it from.

    Args:
        teacher: Under any process with normal noise.
        like_x: One x, for its shape, precision and device.
        count: How many pairs; few are learned by heart.
        sampler: A deterministic one; tAB-DEIS of third degree if not given.
        grid: Of the teacher's process; 20 steps of Karras et al. if not given.
        codec: From the units of the data to those of the teacher; they are the same if not given.
        condition: Of the teacher, such as labels, one entry for each pair; kept with it.
        seed: Of the noise.
        batch: Pairs made at once.

    Raises:
        InvalidOptionError: If ``count`` is below 1.
        UnsupportedError: If the teacher's noise is not normal, or the sampler adds noise.
    """
    if count < 1:
        raise InvalidOptionError("reflow", f"count={count}", "use 1 or more")
    process, codec = teacher.process, codec or Affine()
    if not process.normal:
        raise UnsupportedError(
            "reflow", "a process with normal noise", f"that of {type(process).__name__} is not",
            ["Gaussian(schedule)"],
        )  # fmt: skip
    sampler = sampler or Exponential(4, "eps", "time")
    require_flow(sampler, "reflow")
    grid = karras(process, 20) if grid is None else grid
    first, told = process.level(grid[0]), dict(condition or {})
    ends, noises = [], []
    for low in range(0, count, batch):
        many = min(batch, count - low)
        streams = Streams.count(seed, many, first=low)
        z = streams.normal(like_x.new_zeros(many, *like_x.shape))
        given = {key: value[low : low + many] for key, value in told.items()} or None
        x = run(sampler, teacher, like(first.sigma, z) * z, grid, streams, condition=given)
        ends.append(codec.decode(process.synthesise(x)).cpu())
        noises.append(codec.decode(z).cpu())
    return Pairs(Stored(torch.cat(ends), told), Stored(torch.cat(noises)), paired=True)


def straightness(
    denoiser: Denoiser,
    x_0: Float[Tensor, "batch *x"],
    x_1: Float[Tensor, "batch *x"],
    *,
    times: int = 20,
) -> float:
    """S of a flow on pairs, per element, by the midpoint rule; 0 is straight.

    Args:
        denoiser: Under ``Flow``.
        x_0: Data in model units.
        x_1: Their partners.
        times: Of the rule.

    Raises:
        UnsupportedError: If the process is another.
    """
    process = denoiser.process
    if type(process) is not Gaussian or not isinstance(process.schedule, Flow):
        raise UnsupportedError("straightness", "a flow", "this process has other paths", ["Flow()"])
    total = 0.0
    with torch.no_grad():
        for place in (torch.arange(times, dtype=torch.float64) + 0.5) / times:
            t = process.level(place)
            x_t = process.corrupt(x_0, t, x_1)
            velocity = (x_t - denoiser(x_t, t).mean) / like(t.sigma, x_t)
            total += float((x_1 - x_0 - velocity).square().mean())
    return total / times
