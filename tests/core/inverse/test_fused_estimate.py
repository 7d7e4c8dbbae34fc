"""The quick estimate that masks get from networks that hear neighbours."""

from __future__ import annotations

import pytest
import torch

from sfumato.denoisers import Preconditioned
from sfumato.evaluation.truth import LinearGaussian
from sfumato.inverse.guides.fused import Fused, agreed
from sfumato.inverse.likelihoods import Gaussian as Noise
from sfumato.inverse.problems import Problem
from sfumato.inverse.standard import Mask
from sfumato.networks import UNet
from sfumato.processes import Gaussian


def problem(batch: int = 2, *, filling: bool = True) -> Problem:
    torch.manual_seed(0)
    network = UNet(
        channels=1, widths=(8, 8), blocks=(1, 1), fold=4, variance=True, noise_map=True,
        filling=filling,
    )  # fmt: skip
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    denoiser = Preconditioned(network, Gaussian(), head="variance")
    operator = Mask(torch.rand(1, 16, 16) < 0.5, Noise(0.0))
    x = torch.rand(batch, 1, 16, 16) - 0.5
    return Problem(denoiser, operator, operator.restrict(operator(x)))


def test_what_was_measured_exactly_is_in_it_and_it_is_not_the_pilot() -> None:
    asked = problem()
    pilot = asked.linear.adjoint(asked.y)
    found = Fused().estimate(asked, pilot)
    assert torch.allclose(asked.linear(found), asked.linear(pilot), atol=1e-6)
    assert (found - pilot).abs().max() > 0.01


def test_it_depends_neither_on_the_batch_nor_on_how_wide_draws_are() -> None:
    asked = problem()
    pilot = asked.linear.adjoint(asked.y)
    whole = Fused().estimate(asked, pilot)
    assert torch.allclose(Fused(inflation=4.0).estimate(asked, pilot), whole)
    for item in range(2):
        alone = Fused().estimate(asked.select([item]), pilot[item : item + 1])
        assert torch.allclose(alone[0], whole[item], atol=1e-6)


@pytest.mark.parametrize("exact", [False, True])
def test_other_denoisers_leave_it_at_the_pilot(exact: bool) -> None:
    asked = LinearGaussian().problem(Gaussian(), 2) if exact else problem(filling=False)
    pilot = torch.randn_like(asked.blank())
    assert Fused().estimate(asked, pilot) is pilot


@pytest.mark.parametrize("space", [(40,), (20, 24), (9, 20, 17), (3, 2, 2, 5)])
def test_two_estimates_are_averaged_as_far_as_chance_explains_their_difference(
    space: tuple[int, ...],
) -> None:
    found = torch.zeros(1, 2, *space)
    variance = torch.full_like(found, 0.01)
    for apart, weight in ((0.01, 0.5), (0.1, 0.5), (0.2, 0.25), (1.0, 0.01)):
        other = found + apart
        assert torch.allclose(agreed(found, variance, other), weight * other, rtol=1e-4)


def test_what_is_known_for_certain_stays() -> None:
    found = torch.randn(1, 1, 24, 24)
    assert torch.equal(agreed(found, torch.zeros_like(found), found.clone()), found)
    assert torch.equal(agreed(found, torch.zeros_like(found), found + 1), found)
