"""Bounds for denoisers of absorbing processes.

``k_uniform`` hides exactly k places, k uniform in 1 … L, and needs no schedule: it bounds −ln p of
the model that reveals places one by one in random order. In continuous time ``masked_bound`` is the
same in expectation; with a number of steps it bounds −ln p of the sampler with so many steps, which
reveals several places at once and is worse.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from sfumato.denoisers.base import Condition
from sfumato.denoisers.categorical import TokenDenoiser
from sfumato.errors import InvalidOptionError
from sfumato.likelihood import terms
from sfumato.likelihood.masks import hide, level_of, sizes
from sfumato.likelihood.trials import Bound, Budget, Trial, average, drawn_level, drawn_step
from sfumato.noise import Streams

__all__ = ["k_uniform", "masked_bound"]


def k_uniform(
    denoiser: TokenDenoiser,
    x_0: Int[Tensor, "batch *x"],
    streams: Streams,
    *,
    condition: Condition = None,
    budget: Budget | None = None,
) -> Bound:
    """The bound as a mean over numbers of hidden places (Nie et al., 2025), stratified in k.

    Args:
        denoiser: Of an absorbing process.
        x_0: Data.
        streams: One stream per item.
        condition: Passed to the denoiser; ``"valid"`` says which places exist.
        budget: Draws per item.

    Raises:
        UnsupportedError: If the process is not absorbing.
    """
    terms.require_absorbing(denoiser.process, "k_uniform")

    def term(trial: Trial) -> Tensor:
        places = sizes(trial.valid)
        k = torch.minimum((trial.u * places).floor().long() + 1, places)
        x_t, hidden = hide(trial.x_0, k, trial.valid, trial.process.tokens, trial.streams)
        log_probs = trial.believe(x_t, level_of(trial.process, k, places))
        return terms.cross_entropy(log_probs, trial.x_0, hidden) * places / k.clamp(min=1)

    return average(denoiser, x_0, streams, condition, budget or Budget(), term)


def masked_bound(
    denoiser: TokenDenoiser,
    x_0: Int[Tensor, "batch *x"],
    streams: Streams,
    *,
    steps: int | None = None,
    condition: Condition = None,
    budget: Budget | None = None,
) -> Bound:
    """The Rao–Blackwellised bound (Sahoo et al., 2024).

    Args:
        denoiser: Of an absorbing process.
        x_0: Data.
        streams: One stream per item.
        steps: T, for steps of equal length; continuous time if not given.
        condition: Passed to the denoiser; ``"valid"`` says which places exist.
        budget: Draws per item.

    Raises:
        UnsupportedError: If the process is not absorbing.
        InvalidOptionError: If tokens survive at t = 1, where sampling starts from MASK alone.
    """
    process = denoiser.process
    terms.require_absorbing(process, "masked_bound")
    if not process.level(1.0).pure:
        raise InvalidOptionError(
            "masked_bound", f"α(1) = {float(process.level(1.0).alpha):.3g}",
            "use a schedule that ends at 0, or k_uniform, which needs none",
        )  # fmt: skip

    def continuous(trial: Trial) -> Tensor:
        t, weight = drawn_level(process, trial.u)
        x_t = process.corrupt(trial.x_0, t, trial.streams)
        log_probs = trial.believe(x_t, t)
        return weight * terms.masked(log_probs, trial.x_0, x_t, t, trial.valid)

    def discrete(trial: Trial) -> Tensor:
        t, s, weight = drawn_step(process, trial.u, steps or 1)
        x_t = process.corrupt(trial.x_0, t, trial.streams)
        found = terms.masked(trial.believe(x_t, t), trial.x_0, x_t, t, trial.valid)
        return weight * (s.alpha - t.alpha).to(found) * found

    term = continuous if steps is None else discrete
    return average(denoiser, x_0, streams, condition, budget or Budget(), term)
