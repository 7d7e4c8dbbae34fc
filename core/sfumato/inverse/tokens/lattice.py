"""The posterior under a chain of histories, summed over all texts on a lattice.

A Markov chain of any order, an n-gram model among them, does not need to be sampled step by step to
know its posterior: forward filtering over histories and backward smoothing give every marginal, the
evidence ln p(y) and samples at once (Rabiner, 1989, for chains of few states). Where there are too
many histories, a beam holds those that promise most, and of the others a few that stand for all,
drawn so that no sum changes in the mean (Fearnhead & Clifford, 2003). With a beam that holds them
all, nothing is approximated. Samples of one row share the histories that were drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from sfumato import draws
from sfumato.errors import InvalidOptionError
from sfumato.inverse.problems import Callback
from sfumato.inverse.tokens.evidence import ready, real_places
from sfumato.inverse.tokens.histories import Group, chain_of, grouped, solve, wide
from sfumato.inverse.tokens.lattices import Limits, Smoothed
from sfumato.inverse.tokens.problems import TokenDraws, TokenProblem, TokenSolver
from sfumato.noise import Streams
from sfumato.samplers.base import Step

__all__ = ["Lattice"]


@dataclass(frozen=True)
class Lattice(TokenSolver):
    """Filtering and smoothing over histories.

    Args:
        beam: Histories per place. If not given, 200, and more where several places in a row are
            open (1000 from 3 on, 2000 from 6 on).
        floor: Continuations that promise less than this share of the best are left out at once.
        window: Places whose histories are held in memory; longer rows are filtered twice.

    Raises:
        InvalidOptionError: If a number makes no sense.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"sequential", "unweighted"})
    cheap_draws: ClassVar[bool] = True
    exact_evidence: ClassVar[bool] = True

    beam: int | None = None
    floor: float = 1e-7
    window: int = 1024

    def __post_init__(self) -> None:
        if (self.beam or 1) < 1 or self.window < 1 or not 0 <= self.floor < 1:
            raise InvalidOptionError(
                "Lattice", f"beam={self.beam}, window={self.window}, floor={self.floor}",
                "use a beam and a window from 1 and a floor from 0 to less than 1",
            )  # fmt: skip

    def __call__(
        self, problem: TokenProblem, streams: Streams, *, callback: Callback | None = None
    ) -> TokenDraws:
        return self.run(ready(type(self).__name__, self.needs, problem), streams, callback=callback)

    def run(
        self, problem: TokenProblem, streams: Streams, *, callback: Callback | None = None
    ) -> TokenDraws:
        """The same for a problem that is ready."""
        shape, tokens = problem.shape, problem.sites.shape[-1]
        places = int(np.prod(shape[1:]))
        blank = torch.empty(len(problem.sites), places + 1)
        uniforms = draws.uniform(blank, streams).cpu().numpy()
        x = torch.zeros(shape[0], places, dtype=torch.long)
        tables: list[torch.Tensor] = []
        log_evidence = torch.zeros(shape[0], dtype=torch.float64)
        groups = grouped(problem.sites, real_places(problem))
        solved = self.solve(problem, groups, uniforms, seed=streams.seed)
        for index, (group, found) in enumerate(zip(groups, solved, strict=True)):
            x[group.items] = spread(found, group.real)
            tables.append(group.spread(found.marginals[0]))
            log_evidence[group.items] = float(found.log_evidence[0])
            if callback is not None:
                callback(Step(index, len(groups), None, x.reshape(shape), None))
        device = problem.sites.device
        if len(groups) == 1:  # many samples of one row share one table
            marginals = tables[0].expand(shape[0], -1, -1)
        else:
            marginals = torch.zeros(shape[0], places, tokens, dtype=torch.float64)
            for group, table in zip(groups, tables, strict=True):
                marginals[group.items] = table
        return TokenDraws(
            x.reshape(shape).to(device), log_evidence.to(device),
            torch.full_like(log_evidence, torch.nan).to(device),
            marginals.reshape(*shape, tokens).to(device),
        )  # fmt: skip

    def solve(
        self,
        problem: TokenProblem,
        groups: Sequence[Group],
        uniforms: np.ndarray | None = None,
        *,
        seed: int = 0,
    ) -> list[Smoothed]:
        """All that the lattice knows: marginals, likeliest row, samples, what was left out.

        Args:
            problem: Prior and machine.
            groups: Evidence, as ``grouped`` returns it.
            uniforms: Numbers in [0, 1), ``[items, places + 1]``, for a sample of each item.
            seed: Of the numbers that decide which histories stand for others.
        """
        chain = chain_of(problem.denoiser)
        assert chain is not None  # a need
        beams = [self.beam or wide(group.sites) for group in groups]
        limits = Limits(floor=self.floor, window=self.window, seed=seed)
        return solve(chain, groups, limits, beams=beams, machine=problem.machine, uniforms=uniforms)


def spread(found: Smoothed, real: np.ndarray) -> torch.Tensor:
    """Samples at all places; 0 where there is none."""
    x = np.zeros((len(found.draws), len(real)), np.int64)
    x[:, real] = found.draws
    return torch.from_numpy(x)
