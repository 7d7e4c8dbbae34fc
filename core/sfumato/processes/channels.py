"""Jump rates from what is known of the tokens: a channel, or which tokens are near each other.

A channel C (row: what was meant, column: what is read) is a level of a process if C = exp(σ R) for
some rates R (Kingman, 1962, calls it embeddable). Then a measurement *is* a noisy state, and
sampling backwards from it is posterior sampling. R = ln C; where C is not quite embeddable, as when
it has a zero between tokens that two steps connect, small negative rates are set to 0 (Israel,
Rosenthal & Wei, 2001), and what that changes is checked.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Real
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.processes.categorical import TokenLevel
from sfumato.processes.exponentials import exponential, logarithm
from sfumato.processes.matrix import Rates
from sfumato.processes.survivals import LinearSurvival, Survival

__all__ = ["Confusion", "NearestNeighbour"]


def Confusion(  # noqa: N802
    channel: Float[Tensor, "tokens columns"],
    *,
    survival: Survival | None = None,
    tolerance: float = 0.01,
) -> tuple[Rates, TokenLevel]:
    """The process that passes through a channel, and the level at which it does.

    The clock is set so that −ln α counts the jumps of a token, in the mean over tokens.

    Args:
        channel: C, rows are distributions.
        survival: α(t).
        tolerance: How far a row of Q̄ may be from that of C, in total variation.

    Raises:
        InvalidOptionError: If C is no channel, has no errors, or is not a level of any process
            within ``tolerance``.
    """
    C = torch.as_tensor(channel, dtype=torch.float64)
    if C.ndim != 2 or len(C) != C.shape[1] or C.min() < 0 or (C.sum(1) - 1).abs().max() > 1e-6:
        raise InvalidOptionError(
            "channel", f"rows of a {'×'.join(str(n) for n in C.shape)} matrix are no distributions",
            "give a square matrix whose rows sum to 1",
        )  # fmt: skip
    C = C / C.sum(dim=1, keepdim=True)
    off = logarithm(C).fill_diagonal_(0.0).clamp(min=0)
    R = off - off.sum(dim=1).diag()
    jumps = off.sum(dim=1).mean()
    if not jumps > 0:
        raise InvalidOptionError("channel", "it changes nothing", "give one with errors")
    gap = float((exponential(R, torch.ones(())) - C).abs().sum(dim=1).max()) / 2
    if gap > tolerance:
        raise InvalidOptionError(
            "channel", f"no continuous process comes nearer to it than {gap:.2g}",
            f"accept that with tolerance={gap:.1g}, or use it as a step of a discrete process "
            "(Steps)",
        )  # fmt: skip
    process = Rates(len(C), R / jumps, survival or LinearSurvival())
    return process, process.level(process.survival.time_of(torch.exp(-jumps)))


def NearestNeighbour(  # noqa: N802
    vectors: Real[Tensor, "tokens dim"], neighbours: int, *, survival: Survival | None = None
) -> Rates:
    """Tokens jump to those that are near them (Austin et al., 2021, appendix A.2.4).

    Rates are symmetric, so that noise ends uniform if every token can be reached from every other.
    The clock is set so that the slowest mode decays like α.

    Args:
        vectors: Where the tokens lie: an embedding, or numbers ``[tokens, 1]`` for ordered tokens.
        neighbours: How many of the nearest count, from 1 to K − 1.
        survival: α(t).

    Raises:
        InvalidOptionError: If there are not so many neighbours.
    """
    tokens = len(vectors)
    if not 1 <= neighbours < tokens:
        raise InvalidOptionError(
            "neighbours", f"{neighbours} of {tokens} tokens", f"use 1 to {tokens - 1}"
        )
    x = torch.as_tensor(vectors, dtype=torch.float64)
    distance = torch.cdist(x, x).fill_diagonal_(torch.inf)
    near = torch.zeros(tokens, tokens, dtype=torch.float64)
    near.scatter_(1, distance.topk(neighbours, dim=1, largest=False).indices, 1.0)
    off = (near + near.T) / (2 * neighbours)
    R = off - off.sum(dim=1).diag()
    decay = -torch.linalg.eigvalsh(R)
    slowest = decay[decay > 1e-9].min()
    return Rates(tokens, R / slowest, survival or LinearSurvival())
