"""How noisy is a picture, from the picture alone.

The mask L = [1 −2 1]ᵀ[1 −2 1]/6 has unit norm and annihilates every smooth patch (Immerkær, 1996),
so what it leaves of a picture is its white noise, at the noise's own standard deviation, plus
texture and edges. Texture only adds. The root mean square of L * x is therefore taken in blocks of
8×8 pixels, and the estimate is a low quantile of it, divided by the same quantile for white noise
alone (a constant, found by simulation). A median over the whole picture takes grass for noise.

Blocks that touch a clipped pixel are left out. Noise that is correlated between pixels (after JPEG
or a camera's own denoising) is underestimated, and a picture that is textured everywhere and small
is overestimated: give a number there.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor
from torch.nn import functional

from sfumato.errors import InvalidOptionError

__all__ = ["Noise", "estimate_sigma", "in_range"]

Noise = float | Literal["auto"]

BLOCK = 8
QUANTILE = 0.05
WHITE = 0.745  # that quantile for white noise of σ = 1, from 62,500 blocks
ENOUGH = 40  # blocks; with fewer the quantile is one or two blocks' luck


def estimate_sigma(image: Tensor, valid: Tensor | None = None) -> float:
    """Standard deviation of white noise in ``image``.

    Args:
        image: ``[channels, height, width]`` in [0, 1]. The channels share one noise level.
        valid: ``[height, width]``, False where a pixel must not be looked at.

    Returns:
        σ in the units of ``image``; 0 if there is nothing to look at.
    """
    if min(image.shape[1:]) < 3:
        return 0.0
    image = image.detach().cpu()
    usable = ((image > 0) & (image < 1)).all(dim=0)
    if valid is not None:
        usable = usable & valid.cpu()
    rows = image[:, :-2] - 2 * image[:, 1:-1] + image[:, 2:]
    detail = (rows[:, :, :-2] - 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 6
    clean = functional.max_pool2d((~usable).float()[None], 3, stride=1)[0] == 0
    if min(clean.shape) >= BLOCK:
        energy = functional.avg_pool2d(detail[None] ** 2, BLOCK)[0]
        whole = -functional.max_pool2d(-clean.float()[None], BLOCK)[0] > 0
        values = energy[:, whole].flatten()
        if len(values) >= ENOUGH:
            return float(values.quantile(QUANTILE).sqrt()) / WHITE
    rest = detail[:, clean]  # too few clean blocks: the median over single pixels
    return float(rest.abs().median()) / 0.6745 if rest.numel() else 0.0


def in_range(noise: Noise, where: str) -> float:
    """A noise option that is a number, in 8-bit units.

    Raises:
        InvalidOptionError: If it is not a number from 0 to 255.
    """
    try:
        sigma = float(noise)
    except (TypeError, ValueError):
        sigma = math.nan
    if not 0 <= sigma <= 255:
        raise InvalidOptionError(
            where, f"noise={noise}", "use a standard deviation from 0 to 255, or 'auto'"
        )
    return sigma
