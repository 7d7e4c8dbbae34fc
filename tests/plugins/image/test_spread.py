"""Samples of the bundled prior spread about as far as their mean errs."""

from __future__ import annotations

from functools import cache

import pytest
from crops import SIDE, half, kernel, truths

import sfumato as sf
from sfumato.inverse.convolutions import Convolve
from sfumato.inverse.likelihoods import Gaussian as Noise
from sfumato.inverse.operators import Linear
from sfumato.inverse.standard import Downsample, Identity, Mask
from sfumato.noise import Streams

COUNT = 4


@cache
def prior() -> sf.Prior:
    return sf.Prior.load("photo", plugin="image")


def operators() -> dict[str, tuple[Linear, float]]:
    shape = (SIDE, SIDE)
    return {
        "enlarge": (Downsample(4, shape, likelihood=Noise(1 / 255)), 1 / 255),
        "deblur": (Convolve(kernel(), shape, likelihood=Noise(2 / 255)), 2 / 255),
        "denoise": (Identity(likelihood=Noise(50 / 255)), 50 / 255),
        "fill": (Mask(half(), Noise(0.0)), 0.0),
    }


@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
@pytest.mark.parametrize("name", ["enlarge", "deblur", "denoise", "fill"])
def test_samples_spread_as_far_as_their_mean_errs(name: str, grey: bool) -> None:
    truth, (operator, sigma) = truths(), operators()[name]
    truth = truth.mean(dim=1, keepdim=True) if grey else truth
    y = operator(truth)
    y = y + sigma * Streams.count(0, len(y)).normal(y)
    result = sf.reconstruct(prior(), operator, y, n=COUNT)
    samples = result.samples.reshape(len(truth), COUNT, *truth.shape[1:])
    error = (samples.mean(dim=1) - truth).square().mean()
    # the mean of right samples errs by their variance and by that of a mean of four
    expected = samples.var(dim=1).mean() * (1 + 1 / COUNT)
    assert 0.7 < (expected / error).sqrt().item() < 1.25
