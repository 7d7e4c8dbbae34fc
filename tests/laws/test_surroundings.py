"""Laws of what neighbours say where levels differ from element to element."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import Preconditioned
from sfumato.denoisers import surroundings as module
from sfumato.denoisers.surroundings import LOCAL, bending, smoothest, surroundings
from sfumato.errors import InvalidOptionError
from sfumato.networks import UNet
from sfumato.processes import EDM, VP, Flow, Gaussian, Level
from sfumato.training.losses import denoising_loss
from sfumato.training.uneven import uneven_weight

PROCESSES = [Gaussian(EDM()), Gaussian(VP()), Gaussian(Flow())]
UNKNOWN = 160.0


def network(*, trained: bool = False, **options: Any) -> UNet:
    settings: dict[str, Any] = {"channels": 2, "widths": (8, 8), "blocks": (1, 1), "fold": 4}
    made = UNet(**{**settings, "variance": True, "noise_map": True, "filling": True, **options})
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
    found, variance = surroundings(looks, torch.where(known, 1e-3, UNKNOWN))
    assert found.shape == looks.shape
    assert variance.shape == known.shape
    assert torch.allclose(found, torch.full_like(found, 0.7), atol=0.02)
    assert bool((variance < 10 * LOCAL).all())
    assert bool((variance[known] <= 1e-6).all())


@pytest.mark.parametrize("space", [(16,), (12, 9), (6, 5, 7)])
def test_enough_steps_reach_the_field_that_bends_least(
    space: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the normal equations, written out as a matrix."""
    monkeypatch.setattr(module, "ITERATIONS", 2000)
    monkeypatch.setattr(module, "LOWEST", 1e-3)
    x = torch.randn(1, 1, *space, dtype=torch.float64)
    precision = torch.rand(1, 1, *space, dtype=torch.float64) * 100 + 1
    found = smoothest(torch.zeros_like(x), x, precision)
    units = torch.eye(x.numel(), dtype=torch.float64).reshape(-1, 1, *space)
    once = bending(units).flatten(1)
    assert torch.allclose(once, once.mT)
    inside = once @ once
    own = 1 + 1 / (2 * len(space))
    assert inside.diagonal().max().item() == pytest.approx(own)
    system = precision.flatten().diag() + inside / (own * LOCAL)
    exact = torch.linalg.solve(system, (precision * x).flatten())
    assert torch.allclose(found.flatten(), exact, atol=1e-6)


def test_half_of_a_smooth_picture_is_filled_to_a_few_percent() -> None:
    line = torch.linspace(0, 6, 48)
    truth = torch.sin(line)[:, None] * torch.cos(1.7 * line)[None]
    known = torch.rand(48, 48, generator=torch.Generator().manual_seed(2)) < 0.5
    looks = torch.where(known, truth, UNKNOWN * torch.randn(48, 48))[None, None]
    found = surroundings(looks, torch.where(known, 1e-3, UNKNOWN)[None, None])[0][0, 0]
    assert (found - truth)[~known].std() < 0.03


def test_where_nothing_is_known_neighbours_say_nothing() -> None:
    looks = UNKNOWN * torch.randn(1, 1, 32, 32)
    found, variance = surroundings(looks, torch.full((1, 1, 32, 32), UNKNOWN))
    assert found.square().mean().sqrt() < 0.5  # of the data's deviation
    assert torch.allclose(variance, torch.ones_like(variance), atol=1e-2)


def test_a_hole_is_filled_from_its_edge_and_most_sure_there() -> None:
    ramp = torch.linspace(-1, 1, 32).expand(1, 1, 32, 32)
    known = torch.ones(1, 1, 32, 32, dtype=torch.bool)
    known[..., 10:22, 10:22] = False
    looks = torch.where(known, ramp, UNKNOWN * torch.randn(1, 1, 32, 32))
    found, variance = surroundings(looks, torch.where(known, 1e-3, UNKNOWN))
    assert (found - ramp)[~known].abs().max() < 0.35
    assert variance[0, 0, 10, 10] < variance[0, 0, 16, 16]


@pytest.mark.parametrize("axes", [(-1,), (-2,), (-2, -1)])
def test_a_mirror_image_has_mirrored_neighbours(axes: tuple[int, ...]) -> None:
    looks = torch.randn(2, 3, 16, 24, dtype=torch.float64)
    ratio = torch.rand(2, 1, 16, 24, dtype=torch.float64) + 0.01
    there, back = surroundings(looks, ratio), surroundings(looks.flip(axes), ratio.flip(axes))
    for one, other in zip(there, back, strict=True):
        assert torch.allclose(one, other.flip(axes), atol=1e-12)


def test_a_part_of_a_picture_and_the_whole_agree_inside() -> None:
    looks = torch.randn(1, 1, 16, 128, dtype=torch.float64)
    ratio = torch.rand(1, 1, 16, 128, dtype=torch.float64) * 5 + 0.01
    whole, part = (
        surroundings(x, r) for x, r in ((looks, ratio), (looks[..., :96], ratio[..., :96]))
    )
    for one, other in zip(whole, part, strict=True):
        assert torch.allclose(one[..., :64], other[..., :64], atol=1e-12)


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_before_training_it_is_bayes_rule_on_what_neighbours_say(process: Gaussian) -> None:
    """An untrained network answers 0 and ln 1: N(0, s²) seen through the better look."""
    denoiser = Preconditioned(network(), process, head="variance")
    level = masked(process, half(), low=0.05, high=0.8)
    x_t = process.corrupt(torch.rand(2, 2, 16, 16) - 0.5, level, torch.randn(2, 2, 16, 16))
    found = denoiser(x_t, level)
    look, variance = surroundings(
        (x_t / level.alpha / 0.5).float(), (level.ratio / 0.5).float().expand(2, 1, 16, 16)
    )
    assert found.variance is not None
    assert torch.allclose(found.mean, 0.5 * look / (1 + variance), atol=1e-4)
    expected = 0.25 * variance / (1 + variance)
    assert torch.allclose(found.variance.float(), expected.expand_as(x_t), rtol=1e-3)


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
    assert torch.allclose(found.mean[1], expected.mean[1], atol=1e-4)
    assert torch.allclose(found.variance[1], expected.variance[1], rtol=1e-3)
    alone = Level(mixed.t[:1], mixed.alpha[:1], mixed.sigma[:1], process)
    assert torch.allclose(denoiser(x_t[:1], alone).mean[0], found.mean[0], atol=1e-5)


def test_the_noise_of_what_was_not_measured_is_not_seen() -> None:
    known = half()
    level = masked(PROCESSES[0], known, high=80.0)
    first, second = (torch.where(known, 0.3, 80 * torch.randn(2, 2, 16, 16)) for _ in range(2))
    for filling in (True, False):
        made = network(trained=True, filling=filling)
        denoiser = Preconditioned(made, PROCESSES[0], head="variance")
        change = (denoiser(first, level).mean - denoiser(second, level).mean).abs().max()
        assert (change < 0.01) == filling


def test_the_target_is_what_makes_the_estimate_right() -> None:
    process = PROCESSES[0]
    denoiser = Preconditioned(network(trained=True), process, head="variance")
    level = masked(process, half(), low=0.05, high=5.0)
    x_0 = torch.rand(2, 2, 16, 16) - 0.5
    x_t = process.corrupt(x_0, level, torch.randn(2, 2, 16, 16))
    x, seen, told = denoiser.informed(x_t, level)
    assert bool((seen.ratio <= level.ratio * (1 + 1e-5)).all())
    c = denoiser.coefficients(seen)
    answered = denoiser.evaluate(x, seen, c, told).chunk(2, dim=1)[0]
    error = answered - denoiser.target(x_0, x, seen)
    assert torch.allclose((error * c.out).float(), denoiser(x_t, level).mean - x_0, atol=1e-5)


@pytest.mark.parametrize("name", ["edm", "uniform"])
def test_weights_are_of_the_levels_that_the_network_sees(name: str) -> None:
    """``edm`` leaves the network's own error, ``uniform`` that of the data."""
    process = PROCESSES[0]
    denoiser = Preconditioned(network(trained=True, variance=False), process)
    level = masked(process, half(), low=0.05, high=5.0)
    x_0, noise = torch.rand(2, 2, 16, 16) - 0.5, torch.randn(2, 2, 16, 16)
    x_t = process.corrupt(x_0, level, noise)
    x, seen, told = denoiser.informed(x_t, level)
    own = denoiser.evaluate(x, seen, denoiser.coefficients(seen), told)
    error = (
        own - denoiser.target(x_0, x, seen) if name == "edm" else denoiser(x_t, level).mean - x_0
    )

    def weight(seen: Level) -> Tensor:
        return uneven_weight(name, denoiser, level, 5.0, seen)

    loss = denoising_loss(denoiser, x_0, level=level, noise=noise, w=weight).error
    assert torch.allclose(loss, error.square().flatten(1).mean(dim=1).to(loss), rtol=1e-4)


def test_gradients_reach_the_state() -> None:
    denoiser = Preconditioned(network(trained=True), PROCESSES[0], head="variance")
    level = masked(PROCESSES[0], half(), low=0.05, high=1.0)
    x_t = torch.randn(2, 2, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(denoiser(x_t, level).mean[0].sum(), x_t)
    assert gradient[0].abs().min() > 0
    assert gradient[1].abs().max() == 0


def test_sides_that_cells_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="noise_map=False"):
        network(noise_map=False)
    with pytest.raises(InvalidOptionError, match="multiples of 4"):
        network(fold=2)


def test_a_network_in_half_precision_answers_nearly_the_same() -> None:
    level = masked(PROCESSES[0], half(), low=0.05, high=1.0)
    x_t = torch.rand(2, 2, 16, 16) - 0.5
    whole, low = (
        Preconditioned(network(trained=True).to(dtype), PROCESSES[0], head="variance")
        for dtype in (torch.float32, torch.bfloat16)
    )
    found = low(x_t, level).mean
    assert found.dtype == torch.float32
    assert torch.allclose(found, whole(x_t, level).mean, atol=0.02)
