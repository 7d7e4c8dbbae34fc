"""Laws of what the rest of a long row promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sfumato.denoisers.sequential import Coarse
from sfumato.factors import EditChannel, Edits
from sfumato.inverse.tokens import promises
from sfumato.inverse.tokens.promises import acceptance, reached

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
