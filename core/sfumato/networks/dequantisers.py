"""Noise that is learned, for data in steps: variational dequantisation (Ho et al., 2019, Flow++).

Uniform noise within a step asks a density to be flat there. Any other q(u | x) with u in [0, 1)ⁿ
gives a bound too, with steps of a width w,

    −ln P(x) ≤ E_q[−ln p(x + w u) + ln q(u | x)] − n ln w,

and the best q is p(x + w u) wⁿ/P(x), with which it is an equality. Here q is a flow. Logistic
noise e goes through affine maps, whose shift and scale networks read off x and half of the
elements, the other half in turn, and then through the logistic function,

    v ← v e^{a(x, v′)} + b(x, v′),    u = 1/(1 + e^{−v}),
    ln q(u | x) = Σ ln f(e) − Σ a − Σ ln f(v),    f(v) = u (1 − u).

Networks that say a = b = 0, as fresh ones do, leave u uniform: training starts at the usual bound.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from sfumato.errors import InvalidOptionError, ShapeError
from sfumato.networks.unet import CONVOLUTIONS
from sfumato.noise import Streams

__all__ = ["Dequantiser"]

MOST = 3.0
"""Bound of |a|: a step's share is not squeezed by more than e³ at once."""


class Dequantiser(nn.Module):
    """q(u | x) for data ``[batch, channels, *space]``.

    Args:
        channels: Of the data, which should be of order one.
        dimensions: Spatial axes, 0 to 3; convolutions see 5 elements along each.
        hidden: Width of the networks.
        couplings: Maps of half of the elements given the other half, after one of all given x.

    Raises:
        InvalidOptionError: If a number is out of its range.
    """

    def __init__(
        self, channels: int, *, dimensions: int = 0, hidden: int = 32, couplings: int = 2
    ) -> None:
        super().__init__()
        if min(channels, hidden) < 1 or couplings < 0 or dimensions not in range(4):
            raise InvalidOptionError(
                "dequantiser",
                f"channels={channels}, hidden={hidden}, couplings={couplings}, "
                f"dimensions={dimensions}",
                "use numbers from 1, couplings from 0 and 0 to 3 dimensions",
            )
        self.channels, self.dimensions = channels, dimensions

        def layer(wide: int, narrow: int) -> nn.Module:
            if dimensions == 0:
                return nn.Linear(wide, narrow)
            return CONVOLUTIONS[dimensions](wide, narrow, 3, padding=1)

        self.networks = nn.ModuleList(
            nn.Sequential(layer(2 * channels, hidden), nn.SiLU(), layer(hidden, 2 * channels))
            for _ in range(1 + couplings)
        )
        for network in self.networks:
            assert isinstance(network, nn.Sequential)
            for parameter in network[-1].parameters():
                nn.init.zeros_(parameter)

    def forward(
        self, x: Float[Tensor, "batch channels *space"], streams: Streams
    ) -> tuple[Float[Tensor, "batch channels *space"], Float[Tensor, " batch"]]:
        """A draw of u, and ln q(u | x) of each item: how many nats more than uniform noise.

        Args:
            x: Data.
            streams: One per item.

        Raises:
            ShapeError: If the data have other axes.
        """
        if x.ndim != 2 + self.dimensions or x.shape[1] != self.channels:
            axes = "×any" * self.dimensions
            raise ShapeError("data to dequantise", x.shape, f"any×{self.channels}{axes}")
        weight = next(self.parameters())
        v = torch.logit(streams.uniform(x), eps=2.0**-24)
        nats = log_slope(v)
        for index, network in enumerate(self.networks):
            moved = torch.ones_like(x[:1]) if index == 0 else (parity(x) + index) % 2
            given = torch.cat([x, (1 - moved) * (v.sigmoid() - 0.5)], dim=1)
            shift, raw = network(given.to(weight)).to(v).chunk(2, dim=1)
            a = moved * MOST * torch.tanh(raw / MOST)
            v = v * a.exp() + moved * shift
            nats = nats - a
        nats = nats - log_slope(v)
        u = v.sigmoid().clamp(max=1 - torch.finfo(v.dtype).eps)
        return u, nats.flatten(1).sum(dim=1)


def log_slope(v: Tensor) -> Tensor:
    """ln u (1 − u), u = 1/(1 + e^{−v})."""
    return -functional.softplus(v) - functional.softplus(-v)


def parity(x: Tensor) -> Float[Tensor, "1 channels *space"]:
    """A checkerboard of 0 and 1 over channels and space."""
    total = x.new_zeros(1, *x.shape[1:])
    for axis, n in enumerate(x.shape[1:], start=1):
        place = torch.arange(n, device=x.device, dtype=x.dtype)
        total = total + place.reshape(-1, *(1,) * (x.ndim - 1 - axis))
    return total % 2
