"""Laws of what neighbours say where levels differ from element to element."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import Preconditioned
from sfumato.denoisers.surroundings import LOCAL, surroundings
from sfumato.errors import InvalidOptionError
from sfumato.networks import UNet
from sfumato.processes import EDM, VP, Flow, Gaussian, Level
from sfumato.training.losses import denoising_loss
from sfumato.training.uneven import uneven_weight

PROCESSES = [Gaussian(EDM()), Gaussian(VP()), Gaussian(Flow())]
UNKNOWN = 160.0


def network(*, trained: bool = False, **options: object) -> UNet:
    settings = {"channels": 2, "widths": (8, 8), "blocks": (1, 1), "fold": 4, "variance": True}
    made = UNet(**{**settings, "noise_map": True, "filling": True, **options})  # type: ignore[arg-type]
    if trained:
        torch.manual_seed(0)
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return made


def masked(process: Gaussian, known: Tensor, low: float = 1e-3, high: float = 50.0) -> Level:
    ratio = torch.where(known, low, high).double()
    level = process.level(process.schedule.time_of(ratio.log()))
    return replace(level, t=level.t.flatten(1).amax(dim=1))


def half(batch: int = 2, side: int = 16) -> Tensor:
    return torch.rand(batch, 1, side, side, generator=torch.Generator().manual_seed(1)) < 0.5


@pytest.mark.parametrize("space", [(16,), (16, 24), (8, 8, 16)])
def test_a_constant_is_found_in_any_number_of_dimensions(space: tuple[int, ...]) -> None:
    known = torch.rand(1, 1, *space, generator=torch.Generator().manual_seed(0)) < 0.4
    looks = torch.where(known, 0.7, 100.0 * torch.randn(1, 2, *space))
    mean, variance = surroundings(looks, torch.where(known, 1e-3, UNKNOWN))
    assert mean.shape == looks.shape
    assert variance.shape == known.shape
    assert torch.allclose(mean, torch.full_like(mean, 0.7), atol=0.02)
    assert bool((variance < 10 * LOCAL).all())


def test_where_nothing_is_known_neighbours_say_nothing() -> None:
    looks = UNKNOWN * torch.randn(1, 1, 32, 32)
    mean, variance = surroundings(looks, torch.full((1, 1, 32, 32), UNKNOWN))
    assert mean.abs().max() < 1.5  # of s
    assert mean.square().mean().sqrt() < 0.5
    assert torch.allclose(variance, torch.full_like(variance, 1 + LOCAL), atol=1e-3)


def test_a_hole_is_filled_from_its_edge_and_most_sure_there() -> None:
    ramp = torch.linspace(-1, 1, 32).expand(1, 1, 32, 32)
    known = torch.ones(1, 1, 32, 32, dtype=torch.bool)
    known[..., 10:22, 10:22] = False
    looks = torch.where(known, ramp, UNKNOWN * torch.randn(1, 1, 32, 32))
    mean, variance = surroundings(looks, torch.where(known, 1e-3, UNKNOWN))
    assert (mean - ramp)[~known].abs().max() < 0.35
    assert variance[0, 0, 10, 10] < variance[0, 0, 16, 16]


@pytest.mark.parametrize("axes", [(-1,), (-2,), (-2, -1)])
def test_a_mirror_image_has_mirrored_neighbours(axes: tuple[int, ...]) -> None:
    looks = torch.randn(2, 3, 16, 24, dtype=torch.float64)
    ratio = torch.rand(2, 1, 16, 24, dtype=torch.float64) + 0.01
    there, back = surroundings(looks, ratio), surroundings(looks.flip(axes), ratio.flip(axes))
    for one, other in zip(there, back, strict=True):
        assert torch.allclose(one, other.flip(axes), atol=1e-12)


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_before_training_it_is_bayes_rule_with_neighbours_for_the_prior(process: Gaussian) -> None:
    """An untrained network answers 0: the mean is that of N(f, s²v) and one look, and its variance.

    The head says ln 1, so the variance is c_out².
    """
    denoiser = Preconditioned(network(), process, head="variance")
    known = half()
    level = masked(process, known, low=0.05, high=0.8)
    x_t = process.corrupt(torch.rand(2, 2, 16, 16) - 0.5, level, torch.randn(2, 2, 16, 16))
    found = denoiser(x_t, level)
    s, looks, ratio = 0.5, x_t / level.alpha, level.ratio
    mean, v = surroundings(looks.float(), (ratio / s).float())
    precision = 1 / ratio**2 + 1 / (s**2 * v)
    expected = (looks / ratio**2 + mean / (s**2 * v)) / precision
    assert found.variance is not None
    assert torch.allclose(found.mean.double(), expected, atol=1e-5)
    assert torch.allclose(found.variance.double(), (1 / precision).expand_as(x_t), rtol=1e-4)


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_items_at_one_level_are_answered_as_by_a_call_at_that_level(process: Gaussian) -> None:
    denoiser = Preconditioned(network(trained=True), process, head="variance")
    x_t = torch.randn(2, 2, 16, 16)
    level = masked(process, half())
    even = process.level(torch.tensor([0.4, 0.6]))
    for name in ("alpha", "sigma"):
        getattr(level, name)[1] = getattr(even, name)[1]
    mixed = replace(level, t=torch.stack([level.t[0], even.t[1]]))
    found, expected = denoiser(x_t, mixed), denoiser(x_t, even)
    assert found.variance is not None
    assert expected.variance is not None
    assert torch.allclose(found.mean[1], expected.mean[1], atol=1e-5)
    assert torch.allclose(found.variance[1], expected.variance[1], rtol=1e-4)
    alone = Level(mixed.t[:1], mixed.alpha[:1], mixed.sigma[:1], process)
    assert torch.allclose(denoiser(x_t[:1], alone).mean[0], found.mean[0], atol=1e-5)


def test_the_noise_of_what_was_not_measured_is_not_seen() -> None:
    denoiser = Preconditioned(network(trained=True), PROCESSES[0], head="variance")
    known = half()
    level = masked(PROCESSES[0], known, high=80.0)
    x_t = torch.where(known, 0.3, 80 * torch.randn(2, 2, 16, 16))
    other = torch.where(known, 0.3, 80 * torch.randn(2, 2, 16, 16))
    change = (denoiser(x_t, level).mean - denoiser(other, level).mean).abs().max()
    assert change < 0.05  # of a range of 2; a network without filling sees all of it


def test_the_target_is_what_makes_the_estimate_right() -> None:
    process = PROCESSES[0]
    denoiser = Preconditioned(network(trained=True), process, head="variance")
    level = masked(process, half(), low=0.05, high=5.0)
    x_0 = torch.rand(2, 2, 16, 16) - 0.5
    x_t = process.corrupt(x_0, level, torch.randn(2, 2, 16, 16))
    c = denoiser.row(x_t, level)
    assert c.shift is not None
    asked = denoiser.target(x_0, x_t, level)
    assert torch.allclose(c.skip * x_t + c.shift + c.out * asked, x_0, atol=1e-5)
    answered = denoiser.evaluate(x_t, level, c).chunk(2, dim=1)[0]
    error = (answered - asked).square()
    assert torch.allclose(error * c.out**2, (denoiser(x_t, level).mean - x_0) ** 2, atol=1e-5)


def test_the_loss_weighs_the_networks_own_error_with_edm_and_that_of_the_data_with_uniform() -> (
    None
):
    process = PROCESSES[0]
    denoiser = Preconditioned(network(trained=True, variance=False), process)
    level = masked(process, half(), low=0.05, high=5.0)
    x_0, noise = torch.rand(2, 2, 16, 16) - 0.5, torch.randn(2, 2, 16, 16)
    x_t = process.corrupt(x_0, level, noise)
    own = denoiser.evaluate(x_t, level, denoiser.row(x_t, level)) - denoiser.target(x_0, x_t, level)
    data = denoiser(x_t, level).mean - x_0
    for name, error in (("edm", own), ("uniform", data)):
        loss = denoising_loss(
            denoiser, x_0, level=level, noise=noise,
            w=lambda c, name=name: uneven_weight(name, denoiser, level, 5.0, c),
        ).error  # fmt: skip
        assert torch.allclose(loss, error.square().flatten(1).mean(dim=1).to(loss), rtol=1e-4)


def test_gradients_reach_the_state() -> None:
    denoiser = Preconditioned(network(trained=True), PROCESSES[0], head="variance")
    level = masked(PROCESSES[0], half(), low=0.05, high=1.0)
    x_t = torch.randn(2, 2, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(denoiser(x_t, level).mean[0].sum(), x_t)
    assert gradient[0].abs().min() > 0
    assert gradient[1].abs().max() == 0


def test_what_cannot_be_filled_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="noise_map=False"):
        network(noise_map=False)
    with pytest.raises(InvalidOptionError, match="multiples of 4"):
        network(fold=2)
    with pytest.raises(InvalidOptionError, match="'v'"):
        Preconditioned(network(), PROCESSES[1], prediction="v")
