"""The exact denoiser of a Markov chain with any transitions, by numerical integration on a lattice.

A hidden chain u₁, …, u_L walks on g points; x₀ is its value with a little Gaussian noise,

    p(u) ∝ e₁(u₁) Π T(u_i, u_{i+1}) e_{i+1}(u_{i+1}),    x₀ᵢ | u ~ N(m_i(u_i), vᵢ).

With vᵢ of the order of the lattice's spacing squared this approximates a continuous chain, such as
one with heavy-tailed steps, and is itself a smooth density for which nothing is approximate: seen
through noise, x_tᵢ | u ~ N(α mᵢ, α²vᵢ + σ²), and forward–backward recursions give p(u_i | x_t),
hence the moments of x₀; forward filtering with backward sampling draws it. A measurement of single
elements only changes e, m and v: the posterior is a chain again.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers.base import Condition, Estimate
from sfumato.denoisers.exact import TINY, Exact
from sfumato.denoisers.uneven import choose
from sfumato.errors import InvalidOptionError, ShapeError
from sfumato.noise import Streams
from sfumato.processes import Gaussian, Level, like

__all__ = ["ChainPrior"]


@dataclass(frozen=True, eq=False)
class ChainPrior(Exact):
    """A chain of L real numbers.

    Args:
        process: The process that its states belong to.
        transition: T > 0 up to a factor, ``[g, g]``, from row to column.
        evidence: Ln e, ``[L, g]``; the first row holds the distribution of the first element.
        means: m, ``[L, g]``.
        variances: v > 0, ``[L]``.

    Raises:
        ShapeError: If the shapes do not fit each other.
        InvalidOptionError: If a transition is negative or a variance is not above 0.
    """

    knows_covariance = False

    process: Gaussian
    transition: Float[Tensor, "g g"]
    evidence: Float[Tensor, "length g"]
    means: Float[Tensor, "length g"]
    variances: Float[Tensor, " length"]

    def __post_init__(self) -> None:
        length, g = self.means.shape
        for name, shape in (
            ("transition", (g, g)),
            ("evidence", (length, g)),
            ("variances", (length,)),
        ):
            value = getattr(self, name)
            if tuple(value.shape) != shape:
                raise ShapeError(name, value.shape, "×".join(map(str, shape)))
        if not bool((self.variances > 0).all() and (self.transition >= 0).all()):
            raise InvalidOptionError(
                "chain", "a variance is not above 0, or a transition is below 0",
                "use variances of about the spacing of the lattice squared",
            )  # fmt: skip

    @classmethod
    def heavy_tailed(
        cls,
        process: Gaussian,
        length: int = 16,
        *,
        scale: float = 0.08,
        freedom: float = 2.0,
        reach: float = 2.0,
        points: int = 129,
    ) -> ChainPrior:
        """A random walk within ±``reach`` whose steps have Student's distribution.

        Args:
            process: The process that its states belong to.
            length: L.
            scale: Scale of a step.
            freedom: Degrees of freedom; 2 or less has infinite variance but for the reach.
            reach: Where the lattice ends.
            points: g.
        """
        lattice = torch.linspace(-reach, reach, points, dtype=torch.float64)
        steps = (lattice[:, None] - lattice) / scale
        transition = (1 + steps**2 / freedom) ** (-(freedom + 1) / 2)
        spacing = 2 * reach / (points - 1)
        return cls(
            process,
            transition / transition.sum(dim=1, keepdim=True),
            torch.zeros(length, points, dtype=torch.float64),
            lattice.expand(length, -1),
            torch.full((length,), spacing**2, dtype=torch.float64),
        )

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.means),)

    def seen(self, x_t: Tensor, t: Level) -> tuple[Tensor, Tensor, Tensor]:
        """Ln e(u) p(x_t | u), E[x₀ | x_t, u] (both ``[batch, L, g]``) and Var[x₀ | x_t, u]."""
        x = self.rows(x_t)[..., None]
        alpha, sigma = like(t.alpha, x), like(t.sigma, x)
        v, means = self.variances.to(x.device)[:, None], self.means.to(x.device)
        total = (alpha**2 * v + sigma**2).clamp(min=TINY)
        offset = x - alpha * means
        scores = self.evidence.to(x.device) - (offset**2 / total + (math.tau * total).log()) / 2
        return scores, means + alpha * v / total * offset, v * sigma**2 / total

    def filtered(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """P(u_i | evidence up to i), ``[batch, L, g]``, and the total log-evidence."""
        transition = self.transition.to(scores.device)
        top = scores.amax(dim=2, keepdim=True)
        likelihood, log_total = (scores - top).exp(), top.sum(dim=(1, 2))
        rows: list[Tensor] = []
        for i in range(scores.shape[1]):
            ahead = likelihood[:, i] if i == 0 else likelihood[:, i] * (rows[-1] @ transition)
            mass = ahead.sum(dim=1, keepdim=True).clamp(min=1e-300)
            rows.append(ahead / mass)
            log_total = log_total + mass[:, 0].log()
        return torch.stack(rows, dim=1), log_total

    def backward(self, scores: Tensor) -> Tensor:
        """P(evidence after i | u_i) up to a factor, ``[batch, L, g]``."""
        transition = self.transition.to(scores.device)
        likelihood = (scores - scores.amax(dim=2, keepdim=True)).exp()
        rows = [torch.ones_like(scores[:, 0])]
        for i in range(scores.shape[1] - 1, 0, -1):
            row = (likelihood[:, i] * rows[-1]) @ transition.mT
            rows.append(row / row.amax(dim=1, keepdim=True).clamp(min=1e-300))
        return torch.stack(rows[::-1], dim=1)

    def __call__(
        self, x_t: Float[Tensor, "batch length"], t: Level, condition: Condition = None
    ) -> Estimate:
        scores, means, spread = self.seen(x_t, t)
        ahead, _ = self.filtered(scores)
        share = ahead * self.backward(scores)
        share = share / share.sum(dim=2, keepdim=True)
        mean = (share * means).sum(dim=2)
        variance = (share * (spread + (means - mean[..., None]) ** 2)).sum(dim=2)

        def draw(streams: Streams) -> Tensor:
            chosen = self.walk(ahead, streams)
            centre = means.gather(2, chosen[..., None])[..., 0]
            wide = spread.squeeze(-1).sqrt()
            return (centre + wide * streams.normal(centre)).to(x_t.dtype)

        return Estimate(mean.to(x_t.dtype), variance=variance.to(x_t.dtype), sampler=draw)

    def walk(self, ahead: Tensor, streams: Streams) -> Tensor:
        """Draws of u, ``[batch, L]``: the last element first, then each given the next."""
        transition = self.transition.to(ahead.device)
        chosen = [choose(ahead[:, -1], streams)]
        for i in range(ahead.shape[1] - 2, -1, -1):
            share = ahead[:, i] * transition[:, chosen[-1]].mT
            chosen.append(choose(share / share.sum(dim=1, keepdim=True), streams))
        return torch.stack(chosen[::-1], dim=1)

    def log_prob(self, x_t: Float[Tensor, "batch length"], t: Level) -> Float[Tensor, " batch"]:
        return self.filtered(self.seen(x_t, t)[0])[1] - self.log_total

    @functools.cached_property
    def log_total(self) -> Tensor:
        """Ln of the sum of e T e … over all walks."""
        return self.filtered(self.evidence[None])[1]

    def sample(self, streams: Streams) -> Float[Tensor, "batch length"]:
        ahead = self.filtered(self.evidence[None])[0].expand(len(streams), -1, -1)
        chosen = self.walk(ahead, streams)
        centre = self.means.expand(len(streams), -1, -1).gather(2, chosen[..., None])[..., 0]
        return centre + self.variances.sqrt() * streams.normal(centre)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean ``[L]`` and covariance ``[L, L]`` of x₀."""
        behind = self.backward(self.evidence[None])[0]
        share = self.filtered(self.evidence[None])[0][0] * behind
        share = share / share.sum(dim=1, keepdim=True)
        mean = (share * self.means).sum(dim=1)
        offset = self.means - mean[:, None]
        covariance = torch.diag(self.variances + (share * offset**2).sum(dim=1))
        likelihood = (self.evidence - self.evidence.amax(dim=1, keepdim=True)).exp()
        for i in range(len(mean) - 1):
            joint = torch.diag(share[i])
            for j in range(i + 1, len(mean)):
                step = self.transition * likelihood[j] * behind[j]
                joint = joint @ (step / step.sum(dim=1, keepdim=True).clamp(min=1e-300))
                covariance[i, j] = covariance[j, i] = offset[i] @ joint @ offset[j]
        return mean, covariance

    def given(self, mask: Tensor, y: Float[Tensor, " length"], variance: float) -> ChainPrior:
        """The exact posterior given yᵢ = x₀ᵢ + N(0, variance) where ``mask`` is 1: a chain again.

        Raises:
            InvalidOptionError: If ``variance`` is not above 0.
        """
        if not variance > 0:
            raise InvalidOptionError("posterior", f"variance={variance}", "use a number above 0")
        seen, y = mask.bool()[:, None], y.double()[:, None]
        v = self.variances[:, None]
        total = v + variance
        evidence = self.evidence - (y - self.means) ** 2 / total / 2
        means = self.means + v / total * (y - self.means)
        return replace(
            self,
            evidence=torch.where(seen, evidence, self.evidence),
            means=torch.where(seen, means, self.means),
            variances=torch.where(seen[:, 0], (v * variance / total)[:, 0], self.variances),
        )
