"""The denoising loss for every parametrisation, with its weights.

A network F inside E[x₀ | x_t] = c_skip x_t + c_out F(c_in x_t) is asked for the target
(x₀ − c_skip x_t)/c_out. Its squared error and that of the estimate differ by c_out²:

    w(t) ‖x̂ − x₀‖² = w(t) c_out² ‖F − target‖²,

so a weight is stated once, for x₀, and every parametrisation follows. With snr = α²/σ²:

    edm          1/c_out²         the network's own error unweighted: Karras et al. (2022),
                                  and L_simple of an ε-network (Ho, Jain & Abbeel, 2020)
    min-snr      min(snr, γ)      (Hang et al., 2023); on the network's own error this is
                                  min(snr, γ)/snr for ε and min(snr, γ)/(snr + 1) for v
    uniform      1                the error of x₀ itself
    soft         α²               ‖C_t(x̂ − x₀)‖² where the corruption C_t = diag(α) differs from
                                  element to element (Daras et al., 2022, eq. 8)
    likelihood   snr/p            p the density of the drawn ln σ/α: an unbiased estimate of the
                                  diffusion part of −ELBO in nats (Kingma et al., 2021, eq. 11)
    uncertainty  1/(c_out² v̄)     v̄ the error that the variance head predicts for F, averaged over
                                  an item: each counts alike, whatever its level (Karras et al.,
                                  2024, eq. 21, where v̄ depends on the level alone)

A second head is trained beside the mean without disturbing it, on the detached error r of F:
``variance`` by the Gaussian likelihood ½ (ln v + r/v), ``interpolation`` by the variational bound
at one step (Nichol & Dhariwal, 2021, eq. 16).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato.denoisers import Coefficients, Condition, Preconditioned
from sfumato.errors import InvalidOptionError, UnknownNameError, UnsupportedError
from sfumato.processes import Level, like
from sfumato.samplers.variances import interpolated_variance, kernel_kl
from sfumato.training.times import Times

__all__ = ["WEIGHTS", "Losses", "denoising_loss", "hide_labels", "weight"]

LOG_VARIANCE = (-12.0, 6.0)
"""Where the denoiser clips its variance head; beyond it there is nothing to learn."""

GAP = 1e-3
"""Length of the step whose reverse variance an ``interpolation`` head is trained for."""


class Losses(NamedTuple):
    """Losses of each item, averaged over its elements."""

    error: Float[Tensor, " batch"]
    """Weighted squared error."""
    head: Float[Tensor, " batch"]
    """Loss of the second head before its weight; 0 where there is none."""


def edm(level: Level, c: Coefficients, gamma: float) -> Tensor:
    return c.out**-2


def min_snr(level: Level, c: Coefficients, gamma: float) -> Tensor:
    return (level.ratio**-2).clamp(max=gamma)


def uniform(level: Level, c: Coefficients, gamma: float) -> Tensor:
    return torch.ones_like(level.sigma)


def likelihood(level: Level, c: Coefficients, gamma: float) -> Tensor:
    return level.ratio**-2


def soft(level: Level, c: Coefficients, gamma: float) -> Tensor:
    return level.alpha**2


WEIGHTS: dict[str, Callable[[Level, Coefficients, float], Tensor]] = {
    "edm": edm,
    "min-snr": min_snr,
    "uniform": uniform,
    "soft": soft,
    "likelihood": likelihood,
    "uncertainty": edm,  # before the division by what the head predicts
}

LEAST = 1e-3
"""Of the error that ``uncertainty`` divides by: an empty sky need not weigh without limit."""


def weight(
    name: str,
    denoiser: Preconditioned,
    level: Level,
    *,
    gamma: float = 5.0,
    times: Times | None = None,
) -> Tensor:
    """w(t) for the squared error of x₀, float64.

    Args:
        name: Row of the table above.
        denoiser: Whose coefficients are meant.
        level: One level, or one per item.
        gamma: Of ``min-snr``.
        times: How the levels were drawn; ``likelihood`` divides by their density.

    Raises:
        UnknownNameError: If the table has no such row.
        InvalidOptionError: For ``likelihood`` at uneven levels.
    """
    if name not in WEIGHTS:
        raise UnknownNameError("weight", name, WEIGHTS)
    if name == "likelihood" and level.uneven:
        raise InvalidOptionError(
            "training", "weight=likelihood with levels that differ between elements",
            "use weight=edm or soft: such levels have no common density",
        )  # fmt: skip
    w = WEIGHTS[name](level, denoiser.coefficients(level), gamma)
    if name == "likelihood" and times is not None:
        w = w / times.density(denoiser.process, level.t)
    return w


def denoising_loss(
    denoiser: Preconditioned,
    x_0: Float[Tensor, "batch *x"],
    *,
    level: Level,
    noise: Float[Tensor, "batch *x"],
    w: Tensor | None = None,
    uncertainty: bool = False,
    condition: Condition = None,
) -> Losses:
    """The loss of each item.

    Args:
        denoiser: Network with its parametrisation.
        x_0: Data in model units.
        level: The level of each item.
        noise: Standard normal.
        w: Weights of the error of x₀, one per item or per element; 1/c_out² if not given.
        uncertainty: Whether to divide the error by what the variance head predicts for it.
        condition: Passed to the network.

    Raises:
        UnsupportedError: For ``uncertainty`` without a variance head.
    """
    if uncertainty and denoiser.head != "variance":
        raise UnsupportedError(
            "training with weight=uncertainty", "a network with a variance head",
            f"this one has {denoiser.head or 'none'}",
        )  # fmt: skip
    x_t = denoiser.process.corrupt(x_0, level, noise)
    c = denoiser.coefficients(level)
    output = denoiser.evaluate(x_t, level, c, condition)
    predicted, second = output.chunk(2, dim=1) if denoiser.head else (output, None)
    squared = (predicted - denoiser.target(x_0, x_t, level)).square()
    weighted = squared if w is None else like(w * c.out**2, squared) * squared
    if uncertainty and second is not None:
        variance = second.detach().clamp(*LOG_VARIANCE).exp()
        weighted = weighted / expected(variance, level).clamp(min=LEAST)
    error = weighted.flatten(1).mean(dim=1)
    if second is None:
        return Losses(error, torch.zeros_like(error))
    if denoiser.head == "variance":
        log_variance = second.clamp(*LOG_VARIANCE)
        head = (log_variance + squared.detach() * (-log_variance).exp()) / 2
        if w is not None and level.uneven:  # what weighs nothing for the mean is not learnt here
            head = head * like((w > 0).double(), head)
    else:
        residual = like(c.out, x_0) * squared.detach().sqrt()
        head = bound(denoiser, level, residual, second)
    return Losses(error, head.flatten(1).mean(dim=1))


def expected(variance: Tensor, level: Level) -> Tensor:
    """Mean of ``variance`` over each item; where uneven, over its noisiest elements, and the rest.

    What is missing and what is measured with some noise differ by orders of magnitude in error.
    """
    inside = tuple(range(1, variance.ndim))
    if not level.uneven:
        return variance.mean(dim=inside, keepdim=True)
    ratio = level.ratio
    noisiest = (ratio >= ratio.amax(dim=inside, keepdim=True)).expand_as(variance)
    above, below = (
        (variance * part).sum(dim=inside, keepdim=True)
        / part.sum(dim=inside, keepdim=True).clamp(min=1)
        for part in (noisiest, ~noisiest)
    )
    return torch.where(noisiest, above, below)


def bound(denoiser: Preconditioned, t: Level, residual: Tensor, second: Tensor) -> Tensor:
    """The cost of the step from t to s = t − GAP, of each element, for the error ``residual``."""
    # the last step has β̃ = 0, so it is trained as the one before it
    t = denoiser.process.level(t.t.clamp(min=2 * GAP))
    s = denoiser.process.level(t.t - GAP)
    variance = interpolated_variance((second + 1) / 2, t, s)
    return kernel_kl(t, s, residual.square(), variance)


def hide_labels(
    label: Int[Tensor, " batch"],
    u: Float[Tensor, " batch"],
    *,
    probability: float,
    nothing: int,
) -> Int[Tensor, " batch"]:
    """Replaces labels by "no label", for classifier-free guidance (Ho & Salimans, 2021).

    Args:
        label: Classes.
        u: Uniform draws, one per item.
        probability: Share to hide.
        nothing: The number that means "no label".
    """
    return torch.where(u.to(label.device) < probability, torch.full_like(label, nothing), label)
