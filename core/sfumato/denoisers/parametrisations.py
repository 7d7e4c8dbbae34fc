"""What a network was trained to predict, as one table of coefficients.

Every parametrisation is a row of

    E[x₀ | x_t] = c_skip · x_t + c_out · F(c_in · x_t, c_noise),

with (α, σ) those of the process at time t:

    x0      x₀                 c_skip = 0            c_out = 1
    eps     ε                  c_skip = 1/α          c_out = −σ/α
    v       αε − σx₀           c_skip = α/(α²+σ²)    c_out = −σ/(α²+σ²)   (Salimans & Ho, 2022)
    score   ∇ ln p(x_t)        c_skip = 1/α          c_out = σ²/α
    flow    ε − x₀             c_skip = 1/(α+σ)      c_out = −σ/(α+σ)     (Lipman et al., 2023)
    edm     Karras et al. (2022, table 1) on x_t/α with noise level σ/α.

Training reverses the row: the network's target is (x₀ − c_skip x_t)/c_out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.denoisers.base import Condition, Denoiser, Estimate, unwrapped
from sfumato.errors import InvalidOptionError, UnknownNameError
from sfumato.processes import Gaussian, Level, combine, like

__all__ = ["PARAMETRISATIONS", "Coefficients", "Network", "Preconditioned", "coefficients"]

Network = Callable[..., Tensor]


N = TypeVar("N", float, Tensor)


@dataclass(frozen=True, eq=False)
class Row(Generic[N]):
    """One row of the table at one level: tensors or, where one does for all, plain numbers."""

    skip: N
    out: N
    scale: N
    """c_in."""


Coefficients = Row[Tensor]


def x0(alpha: N, sigma: N, spread: float) -> Row[N]:
    return Row(0 * alpha, 1 + 0 * alpha, 1 + 0 * alpha)


def eps(alpha: N, sigma: N, spread: float) -> Row[N]:
    return Row(1 / alpha, -sigma / alpha, 1 + 0 * alpha)


def v(alpha: N, sigma: N, spread: float) -> Row[N]:
    power = alpha**2 + sigma**2
    return Row(alpha / power, -sigma / power, 1 + 0 * alpha)


def score(alpha: N, sigma: N, spread: float) -> Row[N]:
    return Row(1 / alpha, sigma**2 / alpha, 1 + 0 * alpha)


def flow(alpha: N, sigma: N, spread: float) -> Row[N]:
    total = alpha + sigma
    return Row(1 / total, -sigma / total, 1 + 0 * alpha)


def edm(alpha: N, sigma: N, spread: float) -> Row[N]:
    power = sigma**2 + (alpha * spread) ** 2
    return Row(
        skip=alpha * spread**2 / power,
        out=sigma * spread / power**0.5,
        scale=1 / power**0.5,
    )


PARAMETRISATIONS: dict[str, Callable[[Any, Any, float], Row[Any]]] = {
    "x0": x0,
    "eps": eps,
    "v": v,
    "score": score,
    "flow": flow,
    "edm": edm,
}


def coefficients(prediction: str, level: Level, spread: float = 0.5) -> Coefficients:
    """The row ``prediction`` at ``level``; ``spread`` is the data's standard deviation (edm)."""
    if prediction not in PARAMETRISATIONS:
        raise UnknownNameError("prediction", prediction, PARAMETRISATIONS)
    return PARAMETRISATIONS[prediction](level.alpha, level.sigma, spread)


NOISE_LABELS: dict[str, Callable[[Level], Tensor]] = {
    "quarter-log-ratio": lambda level: level.log_ratio / 4,
    "time": lambda level: level.t,
    "time-1000": lambda level: level.t * 1000,
}


@dataclass(frozen=True, eq=False)
class Preconditioned(Denoiser):
    """A network as a denoiser.

    Args:
        network: ``(x, noise_label, **condition) -> Tensor`` with the channels of x, or twice as
            many if ``head`` says what the second half is.
        process: The process it was trained under.
        prediction: Row of the table above.
        spread: Standard deviation of the data in model units (used by ``"edm"``).
        noise_label: What the network is told about the level: ``"quarter-log-ratio"`` (¼ ln σ/α),
            ``"time"``, ``"time-1000"``, or ``"step"`` (the index in a ``Table``).
        head: ``""``; ``"variance"`` if the second half of the channels is ln of the variance of
            the prediction's error, in units of c_out²; ``"interpolation"`` for improved DDPM.
        range: Smallest and largest value data can take; E[x₀] is clipped to it. ``None``: no clip.
        mirrors: Axes of space, counted from the last, along which mirrored data are as likely:
            (-1, -2) for pictures without left and right, above and below. Solvers make use of it
            (``sfumato.denoisers.mirrored``); a call by itself does not.
    """

    network: nn.Module | Network
    process: Gaussian
    prediction: str = "edm"
    spread: float = 0.5
    noise_label: str = "quarter-log-ratio"
    head: str = ""
    range: tuple[float, float] | None = None
    mirrors: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        coefficients(self.prediction, self.process.level(0.5))
        if self.noise_label not in {*NOISE_LABELS, "step"}:
            raise UnknownNameError("noise label", self.noise_label, {*NOISE_LABELS, "step"})
        if self.head not in {"", "variance", "interpolation"}:
            raise InvalidOptionError(
                "denoiser", f"head={self.head!r}", "use '', 'variance' or 'interpolation'"
            )
        if not set(self.mirrors) <= {-1, -2, -3} or len(set(self.mirrors)) < len(self.mirrors):
            raise InvalidOptionError(
                "denoiser", f"mirrors={self.mirrors}", "use different axes out of -1, -2 and -3"
            )

    def __call__(
        self, x_t: Float[Tensor, "batch *x"], t: Level, condition: Condition = None
    ) -> Estimate:
        c = PARAMETRISATIONS[self.prediction](*t.scales, self.spread)
        output = self.evaluate(x_t, t, c, condition)
        predicted, second = output.chunk(2, dim=1) if self.head else (output, None)
        mean = combine(c.skip, x_t, c.out, predicted)
        if self.range is not None:
            mean = mean.clamp(*self.range)
        if second is None:
            return Estimate(mean)
        if self.head == "interpolation":
            return Estimate(mean, interpolation=(second + 1) / 2)
        return Estimate(mean, variance=like(c.out**2, x_t) * second.clamp(-12, 6).exp_())

    def coefficients(self, t: Level) -> Coefficients:
        """This denoiser's row at level ``t``."""
        return coefficients(self.prediction, t, self.spread)

    def evaluate(self, x_t: Tensor, t: Level, c: Row[Any], condition: Condition = None) -> Tensor:
        """F(c_in x_t, c_noise), in the network's dtype inside and the state's dtype outside."""
        dtype = self.dtype or x_t.dtype
        told = dict(condition or {})
        label = self.label(t).to(device=x_t.device, dtype=dtype)
        if t.uneven:
            noisiest = self.label(self.process.level(t.t)).to(label)
            below = (label - like(noisiest, label))[:, :1]
            told["noise_map"] = below.expand(len(x_t), 1, *x_t.shape[2:])
            label = noisiest
        scaled = (like(c.scale, x_t) * x_t).to(dtype)
        output = self.network(scaled, label.expand(x_t.shape[0]), **told)
        return output.to(x_t.dtype)

    def label(self, t: Level) -> Tensor:
        """What the network is told about the level, element by element where it is uneven."""
        if t.uneven:
            t = self.process.level(self.process.schedule.time_of(t.log_ratio))
        if self.noise_label == "step":
            count = len(self.process.schedule.alphas_cumprod)  # type: ignore[attr-defined]
            return (t.t * count - 1).clamp(min=0)
        return NOISE_LABELS[self.noise_label](t)

    @property
    def takes_uneven(self) -> bool:
        """Whether levels may differ from element to element."""
        return bool(getattr(unwrapped(self.network), "noise_map", False))

    @property
    def dtype(self) -> torch.dtype | None:
        """Dtype of the network's parameters; ``None`` for a function without any."""
        first = self.first_parameter
        return None if first is None else first.dtype

    @property
    def device(self) -> torch.device | None:
        """Device of the network's parameters; ``None`` for a function without any."""
        first = self.first_parameter
        return None if first is None else first.device

    @property
    def first_parameter(self) -> Tensor | None:
        if not isinstance(self.network, nn.Module):
            return None
        return next(self.network.parameters(), None)

    def target(self, x_0: Tensor, x_t: Tensor, t: Level) -> Tensor:
        """What the network should output: (x₀ − c_skip x_t)/c_out."""
        c = self.coefficients(t)
        return (x_0 - like(c.skip, x_t) * x_t) / like(c.out, x_t)
