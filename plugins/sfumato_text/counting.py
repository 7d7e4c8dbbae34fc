"""An n-gram model from a text and another one to choose its discounts by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from sfumato_text.contexts import LETTERS, Order, Sorted, orders
from sfumato_text.discounts import CLASSES, ONCE, Discounts, Evidence, classes, fitted, kinds
from sfumato_text.ngrams import NGrams

__all__ = ["counted_model", "evidence"]


def counted_model(
    text: str, held_out: Sequence[str], alphabet: str, *, order: int = 14
) -> tuple[NGrams, float]:
    """Counts ``text`` and fits the discounts to ``held_out``.

    Args:
        text: What is counted.
        held_out: Texts that were not, each from its beginning.
        alphabet: The letters, in the order of the tokens.
        order: N, at most 20.

    Returns:
        The model, and the bits per letter of ``held_out`` under it.
    """
    first = NGrams(encoded(text, alphabet), alphabet, Discounts.start(order))
    rows = [encoded(each, alphabet) for each in held_out]
    discounts, bits = fitted(evidence(first, rows), first.tokens)
    return NGrams(first.text, alphabet, discounts), bits


def encoded(text: str, alphabet: str) -> Int[ndarray, " length"]:
    number = {letter: token for token, letter in enumerate(alphabet)}
    return np.array([number[letter] for letter in text], np.int64)


def evidence(model: NGrams, rows: Sequence[Int[ndarray, " _"]]) -> Evidence:
    """What the model's counts say of the letters of other texts."""
    states, letters = visited(model, rows)
    counted = orders(Sorted.of(model.text, model.order))
    single = states >= model.tables.first[-1]
    place, n = np.divmod(np.where(single, states - model.tables.first[-1], 0), model.order + 1)
    context = model.repeated(states)
    shape = (model.order + 1, len(states))
    seen, kind = np.zeros(shape, bool), np.zeros(shape, np.int64)
    count, total = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    spread = np.zeros((shape[0], CLASSES, shape[1]), np.float32)
    for k in range(model.order, -1, -1):
        alone = single & (n >= k) & (context < model.tables.first[k])
        here = np.flatnonzero(context >= model.tables.first[k])
        node = context[here] - model.tables.first[k]
        kind[k, alone], total[k, alone], spread[k, 0, alone] = ONCE, 1, 1
        count[k, alone] = model.text[place[alone]] == letters[alone]
        seen[k] = alone
        seen[k, here], kind[k, here] = True, kinds(counted[k])[node]
        total[k, here] = counted[k].total[node]
        count[k, here] = followers(counted[k], node, letters[here])
        group = counted[k].owner * CLASSES + classes(counted[k].diversity)
        each = np.bincount(group, minlength=len(counted[k].sizes) * CLASSES)
        spread[k][:, here] = each.reshape(-1, CLASSES)[node].T
        context[here] = model.tables.suffix[context[here]]
    return Evidence(seen, kind, count, total, spread)


def followers(order: Order, node: ndarray, letter: ndarray) -> Int[ndarray, " n"]:
    """d of the arc of each node with each letter; 0 where there is none."""
    keys = order.owner * LETTERS + order.letter
    at = np.minimum(np.searchsorted(keys, node * LETTERS + letter), len(keys) - 1)
    return np.where(keys[at] == node * LETTERS + letter, order.diversity[at], 0)


def visited(model: NGrams, rows: Sequence[ndarray]) -> tuple[ndarray, ndarray]:
    """The state before every letter, and the letter; all rows side by side."""
    rows = sorted(rows, key=len, reverse=True)
    state = np.full(len(rows), model.initial()[0][-1])
    states, letters = [], []
    for i in range(len(rows[0])):
        letter = np.array([row[i] for row in rows if len(row) > i])
        state = state[: len(letter)]
        states.append(state)
        letters.append(letter)
        state = model.follow(state)[1][np.arange(len(letter)), letter]
    return np.concatenate(states), np.concatenate(letters)
