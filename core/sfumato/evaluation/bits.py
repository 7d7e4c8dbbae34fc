"""Bits per dimension of data in physical units, under a prior.

Data in steps of w, such as grey levels in steps of 1/256, are dequantised, uniformly or by noise
that was learned, taken to model units by the codec and scored there; the step is w/|scale| in those
units, channel by channel. The result is a bound on the bits that a code made from the prior spends
on the data themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.codecs import Affine
from sfumato.denoisers import Denoiser
from sfumato.likelihood import Bits, Bound, bits_per_dim, dequantised, flow_nats
from sfumato.likelihood.dequantisation import Noise, flat
from sfumato.noise import Streams

__all__ = ["data_bits"]


def data_bits(
    denoiser: Denoiser,
    codec: Affine,
    x: Float[Tensor, "batch channels *space"],
    streams: Streams,
    *,
    width: float = 1 / 256,
    estimate: Callable[[Denoiser, Tensor, Streams], Bound] = flow_nats,
    noise: Noise = flat,
) -> Bits:
    """Bits per dimension of all items together.

    Args:
        denoiser: Of a prior.
        codec: Its units.
        x: Data in physical units, in steps of ``width``.
        streams: One per item, for the dequantisation and the estimate.
        width: The step.
        estimate: (denoiser, data, streams) ↦ nats of a density: ``flow_nats`` or
            ``gaussian_bound``, or either with its options bound by ``functools.partial``.
        noise: Of the dequantisation, such as a trained ``Dequantiser``; uniform if not given.

    Raises:
        InvalidOptionError: If the data are not in such steps.
    """
    noisy, nats = dequantised(x.double(), width, streams.spawn("dequantisation"), noise)
    found = estimate(denoiser, codec.encode(noisy), streams) + nats
    scale = torch.as_tensor(codec.scale, dtype=torch.float64).abs()
    return bits_per_dim(found, x[0].numel(), width=width * math.exp(-float(scale.log().mean())))
