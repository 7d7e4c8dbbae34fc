"""The contract of a denoiser: (x_t, level, condition) ↦ what is believed about x₀.

A denoiser knows its process. It returns an ``Estimate``: the mean E[x₀ | x_t], and more if it
knows more. A sampler needs nothing else, so a prior and a posterior are sampled by the same code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.noise import Streams
from sfumato.processes import Gaussian, Level, like

__all__ = ["Condition", "Denoiser", "Estimate", "Rescaled", "tweedie"]

Condition = Mapping[str, Any] | None


@dataclass(frozen=True)
class Estimate:
    """What is believed about x₀ given x_t.

    Args:
        mean: E[x₀ | x_t], ``[batch, *x]``.
        variance: Variance of each element of x₀ given x_t, broadcastable to ``mean``.
        interpolation: For networks with a learned reverse variance: where ln of the variance of
            x_s lies between ln β̃ (0) and ln β (1) (Nichol & Dhariwal, 2021, eq. 15).
        covariance: v ↦ Cov[x₀ | x_t] v, if it is known as a map.
        sampler: streams ↦ a draw of x₀ given x_t, if something better is known than independent
            elements with ``variance``.
    """

    mean: Float[Tensor, "batch *x"]
    variance: Tensor | None = None
    interpolation: Tensor | None = None
    covariance: Callable[[Tensor], Tensor] | None = None
    sampler: Callable[[Streams], Tensor] | None = None

    @property
    def drawable(self) -> bool:
        """Whether ``draw`` can do more than return the mean."""
        return self.sampler is not None or self.variance is not None

    def draw(self, streams: Streams) -> Float[Tensor, "batch *x"]:
        """A draw of x₀ given x_t; the mean if no spread is known."""
        if self.sampler is not None:
            return self.sampler(streams)
        if self.variance is None:
            return self.mean
        return self.mean + self.variance.clamp(min=0).sqrt() * streams.normal(self.mean)

    def with_mean(self, mean: Tensor) -> Estimate:
        """Another mean and nothing else that was known."""
        return replace(
            self, mean=mean, variance=None, interpolation=None, covariance=None, sampler=None
        )


class Denoiser(ABC):
    """Estimates clean data from a noisy state of its process."""

    process: Gaussian

    @abstractmethod
    def __call__(
        self, x_t: Float[Tensor, "batch *x"], t: Level, condition: Condition = None
    ) -> Estimate:
        """Returns what is believed about x₀.

        Args:
            x_t: State at level ``t``.
            t: The level; its numbers are 0-dimensional, or have one entry per item.
            condition: What the network is told besides, such as ``{"label": labels}``.
        """

    @property
    def reports_variance(self) -> bool:
        """Whether its estimates come with a variance; a wrapper's do if those it wraps do."""
        if getattr(self, "head", "") == "variance":
            return True
        inner = getattr(self, "inner", None) or getattr(self, "denoiser", None)
        return isinstance(inner, Denoiser) and inner.reports_variance

    def under(self, process: Gaussian) -> Denoiser:
        """The same beliefs for states of another Gaussian process."""
        return self if process == self.process else Rescaled(self, process)


@dataclass(frozen=True, eq=False)
class Rescaled(Denoiser):
    """A denoiser used under another Gaussian process.

    x_t/α_t and σ_t/α_t determine the belief about x₀, whatever the process; so a state is brought
    to the time of the inner process with the same ratio, and scaled by the ratio of the α.
    """

    inner: Denoiser
    process: Gaussian

    @property
    def knows_covariance(self) -> bool:
        return knows_covariance(self.inner)

    def __call__(
        self, x_t: Float[Tensor, "batch *x"], t: Level, condition: Condition = None
    ) -> Estimate:
        inner = self.inner.process.level(self.inner.process.schedule.time_of(t.log_ratio))
        # by the larger of α and σ, so that a process with α = 0 at its end does not divide by it
        scale = torch.where(t.alpha > t.sigma, inner.alpha / t.alpha, inner.sigma / t.sigma)
        return self.inner(like(scale, x_t) * x_t, inner, condition)


def tweedie(
    denoiser: Denoiser, x_t: Float[Tensor, "batch *x"], t: Level, condition: Condition = None
) -> tuple[Estimate, Callable[[Tensor], Tensor]]:
    """The estimate, and the map v ↦ Cov[x₀ | x_t] v.

    The covariance is (σ²/α) ∂E[x₀ | x_t]/∂x_t (second-order Tweedie formula), a symmetric matrix;
    for a network it is applied as Jᵀ v by one backward pass. A denoiser that knows its covariance
    is asked for it instead.
    """
    with torch.no_grad():
        known = denoiser(x_t, t, condition) if knows_covariance(denoiser) else None
    if known is not None and known.covariance is not None:
        return known, known.covariance
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        estimate = denoiser(x, t, condition)
    scale = like(t.sigma**2 / t.alpha, x_t)
    mean = estimate.mean

    def covariance(v: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(mean, x, v, retain_graph=True)
        return scale * gradient

    variance = None if estimate.variance is None else estimate.variance.detach()
    return replace(estimate, mean=mean.detach(), variance=variance), covariance


def knows_covariance(denoiser: Denoiser) -> bool:
    """Whether the denoiser's estimates carry a covariance map."""
    return bool(getattr(denoiser, "knows_covariance", False))


def layers(denoiser: object) -> Iterable[object]:
    """A denoiser and what it wraps, outermost first."""
    while denoiser is not None:
        yield denoiser
        denoiser = getattr(denoiser, "inner", None) or getattr(denoiser, "denoiser", None)


def unwrapped(network: Any) -> Any:
    """The network without what distributes it over processes."""
    return getattr(network, "module", network)
