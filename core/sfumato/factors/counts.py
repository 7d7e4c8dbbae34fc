"""How many tokens of a kind a row holds, and how long the text in it is."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from sfumato.errors import InvalidOptionError
from sfumato.factors.automata import Deterministic
from sfumato.factors.patterns import counting, limits

__all__ = ["counts", "length"]


def counts(
    members: Iterable[int],
    tokens: int,
    *,
    least: int = 0,
    most: int | None = None,
    name: str = "count of tokens",
) -> Deterministic:
    """Rows with ``least`` to ``most`` tokens out of a set.

    Args:
        members: The tokens that are counted.
        tokens: K.
        least: Fewest.
        most: Most; ``None``: any number.
        name: What error messages call it.

    Raises:
        InvalidOptionError: If the numbers make no sense.
    """
    chosen = sorted(set(members))
    if chosen and not 0 <= chosen[0] <= chosen[-1] < tokens:
        raise InvalidOptionError(
            name, f"tokens {chosen[0]} to {chosen[-1]}", f"number them from 0 to {tokens - 1}"
        )
    limits(name, least, most)
    # state 0: the last token was none of them; 1: it was one
    table = counting(np.array([[0, 1], [0, 1]]), np.array([0, 1]), least, most)
    classes = torch.zeros(tokens, dtype=torch.long)
    classes[chosen] = 1
    return Deterministic.spread(table, classes, name)


def length(tokens: int, *, least: int = 0, most: int | None = None, end: int) -> Deterministic:
    """Rows with a text of ``least`` to ``most`` tokens, followed by ``end`` tokens only.

    For rows that hold texts of different lengths; a row without an end is full.
    """
    text = set(range(tokens)) - {end}
    name = f"length {least} to {'any' if most is None else most}"
    return counts(text, tokens, least=least, most=most, name=name).ending(end)
