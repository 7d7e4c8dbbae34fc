"""What an expert that is no chain says of a text: of single places, and of fillings.

    ln q(x_i | x_{−i})                                  leave one out, at many places
    ln q(x_G | x_{−G}) = Σ_{i ∈ G} ln q(x_i | x_j for j ∉ G or before i)      chain rule

The second has to choose an order; from the left and from the right are the two that are asked for.
It is a normalised probability of a filling as a whole. The sum of the first over the same places
is a pseudo-likelihood (Besag, 1975), in which letters vouch for each other.

A network may know a faster way to the second than asking place by place, and offers it as
``fillings(row, places)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfumato.denoisers.base import Condition
from sfumato.denoisers.categorical import TokenDenoiser
from sfumato.processes.categorical import TokenLevel

__all__ = ["Fillings", "Note", "fillings", "leave_one_out"]

WINDOW, MARGIN = 384, 96
"""Places that a network is asked about at once, and how many of them only give context."""

Asked = Callable[[Tensor, Condition], Tensor]
Note = Callable[[int], object] | None
"""Told how many items are evaluated, at every evaluation."""


@runtime_checkable
class Fillings(Protocol):
    """What judges and writes fillings of the open places of one text."""

    def log_prob(self, x: Int[Tensor, "n length"], side: int) -> Float[Tensor, " n"]:
        """ln q(filling | rest), float64; ``side`` 0 begins at the left, 1 at the right."""

    def draw(self, u: Float[Tensor, "n places"], side: int) -> Int[Tensor, "n length"]:
        """Texts with fillings drawn from it, by uniform numbers for the open places."""


def fillings(
    expert: TokenDenoiser,
    row: Int[Tensor, " length"],
    places: Bool[Tensor, " length"],
    condition: Condition = None,
    note: Note = None,
) -> Fillings:
    """What an expert makes of fillings.

    Args:
        expert: Whose belief.
        row: The text; what stands at the open places does not matter.
        places: Those that are open.
        condition: What the expert is told besides, for one item.
        note: Told of evaluations.
    """
    offered = getattr(getattr(expert, "network", None), "fillings", None)
    if callable(offered) and condition is None:
        made: Fillings = offered(row, places, note)
        return made
    return PlaceByPlace(expert, row, places, condition, note)


@dataclass(frozen=True, eq=False)
class PlaceByPlace:
    """Asks for one place after the other, those that are to come hidden; see ``fillings``."""

    expert: TokenDenoiser
    row: Int[Tensor, " length"]
    places: Bool[Tensor, " length"]
    condition: Condition
    note: Note

    def log_prob(self, x: Int[Tensor, "n length"], side: int) -> Float[Tensor, " n"]:
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for place, hidden in self.order(side):
            logs = self.believe(x, place, hidden)
            total += logs.gather(-1, x[:, place, None])[:, 0]
        return total

    def draw(self, u: Float[Tensor, "n places"], side: int) -> Int[Tensor, "n length"]:
        x = self.row.repeat(len(u), 1)
        numbers = self.places.nonzero()[:, 0].tolist()
        for place, hidden in self.order(side):
            ends = self.believe(x, place, hidden).exp().cumsum(dim=1)
            mark = u[:, numbers.index(place), None] * ends[:, -1:]
            x[:, place] = (ends <= mark).sum(dim=1).clamp(max=ends.shape[1] - 1)
        return x

    def order(self, side: int) -> list[tuple[int, Tensor]]:
        """Open places in the order in which they are asked for, and what is hidden then."""
        numbers = self.places.nonzero()[:, 0].tolist()
        hidden, found = self.places.clone(), []
        for place in reversed(numbers) if side else numbers:
            found.append((place, hidden.clone()))
            hidden[place] = False
        return found

    def believe(self, x: Tensor, place: int, hidden: Tensor) -> Float[Tensor, "n tokens"]:
        mask = self.expert.process.mask
        assert mask is not None  # a need
        level = self.expert.process.level(int(hidden.sum()) / hidden.numel())
        tell(self.note, x)
        told = repeated(self.condition, len(x))
        with torch.no_grad():
            beliefs = asked(self.expert, level)(torch.where(hidden, mask, x), told)
        return beliefs[:, place].double()


def leave_one_out(
    expert: TokenDenoiser,
    x: Int[Tensor, "batch *x"],
    places: Bool[Tensor, "*x"],
    condition: Condition = None,
    note: Note = None,
) -> Float[Tensor, "batch *x tokens"]:
    """ln q(x_i = v | x without place i) at ``places``; uniform elsewhere.

    A network that is blind to each place's own state answers all of them at once; any other is
    asked with a few places hidden at a time, far from each other.

    Args:
        expert: Whose belief.
        x: Clean states.
        places: Where it is wanted.
        condition: What the expert is told besides.
        note: Told of evaluations.
    """
    guesses = getattr(expert, "guesses", None)
    level = expert.process.level(0.0)
    with torch.no_grad():
        if callable(guesses) and getattr(expert, "blind", False):
            tell(note, x)
            return windowed(lambda row, told: guesses(row, level, told), x, condition)
        mask = expert.process.mask
        assert mask is not None  # a need
        found = torch.zeros(*x.shape, expert.process.tokens, dtype=torch.float64, device=x.device)
        numbers = places.flatten().nonzero()[:, 0]
        apart = max(1, min(len(numbers), 8))
        for first in range(apart):
            hidden = torch.zeros(places.numel(), dtype=torch.bool, device=x.device)
            hidden[numbers[first::apart]] = True
            hidden = hidden.reshape(places.shape)
            state = torch.where(hidden, mask, x)
            level = expert.process.level(int(hidden.sum()) / places.numel())
            tell(note, x)
            beliefs = windowed(asked(expert, level), state, condition)
            found = torch.where(hidden.unsqueeze(-1), beliefs.double(), found)
        return found


def tell(note: Note, x: Tensor) -> None:
    if note is not None:
        note(len(x))


def asked(expert: TokenDenoiser, level: TokenLevel) -> Asked:
    """An expert's beliefs at a level."""
    return lambda row, told: expert(row, level, told).log_probs


def windowed(ask: Asked, x: Tensor, condition: Condition) -> Float[Tensor, "batch *x tokens"]:
    """Answers for long rows, window by window; each place by the window that it is inside of."""
    if x.ndim != 2 or x.shape[1] <= WINDOW:
        return ask(x, condition)
    pieces = []
    length, step = x.shape[1], WINDOW - 2 * MARGIN
    for start in range(0, length, step):
        low, high = max(0, start - MARGIN), min(length, start + step + MARGIN)
        told = {
            key: value[:, low:high] if torch.is_tensor(value) and value.shape == x.shape else value
            for key, value in (condition or {}).items()
        }
        answer = ask(x[:, low:high], told or None)
        pieces.append(answer[:, start - low : min(start + step, length) - low])
    return torch.cat(pieces, dim=1)


def repeated(condition: Condition, count: int) -> Condition:
    """A condition of one item, for ``count`` of them."""
    if condition is None:
        return None
    return {
        key: value.expand(count, *value.shape[1:]) if torch.is_tensor(value) else value
        for key, value in condition.items()
    }
