"""Split Gibbs sampling of tokens: the prior and the evidence take turns.

**Processes that replace tokens** (SGDD; Chu et al., 2025). A clean state z and a noisy one x at
level t have the joint weight p(z) q(x_t = x | x₀ = z) p(y | x). Alternate

    z ~ p(z | x_t = x)                       the reverse chain, started at x
    x ~ q(x_t = x | x₀ = z) p(y | x)         place by place, or by a filter with a machine.

The evidence is about x, not about z, which is a bias that goes away with t: over a first half of
the rounds t falls, in the second it stays.

**Processes that hide tokens.** The noisy state is x with some places hidden, and the evidence is
about x itself. Alternate

    m ~ q(m | x)                             hides a few places of x at random
    x ~ p(x | m) p(y | x)                    a few twisted particles, one of them pinned to x.

Conditional particles leave the posterior as it is, however few they are and however much is hidden
(Andrieu et al., 2010), so there is no bias at all; with one place hidden it is a Gibbs step. With
many hidden few proposals are better than what was there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato import draws
from sfumato.errors import InvalidOptionError
from sfumato.inverse.particles import pick
from sfumato.inverse.problems import Callback
from sfumato.inverse.tokens.descents import Descent
from sfumato.inverse.tokens.evidence import ready
from sfumato.inverse.tokens.gibbs import beginning
from sfumato.inverse.tokens.outlooks import Outlook
from sfumato.inverse.tokens.problems import TokenDraws, TokenProblem, TokenSolver
from sfumato.inverse.tokens.rows import Rows, alike, certain, ranks
from sfumato.noise import Streams
from sfumato.samplers.base import Step
from sfumato.samplers.tokens.ancestral import Ancestral
from sfumato.samplers.tokens.base import absorbing, run_tokens

__all__ = ["SplitGibbs"]


@dataclass(frozen=True)
class SplitGibbs(TokenSolver):
    """Rounds of noise, reverse chain and evidence.

    Args:
        rounds: How many.
        high: Share of tokens that is replaced in the first round.
        low: The same in the second half of the rounds.
        steps: Steps of the reverse chain, for processes that replace tokens.
        block: Places that are hidden in a round, in the mean, for processes that hide tokens.
        particles: Particles per round, for processes that hide tokens.
        start: Solver that gives the first state; few twisted particles, or tilted beliefs.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    rounds: int = 60
    high: float = 0.5
    low: float = 0.05
    steps: int = 8
    block: int = 4
    particles: int = 4
    start: TokenSolver | None = None

    def __post_init__(self) -> None:
        if (
            self.rounds < 1
            or not 0 < self.low <= self.high <= 1
            or min(self.particles - 1, self.block) < 1
        ):
            raise InvalidOptionError(
                "SplitGibbs",
                f"rounds={self.rounds}, high={self.high}, low={self.low}, "
                f"block={self.block}, particles={self.particles}",
                "use 1 or more rounds, shares with 0 < low ≤ high ≤ 1, blocks of 1 or more places "
                "and 2 or more particles",
            )

    def __call__(
        self, problem: TokenProblem, streams: Streams, *, callback: Callback | None = None
    ) -> TokenDraws:
        problem = ready(type(self).__name__, self.needs, problem)
        x = beginning(self.start, problem, streams)
        rows, total = Rows(problem), torch.zeros_like(problem.sites)
        process = problem.denoiser.process
        turn = self.refill if absorbing(process) else self.exchange
        shares = self.shares()
        with torch.no_grad():
            for index, share in enumerate(shares):
                x, found = turn(rows, x, share, streams)
                if index >= len(shares) // 2:
                    total += found
                if callback is not None:
                    callback(Step(index, len(shares), None, x, None))
        nothing = torch.full((len(x),), torch.nan, dtype=torch.float64, device=x.device)
        counted = len(shares) - len(shares) // 2
        return TokenDraws(x, nothing, nothing, total / counted)

    def shares(self) -> list[float]:
        """1 − α of each round."""
        half = max(self.rounds // 2, 1)
        ratio = self.low / self.high
        return [self.high * ratio ** min(index / half, 1.0) for index in range(self.rounds)]

    def exchange(
        self, rows: Rows, x: Int[Tensor, "items *x"], share: float, streams: Streams
    ) -> tuple[Int[Tensor, "items *x"], Float[Tensor, "items *x tokens"]]:
        """z from x and the prior, then x from z and the evidence, with its probabilities."""
        problem = rows.problem
        process = problem.denoiser.process
        t = process.level(process.survival.time_of(torch.tensor(1 - share, dtype=torch.float64)))
        grid = float(t.t) * torch.linspace(1, 0, self.steps + 1, dtype=torch.float64)
        z = run_tokens(Ancestral(), problem.denoiser, x, grid, streams, condition=problem.condition)
        noise = process.log_likelihood(torch.arange(process.tokens, device=x.device), t).mT
        near = torch.where(rows.real.unsqueeze(-1), noise[z], certain(x, process.tokens))
        view = Outlook.of(near + problem.sites, problem.machine)
        found = view.draw(draws.uniform(x, streams), torch.ones_like(x, dtype=torch.bool))
        if problem.expert is not None:
            gain = problem.expert(found).double() - problem.expert(x).double()
            chance = draws.uniform(torch.zeros(len(x), 1), streams)[:, 0].to(x.device)
            accepted = (chance.log() < gain).reshape(-1, *(1,) * (x.ndim - 1))
            found = torch.where(accepted, found, x)
            return found, certain(found, process.tokens).exp()
        return found, view.marginals.exp()

    def refill(
        self, rows: Rows, x: Int[Tensor, "items *x"], share: float, streams: Streams
    ) -> tuple[Int[Tensor, "items *x"], Float[Tensor, "items *x tokens"]]:
        """Hides places of x and draws them again, with the weight that each token had."""
        left = rows.hidden.flatten(1).sum(dim=1).reshape(-1, *(1,) * (x.ndim - 1))
        hidden = rows.hidden & (draws.uniform(x, streams) * left < self.block)
        turns = ranks(hidden, streams)
        tokens = rows.problem.sites.shape[-1]
        found, x = certain(x, tokens).exp(), x.clone()
        for index in alike(turns.flatten(1).amax(dim=1)):
            if int(turns[index].max()) < 0:
                continue
            some = streams.select(index)
            descent = Descent(rows.problem, index, turns[index], self.particles)
            cloud = descent.walk(some, pinned=x[index])
            chosen = pick(cloud.log_weights, some)
            x[index] = cloud.x[torch.arange(len(index), device=x.device), chosen]
            found[index] = cloud.marginals
        return x, found
