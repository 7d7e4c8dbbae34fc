"""A chain's posterior, advised by other experts.

A prior may be a product of experts: a chain of histories, whose posterior a lattice sums exactly,
and networks that see more but cannot be summed. What a network believes of a place given all
others, q_i(v | x_{−i}), corrects the lattice in one of two ways.

Few open places (gaps): the lattice's draws are candidates, and weighed by the network's
pseudo-likelihood over the open places (Besag, 1975),

    w(x) ∝ share(x) · exp(λ/√k Σ_{i open} ln q_i(x_i | x_{−i})),        k open places.

A pseudo-likelihood counts what places say of each other once for each of them, so it is too sure of
long gaps; with λ in place of λ/√k the letters of gaps of 10 had an ECE of 0.11 instead of 0.09.

Many open places (noise): at the most probable text x̂ the marginals are multiplied,

    p_i(v) ∝ m_i(v)^τ q_i(v | x̂_{−i})^ρ,

with τ < 1, since an n-gram is too sure of itself, and samples are drawn from the lattice as before.
Both are approximations to the product. The powers were fitted to held-out verses for the shipped
prior; with λ = 0, τ = 1, ρ = 0 nothing but the lattice is left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from sfumato import draws
from sfumato.denoisers.base import Condition
from sfumato.denoisers.categorical import TokenDenoiser
from sfumato.errors import InvalidOptionError
from sfumato.inverse.problems import Callback
from sfumato.inverse.tokens.evidence import ready, real_places
from sfumato.inverse.tokens.histories import grouped, members
from sfumato.inverse.tokens.lattice import Lattice
from sfumato.inverse.tokens.problems import TokenDraws, TokenProblem, TokenSolver
from sfumato.noise import Streams
from sfumato.processes.categorical import TokenLevel

__all__ = ["Advised", "leave_one_out"]

WINDOW, MARGIN = 384, 96
"""Places that a network is asked about at once, and how many of them only give context."""

Asked = Callable[[Tensor, Condition], Tensor]
Note = Callable[[int], object] | None


@dataclass(frozen=True)
class Advised(TokenSolver):
    """Lattice draws and marginals, corrected by the other experts of the prior.

    Args:
        beam: Histories per place in the lattice; as ``Lattice`` chooses if not given.
        candidates: Draws that are weighed, of each kind of item.
        joint: Most open places of an item whose texts are weighed as wholes.
        trust: λ, weight of the experts' pseudo-likelihood of a single place.
        temper: τ, power of the lattice's marginals.
        advice: ρ, power of the experts' beliefs about single places.

    Raises:
        InvalidOptionError: If a number makes no sense.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"absorbing", "advised", "unweighted"})
    cheap_draws: ClassVar[bool] = True
    exact_evidence: ClassVar[bool] = True

    beam: int | None = None
    candidates: int = 200
    joint: int = 32
    trust: float = 0.5
    temper: float = 0.5
    advice: float = 0.18

    def __post_init__(self) -> None:
        numbers = (self.trust, self.temper, self.advice)
        if self.candidates < 1 or self.joint < 0 or min(numbers) < 0 or self.temper == 0:
            raise InvalidOptionError(
                "Advised", f"candidates={self.candidates}, joint={self.joint}, powers {numbers}",
                "use 1 or more candidates, powers that are not negative and temper above 0",
            )  # fmt: skip

    def __call__(
        self, problem: TokenProblem, streams: Streams, *, callback: Callback | None = None
    ) -> TokenDraws:
        problem = ready(type(self).__name__, self.needs, problem)
        found_members = members(problem.denoiser)
        assert found_members is not None  # a need
        chained, others = found_members
        note = getattr(problem.denoiser, "note", None)
        problem = replace(problem, denoiser=chained)
        x = torch.zeros(problem.shape, dtype=torch.long, device=problem.sites.device)
        marginals = torch.zeros_like(problem.sites)
        evidence = marginals.new_zeros(len(x))
        u = draws.uniform(torch.empty(x.shape[:1], device=x.device), streams.spawn("advice"))
        lattice = Lattice(beam=self.beam)
        for group in grouped(problem.sites, real_places(problem)):
            items = group.items
            open_places = ~problem.known[items[0]]
            condition = problem.select(items[:1]).condition
            if 0 < int(open_places.sum()) <= self.joint:
                # what is weighed is a function of the evidence alone, not of an item's stream
                pool = problem.select(items[:1] * self.candidates)
                own = Streams(streams.seed, range(self.candidates)).spawn("candidates")
                found = lattice(pool, own, callback=callback)
                share = self.weigh(others, found.x, open_places, condition, note)
                ends = share.cumsum(dim=0)
                chosen = torch.searchsorted(ends / ends[-1], u[items], right=True)
                x[items] = found.x[chosen.clamp(max=len(share) - 1)]
                hot = functional.one_hot(found.x, marginals.shape[-1]).to(share)
                marginals[items] = torch.einsum("n,n...->...", share, hot).to(marginals)
            else:
                found = lattice(problem.select(items), streams.select(items), callback=callback)
                assert found.marginals is not None
                x[items], marginals[items] = found.x, found.marginals
                if bool(open_places.any()):
                    table = found.marginals[:1]
                    marginals[items] = self.corrected(others, table, condition, note)
            evidence[items] = found.log_evidence[0]
        return TokenDraws(x, evidence, torch.full_like(evidence, torch.nan), marginals)

    def weigh(
        self,
        others: list[tuple[TokenDenoiser, float]],
        pool: Int[Tensor, "candidates *x"],
        places: Bool[Tensor, "*x"],
        condition: Condition,
        note: Note,
    ) -> Float[Tensor, " candidates"]:
        """Weights of the candidates, equal ones sharing theirs; they sum to 1."""
        distinct, inverse = torch.unique(pool, dim=0, return_inverse=True)
        score = torch.zeros(len(distinct), dtype=torch.float64, device=pool.device)
        for expert, power in others:
            beliefs = leave_one_out(
                expert, distinct, places, repeated(condition, len(distinct)), note
            )
            own = beliefs.gather(-1, distinct.unsqueeze(-1)).squeeze(-1)
            score += power * (own * places).flatten(1).sum(dim=1).double()
        power = self.trust / max(int(places.sum()), 1) ** 0.5
        weights: Tensor = (power * score)[inverse].softmax(dim=0)
        return weights

    def corrected(
        self,
        others: list[tuple[TokenDenoiser, float]],
        marginals: Float[Tensor, "one *x tokens"],
        condition: Condition,
        note: Note,
    ) -> Float[Tensor, "one *x tokens"]:
        """τ ln m + ρ ln q, normalised; certain places stay certain."""
        best = marginals.argmax(dim=-1)
        total = self.temper * marginals.log()
        everywhere = torch.ones_like(best[0], dtype=torch.bool)
        for expert, power in others:
            beliefs = leave_one_out(expert, best, everywhere, condition, note)
            total = total + self.advice * power * beliefs.to(total)
        return total.softmax(dim=-1)


def leave_one_out(
    expert: TokenDenoiser,
    x: Int[Tensor, "batch *x"],
    places: Bool[Tensor, "*x"],
    condition: Condition = None,
    note: Note = None,
) -> Float[Tensor, "batch *x tokens"]:
    """ln q(x_i = v | x without place i) at ``places``; uniform elsewhere.

    A network that is blind to each place's own state answers all of them at once; any other is
    asked with a few places hidden at a time, far from each other.

    Args:
        expert: Whose belief.
        x: Clean states.
        places: Where it is wanted.
        condition: What the expert is told besides.
        note: Told how many items are evaluated, at every evaluation.
    """
    guesses = getattr(expert, "guesses", None)
    level = expert.process.level(0.0)
    with torch.no_grad():
        if callable(guesses) and getattr(expert, "blind", False):
            tell(note, x)
            return windowed(lambda row, told: guesses(row, level, told), x, condition)
        mask = expert.process.mask
        assert mask is not None  # a need
        found = torch.zeros(*x.shape, expert.process.tokens, dtype=torch.float64, device=x.device)
        numbers = places.flatten().nonzero()[:, 0]
        apart = max(1, min(len(numbers), 8))
        for first in range(apart):
            hidden = torch.zeros(places.numel(), dtype=torch.bool, device=x.device)
            hidden[numbers[first::apart]] = True
            hidden = hidden.reshape(places.shape)
            state = torch.where(hidden, mask, x)
            level = expert.process.level(int(hidden.sum()) / places.numel())
            tell(note, x)
            beliefs = windowed(asked(expert, level), state, condition)
            found = torch.where(hidden.unsqueeze(-1), beliefs.double(), found)
        return found


def tell(note: Note, x: Tensor) -> None:
    if note is not None:
        note(len(x))


def asked(expert: TokenDenoiser, level: TokenLevel) -> Asked:
    """An expert's beliefs at a level."""
    return lambda row, told: expert(row, level, told).log_probs


def windowed(ask: Asked, x: Tensor, condition: Condition) -> Float[Tensor, "batch *x tokens"]:
    """Answers for long rows, window by window; each place by the window that it is inside of."""
    if x.ndim != 2 or x.shape[1] <= WINDOW:
        return ask(x, condition)
    pieces = []
    length, step = x.shape[1], WINDOW - 2 * MARGIN
    for start in range(0, length, step):
        low, high = max(0, start - MARGIN), min(length, start + step + MARGIN)
        told = {
            key: value[:, low:high] if torch.is_tensor(value) and value.shape == x.shape else value
            for key, value in (condition or {}).items()
        }
        answer = ask(x[:, low:high], told or None)
        pieces.append(answer[:, start - low : min(start + step, length) - low])
    return torch.cat(pieces, dim=1)


def repeated(condition: Condition, count: int) -> Condition:
    """A condition of one item, for ``count`` of them."""
    if condition is None:
        return None
    return {
        key: value.expand(count, *value.shape[1:]) if torch.is_tensor(value) else value
        for key, value in condition.items()
    }
