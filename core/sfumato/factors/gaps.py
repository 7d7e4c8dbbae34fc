"""Rows of which parts are known and the lengths of the others are not.

    In the beginning [...] the heaven and the earth

φ(x) = Σ Π_g p_g(k_g) over the ways to read x as the known parts with k_g tokens in gap g. It is the
chance of the damage given the text: that these parts were lost, and not others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.factors.automata import Automaton, Edges

__all__ = ["Gap", "gaps"]


@dataclass(frozen=True)
class Gap:
    """A part of unknown length.

    Args:
        least: Fewest tokens.
        most: Most tokens.
        weights: Chance of each length from ``least`` to ``most``; equal if not given.

    Raises:
        InvalidOptionError: If the lengths or weights make no sense.
    """

    least: int
    most: int
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.most:
            raise InvalidOptionError(
                "gap", f"from {self.least} to {self.most} tokens", "choose 0 ≤ least ≤ most"
            )
        n = self.most - self.least + 1
        if self.weights and (
            len(self.weights) != n or min(self.weights) < 0 or sum(self.weights) <= 0
        ):
            raise InvalidOptionError(
                "gap", f"{len(self.weights)} weights for {n} lengths",
                "give one that is not negative for each length, not all 0",
            )  # fmt: skip

    @property
    def log_lengths(self) -> Tensor:
        """ln p(k) for k = 0 … most."""
        given = torch.tensor(self.weights or [1.0] * (self.most - self.least + 1)).double()
        return torch.cat([given.new_zeros(self.least), given / given.sum()]).log()


def gaps(
    parts: Sequence[Sequence[int] | Gap], tokens: int, *, end: int | None = None, name: str = "gaps"
) -> Automaton:
    """A row that consists of known parts and gaps, and perhaps a filled rest.

    Args:
        parts: Known parts, as tokens, and gaps, in their order.
        tokens: K.
        end: Token that fills the row after the text, and is in no gap. ``None``: no rest.
        name: What error messages call it.

    Raises:
        InvalidOptionError: If a known part holds the end or what is no token, or the end is none.
    """
    symbols = sorted({token for part in parts if not isinstance(part, Gap) for token in part})
    if (symbols and not 0 <= symbols[0] <= symbols[-1] < tokens) or end in symbols:
        raise InvalidOptionError(
            name, f"known tokens {symbols[0]} to {symbols[-1]}",
            f"number them from 0 to {tokens - 1}, and leave out the end token",
        )  # fmt: skip
    if end is not None and not 0 <= end < tokens:
        raise InvalidOptionError(name, f"end token {end}", f"choose one from 0 to {tokens - 1}")
    named = symbols if end is None else [*symbols, end]
    classes = torch.full((tokens,), len(named))
    classes[named] = torch.arange(len(named))
    others = [len(named)] if len(named) < tokens else []
    every = [*range(len(symbols)), *others]
    edges, final = layout(parts, {token: k for k, token in enumerate(symbols)}, every)
    if end is not None:
        stops = [(s, len(symbols), len(final), w) for s, w in enumerate(final) if w > -torch.inf]
        edges, final = [*edges, *stops, (len(final), len(symbols), len(final), 0.0)], [*final, 0.0]
    initial = torch.full((len(final),), -torch.inf, dtype=torch.float64)
    initial[0] = 0.0
    source, reading, target, weight = zip(*edges, strict=True) if edges else ((), (), (), ())
    flat = Edges(
        torch.tensor(source, dtype=torch.long), torch.tensor(reading, dtype=torch.long),
        torch.tensor(target, dtype=torch.long), torch.tensor(weight, dtype=torch.float64),
    )  # fmt: skip
    return Automaton(initial, torch.tensor(final, dtype=torch.float64), classes, flat, name)


def layout(
    parts: Sequence[Sequence[int] | Gap], kinds: dict[int, int], every: list[int]
) -> tuple[list[tuple[int, int, int, float]], list[float]]:
    """Transitions, and with which weight the row may end in each state.

    A list of states from which the next token may be read, with the weight of leaving all gaps
    before it there, takes the place of transitions that read nothing.
    """
    edges: list[tuple[int, int, int, float]] = []
    leaving, states = {0: 0.0}, 1
    for part in parts:
        if not isinstance(part, Gap):
            for token in part:
                edges += [(s, kinds[token], states, w) for s, w in leaving.items()]
                leaving, states = {states: 0.0}, states + 1
            continue
        after = {s: w + float(part.log_lengths[0]) for s, w in leaving.items()}
        before = leaving
        for length in part.log_lengths[1:].tolist():
            edges += [(s, kind, states, w) for s, w in before.items() for kind in every]
            before = {states: 0.0}
            after[states] = length
            states += 1
        leaving = {s: w for s, w in after.items() if w > -torch.inf}
    final = [leaving.get(state, -torch.inf) for state in range(states)]
    return edges, final
