"""Classifier guidance (Dhariwal & Nichol, 2021).

A classifier of noisy states turns a prior into one of a class, by Bayes' rule for scores,

    ∇ ln p(x_t | c) = ∇ ln p(x_t) + w ∇ ln p(c | x_t),

which moves the estimate of the clean data by w (σ²/α) ∇ ln p(c | x_t). With w = 1 and an exact
classifier this is the conditional prior itself; with w > 1 classes are clearer and less varied.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers.base import Condition, Denoiser, Estimate
from sfumato.errors import InvalidOptionError
from sfumato.processes import Gaussian, Level, like

__all__ = ["ClassifierGuided"]


@dataclass(frozen=True, eq=False)
class ClassifierGuided(Denoiser):
    """A denoiser pushed to where a classifier sees the class.

    Args:
        denoiser: Need not know classes.
        log_prob: (x_t, level, condition) ↦ ln p(c | x_t) of each item, differentiable in x_t.
        scale: w; 0 leaves the denoiser as it is.

    Raises:
        InvalidOptionError: If ``scale`` is not finite.
    """

    denoiser: Denoiser
    log_prob: Callable[[Tensor, Level, Condition], Tensor]
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale):
            raise InvalidOptionError("guidance", f"scale={self.scale}", "use a finite number")

    @property
    def process(self) -> Gaussian:  # type: ignore[override]
        return self.denoiser.process

    def __call__(
        self, x_t: Float[Tensor, "batch *x"], t: Level, condition: Condition = None
    ) -> Estimate:
        free = self.denoiser(x_t, t, condition)
        if self.scale == 0:
            return free
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            (push,) = torch.autograd.grad(self.log_prob(x, t, condition).sum(), x)
        return free.with_mean(free.mean + like(self.scale * t.sigma**2 / t.alpha, x_t) * push)
