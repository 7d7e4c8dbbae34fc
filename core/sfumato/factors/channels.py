"""What was seen of a row of tokens, as a machine: with places kept, and with edits.

``Memoryless``: each place was seen by itself. ``Edits``: a text was copied token by token, and

    before each token and after the last, any number of symbols was inserted: each with chance ι,
        each drawn from r;
    each token v was lost with chance δ_v, or else read as symbol c with chance C(v, c).

So p(y | x) sums to 1 over all y. Its state is how many of the observed symbols are explained (a
pair hidden Markov model: Durbin, Eddy, Krogh & Mitchison, 1998, chapter 4). The insertions before
a token are a recurrence along y, so a step costs O(M log M + K · symbols), not O(M²).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.factors.base import Arcs, Machine
from sfumato.factors.logs import group, mix, run
from sfumato.noise import Streams

__all__ = ["EditChannel", "Edits", "Memoryless"]


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
        losses, confusion, letters = self.losses, self.confusion.double(), self.frequencies
        seen: list[list[int]] = []
        for row, generator in zip(x.tolist(), streams.generators, strict=True):

            def happens(chance: float, g: torch.Generator = generator) -> bool:
                return float(torch.rand((), dtype=torch.float64, generator=g)) < chance

            def pick(p: Tensor, g: torch.Generator = generator) -> int:
                return int(torch.multinomial(p, 1, generator=g))

            text: list[int] = []
            for token in [*row, None]:
                while happens(self.inserted):
                    text.append(pick(letters))
                if token is not None and not happens(float(losses[token])):
                    text.append(pick(confusion[token]))
            seen.append(text)
        return seen


@dataclass(frozen=True, eq=False)
class Edits(Machine):
    """p(y | x) of an observed row y under a channel of edits, as a function of x.

    States 0 to M: how many observed symbols are explained. With ``end`` there is one more: the
    text has ended, and the rest of the row is filled.

    Args:
        channel: How y arose.
        observed: y, ``[M]``, numbers of symbols.
        end: Token that fills the row after the text, for a text of unknown length. ``None``: all
            places hold text.
        band: After i tokens only i − band to i + band symbols may be explained; paths outside
            weigh nothing. ``None``: no limit. A step costs O(band) instead of O(M).
        name: What error messages call it.

    Raises:
        InvalidOptionError: If y holds a symbol that the channel lacks, or the band is negative.
    """

    channel: EditChannel
    observed: Int[Tensor, " seen"]
    end: int | None = None
    band: int | None = None
    name: str = "edits"
    tokens: int = field(init=False)
    states: int = field(init=False)

    def __post_init__(self) -> None:
        y, n = self.observed, self.channel.symbols
        if len(y) and not 0 <= int(y.min()) <= int(y.max()) < n:
            raise InvalidOptionError(
                self.name, f"observed symbols {int(y.min())} to {int(y.max())}",
                f"number them from 0 to {n - 1}, as the channel does",
            )  # fmt: skip
        if self.band is not None and self.band < 0:
            raise InvalidOptionError(self.name, f"band {self.band}", "choose 0 or more")
        object.__setattr__(self, "tokens", self.channel.tokens)
        object.__setattr__(self, "states", len(y) + 1 + (self.end is not None))

    @cached_property
    def log_lost(self) -> Float[Tensor, " tokens"]:
        """ln δ_v; −∞ for the end, which is no text."""
        log_lost = self.channel.losses.log()
        if self.end is not None:
            log_lost[self.end] = -torch.inf
        return log_lost

    @cached_property
    def log_read(self) -> Float[Tensor, "tokens symbols"]:
        """ln (1 − δ_v) C(v, c); −∞ for the end."""
        log_read = ((1 - self.channel.losses).unsqueeze(1) * self.channel.confusion.double()).log()
        if self.end is not None:
            log_read[self.end] = -torch.inf
        return log_read

    @cached_property
    def log_insert(self) -> Float[Tensor, " cells"]:
        """ln ι r(y_j) of inserting symbol j, j = 1 … M; entry 0 is not used."""
        log_r = (self.channel.inserted * self.channel.frequencies[self.observed]).log()
        return torch.cat([log_r.new_zeros(1), log_r])

    @cached_property
    def log_stop(self) -> float:
        """ln (1 − ι)."""
        return float(torch.tensor(1 - self.channel.inserted, dtype=torch.float64).log())

    @cached_property
    def tail(self) -> Float[Tensor, " cells"]:
        """ln of the chance that all that is not explained yet was inserted after the text."""
        rest = self.log_insert[1:].flip(0).cumsum(0).flip(0)
        return torch.cat([rest, rest.new_zeros(1)]) + self.log_stop

    @cached_property
    def initial(self) -> Tensor:
        blank = torch.full((self.states,), -torch.inf, dtype=torch.float64)
        blank[0] = 0.0
        return blank

    @property
    def final(self) -> Tensor:
        return self.tail if self.end is None else torch.cat([self.tail, self.tail.new_zeros(1)])

    def window(self, place: int) -> tuple[int, int]:
        """First and last state that the band allows after ``place`` tokens."""
        m = len(self.observed)
        if self.band is None:
            return 0, m
        return min(max(0, place - self.band), m + 1), min(m, place + self.band)

    def cells(self, place: int) -> tuple[slice, Tensor, Tensor]:
        """The states that a step at ``place`` concerns, and which the band allows before and after.

        Insertions come first, so the cells reach from the first before to the last after.
        """
        (low, high), (after, last) = self.window(place), self.window(place + 1)
        index = torch.arange(low, last + 1)
        return slice(low, last + 1), index > high, index < after

    def copied(self, place: int, log_a: Tensor) -> Float[Tensor, "batch cells"]:
        """ln of the weight of each cell after the insertions before the token at ``place``."""
        cells, late, _ = self.cells(place)
        here = log_a[:, cells].masked_fill(late.to(log_a.device), -torch.inf)
        if self.channel.inserted:
            here = run(here, self.log_insert[cells].to(log_a.device))
        return here + self.log_stop

    def symbols(self, place: int, device: torch.device) -> Int[Tensor, " cells"]:
        """The symbol that is read on entering each cell; any for state 0, which none enters."""
        padded = torch.cat([self.observed.new_zeros(1), self.observed])
        return padded[self.cells(place)[0]].to(device)

    def enter(self, place: int, log_a: Tensor, lost: Tensor, read: Tensor, ends: Tensor) -> Tensor:
        """One token that is lost, read as each symbol, or the end, with these weights."""
        cells, _, early = self.cells(place)
        a = self.copied(place, log_a)
        out = torch.full_like(log_a, -torch.inf)
        moved = shifted(a) + read[:, self.symbols(place, a.device)]
        reached = torch.logaddexp(a + lost, moved)
        out[:, cells] = reached.masked_fill(early.to(a.device), -torch.inf)
        if self.end is not None:
            out[:, -1] = self.stopped(log_a) + ends
        return out

    def stopped(self, log_a: Tensor) -> Float[Tensor, " batch"]:
        """ln of the weight of texts that have ended or end here."""
        return torch.logsumexp(log_a + self.final.to(log_a.device), dim=1)

    def forward(self, place: int, log_a: Tensor, log_q: Tensor) -> Tensor:
        return self.enter(place, log_a, *self.believed(log_q))

    def believed(self, log_q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """ln of the belief that the token is lost, read as each symbol, or the end."""
        lost = torch.logsumexp(log_q + self.log_lost.to(log_q.device), dim=1, keepdim=True)
        ends = log_q[:, self.end or 0]
        return lost, mix(log_q, self.log_read.to(log_q.device)), ends

    def advance(self, place: int, log_a: Tensor, token: Tensor) -> Tensor:
        lost = self.log_lost.to(log_a.device)[token].unsqueeze(1)
        ends = torch.zeros_like(token, dtype=torch.float64).masked_fill(
            token != (self.end or 0), -torch.inf
        )
        return self.enter(place, log_a, lost, self.log_read.to(log_a.device)[token], ends)

    def backward(self, place: int, log_b: Tensor, log_q: Tensor) -> Tensor:
        cells, late, early = self.cells(place)
        lost, read, ends = self.believed(log_q)
        b = log_b[:, cells].masked_fill(early.to(log_b.device), -torch.inf)
        moved = shifted(b + read[:, self.symbols(place, b.device)], down=True)
        left = torch.logaddexp(b + lost, moved)
        if self.channel.inserted:
            ratio = self.log_insert[cells].to(b.device).roll(-1)
            left = run(left, ratio, down=True)
        out = torch.full_like(log_b, -torch.inf)
        out[:, cells] = (left + self.log_stop).masked_fill(late.to(b.device), -torch.inf)
        if self.end is not None:
            final = self.final.to(b.device) + (log_b[:, -1] + ends).unsqueeze(1)
            out = torch.logaddexp(out, final)
        return out

    def tilt(self, place: int, log_a: Tensor, log_b: Tensor) -> Tensor:
        cells, _, early = self.cells(place)
        a = self.copied(place, log_a)
        b = log_b[:, cells].masked_fill(early.to(a.device), -torch.inf)
        lost = torch.logsumexp(a + b, dim=1, keepdim=True) + self.log_lost.to(a.device)
        each = group(shifted(a) + b, self.symbols(place, a.device), self.channel.symbols)
        out = torch.logaddexp(lost, mix(each, self.log_read.to(a.device).T))
        if self.end is not None:
            out[:, self.end] = self.stopped(log_a) + log_b[:, -1]
        return out

    def arcs(self, place: int, states: Int[Tensor, " n"]) -> Arcs:
        cells, _, early = self.cells(place)
        one_hot = torch.full((len(states), self.states), -torch.inf, dtype=torch.float64)
        one_hot[torch.arange(len(states)), states] = 0.0
        a, read = self.copied(place, one_hot), self.log_read[:, self.symbols(place, states.device)]
        weights = torch.logaddexp(
            a.unsqueeze(1) + self.log_lost.unsqueeze(-1), shifted(a).unsqueeze(1) + read
        ).masked_fill(early, -torch.inf)
        source, token, target = (weights > -torch.inf).nonzero(as_tuple=True)
        found = [source], [token], [target + cells.start], [weights[source, token, target]]
        if self.end is not None:
            ending = self.stopped(one_hot)
            which = (ending > -torch.inf).nonzero()[:, 0]
            filled = torch.full_like(which, self.end), torch.full_like(which, self.states - 1)
            for part, more in zip(found, (which, *filled, ending[which]), strict=True):
                part.append(more)
        return Arcs(*(torch.cat(part) for part in found))


def shifted(values: Float[Tensor, "batch n"], *, down: bool = False) -> Float[Tensor, "batch n"]:
    """Each entry in the place of the next (``down``: of the one before), −∞ where none comes in."""
    blank = torch.full_like(values[:, :1], -torch.inf)
    return torch.cat([values[:, 1:], blank] if down else [blank, values[:, :-1]], dim=1)
