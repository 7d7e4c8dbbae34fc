"""Where sampling starts: noise, a noised estimate, or another generator's draw.

Noise       σ z at the noisiest level: x₀ does not show there any more.
Estimated   α x̂₀ + σ z at a lower level, from an estimate that is close already: *Come Closer
            Diffuse Faster* (Chung, Sim & Ye, 2022). The reverse process contracts the error δ
            of the estimate; on N(m, v) what is left of it is, in closed form,
                δ α² v/(α² v + σ²)      with the reverse SDE,
                δ α √(v/(α² v + σ²))    with the probability-flow ODE.
Generated   α G + σ z from another, faster generator G, stopped early: ES-DDPM (Lyu et al.,
            2022), or a density fitted to the data, as an auxiliary one (Franzese et al., 2023).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from sfumato.errors import InvalidOptionError, ShapeError
from sfumato.noise import Streams
from sfumato.processes import Gaussian, Level

__all__ = ["Estimated", "Generated", "Noise", "Start"]


class Start(ABC):
    """The first state of a trajectory.

    Attributes:
        ratio: σ/α of the level that it belongs to; ``None`` for the process's noisiest.
    """

    ratio: float | None = None

    @abstractmethod
    def __call__(
        self, process: Gaussian, blank: Tensor, level: Level, streams: Streams
    ) -> Float[Tensor, "batch *x"]:
        """The state at ``level``, in the shape, dtype and device of ``blank``."""


@dataclass(frozen=True)
class Noise(Start):
    """Pure noise."""

    def __call__(self, process: Gaussian, blank: Tensor, level: Level, streams: Streams) -> Tensor:
        return process.start(blank, level, streams)


@dataclass(frozen=True, eq=False)
class Estimated(Start):
    """A noised estimate.

    Args:
        estimate: x̂₀ in model units, ``[*x]``, or one per item.
        ratio: σ/α to noise it to, above 0.
    """

    estimate: Tensor
    ratio: float

    def __post_init__(self) -> None:
        positive(self.ratio)

    def __call__(self, process: Gaussian, blank: Tensor, level: Level, streams: Streams) -> Tensor:
        own = self.estimate.to(blank)
        if own.shape not in {blank.shape, blank.shape[1:]}:
            size = "×".join(map(str, blank.shape[1:]))
            raise ShapeError("estimate to start from", own.shape, size)
        return process.corrupt(own.expand_as(blank), level, process.noise(blank, streams))


@dataclass(frozen=True, eq=False)
class Generated(Start):
    """A noised draw of another generator.

    Args:
        draw: streams ↦ draws in model units, one per stream.
        ratio: σ/α to noise them to, above 0.
    """

    draw: Callable[[Streams], Tensor]
    ratio: float

    def __post_init__(self) -> None:
        positive(self.ratio)

    def __call__(self, process: Gaussian, blank: Tensor, level: Level, streams: Streams) -> Tensor:
        x_0 = self.draw(streams).to(blank)
        if x_0.shape != blank.shape:
            raise ShapeError("draw to start from", x_0.shape, "×".join(map(str, blank.shape)))
        return process.corrupt(x_0, level, process.noise(blank, streams))


def positive(ratio: float) -> None:
    if not ratio > 0:
        raise InvalidOptionError("start", f"ratio={ratio}", "use a number above 0")
