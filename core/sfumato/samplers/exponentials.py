"""Exponential integrators: the reverse process with a polynomial in place of the network.

With λ = ln α/σ and h = λ_s − λ_t, the reverse SDE with stochasticity η (0: the probability-flow
ODE) is linear but for what the network says, f. It is solved exactly by

    x0    x_s = (σ_s/σ_t) e^{−η²h} x_t + α_s ∫₀^h k e^{−k(h−u)} x̂(λ_t + u) du
                + σ_s √(1 − e^{−2η²h}) z,
    eps   x_s = (α_s/α_t) x_t − σ_s ∫₀^h k e^{h−u} ε̂(λ_t + u) du + σ_s η √(e^{2h} − 1) z,

with k = 1 + η². Replace f by the polynomial through some known values f_j, in a coordinate c(u) of
one's choice: with the Lagrange basis ℓ_j of those nodes,

    ∫ K(u) f du ≈ Σ_j w_j f_j,    w_j = ∫₀^h K(u) ℓ_j(c(u)) du.

The weights are computed by Gauss–Legendre quadrature, which needs no special cases: coordinates

    log-snr   λ: DPM-Solver, DPM-Solver++, UniPC, SEEDS, SA-Solver; DEIS in ln ρ
    time      t of the process: tAB-DEIS (Zhang & Chen, 2023)
    ratio     ρ = σ/α: ρAB-DEIS
    index     the number of the step, with K replaced by its mean: the Adams–Bashforth weights of
              PNDM and iPNDM (Liu et al., 2022), which the steps of the grid must be smooth for
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy
import torch
from torch import Tensor

from sfumato.denoisers import Estimate
from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.noise import Streams
from sfumato.processes import Level, combine, like

__all__ = ["COORDINATES", "PREDICTIONS", "RULES", "Form", "Node"]

PREDICTIONS = ("x0", "eps")
COORDINATES = ("log-snr", "time", "ratio", "index")
RULES = ("exact", "bh1", "bh2")
POINTS, SHARES = (
    torch.from_numpy(values) for values in numpy.polynomial.legendre.leggauss(24)
)  # on [−1, 1]


class Node(NamedTuple):
    """A value of f with its level and, for the coordinate ``index``, its place: 0 at t, 1 at s."""

    level: Level
    value: Tensor
    place: float


@dataclass(frozen=True)
class Form:
    """Which of the two integrals, in which coordinate, with how much noise.

    Args:
        prediction: ``"x0"`` or ``"eps"``: what a polynomial stands for.
        coordinate: Of the polynomial, as above.
        eta: 0 is the ODE, 1 the reverse SDE of the process.
        rule: ``"exact"`` integrates the polynomial. ``"bh1"`` and ``"bh2"`` weigh the slope of two
            nodes with B(h)/2, B = h or B = ∫K, as UniPC (Zhao et al., 2023) and DPM-Solver
            ("midpoint", which is bh2) do; with more nodes they are exact too.
    """

    prediction: str = "x0"
    coordinate: str = "log-snr"
    eta: float = 0.0
    rule: str = "exact"

    def __post_init__(self) -> None:
        choices = {
            "prediction": PREDICTIONS, "coordinate": COORDINATES, "rule": RULES
        }  # fmt: skip
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                found = f"{name}={getattr(self, name)!r}"
                raise InvalidOptionError(
                    "exponential integrator", found, f"use one of {', '.join(allowed)}"
                )
        if not 0 <= self.eta <= 1:
            raise InvalidOptionError("exponential integrator", f"eta={self.eta}", "use 0 to 1")

    def value(self, estimate: Estimate, x_t: Tensor, t: Level) -> Tensor:
        """f: what the network says about x_t, as x̂ or ε̂."""
        if self.prediction == "x0":
            return estimate.mean
        alpha, sigma = t.scales
        return combine(1 / sigma, x_t, -alpha / sigma, estimate.mean)

    def base(self, x_t: Tensor, t: Level, s: Level, streams: Streams) -> Tensor:
        """The part of x_s that does not depend on the network, with its noise."""
        h = t.log_ratio - s.log_ratio
        if self.prediction == "x0":
            carry = s.sigma / t.sigma * (-(self.eta**2) * h).exp()
            spread = s.sigma * (-torch.expm1(-2 * self.eta**2 * h)).sqrt()
        else:
            carry = s.alpha / t.alpha
            spread = s.sigma * self.eta * torch.expm1(2 * h).sqrt()
        x_s = like(carry, x_t) * x_t
        return streams.perturb_(x_s, like(spread, x_t)) if self.eta else x_s

    def finish(self, base: Tensor, t: Level, s: Level, nodes: Sequence[Node]) -> Tensor:
        """x_s: the base plus the integral of the polynomial through ``nodes``."""
        scale = s.alpha if self.prediction == "x0" else -s.sigma
        x_s = base
        for weight, node in zip(self.weights(t, s, nodes), nodes, strict=True):
            x_s = combine(1.0, x_s, scale * weight, node.value)
        return x_s

    def clean(self, value: Tensor, x_t: Tensor, t: Level) -> Tensor:
        """x₀ from the newest f: the limit of the first-order step as σ_s → 0."""
        if self.prediction == "x0":
            return value
        alpha, sigma = t.scales
        return combine(1 / alpha, x_t, -sigma / alpha, value)

    def weights(self, t: Level, s: Level, nodes: Sequence[Node]) -> list[Tensor]:
        """w_j, in float64, shaped as the level's coefficients."""
        h = t.log_ratio - s.log_ratio
        extent = (-1,) + (1,) * h.ndim
        v, share = (POINTS.reshape(extent) + 1) / 2, SHARES.reshape(extent) / 2
        v, share = v.to(h.device), share.to(h.device)
        k = 1 + self.eta**2
        rate = -k * (1 - v) * h if self.prediction == "x0" else (1 - v) * h
        density = share * k * h * rate.exp()
        total = density.sum(0)
        if len(nodes) == 1:
            return [total]
        if self.rule != "exact" and len(nodes) == 2:
            far = max(nodes, key=lambda node: abs(node.place))
            r = (t.log_ratio - far.level.log_ratio) / h
            slope = (h if self.rule == "bh1" else total) / (2 * r)
            return [slope if node is far else total - slope for node in nodes]
        if self.coordinate == "index":
            density = share * total
        at = self.coordinates(t, t.log_ratio - v * h, v)
        places = [self.coordinates(t, n.level.log_ratio, n.place) for n in nodes]
        found = []
        for j, own in enumerate(places):
            basis = density
            for i, other in enumerate(places):
                if i != j:
                    basis = basis * (at - other) / (own - other)
            found.append(basis.sum(0))
        return found

    def coordinates(self, t: Level, log_ratio: Tensor, place: Tensor | float) -> Tensor:
        """c at the levels with these ln σ/α."""
        if self.coordinate == "index":
            return torch.as_tensor(place, dtype=torch.float64)
        if self.coordinate == "log-snr":
            return -log_ratio
        if self.coordinate == "ratio":
            return log_ratio.exp()
        if t.process is None:
            raise UnsupportedError(
                "a polynomial in time", "levels of a process", "these belong to none",
                ["coordinate='log-snr'"],
            )  # fmt: skip
        return t.process.schedule.time_of(log_ratio)
