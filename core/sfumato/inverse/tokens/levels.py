"""Levels that belong to a state: how much of a text is shown, and what noise a channel is.

A text with m of n places hidden is a state of an absorbing process at α = 1 − m/n, whenever it came
there; a network that wants to be told a level is told that one.

A channel without memory may be the process's own noise. Then its table ln p(y_i | x_i = v) is, up
to a constant, the column of q(x_τ = y_i | x₀ = v), and y is a state of the process at τ (a D3PM
with the channel's confusion matrix is made to this end; Austin et al., 2021).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfumato.inverse.tokens.problems import TokenProblem
from sfumato.processes.categorical import Categorical, TokenLevel

__all__ = ["as_state", "shown"]

TOLERANCE = 1e-3


def shown(
    process: Categorical, x: Int[Tensor, "batch *x"], real: Bool[Tensor, "batch *x"]
) -> TokenLevel:
    """The level of each item of an absorbing process, from the share of its real places shown."""
    seen = ((x < process.tokens) & real).flatten(1).sum(dim=1).double()
    alpha = (seen / real.flatten(1).sum(dim=1).clamp(min=1)).cpu()
    return TokenLevel(process.survival.time_of(alpha), alpha, process)


def as_state(problem: TokenProblem) -> tuple[Int[Tensor, "batch *x"], TokenLevel] | None:
    """y as a state of the process and its level τ; ``None`` if it is none.

    τ is the best of 64 times, refined by golden-section search; a state is accepted if no entry of
    its likelihood, relative to the largest, is further off than 10⁻³.
    """
    process = problem.denoiser.process
    rows = problem.sites.double().flatten(0, -2).cpu()
    top = rows.amax(dim=-1, keepdim=True)
    if not bool(torch.isfinite(top).all()):
        return None
    rows, back = torch.unique((rows - top).exp(), dim=0, return_inverse=True)

    def miss(t: float) -> float:
        return float(nearest(process, rows, t)[0].max())

    times = torch.linspace(0, 1, 66, dtype=torch.float64)[1:-1].tolist()
    best = min(range(len(times)), key=lambda index: miss(times[index]))
    low, high = times[max(best - 1, 0)], times[min(best + 1, len(times) - 1)]
    ratio = (5**0.5 - 1) / 2
    for _ in range(60):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if miss(a) <= miss(b) else (a, high)
    tau = min((low, high, times[best]), key=miss)
    error, state = nearest(process, rows, tau)
    if float(error.max()) > TOLERANCE:
        return None
    y = state[back].reshape(problem.shape).to(problem.sites.device)
    return y, process.level(tau)


def nearest(
    process: Categorical, rows: Float[Tensor, "rows tokens"], t: float
) -> tuple[Float[Tensor, " rows"], Int[Tensor, " rows"]]:
    """For likelihoods with largest entry 1: how far the nearest state's is, and which it is."""
    states = torch.arange(process.states)
    noise = process.log_likelihood(states, process.level(t)).exp()
    noise = noise / noise.amax(dim=-1, keepdim=True).clamp(min=1e-300)
    error, state = torch.cdist(rows, noise, p=torch.inf).min(dim=1)
    return error, state
