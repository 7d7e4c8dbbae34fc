"""Likelihoods of numbers: flow and bounds, on a device as on the CPU."""

from __future__ import annotations

import pytest
import torch
from devices import agree, tiny_prior
from ring import ring

from sfumato.likelihood import Budget, dequantise, flow_nats, gaussian_bound
from sfumato.likelihood.decoders import Values
from sfumato.noise import Streams
from sfumato.processes import EDM, VP, Gaussian, Student, log_snr

pytestmark = pytest.mark.gpu
N = 4


@pytest.mark.parametrize("process", [Gaussian(EDM()), Gaussian(VP()), Student(EDM())], ids=repr)
@pytest.mark.parametrize("probes", [0, 2])
def test_the_flow_agrees(device: str, process: Gaussian, probes: int) -> None:
    prior = ring(process)
    x = prior.sample(Streams.count(0, N))
    found = [
        flow_nats(prior, x.to(where), Streams.count(1, N), steps=10, probes=probes)
        for where in ("cpu", device)
    ]
    agree(found[1].nats, found[0].nats)
    agree(found[1].error, found[0].error)


@pytest.mark.parametrize("variance", ["small", "calibrated"])
@pytest.mark.parametrize("stepped", [True, False])
def test_a_bound_agrees(device: str, variance: str, stepped: bool) -> None:
    process = Gaussian(VP())
    prior, budget = ring(process), Budget(draws=16, batch=32)
    x = prior.sample(Streams.count(0, N))
    options = {"grid": log_snr(process, 10), "variance": variance} if stepped else {}
    found = [
        gaussian_bound(prior, x.to(where), Streams.count(1, N), budget=budget, **options)
        for where in ("cpu", device)
    ]
    agree(found[1].nats, found[0].nats)
    agree(found[1].error, found[0].error)


def test_a_bound_of_a_network_with_a_decoder_agrees(device: str) -> None:
    prior = tiny_prior()
    moved = prior.to(device)
    x = torch.arange(2 * 3 * 64).reshape(2, 3, 8, 8) % 5 / 4
    decoder, budget = Values(0.0, 0.25, 5), Budget(draws=8, batch=16)
    found = [
        gaussian_bound(
            each.denoiser, x.to(each.device), Streams.count(1, 2), budget=budget, decoder=decoder
        )
        for each in (prior, moved)
    ]
    agree(found[1].nats / 192, found[0].nats / 192, 1e-3)


def test_dequantised_data_agree(device: str) -> None:
    x = torch.arange(12).reshape(4, 3) / 4
    expected = dequantise(x, 0.25, Streams.count(0, 4))
    agree(dequantise(x.to(device), 0.25, Streams.count(0, 4)), expected)
