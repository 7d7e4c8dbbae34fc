"""Inpainting: where damage is found, and that nothing else is touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sfumato.errors import InvalidOptionError, ShapeError, UnreadableFileError
from sfumato.signals import Signal
from sfumato_image.operators import Inpaint
from sfumato_image.operators.inpaint import dilated, parsed


def noise(channels: int = 3, height: int = 40, width: int = 50) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(channels, height, width, generator=generator)


def mask_file(folder: Path, damaged: Tensor, mode: str = "L") -> Path:
    path = folder / "mask.png"
    pixels = Image.fromarray((255 * damaged.numpy()).astype(np.uint8)).convert(mode)
    pixels.save(path)
    return path


def spot(height: int = 40, width: int = 50) -> Tensor:
    damaged = torch.zeros(height, width, dtype=torch.bool)
    damaged[10:14, 20:25] = True
    return damaged


@pytest.mark.parametrize("mode", ["L", "RGB", "1"])
def test_white_in_the_mask_is_damaged(tmp_path: Path, mode: str) -> None:
    bound = Inpaint(mask=mask_file(tmp_path, spot(), mode)).bind(Signal(noise()))
    assert torch.equal(bound.operator.support[0], ~spot())


def test_an_inverted_mask_is_black_where_damaged(tmp_path: Path) -> None:
    bound = Inpaint(mask=mask_file(tmp_path, ~spot()), invert=True).bind(Signal(noise()))
    assert torch.equal(bound.operator.support[0], ~spot())


def test_transparent_pixels_are_damaged_and_become_opaque() -> None:
    alpha = 1 - spot().float()[None]
    bound = Inpaint().bind(Signal(noise(), {"alpha": alpha}))
    assert torch.equal(bound.operator.support[0], ~spot())
    assert bound.signal.meta["alpha"] is None


def test_a_mask_file_leaves_the_transparency_alone(tmp_path: Path) -> None:
    alpha = torch.full((1, 40, 50), 0.5)
    bound = Inpaint(mask=mask_file(tmp_path, spot())).bind(Signal(noise(), {"alpha": alpha}))
    assert torch.equal(bound.signal.meta["alpha"], alpha)


def test_a_colour_marks_damage_within_the_tolerance() -> None:
    data = 0.5 * noise()
    data[:, spot()] = torch.tensor([1.0, 4 / 255, 1.0])[:, None]
    bound = Inpaint(colour="#ff00ff", tolerance=5).bind(Signal(data))
    assert torch.equal(bound.operator.support[0], ~spot())
    with pytest.raises(InvalidOptionError, match="marks no pixel"):
        Inpaint(colour="#ff00ff", tolerance=2).bind(Signal(data))


def test_dilation_grows_damage_by_so_many_pixels() -> None:
    damaged = torch.zeros(9, 9, dtype=torch.bool)
    damaged[4, 4] = True
    grown = dilated(damaged, 2)
    assert int(grown.sum()) == 25
    assert bool(grown[2:7, 2:7].all())


@pytest.mark.parametrize("sigma", [0.0, 4.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_undamaged_pixels_come_back_bit_by_bit(tmp_path: Path, sigma: float, channels: int) -> None:
    data = noise(channels)
    bound = Inpaint(mask=mask_file(tmp_path, spot()), noise=sigma).bind(Signal(data))
    wrong = torch.full_like(data, 7.0)
    result = bound.finish(wrong)
    assert torch.equal(result[:, ~spot()], data[:, ~spot()])
    assert bool((result[:, spot()] == 7).all())


def test_without_noise_the_measurement_is_exact() -> None:
    eight_bits = {"dtype": "uint8", "scale": 255.0, "alpha": 1 - spot().float()[None]}
    bound = Inpaint().bind(Signal(noise(), eight_bits))
    assert float(bound.operator.likelihood.variance) == 0


def test_windows_put_back_together_fill_the_damage_and_nothing_else(tmp_path: Path) -> None:
    damaged = torch.zeros(600, 700, dtype=torch.bool)
    damaged[30:40, 50:90] = damaged[500:505, 600:640] = True
    data = noise(3, 600, 700)
    bound = Inpaint(mask=mask_file(tmp_path, damaged)).bind(Signal(data))
    assert len(bound.parts) == 2
    assert bound.base is not None
    result = bound.base.clone()
    for part in bound.parts:
        truth = data[part.place][None]
        assert torch.equal(part.operator(truth), part.y)
        repaired = torch.full_like(truth[0], 7.0)
        result[part.place][part.keep] = repaired[part.keep]
    result = bound.finish(result)
    assert bool((result[:, damaged] == 7).all())
    assert torch.equal(result[:, ~damaged], data[:, ~damaged])


def test_damage_everywhere_is_one_problem(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    damaged = torch.rand(200, 200, generator=generator) < 0.5
    bound = Inpaint(mask=mask_file(tmp_path, damaged)).bind(Signal(noise(3, 200, 200)))
    assert bound.parts == ()
    assert any("as a whole" in note for note in bound.notes)


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    path = mask_file(tmp_path, spot(40, 51))
    with pytest.raises(ShapeError, match="40×51, expected 40×50"):
        Inpaint(mask=path).bind(Signal(noise()))


@pytest.mark.parametrize(("value", "word"), [(False, "no pixel"), (True, "every pixel")])
def test_an_empty_or_full_mask_is_refused(tmp_path: Path, value: bool, word: str) -> None:
    path = mask_file(tmp_path, torch.full((40, 50), value))
    with pytest.raises(InvalidOptionError, match=f"{word}.*invert"):
        Inpaint(mask=path).bind(Signal(noise()))


def test_a_missing_mask_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"nothing\.png.*no such file"):
        Inpaint(mask=tmp_path / "nothing.png").bind(Signal(noise()))


def test_a_picture_that_says_nothing_about_its_damage_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="give a mask file or a colour"):
        Inpaint().bind(Signal(noise(), {"alpha": None}))


@pytest.mark.parametrize("colour", ["", "#12345", "#gggggg", "red", "#1234567"])
def test_a_colour_that_is_none_is_refused(colour: str) -> None:
    with pytest.raises(InvalidOptionError, match="write it like '#ff00ff'"):
        Inpaint(colour=colour)


def test_colours_are_read_in_both_notations() -> None:
    assert parsed("#f0f") == parsed("ff00ff") == (1.0, 0.0, 1.0)


@pytest.mark.parametrize(
    "options", [{"dilate": -1}, {"dilate": 1.5}, {"tolerance": -1.0}, {"tolerance": 256.0}]
)
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InvalidOptionError):
        Inpaint(**options)  # type: ignore[arg-type]


def test_mask_and_colour_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidOptionError, match="give one of them"):
        Inpaint(mask=tmp_path / "m.png", colour="#fff")


def test_simulated_scratches_are_transparent_or_coloured() -> None:
    clean = Signal(0.5 * noise())
    transparent = Inpaint().degrade(clean, seed=2)
    coloured = Inpaint(colour="#00ff00").degrade(clean, seed=2)
    gone = transparent.meta["alpha"][0] == 0
    assert bool(gone.any())
    green = torch.tensor([0.0, 1.0, 0.0])[:, None]
    assert bool((coloured.data[:, gone] == green).all())
    assert torch.equal(coloured.data[:, ~gone], clean.data[:, ~gone])


@pytest.mark.parametrize("shape", [(1, 2), (3, 1), (5, 200)], ids=str)
def test_simulated_scratches_fit_pictures_of_any_shape(shape: tuple[int, int]) -> None:
    clean = Signal(torch.full((3, *shape), 0.5))
    for seed in range(5):
        Inpaint().bind(Inpaint().degrade(clean, seed=seed))
