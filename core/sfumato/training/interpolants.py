"""Stochastic interpolants: paths between two data sets that are noisy on the way.

    x_t = (1 − t) x₀ + t x₁ + γ(t) z,    γ = s √(t (1 − t)),    z ~ N(0, I)

(Albergo, Boffi & Vanden-Eijnden, 2023, eq. 2.1 and table 8). A network that is asked for

    E[x₁ − x₀ + γ'(t) z | x_t]

is the velocity of an ODE that carries the one distribution to the other; it is the ``flow`` row of
the parametrisations, so that every sampler for the ``Flow`` process runs it, in both directions.
The noise fills in where data lie on thin sets, and makes the velocity smooth. With s = 0 it is
rectified flow.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers import Condition, Preconditioned
from sfumato.errors import InvalidOptionError
from sfumato.processes import Flow, Level, like

__all__ = ["interpolant_loss"]


def interpolant_loss(
    denoiser: Preconditioned,
    x_0: Float[Tensor, "batch *x"],
    x_1: Float[Tensor, "batch *x"],
    *,
    level: Level,
    z: Float[Tensor, "batch *x"],
    spread: float = 1.0,
    condition: Condition = None,
) -> Float[Tensor, " batch"]:
    """Mean squared error of the velocity, for each item.

    Args:
        denoiser: Of the ``Flow`` process, with ``prediction="flow"``.
        x_0: Data at t = 0.
        x_1: Data at t = 1, paired with them.
        level: Of each item, with 0 < t < 1.
        z: Standard normal.
        spread: s, 0 or more.
        condition: Passed to the network.

    Raises:
        InvalidOptionError: If the denoiser is of another kind, or a level is an end of the path.
    """
    if denoiser.prediction != "flow" or not isinstance(denoiser.process.schedule, Flow):
        raise InvalidOptionError(
            "interpolant", f"prediction={denoiser.prediction!r}",
            "use prediction='flow' under Gaussian(Flow())",
        )  # fmt: skip
    t = level.t
    if not bool(((t > 0) & (t < 1)).all()) or not spread >= 0:
        raise InvalidOptionError("interpolant", "an end of the path", "draw t inside (0, 1)")
    gamma = spread * (t * (1 - t)).sqrt()
    slope = spread * (1 - 2 * t) / (2 * (t * (1 - t)).sqrt())
    x_t = denoiser.process.corrupt(x_0, level, x_1) + like(gamma, x_0) * z
    velocity = x_1 - x_0 + like(slope, x_0) * z
    predicted = denoiser.evaluate(x_t, level, denoiser.coefficients(level), condition)
    return (predicted - velocity).square().flatten(1).mean(dim=1)
