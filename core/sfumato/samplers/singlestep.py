"""DPM-Solver 2S and 3S, SEEDS-2 and -3: an exponential Runge–Kutta step with nodes inside.

The polynomial of the exponential integrator goes through estimates at levels between t and s,

    λ_t,  λ_t + r₁ h,  λ_t + r₂ h,    r₁ = ½ for order 2,  r₁ = ⅓ and r₂ = ⅔ for order 3,

each reached from x_t by the step of the order below. Nothing is kept from step to step, so any
grid will do; a step costs as many evaluations as its order.

With η = 0 this is DPM-Solver (Lu et al., 2022), with η = 1 SEEDS (Gonzalez et al., 2023). There the
nodes and the end lie on *one* path of the noise: what is drawn up to a node is carried on to the
next, so that in ε̂, with nodes at λ_t + r_i h,

    noise of x_s = σ_s Σ_i √(e^{2(1 − r_{i−1})h} − e^{2(1 − r_i)h}) z_i,    r_0 = 0, …, r_n = 1,

and a node has the same z_1, …, z_i. With a noise of its own for each the weak order is 1. In ε̂ the
long steps of a few evaluations amplify errors by e^h; the presets are in x̂.

The authors' code has the same equations but for SEEDS-3. In ε̂ its end swaps the factors of z_1 and
z_2, and the noise at λ_t + ⅔h has the σ of the end; in x̂ the slope there has a weight that does not
vanish with h. Here all lie on the path above, and weights are the integrals.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from torch import Tensor

from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.noise import Streams
from sfumato.processes import Level
from sfumato.samplers.base import Denoise, Sampler
from sfumato.samplers.exponentials import Form, Node

__all__ = ["SingleStep"]


@dataclass(frozen=True)
class SingleStep(Sampler):
    """Order 2 or 3 without history.

    Args:
        order: Evaluations per step: 1, 2 (2S, SEEDS-2) or 3 (3S, SEEDS-3).
        prediction: ``"eps"`` is DPM-Solver, ``"x0"`` DPM-Solver++.
        rule: ``"exact"`` integrates the polynomial through all nodes; ``"bh2"`` has the published
            weights: half the slope for order 2, the first and the last node for order 3.
        inner: Where the inner nodes lie, as shares of h; evenly if not given.
        eta: 0 solves the ODE, 1 the reverse SDE, for which the weak order is 2 at most.
    """

    order: int = 2
    prediction: str = "eps"
    rule: str = "bh2"
    inner: tuple[float, ...] = ()
    eta: float = 0.0
    form: Form = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.order not in {1, 2, 3}:
            raise InvalidOptionError("single-step solver", f"order={self.order}", "use 1, 2 or 3")
        places = [0.0, *self.inner, 1.0]
        increasing = all(a < b for a, b in itertools.pairwise(places))
        if self.inner and not (len(self.inner) == self.order - 1 and increasing):
            raise InvalidOptionError(
                "single-step solver", f"inner={self.inner}",
                f"use {self.order - 1} increasing shares between 0 and 1",
            )  # fmt: skip
        object.__setattr__(self, "form", Form(self.prediction, eta=self.eta, rule=self.rule))

    @property
    def evaluations(self) -> int:
        return self.order

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Level,
        s: Level,
        streams: Streams,
        history: list[tuple[Level, Tensor]],
    ) -> Tensor:
        value = self.form.value(denoise(x_t, t), x_t, t)
        if s.clean:
            return self.form.clean(value, x_t, t)
        found, base, before = [Node(t, value, 0.0)], x_t, t
        # stages use the exact weights, as published: only the last slope is halved
        stage = Form(self.prediction, eta=self.eta)
        for r in self.inner or [k / self.order for k in range(1, self.order)]:
            level = between(t, s, r)
            base = stage.base(base, before, level, streams)
            x = stage.finish(base, t, level, found)
            found.append(Node(level, self.form.value(denoise(x, level), x, level), r))
            before = level
        base = stage.base(base, before, s, streams)
        if self.rule != "exact" and self.order == 3:
            return stage.finish(base, t, s, [found[0], found[2]])
        return self.form.finish(base, t, s, found)


def between(t: Level, s: Level, share: float) -> Level:
    """The level at λ_t + share · h."""
    if t.process is None:
        raise UnsupportedError(
            "a single-step solver", "levels of a process", "these belong to none", ["dpm-solver"]
        )
    return t.process.at_ratio((t.log_ratio + share * (s.log_ratio - t.log_ratio)).exp())
