"""Which places are hidden when a network learns to fill gaps."""

from __future__ import annotations

import torch
from torch import Tensor

from sfumato.noise import Streams
from sfumato.training.infilling import RUN, patterns

N, L = 400, 200


def drawn(u: float, n: int = N, shape: tuple[int, ...] = (L,), seed: int = 0) -> Tensor:
    places = torch.ones((n, *shape), dtype=torch.bool)
    return patterns(torch.full((n,), u), places, Streams.count(seed, n))


def lengths(hidden: Tensor) -> Tensor:
    """Lengths of the runs that end inside their row."""
    found = []
    for row in hidden.tolist():
        count = 0
        for place in row:
            if count and not place:
                found.append(count)
            count = count + 1 if place else 0
    return torch.tensor(found, dtype=torch.float64)


def test_runs_have_the_share_that_their_number_says() -> None:
    for u, share in ((0.0, 0.05), (0.2, 0.275), (0.3999, 0.5)):
        hidden = drawn(u).double()
        # a run of 4.5 is about one draw, so the rows have at least L/30 independent ones
        four_sigma = 4 * (share * (1 - share) / (N * L / (2 * RUN))) ** 0.5
        assert abs(float(hidden.mean()) - share) < four_sigma + 2e-3


def test_runs_are_geometric_with_the_mean_that_is_stated() -> None:
    found = lengths(drawn(0.2))
    spread = (RUN * (RUN - 1)) ** 0.5
    assert abs(float(found.mean()) - RUN) < 5 * spread / len(found) ** 0.5 + 0.1
    ones = float((found == 1).double().mean())
    assert abs(ones - 1 / RUN) < 5 * (0.22 * 0.78 / len(found)) ** 0.5 + 0.01


def test_places_that_are_hidden_apart_have_their_share_and_no_memory() -> None:
    for u, share in ((0.55, 0.5), (0.8, 0.15)):
        hidden = drawn(u).double()
        assert abs(float(hidden.mean()) - share) < 4 * (share * (1 - share) / (N * L)) ** 0.5
        both = float((hidden[:, 1:] * hidden[:, :-1]).mean())
        assert abs(both - share**2) < 5 * share / (N * L) ** 0.5


def test_the_last_tenth_hides_one_place_evenly() -> None:
    hidden = drawn(0.95, n=4000, shape=(8,))
    assert bool((hidden.sum(dim=1) == 1).all())
    counts = hidden.sum(dim=0).double()
    assert float(((counts - 500) ** 2 / 500).sum()) < 29.9  # χ² with 7 degrees, p = 1e-4


def test_at_least_one_place_is_hidden_and_none_that_may_not_be() -> None:
    places = torch.rand((300, 12), generator=torch.Generator().manual_seed(1)) < 0.2
    u = torch.arange(300) / 300
    hidden = patterns(u, places, Streams.count(3, 300))
    assert not bool((hidden & ~places).any())
    assert torch.equal(hidden.any(dim=1), places.any(dim=1))


def test_an_item_is_hidden_the_same_alone_and_in_a_batch() -> None:
    places, u = torch.ones((6, 30), dtype=torch.bool), torch.linspace(0, 0.99, 6)
    together = patterns(u, places, Streams.count(2, 6))
    for i in range(6):
        alone = patterns(u[i : i + 1], places[i : i + 1], Streams.count(2, 1, first=i))
        assert torch.equal(alone[0], together[i])


def test_states_may_have_any_shape() -> None:
    assert drawn(0.2, n=3, shape=(4, 5)).shape == (3, 4, 5)
