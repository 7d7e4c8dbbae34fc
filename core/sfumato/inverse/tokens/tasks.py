"""Tasks on tokens: an operator as people ask for it, in files and options.

A ``TokenTask`` turns a damaged signal into weights on the prior's tokens. It needs the prior for
that, since only the prior's codec knows which tokens there are. A signal may fall into several
parts, each solved alone; the task puts the draws of all parts together again, since it alone knows
what was observed and must stay as it was.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from sfumato.denoisers.categorical import TokenDenoiser
from sfumato.errors import UnsupportedError
from sfumato.factors.base import Machine
from sfumato.inverse.tasks import Bound, Task
from sfumato.signals import Signal

__all__ = ["Alternatives", "PartDraws", "Posed", "Readings", "TokenPart", "TokenTask"]


@dataclass(frozen=True, eq=False)
class TokenPart:
    """What is known of one run of tokens, as in a ``TokenProblem`` without batch axis.

    Args:
        sites: ln p(y_i | x_i = v), ``[*x, tokens]``, float64.
        machine: A factor that sees the whole row.
        expert: x₀ ``[batch, *x]`` ↦ ln of a further weight, ``[batch]``.
        condition: What the prior is told besides, without batch axis.
        denoiser: Used in place of the prior's, such as one that knows where a text ends.
    """

    sites: Float[Tensor, "*x tokens"]
    machine: Machine | None = None
    expert: Callable[[Tensor], Tensor] | None = None
    condition: Mapping[str, Any] = field(default_factory=dict)
    denoiser: TokenDenoiser | None = None


@dataclass(frozen=True, eq=False)
class PartDraws:
    """What a solver found for one part.

    Args:
        x: Posterior samples, ``[n, *x]``.
        marginals: p(x_i = v | y), ``[*x, tokens]``: the solver's own, or the samples' shares.
        log_evidence: Estimate of ln p(y); NaN if the solver makes none.
        effective: Smallest effective number of particles; NaN without particles.
        u: A uniform number for every sample, for choices between parts, ``[n]``.
        evidence: Every sample's own estimate of ln p(y), ``[n]``.
    """

    x: Int[Tensor, "n *x"]
    marginals: Float[Tensor, "*x tokens"]
    log_evidence: float
    effective: float
    u: Float[Tensor, " n"]
    evidence: Float[Tensor, " n"]


@dataclass(frozen=True, eq=False)
class Alternatives:
    """Readings of one place, best first.

    Args:
        start: Where the place begins in the estimate.
        stop: Where it ends.
        readings: Data of each reading, in physical units.
        probabilities: Posterior probability of each.
        where: The place in words, such as "line 3, column 7".
    """

    start: int
    stop: int
    readings: tuple[Tensor, ...]
    probabilities: tuple[float, ...]
    where: str = ""


@dataclass(frozen=True, eq=False)
class Readings:
    """The draws of all parts as data, in physical units.

    Args:
        estimate: The reading with the fewest expected errors, ``[length]``.
        confidence: Posterior probability of each of its elements, ``[length]``; 1 where it was
            observed without doubt.
        samples: Posterior samples; their lengths may differ.
        altered: Which elements of the estimate are not those of the input, ``[length]``.
        signal: The estimate with what its file needs to be written.
        alternatives: Readings of the places that were open.
        misfit: Share of the observed elements that each sample explains as noise, ``[n]``; NaN
            where nothing was noisy.
        misfit_band: Interval that holds 99 % of that share if the channel is as stated.
        log_evidence: ln p(y), where it is not the sum over the parts, as where these exclude each
            other.
        notes: What a person should be told.
    """

    estimate: Tensor
    confidence: Tensor
    samples: tuple[Tensor, ...]
    altered: Tensor
    signal: Signal
    alternatives: tuple[Alternatives, ...] = ()
    misfit: Tensor | None = None
    misfit_band: tuple[float, float] = (0.0, 0.0)
    log_evidence: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Posed:
    """A task with its input, on the tokens of one prior.

    Args:
        parts: What to solve.
        assemble: Draws of all parts, and how many samples were asked for → the data. There may be
            more draws than samples, to rank readings by.
        ranked: Draws to rank readings by, where a solver's further draws cost little.
        compared: Whether parts exclude each other, so that their evidence must count known tokens
            too.
        solver: Method that suits the damage, where the registry's default does not.
        steps: Steps that are enough for this damage, for the default solver.
        notes: What a person should be told.
    """

    parts: tuple[TokenPart, ...]
    assemble: Callable[[Sequence[PartDraws], int], Readings]
    ranked: int = 0
    compared: bool = False
    solver: str = "auto"
    steps: int | None = None
    notes: tuple[str, ...] = ()


class TokenTask(Task):
    """An operator on tokens with options; a frozen dataclass."""

    @abstractmethod
    def pose(self, signal: Signal, prior: Any) -> Posed:
        """Reads a damaged ``signal`` as evidence on tokens.

        Args:
            signal: The input.
            prior: The ``TokenPrior``: its codec makes tokens, and what the damage is like may be
                asked of it.

        Raises:
            SfumatoError: If options, signal and alphabet do not fit, before any compute.
        """

    @abstractmethod
    def check(self, signal: Signal) -> None:
        """Refuses a signal that this task cannot use with any prior."""

    def bind(self, signal: Signal) -> Bound:
        raise UnsupportedError(type(self).__name__, "a prior over tokens", "this one is of numbers")
