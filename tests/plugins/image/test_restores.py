"""What the bundled prior is worth beyond white noise: plug-and-play shows it blurred states."""

from __future__ import annotations

import pytest
from crops import SIDE, half, kernel, truths

import sfumato as sf
from sfumato.inverse.convolutions import Convolve
from sfumato.inverse.likelihoods import Gaussian as Noise
from sfumato.inverse.operators import Linear
from sfumato.inverse.standard import Downsample, Mask
from sfumato.noise import Streams
from sfumato_image.metrics import psnr

SPACE = (SIDE, SIDE)
TASKS: dict[str, tuple[Linear, float, float]] = {
    "enlarge 2": (Downsample(2, SPACE, likelihood=Noise(0.0)), 0.0, 32.9),
    "enlarge 4": (Downsample(4, SPACE, likelihood=Noise(0.0)), 0.0, 28.4),
    "deblur": (Convolve(kernel(), SPACE, likelihood=Noise(2 / 255)), 2 / 255, 31.4),
    "fill": (Mask(half(), Noise(0.0)), 0.0, 34.2),
}
"""Operator, noise, and PSNR in dB, a little below what the bundled weights reach."""


@pytest.mark.parametrize("name", TASKS)
def test_a_point_estimate_is_as_near_as_it_was(name: str) -> None:
    operator, sigma, least = TASKS[name]
    truth, prior = truths(), sf.Prior.load("photo", plugin="image")
    y = operator(truth)
    y = operator.restrict(y + sigma * Streams.count(0, len(y)).normal(y))
    found = sf.reconstruct(prior, operator, y, n=1, solver="admm", steps=8).mean
    scores = [float(psnr(x.clamp(0, 1), real)) for x, real in zip(found, truth, strict=True)]
    assert sum(scores) / len(scores) > least
