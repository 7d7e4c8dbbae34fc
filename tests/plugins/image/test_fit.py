"""Samples of the bundled prior fit the measurement as exact ones would."""

from __future__ import annotations

import pytest
import torch
from skimage import data

import sfumato as sf
from sfumato.inverse.likelihoods import Gaussian as Noise
from sfumato.inverse.standard import Downsample
from sfumato.noise import Streams

SIDE, SIGMA = 128, 1 / 255


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("corner", [(20, 160), (300, 60)], ids=["face", "suit"])
def test_with_little_noise_chi2_is_near_one(factor: int, corner: tuple[int, int]) -> None:
    top, left = corner
    crop = data.astronaut()[top : top + SIDE, left : left + SIDE]
    truth = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255
    operator = Downsample(factor, (SIDE, SIDE), likelihood=Noise(SIGMA))
    y = operator(truth)
    y = y + SIGMA * Streams.count(0, 1).normal(y)
    result = sf.reconstruct(sf.Prior.load("photo", plugin="image"), operator, y, n=2)
    residual = operator(result.samples.reshape(2, 3, SIDE, SIDE)) - y
    assert 0.85 < residual.square().mean().item() / SIGMA**2 < 1.12
