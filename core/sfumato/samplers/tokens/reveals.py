"""Revealing hidden tokens in two stages: which places, then which token.

A race of all tokens and MASK against each other, as is common, decides both at once. Then a token's
chance *per step* is what the random numbers must resolve, and with many steps rare tokens and even
the reveals themselves are lost. In two stages the first decides by a chance per place, the second
by the belief about x₀, which no number of steps makes smaller.

Every place draws its numbers whether it uses them or not, so that an item's stream does not depend
on its neighbours.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfumato import draws
from sfumato.denoisers.categorical import Beliefs
from sfumato.errors import NotFiniteError
from sfumato.noise import Streams
from sfumato.processes.categorical import TINY, TokenLevel
from sfumato.samplers.tokens.base import Believe, process_of

__all__ = ["best", "hidden_places", "pick", "reveal", "share_revealed", "sound", "tempered"]


def hidden_places(
    x_t: Int[Tensor, "batch *x"], t: TokenLevel, frozen: Bool[Tensor, "batch *x"]
) -> Bool[Tensor, "batch *x"]:
    """Places that are hidden and may be revealed."""
    return (x_t == process_of(t).mask) & ~frozen


def share_revealed(t: TokenLevel, s: TokenLevel, x: Tensor) -> Float[Tensor, "..."]:
    """(α_s − α_t)/(1 − α_t), the share of the hidden places that is revealed from t to s.

    Shaped to meet ``x``; 0 where nothing is hidden at t.
    """
    alpha_t, alpha_s = t.against(x), s.against(x)
    return (alpha_s - alpha_t) / (1 - alpha_t).clamp(min=TINY)


def reveal(
    believe: Believe,
    x_t: Int[Tensor, "batch *x"],
    t: TokenLevel,
    which: Bool[Tensor, "batch *x"],
    streams: Streams,
    *,
    temperature: float = 1.0,
) -> Int[Tensor, "batch *x"]:
    """The second stage: draws the tokens of the places ``which``.

    Asks for no belief if there are none, and looks at no belief but theirs.
    """
    place = draws.uniform(x_t, streams)
    if not bool(which.any()):
        return x_t
    return x_t.masked_scatter(which, pick(believe(x_t, t), which, place, temperature))


def pick(
    beliefs: Beliefs,
    which: Bool[Tensor, "batch *x"],
    place: Float[Tensor, "batch *x"],
    temperature: float = 1.0,
) -> Int[Tensor, " picked"]:
    """Tokens for the places ``which``, in order, by inversion at ``place``.

    Raises:
        NotFiniteError: If a belief that is needed is NaN or excludes every token.
    """
    log_p = sound(beliefs.log_probs[which].double())
    if temperature == 0:
        return log_p.argmax(dim=-1)
    return draws.invert(tempered(log_p, temperature), place[which])


def sound(log_p: Float[Tensor, "*x tokens"]) -> Float[Tensor, "*x tokens"]:
    """The beliefs, if every place has a token that it may be.

    Raises:
        NotFiniteError: If some are NaN or exclude every token.
    """
    lost = ~torch.isfinite(log_p.amax(dim=-1))
    if bool(lost.any()):
        raise NotFiniteError("beliefs about tokens", int(lost.sum()), lost.numel())
    return log_p


def tempered(log_p: Float[Tensor, "*x tokens"], temperature: float) -> Float[Tensor, "*x tokens"]:
    """p^(1/temperature), up to a factor."""
    top = log_p.amax(dim=-1, keepdim=True)
    return ((log_p - top) / temperature).exp()


def best(
    score: Float[Tensor, "batch *x"],
    among: Bool[Tensor, "batch *x"],
    count: Int[Tensor, " batch"] | int,
) -> Bool[Tensor, "batch *x"]:
    """The ``count`` places of each item with the highest score; the first of equals."""
    flat = torch.where(among, score.double(), -torch.inf).flatten(1)
    order = flat.argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(flat.shape[1], device=order.device).expand_as(order)
    )
    limit = torch.as_tensor(count, device=order.device)
    return (rank < limit.reshape(-1, 1)).reshape(among.shape) & among
