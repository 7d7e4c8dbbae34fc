"""Learning the noise that data in steps are given, for one prior (variational dequantisation).

The bound of ``sfumato.networks.dequantisers`` is lowered with the prior as it is. −ln p is
estimated by its own variational bound in continuous time, at one drawn level per item,

    ‖x₀‖² α_T²/(2σ_T²) + (ρ₁ − ρ₀) (α/σ)² ‖x₀ − x̂‖² + ln q(u | x),    x₀ = x + w u,

and u is a differentiable function of noise, so that the gradient needs no estimator of its own.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.codecs import Affine
from sfumato.denoisers import Denoiser
from sfumato.likelihood.gaussian import log_ratio_term
from sfumato.likelihood.trials import require_even
from sfumato.networks.dequantisers import Dequantiser
from sfumato.noise import Streams, derive

__all__ = ["learn_dequantisation"]


def learn_dequantisation(
    dequantiser: Dequantiser,
    denoiser: Denoiser,
    x: Float[Tensor, "batch channels *space"],
    width: float,
    *,
    codec: Affine | None = None,
    steps: int = 300,
    batch: int = 128,
    lr: float = 1e-2,
    seed: int = 0,
) -> None:
    """Trains ``dequantiser`` in place; the prior is left alone.

    Args:
        dequantiser: What is trained.
        denoiser: Of the prior, differentiable, with one level for all elements.
        x: Data in steps of ``width``, not yet dequantised.
        width: The step.
        codec: From the units of ``x`` to those of the prior; they are the same if not given.
        steps: Of Adam, whose rate falls to 0 linearly.
        batch: Items per step, drawn anew.
        lr: The rate at first.
        seed: Of items, levels and noise.

    Raises:
        UnsupportedError: If elements have levels of their own.
    """
    process, codec = denoiser.process, codec or Affine()
    require_even(process, "learning to dequantise")
    schedule = process.schedule
    top = schedule.log_ratio(torch.tensor(schedule.t_max).double()).exp()
    optimizer = torch.optim.Adam(dequantiser.parameters(), lr=lr)
    rate = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    dequantiser.train()
    place = torch.arange(batch, dtype=torch.float64) / batch
    for step in range(steps):
        streams = Streams(derive(seed, "dequantisation", step), range(batch))
        chance = streams.generators[0]
        chosen = x[torch.randint(len(x), (batch,), generator=chance).to(x.device)]
        share, nats = dequantiser(chosen, streams)
        x_0 = codec.encode(chosen + width * share)
        first = torch.rand(1, generator=chance, dtype=torch.float64)
        u = (first + place) % 1
        nats = nats + log_ratio_term(process, x_0, u, streams.normal(x_0), denoiser)
        nats = nats + x_0.flatten(1).square().sum(dim=1) / (2 * top**2)
        optimizer.zero_grad()
        nats.mean().backward()
        optimizer.step()
        rate.step()
    dequantiser.eval()
