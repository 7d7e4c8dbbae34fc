"""Noise levels, colour, clipped values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError, ShapeError
from sfumato.noise import Streams
from sfumato.signals import Signal
from sfumato_image.noise_levels import estimate_sigma
from sfumato_image.operators import Colorize, Declip
from sfumato_image.operators.colorize import WEIGHTS, Luma
from sfumato_image.operators.declip import Clipped


def photo(name: str = "chelsea") -> Tensor:
    from skimage import data

    pixels = np.asarray(getattr(data, name)())[40:240, 80:300]
    return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32) / 255)


def noisy(x: Tensor, sigma: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return x + sigma / 255 * torch.randn(x.shape, generator=generator)


@pytest.mark.parametrize("name", ["chelsea", "coffee", "astronaut"])
@pytest.mark.parametrize("sigma", [5.0, 10.0, 25.0])
def test_white_noise_in_a_photograph_is_estimated_within_20_percent(
    name: str, sigma: float
) -> None:
    found = 255 * estimate_sigma(noisy(photo(name), sigma).clamp(0, 1))
    assert found == pytest.approx(sigma, rel=0.2)


def test_a_clean_photograph_is_not_taken_for_a_noisy_one() -> None:
    assert 255 * estimate_sigma(photo()) < 2


def test_pixels_that_are_not_valid_do_not_count() -> None:
    x = noisy(torch.full((1, 200, 200), 0.5), 4)
    x[:, :, :150] = noisy(x[:, :, :150], 40)
    valid = torch.zeros(200, 200, dtype=torch.bool)
    valid[:, 150:] = True
    assert 255 * estimate_sigma(x, valid) == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 9), (3, 5, 5), (1, 9, 9)], ids=str)
def test_small_pictures_have_some_noise_level(shape: tuple[int, ...]) -> None:
    found = estimate_sigma(noisy(torch.full(shape, 0.5), 10))
    assert math.isfinite(found)
    assert found >= 0


def test_grey_is_the_luma_of_colour() -> None:
    x = photo()
    grey = Colorize().degrade(Signal(x)).data
    assert torch.allclose(grey[0], sum(w * c for w, c in zip(WEIGHTS, x, strict=True)), atol=1e-6)


def test_the_luma_of_a_coloured_result_is_the_grey_picture() -> None:
    x = photo()[:, :20, :30]
    bound = Colorize().bind(Colorize().degrade(Signal(x)))
    guess = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(Luma()(bound.finish(guess)[None]), bound.y, atol=1e-6)


def test_colours_of_the_input_are_dropped_with_a_note() -> None:
    bound = Colorize().bind(Signal(photo()))
    assert bound.y.shape[1] == 1
    assert bound.notes == ("the colours of the input are not used",)


def test_luma_refuses_what_has_no_three_channels() -> None:
    with pytest.raises(ShapeError, match="batch×3"):
        Luma()(torch.zeros(1, 1, 4, 4))


def test_values_at_the_ends_bound_and_values_between_measure() -> None:
    likelihood = Clipped(0.0, 1.0, 0.01)
    y = torch.tensor([[1.0, 0.0, 0.5]])
    beyond, inside = torch.tensor([[1.7, -0.4, 0.5]]), torch.tensor([[0.97, 0.02, 0.53]])
    assert torch.equal(likelihood.residual(y, beyond), torch.zeros(1, 3))
    assert torch.allclose(likelihood.residual(y, inside), torch.tensor([[3.0, -2.0, -3.0]]))


def test_the_clipped_likelihood_is_a_probability() -> None:
    # ∫ p(y|z) dy over (0, 1) plus the weights of the two ends is 1
    likelihood = Clipped(0.0, 1.0, 0.2)
    z = torch.tensor(0.9, dtype=torch.float64)
    grid = torch.linspace(0, 1, 20_001, dtype=torch.float64)[1:-1]
    density = likelihood.log_prob(grid[:, None], z.expand(len(grid), 1)).exp()
    between = float(density.sum()) / 20_000 / (0.2 * math.sqrt(2 * math.pi))
    ends = likelihood.log_prob(torch.tensor([[0.0], [1.0]]).double(), z.expand(2, 1)).exp()
    assert between + float(ends.sum()) == pytest.approx(1, abs=1e-4)


def test_clipped_samples_follow_the_likelihood() -> None:
    likelihood = Clipped(0.0, 1.0, 0.2)
    z = torch.full((1, 40_000), 0.9)
    blown = float((likelihood.sample(z, Streams(0, [0])) == 1).float().mean())
    expected = 0.5 * math.erfc(0.1 / 0.2 / math.sqrt(2))  # P(n > 0.1/0.2) = 0.309
    assert blown == pytest.approx(expected, abs=5 * 0.46 / 200)


def test_the_gradient_pushes_blown_values_up_and_leaves_bright_ones() -> None:
    likelihood = Clipped(0.0, 1.0, 0.01)
    z = torch.tensor([[0.95, 1.2]], requires_grad=True)
    likelihood.log_prob(torch.ones(1, 2), z).sum().backward()
    assert z.grad is not None
    assert float(z.grad[0, 0]) == pytest.approx(5 / 0.01, rel=0.05)
    assert float(z.grad[0, 1]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("exposure", [0.0, 0.5, 1.0])
def test_unclipped_values_come_back_on_the_scale_of_the_result(exposure: float) -> None:
    x = photo()[:, :40, :50]
    task = Declip(exposure=exposure)
    measured = Declip(exposure=1.0).degrade(Signal(x))
    clipped = (measured.data >= 1) | (measured.data <= 0)
    result = task.bind(measured).finish(torch.zeros_like(x))
    assert torch.equal(result[~clipped], measured.data[~clipped] / 2**exposure)
    blown = measured.data >= 1
    assert bool(blown.any())
    assert bool((result[blown] >= 0.9999 / 2**exposure).all())


def test_declip_undoes_its_own_scale() -> None:
    x = 0.2 + 0.5 * photo()[:, :40, :50]
    task = Declip(exposure=0.7, lift=10)
    measured = task.degrade(Signal(x))
    unclipped = (measured.data > 0) & (measured.data < 1)
    assert torch.allclose(task.rescale(measured.data)[unclipped], x[unclipped], atol=1e-6)


def test_local_highlights_are_restored_in_windows() -> None:
    data = torch.full((3, 700, 700), 0.5)
    data[0, 100:120, 100:130] = 1.0
    data[:, 600:605, 600:605] = 0.0
    bound = Declip().bind(Signal(data))
    assert len(bound.parts) == 2
    for part in bound.parts:
        assert torch.equal(bound.y[0][part.place], part.y[0])


@pytest.mark.parametrize("value", [0.5, 1.0])
def test_a_picture_with_nothing_or_everything_clipped_is_refused(value: float) -> None:
    with pytest.raises(InvalidOptionError, match="declip"):
        Declip().bind(Signal(torch.full((3, 8, 8), value)))


@pytest.mark.parametrize(
    "options",
    [{"high": 300.0}, {"low": 255.0}, {"exposure": -1.0}, {"exposure": math.nan}, {"lift": 200.0}],
    ids=repr,
)
def test_declip_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InvalidOptionError, match="declip"):
        Declip(**options)
