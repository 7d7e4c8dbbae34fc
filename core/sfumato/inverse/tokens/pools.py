"""Fillings that the chain and the other experts draw, and what each of them says of every one.

    s(x) = 1 − Π_k (1 − p_k(x))^{n_k}

is the probability that x is among n_k draws from each p_k. Divided by it, a sum over the different
fillings that were drawn has the mean of the sum over all (Horvitz & Thompson, 1952).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato import draws
from sfumato.denoisers.categorical import TokenDenoiser
from sfumato.denoisers.sequential import walk
from sfumato.inverse.tokens.histories import chain_of
from sfumato.inverse.tokens.lattice import Lattice
from sfumato.inverse.tokens.opinions import Note, fillings
from sfumato.inverse.tokens.problems import TokenProblem
from sfumato.noise import Streams

__all__ = ["Others", "Pool", "pooled"]

Others = list[tuple[TokenDenoiser, float]]
"""Experts beside a chain, and their weights relative to it."""


@dataclass(frozen=True, eq=False)
class Pool:
    """Different texts that agree with what is known.

    Args:
        texts: The texts.
        log_like: ln p(y | x), float64 as all that follow.
        log_p: ln p(x) under the chain.
        log_q: ln of what the other experts think of the filling, times their weights.
        log_s: ln of the probability that the text is among those that were drawn.
        log_evidence: The chain's ln p(y).
    """

    texts: Int[Tensor, "n length"]
    log_like: Float[Tensor, " n"]
    log_p: Float[Tensor, " n"]
    log_q: Float[Tensor, " n"]
    log_s: Float[Tensor, " n"]
    log_evidence: float

    def shares(self, chain: float, trust: float) -> Float[Tensor, " n"]:
        """Posterior probabilities, with these powers of chain and experts."""
        log_pi = self.log_like + chain * self.log_p + trust * self.log_q
        found: Tensor = (log_pi - self.log_s).softmax(dim=0)
        return found


def pooled(
    lattice: Lattice,
    others: Others,
    problem: TokenProblem,
    counts: tuple[int, int],
    *,
    seed: int,
    note: Note = None,
) -> Pool:
    """Draws fillings of one item, and asks all experts about each.

    Args:
        lattice: Draws from the chain.
        others: Experts beside the chain.
        problem: One item; its denoiser is the chain.
        counts: Draws from the chain, and from either side of each of the others.
        seed: Of the draws.
        note: Told of evaluations.
    """
    many, written = counts
    found = lattice(problem.select([0] * many), Streams.count(seed, many).spawn("candidates"))
    places, device = ~problem.known[0], found.x.device
    experts = [
        (fillings(other, found.x[0], places, problem.condition, note), power)
        for other, power in others
    ]
    drawn, blank = [found.x], torch.empty(written, int(places.sum()), device=device)
    for number, (expert, _) in enumerate(experts):
        for side in range(2 if written else 0):
            streams = Streams.count(seed, written).spawn(f"written {number} {side}")
            drawn.append(expert.draw(draws.uniform(blank, streams), side))
    texts = torch.unique(torch.cat(drawn), dim=0)
    chain = chain_of(problem.denoiser)
    assert chain is not None  # a need
    walked = [float(row.sum()) for row in walk(chain, list(texts.cpu().numpy()))]
    log_p = torch.tensor(walked, dtype=torch.float64, device=device)
    one = replace(problem, sites=problem.sites.expand(len(texts), -1, -1))
    log_like, total = one.log_evidence_of(texts), float(found.log_evidence[0])
    unseen = missed(log_p + log_like - total, many)
    log_q = torch.zeros_like(log_p)
    for expert, power in experts:
        for side in range(2):
            own = expert.log_prob(texts, side)
            unseen = unseen + missed(own, written)
            log_q = log_q + power * own / 2
    return Pool(texts, log_like, log_p, log_q, (-torch.expm1(unseen)).log(), total)


def missed(log_p: Float[Tensor, " n"], count: int) -> Float[Tensor, " n"]:
    """ln of the probability that something of this probability is in none of ``count`` draws."""
    return count * torch.log1p(-log_p.exp().clamp(min=1e-300, max=1 - 1e-12))
