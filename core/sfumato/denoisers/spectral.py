"""Networks that see signals, for processes whose states are coefficients.

A network looks at x_t = V u_t and predicts in the space of signals; what it says is taken to the
coefficients, where each has a row of its own in the table of parametrisations:

    û₀ = c_skip ⊙ u_t + c_out ⊙ VᵀF(V u_t, t).

With ε as the prediction and the network's own error as loss this is blurring diffusion (Hoogeboom &
Salimans, 2023). With the weight ``soft``, α², it is soft score matching (Daras et al., 2022), whose
loss ‖C_t(x̂ − x₀)‖² does not ask for what the corruption C_t has taken away for good.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers.base import Condition
from sfumato.denoisers.parametrisations import Preconditioned, Row
from sfumato.errors import InvalidOptionError
from sfumato.processes import Gaussian, Level
from sfumato.processes.spectral import Spectral

__all__ = ["InBasis"]


@dataclass(frozen=True, eq=False)
class InBasis(Preconditioned):
    """A network as a denoiser of coefficients. Arguments are those of ``Preconditioned``.

    Raises:
        InvalidOptionError: For ``edm``, whose input scale differs between coefficients, for a
            second head and for a range, which are of signals.
    """

    prediction: str = "eps"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.process, Spectral):
            raise InvalidOptionError("denoiser", "another process", "use one that is Spectral")
        if self.prediction == "edm" or self.head or self.range is not None:
            raise InvalidOptionError(
                "denoiser",
                f"prediction={self.prediction!r}, head={self.head!r}, range={self.range}",
                "use a prediction without input scale, such as 'eps', and no head or range",
            )

    @functools.cached_property
    def inner(self) -> Preconditioned:
        """The same network on signals."""
        plain = Gaussian(self.process.schedule)
        return Preconditioned(self.network, plain, self.prediction, self.spread, self.noise_label)

    def evaluate(
        self,
        x_t: Float[Tensor, "batch *x"],
        t: Level,
        c: Row[Any],
        condition: Condition = None,
    ) -> Tensor:
        process = self.process
        assert isinstance(process, Spectral)
        level = process.plain(t)
        seen = process.synthesise(x_t)
        output = self.inner.evaluate(seen, level, self.inner.coefficients(level), condition)
        return process.analyse(output)
