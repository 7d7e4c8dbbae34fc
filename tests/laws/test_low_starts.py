"""Samples that start from an estimate, against the posterior of a Gaussian with a 1/f² spectrum."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import GaussianPrior
from sfumato.inverse import registry
from sfumato.inverse.likelihoods import Gaussian as Noise
from sfumato.inverse.operators import Linear
from sfumato.inverse.problems import Problem
from sfumato.inverse.standard import Downsample, Mask
from sfumato.noise import Streams
from sfumato.processes import EDM, Gaussian

SIDE, SIGMA, SPREAD = 16, 0.02, 0.5


class Natural(GaussianPrior):
    spread = SPREAD


def natural() -> Natural:
    """Periodic, with the spectrum of photographs."""
    f = torch.fft.fftfreq(SIDE, dtype=torch.float64)
    power = 1 / (f[:, None] ** 2 + f**2).clamp(min=0.5 / SIDE**2)
    correlation = torch.fft.ifft2(power).real
    apart = (torch.arange(SIDE)[:, None] - torch.arange(SIDE)) % SIDE
    whole = correlation[apart[:, None, :, None], apart[None, :, None, :]]
    covariance = whole.reshape(SIDE**2, SIDE**2) * SPREAD**2 / correlation[0, 0]
    return Natural(Gaussian(EDM()), torch.zeros(1, SIDE, SIDE), covariance)


def posed(operator: Linear) -> tuple[Problem, Tensor, Tensor]:
    """A problem of one item, and the mean and covariance of its posterior."""
    prior = natural()
    covariance = prior.covariance
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(SIDE**2, dtype=torch.float64, generator=generator)
    root = torch.linalg.cholesky(covariance + 1e-9 * torch.eye(SIDE**2))
    x = (root @ z).reshape(1, 1, SIDE, SIDE)
    clean = operator(x)
    noise = torch.randn(clean.shape, dtype=torch.float64, generator=generator)
    y = operator.restrict(clean + SIGMA * noise)
    basis = torch.eye(SIDE**2, dtype=torch.float64).reshape(-1, 1, SIDE, SIDE)
    matrix = operator(basis).flatten(1).T
    seen = matrix.abs().sum(1) > 0
    matrix, data = matrix[seen], y.flatten()[seen]
    inner = matrix @ covariance @ matrix.T + SIGMA**2 * torch.eye(len(matrix))
    gain = covariance @ matrix.T @ torch.linalg.inv(inner)
    return (
        Problem(prior, operator, y.float()), gain @ data, covariance - gain @ matrix @ covariance
    )  # fmt: skip


def drawn(case: Problem, name: str, count: int, **options: float | None) -> tuple[Tensor, float]:
    """Samples, and where they started."""
    solver = registry.make(name, **options)
    first = solver.prepare(case, Streams.count(0, 1), n=count)
    assert first is not None
    whole = replace(case, first=first).select([0] * count)
    x = solver(whole, Streams.count(0, count)).flatten(1).double()
    return x, first.start or math.inf


def apart(x: Tensor, mean: Tensor, covariance: Tensor) -> tuple[float, float, float]:
    """Error of the mean in deviations of the posterior, and spread: of all, of what is open."""
    total = covariance.trace()
    error = ((x.mean(0) - mean).square().sum() / total).sqrt().item()
    found = torch.cov(x.T)
    _, axes = torch.linalg.eigh(covariance)
    widest = axes[:, -20:]
    ratio = (widest.T @ found @ widest).trace() / (widest.T @ covariance @ widest).trace()
    return error, (found.trace() / total).sqrt().item(), ratio.sqrt().item()


def test_a_lower_start_of_proximal_keeps_the_law_of_its_samples() -> None:
    operator = Downsample(2, (SIDE, SIDE), "box", likelihood=Noise(SIGMA))
    case, mean, covariance = posed(operator)
    low, start = drawn(case, "proximal", 200)
    high, far = drawn(case, "proximal", 200, pilot_start=None)
    assert start < 0.5
    assert far == math.inf
    near, before = apart(low, mean, covariance), apart(high, mean, covariance)
    # 200 draws leave 0.07 of a deviation to chance; the guide's own error is in both
    assert near[0] < before[0] + 0.03
    assert near[0] < 0.15
    for lower, higher in zip(near[1:], before[1:], strict=True):
        assert abs(lower - 1) < max(abs(higher - 1), 0.12)


def test_samples_of_masks_have_the_spread_of_what_is_open() -> None:
    kept = torch.rand(1, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) < 0.5
    case, mean, covariance = posed(Mask(kept, Noise(SIGMA)))
    x, start = drawn(case, "fused-gibbs", 64)
    assert start < 0.7
    error, spread, widest = apart(x, mean, covariance)
    assert error < 0.25
    # the start is meant for a spectrum of 256 elements; in 16 the widest waves have twice as much
    assert spread == pytest.approx(1, abs=0.12)
    assert widest == pytest.approx(1, abs=0.2)
