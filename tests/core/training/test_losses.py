"""Weights and losses."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sfumato.denoisers import PARAMETRISATIONS, Preconditioned
from sfumato.errors import UnknownNameError, UnsupportedError
from sfumato.processes import VP, Gaussian, Level, like
from sfumato.training.losses import WEIGHTS, denoising_loss, hide_labels, weight
from sfumato.training.times import LogNormal, Times, Uniform

PROCESS = Gaussian(VP())
LEVEL = PROCESS.level(torch.tensor([0.1, 0.4, 0.9]))
SNR = LEVEL.ratio**-2


class Constant(nn.Module):
    """A network with one number per output channel."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values, dtype=torch.float64))

    def forward(self, x: Tensor, noise_level: Tensor) -> Tensor:
        return self.values.view(1, -1, 1).expand(x.shape[0], -1, x.shape[2])


def denoiser(prediction: str, network: nn.Module | None = None, head: str = "") -> Preconditioned:
    return Preconditioned(network or Constant(0.3), PROCESS, prediction=prediction, head=head)


def sample(seed: int = 0, n: int = 3) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    shape = (2, n, 1, 50)
    x_0, noise = torch.randn(shape, generator=g, dtype=torch.float64)
    return x_0, noise


@pytest.mark.parametrize(
    ("prediction", "own"),
    [
        ("x0", lambda snr: snr.clamp(max=5)),
        ("eps", lambda snr: snr.clamp(max=5) / snr),
        ("v", lambda snr: snr.clamp(max=5) / (snr + 1)),
    ],
)
def test_min_snr_has_its_published_form_for_every_prediction(
    prediction: str, own: Callable[[Tensor], Tensor]
) -> None:
    d = denoiser(prediction)
    w = weight("min-snr", d, LEVEL, gamma=5) * d.coefficients(LEVEL).out ** 2
    assert torch.allclose(w, own(SNR), rtol=1e-10)


@pytest.mark.parametrize("prediction", PARAMETRISATIONS)
@pytest.mark.parametrize("name", WEIGHTS)
def test_the_loss_is_the_weighted_error_of_the_estimate(prediction: str, name: str) -> None:
    x_0, noise = sample()
    d = denoiser(prediction)
    w = weight(name, d, LEVEL, times=LogNormal())
    losses = denoising_loss(d, x_0, level=LEVEL, noise=noise, w=w)
    estimate = d(PROCESS.corrupt(x_0, LEVEL, noise), LEVEL).mean
    expected = like(w, x_0) * (estimate - x_0).square()
    assert torch.allclose(losses.error, expected.mean(dim=(1, 2)), rtol=1e-8)


@pytest.mark.parametrize("prediction", PARAMETRISATIONS)
def test_the_default_weight_leaves_the_networks_own_error(prediction: str) -> None:
    x_0, noise = sample()
    d = denoiser(prediction)
    bare = denoising_loss(d, x_0, level=LEVEL, noise=noise).error
    weighted = denoising_loss(d, x_0, level=LEVEL, noise=noise, w=weight("edm", d, LEVEL)).error
    assert torch.allclose(bare, weighted, rtol=1e-10)


@pytest.mark.parametrize("times", [LogNormal(-1.0, 1.5), Uniform()], ids=repr)
def test_the_likelihood_weight_does_not_depend_on_how_times_are_drawn(times: Times) -> None:
    """For x₀ ~ N(0, 1), −∫ ½ SNR' Var[x₀ | x_t] dt = ½ ln (1 + SNR) between the ends."""
    n = 4000
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    level = PROCESS.level(times.quantile(PROCESS, u))
    inner = (level.t > 0.01) & (level.t < 0.9)
    posterior = level.sigma**2 / (level.alpha**2 + level.sigma**2)
    w = weight("likelihood", denoiser("eps"), level, times=times)
    low, high = PROCESS.level(0.9), PROCESS.level(0.01)
    exact = (torch.log1p(high.ratio**-2) - torch.log1p(low.ratio**-2)) / 2
    assert (w * posterior * inner).mean().item() == pytest.approx(exact.item(), rel=5e-3)


def test_an_unknown_weight_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="min-snr"):
        weight("min-snt", denoiser("eps"), LEVEL)


def test_the_variance_head_learns_the_variance_of_the_error() -> None:
    x_0, noise = sample(n=400)
    level = PROCESS.level(torch.full((400,), 0.5))
    network = Constant(0.3, 0.0)
    d = denoiser("eps", network, head="variance")
    error = denoising_loss(d, x_0, level=level, noise=noise).error.mean().item()
    # the likelihood is stationary where the head says ln of the mean squared error
    with torch.no_grad():
        network.values[1] = math.log(error)
    losses = denoising_loss(d, x_0, level=level, noise=noise)
    (gradient,) = torch.autograd.grad(losses.head.mean(), network.values)
    assert gradient[1].abs().item() < 1e-10


def test_uncertainty_weighs_every_item_by_the_error_that_its_head_predicts() -> None:
    x_0, noise = sample()
    network = Constant(0.3, math.log(0.02))
    d = denoiser("x0", network, head="variance")
    plain = denoising_loss(d, x_0, level=LEVEL, noise=noise)
    weighed = denoising_loss(d, x_0, level=LEVEL, noise=noise, uncertainty=True)
    assert torch.allclose(weighed.error, plain.error / 0.02)
    assert torch.equal(weighed.head, plain.head)
    (gradient,) = torch.autograd.grad(weighed.error.sum(), network.values)
    assert gradient[1].item() == 0  # the head is not paid for predicting large errors


def test_uncertainty_weighs_what_is_missing_and_what_is_measured_on_their_own() -> None:
    class Halves(nn.Module):
        def forward(self, x: Tensor, noise_level: Tensor, noise_map: Tensor) -> Tensor:
            variance = x.new_tensor([0.01, 0.03, 0.2, 0.6]).view(1, 1, 2, 2).expand_as(x)
            return torch.cat([torch.zeros_like(x), variance.log()], dim=1)

    ratio = torch.tensor([[2.0, 2.0], [0.1, 0.1]]).log().double().expand(3, 1, 2, 2)
    each = PROCESS.level(PROCESS.schedule.time_of(ratio))
    level = Level(each.t.flatten(1).amax(dim=1), each.alpha, each.sigma, PROCESS)
    d = Preconditioned(Halves(), PROCESS, prediction="x0", head="variance")
    x_0 = torch.full((3, 1, 2, 2), 0.5, dtype=torch.float64)
    noise = torch.zeros_like(x_0)
    w = torch.ones_like(level.sigma)
    error = denoising_loss(d, x_0, level=level, noise=noise, w=w, uncertainty=True).error
    expected = 0.25 * (2 / 0.02 + 2 / 0.4) / 4
    assert torch.allclose(error, torch.full_like(error, expected))


@pytest.mark.parametrize("head", ["", "interpolation"])
def test_uncertainty_needs_a_head_that_predicts_the_error(head: str) -> None:
    x_0, noise = sample()
    network = Constant(0.3, 0.1) if head else Constant(0.3)
    with pytest.raises(UnsupportedError, match="variance head"):
        denoising_loss(
            denoiser("eps", network, head), x_0, level=LEVEL, noise=noise, uncertainty=True
        )


def test_the_second_head_does_not_move_the_mean() -> None:
    x_0, noise = sample()
    for head in ("variance", "interpolation"):
        network = Constant(0.3, 0.1)
        d = denoiser("eps", network, head=head)
        head_loss = denoising_loss(d, x_0, level=LEVEL, noise=noise).head.sum()
        (gradient,) = torch.autograd.grad(head_loss, network.values)
        assert gradient[0].item() == 0
        assert gradient[1].item() != 0


def test_the_bound_vanishes_for_the_exact_mean_and_posterior_variance() -> None:
    _, noise = sample()
    x_0 = torch.zeros_like(noise)
    d = denoiser("x0", Constant(0.0, -1.0), head="interpolation")  # x̂ = x₀, and ln β̃
    head = denoising_loss(d, x_0, level=LEVEL, noise=noise).head
    assert head.abs().max().item() < 1e-12


def test_hiding_labels_touches_the_share_it_is_given() -> None:
    label = torch.arange(4) % 3
    u = torch.tensor([0.05, 0.5, 0.09, 0.1])
    hidden = hide_labels(label, u, probability=0.1, nothing=10)
    assert hidden.tolist() == [10, 1, 10, 0]


def test_the_bound_is_stationary_at_the_best_variance_of_the_step() -> None:
    """For x₀ ~ N(0, ¼) and the exact mean that is β̃ + k₀² Var[x₀ | x_t]; not β̃ and not β."""
    n, spread = 40_000, 0.25
    g = torch.Generator().manual_seed(1)
    z = torch.randn(2, 1, 1, n, generator=g, dtype=torch.float64)
    x_0, noise = 0.5 * z[0], z[1]
    t = PROCESS.level(torch.tensor([0.02]))
    s = PROCESS.level(torch.tensor([0.019]))
    step = t.alpha / s.alpha
    beta = t.sigma**2 - step**2 * s.sigma**2
    low = beta * s.sigma**2 / t.sigma**2
    posterior = spread * t.sigma**2 / (t.alpha**2 * spread + t.sigma**2)
    best = low + (s.alpha * beta / t.sigma**2) ** 2 * posterior
    gain = t.alpha * spread / (t.alpha**2 * spread + t.sigma**2)
    part = float((best / low).log() / (beta / low).log())

    class Exact(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Parameter(torch.tensor(part, dtype=torch.float64))

        def forward(self, x: Tensor, noise_level: Tensor) -> Tensor:
            return torch.cat([gain * x, (2 * self.part - 1).expand_as(x)], dim=1)

    def slope(at: float) -> float:
        network = Exact()
        with torch.no_grad():
            network.part.fill_(at)
        d = denoiser("x0", network, head="interpolation")
        head = denoising_loss(d, x_0, level=t, noise=noise).head.sum()
        return float(torch.autograd.grad(head, network.part)[0])

    assert 0.2 < part < 0.99
    assert abs(slope(part)) < 0.05 * abs(slope(part + 0.3))
    assert slope(0.0) < 0 < slope(1.0)
