"""DDIM (Song, Meng & Ermon, 2021) and DDPM (Ho, Jain & Abbeel, 2020): the bare reverse kernel."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sfumato.denoisers import Estimate
from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.noise import Streams
from sfumato.processes import Level, like
from sfumato.samplers.base import Denoise, Sampler, bridge_variance, calibrated, kernel
from sfumato.samplers.variances import forward_variance, interpolated_variance

__all__ = ["DDIM", "DDPM"]

VARIANCES = ("small", "large", "learned", "calibrated")


@dataclass(frozen=True)
class DDIM(Sampler):
    """The reverse kernel with the mean as x̂.

    Args:
        eta: 0 is deterministic, 1 has DDPM's noise (ibid., eq. 16).
        calibrated: Whether to add the spread of x₀ given x_t that the denoiser knows, as
            Analytic-DPM does for any η (Bao et al., 2022, eq. 7).
    """

    eta: float = 0.0
    calibrated: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise InvalidOptionError("DDIM", f"eta={self.eta}", "use 0 to 1")

    @property
    def stochastic(self) -> bool:
        return self.eta > 0 or self.calibrated

    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Level,
        s: Level,
        streams: Streams,
        history: list[tuple[Level, Tensor]],
    ) -> Tensor:
        estimate = denoise(x_t, t)
        if self.calibrated:
            return calibrated(drawable(estimate, "DDIM"), x_t, t, s, streams, eta=self.eta)
        return kernel(estimate.mean, x_t, t, s, streams, eta=self.eta)


@dataclass(frozen=True)
class DDPM(Sampler):
    """Ancestral sampling.

    Args:
        variance: ``"small"`` is β̃ and ``"large"`` is β (Ho et al., § 3.2): right for data without
            and with unit spread. ``"learned"`` interpolates between their logarithms with the
            network's second head (Nichol & Dhariwal, 2021, eq. 15). ``"calibrated"`` puts a draw
            of x₀ given x_t into the kernel in place of the mean, which is exact where the
            denoiser's spread is, at any number of steps (cf. Bao et al., 2022).
    """

    variance: str = "small"

    def __post_init__(self) -> None:
        if self.variance not in VARIANCES:
            raise InvalidOptionError(
                "DDPM", f"variance={self.variance!r}", f"use one of {', '.join(VARIANCES)}"
            )

    @property
    def stochastic(self) -> bool:
        return True

    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Level,
        s: Level,
        streams: Streams,
        history: list[tuple[Level, Tensor]],
    ) -> Tensor:
        estimate = denoise(x_t, t)
        if self.variance == "calibrated":
            return calibrated(drawable(estimate, "DDPM"), x_t, t, s, streams)
        if self.variance == "small" or s.clean:
            return kernel(estimate.mean, x_t, t, s, streams)
        small = bridge_variance(t.scales, s.scales)
        if self.variance == "large":
            extra = like(forward_variance(t.scales, s.scales) - small, x_t)
            return kernel(estimate.mean, x_t, t, s, streams, extra=extra)
        if estimate.interpolation is None:
            raise UnsupportedError(
                "DDPM with learned variance", "a network with a variance head",
                "this one predicts a mean only", ["variance='small'"],
            )  # fmt: skip
        learned = interpolated_variance(estimate.interpolation, t, s)
        return kernel(estimate.mean, x_t, t, s, streams, extra=learned - like(small, x_t))


def drawable(estimate: Estimate, sampler: str) -> Estimate:
    """The estimate, if its spread is known."""
    if not estimate.drawable:
        raise UnsupportedError(
            f"{sampler} with calibrated variance", "a denoiser that knows its spread",
            "this one returns a mean only", ["variance='small'", "WithVariance(denoiser)"],
        )  # fmt: skip
    return estimate
