"""Gibbs sampling of tokens: one place after the other, given all the others.

    x_i ~ p(x_i | x₋ᵢ) p(y_i | x_i) φ(x_i, x₋ᵢ),

where p(x_i | x₋ᵢ) is what the prior believes of a place if it does not see it. An absorbing process
hides it. Another process takes out the place's own likelihood at a small level, where the other
places count as nearly certain, which is exact only as that level goes to 0. Each step leaves the
posterior as it is. It mixes slowly where places hold each other fast, and cannot cross states of
probability 0; it is the corrector after a particle method rather than a method by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfumato import draws
from sfumato.errors import InvalidOptionError
from sfumato.inverse.problems import Callback
from sfumato.inverse.tokens.capabilities import lacking
from sfumato.inverse.tokens.evidence import ready, refuse
from sfumato.inverse.tokens.outlooks import Outlook
from sfumato.inverse.tokens.problems import TokenDraws, TokenProblem, TokenSolver
from sfumato.inverse.tokens.rows import Rows, alike, certain, ranks, together
from sfumato.inverse.tokens.tilted import Tilted
from sfumato.inverse.tokens.twisted import TwistedSMC
from sfumato.noise import Streams
from sfumato.samplers.base import Step
from sfumato.samplers.tokens.base import absorbing

__all__ = ["Gibbs", "beginning"]


def beginning(
    start: TokenSolver | None, problem: TokenProblem, streams: Streams
) -> Int[Tensor, "items *x"]:
    """The first state of a chain: what ``start`` finds, or few particles, or tilted beliefs.

    A start that can't use an expert does without.
    """
    if start is None:
        able = not lacking(TwistedSMC.needs, problem)
        start = TwistedSMC(particles=16 if problem.expert is None else 256) if able else Tilted()
    if "unweighted" in start.needs:
        problem = replace(problem, expert=None)
    return start(problem, streams).x


@dataclass(frozen=True)
class Gibbs(TokenSolver):
    """Sweeps over all unknown places in random order.

    Args:
        sweeps: How often every place is drawn anew.
        burn: Share of the sweeps that does not count for the marginals.
        level: Time at which a process that does not hide tokens is asked.
        start: Solver that gives the first state; few twisted particles, or tilted beliefs.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    sweeps: int = 50
    burn: float = 0.2
    level: float = 0.01
    start: TokenSolver | None = None

    def __post_init__(self) -> None:
        if self.sweeps < 1 or not 0 <= self.burn < 1 or not 0 < self.level < 1:
            raise InvalidOptionError(
                "Gibbs", f"sweeps={self.sweeps}, burn={self.burn}, level={self.level}",
                "use 1 or more sweeps, a burn-in from 0 to below 1 and a level between 0 and 1",
            )  # fmt: skip

    def __call__(
        self, problem: TokenProblem, streams: Streams, *, callback: Callback | None = None
    ) -> TokenDraws:
        problem = ready(type(self).__name__, self.needs, problem)
        first = beginning(self.start, problem, streams)
        groups = alike(Rows(problem).hidden.flatten(1).sum(dim=1))
        with torch.no_grad():
            parts = [
                self.chain(problem, index, first[index], streams.select(index), callback)
                for index in groups
            ]
        return together(parts, groups)

    def chain(
        self,
        whole: TokenProblem,
        index: list[int],
        x: Int[Tensor, "items *x"],
        streams: Streams,
        callback: Callback | None,
    ) -> TokenDraws:
        """The chains of items with equally many unknown places."""
        rows = Rows(whole.select(index))
        places = int(rows.hidden.flatten(1).sum(dim=1).amax())
        kept = range(int(self.burn * self.sweeps), self.sweeps)
        total = torch.zeros_like(rows.sites)
        for sweep in range(self.sweeps):
            rank, u = ranks(rows.hidden, streams), draws.uniform(x, streams)
            for turn in range(places):
                here = rank == turn
                log_p = self.conditional(rows, x, here)
                stuck = torch.isinf(log_p).all(dim=-1)
                x = torch.where(here & ~stuck, draws.invert_logs(log_p, u), x)
                if sweep in kept:
                    total += torch.where(here.unsqueeze(-1), log_p.exp(), 0.0)
            if callback is not None:
                callback(Step(sweep, self.sweeps, None, x, None))
        wrong = torch.isinf(rows.worth(x))
        if bool(wrong.any()):
            item = index[int(wrong.nonzero()[0])]
            refuse((item,), "the chain found no state that agrees with it")
        marginals = torch.where(
            rows.hidden.unsqueeze(-1), total / len(kept), certain(x, total.shape[-1]).exp()
        )
        nothing = torch.full_like(marginals[:, 0].flatten(1)[:, 0], torch.nan)
        return TokenDraws(x, nothing, nothing, marginals)

    def conditional(
        self, rows: Rows, x: Int[Tensor, "items *x"], here: Bool[Tensor, "items *x"]
    ) -> Float[Tensor, "items *x tokens"]:
        """ln p(x_i | x₋ᵢ, y) at one place of each item; certain of ``x`` at the others."""
        process, expert = rows.problem.denoiser.process, rows.problem.expert
        tokens = process.tokens
        if absorbing(process):
            log_q = rows.beliefs(torch.where(here, tokens, x))
        else:
            t = process.level(self.level)
            log_q = process.leave_one_out(rows.beliefs(x, t), x, t)
        log_q = torch.where(here.unsqueeze(-1), log_q, certain(x, tokens)) + rows.sites
        if expert is not None:
            worth = [expert(torch.where(here, v, x)).double() for v in range(tokens)]
            wide = (-1, *(1,) * (x.ndim - 1), tokens)
            other = torch.stack(worth, dim=-1).reshape(wide)
            log_q = torch.where(here.unsqueeze(-1), log_q + other, log_q)
        return Outlook.of(log_q, rows.problem.machine).marginals
