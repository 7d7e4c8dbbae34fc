"""Whether a measurement shows the coarse structure of the data, so that sampling may start lower.

Sampling starts at a noise in which everything drowns that y leaves open. Where y shows the data at
all wavelengths above a few elements, as for small factors of super-resolution or mild blur, that
noise is moderate; a lost channel or a wide hole is open at all wavelengths and needs more.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sfumato.inverse.capabilities import data_spread
from sfumato.inverse.problems import Problem

__all__ = ["shows_coarse"]

WAVELENGTH = 16
"""In elements: eight of them average unit noise to an eighth along each axis."""
LOST = 0.1
"""Share of a wave's energy that y may leave open."""


def shows_coarse(problem: Problem) -> bool:
    """Whether the linear operator shows constants and waves of 16 elements, channel by channel.

    Asks what a white prior of the data's variance would make of a measurement of each wave:
    v A* (v A A* + Σ)⁻¹ A w. Only operator and noise are looked at, so all items of a batch agree.
    False where a state has no axis of 16 elements or more beside its channels.
    """
    blank = problem.blank()[:1]
    if blank.ndim < 3 or min(blank.shape[2:]) < WAVELENGTH:
        return False
    operator, noise = problem.linear, problem.noise
    variance = blank.real.new_tensor(data_spread(problem.denoiser) ** 2)
    for wave in waves(blank):
        for channel in range(blank.shape[1]):
            w = torch.zeros_like(blank)
            w[:, channel] = wave
            weights = operator.solve(operator.restrict(operator(w)), variance, noise)
            left = w - variance * operator.adjoint(weights)
            if left.abs().square().sum() > LOST * w.abs().square().sum():
                return False
    return True


def waves(blank: Tensor) -> list[Tensor]:
    """A constant, and the product of one cosine along each axis, in the shape of a channel."""
    space = blank.shape[2:]
    wave = torch.ones(space, dtype=blank.dtype, device=blank.device)
    for axis, size in enumerate(space):
        places = torch.arange(size, dtype=torch.float64, device=blank.device) + 0.5
        line = torch.cos(2 * math.pi / WAVELENGTH * places).to(blank.dtype)
        wave = wave * line.reshape(-1, *(1,) * (len(space) - 1 - axis))
    return [torch.ones_like(wave), wave]
