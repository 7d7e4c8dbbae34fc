"""Draws of x₀ that are wider than what the denoiser reports."""

from __future__ import annotations

import pytest
import torch

import sfumato as sf
from sfumato.denoisers import GaussianPrior
from sfumato.inverse.conditioning import widened
from sfumato.inverse.likelihoods import Gaussian as Noise
from sfumato.inverse.problems import Problem
from sfumato.inverse.solvers.denoising import Denoising
from sfumato.inverse.standard import Identity
from sfumato.noise import Streams
from sfumato.processes import EDM, Gaussian
from sfumato.samplers import DDPM, DPMSolver


def test_a_draw_is_no_wider_than_without_a_prior_and_no_narrower_than_reported() -> None:
    variance, widest = torch.tensor([0.1, 0.5, 1.0, 3.0]), torch.tensor(2.0)
    torch.testing.assert_close(widened(variance, widest, 4.0), torch.tensor([0.4, 2.0, 2.0, 3.0]))
    assert torch.equal(widened(variance, widest, 1.0), variance)
    torch.testing.assert_close(widened(variance, widest, 0.5), variance / 2)
    # one variance for all elements, one bound per item
    per_item = widened(torch.tensor([1.0]), torch.tensor([[2.0], [0.5]]), 4.0)
    assert torch.equal(per_item, torch.tensor([[2.0], [1.0]]))


@pytest.mark.parametrize("solver", ["fused-gibbs", "proximal"])
def test_wider_draws_make_wider_samples(solver: str) -> None:
    photo = sf.Prior.load("photo", plugin="image")
    y = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    operator = Identity(likelihood=Noise(0.2))
    spreads = []
    for factor in (1.0, 4.0):
        options = {"inflation": factor}
        found = sf.reconstruct(photo, operator, y, n=8, solver=solver, options=options)
        spreads.append(found.samples.std(dim=0).mean().item())
    assert spreads[1] > 1.03 * spreads[0]


def test_denoising_draws_wider_than_reported_where_the_network_was_trained() -> None:
    exact = GaussianPrior(Gaussian(EDM()), torch.zeros(64), torch.ones(64))
    y = torch.zeros(2, 64)
    problem = Problem(exact, Identity(likelihood=Noise(0.2)), y)
    sde = Denoising(sampler=DPMSolver(order=2, eta=1.0))
    found, known = (s(problem, Streams.count(0, 2)) for s in (Denoising(), sde))
    assert torch.equal(found, known)  # nothing to widen in what is exact
    photo = sf.Prior.load("photo", plugin="image")
    y = torch.full((1, 3, 16, 16), 0.5)
    problem = Problem(photo.denoiser, Identity(likelihood=Noise(0.2)), y.expand(8, -1, -1, -1))
    plain = Denoising(sampler=DDPM("calibrated"))
    wide, narrow = (s(problem, Streams.count(0, 8)).std(dim=0).mean() for s in (Denoising(), plain))
    assert wide > 1.1 * narrow
