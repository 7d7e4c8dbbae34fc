"""What its neighbours say of an element, where levels differ from element to element.

Where an element is seen in much noise and those around it in little, most of what is known of it is
what they say. Convolutions learn that badly: their weights do not depend on where the good
neighbours are. So it is worked out beforehand. With w = (s/r)² the weight of a look of noise
r = σ/α at data of deviation s, capped at ``KNOWN``, the mean around an element is that of a
normalised convolution (Knutsson & Westin, 1993),

    f = Σ_ℓ a_ℓ K_ℓ∗(w x) / (ε + D),    D = Σ_ℓ a_ℓ K_ℓ∗w,

K_0 being the nearest neighbours, weighed by 1/distance⁴, and K_ℓ the means over cells of 2ˡ
elements, interpolated. What is near counts most, and where nothing near is known what is far is
left. The spread about f is taken to be s √v,

    v = 1/(1 + D) + δ,

that of the data where nothing is known and a tenth of it (√δ) between known elements, about what
smooth interpolation leaves open in photographs.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

__all__ = ["surroundings"]

SHARES = (1 / 16, 1 / 64, 1 / 256)
"""a_ℓ of cells of 2, 4, 8 elements; that of the nearest neighbours is 1."""
KNOWN = 1e4
"""w from above: of elements known so well, the nearer counts and not the better known."""
NOTHING = 0.01
"""ε: how much must be known for f to leave 0."""
LOCAL = 0.01
"""δ."""

CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
POOLS = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def surroundings(
    looks: Float[Tensor, "batch channels *space"], ratio: Float[Tensor, "batch one *space"]
) -> tuple[Float[Tensor, "batch channels *space"], Float[Tensor, "batch one *space"]]:
    """f and v of every element, its own look left aside at the nearest neighbours.

    Args:
        looks: x_t/α, of data around 0; every side a multiple of 8.
        ratio: r/s of every element, the same in all channels.
    """
    with torch.autocast(looks.device.type, enabled=False):  # w has more digits than bf16
        x = looks if looks.dtype == torch.float64 else looks.float()
        f, v = around(x, ratio.to(x))
    return f.to(looks), v.to(looks)


def around(x: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    dimensions = x.ndim - 2
    pool, mode = POOLS[dimensions], MODES[dimensions]
    w = ratio.square().reciprocal().clamp(max=KNOWN)
    known = torch.cat([w * x, w], dim=1)
    kernel = nearest(dimensions).to(known)
    alone = known.reshape(-1, 1, *known.shape[2:])
    total = CONVOLUTIONS[dimensions](alone, kernel, padding=1).reshape(known.shape)
    for level, share in enumerate(SHARES, start=1):
        known = pool(known, 2)
        wide = functional.interpolate(known, scale_factor=float(2**level), mode=mode)
        total = total + share * wide
    weighed, weight = total[:, :-1], total[:, -1:]
    return weighed / (NOTHING + weight), 1 / (1 + weight) + LOCAL


def nearest(dimensions: int) -> Tensor:
    """1/distance⁴ over the elements that touch one, with a sum of 1."""
    axes = torch.meshgrid(*[torch.arange(-1.0, 2.0)] * dimensions, indexing="ij")
    squared = torch.stack(axes).square().sum(dim=0)
    kernel = torch.where(squared > 0, squared.clamp(min=1) ** -2, 0.0)
    return (kernel / kernel.sum())[None, None]
