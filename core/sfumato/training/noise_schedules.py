"""Learning a schedule so that the bound is estimated with little variance (VDM).

The estimate of the bound at a time t drawn uniformly is

    L_t = ρ'(t) (α/σ)² ‖x₀ − x̂‖²,    E L_t = ∫ (α/σ)² E‖x₀ − x̂‖² dρ,

whose mean depends on ρ only through its ends (Kingma et al., 2021, eq. 18). The gradient of E L_t²
with respect to what is between the ends is therefore that of the variance. It vanishes where ρ' is
inversely proportional to the root of the mean square of (α/σ)² ‖x₀ − x̂‖².
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers import Denoiser
from sfumato.errors import UnsupportedError
from sfumato.likelihood.gaussian import diffusion_term
from sfumato.noise import Streams, derive
from sfumato.processes.learned import Learned, Monotone

__all__ = ["learn_schedule"]


def learn_schedule(
    denoiser: Denoiser,
    x_0: Float[Tensor, "batch *x"],
    *,
    steps: int = 300,
    lr: float = 0.05,
    seed: int = 0,
) -> None:
    """Trains what is between the ends of the denoiser's schedule, in place.

    Args:
        denoiser: Under ``Gaussian(Learned(Monotone(…)))``; differentiable in the level, which a
            denoiser that is brought there by ``under`` is not: build it with this process.
        x_0: Data in model units; all of them are used in every step, at times spread evenly.
        steps: Of Adam.
        lr: Its learning rate.
        seed: Of times and noise.

    Raises:
        UnsupportedError: If the schedule is another.
    """
    schedule = denoiser.process.schedule
    if not isinstance(schedule, Learned) or not isinstance(schedule.network, Monotone):
        raise UnsupportedError(
            "learning a schedule", "a denoiser under Learned(Monotone())",
            f"this one is under {type(schedule).__name__}", ["replace(denoiser, process=…)"],
        )  # fmt: skip
    network = schedule.network
    inner = [p for name, p in network.named_parameters() if name != "ends"]
    optimizer = torch.optim.Adam(inner, lr=lr)
    network.train()
    place = torch.arange(len(x_0), dtype=torch.float64) / len(x_0)
    for step in range(steps):
        streams = Streams(derive(seed, "schedule", step), range(len(x_0)))
        first = torch.rand(1, generator=streams.generators[0], dtype=torch.float64)
        t = schedule.t_min + (first + place) % 1 * (schedule.t_max - schedule.t_min)
        terms = diffusion_term(denoiser, x_0, t, streams.normal(x_0))
        gradients = torch.autograd.grad(terms.square().mean().log(), inner)
        for parameter, gradient in zip(inner, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
    network.eval()
