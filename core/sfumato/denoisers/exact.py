"""Denoisers in closed form, for priors whose posteriors are known.

If x₀ is a mixture of Gaussians, Σₖ wₖ N(mₖ, Σₖ), then so is everything seen through noise. With
x_t = α x₀ + σ ε and Σₖ = Q diag(λ) Qᵀ,

    p(x_t | k)      = N(α mₖ, Q diag(α²λ + σ²) Qᵀ),
    E[x₀ | x_t, k]  = mₖ + Q diag(αλ/(α²λ + σ²)) Qᵀ (x_t − α mₖ),
    Cov[x₀ | x_t, k] = Q diag(λσ²/(α²λ + σ²)) Qᵀ,

and p(k | x_t) ∝ wₖ p(x_t | k). A Gaussian is a mixture of one; a finite data set is a mixture with
λ = 0. Nothing divides by α, so pure noise (α = 0) returns the prior's own moments.

Given a linear measurement y = A x₀ + N(0, Σ_y) the posterior is a mixture again, with its own exact
denoiser; that is what solvers are compared with.

All is computed in float64 and returned in the state's dtype.
"""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers.base import Condition, Denoiser, Estimate
from sfumato.denoisers.uneven import choose, pick, seen_unevenly
from sfumato.errors import InvalidOptionError, ShapeError
from sfumato.noise import Streams
from sfumato.processes import Gaussian, Level, like

__all__ = ["Exact", "GaussianPrior", "MixturePrior"]

TINY = 1e-30
"""Floor of variances: keeps 0/0 at σ = 0 away and is below anything float32 can tell from 0."""


class Exact(Denoiser):
    """A prior whose denoiser is known in closed form."""

    knows_covariance: ClassVar[bool] = True
    reports_variance: ClassVar[bool] = True

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one x₀."""

    @abstractmethod
    def log_prob(self, x_t: Float[Tensor, "batch *x"], t: Level) -> Float[Tensor, " batch"]:
        """Returns ln p(x_t) of each item, differentiable, in float64."""

    @abstractmethod
    def sample(self, streams: Streams) -> Float[Tensor, "batch *x"]:
        """Exact draws of x₀, one per stream, in the dtype of the prior's parameters."""

    def rows(self, x_t: Tensor) -> Tensor:
        """``x_t`` as ``[batch, n]`` in float64."""
        if tuple(x_t.shape[1:]) != self.shape:
            raise ShapeError(
                f"state of {type(self).__name__}", x_t.shape[1:], "×".join(map(str, self.shape))
            )
        return x_t.flatten(1).double()


class Mixed(Exact):
    """The closed forms; subclasses say what the parts of the mixture are."""

    takes_uneven: ClassVar[bool] = True

    @property
    @abstractmethod
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weights, means and covariances, as in ``MixturePrior``."""

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.parts[1].shape[1:])

    def __post_init__(self) -> None:
        weights, means, covariances = self.parts
        count, n = len(means), means[0].numel()
        if tuple(weights.shape) != (count,):
            raise ShapeError("weights", weights.shape, f"{count}, one per mean")
        if covariances.shape not in {means.shape, torch.Size((count, n, n))}:
            expected = f"{count}×{n}×{n}, or the shape of the means for variances of elements"
            raise ShapeError("covariances", covariances.shape, expected)
        valid = torch.isfinite(weights).all() and (weights >= 0).all() and (weights > 0).any()
        if not bool(valid):
            raise InvalidOptionError("prior", "weights", "use finite numbers, 0 or more, not all 0")
        lowest = self.powers.amin(dim=1) / self.powers.abs().amax(dim=1).clamp(min=TINY)
        if not bool((lowest > -1e-6).all()):
            raise InvalidOptionError(
                "prior", "a covariance has a negative or non-finite eigenvalue",
                "give symmetric positive semidefinite matrices",
            )  # fmt: skip

    @functools.cached_property
    def log_weights(self) -> Tensor:
        weights = self.parts[0].double()
        return (weights / weights.sum()).log()

    @functools.cached_property
    def centres(self) -> Tensor:
        """mₖ as ``[k, n]``."""
        return self.parts[1].flatten(1).double()

    @functools.cached_property
    def eigen(self) -> tuple[Tensor, Tensor | None]:
        """λ as ``[k, n]``, and Q as ``[k, n, n]``; ``None`` for the identity."""
        _, means, covariances = self.parts
        matrices = covariances.double()
        if covariances.shape == means.shape:
            return matrices.flatten(1), None
        if not bool(torch.isfinite(matrices).all()):
            return torch.full_like(self.centres, math.nan), None
        powers, basis = torch.linalg.eigh((matrices + matrices.mT) / 2)
        return powers, basis

    @property
    def powers(self) -> Tensor:
        return self.eigen[0]

    def analyse(self, v: Tensor) -> Tensor:
        """Qₖᵀ v: ``[batch, k, n]`` → the same."""
        basis = self.eigen[1]
        return v if basis is None else torch.einsum("kij,bki->bkj", basis.to(v.device), v)

    def synthesise(self, c: Tensor) -> Tensor:
        """Qₖ c: the inverse of ``analyse``."""
        basis = self.eigen[1]
        return c if basis is None else torch.einsum("kij,bkj->bki", basis.to(c.device), c)

    def diagonal(self, c: Tensor) -> Tensor:
        """Diagonals of Qₖ diag(c) Qₖᵀ."""
        basis = self.eigen[1]
        return c if basis is None else torch.einsum("kij,bkj->bki", basis.to(c.device) ** 2, c)

    def seen(self, x_t: Tensor, t: Level) -> tuple[Tensor, ...]:
        """Per component: ln wₖ p(x_t | k), E[x₀ | x_t, k] and λσ²/(α²λ + σ²)."""
        x = self.rows(x_t)[:, None]
        fit = spread_out if t.uneven else like
        alpha, sigma = (fit(c, x_t if t.uneven else x) for c in (t.alpha, t.sigma))
        centres, powers = self.centres.to(x.device), self.powers.to(x.device).clamp(min=0)
        total = (alpha**2 * powers + sigma**2).clamp(min=TINY)
        offset = self.analyse(x - alpha * centres)
        quadratic = (offset**2 / total + total.log()).sum(dim=-1) + x.shape[-1] * math.log(math.tau)
        means = centres + self.synthesise(alpha * powers / total * offset)
        spread = (powers * sigma**2 / total).expand(-1 if total.ndim == 3 else 1, -1, -1)
        return self.log_weights.to(x.device) - quadratic / 2, means, spread

    def __call__(
        self, x_t: Float[Tensor, "batch *x"], t: Level, condition: Condition = None
    ) -> Estimate:
        if t.uneven and self.eigen[1] is not None:  # else every element is seen by itself
            return seen_unevenly(self, x_t, t)
        scores, means, spread = self.seen(x_t, t)
        share = scores.softmax(dim=1)
        mean = torch.einsum("bk,bkn->bn", share, means)
        apart = means - mean[:, None]
        variance = torch.einsum("bk,bkn->bn", share, self.diagonal(spread) + apart**2)

        def covariance(v: Tensor) -> Tensor:
            rows = self.rows(v)
            inner = self.synthesise(spread * self.analyse(rows[:, None].expand_as(means)))
            outer = apart * torch.einsum("bkn,bn->bk", apart, rows)[:, :, None]
            return torch.einsum("bk,bkn->bn", share, inner + outer).reshape(v.shape).to(v.dtype)

        def draw(streams: Streams) -> Tensor:
            chosen = choose(share, streams)
            noise = streams.normal(mean)[:, None].expand_as(means)
            draws = means + self.synthesise(spread.sqrt() * noise)
            return pick(draws, chosen).reshape(x_t.shape).to(x_t.dtype)

        return Estimate(
            mean.reshape(x_t.shape).to(x_t.dtype),
            variance=variance.reshape(x_t.shape).to(x_t.dtype),
            covariance=covariance,
            sampler=draw,
        )

    def log_prob(self, x_t: Float[Tensor, "batch *x"], t: Level) -> Float[Tensor, " batch"]:
        return self.seen(x_t, t)[0].logsumexp(dim=1)

    def sample(self, streams: Streams) -> Float[Tensor, "batch *x"]:
        count = len(streams)
        chosen = choose(self.log_weights.exp().expand(count, -1), streams)
        noise = streams.normal(self.centres[chosen])[:, None].expand(-1, len(self.centres), -1)
        draws = self.centres + self.synthesise(self.powers.clamp(min=0).sqrt() * noise)
        draws = pick(draws, chosen)
        return draws.reshape(count, *self.shape).to(self.parts[1].dtype)

    def responsibilities(self, x_0: Float[Tensor, "batch *x"]) -> Float[Tensor, "batch k"]:
        """p(k | x₀): which mode a sample belongs to."""
        clean = self.process.level(0.0)
        return self.seen(x_0, clean)[0].softmax(dim=1)

    def moments(self) -> tuple[Float[Tensor, " n"], Float[Tensor, "n n"]]:
        """Mean and covariance of flattened x₀."""
        share = self.log_weights.exp()
        mean = share @ self.centres
        apart = self.centres - mean
        basis, powers = self.eigen[1], torch.diag_embed(self.powers.clamp(min=0))
        within = powers if basis is None else basis @ powers @ basis.mT
        return mean, torch.einsum("k,kij->ij", share, within) + (share * apart.T) @ apart

    def given(
        self, matrix: Float[Tensor, "m n"], y: Float[Tensor, " m"], variance: float
    ) -> MixturePrior:
        """The exact posterior given y = A x₀ + N(0, variance): a mixture again.

        Args:
            matrix: A on flattened x.
            y: One measurement.
            variance: Of the noise, > 0.

        Raises:
            InvalidOptionError: If ``variance`` is not above 0.
        """
        if not variance > 0:
            raise InvalidOptionError("posterior", f"variance={variance}", "use a number above 0")
        device = self.centres.device
        a, y = matrix.double().to(device), y.double().to(device)
        basis = self.eigen[1]
        prior = torch.diag_embed(self.powers.clamp(min=0))
        if basis is not None:
            prior = basis @ prior @ basis.mT
        cross = prior @ a.T
        total = a @ cross + variance * torch.eye(len(y), dtype=a.dtype, device=device)
        residual = y - self.centres @ a.T
        factor = torch.linalg.cholesky(total)
        solved = torch.cholesky_solve(residual[:, :, None], factor)
        log_dets = factor.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        scores = self.log_weights - log_dets - (residual * solved[..., 0]).sum(dim=1) / 2
        covariances = prior - cross @ torch.cholesky_solve(cross.mT, factor)
        means = self.centres + (cross @ solved)[..., 0]
        return MixturePrior(
            self.process, scores.softmax(dim=0), means.reshape(-1, *self.shape), covariances
        )


def spread_out(c: Tensor, x: Tensor) -> Float[Tensor, "batch 1 n"]:
    """Coefficients of an uneven level, one for each element of ``x``."""
    return c.to(device=x.device).expand(x.shape).flatten(1)[:, None].double()


@dataclass(frozen=True, eq=False)
class GaussianPrior(Mixed):
    """A Gaussian.

    Args:
        process: The process that its states belong to.
        mean: ``[*x]``.
        covariance: On flattened x, ``[n, n]``; or the variance of each element, with the shape
            of ``mean``.

    Raises:
        ShapeError: If the shapes do not fit each other.
        InvalidOptionError: If a variance is negative or not finite.
    """

    process: Gaussian
    mean: Float[Tensor, "*x"]
    covariance: Tensor

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        weights = torch.ones(1, dtype=torch.float64, device=self.mean.device)
        return weights, self.mean[None], self.covariance[None]


@dataclass(frozen=True, eq=False)
class MixturePrior(Mixed):
    """A mixture of Gaussians.

    Args:
        process: The process that its states belong to.
        weights: wₖ ≥ 0, ``[k]``; scaled to sum 1.
        means: mₖ, ``[k, *x]``.
        covariances: Σₖ on flattened x, ``[k, n, n]``; or the variance of each element, with the
            shape of ``means``.

    Raises:
        ShapeError: If the shapes do not fit each other.
        InvalidOptionError: If a weight or a variance is negative or not finite.
    """

    process: Gaussian
    weights: Float[Tensor, " k"]
    means: Float[Tensor, "k *x"]
    covariances: Tensor

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.weights, self.means, self.covariances
