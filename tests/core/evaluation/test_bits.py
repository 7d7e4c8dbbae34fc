"""Bits of data in physical units."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import Tensor

from sfumato.codecs import Affine
from sfumato.denoisers import GaussianPrior
from sfumato.evaluation.bits import data_bits
from sfumato.likelihood import Budget, flow_nats, gaussian_bound
from sfumato.noise import Streams
from sfumato.processes import EDM, Gaussian

PRIOR = GaussianPrior(
    Gaussian(EDM()), torch.zeros(2, 2).double(), torch.full((2, 2), 0.25).double()
)
CODEC = Affine(shift=(0.5, 0.4), scale=(0.2, 0.1))


def data(n: int) -> Tensor:
    """Grey levels whose model values are draws from the prior."""
    x = CODEC.decode(PRIOR.sample(Streams.count(0, n)))
    return (x * 256).floor() / 256


@pytest.mark.parametrize(
    "estimate",
    [
        functools.partial(flow_nats, steps=25),
        functools.partial(gaussian_bound, budget=Budget(64, 4096)),
    ],
    ids=["flow", "bound"],
)
def test_bits_are_those_of_the_data_in_their_own_units(estimate) -> None:
    n = 150
    found = data_bits(PRIOR, CODEC, data(n), Streams.count(1, n), estimate=estimate)
    stds = 0.5 * torch.tensor([0.2, 0.1])  # of the two channels, in physical units
    entropy = float((math.tau * math.e * stds**2).log2().mean()) / 2 + 8
    # ½ (z² − 1) nats of each number have variance ½
    scatter = math.sqrt(0.5 / (4 * n)) / math.log(2)
    assert found.value == pytest.approx(entropy, abs=4 * math.hypot(scatter, found.error) + 0.005)


def test_the_value_does_not_depend_on_the_batch() -> None:
    x = data(3)
    estimate = functools.partial(flow_nats, steps=5)
    whole = data_bits(PRIOR, CODEC, x, Streams.count(1, 3), estimate=estimate).value
    parts = [
        data_bits(PRIOR, CODEC, x[i : i + 1], Streams.count(1, 1, first=i), estimate=estimate).value
        for i in range(3)
    ]
    assert whole == pytest.approx(sum(parts) / 3, abs=1e-9)
