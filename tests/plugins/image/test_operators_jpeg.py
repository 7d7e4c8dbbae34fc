"""JPEG: coefficients exactly as stored, and intervals that hold the original picture."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import idctn
from torch import Tensor

from sfumato.errors import InvalidOptionError, ShapeError, UnreadableFileError
from sfumato.signals import Signal
from sfumato_image.operators import DeJPEG
from sfumato_image.operators.jpeg_files import read_jpeg
from sfumato_image.operators.jpeg_planes import MATRICES, BlockCosine, extend, fold

Pixels = NDArray[np.uint8]

CODINGS = {
    "baseline": {"quality": 75, "subsampling": 2},
    "fine": {"quality": 95, "subsampling": 0},
    "optimised": {"quality": 50, "optimize": True},
    "progressive": {"quality": 60, "progressive": True},
    "progressive, fine": {"quality": 96, "progressive": True, "subsampling": 0},
    "restarts": {"quality": 60, "restart_marker_blocks": 3},
    "progressive, restarts": {"quality": 60, "restart_marker_rows": 1, "progressive": True},
}


def encoded(pixels: Pixels, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)  # type: ignore[arg-type]
    return file.getvalue()


def odd(photograph: Pixels) -> Pixels:
    return photograph[:43, :61]


def as_signal(data: bytes, *, orientation: int = 1, shape: tuple[int, ...]) -> Signal:
    return Signal(torch.zeros(shape), {"encoded": data, "orientation": orientation})


def as_tensor(pixels: Pixels) -> Tensor:
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    return torch.from_numpy(planes.transpose(2, 0, 1).astype(np.float32) / 255)


@pytest.mark.parametrize("options", CODINGS.values(), ids=CODINGS.keys())
def test_the_luma_coefficients_decode_to_what_libjpeg_decodes(
    photograph: Pixels, options: dict[str, object]
) -> None:
    data = encoded(odd(photograph), **options)
    luma = read_jpeg(data, "x.jpg").planes[0]
    coefficients = luma.quantised.numpy() * luma.table.numpy()
    blocks = idctn(coefficients, axes=(2, 3), norm="ortho")
    rows, columns = blocks.shape[:2]
    plane = blocks.transpose(0, 2, 1, 3).reshape(8 * rows, 8 * columns)[:43, :61] + 128
    with Image.open(io.BytesIO(data)) as image:
        image.draft("YCbCr", image.size)
        reference = np.asarray(image)[..., 0].astype(float)
    # the reference is rounded to integers (0.5) by an integer transform (accurate to about 0.1)
    assert np.abs(plane.clip(0, 255) - reference).max() < 0.7


@pytest.mark.parametrize("options", CODINGS.values(), ids=CODINGS.keys())
def test_the_original_picture_lies_in_the_intervals(
    photograph: Pixels, options: dict[str, object]
) -> None:
    pixels = odd(photograph)
    signal = as_signal(encoded(pixels, **options), shape=(3, 43, 61))
    bound = DeJPEG(likelihood="intervals").bind(signal)
    z = bound.operator(as_tensor(pixels)[None])
    low, high = bound.operator.likelihood.bounds(bound.y)
    outside = 255 * torch.maximum(low - z, z - high).clamp(min=0)
    # planes are rounded to integers before the transform: σ ≈ 0.3; 6 σ bounds 8,000 coefficients
    assert float(outside.max()) < 1.8
    assert float((outside > 0).float().mean()) < 0.05


def test_progressive_and_sequential_files_hold_the_same_coefficients(photograph: Pixels) -> None:
    first = read_jpeg(encoded(odd(photograph), quality=80), "a.jpg")
    second = read_jpeg(encoded(odd(photograph), quality=80, progressive=True), "b.jpg")
    for a, b in zip(first.planes, second.planes, strict=True):
        assert torch.equal(a.quantised, b.quantised)


def test_grey_files_have_one_plane(photograph: Pixels) -> None:
    grey = odd(photograph)[..., 1].copy()
    signal = as_signal(encoded(grey, quality=40), shape=(1, 43, 61))
    bound = DeJPEG(likelihood="gaussian").bind(signal)
    residual = bound.operator.likelihood.residual(bound.y, bound.operator(as_tensor(grey)[None]))
    assert float(residual.abs().max()) < 12**0.5 / 2 + 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotated_pictures_are_measured_as_stored(photograph: Pixels, orientation: int) -> None:
    from sfumato_image.files.pixels import upright

    pixels = odd(photograph)
    turned = np.ascontiguousarray(upright(pixels, orientation))
    x = as_tensor(turned)
    signal = as_signal(encoded(pixels, quality=80), orientation=orientation, shape=tuple(x.shape))
    bound = DeJPEG(likelihood="intervals").bind(signal)
    assert (
        float(bound.operator.likelihood.residual(bound.y, bound.operator(x[None])).abs().max()) < 6
    )


def test_a_file_on_disk_is_read_again(tmp_path: Path, photograph: Pixels) -> None:
    from sfumato_image import PLUGIN

    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(odd(photograph), quality=30))
    bound = DeJPEG().bind(PLUGIN.read(path))
    assert bound.operator.data_shape(tuple(bound.y.shape)) == (1, 3, 43, 61)
    assert any("luma steps" in note for note in bound.notes)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_simulated_files_have_the_quality_and_subsampling_asked_for(
    photograph: Pixels, subsampling: str
) -> None:
    task = DeJPEG(quality=30, subsampling=subsampling)  # type: ignore[arg-type]
    planes = read_jpeg(task.degrade(Signal(as_tensor(photograph))).meta["encoded"], "x").planes
    expected = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:2:0": (2, 2)}[subsampling]
    assert (planes[1].vertical, planes[1].horizontal) == expected
    assert int(planes[0].table[0, 0]) == 27  # 16 · (5000/30)/100, rounded


def test_the_simulated_file_is_not_kept_for_the_result(photograph: Pixels) -> None:
    measured = DeJPEG().degrade(Signal(as_tensor(photograph)))
    assert "encoded" not in DeJPEG().bind(measured).signal.meta


def test_extending_and_folding_are_adjoint() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64)
    y = torch.randn(2, 5, 12, generator=generator, dtype=torch.float64)
    forward, backward = (extend(x, -1, 12) * y).sum(), (x * fold(y, -1, 7)).sum()
    assert float(forward) == pytest.approx(float(backward), rel=1e-12)


def test_without_subsampling_the_block_transform_is_orthonormal() -> None:
    operator = BlockCosine(16, 24, MATRICES["rgb"], ((1, 1),) * 3)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 16, 24, generator=generator, dtype=torch.float64)
    assert torch.allclose(operator.adjoint(operator(x)), x, atol=1e-12)


@pytest.mark.parametrize("spread", [1e-1, 1e-3, 1e-5])
@pytest.mark.parametrize("local", [False, True])
def test_the_regularised_inverse_converges_for_tables_of_any_range(
    photograph: Pixels, spread: float, local: bool
) -> None:
    task = DeJPEG(quality=20, likelihood="gaussian")
    bound = task.bind(task.degrade(Signal(as_tensor(photograph))))
    noise = bound.operator.likelihood.variance.double()
    generator = torch.Generator().manual_seed(0)
    relief = torch.rand(1, 3, 48, 64, generator=generator, dtype=torch.float64)
    variance = spread * (0.1 + relief) if local else torch.tensor(spread).double()
    y = bound.y.double()
    u = bound.operator.solve(y, variance, noise, tolerance=1e-5, iterations=50)
    again = bound.operator(variance * bound.operator.adjoint(u)) + noise * u
    assert float((again - y).norm()) < 1e-4 * float(y.norm())


def test_the_diagonal_is_that_of_the_matrix() -> None:
    operator = BlockCosine(16, 16, MATRICES["ycbcr"], ((1, 1), (2, 2), (2, 2)))
    y = torch.eye(16 * 16 + 2 * 64, dtype=torch.float64)
    exact = operator.adjoint(y).square().sum(dim=(1, 2, 3))
    found = operator.diagonal(torch.tensor(1.0, dtype=torch.float64), 1)[0]
    assert torch.allclose(found, exact)


def test_files_that_are_cut_off_are_refused(photograph: Pixels) -> None:
    for progressive, share in itertools.product((False, True), (0.2, 0.5, 0.8)):
        whole = encoded(odd(photograph), quality=80, progressive=progressive)
        with pytest.raises(UnreadableFileError, match=r"cut\.jpg.*(damaged|no JPEG)"):
            read_jpeg(whole[: int(share * len(whole))], "cut.jpg")


def test_damaged_files_are_read_or_refused_and_raise_nothing_else(photograph: Pixels) -> None:
    random = np.random.default_rng(0)
    whole = encoded(odd(photograph), quality=50, progressive=True)
    refused = 0
    for _ in range(60):
        broken = bytearray(whole)
        for place in random.integers(2, len(whole), size=3):
            broken[place] = random.integers(256)
        try:
            read_jpeg(bytes(broken), "broken.jpg")
        except (UnreadableFileError, ShapeError):
            refused += 1
    assert refused > 5


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xd9"])
def test_what_is_no_jpeg_file_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableFileError, match="no JPEG file"):
        read_jpeg(data, "x.jpg")


def test_cmyk_files_are_refused_with_help(photograph: Pixels) -> None:
    file = io.BytesIO()
    Image.fromarray(photograph).convert("CMYK").save(file, "JPEG")
    with pytest.raises(ShapeError, match="convert CMYK to RGB"):
        read_jpeg(file.getvalue(), "x.jpg")


def test_a_picture_without_its_file_is_refused() -> None:
    with pytest.raises(UnreadableFileError, match="give the JPEG file as it was saved"):
        DeJPEG().bind(Signal(torch.zeros(3, 8, 8)))


def test_a_picture_of_another_size_than_its_file_is_refused(photograph: Pixels) -> None:
    with pytest.raises(ShapeError, match="3×48×64 as in its file"):
        DeJPEG().bind(as_signal(encoded(photograph), shape=(3, 24, 32)))


@pytest.mark.parametrize(
    "options", [{"quality": 0}, {"quality": 96}, {"subsampling": "4:1:0"}, {"likelihood": "flat"}]
)
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidOptionError, match="dejpeg"):
        DeJPEG(**options)  # type: ignore[arg-type]
