"""Classical methods: each improves what it is for, at one setting, and obeys its equation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from sfumato.errors import InvalidOptionError, ShapeError
from sfumato.inverse.operators import FromFunction
from sfumato_image import PLUGIN
from sfumato_image.baselines import (
    bicubic,
    biharmonic,
    divergence,
    gradient,
    lanczos,
    nlm,
    tv,
    tv_deblur,
    wavelet,
    wiener,
)
from sfumato_image.metrics import psnr
from sfumato_image.pictures import photograph
from sfumato_image.surfaces import continued

SIGMA = 25 / 255


@pytest.fixture(scope="module")
def x() -> Tensor:
    return photograph("astronaut", size=64).data


def noise(like: Tensor, seed: int = 0) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=like.dtype)


def gaussian_kernel(std: float = 1.6, radius: int = 5) -> Tensor:
    row = torch.exp(-((torch.arange(-radius, radius + 1) / std) ** 2) / 2)
    kernel = torch.outer(row, row)
    return kernel / kernel.sum()


def blur(x: Tensor, kernel: Tensor, mode: str = "reflect") -> Tensor:
    side = kernel.shape[0] // 2
    padded = functional.pad(x, (side,) * 4, mode=mode)
    weight = kernel.to(x).expand(x.shape[1], 1, -1, -1)
    return functional.conv2d(padded, weight, groups=x.shape[1])


@pytest.mark.parametrize(
    ("method", "options"),
    [(tv, {"weight": 0.1}), (nlm, {"sigma": SIGMA}), (wavelet, {"sigma": SIGMA})],
    ids=["tv", "nlm", "wavelet"],
)
def test_denoisers_gain_at_least_three_decibels(x: Tensor, method: object, options: dict) -> None:
    y = x + SIGMA * noise(x)
    found = method(y, **options)  # type: ignore[operator]
    assert found.shape == x.shape
    assert found.dtype == x.dtype
    assert psnr(found, x) > psnr(y, x) + 3


@pytest.mark.parametrize("method", [bicubic, lanczos])
def test_enlarging_beats_repeating_pixels(x: Tensor, method: object) -> None:
    small = functional.interpolate(x[None], scale_factor=0.5, mode="bicubic", antialias=True)[0]
    found = method(small, factor=2)  # type: ignore[operator]
    repeated = small.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert psnr(found, x) > psnr(repeated, x) + 1


@pytest.mark.parametrize(("method", "kernel"), [(bicubic, "BICUBIC"), (lanczos, "LANCZOS")])
def test_enlarging_is_that_of_pillow(x: Tensor, method: object, kernel: str) -> None:
    x = (x + 1) / 3  # away from black and white, where Pillow clips between its two passes
    pixels = (255 * x).round().byte().permute(1, 2, 0).numpy()
    expected = Image.fromarray(pixels).resize((128, 128), Image.Resampling[kernel])
    found = 255 * method(x, factor=2).permute(1, 2, 0)  # type: ignore[operator]
    assert np.abs(found.numpy() - np.asarray(expected)).max() <= 1.6


@pytest.mark.parametrize(("boundary", "mode"), [("reflect", "reflect"), ("circular", "circular")])
def test_wiener_sharpens(x: Tensor, boundary: str, mode: str) -> None:
    kernel = gaussian_kernel()
    y = blur(x[None], kernel, mode)[0]
    y = y + 2 / 255 * noise(y)
    found = max(
        psnr(wiener(y, kernel=kernel, balance=b, boundary=boundary), x) for b in (1e-3, 1e-2, 1e-1)
    )
    assert found > psnr(y, x) + 1


def test_tv_deblurring_sharpens_more_than_wiener(x: Tensor) -> None:
    kernel = gaussian_kernel()
    operator = FromFunction(lambda v: blur(v, kernel), tuple(x.shape))
    y = operator(x[None])[0]
    y = y + 2 / 255 * noise(y)
    balances, weights = (1e-3, 3e-3, 1e-2), (3e-4, 6e-4)
    best_wiener = max(psnr(wiener(y, kernel=kernel, balance=b), x) for b in balances)
    best_tv = max(
        psnr(tv_deblur(y, operator=operator, weight=w, iterations=60), x) for w in weights
    )
    assert best_tv > psnr(y, x) + 2
    assert best_tv > best_wiener


def test_divergence_is_minus_the_adjoint_of_the_gradient() -> None:
    v = noise(torch.zeros(1, 3, 7, 6, dtype=torch.float64))
    p = noise(torch.zeros(2, 1, 3, 7, 6, dtype=torch.float64), seed=1)
    left, right = (gradient(v) * p).sum(), -(v * divergence(p)).sum()
    assert left.item() == pytest.approx(right.item(), rel=1e-12)


def test_tv_reconstruction_of_a_step_is_the_closed_form() -> None:
    """Between two plateaus of length n, total variation of weight λ moves each by λ/n."""
    step = torch.cat([torch.full((6,), 0.25), torch.full((6,), 0.75)]).double()
    y = step.expand(1, 1, 12)
    identity = FromFunction(lambda v: v, (1, 1, 12), dtype=torch.float64)
    found = tv_deblur(y, operator=identity, weight=0.3, iterations=300)
    expected = torch.cat([torch.full((6,), 0.3), torch.full((6,), 0.7)]).double()
    torch.testing.assert_close(found[0, 0], expected, atol=1e-5, rtol=0)


def test_tv_without_weight_is_least_squares(x: Tensor) -> None:
    scale = torch.tensor([0.5, 1.0, 0.8]).view(3, 1, 1)
    operator = FromFunction(lambda v: scale * v, tuple(x.shape))
    found = tv_deblur(scale * x, operator=operator, weight=0, iterations=300)
    torch.testing.assert_close(found, x, atol=1e-4, rtol=0)


def test_biharmonic_continues_a_plane_exactly_and_leaves_the_rest() -> None:
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    plane = ((rows + 2 * columns) / 64)[None].double()
    known = torch.ones(16, 16, dtype=torch.bool)
    known[6:9, 5:8] = False
    found = biharmonic(plane * known, mask=known)
    torch.testing.assert_close(found, plane, atol=1e-6, rtol=0)
    assert torch.equal(found[:, known], plane[:, known])


def test_biharmonic_refuses_a_mask_of_another_size(x: Tensor) -> None:
    with pytest.raises(ShapeError, match="64×64, as the picture"):
        biharmonic(x, mask=torch.ones(64, 63))


@pytest.fixture(scope="module")
def bowl() -> Tensor:
    """A paraboloid, which is biharmonic, from 0 in the middle."""
    rows, columns = torch.meshgrid(torch.arange(-8.0, 9), torch.arange(-8.0, 9), indexing="ij")
    return ((rows**2 + columns**2) / 128)[None].double()


def test_clipped_paraboloids_are_continued_exactly(bowl: Tensor) -> None:
    crushed = continued(bowl.clamp(min=0.2), low=0.2, high=2.0, tension=0)
    torch.testing.assert_close(crushed, bowl, atol=1e-6, rtol=0)
    blown = continued((1 - bowl).clamp(max=0.8), low=-2.0, high=0.8, tension=0)
    torch.testing.assert_close(blown, 1 - bowl, atol=1e-6, rtol=0)


def test_planes_are_continued_exactly_up_to_the_corner() -> None:
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(12.0), indexing="ij")
    plane = ((rows + 2 * columns) / 64)[None].double()
    found = continued(plane.clamp(max=0.4), low=-1.0, high=0.4, tension=0)
    torch.testing.assert_close(found, plane, atol=1e-6, rtol=0)


def test_values_that_are_not_clipped_stay_and_others_stay_beyond_their_end(x: Tensor) -> None:
    y = x.clamp(0.2, 0.7)
    found = continued(y, low=0.2, high=0.7)
    between = (y > 0.2) & (y < 0.7)
    assert torch.equal(found[between], y[between])
    assert bool((found[y >= 0.7] >= 0.7).all() and (found[y <= 0.2] <= 0.2).all())
    assert bool((found >= 0).all() and (found <= 1).all())


def test_great_tension_leaves_no_more_than_a_membrane(bowl: Tensor) -> None:
    """A membrane nowhere rises above its frame, so that clipped values stay as they are."""
    y = (1 - bowl).clamp(max=0.8)
    torch.testing.assert_close(continued(y, low=-2.0, high=0.8, tension=100), y)


def test_a_channel_that_is_clipped_everywhere_stays(bowl: Tensor) -> None:
    y = torch.cat([torch.ones_like(bowl), bowl.clamp(max=0.9)])
    found = continued(y, low=-1.0, high=0.9, tension=0)
    assert torch.equal(found[0], y[0])
    assert bool((found[1] > y[1]).any())


def test_senseless_settings_are_refused(x: Tensor) -> None:
    identity = FromFunction(lambda v: v, tuple(x.shape))
    with pytest.raises(InvalidOptionError):
        bicubic(x, factor=0)
    with pytest.raises(InvalidOptionError):
        tv_deblur(x, operator=identity, weight=-1)
    with pytest.raises(InvalidOptionError):
        continued(x, low=0.5, high=0.5)
    with pytest.raises(InvalidOptionError):
        continued(x, low=0, high=1, tension=-1)
    assert math.isfinite(psnr(tv_deblur(x, operator=identity, weight=1e-3), x))


@pytest.mark.parametrize("name", PLUGIN.baselines)
def test_every_declared_baseline_is_there(name: str) -> None:
    assert callable(PLUGIN.part("baselines", name))
