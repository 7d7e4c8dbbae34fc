"""Laws of what the rest of a long row promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sfumato.denoisers.sequential import Coarse
from sfumato.factors import EditChannel, Edits
from sfumato.inverse.tokens import promises
from sfumato.inverse.tokens.promises import acceptance, before, reached

LETTERS, END, LENGTH = 3, 3, 400


def long_row() -> tuple[Edits, Coarse, np.ndarray]:
    """400 letters, seen through a channel that loses and inserts some."""
    confusion = torch.full((LETTERS + 1, LETTERS + 1), 0.01) + 0.96 * torch.eye(LETTERS + 1)
    seen = torch.randint(0, LETTERS, (LENGTH,), generator=torch.Generator().manual_seed(0))
    machine = Edits(EditChannel(confusion, 0.02, 0.02), seen, end=END, band=6)
    probs = np.array([[0.3, 0.3, 0.3, 0.1]] * 4)
    return machine, Coarse(probs, np.tile(np.arange(4), (4, 1))), np.zeros((LENGTH + 6, 4))


@pytest.mark.parametrize("work", [promises.WORK, 0.0])
def test_a_long_row_is_promised_something_from_the_first_place_on(
    monkeypatch: pytest.MonkeyPatch, work: float
) -> None:
    # a text that had ended at once would be accepted with weight 1, this one with e^-1000
    monkeypatch.setattr(promises, "WORK", work)
    machine, coarse, sites = long_row()
    found = acceptance(machine, coarse, sites)
    assert found.by == ("nothing" if work == 0 else "coarse")
    live = reached(machine, len(sites))
    for place, table in enumerate(found.table):
        assert table[live[place + 1]].max() == pytest.approx(1)
    middle = found.table[LENGTH // 2][live[LENGTH // 2 + 1]].max(axis=1)
    assert (middle > 1e-30).sum() > 3  # and not all at the least that it may be
    assert (middle < 0.5).any()


@pytest.mark.parametrize("remembers", [True, False])
def test_one_place_back_is_the_sum_over_tokens_and_arcs(remembers: bool) -> None:
    rng = np.random.default_rng(0)
    contexts, tokens, states, count = (5 if remembers else 4), 4, 6, 60
    follow = np.tile(np.arange(tokens), (contexts, 1))
    if remembers:
        follow = rng.integers(0, contexts, (contexts, tokens))
    coarse = Coarse(rng.dirichlet(np.ones(tokens), contexts), follow)
    source = np.sort(rng.choice([0, 2, 5], count))  # from 1, 3 and 4 nothing leads on
    token, target = rng.integers(0, tokens, count), rng.integers(0, states, count)
    factor, accepted = rng.random(count), rng.random((states, contexts))
    expected = np.zeros((states, contexts))
    for s, v, after, weight in zip(source, token, target, factor, strict=True):
        for c in range(contexts):
            expected[s, c] += coarse.probs[c, v] * weight * accepted[after, follow[c, v]]
    found = before(coarse, (source, token, target, factor), accepted)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
