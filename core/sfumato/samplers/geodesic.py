"""Steps along geodesics (De Bortoli et al., 2022, algorithm 1).

A step of another sampler from x_t ends somewhere in the space around the manifold. What of it is
tangent at x_t is walked along the manifold,

    x_s = exp_{x_t}(P (step(x_t) − x_t)),

so that noise becomes Brownian motion as steps get short: with the reverse kernel inside this is the
geodesic random walk, with η = 0 the probability flow.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from sfumato.errors import UnsupportedError
from sfumato.noise import Streams
from sfumato.processes import Level
from sfumato.processes.manifolds import Riemannian
from sfumato.samplers.base import Denoise, Sampler
from sfumato.samplers.ddim import DDPM

__all__ = ["Geodesic"]


@dataclass(frozen=True)
class Geodesic(Sampler):
    """Any sampler whose step is one evaluation at x_t, on a manifold.

    Args:
        inner: ``DDPM()``, ``EulerMaruyama()``, ``DDIM()`` or ``Euler()``.

    Raises:
        UnsupportedError: If ``inner`` evaluates elsewhere than at x_t.
    """

    inner: Sampler = field(default_factory=DDPM)

    def __post_init__(self) -> None:
        if self.inner.evaluations != 1:
            raise UnsupportedError(
                "a geodesic step", "one evaluation at the state itself",
                f"{type(self.inner).__name__} makes {self.inner.evaluations}", ["DDPM()", "DDIM()"],
            )  # fmt: skip

    @property
    def stochastic(self) -> bool:
        return self.inner.stochastic

    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Level,
        s: Level,
        streams: Streams,
        history: list[tuple[Level, Tensor]],
    ) -> Tensor:
        if not isinstance(t.process, Riemannian):
            raise UnsupportedError(
                "a geodesic step", "a process on a manifold", "this one is flat", ["the inner one"]
            )
        manifold = t.process.manifold
        v = self.inner.step(denoise, x_t, t, s, streams, history) - x_t
        return manifold.exp(x_t, manifold.tangent(x_t, v))
