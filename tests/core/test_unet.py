"""The network's inputs: Fourier features (VDM), and what they are good for."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.networks import UNet
from sfumato.priors import Prior
from sfumato.processes import VP, Gaussian

TINY = {"channels": 2, "widths": (8,), "blocks": (1,), "embedding": 8}


def first_input(network: UNet, x: Tensor) -> Tensor:
    """What the first layer is given."""
    seen: list[Tensor] = []
    hook = network.first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(x, torch.zeros(len(x)))
    hook.remove()
    return seen[0]


def test_the_features_are_sines_and_cosines_of_every_channel() -> None:
    x = torch.rand(2, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = first_input(UNet(**TINY, fold=1, fourier=(1, 3), noise_map=True), x)
    phases = [2 * math.pi * x, 8 * math.pi * x]
    expected = [x, *(p.sin() for p in phases), *(p.cos() for p in phases), 0 * x[:, :1]]
    torch.testing.assert_close(found, torch.cat(expected, dim=1))


def test_features_are_folded_with_the_input_and_none_are_made_unasked() -> None:
    x = torch.zeros(1, 2, 4, 4)
    assert first_input(UNet(**TINY, fourier=(7, 8)), x).shape == (1, 2 * 5 * 4, 2, 2)
    assert first_input(UNet(**TINY), x).shape == (1, 2 * 4, 2, 2)


def test_the_features_of_a_prior_are_stored_with_it(tmp_path: Path) -> None:
    options = TINY | {"fourier": (2, 3)}
    prior = Prior.new(
        "image", "unet", shape=(2, None, None), process=Gaussian(VP()), prediction="eps",
        options=options,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in prior.network.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(1)).mul_(0.3)
    again = Prior.load(prior.save(tmp_path / "prior"))
    assert again.options["fourier"] == [2, 3]
    assert again.hash() == prior.hash()
    x, level = torch.randn(1, 2, 8, 8), prior.process.level(0.1)
    torch.testing.assert_close(again.denoiser(x, level).mean, prior.denoiser(x, level).mean)
    plain = Prior.new("image", "unet", shape=(2, None, None), options=TINY)
    assert plain.hash() != prior.hash()


def test_negative_exponents_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="exponents from 0"):
        UNet(fourier=(-1,))


def staircase_error(fourier: tuple[int, ...]) -> float:
    """Error of what is said about noise on data in steps of 1/8; 1 is knowing nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UNet(
            channels=1, widths=(16,), blocks=(1,), fold=1, embedding=8, dimensions=1,
            fourier=fourier,
        )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(150):
        level = torch.randint(-8, 8, (32, 1, 16), generator=generator) / 8
        noise = 0.02 * torch.randn(level.shape, generator=generator)
        error = (network(level + noise, torch.zeros(32)) - 50 * noise).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    return float(error.detach())


def test_with_features_a_network_tells_small_noise_on_coarse_levels() -> None:
    assert staircase_error((3, 4)) < 0.2 < 0.5 < staircase_error(())
