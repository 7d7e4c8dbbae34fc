"""Likelihood of a denoiser of an absorbing process that reveals one place at a time.

    −ln p_σ(x) = −Σ_j ln p(x_σ(j) | x_σ(1), …, x_σ(j−1))

is exact for the sampler that reveals in the order σ, any order: a left-to-right one is usually the
tightest for text. The sampler that draws σ at random has p(x) = E_σ p_σ(x), and

    −ln p(x) ≤ −E ln (1/K) Σ_k p_{σ_k}(x),

which falls with K from the mean over orders, that of ``k_uniform``, to −ln p(x).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfumato.denoisers.base import Condition
from sfumato.denoisers.categorical import TokenDenoiser, valid_places
from sfumato.errors import InvalidOptionError
from sfumato.likelihood import terms
from sfumato.likelihood.masks import level_of, ranks, sizes
from sfumato.likelihood.trials import Bound, chosen
from sfumato.noise import Streams

__all__ = ["chain_rule", "importance_bound", "pseudo_likelihood"]


def chain_rule(
    denoiser: TokenDenoiser,
    x_0: Int[Tensor, "batch *x"],
    *,
    order: Int[Tensor, " places"] | None = None,
    condition: Condition = None,
    batch: int = 64,
) -> Bound:
    """−ln p(x₀) of revealing in a given order; exact, L calls per item.

    Args:
        denoiser: Of an absorbing process.
        x_0: Data.
        order: The places of the flattened state, first revealed first; row by row if not given.
            Places that do not exist are passed over.
        condition: Passed to the denoiser; ``"valid"`` says which places exist.
        batch: States per call.

    Raises:
        UnsupportedError: If the process is not absorbing.
        InvalidOptionError: If ``order`` does not name every place once.
    """
    count = x_0[0].numel()
    places = torch.arange(count) if order is None else torch.as_tensor(order)
    if not torch.equal(places.sort().values.cpu(), torch.arange(count)):
        raise InvalidOptionError(
            "order", f"{len(places)} numbers for {count} places", "name every place once"
        )
    valid = valid_places(x_0, condition)
    rank = places.argsort().to(x_0.device).reshape(1, *x_0.shape[1:]).expand(x_0.shape)
    rank = rank.masked_fill(~valid, count).flatten(1).argsort(dim=1).argsort(dim=1)
    nats = revealed(denoiser, x_0, rank.reshape(x_0.shape), valid, condition, batch)
    return Bound(nats, torch.zeros_like(nats))


def importance_bound(
    denoiser: TokenDenoiser,
    x_0: Int[Tensor, "batch *x"],
    streams: Streams,
    *,
    orders: int = 8,
    condition: Condition = None,
    batch: int = 64,
) -> Bound:
    """−ln of the mean over random orders of p_σ(x₀).

    Args:
        denoiser: Of an absorbing process.
        x_0: Data.
        streams: One stream per item.
        orders: K, 2 or more; the bound is tighter with more.
        condition: Passed to the denoiser; ``"valid"`` says which places exist.
        batch: States per call.

    Raises:
        UnsupportedError: If the process is not absorbing.
        InvalidOptionError: If there are fewer than 2 orders.
    """
    if orders < 2:
        raise InvalidOptionError("importance_bound", f"orders={orders}", "use 2 or more")
    valid = valid_places(x_0, condition)
    found = [
        revealed(denoiser, x_0, ranks(valid, streams), valid, condition, batch)
        for _ in range(orders)
    ]
    log_p = -torch.stack(found, dim=1)
    top = log_p.amax(dim=1, keepdim=True)
    p = (log_p - top).exp()
    error = p.std(dim=1) / p.mean(dim=1) / math.sqrt(orders)  # of a logarithm, to first order
    return Bound(-(p.mean(dim=1).log() + top.squeeze(1)), error)


def pseudo_likelihood(
    denoiser: TokenDenoiser,
    x_0: Int[Tensor, "batch *x"],
    *,
    condition: Condition = None,
    batch: int = 64,
) -> Float[Tensor, " batch"]:
    """−Σ_i ln p(x_i | all other places), in nats.

    No likelihood and no bound on one: every place is told of by all others, so this may lie far
    below the entropy. It ranks texts under one model; it is no number of bits per character.

    Args:
        denoiser: Of an absorbing process.
        x_0: Data.
        condition: Passed to the denoiser; ``"valid"`` says which places exist.
        batch: States per call.

    Raises:
        UnsupportedError: If the process is not absorbing.
    """
    valid = valid_places(x_0, condition)
    rank = torch.arange(x_0[0].numel(), device=x_0.device).reshape(1, *x_0.shape[1:])
    rank = rank.expand(x_0.shape).masked_fill(~valid, x_0[0].numel())
    rank = rank.flatten(1).argsort(dim=1).argsort(dim=1).reshape(x_0.shape)
    return revealed(denoiser, x_0, rank, valid, condition, batch, alone=True)


def revealed(
    denoiser: TokenDenoiser,
    x_0: Int[Tensor, "batch *x"],
    rank: Int[Tensor, "batch *x"],
    valid: Bool[Tensor, "batch *x"],
    condition: Condition,
    batch: int,
    *,
    alone: bool = False,
) -> Float[Tensor, " batch"]:
    """−Σ_j ln p(x of rank j | lower ranks), or given all other ranks if it is hidden alone."""
    process = denoiser.process
    terms.require_absorbing(process, "revealing one place at a time")
    terms.require_tokens(x_0, valid, process.tokens)
    x_0 = torch.where(valid, x_0, 0)
    places = sizes(valid)
    # one row for each item and each of its places
    item = torch.arange(len(x_0), device=x_0.device).repeat_interleave(places)
    first = places.cumsum(0) - places
    step = torch.arange(len(item), device=x_0.device) - first[item]
    total = torch.zeros(len(x_0), dtype=torch.float64, device=x_0.device)
    with torch.no_grad():
        for begin in range(0, len(item), batch):
            rows = slice(begin, begin + batch)
            index, j = item[rows], step[rows].reshape(-1, *(1,) * (x_0.ndim - 1))
            own = (rank[index] == j) & valid[index]
            hidden = own if alone else (rank[index] >= j) & valid[index]
            x_t = torch.where(hidden, process.tokens, x_0[index])
            t = level_of(process, hidden.flatten(1).sum(dim=1), places[index])
            log_probs = denoiser(x_t, t, chosen(condition, index, len(x_0))).log_probs
            total.index_add_(0, index, terms.cross_entropy(log_probs, x_0[index], own))
    return total
