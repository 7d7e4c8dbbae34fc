"""What the tests of devices share: small priors, and what it means to agree."""

from __future__ import annotations

import torch
from torch import Tensor

from sfumato.codecs import Affine
from sfumato.denoisers import Preconditioned
from sfumato.networks import UNet
from sfumato.priors import Prior
from sfumato.processes import VP, Gaussian

__all__ = ["agree", "tiny_prior"]


def agree(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    """Checks values, up to rounding along a chain of steps; devices may differ."""
    torch.testing.assert_close(
        found.detach().cpu(), expected.detach().cpu(), rtol=tolerance, atol=tolerance,
        equal_nan=True,
    )  # fmt: skip


def tiny_prior(*, head: str = "variance", channels: int = 3) -> Prior:
    """Pictures of any size, a smooth network with random weights."""
    options = {
        "channels": channels, "widths": (8, 16), "blocks": (1, 1), "variance": bool(head),
        "classes": 3,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = UNet(**options).eval().requires_grad_(False)
        for p in network.parameters():
            p.add_(0.02 * torch.randn(p.shape))
    denoiser = Preconditioned(network, Gaussian(VP()), head=head)
    return Prior(
        denoiser, Affine(0.5, 0.5), (channels, None, None), "image", "unet", options,
        {"name": "tiny"},
    )  # fmt: skip
