"""A machine that reads some places of a row and lets all others pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.factors.base import Arcs, Machine

__all__ = ["Within"]


@dataclass(frozen=True, eq=False)
class Within(Machine):
    """``inner`` on the places ``start`` to ``stop`` − 1; its state stands still elsewhere.

    Args:
        inner: The machine for these places.
        start: First place.
        stop: After the last.
    """

    inner: Machine
    start: int
    stop: int

    @property
    def tokens(self) -> int:  # type: ignore[override]
        return self.inner.tokens

    @property
    def states(self) -> int:  # type: ignore[override]
        return self.inner.states

    @property
    def initial(self) -> Tensor:
        return self.inner.initial

    @property
    def final(self) -> Tensor:
        return self.inner.final

    def inside(self, place: int) -> bool:
        """Whether the inner machine reads this place."""
        return self.start <= place < self.stop

    def arcs(self, place: int, states: Tensor) -> Arcs:
        if self.inside(place):
            return self.inner.arcs(place - self.start, states)
        count, tokens = len(states), self.tokens
        source = torch.arange(count, device=states.device).repeat_interleave(tokens)
        token = torch.arange(tokens, device=states.device).repeat(count)
        weight = torch.zeros(count * tokens, dtype=torch.float64, device=states.device)
        return Arcs(source, token, states[source], weight)

    def forward(self, place: int, log_a: Tensor, log_q: Tensor) -> Tensor:
        if self.inside(place):
            return self.inner.forward(place - self.start, log_a, log_q)
        return log_a + log_q.logsumexp(dim=1, keepdim=True)

    def backward(self, place: int, log_b: Tensor, log_q: Tensor) -> Tensor:
        if self.inside(place):
            return self.inner.backward(place - self.start, log_b, log_q)
        return log_b + log_q.logsumexp(dim=1, keepdim=True)

    def tilt(self, place: int, log_a: Tensor, log_b: Tensor) -> Tensor:
        if self.inside(place):
            return self.inner.tilt(place - self.start, log_a, log_b)
        return (log_a + log_b).logsumexp(dim=1, keepdim=True).expand(-1, self.tokens)

    def advance(self, place: int, log_a: Tensor, token: Tensor) -> Tensor:
        if self.inside(place):
            return self.inner.advance(place - self.start, log_a, token)
        return log_a
