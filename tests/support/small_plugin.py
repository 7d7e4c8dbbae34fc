"""A domain of any shape with one small network, for what needs a plugin and not a field."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sfumato.plugin import Plugin

__all__ = ["Small", "plugin"]

plugin = Plugin(
    name="small", summary="a network of any shape", install="nothing",
    backbones={"small": "small_plugin:Small"},
)  # fmt: skip


class Small(nn.Module):
    """Two layers that are told the noise level.

    Args:
        size: Number of elements of one item.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(size + 1, 32), nn.SiLU(), nn.Linear(32, size))

    def forward(self, x: Tensor, noise_level: Tensor) -> Tensor:
        told = torch.cat([x.flatten(1), noise_level[:, None]], dim=1)
        found: Tensor = self.layers(told).reshape(x.shape)
        return found
