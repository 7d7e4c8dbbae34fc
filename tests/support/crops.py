"""Three crops of colour photographs, and what is done to them."""

from __future__ import annotations

import torch
from skimage import data
from torch import Tensor

SIDE = 96
CROPS = (data.astronaut()[20:, 160:], data.coffee()[60:, 220:], data.chelsea()[80:, 100:])


def truths() -> Tensor:
    crops = [torch.from_numpy(crop[:SIDE, :SIDE].copy()) for crop in CROPS]
    return torch.stack(crops).permute(0, 3, 1, 2).float() / 255


def kernel() -> Tensor:
    """A Gaussian blur of 1.6 pixels."""
    line = torch.exp(-torch.arange(-6.0, 7.0).square() / (2 * 1.6**2))
    product = torch.outer(line, line)
    return product / product.sum()


def half() -> Tensor:
    """Half of the pixels, drawn one by one."""
    return torch.rand(1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) < 0.5
