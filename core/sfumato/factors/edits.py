"""An observed row, as a function of the text that it was copied from with edits.

The state is how many of the observed symbols are explained (a pair hidden Markov model: Durbin,
Eddy, Krogh & Mitchison, 1998, chapter 4). With F_i(j) for i tokens and j symbols,

    I_i(j) = F_i(j) + ι r(y_j) I_i(j − 1)                                    insertions
    F_{i+1}(j) = (1 − ι) [δ_v I_i(j) + (1 − δ_v) C(v, y_j) I_i(j − 1)]       token v lost, or read

The first line is a recurrence along y, so a step costs O(M log M + K · symbols), not O(M²).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.factors.base import Arcs, Machine
from sfumato.factors.channels import EditChannel
from sfumato.factors.logs import group, mix, run

__all__ = ["Edits"]


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
        reads: p(y_j | v) of every place of y by itself, ``[tokens, M]``, in place of the channel's
            C(v, y_j): what a reader says of its own certainty. Rows need no sum.
        inserts: Chance that what was inserted is y_j, ``[M]``, in place of the channel's r(y_j).
        name: What error messages call it.

    Raises:
        InvalidOptionError: If y holds a symbol that the channel lacks, the end is no token, the
            band is negative, or what places say of themselves has another shape than they.
    """

    channel: EditChannel
    observed: Int[Tensor, " seen"]
    end: int | None = None
    band: int | None = None
    reads: Float[Tensor, "tokens seen"] | None = None
    inserts: Float[Tensor, " seen"] | None = None
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
        if self.end is not None and not 0 <= self.end < self.channel.tokens:
            raise InvalidOptionError(
                self.name,
                f"end token {self.end}",
                f"choose one from 0 to {self.channel.tokens - 1}",
            )
        if self.band is not None and self.band < 0:
            raise InvalidOptionError(self.name, f"band {self.band}", "choose 0 or more")
        for what, table, shape in (
            ("reads", self.reads, (self.channel.tokens, len(y))),
            ("inserts", self.inserts, (len(y),)),
        ):
            if table is not None and (table.shape != shape or not bool((table >= 0).all())):
                raise InvalidOptionError(
                    self.name, f"{what} of shape {tuple(table.shape)}",
                    f"give chances that are not negative, of shape {shape}",
                )  # fmt: skip
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
    def log_read(self) -> Float[Tensor, "tokens columns"]:
        """ln (1 − δ_v) C(v, c); −∞ for the end. A column is a symbol, or a place of y."""
        table = self.channel.confusion
        if self.reads is not None and len(self.observed):
            table = self.reads
        log_read = ((1 - self.channel.losses).unsqueeze(1) * table.double()).log()
        if self.end is not None:
            log_read[self.end] = -torch.inf
        return log_read

    @cached_property
    def log_insert(self) -> Float[Tensor, " cells"]:
        """ln ι r(y_j) of inserting symbol j, j = 1 … M; entry 0 is not used."""
        own = self.channel.frequencies[self.observed] if self.inserts is None else self.inserts
        log_r = (self.channel.inserted * own.double()).log()
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

    @cached_property
    def columns(self) -> Int[Tensor, " cells"]:
        """The column of ``log_read`` for each state; any for state 0, which none enters."""
        own = self.observed if self.reads is None else torch.arange(len(self.observed))
        return torch.cat([own.new_zeros(1), own])

    def symbols(self, place: int, device: torch.device) -> Int[Tensor, " cells"]:
        """The column that is read on entering each cell."""
        return self.columns[self.cells(place)[0]].to(device)

    def mixed(self, place: int, log_q: Tensor) -> Float[Tensor, "batch cells"]:
        """ln of the belief that the token is read as what each cell is entered by."""
        table, index = self.log_read.to(log_q.device), self.symbols(place, log_q.device)
        if 0 < len(index) < table.shape[1]:
            return mix(log_q, table[:, index])
        return mix(log_q, table)[:, index]

    def enter(self, place: int, log_a: Tensor, lost: Tensor, read: Tensor, ends: Tensor) -> Tensor:
        """One token that is lost, read as each cell has it, or the end, with these weights."""
        cells, _, early = self.cells(place)
        a = self.copied(place, log_a)
        out = torch.full_like(log_a, -torch.inf)
        moved = shifted(a) + read
        reached = torch.logaddexp(a + lost, moved)
        out[:, cells] = reached.masked_fill(early.to(a.device), -torch.inf)
        if self.end is not None:
            out[:, -1] = self.stopped(log_a) + ends
        return out

    def stopped(self, log_a: Tensor) -> Float[Tensor, " batch"]:
        """ln of the weight of texts that have ended or end here."""
        return torch.logsumexp(log_a + self.final.to(log_a.device), dim=1)

    def forward(self, place: int, log_a: Tensor, log_q: Tensor) -> Tensor:
        return self.enter(place, log_a, *self.believed(place, log_q))

    def believed(self, place: int, log_q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """ln of the belief that the token is lost, read as each cell has it, or the end."""
        lost = torch.logsumexp(log_q + self.log_lost.to(log_q.device), dim=1, keepdim=True)
        ends = log_q[:, self.end or 0]
        return lost, self.mixed(place, log_q), ends

    def advance(self, place: int, log_a: Tensor, token: Tensor) -> Tensor:
        lost = self.log_lost.to(log_a.device)[token].unsqueeze(1)
        ends = torch.zeros_like(token, dtype=torch.float64).masked_fill(
            token != (self.end or 0), -torch.inf
        )
        read = self.log_read.to(log_a.device)[token][:, self.symbols(place, log_a.device)]
        return self.enter(place, log_a, lost, read, ends)

    def backward(self, place: int, log_b: Tensor, log_q: Tensor) -> Tensor:
        cells, late, early = self.cells(place)
        lost, read, ends = self.believed(place, log_q)
        b = log_b[:, cells].masked_fill(early.to(log_b.device), -torch.inf)
        moved = shifted(b + read, down=True)
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
        each = group(shifted(a) + b, self.symbols(place, a.device), self.log_read.shape[1])
        out = torch.logaddexp(lost, mix(each, self.log_read.to(a.device).T))
        if self.end is not None:
            out[:, self.end] = self.stopped(log_a) + log_b[:, -1]
        return out

    def arcs(self, place: int, states: Int[Tensor, " n"]) -> Arcs:
        cells, _, early = self.cells(place)
        one_hot = torch.full((len(states), self.states), -torch.inf, dtype=torch.float64)
        one_hot[torch.arange(len(states)), states] = 0.0
        copied = self.copied(place, one_hot)
        moved = shifted(copied).masked_fill(early, -torch.inf)
        source, cell = ((copied > -torch.inf) & ~early | (moved > -torch.inf)).nonzero(
            as_tuple=True
        )
        lost = copied[source, cell].unsqueeze(1) + self.log_lost
        read = self.log_read.T[self.symbols(place, states.device)]
        weights = torch.logaddexp(lost, moved[source, cell].unsqueeze(1) + read[cell])
        pair, token = (weights > -torch.inf).nonzero(as_tuple=True)
        found = [source[pair]], [token], [cell[pair] + cells.start], [weights[pair, token]]
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
