"""A chain's posterior, advised by other experts.

A prior may be a product of experts: a chain of histories, whose posterior a lattice sums exactly,
and networks that see more but cannot be summed. What they say is brought together in one of two
ways.

Few open places (gaps): both know how probable a filling x is as a whole, the chain by its lattice,
p(x | y), and a network by the chain rule, whose two orders are averaged, q(x) = √(q→(x) q←(x)). Of
the product

    π(x) ∝ p(x | y)^κ q(x)^λ

the fillings are known that the lattice and the networks draw, and these are weighed by π(x)/s(x),
where s(x) is the probability that a filling with these probabilities is drawn at all (Horvitz &
Thompson, 1952): a filling that all agree on counts by its π, and a rare one for others like it.

Many open places (noise): at the most probable text x̂ the marginals are multiplied,

    p_i(v) ∝ m_i(v)^τ q_i(v | x̂_{−i})^ρ,

with τ < 1, since an n-gram is too sure of itself, and samples are drawn from the lattice as before.
Both are approximations to the product. With κ = 1, λ = 0 and τ = 1, ρ = 0 nothing but the chain is
left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from sfumato import draws
from sfumato.denoisers.base import Condition
from sfumato.errors import InvalidOptionError
from sfumato.inverse.problems import Callback
from sfumato.inverse.tokens.evidence import ready, real_places
from sfumato.inverse.tokens.histories import grouped, members
from sfumato.inverse.tokens.lattice import Lattice
from sfumato.inverse.tokens.opinions import Note, leave_one_out
from sfumato.inverse.tokens.pools import Others, Pool, pooled
from sfumato.inverse.tokens.problems import TokenDraws, TokenProblem, TokenSolver
from sfumato.inverse.tokens.stretches import stretches
from sfumato.noise import Streams
from sfumato.samplers.base import Step

__all__ = ["Advised"]


@dataclass(frozen=True)
class Advised(TokenSolver):
    """Lattice draws and marginals, corrected by the other experts of the prior.

    Args:
        beam: Histories per place in the lattice; as ``Lattice`` chooses if not given.
        candidates: Fillings drawn from the lattice, of each kind of item.
        written: Fillings drawn from every other expert, as many from each side.
        joint: Most open places near each other whose fillings are weighed as wholes.
        chain: κ, power of the chain's probability of a filling.
        trust: λ, power of the experts' probability of a filling.
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
    written: int = 50
    joint: int = 32
    chain: float = 0.5
    trust: float = 0.5
    temper: float = 0.75
    advice: float = 0.1

    def __post_init__(self) -> None:
        numbers = (self.chain, self.trust, self.temper, self.advice)
        few = self.candidates < 1 or min(self.written, self.joint) < 0
        if few or min(numbers) < 0 or 0 in (self.chain, self.temper):
            raise InvalidOptionError(
                "Advised", f"candidates={self.candidates}, written={self.written}, "
                f"joint={self.joint}, powers {numbers}",
                "use 1 or more candidates, powers that are not negative, chain and temper above 0",
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
        # right where places are known; the others are filled in
        x, marginals = problem.sites.argmax(dim=-1), problem.sites.softmax(dim=-1)
        evidence = marginals.new_zeros(len(x))
        lattice, advice = Lattice(beam=self.beam), streams.spawn("advice")
        for group in grouped(problem.sites, real_places(problem)):
            items = group.items
            one, own = problem.select(items[:1]), streams.select(items)
            parts = stretches(one, group.real, self.joint)
            whole = len(parts) == 1 and parts[0].whole
            if not whole:
                found = lattice.run(problem.select(items), own, callback=callback)
                assert found.marginals is not None
                x[items], marginals[items] = found.x, found.marginals
                evidence[items] = found.log_evidence
                rest = ~one.known[0]
                for part in parts:
                    rest &= ~part.open
                if bool(rest.any()):
                    table = found.marginals[:1]
                    marginals[items] = self.corrected(others, table, one.condition, note)
            for number, part in enumerate(parts):
                best = marginals[items[0]].argmax(dim=-1)
                pool = self.pool(others, part.cut(one, best), streams.seed, note)
                share = pool.shares(self.chain, self.trust)
                if whole:
                    evidence[items] = pool.log_evidence
                ends = share.cumsum(dim=0)
                u = draws.uniform(
                    torch.empty(len(items), device=x.device),
                    advice.select(items).spawn(f"stretch {number}"),
                )
                chosen = torch.searchsorted(ends / ends[-1], u.to(ends), right=True)
                hot = functional.one_hot(pool.texts, marginals.shape[-1]).to(share)
                table = torch.einsum("n,n...->...", share, hot).to(marginals)
                if whole and callback is not None:
                    callback(Step(number, 1, None, x, None))
                part.paste(x, items, pool.texts[chosen.clamp(max=len(share) - 1)])
                part.paste(marginals, items, table.expand(len(items), *table.shape))
        return TokenDraws(x, evidence, torch.full_like(evidence, torch.nan), marginals)

    def pool(self, others: Others, problem: TokenProblem, seed: int, note: Note = None) -> Pool:
        """Fillings of one item's open places, which all items with its evidence share.

        Args:
            others: Experts beside the chain, and their weights relative to it.
            problem: One item; its denoiser is the chain.
            seed: Of the fillings.
            note: Told of evaluations.
        """
        return pooled(Lattice(beam=self.beam), others, problem, (self.candidates, self.written),
            seed=seed, note=note,
        )  # fmt: skip

    def corrected(
        self,
        others: Others,
        marginals: Float[Tensor, "one *x tokens"],
        condition: Condition,
        note: Note,
    ) -> Float[Tensor, "one *x tokens"]:
        """τ ln m + ρ ln q, normalised; certain places stay certain."""
        best = marginals.argmax(dim=-1)
        total = self.temper * marginals.log()
        everywhere: Bool[Tensor, "*x"] = torch.ones_like(best[0], dtype=torch.bool)
        for expert, power in others:
            beliefs = leave_one_out(expert, best, everywhere, condition, note)
            total = total + self.advice * power * beliefs.to(total)
        return total.softmax(dim=-1)
