"""Multistep methods: exact for polynomials, and every trajectory has a history of its own."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import Condition, Denoiser, Estimate, MixturePrior
from sfumato.noise import Streams
from sfumato.processes import VP, Gaussian, Level
from sfumato.samplers import DPMSolver


@dataclass(frozen=True, eq=False)
class Polynomial(Denoiser):
    """Estimates that depend on the level alone: a polynomial of λ = ln α/σ."""

    process: Gaussian
    degree: int

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        power = -t.log_ratio
        value = sum(((k + 1) * power**k for k in range(self.degree + 1)), torch.zeros(()))
        return Estimate(torch.full_like(x_t, float(value)))


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_multistep_method_integrates_polynomials_exactly(order: int, eta: float) -> None:
    # this is what an inverted ratio of steps breaks, and orders of convergence do not show
    process = Gaussian(VP())
    estimates = Polynomial(process, order - 1)
    levels = process.levels(process.schedule.time_of(torch.tensor([1.0, 0.6, 0.5, -0.3])))[
        -order - 1 :
    ]
    t, s = levels[-2:]
    history = [(level, estimates(torch.ones(1, 1).double(), level).mean) for level in levels[:-2]]
    x = torch.ones(1, 1, dtype=torch.float64)
    found = DPMSolver(order, eta=eta).step(
        lambda x_t, level: estimates(x_t, level), x, t, s, Streams.count(0, 1), list(history)
    )
    nothing = DPMSolver(1, eta=eta).step(
        lambda x_t, _: Estimate(0 * x_t), x, t, s, Streams.count(0, 1), []
    )
    # ∫ k e^{−k(h−u)} x̂(λ_t + u) du by Gauss–Legendre quadrature
    h, k = t.log_ratio - s.log_ratio, 1 + eta**2
    node = torch.tensor(
        [-0.9061798459386640, -0.5384693101056831, 0, 0.5384693101056831, 0.9061798459386640],
        dtype=torch.float64,
    )
    weight = torch.tensor(
        [
            0.2369268850561891,
            0.4786286704993665,
            0.5688888888888889,
            0.4786286704993665,
            0.2369268850561891,
        ],
        dtype=torch.float64,
    )
    total = torch.zeros((), dtype=torch.float64)
    for piece in range(20):
        u = (piece + (node + 1) / 2) * h / 20
        power = u - t.log_ratio
        value = sum((j + 1) * power**j for j in range(order))
        total = total + (weight * k * (-k * (h - u)).exp() * value).sum() * h / 40
    torch.testing.assert_close(found - nothing, (s.alpha * total).reshape(1, 1))


def test_a_jump_back_to_noise_forgets_the_history() -> None:
    means = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    prior = MixturePrior(Gaussian(VP()), torch.ones(2), means, torch.full_like(means, 0.25))
    a, b = prior.process.level(0.5), prior.process.level(0.4)
    x, history = torch.ones(1, 1, dtype=torch.float64), []
    first = DPMSolver(2).step(lambda x, t: prior(x, t), x, a, b, Streams.count(0, 1), history)
    DPMSolver(2).step(
        lambda x, t: prior(x, t), first, b, prior.process.level(0.3), Streams.count(0, 1), history
    )
    again = DPMSolver(2).step(lambda x, t: prior(x, t), x, a, b, Streams.count(0, 1), history)
    torch.testing.assert_close(again, first)
