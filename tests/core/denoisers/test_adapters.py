"""Padding and tiling change sizes, not answers."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from sfumato.denoisers import Condition, Denoiser, Estimate, Padded, Tiled, tweedie
from sfumato.errors import InvalidOptionError, ShapeError
from sfumato.noise import Streams
from sfumato.processes import VP, Gaussian, Level

PROCESS = Gaussian(VP())
T = PROCESS.level(0.5)
CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def noise(*shape: int) -> Tensor:
    return Streams.count(0, shape[0]).normal(torch.zeros(shape, dtype=torch.float64))


@dataclass(frozen=True, eq=False)
class Local(Denoiser):
    """A nonlinear convolution of radius 2 that refuses sides it cannot halve."""

    process: Gaussian = PROCESS
    multiple: int = 1
    knows_covariance: bool = False

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        assert all(n % self.multiple == 0 for n in x_t.shape[2:])
        d = x_t.ndim - 2
        weight = noise(1, 1, *[5] * d).to(x_t) / 5**d
        h = torch.tanh(CONVOLUTIONS[d](x_t, weight, padding=2))
        if condition is not None:
            h = h + condition["guide"] * condition["label"].reshape(-1, *[1] * (d + 1))
        return Estimate(
            h,
            variance=h**2,
            interpolation=h / 2,
            covariance=(lambda v: 2 * v) if self.knows_covariance else None,
            sampler=lambda streams: h + streams.normal(h),
        )


SIZES = [(2, 1, 41), (2, 1, 40, 37), (1, 1, 19, 33, 20)]


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_tiles_equal_the_whole_where_the_overlap_covers_the_receptive_field(
    shape: tuple[int, ...],
) -> None:
    x, inner = noise(*shape), Local()
    whole, tiled = inner(x, T), Tiled(inner, tile=17, overlap=8)(x, T)
    for name in ("mean", "variance", "interpolation"):
        torch.testing.assert_close(getattr(tiled, name), getattr(whole, name))


def test_tiles_with_too_little_overlap_differ_only_near_their_borders() -> None:
    x, inner = noise(1, 1, 40), Local()
    gap = (Tiled(inner, tile=16, overlap=0)(x, T).mean - inner(x, T).mean).abs()[0, 0]
    assert float(gap.max()) > 1e-3
    assert float(gap[2:14].max()) < 1e-12


@pytest.mark.parametrize(
    ("size", "tile", "overlap"), [(17, 16, 8), (64, 16, 4), (50, 12, 6), (9, 4, 0)]
)
def test_the_weights_of_windows_sum_to_one(size: int, tile: int, overlap: int) -> None:
    total = torch.zeros(size, dtype=torch.float64)
    for window, weight in Tiled(Local(), tile, overlap).windows(size):
        assert float(weight.min()) >= 0
        total[window] += weight
    torch.testing.assert_close(total, torch.ones_like(total))


def test_small_data_are_not_tiled() -> None:
    x = noise(1, 1, 9, 9)
    torch.testing.assert_close(Tiled(Local(), 16, 4)(x, T).mean, Local()(x, T).mean, rtol=0, atol=0)


def test_gradients_flow_through_tiles() -> None:
    x, v = noise(1, 1, 30), noise(1, 1, 30)
    _, whole = tweedie(Local(), x, T)
    _, tiled = tweedie(Tiled(Local(), 17, 8), x, T)
    torch.testing.assert_close(tiled(v), whole(v))


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_padding_reflects_and_crops(shape: tuple[int, ...]) -> None:
    x = noise(*shape)
    estimate = Padded(Local(multiple=8), 8)(x, T)
    assert estimate.mean.shape == x.shape
    for part in (
        estimate.variance,
        estimate.interpolation,
        estimate.draw(Streams.count(0, len(x))),
    ):
        assert part is not None
        assert part.shape == x.shape
    inside = (..., *[slice(0, n - 2) for n in shape[2:]])
    torch.testing.assert_close(estimate.mean[inside], Local()(x, T).mean[inside])


def test_padding_reflects_at_the_edge() -> None:
    seen: list[Tensor] = []

    @dataclass(frozen=True, eq=False)
    class Looking(Denoiser):
        process: Gaussian = PROCESS

        def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
            seen.append(x_t)
            return Estimate(x_t)

    x = torch.arange(3.0).reshape(1, 1, 3)
    assert torch.equal(Padded(Looking(), 8)(x, T).mean, x)
    assert seen[0].flatten().tolist() == [0, 1, 2, 1, 0, 1, 2, 1]
    one = torch.ones(1, 1, 1)
    assert torch.equal(Padded(Looking(), 4)(one, T).mean, one)
    assert seen[1].flatten().tolist() == [1, 1, 1, 1]


def test_the_covariance_of_what_is_kept_is_known_if_that_of_all_is() -> None:
    padded = Padded(Local(multiple=8, knows_covariance=True), 8)
    x, v = noise(1, 1, 13), noise(1, 1, 13)
    assert padded.knows_covariance
    _, covariance = tweedie(padded, x, T)
    torch.testing.assert_close(covariance(v), 2 * v)
    assert not Padded(Local(), 8).knows_covariance


def test_nothing_is_padded_where_the_size_fits() -> None:
    x = noise(1, 1, 16)
    torch.testing.assert_close(Padded(Local(), 8)(x, T).mean, Local()(x, T).mean, rtol=0, atol=0)


@pytest.mark.parametrize("adapt", [lambda d: Tiled(d, 17, 8), lambda d: Padded(d, 4)])
def test_spatial_conditions_are_cut_along_and_others_are_not(adapt: type[Padded]) -> None:
    x = noise(2, 1, 37)
    condition = {"guide": noise(2, 1, 37), "label": torch.tensor([1.0, 2.0])}
    whole = Local()(x, T, condition).mean
    found = adapt(Local())(x, T, condition).mean  # type: ignore[call-arg, arg-type]
    torch.testing.assert_close(found[..., :-2], whole[..., :-2])


def test_adapters_compose() -> None:
    x = noise(1, 1, 45, 30)
    both = Padded(Tiled(Local(multiple=4), 20, 8), 4)
    torch.testing.assert_close(both(x, T).mean[..., :-2, :-2], Local()(x, T).mean[..., :-2, :-2])


def test_adapters_refuse_what_makes_no_sense() -> None:
    with pytest.raises(InvalidOptionError):
        Padded(Local(), 0)
    with pytest.raises(InvalidOptionError):
        Tiled(Local(), 16, 9)
    with pytest.raises(ShapeError):
        Padded(Local(), 4)(torch.zeros(1, 5), T)
