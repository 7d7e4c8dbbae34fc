"""Deblurring and enlarging: kernels, closed forms, refused files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.errors import (
    InvalidOptionError,
    NotFiniteError,
    SfumatoError,
    ShapeError,
    UnreadableFileError,
)
from sfumato.signals import Signal
from sfumato_image.operators import Deblur, SuperResolve
from sfumato_image.operators.blur_kernels import from_file, gaussian, motion


def picture(height: int = 31, width: int = 41) -> Signal:
    generator = torch.Generator().manual_seed(0)
    return Signal(torch.rand(3, height, width, generator=generator))


@pytest.mark.parametrize("sigma", [0.8, 1.6, 5.0])
def test_a_gaussian_kernel_has_its_standard_deviation(sigma: float) -> None:
    kernel = gaussian(sigma)
    place = torch.arange(kernel.shape[0], dtype=torch.float64) - kernel.shape[0] // 2
    variance = float((kernel.sum(dim=0) * place**2).sum())
    assert float(kernel.sum()) == pytest.approx(1)
    # cut off at 4 σ, where 0.1 % of the variance is lost; sampling adds less from σ = 0.8 on
    assert variance == pytest.approx(sigma**2, rel=0.01)


@pytest.mark.parametrize("angle", [0.0, 30.0, 45.0, 90.0, 200.0])
def test_a_motion_kernel_has_its_length_and_direction(angle: float) -> None:
    kernel = motion(21.0, angle)
    place = torch.arange(kernel.shape[0], dtype=torch.float64) - kernel.shape[0] // 2
    rows, columns = place[:, None], place[None]
    along = columns * math.cos(math.radians(angle)) - rows * math.sin(math.radians(angle))
    across = columns * math.sin(math.radians(angle)) + rows * math.cos(math.radians(angle))
    # a uniform path of 20 has variance 20²/12; sharing among pixels adds at most 1/4 per axis
    assert float((kernel * along**2).sum()) == pytest.approx(20**2 / 12, abs=0.6)
    assert float((kernel * across**2).sum()) < 0.3
    assert float(kernel.sum()) == pytest.approx(1)
    assert torch.equal(kernel, kernel.flip(0, 1))


def test_a_motion_of_one_pixel_does_nothing() -> None:
    kernel = motion(1.0, 0.0)
    assert float(kernel[1, 1]) == pytest.approx(1)


@pytest.mark.parametrize(
    "task",
    [
        Deblur(sigma=2.0),
        Deblur(length=9, angle=0),
        Deblur(length=9, angle=90),
        Deblur(length=9, angle=33, boundary="circular"),
        SuperResolve(factor=2),
        SuperResolve(factor=4, kernel="box"),
    ],
    ids=repr,
)
def test_closed_forms_exist_where_the_kernel_allows_them(task: Deblur | SuperResolve) -> None:
    assert task.bind(picture()).operator.spectrum is not None  # type: ignore[attr-defined]


def test_blurring_keeps_the_mean_brightness() -> None:
    clean = picture()
    blurred = Deblur(sigma=3.0, noise=0.0, boundary="circular").degrade(clean)
    assert torch.allclose(blurred.data.mean((1, 2)), clean.data.mean((1, 2)), atol=1e-5)


def test_a_kernel_from_an_array_and_from_a_picture_is_scaled_to_sum_one(tmp_path: Path) -> None:
    values = np.zeros((5, 3))
    values[2, 1], values[0, 0] = 200, 50
    np.save(tmp_path / "k.npy", values)
    Image.fromarray(values.astype(np.uint8)).save(tmp_path / "k.png")
    expected = torch.from_numpy(values / 250)
    assert torch.allclose(from_file(tmp_path / "k.npy"), expected)
    assert torch.allclose(from_file(tmp_path / "k.png"), expected, atol=1e-6)


def test_a_kernel_is_what_one_bright_point_becomes(tmp_path: Path) -> None:
    values = np.arange(15.0).reshape(3, 5)
    np.save(tmp_path / "k.npy", values)
    point = torch.zeros(1, 11, 13)
    point[0, 5, 6] = 1
    seen = Deblur(kernel=tmp_path / "k.npy", noise=0.0).degrade(Signal(point)).data
    assert torch.allclose(
        seen[0, 4:7, 4:9], torch.from_numpy(values / values.sum()).float(), atol=1e-6
    )


BAD_KERNELS: dict[str, tuple[object, type[SfumatoError], str]] = {
    "even": (np.ones((4, 5)), ShapeError, "two odd sides"),
    "one axis": (np.ones(5), ShapeError, "two odd sides"),
    "zero": (np.zeros((3, 3)), InvalidOptionError, "all of it is zero"),
    "negative": (-np.ones((3, 3)), InvalidOptionError, "positive sum"),
    "balanced": (np.array([[1.0, 0.0, -1.0]]), InvalidOptionError, "positive sum"),
    "nan": (np.array([[1.0, np.nan, 1.0]]), NotFiniteError, "1 of 3"),
    "infinite": (np.array([[1.0, np.inf, 1.0]]), NotFiniteError, "1 of 3"),
}


@pytest.mark.parametrize("case", BAD_KERNELS.values(), ids=BAD_KERNELS.keys())
def test_a_file_that_holds_no_blur_is_refused(
    tmp_path: Path, case: tuple[object, type[SfumatoError], str]
) -> None:
    values, error, message = case
    np.save(tmp_path / "k.npy", values)  # type: ignore[arg-type]
    with pytest.raises(error, match=message):
        Deblur(kernel=tmp_path / "k.npy").bind(picture())


def test_a_kernel_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "k.npy").write_bytes(b"nothing")
    for name in ("k.npy", "missing.npy", "missing.png"):
        with pytest.raises(UnreadableFileError, match=name):
            Deblur(kernel=tmp_path / name).bind(picture())


def test_two_kinds_of_blur_at_once_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="sigma and length are given"):
        Deblur(sigma=1.0, length=5.0)


@pytest.mark.parametrize(
    "options",
    [{"sigma": 0.0}, {"sigma": math.nan}, {"length": 0.5}, {"angle": math.inf}, {"boundary": "no"}],
    ids=repr,
)
def test_deblur_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidOptionError, match="deblur"):
        Deblur(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"factor": 5}, {"factor": 1}, {"kernel": "nearest"}], ids=repr)
def test_super_resolve_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidOptionError, match="super-resolve"):
        SuperResolve(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
@pytest.mark.parametrize("kernel", ["box", "bicubic"])
def test_the_result_is_factor_times_larger(factor: int, kernel: str) -> None:
    task = SuperResolve(factor=factor, kernel=kernel)  # type: ignore[arg-type]
    bound = task.bind(picture(5, 7))
    assert bound.operator.data_shape(tuple(bound.y.shape)) == (1, 3, 5 * factor, 7 * factor)


def test_bicubic_reduction_is_what_pillow_does() -> None:
    ramp = np.random.default_rng(0).random((32, 48), dtype=np.float32)
    image = Image.fromarray(ramp).resize((12, 8), Image.Resampling.BICUBIC)
    small = SuperResolve(factor=4, noise=0.0).degrade(Signal(torch.from_numpy(ramp)[None]))
    assert np.abs(small.data[0].numpy() - np.asarray(image)).max() < 1e-5


def test_a_factor_that_does_not_divide_is_refused_with_the_size_that_works() -> None:
    with pytest.raises(ShapeError, match="crop it to 28×40"):
        SuperResolve(factor=4).degrade(picture(31, 41))
