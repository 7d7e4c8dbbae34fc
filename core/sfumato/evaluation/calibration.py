"""Whether the spread of samples is the uncertainty that it claims to be.

If truth and samples x¹ … xⁿ are draws of the same distribution, then, element by element,

- the truth lies in the central interval of level p with probability p                 coverage
- its rank among the samples is uniform on 0 … n (Talts et al., 2018)                      ranks
- E (truth − mean)² = (1 + 1/n) E s²                                              spread ratio 1

Averages run over elements and items, which are not independent: the errors of these numbers are
larger than their count suggests. Samples are ``[n, *x]``, the truth ``[*x]``; batch axes belong
to x.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import InvalidOptionError, ShapeError

__all__ = [
    "coverage",
    "error_correlation",
    "interval",
    "ranks",
    "spread_ratio",
    "uniformity",
]


def interval(
    samples: Float[Tensor, "n *x"], level: float = 0.9
) -> tuple[Float[Tensor, "*x"], Float[Tensor, "*x"]]:
    """Central interval that holds a new draw of the same distribution with probability ``level``.

    Its ends are the order statistics of rank (1 ± level)/2 · (n + 1), interpolated: without the
    + 1 intervals of few samples are too narrow. Fewer than 2/(1 − level) − 1 samples (19 for 90 %)
    cannot reach the level; their range is returned.

    Raises:
        InvalidOptionError: If ``level`` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise InvalidOptionError("interval", f"level={level}", "use a number between 0 and 1")
    n = len(samples)
    ordered = samples.sort(dim=0).values
    ends = []
    for share in ((1 - level) / 2, (1 + level) / 2):
        rank = min(max(share * (n + 1) - 1, 0.0), n - 1.0)
        low = math.floor(rank)
        ends.append(torch.lerp(ordered[low], ordered[min(low + 1, n - 1)], rank - low))
    return ends[0], ends[1]


def coverage(
    samples: Float[Tensor, "n *x"], truth: Float[Tensor, "*x"], level: float = 0.9
) -> float:
    """Share of elements whose truth lies in their central interval; right is ``level``."""
    matching(samples, truth)
    low, high = interval(samples, level)
    return float(((truth >= low) & (truth <= high)).double().mean())


def ranks(samples: Float[Tensor, "n *x"], truth: Float[Tensor, "*x"]) -> Tensor:
    """How many samples lie below the truth, 0 … n, for each element."""
    matching(samples, truth)
    return (samples < truth).sum(dim=0)


def uniformity(rank: Tensor, n: int, *, bins: int = 10) -> float:
    """P-value of the χ² test that independent ranks of ``n`` samples are uniform on 0 … n.

    Small values mean that the samples are biased (sloping histogram of ranks), too narrow (∪) or
    too wide (∩).
    """
    bins = min(bins, n + 1)
    edges = torch.arange(n + 1) * bins // (n + 1)
    size = torch.bincount(edges, minlength=bins).double() / (n + 1)
    found = torch.bincount(edges[rank.flatten().cpu().long()], minlength=bins).double()
    expected = size * rank.numel()
    statistic = ((found - expected) ** 2 / expected).sum()
    freedom = torch.tensor((bins - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, statistic / 2))


def spread_ratio(samples: Float[Tensor, "n *x"], truth: Float[Tensor, "*x"]) -> float:
    """Root of (1 + 1/n) E s² / E (truth − mean)²: below 1 is overconfident."""
    matching(samples, truth)
    n = len(samples)
    variance = samples.double().var(dim=0).mean()
    error = (truth.double() - samples.double().mean(dim=0)).square().mean()
    return float(((1 + 1 / n) * variance / error).sqrt())


def error_correlation(samples: Float[Tensor, "n *x"], truth: Float[Tensor, "*x"]) -> float:
    """Pearson correlation of standard deviation and absolute error; NaN if one is constant.

    Perfect uncertainty does not reach 1: if only the spread varies from element to element, the
    error is still random around it.
    """
    matching(samples, truth)
    pair = torch.stack([samples.std(dim=0), (samples.mean(dim=0) - truth).abs()]).double()
    pair = pair.flatten(1)
    pair = pair - pair.mean(dim=1, keepdim=True)
    scale = pair.norm(dim=1).prod()
    return float(pair[0] @ pair[1] / scale) if float(scale) > 0 else math.nan


def matching(samples: Tensor, truth: Tensor) -> None:
    if samples.shape[1:] != truth.shape:
        raise ShapeError("truth", truth.shape, "×".join(map(str, samples.shape[1:])))
    if len(samples) < 2:
        raise ShapeError("samples", samples.shape, "two or more, sample axis first")
