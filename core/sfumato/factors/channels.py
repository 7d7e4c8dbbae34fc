"""How a row of tokens was seen: with places kept, or copied with edits.

``Memoryless``: each place was seen by itself. ``EditChannel``: a text was copied, token by token.
Before each token and after the last, symbols were inserted, one more with chance ι each time, each
drawn from r. Each token v was lost with chance δ_v, or else read as symbol c with chance C(v, c).

So p(y | x) sums to 1 over all y. What an observed y says of x is a machine, ``Edits``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato import draws
from sfumato.errors import InvalidOptionError
from sfumato.factors.base import Arcs, Machine
from sfumato.noise import Streams

__all__ = ["EditChannel", "Memoryless"]


@dataclass(frozen=True, eq=False)
class Memoryless(Machine):
    """Weights of each place by itself: a machine with one state.

    Args:
        log_weights: ln p(y_i | x_i = v), ``[places, tokens]``.
        name: What error messages call it.
    """

    log_weights: Float[Tensor, "places tokens"]
    name: str = "what was seen"
    tokens: int = field(init=False)
    states: int = field(init=False, default=1)
    places: int | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "log_weights", self.log_weights.double())
        object.__setattr__(self, "places", self.log_weights.shape[0])
        object.__setattr__(self, "tokens", self.log_weights.shape[1])

    @property
    def initial(self) -> Tensor:
        return torch.zeros(1, dtype=torch.float64)

    @property
    def final(self) -> Tensor:
        return torch.zeros(1, dtype=torch.float64)

    def forward(self, place: int, log_a: Tensor, log_q: Tensor) -> Tensor:
        own = self.log_weights[place].to(log_q.device)
        return log_a + torch.logsumexp(log_q + own, dim=1, keepdim=True)

    def backward(self, place: int, log_b: Tensor, log_q: Tensor) -> Tensor:
        return self.forward(place, log_b, log_q)

    def tilt(self, place: int, log_a: Tensor, log_b: Tensor) -> Tensor:
        return log_a + log_b + self.log_weights[place].to(log_a.device)

    def advance(self, place: int, log_a: Tensor, token: Tensor) -> Tensor:
        return log_a + self.log_weights[place].to(log_a.device)[token].unsqueeze(1)

    def arcs(self, place: int, states: Int[Tensor, " n"]) -> Arcs:
        own = self.log_weights[place]
        token = (own > -torch.inf).nonzero()[:, 0]
        n = len(states)
        return Arcs(
            torch.arange(n).repeat_interleave(len(token)),
            token.repeat(n),
            torch.zeros(n * len(token), dtype=torch.long),
            own[token].repeat(n),
        )


@dataclass(frozen=True, eq=False)
class EditChannel:
    """How a text is copied with errors.

    Args:
        confusion: C(v, c), chance that a token that is not lost reads as symbol c; rows sum to 1.
        lost: δ_v, one number or one per token; in [0, 1].
        inserted: ι, chance of one more insertion; in [0, 1).
        letters: r(c), what is inserted; sums to 1. Uniform if not given.

    Raises:
        InvalidOptionError: If these are not probabilities.
    """

    confusion: Float[Tensor, "tokens symbols"]
    lost: float | Float[Tensor, " tokens"] = 0.02
    inserted: float = 0.02
    letters: Float[Tensor, " symbols"] | None = None

    def __post_init__(self) -> None:
        rows, letters = self.confusion.double().sum(dim=1), self.frequencies.sum()
        lost = torch.as_tensor(self.lost).double()
        for what, wrong, fix in (
            (f"confusions of token {int((rows - 1).abs().argmax())} sum to "
             f"{float(rows[(rows - 1).abs().argmax()]):.6g}",
             bool((rows - 1).abs().max() > 1e-6) or float(self.confusion.min()) < 0,
             "give chances that are not negative, each row with sum 1"),
            (f"inserted letters sum to {float(letters):.6g}",
             abs(float(letters) - 1) > 1e-6 or float(self.frequencies.min()) < 0,
             "give chances that are not negative and sum to 1"),
            (f"chance of loss {float(lost.min()):g} to {float(lost.max()):g}",
             not 0 <= float(lost.min()) <= float(lost.max()) <= 1, "choose it from 0 to 1"),
            (f"chance of insertion {self.inserted:g}",
             not 0 <= self.inserted < 1, "choose it from 0 to less than 1"),
        ):  # fmt: skip
            if wrong:
                raise InvalidOptionError("edits", what, fix)

    @property
    def tokens(self) -> int:
        """K."""
        return self.confusion.shape[0]

    @property
    def symbols(self) -> int:
        """How many symbols can be seen."""
        return self.confusion.shape[1]

    @property
    def frequencies(self) -> Float[Tensor, " symbols"]:
        """r."""
        if self.letters is None:
            return torch.full((self.symbols,), 1 / self.symbols, dtype=torch.float64)
        return self.letters.double()

    @property
    def losses(self) -> Float[Tensor, " tokens"]:
        """δ."""
        return torch.as_tensor(self.lost).double().expand(self.tokens)

    def corrupt(self, x: Int[Tensor, "batch length"], streams: Streams) -> list[list[int]]:
        """A draw of what is seen of each item; the lengths differ."""
        gaps = draws.uniform(x.new_zeros(len(x), x.shape[1] + 1).double(), streams)
        before = (torch.log1p(-gaps) / torch.tensor(self.inserted).double().log()).floor().long()
        kept = draws.uniform(x.double(), streams) >= self.losses[x]
        read = draws.choose(self.confusion[x], streams)
        seen: list[list[int]] = []
        for item, generator in enumerate(streams.generators):
            n, text = int(before[item].sum()), []
            letters = self.letters_for(n, generator)
            for place, count in enumerate(before[item].tolist()):
                text += [letters.pop() for _ in range(count)]
                if place < x.shape[1] and bool(kept[item, place]):
                    text.append(int(read[item, place]))
            seen.append(text)
        return seen

    def letters_for(self, n: int, generator: torch.Generator) -> list[int]:
        """Letters for n insertions."""
        if not n:
            return []
        drawn: list[int] = torch.multinomial(
            self.frequencies, n, replacement=True, generator=generator
        ).tolist()
        return drawn
