"""Total variation inside the intervals of a JPEG file, to compare with.

Of all pictures that an encoder would have turned into this file, the one of least total variation
(Alter, Durand & Froment, 2005; Bredies & Holler, 2012):

    min_u  Σ_pixels |∇u|   subject to   |c(u) − y| ≤ ρ s/2   for every coefficient,

where u are the luma and chroma planes at full resolution, c their block-cosine coefficients after
subsampling, y those of the file and s its steps. ρ = 1 are the file's intervals; a smaller ρ stays
nearer to their middles, where most coefficients lie (Park & Kim, 1999).

Subsampling takes means and the cosine transform is orthonormal, so for each plane c(u + c⁺(δ)) =
c(u) + δ, with c⁺ the inverse transform with repeated pixels, and the projection onto the intervals
is u + c⁺(clamp(c(u)) − c(u)). The minimum is found by the primal-dual method (Chambolle & Pock,
2011), whose every step ends with that projection.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato_image.baselines import divergence, gradient
from sfumato_image.operators.jpeg_planes import BlockCosine

__all__ = ["within_intervals"]


def within_intervals(
    y: Float[Tensor, " coefficients"],
    *,
    operator: BlockCosine,
    step: Float[Tensor, " coefficients"],
    share: float = 0.4,
    iterations: int = 200,
) -> Float[Tensor, "channels height width"]:
    """The picture of least total variation whose coefficients lie in the intervals.

    They hold exactly in the blocks that lie inside the picture. Blocks that reach beyond it are
    continued freely, and cut off in the end.

    Args:
        y: Coefficients of a file, in units of white = 1.
        operator: Its layout.
        step: Its quantisation steps.
        share: ρ, from 0 (plain decoding) to 1.
        iterations: Steps of the method.

    Raises:
        InvalidOptionError: If ``share`` is not in [0, 1] or ``iterations`` below 1.
    """
    if not 0 <= share <= 1 or iterations < 1:
        raise InvalidOptionError(
            "total variation inside intervals", f"share={share}, iterations={iterations}",
            "use a share of 0 to 1, and 1 or more iterations",
        )  # fmt: skip
    planes = Planes(operator, y, share * step.to(y) / 2)
    u = before = planes.project(y.new_zeros(planes.shape), decode=True)
    p = torch.zeros_like(gradient(u))
    tau = sigma = 8**-0.5  # 8 bounds ‖∇‖²
    for _ in range(iterations):
        p = p + sigma * gradient(2 * u - before)
        p = p / p.square().sum(dim=(0, 2), keepdim=True).sqrt().clamp(min=1)
        before, u = u, planes.project(u + tau * divergence(p))
    mixing = operator.mixing(y).double()
    x = torch.einsum("cp,bphw->bchw", torch.linalg.inv(mixing).to(y), u)
    return operator.upright(x[..., : operator.height, : operator.width])[0]


class Planes:
    """Planes at full resolution, with room for all blocks, and the set of those in the intervals.

    Args:
        operator: Layout of the file.
        y: Middles of the intervals.
        reach: Half their widths.
    """

    def __init__(self, operator: BlockCosine, y: Tensor, reach: Tensor) -> None:
        self.bounds = []
        self.layouts = []
        parts = zip(operator.split(y[None]), operator.split(reach[None]), strict=True)
        for index, (middle, half) in enumerate(parts):
            (v, h), (rows, columns) = operator.factors[index], operator.blocks(index)
            self.layouts.append(replace(operator, height=8 * v * rows, width=8 * h * columns))
            shape = (1, rows, columns, 8, 8)
            self.bounds.append((middle.reshape(shape), half.reshape(shape)))
        height = max(layout.height for layout in self.layouts)
        width = max(layout.width for layout in self.layouts)
        self.shape = (1, len(self.layouts), height, width)

    def project(self, u: Tensor, *, decode: bool = False) -> Tensor:
        """The nearest planes in the intervals; with ``decode`` those in the middle of them."""
        u = u.clone()
        for index, (layout, (middle, half)) in enumerate(
            zip(self.layouts, self.bounds, strict=True)
        ):
            part = u[:, index, : layout.height, : layout.width]
            c = layout.encode(part, index)
            wanted = middle if decode else torch.clamp(c, middle - half, middle + half)
            # the adjoint of means over v·h pixels repeats a v·h-th of each
            v, h = layout.factors[index]
            part += v * h * layout.encode_adjoint((wanted - c).flatten(1), index)
        return u
