"""Weights of a product or mixture of experts, from data that none of them was trained on."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from sfumato.denoisers.base import Condition
from sfumato.denoisers.categorical import valid_places
from sfumato.denoisers.experts import Experts, ProductOfExperts, mixture_weights, product_weights
from sfumato.denoisers.token_networks import TokenNetwork
from sfumato.likelihood.masks import level_of, sizes
from sfumato.likelihood.terms import require_absorbing
from sfumato.noise import Streams
from sfumato.training.infilling import patterns

__all__ = ["fit_experts"]

E = TypeVar("E", bound=Experts)


@torch.no_grad()
def fit_experts(
    experts: E, x_0: Int[Tensor, "batch *x"], streams: Streams, *, condition: Condition = None
) -> E:
    """The experts with the weights that give hidden tokens the highest probability.

    Places are hidden as in training for gaps (``sfumato.training.infilling``), the items spread
    evenly over its patterns. A few thousand hidden places fix a weight to about 1 %.

    Args:
        experts: A product or a mixture in an absorbing process.
        x_0: Validation data.
        streams: One stream per item.
        condition: Passed to the experts.

    Raises:
        UnsupportedError: If the process does more than hide tokens.
    """
    require_absorbing(experts.process, "fit_experts")
    places = valid_places(x_0, condition)
    for expert in experts.experts:
        for token in expert.suppressed if isinstance(expert, TokenNetwork) else ():
            places = places & (x_0 != token)
    u = (torch.arange(len(x_0), dtype=torch.float64) + 0.5) / len(x_0)
    hidden = patterns(u, places, streams)
    x_t = torch.where(hidden, experts.process.tokens, x_0)
    t = level_of(experts.process, sizes(hidden), sizes(places))
    believed = [expert(x_t, t, condition).log_probs[hidden] for expert in experts.experts]
    opinions = torch.stack([belief.double().cpu() for belief in believed])
    fit = product_weights if isinstance(experts, ProductOfExperts) else mixture_weights
    return replace(experts, weights=fit(opinions, x_0[hidden].cpu()))
