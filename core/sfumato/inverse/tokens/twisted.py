"""Twisted particles for tokens: sequential Monte Carlo that looks ahead through the beliefs.

An absorbing chain shows places one after the other (or several at a time). Given beliefs
q_i(v) = p(x_i = v | x_t) about the hidden ones, what is expected of the evidence is

    ψ(x_t) = Z(q) = Σ_x φ(x) Π_i q_i(x_i) ℓ_i(x_i),

which is Π_j Σ_v q_j(v) ℓ_j(v) without a machine, and a filter with one. A particle draws all hidden
places from q ℓ φ, exactly, and keeps those whose turn it is. With x_S fixed the same beliefs expect
Z(q | x_S), and the network, told x_S, expects ψ(x_s). So the particle's weight is multiplied by

    ψ(x_s) / Z(q | x_S),

which is 1 where x_S says nothing new about the rest. ψ(x_s) comes with the network call that the
next step needs anyway. At the end ψ(x₀) = p(y | x₀), so that weighted particles reach the posterior
as their number grows (Wu et al., 2023, for the continuous case; Del Moral et al., 2006). One place
at a time the posterior is the model's; several at a time it is that of the parallel sampler, which
takes the places of a step to be independent given the past.

The product of mean weights is an unbiased estimate of p(y). Known tokens are given from the start
and are not part of it, unless ``score_known``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sfumato.errors import InvalidOptionError
from sfumato.inverse.problems import Callback
from sfumato.inverse.tokens.clouds import Cloud
from sfumato.inverse.tokens.descents import descend
from sfumato.inverse.tokens.evidence import ready
from sfumato.inverse.tokens.problems import TokenDraws, TokenProblem, TokenSolver
from sfumato.noise import Streams

__all__ = ["TwistedSMC"]


@dataclass(frozen=True)
class TwistedSMC(TokenSolver):
    """Sequential Monte Carlo with the beliefs' own expectation as twist.

    Args:
        particles: Particles per item, 2 or more. Cost grows with it, bias falls with it.
        steps: Network evaluations per particle; ``None`` shows one place at a time.
        order: ``"random"``, the law of the process; or ``"sure"``: first where the beliefs, with
            the evidence, have the lowest entropy, which errs less where a network's beliefs don't
            fit together or several places are shown at a time.
        expert: ``"weight"`` counts the expert at the end. ``"twist"`` also on the way, on every
            particle's own completion; where that has weight 0 it counts as the worst that has not.
        threshold: Share of effective particles below which an item resamples.
        score_known: Whether known tokens are shown step by step too, before all others, so that
            their probability is part of the evidence. One more evaluation of one particle each.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"absorbing"})

    particles: int = 64
    steps: int | None = None
    order: str = "random"
    expert: str = "weight"
    threshold: float = 0.5
    score_known: bool = False

    def __post_init__(self) -> None:
        if self.particles < 2 or not 0 < self.threshold <= 1 or self.steps == 0:
            raise InvalidOptionError(
                "TwistedSMC",
                f"particles={self.particles}, threshold={self.threshold}, steps={self.steps}",
                "use 2 or more particles, a threshold above 0, up to 1, and 1 or more steps",
            )
        for name, value, known in (
            ("order", self.order, ("random", "sure")),
            ("expert", self.expert, ("weight", "twist")),
        ):
            if value not in known:
                raise InvalidOptionError(
                    "TwistedSMC", f"{name}={value!r}", f"use one of {', '.join(known)}"
                )

    def __call__(
        self, problem: TokenProblem, streams: Streams, *, callback: Callback | None = None
    ) -> TokenDraws:
        return self.cloud(problem, streams, callback=callback).draw(streams)

    def cloud(
        self, problem: TokenProblem, streams: Streams, *, callback: Callback | None = None
    ) -> Cloud:
        """The weighted particles of each item, with the evidence.

        Args:
            problem: Denoiser and evidence.
            streams: One stream per item.
            callback: Called after every step, with the particles as the batch.

        Raises:
            ImpossibleError: If no x agrees with the evidence, or no particle did.
        """
        problem = ready(type(self).__name__, self.needs, problem)
        return descend(
            problem, self.particles, streams, order=self.order, steps=self.steps,
            looks=self.expert == "twist", threshold=self.threshold,
            score_known=self.score_known, callback=callback,
        )  # fmt: skip
