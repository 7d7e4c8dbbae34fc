"""Importance sampling: the prior's own samples, weighted by the evidence.

    x¹, …, xᴺ ~ p(x | known),    w_k = p(y | x_k) / Σ_l p(y | x_l),    Ẑ = mean of p(y | x_k)

Exact in the limit, for any process, any sampler and any evidence that can be computed, but N grows
like e to the information that y holds: for short gaps, and as a check of the others. Taking the
sample of largest weight instead of a draw is best-of-n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.inverse.particles import reweigh
from sfumato.inverse.problems import Callback
from sfumato.inverse.tokens.clouds import Cloud
from sfumato.inverse.tokens.descents import descend
from sfumato.inverse.tokens.evidence import ready, refuse
from sfumato.inverse.tokens.passes import fan, walk
from sfumato.inverse.tokens.problems import TokenDraws, TokenProblem, TokenSolver
from sfumato.inverse.tokens.rows import Rows
from sfumato.noise import Streams
from sfumato.samplers.tokens.ancestral import Ancestral
from sfumato.samplers.tokens.base import TokenSampler, absorbing

__all__ = ["Importance"]


@dataclass(frozen=True)
class Importance(TokenSolver):
    """Weighted samples of the prior.

    Args:
        particles: N, samples per item.
        pick: ``"draw"`` returns a draw by weight, ``"best"`` the sample of largest weight.
        sampler: Any sampler of tokens; if not given, one place at a time in random order where the
            process hides tokens, else ancestral.
        steps: Steps of the sampler's grid.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    particles: int = 256
    pick: str = "draw"
    sampler: TokenSampler | None = None
    steps: int = 64

    def __post_init__(self) -> None:
        if self.particles < 1 or self.pick not in {"draw", "best"}:
            raise InvalidOptionError(
                "Importance", f"particles={self.particles}, pick={self.pick!r}",
                "use 1 or more particles and pick 'draw' or 'best'",
            )  # fmt: skip

    def __call__(
        self, problem: TokenProblem, streams: Streams, *, callback: Callback | None = None
    ) -> TokenDraws:
        cloud = self.cloud(problem, streams, callback=callback)
        found = cloud.draw(streams)
        if self.pick == "draw":
            return found
        best = cloud.log_weights.argmax(dim=1)
        x = cloud.x[torch.arange(len(best), device=best.device), best]
        return TokenDraws(x, found.log_evidence, found.effective, found.marginals)

    def cloud(
        self, problem: TokenProblem, streams: Streams, *, callback: Callback | None = None
    ) -> Cloud:
        """The weighted samples of each item, with the evidence; arguments as in a call.

        Raises:
            ImpossibleError: If no x agrees with the evidence, or no sample did.
        """
        problem = ready(type(self).__name__, self.needs, problem)
        rows, shape = Rows(problem, self.particles), (len(problem.sites), self.particles)
        with torch.no_grad():
            x = self.propose(rows, streams, callback)
            log_w = rows.worth(x).double().reshape(shape) - math.log(self.particles)
        dead = torch.isinf(log_w).all(dim=1)
        if bool(dead.any()):
            refuse((int(dead.nonzero()[0]),), "no sample of the prior agrees with it")
        blank = torch.zeros_like(log_w[:, 0])
        log_w, evidence, effective, _ = reweigh(log_w, blank, blank + self.particles, 1.0, None)
        return Cloud(rows.apart(x), log_w, evidence, effective, problem.sites.shape[-1])

    def propose(
        self, rows: Rows, streams: Streams, callback: Callback | None
    ) -> Int[Tensor, "rows *x"]:
        """Samples of the prior, given the known tokens where the process hides tokens."""
        problem = rows.problem
        if self.sampler is None and absorbing(problem.denoiser.process):
            known = problem.known.unsqueeze(-1)
            prior = replace(
                problem, sites=torch.where(known, problem.sites, 0.0), machine=None, expert=None
            )
            return descend(prior, self.particles, streams, callback=callback).x.flatten(0, 1)
        sampler, many = self.sampler or Ancestral(), fan(streams, self.particles)
        return walk(rows, problem.denoiser, sampler, self.steps, many, callback)
