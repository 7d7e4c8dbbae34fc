"""A posterior over tokens: a denoiser and what is known of x, as weights.

    p(x | y) ∝ p(x) Π_i ℓ_i(x_i) φ(x)

``sites`` holds ln ℓ_i(v) = ln p(y_i | x_i = v) for channels without memory; a known token is a
table with a single finite entry. ``machine`` holds φ where places depend on each other in a row
(see ``sfumato.factors``). ``expert`` is any other log-weight of whole states.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato.denoisers.base import Condition
from sfumato.denoisers.categorical import TokenDenoiser
from sfumato.factors.base import Machine
from sfumato.inverse.problems import Callback
from sfumato.noise import Streams

__all__ = ["TokenDraws", "TokenProblem", "TokenSolver"]


@dataclass(frozen=True, eq=False)
class TokenProblem:
    """What a solver of tokens is given.

    Args:
        denoiser: The prior.
        sites: ln p(y_i | x_i = v), ``[batch, *x, tokens]``, float64; −∞ where it cannot be. Zeros
            where nothing was measured. It also gives the shape of the state.
        machine: A factor that sees the whole row, for states with one axis; the same for all items.
        expert: x₀ ``[batch, *x]`` ↦ ln of a further weight, ``[batch]``.
        condition: What the prior is told besides, and ``"valid"``.
    """

    denoiser: TokenDenoiser
    sites: Float[Tensor, "batch *x tokens"]
    machine: Machine | None = None
    expert: Callable[[Tensor], Tensor] | None = None
    condition: Condition = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the state, with batch axis."""
        return tuple(self.sites.shape[:-1])

    @property
    def known(self) -> Tensor:
        """Places whose token is certain from ``sites`` alone, ``[batch, *x]``."""
        return torch.isfinite(self.sites).sum(dim=-1) == 1

    def select(self, index: list[int]) -> TokenProblem:
        """Some of the items."""
        return replace(self, sites=self.sites[index], condition=self.told(index))

    def told(self, index: list[int]) -> Condition:
        """The condition of some of the items."""
        condition = {
            key: value[index] if isinstance(value, Tensor) else value
            for key, value in (self.condition or {}).items()
        }
        return condition or None

    def log_evidence_of(self, x: Int[Tensor, "batch *x"]) -> Float[Tensor, " batch"]:
        """ln p(y | x) of clean states: sites, machine and expert together."""
        own = self.sites.gather(-1, x.unsqueeze(-1)).squeeze(-1)
        total = own.flatten(1).sum(dim=1)
        if self.machine is not None:
            from sfumato.factors import weigh

            total = total + weigh(self.machine, x)
        return total if self.expert is None else total + self.expert(x)


@dataclass(frozen=True, eq=False)
class TokenDraws:
    """What a solver found.

    Args:
        x: One posterior sample per item, ``[batch, *x]``.
        log_evidence: Estimate of ln p(y) of each item, given the tokens that are known with
            certainty, if the solver starts from them (see there); NaN where it makes none.
        effective: Smallest effective number of particles on the way; NaN without particles.
        marginals: p(x_i = v | y) as the solver knows it better than one sample does,
            ``[batch, *x, tokens]``, or ``None``.
    """

    x: Int[Tensor, "batch *x"]
    log_evidence: Float[Tensor, " batch"]
    effective: Float[Tensor, " batch"]
    marginals: Float[Tensor, "batch *x tokens"] | None = None


class TokenSolver(ABC):
    """Draws tokens given evidence; a frozen dataclass with its options as fields.

    Attributes:
        needs: Names from ``sfumato.inverse.tokens.capabilities`` that it cannot do without.
        cheap_draws: Whether further samples of one problem cost little beside the first.
        exact_evidence: Whether its evidence is that of all tokens, known ones included.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    cheap_draws: ClassVar[bool] = False
    exact_evidence: ClassVar[bool] = False

    @abstractmethod
    def __call__(
        self, problem: TokenProblem, streams: Streams, *, callback: Callback | None = None
    ) -> TokenDraws:
        """One posterior sample for each item.

        Args:
            problem: Denoiser and evidence.
            streams: One stream per item; item i draws from stream i and from no other.
            callback: Called after every step.

        Raises:
            ImpossibleError: If no x agrees with the evidence; names the item and the place.
        """
