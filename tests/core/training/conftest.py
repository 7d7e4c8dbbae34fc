"""A data set and a network small enough to train in a test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from sfumato.codecs import Affine
from sfumato.denoisers import Preconditioned
from sfumato.networks import UNet
from sfumato.priors import Prior
from sfumato.processes import Gaussian

OPTIONS: dict[str, Any] = {
    "channels": 1,
    "widths": (8, 16),
    "blocks": (1, 1),
    "classes": 3,
    "variance": True,
}


@dataclass(frozen=True)
class Blobs:
    """Pictures in [0, 1] of one of three brightnesses, with noise as augmentation."""

    count: int = 11
    first: int = 0
    rest: Blobs | None = None
    side: int = 8

    def __len__(self) -> int:
        return self.count

    def item(self, index: int, generator: torch.Generator) -> Mapping[str, Any]:
        kind = (self.first + index) % 3
        noise = torch.rand((1, self.side, self.side), generator=generator)
        return {"x": (kind + noise) / 3, "label": kind}

    def validation(self) -> Blobs | None:
        return self.rest


@pytest.fixture
def blobs() -> Blobs:
    return Blobs(rest=Blobs(count=5, first=100))


@pytest.fixture
def prior() -> Prior:
    network = UNet(**OPTIONS)
    with torch.no_grad():
        for p in network.parameters():  # a fresh one is zero in places, which hides errors
            p.add_(0.02 * torch.randn(p.shape))
    denoiser = Preconditioned(network, Gaussian(), head="variance")
    return Prior(
        denoiser, Affine(0.5, 0.5), (1, None, None), "image", "unet", OPTIONS, {"name": "b"}
    )


@pytest.fixture
def weights() -> Any:
    def copy(module: torch.nn.Module) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in module.state_dict().items()}

    return copy
