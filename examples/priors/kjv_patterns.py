"""What the network of the ``kjv`` prior is shown, and how well it fills what it is not shown.

Drawn for a whole batch on the device that trains. A window of text becomes one of four things:

    any order        (0.30)  places hidden one by one, a share of 0 to 1, from both towers
    runs             (0.21)  runs of 1.5 to 12 places on average, from both towers
    left to right    (0.25)  the same runs, hidden from the right tower only
    right to left    (0.24)  the same runs, hidden from the left tower only

In half of the windows up to 15 % of all places are hidden besides: what is not shown cannot be
learnt by heart. All places are learnt from, those hidden from a tower at twice the weight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from sfumato_text.backbones.towers import Towers

__all__ = ["Views", "measures", "runs", "views", "windows"]

MEANS = (1.5, 12.0)
"""Of the lengths of runs; the logarithm of a window's mean is uniform between these."""

GAPS = (1, 2, 5, 10)


@dataclass(frozen=True)
class Views:
    """What both towers read, and what is to be learnt.

    Args:
        x: The text.
        left: What the left tower reads.
        right: What the right tower reads.
        weight: Of every place; each row sums to 1.
    """

    x: Int[Tensor, "batch length"]
    left: Int[Tensor, "batch length"]
    right: Int[Tensor, "batch length"]
    weight: Float[Tensor, "batch length"]


def windows(
    text: Int[Tensor, " letters"], batch: int, length: int, generator: torch.Generator
) -> Int[Tensor, "batch length"]:
    """Pieces of a text that begin anywhere."""
    most = len(text) - length + 1
    start = torch.randint(most, (batch, 1), generator=generator, device=text.device)
    found: Tensor = text[start + torch.arange(length, device=text.device)]
    return found


def runs(
    share: Float[Tensor, "batch one"],
    mean: Float[Tensor, "batch one"],
    length: int,
    generator: torch.Generator,
) -> Bool[Tensor, "batch length"]:
    """Runs of geometric length that begin anywhere and may overlap.

    Begun at a rate of −ln(1 − share)/mean they cover ``share`` of the places, away from where the
    window begins.

    Args:
        share: Of the places, below 1.
        mean: Length of a run, above 1.
        length: Of the window.
        generator: Draws.
    """
    like = share.expand(-1, length)
    begins, u = uniform(like, generator), uniform(like, generator)
    place = torch.arange(length, device=share.device)
    size = 1 + ((1 - u).log() / (-1 / mean).log1p()).floor()
    rate = -(-share).log1p() / mean
    ends = torch.where(begins < rate, place + size, 0)
    covered: Tensor = ends.cummax(dim=1).values > place
    return covered


def views(x: Int[Tensor, "batch length"], mask: int, generator: torch.Generator) -> Views:
    """Draws what becomes of every window; see above.

    Args:
        x: Windows of text.
        mask: The number of MASK.
        generator: On the device of ``x``.
    """
    length = x.shape[1]
    kind, share, mean, more = (
        uniform(x[:, :1].float(), generator) for _ in range(4)
    )  # [batch, 1] each
    low, high = MEANS
    covered = runs(0.03 + 0.37 * share, low * (high / low) ** mean, length, generator)
    odd = torch.where(mean < 0.5, share, 0.3 * share)
    apart = uniform(x.float(), generator) < odd
    hidden = torch.where(kind < 0.3, apart, covered)
    extra = uniform(x.float(), generator) < 0.15 * (2 * more - 1).clamp(min=0)
    from_left = extra | (hidden & ((kind < 0.51) | (kind >= 0.76)))
    from_right = extra | (hidden & (kind < 0.76))
    weight = 1.0 + (from_left | from_right)
    return Views(
        x, x.masked_fill(from_left, mask), x.masked_fill(from_right, mask),
        weight / weight.sum(dim=1, keepdim=True),
    )  # fmt: skip


@torch.no_grad()
def measures(
    network: Towers, x: Int[Tensor, "batch length"], *, size: int = 256
) -> dict[str, float]:
    """Bits per hidden letter, always with the same places hidden.

        any_order      k places of a window, k uniform: the any-order bound (NELBO)
        gap_g          each of g neighbours from what is around the gap
        gap_g_chain    by the chain rule, the mean of both directions

    Args:
        network: In evaluation mode.
        x: Windows of text.
        size: Windows at a time.
    """
    generator = torch.Generator().manual_seed(0)  # on the CPU: the same on all devices
    batch, length = x.shape
    rank = torch.rand((batch, length), generator=generator).argsort(dim=1).to(x.device)
    k = (torch.rand((batch, 1), generator=generator) * length).long().to(x.device) + 1
    found = {"any_order": bits(network, x, rank < k, (True, True), size)}
    place = torch.arange(length, device=x.device)
    for gap in GAPS:
        room = length - gap - 2 * (length // 4)
        start = length // 4 + torch.randint(room, (batch, 1), generator=generator).to(x.device)
        hidden = (place >= start) & (place < start + gap)
        found[f"gap_{gap}"] = bits(network, x, hidden, (True, True), size)
        ways = [bits(network, x, hidden, way, size) for way in ((False, True), (True, False))]
        found[f"gap_{gap}_chain"] = sum(ways) / 2
    return found


def bits(network: Towers, x: Tensor, hidden: Tensor, towers: tuple[bool, bool], size: int) -> float:
    """Mean over windows of the bits per hidden letter.

    Args:
        network: Gives logits.
        x: Windows of text.
        hidden: Places.
        towers: From which towers they are hidden.
        size: Windows at a time.
    """
    total = torch.zeros((), device=x.device)
    everywhere = torch.ones_like(x[:1], dtype=torch.bool)
    for own, places in zip(x.split(size), hidden.split(size), strict=True):
        masked = own.masked_fill(places, network.tokens)
        left, right = (masked if away else own for away in towers)
        logits = network(left, everywhere, right).float()
        lost = functional.cross_entropy(logits.mT, own, reduction="none") * places
        total += (lost.sum(dim=1) / places.sum(dim=1)).sum()
    return float(total) / len(x) / math.log(2)


def uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=generator, device=like.device)
