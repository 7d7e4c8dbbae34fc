"""Metrics equal scikit-image's, item by item; the learned distance orders damage as people do."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torch.nn import functional

from sfumato.errors import MissingDependencyError, ShapeError, UnknownNameError
from sfumato.signals import Signal
from sfumato_image import PLUGIN
from sfumato_image.metrics import mae, psnr, ssim
from sfumato_image.perceptual import PACKAGE, el0
from sfumato_image.pictures import (
    PHOTOGRAPHS,
    difference,
    diverging,
    heat,
    photograph,
    picture,
    ramp,
)

Metric = Callable[..., Tensor]


def pair(channels: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    reference = photograph("coffee", size=64).data[:channels].to(dtype)
    noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return reference + 0.1 * noise, reference


@pytest.mark.parametrize("data_range", [1.0, 2.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_psnr_and_ssim_are_those_of_scikit_image(channels: int, data_range: float) -> None:
    a, b = pair(channels)
    expected_psnr = peak_signal_noise_ratio(b.numpy(), a.numpy(), data_range=data_range)
    expected_ssim = structural_similarity(
        a.numpy(), b.numpy(), data_range=data_range, channel_axis=0
    )
    assert psnr(a, b, data_range=data_range).item() == pytest.approx(expected_psnr, abs=1e-10)
    assert ssim(a, b, data_range=data_range).item() == pytest.approx(expected_ssim, abs=1e-10)


@pytest.mark.parametrize("name", ["psnr", "ssim", "mae"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_gives_each_item_its_own_number(name: str, dtype: torch.dtype) -> None:
    metric = PLUGIN.part("metrics", name)
    a, b = pair(3, dtype)
    batch = metric(torch.stack([a, b, a * 0.5]), torch.stack([b, b, b]))
    assert batch.dtype == dtype
    single = torch.stack([metric(a, b), metric(b, b), metric(a * 0.5, b)])
    torch.testing.assert_close(batch, single, rtol=1e-5, atol=1e-7)


def test_equal_pictures_are_perfect() -> None:
    _, b = pair(3)
    assert psnr(b, b).item() == float("inf")
    assert ssim(b, b).item() == pytest.approx(1)
    assert mae(b, b).item() == 0


@pytest.mark.parametrize("metric", [psnr, ssim, mae])
def test_different_shapes_are_refused(metric: Metric) -> None:
    with pytest.raises(ShapeError, match="as the reference"):
        metric(torch.zeros(3, 8, 8), torch.zeros(3, 8, 9))


def test_ssim_refuses_pictures_smaller_than_its_window() -> None:
    with pytest.raises(ShapeError, match="at least 7"):
        ssim(torch.zeros(1, 6, 9), torch.zeros(1, 6, 9))


needs_weights = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None, reason=f"{PACKAGE} is not installed"
)


@needs_weights
def test_the_network_recognises_what_is_in_a_photograph() -> None:
    from sfumato_image.perceptual import pretrained

    x = photograph("chelsea", size=224).data[None]
    with torch.no_grad():
        best = pretrained()((255 * x - 127) / 128).topk(3).indices[0].tolist()
    assert set(best) <= {281, 282, 285}  # tabby, tiger cat, Egyptian cat


@needs_weights
def test_el0_orders_damage_as_people_do_where_psnr_does_not() -> None:
    x = photograph("chelsea", size=128).data

    def blurred(factor: int) -> Tensor:
        small = functional.avg_pool2d(x[None], factor)
        return functional.interpolate(small, scale_factor=factor, mode="bilinear")[0]

    brighter, finer, coarser = x + 0.05, blurred(2), blurred(4)
    assert psnr(brighter, x) < psnr(finer, x)
    assert el0(x, x) == 0
    assert el0(brighter, x) < el0(finer, x) < el0(coarser, x)


@needs_weights
def test_el0_of_a_batch_is_that_of_its_items_and_takes_grey() -> None:
    x = photograph("coffee", size=64).data[:1]
    a = torch.stack([x.roll(1, 2), x * 0.5])
    both = el0(a, torch.stack([x, x]))
    single = torch.stack([el0(a[0], x), el0(a[1], x)])
    torch.testing.assert_close(both, single, rtol=1e-4, atol=1e-6)


def test_el0_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from sfumato_image import perceptual

    monkeypatch.setattr(perceptual, "PACKAGE", "no_such_package")
    perceptual.pretrained.cache_clear()
    with pytest.raises(MissingDependencyError, match="pip install no-such-package"):
        el0(torch.zeros(3, 32, 32), torch.zeros(3, 32, 32))


def test_a_picture_shows_the_values_of_a_file() -> None:
    signal = photograph("coffee", size=32)
    expected = (255 * signal.data).round().permute(1, 2, 0).numpy()
    assert np.array_equal(np.asarray(picture(signal)), expected)


def test_a_picture_stretches_floats_in_other_units_and_survives_nan() -> None:
    data = torch.linspace(1000, 3000, 100).reshape(1, 10, 10)
    data[0, 5, 5] = torch.nan
    shown = np.asarray(picture(Signal(data, {"dtype": "float32"})))
    assert shown[0, 0] == 0
    assert shown[-1, -1] == 255
    assert shown[5, 5] == 128


def test_a_picture_of_other_channels_is_refused() -> None:
    with pytest.raises(ShapeError):
        picture(Signal(torch.zeros(2, 4, 4)))


def test_equal_steps_of_spread_look_equal() -> None:
    lab = rgb2lab(ramp()[None] / 255)[0]
    assert np.diff(lab[::4, 0]).min() > 0
    steps = deltaE_ciede2000(lab[:-8:8], lab[8::8])
    assert steps.max() / steps.min() < 1.5


def test_the_diverging_map_is_white_at_zero_and_equally_dark_at_both_ends() -> None:
    lab = rgb2lab(diverging()[None] / 255)[0]
    np.testing.assert_allclose(lab[:, 0], lab[::-1, 0], atol=1)
    assert np.abs(lab[127, 1:]).max() < 1


def test_the_heat_map_is_lighter_where_the_spread_is_larger() -> None:
    std = torch.linspace(0, 0.2, 64).reshape(1, 8, 8)
    shown = np.asarray(heat(std, limit=0.2))
    assert np.array_equal(shown[0, 0], ramp()[0])
    assert np.array_equal(shown[-1, -1], ramp()[-1])
    assert np.asarray(heat(torch.zeros(3, 4, 4))).shape == (4, 4, 3)


def test_the_difference_map_is_blue_below_and_red_above() -> None:
    a = torch.zeros(3, 4, 4)
    b = torch.zeros(3, 4, 4)
    a[:, 0, 0], b[:, 3, 3] = 1, 1
    shown = np.asarray(difference(a, b, limit=1)).astype(int)
    assert shown[0, 0, 0] > shown[0, 0, 2] + 50
    assert shown[3, 3, 2] > shown[3, 3, 0] + 50
    assert shown[1, 1].min() > 240


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_come_with_scikit_image(name: str) -> None:
    signal = photograph(name, size=64)
    assert signal.data.shape == (3, 64, 64)
    assert isinstance(picture(signal), Image.Image)


def test_an_unknown_photograph_suggests_another() -> None:
    with pytest.raises(UnknownNameError, match="chelsea"):
        photograph("chelse")
