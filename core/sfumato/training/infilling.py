"""Learning to fill gaps: which places are hidden decides what a network becomes good at.

An absorbing bound hides k places of L with k uniform, and so spends half of its effort on texts
that are more hidden than shown. Restoring looks at short gaps between long known stretches. Here a
number u, uniform over the items of a step, decides what an item becomes:

    u in [0.0, 0.4)    runs of 4.5 places on average, of a share between 0.05 and 0.5
    u in [0.4, 0.7)    each place by itself, of a share from 0 to 1
    u in [0.7, 0.9)    each place by itself, of a share from 0 to 0.3
    u in [0.9, 1.0)    one place

Every pattern has a positive chance, so the minimum of the loss is the posterior belief as with any
other; but it is no bound on −ln p(x₀).

A network that is blind to a place's own state answers for the places that are shown as if each
were the only further one to be hidden. All of them are learnt from, at half the weight: per
pass of the network that is several times what a masked network learns from.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sfumato import draws
from sfumato.noise import Streams

__all__ = ["patterns"]

RUN = 4.5
"""Mean length of a run of hidden places."""


def patterns(
    u: Float[Tensor, " batch"], places: Bool[Tensor, "batch *x"], streams: Streams
) -> Bool[Tensor, "batch *x"]:
    """Which places to hide; at least one of each item that has any.

    Args:
        u: In [0, 1): what each item becomes.
        places: Those that may be hidden.
        streams: One stream per item.
    """
    shape = (-1, *(1,) * (places.ndim - 1))
    u = u.to(places.device, torch.float64)
    first, second = draws.uniform(places, streams), draws.uniform(places, streams)
    share = torch.where(u < 0.7, (u - 0.4) / 0.3, (u - 0.7) / 0.2 * 0.3)
    apart = (first < share.reshape(shape)) & (u < 0.9).reshape(shape)
    covered = runs(0.05 + 0.45 * u / 0.4, first.flatten(1), second.flatten(1)).reshape(places.shape)
    hidden = torch.where((u < 0.4).reshape(shape), covered, apart) & places
    lowest = first.masked_fill(~places, 2.0).flatten(1).argmin(dim=1, keepdim=True)
    alone = torch.zeros_like(hidden.flatten(1)).scatter_(1, lowest, True).reshape(hidden.shape)
    none = ~hidden.flatten(1).any(dim=1)
    return torch.where(none.reshape(shape), alone & places, hidden)


def runs(
    share: Float[Tensor, " batch"],
    first: Float[Tensor, "batch places"],
    second: Float[Tensor, "batch places"],
) -> Bool[Tensor, "batch places"]:
    """A chain of two states along the places, "hidden" a share of the time, in runs of ``RUN``.

    Args:
        share: Of each item.
        first: Uniform draws that end a run.
        second: Uniform draws that begin one.
    """
    share = share.clamp(0.05, 0.5).unsqueeze(1)
    ends, begins = first < 1 / RUN, second < share / (1 - share) / RUN
    hidden = second[:, :1] < share
    found = [hidden]
    for place in range(1, first.shape[1]):
        here = slice(place, place + 1)
        hidden = torch.where(hidden, ~ends[:, here], begins[:, here])
        found.append(hidden)
    return torch.cat(found, dim=1)
