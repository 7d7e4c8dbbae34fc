"""Bounds for any process of tokens: in continuous time, and as a sum over steps.

What a place at t = 1 still knows of its token is paid for once, KL(q(x₁ | x₀) ‖ prior), and is 0
where the noise has forgotten.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfumato.denoisers.base import Condition
from sfumato.denoisers.categorical import TokenDenoiser, valid_places
from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.likelihood import terms
from sfumato.likelihood.trials import Bound, Budget, Trial, average, drawn_level, drawn_step
from sfumato.noise import Streams
from sfumato.processes import Categorical, Mixing, Steps

__all__ = ["score_bound", "uniform_bound", "variational_bound"]


def score_bound(
    denoiser: TokenDenoiser,
    x_0: Int[Tensor, "batch *x"],
    streams: Streams,
    *,
    condition: Condition = None,
    budget: Budget | None = None,
) -> Bound:
    """The score entropy (Lou, Meng & Ermon, 2024), integrated over all noise levels.

    Args:
        denoiser: Of any process with rates of jumps.
        x_0: Data.
        streams: One stream per item.
        condition: Passed to the denoiser; ``"valid"`` says which places exist.
        budget: Draws per item.

    Raises:
        UnsupportedError: If the process has only discrete steps.
    """
    process = denoiser.process
    process.inflow(torch.zeros(1, 1, dtype=torch.long))  # refuses before anything is computed

    def term(trial: Trial) -> Tensor:
        t, weight = drawn_level(process, trial.u)
        x_t = process.corrupt(trial.x_0, t, trial.streams)
        log_probs = trial.believe(x_t, t)
        return weight * terms.score_entropy(process, log_probs, trial.x_0, x_t, t, trial.valid)

    found = average(denoiser, x_0, streams, condition, budget or Budget(), term)
    return found + remembered(process, x_0, condition)


def uniform_bound(
    denoiser: TokenDenoiser,
    x_0: Int[Tensor, "batch *x"],
    streams: Streams,
    *,
    condition: Condition = None,
    budget: Budget | None = None,
) -> Bound:
    """The bound of uniform diffusion (Schiff et al., 2025).

    The denoiser's beliefs are made leave-one-out first, which the formula needs.

    Args:
        denoiser: Of a uniform process.
        x_0: Data.
        streams: One stream per item.
        condition: Passed to the denoiser; ``"valid"`` says which places exist.
        budget: Draws per item.

    Raises:
        UnsupportedError: If the process is not uniform.
    """
    process = denoiser.process
    if not terms.is_uniform(process):
        raise UnsupportedError(
            "uniform_bound", "a uniform process", f"this is {process}",
            instead=["score_bound", "variational_bound"],
        )  # fmt: skip

    def term(trial: Trial) -> Tensor:
        t, weight = drawn_level(process, trial.u)
        x_t = process.corrupt(trial.x_0, t, trial.streams)
        rest = process.leave_one_out(trial.believe(x_t, t), x_t, t)
        return weight * terms.uniform_entropy(rest, trial.x_0, x_t, t, trial.valid)

    found = average(denoiser, x_0, streams, condition, budget or Budget(), term)
    return found + remembered(process, x_0, condition)


def variational_bound(
    denoiser: TokenDenoiser,
    x_0: Int[Tensor, "batch *x"],
    streams: Streams,
    *,
    steps: int | None = None,
    condition: Condition = None,
    budget: Budget | None = None,
) -> Bound:
    """The sum over steps of equal length (Austin et al., 2021).

    It bounds −ln p of the ancestral sampler with so many steps. Steps near the data, which cost the
    most, are drawn more often than others.

    Args:
        denoiser: Of any process.
        x_0: Data.
        streams: One stream per item.
        steps: T; the process's own for a discrete process, 1,000 otherwise.
        condition: Passed to the denoiser; ``"valid"`` says which places exist.
        budget: Draws per item.

    Raises:
        InvalidOptionError: If a discrete process is asked for more steps than it has.
    """
    process = denoiser.process
    T = steps or (len(process.matrices) if isinstance(process, Steps) else 1000)
    if isinstance(process, Steps) and len(process.matrices) < T:
        raise InvalidOptionError("steps", f"{T}", f"the process has {len(process.matrices)}")

    def term(trial: Trial) -> Tensor:
        t, s, weight = drawn_step(process, trial.u, T)
        x_t = process.corrupt(trial.x_0, t, trial.streams)
        log_probs = trial.believe(x_t, t)
        return weight * terms.variational(process, log_probs, trial.x_0, x_t, t, s, trial.valid)

    found = average(denoiser, x_0, streams, condition, budget or Budget(), term)
    return found + remembered(process, x_0, condition)


def remembered(
    process: Categorical, x_0: Int[Tensor, "batch *x"], condition: Condition
) -> Float[Tensor, " batch"]:
    """KL(q(x₁ | x₀) ‖ prior) of each item."""
    last = process.level(1.0)
    if isinstance(process, Mixing) and last.pure:
        return torch.zeros(len(x_0), dtype=torch.float64, device=x_0.device)
    valid: Bool[Tensor, "batch *x"] = valid_places(x_0, condition)
    q = process.matrix(process.level(0.0), last)[: process.tokens]
    each = (torch.xlogy(q, q) - torch.xlogy(q, process.prior())).sum(dim=1).to(x_0.device)
    cost = each[torch.where(valid, x_0, 0)]
    return torch.where(valid, cost, 0.0).flatten(1).sum(dim=1)
