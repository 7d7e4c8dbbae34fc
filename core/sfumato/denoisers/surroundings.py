"""What its neighbours say of an element, where levels differ from element to element.

Where an element is seen in much noise and those around it in little, most of what is known of it is
what they say. A network is slow to learn that, since the weights of a convolution do not depend on
where the good neighbours are. So it is worked out beforehand, for data of deviation 1, as the
posterior mean of a field that bends little,

    argmin_z Σ (x − z)²/r² + 1/(δ b) |L z|²,        r = σ/α of each look x,

with L z an element less the mean of those beside it (in two dimensions the minimum is the
biharmonic filling of what was not measured) and b the diagonal of LᵀL, so that an element differs
from what all others say of it by √δ, a tenth of the data's deviation, as in photographs.

A few steps of the Chebyshev iteration (Golub & Varga, 1961) with the diagonal as preconditioner
reach it but for what is smooth over more than about ten elements. That comes from where they start:
a mean of looks, near ones first (normalised convolution: Knutsson & Westin, 1993),

    f = Σ_ℓ a_ℓ K_ℓ∗(w x) / (ε + Σ_ℓ a_ℓ K_ℓ∗w),        w = 1/(r² + δ),

K_0 being the elements that touch, weighed by 1/distance⁴, and K_ℓ means over cells of 2ˡ elements,
interpolated. How far to trust it, v = 1/(1 + Σ_ℓ b_ℓ K_ℓ∗w), was fitted by eye to what is left
open in photographs with pixels missing one by one and in holes of 8 and 16; a network with a
variance head corrects it. Nothing is sought further than 32 elements away, so a part of a picture
and the whole agree inside.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

__all__ = ["surroundings"]

LOCAL = 0.01
"""δ."""
SHARES = (1 / 16, 1 / 64, 1 / 256)
"""a_ℓ of cells of 2, 4, 8 elements; that of the elements that touch is 1."""
WORTHS = (1.0, 1.0, 0.5)
"""b_ℓ of the same."""
NOTHING = 0.01
"""ε: how much must be known for f to leave 0."""
ITERATIONS = 5
LOWEST = 0.15
"""Least eigenvalue of the preconditioned system that the iteration is made for; the largest is
known."""

CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
POOLS = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def surroundings(
    looks: Float[Tensor, "batch channels *space"], ratio: Float[Tensor, "batch one *space"]
) -> tuple[Float[Tensor, "batch channels *space"], Float[Tensor, "batch one *space"]]:
    """The estimate of every element from all looks, and its variance.

    Args:
        looks: x_t/α, of data of mean 0 and deviation 1; one to three axes of space, every side a
            multiple of 8.
        ratio: σ/α of every look, the same in all channels.
    """
    with torch.autocast(looks.device.type, enabled=False):  # bf16 has too few digits for w
        x = looks if looks.dtype == torch.float64 else looks.float()
        precision = ratio.to(x).square().reciprocal()
        around, v = near(x, precision)
        gain = precision / (precision + 1 / v)
        found = smoothest(torch.lerp(around, x, gain), x, precision)
        return found.to(looks), (gain / precision).to(looks)


def near(x: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """f and v."""
    dimensions = x.ndim - 2
    pool, mode = POOLS[dimensions], MODES[dimensions]
    w = precision / (1 + LOCAL * precision)
    known = torch.cat([w * x, w], dim=1)
    alone = known.reshape(-1, 1, *known.shape[2:])
    kernel = touching(dimensions).to(known)
    total = CONVOLUTIONS[dimensions](alone, kernel, padding=1).reshape(known.shape)
    worth = 1 + total[:, -1:]
    for level, (share, value) in enumerate(zip(SHARES, WORTHS, strict=True), start=1):
        known = pool(known, 2)
        wide = functional.interpolate(known, scale_factor=float(2**level), mode=mode)
        total = total + share * wide
        worth = worth + value * wide[:, -1:]
    return total[:, :-1] / (NOTHING + total[:, -1:]), 1 / worth


def touching(dimensions: int) -> Tensor:
    """1/distance⁴ of the elements that touch one, with a sum of 1."""
    axes = torch.meshgrid(*[torch.arange(-1.0, 2.0)] * dimensions, indexing="ij")
    squared = torch.stack(axes).square().sum(dim=0)
    kernel = torch.where(squared > 0, squared.clamp(min=1) ** -2, 0.0)
    return (kernel / kernel.sum())[None, None]


def smoothest(z: Tensor, x: Tensor, precision: Tensor) -> Tensor:
    """Some steps from z to the minimum."""
    own = 1 + 1 / (2 * (z.ndim - 2))
    scale = precision + 1 / LOCAL
    highest = 4 / own  # L reaches 2
    middle, half = (highest + LOWEST) / 2, (highest - LOWEST) / 2
    rho, change = 0.0, torch.zeros_like(z)
    for _ in range(ITERATIONS):
        bent = bending(bending(z)) / (own * LOCAL)
        residual = (precision * (x - z) - bent) / scale
        after = 1 / (2 * middle / half - rho) if rho else half / middle
        rate = 2 * after / half if rho else 1 / middle
        change = after * rho * change + rate * residual
        z, rho = z + change, after
    return z


def bending(z: Tensor) -> Tensor:
    """L z; at an end an element stands for the one that is not there, so that L is symmetric."""
    total = torch.zeros_like(z)
    for axis in range(2, z.ndim):
        n = z.shape[axis]
        first, last = z.narrow(axis, 0, 1), z.narrow(axis, n - 1, 1)
        total = total + torch.cat([first, z.narrow(axis, 0, n - 1)], dim=axis)
        total = total + torch.cat([z.narrow(axis, 1, n - 1), last], dim=axis)
    return z - total / (2 * (z.ndim - 2))
