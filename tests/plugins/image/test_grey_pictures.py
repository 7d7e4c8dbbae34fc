"""Grey photographs with the shipped prior of coloured ones, from file to file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import sfumato as sf
from sfumato.inverse.likelihoods import Gaussian
from sfumato.inverse.standard import Mask
from sfumato_image import PLUGIN
from sfumato_image.metrics import psnr
from sfumato_image.operators import DeJPEG, Denoise, Inpaint

pytestmark = pytest.mark.slow
CROP = data.camera()[192:256, 200:264]
TRUTH = torch.from_numpy(CROP / np.float32(255))[None]


@pytest.fixture(scope="module")
def prior() -> sf.Prior:
    return sf.Prior.load("photo", plugin="image")


def test_noise_is_removed_better_than_by_classical_methods(prior: sf.Prior) -> None:
    task = Denoise(noise=25)
    bound = task.bind(task.degrade(sf.Signal(TRUTH), seed=0))
    result = sf.reconstruct(prior, bound.operator, bound.y, n=1)
    found = float(psnr(result.mean.clamp(0, 1), TRUTH))
    for name in ("tv", "nlm", "wavelet"):
        other = PLUGIN.part("baselines", name)(bound.operator, bound.y)[0]
        assert found > float(psnr(other.clamp(0, 1), TRUTH)) + 0.5


def test_a_compressed_file_becomes_better_and_stays_in_its_intervals(prior: sf.Prior) -> None:
    task = DeJPEG(quality=10)
    file = task.degrade(sf.Signal(TRUTH))
    result = sf.reconstruct(prior, task, file, n=2)
    assert result.record["solver"] == "matched"
    assert result.samples.shape == (2, 1, 64, 64)
    assert float(psnr(result.mean.clamp(0, 1), TRUTH)) > float(psnr(file.data, TRUTH))
    assert float(result.chi2.max()) < 1  # in units of the encoder's own rounding
    error = float((result.mean - TRUTH).square().mean().sqrt())
    assert 0.6 < float(result.std.square().mean().sqrt()) / error < 1.5


def test_a_compressed_file_gains(prior: sf.Prior) -> None:
    task = DeJPEG(quality=10)
    file = task.degrade(sf.Signal(TRUTH))
    result = sf.reconstruct(prior, task, file, n=2)
    assert float(psnr(result.mean.clamp(0, 1), TRUTH)) > float(psnr(file.data, TRUTH)) + 0.4


def test_known_pixels_of_sixteen_bits_come_back_bit_by_bit(prior: sf.Prior, tmp_path: Path) -> None:
    pixels = CROP.astype(np.uint16) * 257 + np.arange(64, dtype=np.uint16)
    mask = np.zeros_like(CROP)
    mask[20:24, 8:50] = 255
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    signal = PLUGIN.read(tmp_path / "photo.png")
    result = sf.reconstruct(prior, Inpaint(mask=str(tmp_path / "mask.png")), signal, n=1, steps=2)
    result.save(tmp_path / "out")
    with Image.open(tmp_path / "out" / "restored.png") as image:
        restored = np.asarray(image)
    assert restored.dtype == np.uint16
    assert np.array_equal(restored[mask == 0], pixels[mask == 0])


def test_an_item_of_a_batch_is_the_same_item_alone(prior: sf.Prior) -> None:
    operator = Mask(torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0)) < 0.5)
    operator = operator.with_likelihood(Gaussian(0.02))
    y = operator.measure(torch.stack([TRUTH[:, :16, :16], TRUTH[:, 20:36, 20:36]]), seed=0)
    both = sf.reconstruct(prior, operator, y, n=2, steps=3)
    alone = sf.reconstruct(prior, operator, y[1:], n=2, steps=3, first=1)
    torch.testing.assert_close(both.samples[1], alone.samples, rtol=0, atol=2e-4)
    # every pixel that is known is met to within the noise
    residual = (alone.samples - y[1:]).square()[:, operator.mask.expand(1, 16, 16)].mean()
    assert float(residual) < (2 * 0.02) ** 2
