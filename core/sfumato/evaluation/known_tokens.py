"""A problem over tokens whose posterior is enumerated, and how far a solver's runs are from it."""

from __future__ import annotations

import functools
import itertools
import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato.denoisers.categorical import TokenDenoiser
from sfumato.factors import Machine
from sfumato.inverse.tokens.problems import TokenDraws, TokenProblem
from sfumato.processes import Absorbing, Categorical

__all__ = ["KnownTokens", "TokenTruth"]


@dataclass(frozen=True)
class TokenTruth:
    """How far a solver's runs are from the exact posterior.

    Args:
        tv: Total variation between the marginals, averaged over runs, and the exact ones; mean over
            places. What is left of it with many runs is bias.
        run: The same for a single run, in the mean; NaN if a run is one sample.
        evidence: |ln of the mean Ẑ − ln p(y)|; NaN where the solver makes no estimate.
    """

    tv: float
    run: float
    evidence: float

    def as_json(self) -> dict[str, float | None]:
        """JSON values: NaN becomes ``None``."""
        return {name: None if math.isnan(v) else v for name, v in asdict(self).items()}


class KnownTokens(ABC):
    """A problem with its exact posterior; subclasses are frozen dataclasses of their settings."""

    tokens: int

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one state."""

    @abstractmethod
    def prior(self, process: Categorical) -> TokenDenoiser:
        """The prior with its exact denoiser."""

    @abstractmethod
    def log_prior(self, x: Int[Tensor, "states *x"]) -> Float[Tensor, " states"]:
        """ln p(x)."""

    @property
    @abstractmethod
    def sites(self) -> Float[Tensor, "*x tokens"]:
        """ln p(y_i | x_i = v)."""

    @property
    def machine(self) -> Machine | None:
        """What else is known of the row."""
        return None

    def problem(self, process: Categorical, n: int) -> TokenProblem:
        """``n`` copies of the problem, for as many runs."""
        sites = self.sites.expand(n, *self.sites.shape)
        return TokenProblem(self.prior(process), sites, self.machine)

    @functools.cached_property
    def states(self) -> Int[Tensor, "states *x"]:
        """All states."""
        every = itertools.product(range(self.tokens), repeat=math.prod(self.shape))
        return torch.tensor(list(every)).reshape(-1, *self.shape)

    @functools.cached_property
    def log_joint(self) -> Float[Tensor, " states"]:
        """ln p(x, y) of all states."""
        problem = self.problem(Absorbing(self.tokens), 1)
        parts = torch.split(self.states, 4096)
        seen = [problem.select([0] * len(part)).log_evidence_of(part) for part in parts]
        return self.log_prior(self.states) + torch.cat(seen)

    @property
    def log_evidence(self) -> float:
        """ln p(y)."""
        return float(self.log_joint.logsumexp(dim=0))

    @property
    def log_given(self) -> float:
        """ln of the prior probability of the tokens that are known with certainty."""
        known = self.problem(Absorbing(self.tokens), 1).known[0]
        token = self.sites.argmax(dim=-1)
        agrees = ((self.states == token) | ~known).flatten(1).all(dim=1)
        return float(self.log_prior(self.states)[agrees].logsumexp(dim=0))

    @functools.cached_property
    def marginals(self) -> Float[Tensor, "*x tokens"]:
        """Exact p(x_i = v | y)."""
        p = self.log_joint.softmax(dim=0)
        hot = torch.nn.functional.one_hot(self.states, self.tokens)
        return torch.stack([(p @ part.double()) for part in hot.flatten(1, -2).unbind(1)]).reshape(
            *self.shape, self.tokens
        )

    def score(self, found: TokenDraws, *, known_scored: bool = False) -> TokenTruth:
        """Compares a solver's runs with the exact posterior.

        Args:
            found: One item per run.
            known_scored: Whether its evidence counts the tokens that are known with certainty; most
                solvers' is given them.
        """
        alone = found.marginals is None
        each = torch.nn.functional.one_hot(found.x, self.tokens).double()
        if found.marginals is not None:
            each = found.marginals.double()
        runs = found.log_evidence.logsumexp(dim=0) - math.log(len(found.x))
        return TokenTruth(
            tv=float(variation(each.mean(dim=0), self.marginals)),
            run=math.nan if alone else float(variation(each, self.marginals)),
            evidence=abs(float(runs) - self.log_evidence + (0 if known_scored else self.log_given)),
        )


def variation(p: Tensor, q: Tensor) -> Tensor:
    """Total variation, mean over places."""
    return (p - q).abs().sum(dim=-1).mean() / 2
