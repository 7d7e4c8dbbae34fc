"""Every image operator through ``reconstruct``, with a small untrained network as prior."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sfumato as sf
from sfumato.inverse.tasks import Task
from sfumato_image import PLUGIN
from sfumato_image.operators import (
    Colorize,
    Deblur,
    Declip,
    DeJPEG,
    Denoise,
    Inpaint,
    SuperResolve,
)

TASKS: dict[str, Task] = {
    "inpaint": Inpaint(),
    "super-resolve": SuperResolve(factor=2),
    "deblur": Deblur(),
    "deblur motion": Deblur(length=5, angle=20),
    "denoise": Denoise(),
    "dejpeg": DeJPEG(),
    "dejpeg, gaussian": DeJPEG(likelihood="gaussian"),
    "colorize": Colorize(),
    "declip": Declip(),
}


@pytest.fixture(scope="module")
def prior() -> sf.Prior:
    torch.manual_seed(0)
    return sf.Prior.new(
        "image", "unet", shape=(3, None, None), codec=sf.codecs.Affine(0.5, 0.5), head="variance",
        options={"widths": (8, 8), "blocks": (1, 1), "variance": True, "embedding": 8},
    )  # fmt: skip


@pytest.fixture
def photo(tmp_path: Path, photograph: np.ndarray) -> sf.Signal:
    path = tmp_path / "photo.png"
    Image.fromarray(photograph[:38, :46]).save(path)
    return PLUGIN.read(path)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_an_operator_goes_from_file_to_file(
    task: Task, prior: sf.Prior, photo: sf.Signal, tmp_path: Path
) -> None:
    measured = task.degrade(photo, seed=1)
    result = sf.reconstruct(prior, task, measured, n=2, seed=0, steps=3)
    factor = 2 if isinstance(task, SuperResolve) else 1
    expected = task.bind(measured).operator.data_shape(tuple(task.bind(measured).y.shape))[1:]
    assert result.samples.shape == (2, *expected)
    assert expected[1:] == tuple(factor * n for n in measured.data.shape[1:])
    result.save(tmp_path / "out")
    assert (tmp_path / "out" / "report.html").is_file()
    (restored,) = (tmp_path / "out").glob("restored.*")
    assert PLUGIN.read(restored).data.shape == result.mean.shape


GREY = {name: task for name, task in TASKS.items() if name != "colorize"}


@pytest.mark.parametrize("task", GREY.values(), ids=GREY.keys())
@pytest.mark.parametrize("kind", ["png", "png 16", "png alpha", "jpg", "tif", "tif 16"])
def test_a_grey_file_comes_back_grey_from_a_prior_of_colours(
    task: Task, kind: str, prior: sf.Prior, tmp_path: Path, photograph: np.ndarray
) -> None:
    pixels = np.maximum(photograph[:38, :46, 1], 70) - 70  # black in places, for declip
    suffix, _, depth = kind.partition(" ")
    path = tmp_path / f"grey.{suffix}"
    if depth == "16":
        Image.fromarray(pixels.astype(np.uint16) * 257).save(path)
    elif depth == "alpha":
        opaque = np.full_like(pixels, 255)
        opaque[10:14, 5:30] = 0
        Image.fromarray(np.stack([pixels, opaque], axis=-1), "LA").save(path)
    else:
        Image.fromarray(pixels).save(path)
    signal = PLUGIN.read(path)
    measured = replace(task.degrade(signal, seed=1), path=path)  # as if it had been this file
    result = sf.reconstruct(prior, task, measured, n=2, seed=0, steps=2)
    assert result.samples.shape[:2] == (2, 1)
    assert any("takes all of its channels as equal" in note for note in result.record["notes"])
    result.save(tmp_path / "out")
    (restored,) = (tmp_path / "out").glob("restored.*")
    written = PLUGIN.read(restored)
    assert written.data.shape == result.mean.shape
    if not isinstance(task, DeJPEG):  # which measures an 8-bit JPEG file, whatever it was made of
        assert written.meta["format"] == signal.meta["format"]
        assert written.meta["dtype"] == ("uint16" if depth == "16" else "uint8")


def test_colouring_a_grey_file_gives_colours_and_no_note_on_channels(
    prior: sf.Prior, tmp_path: Path, photograph: np.ndarray
) -> None:
    path = tmp_path / "grey.png"
    Image.fromarray(photograph[:38, :46, 1]).save(path)
    result = sf.reconstruct(prior, Colorize(), PLUGIN.read(path), n=1, steps=2)
    assert result.samples.shape[1] == 3
    assert not any("as equal" in note for note in result.record["notes"])


def test_a_scratch_in_a_large_picture_is_repaired_bit_by_bit(
    prior: sf.Prior, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (500, 700, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    pixels[100:104, 200:240, 3] = 0
    pixels[400:410, 600:603, 3] = 0
    path = tmp_path / "large.png"
    Image.fromarray(pixels).save(path)
    result = sf.reconstruct(prior, Inpaint(), PLUGIN.read(path), n=1, steps=2)
    assert result.record["parts"] == 2
    result.save(tmp_path / "out")
    restored = np.asarray(Image.open(tmp_path / "out" / "restored.png"))
    known = pixels[..., 3] == 255
    assert restored.shape == (500, 700, 3)
    assert np.array_equal(restored[known], pixels[known][:, :3])


@pytest.mark.slow
def test_the_demo_tells_its_story(prior: sf.Prior, tmp_path: Path) -> None:
    from sfumato_image.demo import run

    report = run(tmp_path / "demo", seed=0, prior=prior)
    page = report.read_text(encoding="utf-8")
    assert report.name == "report.html"
    for word in ("Scratches removed", "Enlarged 4 times", "Sharpened", "before fine-tuning"):
        assert word in page
    for name in ("inpaint", "super-resolve", "deblur", "denoise"):
        assert (report.parent / name / "restored.png").is_file()
    assert (report.parent / "finetuned" / "prior.json").is_file()
