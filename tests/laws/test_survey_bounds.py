"""The bounds of chains on the ring, by quadrature: in the order of what is known of the variance.

A step of a chain with the exact mean costs E ½ Σ [ln(v/β̃) + (β̃ + k₀² C)/v − 1] with C the variance
of x₀ given x_t, which is known in every state. No chance is left in these bounds.
"""

from __future__ import annotations

import functools
import itertools
import math

import pytest
import torch
from ring import entropy, posterior_variances, ring
from torch import Tensor

from sfumato.likelihood import Budget, gaussian_bound
from sfumato.noise import Streams
from sfumato.processes import VP, Gaussian, LinearBeta
from sfumato.samplers.base import weights
from sfumato.samplers.planning import path_cost, shortest, step_costs

PROCESS = Gaussian(VP())
TIMES = torch.cat([torch.linspace(1, 1e-3, 200).double(), torch.zeros(1).double()])
STEPS = (5, 10, 20, 50)


@functools.cache
def spreads() -> list[tuple[Tensor, Tensor]]:
    return [posterior_variances(ring(PROCESS), t) for t in PROCESS.levels(TIMES[:-1])]


def errors(process: Gaussian, times: Tensor) -> Tensor:
    """E‖x₀ − x̂‖²/2 at each time."""
    found = (posterior_variances(ring(process), t) for t in process.levels(times))
    return torch.stack([share @ variance.mean(dim=1) for variance, share in found])


@functools.cache
def costs(variance: str) -> Tensor:
    return step_costs(PROCESS, TIMES, errors(PROCESS, TIMES[:-1]), variance=variance)


def chain(steps: int, power: float) -> list[int]:
    """Indices of a sub-sequence of TIMES, even in t^(1/power)."""
    place = torch.linspace(1, 1e-3 ** (1 / power), steps, dtype=torch.float64) ** power
    near = ((TIMES[:-1] - t).abs().argmin() for t in place)
    return [*dict.fromkeys(int(i) for i in near), len(TIMES) - 1]


def bound(path: list[int], variance: str) -> float:
    """Nats of a chain with one variance per level; that of every state is ``"state"``."""
    if variance != "state":
        return 2 * float(path_cost(costs(variance), path))
    levels = PROCESS.levels(TIMES)
    total = 2 * float(costs("analytic")[path[-2], path[-1]])
    for i, j in itertools.pairwise(path[:-1]):
        keep, _, low = weights(levels[i], levels[j], 1.0)
        variances, share = spreads()[i]
        total += float(share @ torch.log1p(keep**2 * variances / low).sum(dim=1)) / 2
    return total


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_what_is_known_of_the_variance_orders_the_bounds(steps: int, power: float) -> None:
    kinds = ("small", "large", "analytic", "state")  # small is the control, C = 0
    found = [bound(chain(steps, power), kind) for kind in kinds]
    assert found == sorted(found, reverse=True)
    assert min(a - b for a, b in itertools.pairwise(found)) > 0.05
    assert found[-1] > entropy(ring(PROCESS))


@pytest.mark.parametrize("steps", STEPS)
def test_the_best_grid_is_worth_more_than_the_variance_of_every_state(steps: int) -> None:
    even = bound(chain(steps, 2.0), "state")
    assert bound(shortest(costs("analytic"), steps), "analytic") < even - 0.005
    for kind in ("small", "large"):
        planned = shortest(costs(kind), steps)
        assert bound(planned, "analytic") < bound(planned, kind) < bound(chain(steps, 2.0), kind)


@pytest.mark.parametrize(
    ("kind", "expected"), [("large", 1.395), ("analytic", 1.159), ("state", 0.970)]
)
def test_ten_steps_on_an_even_grid_cost_what_they_are_known_to(kind: str, expected: float) -> None:
    # measured with 3000 draws in an independent implementation, whose own error is about 0.04
    assert bound(chain(10, 2.0), kind) == pytest.approx(expected, abs=0.06)


def test_a_thousand_steps_cost_little_more_than_the_entropy() -> None:
    process = Gaussian(LinearBeta())
    times = torch.arange(1000, -1, -1, dtype=torch.float64) / 1000
    square = errors(process, times[:-1])
    found = {
        kind: 2 * float(step_costs(process, times, square, variance=kind).diagonal(1).sum())
        for kind in ("small", "large", "analytic")
    }
    truth = entropy(ring(process))
    assert truth < found["analytic"] < truth + 0.01
    assert found["analytic"] < found["large"] < truth + 0.025
    assert found["small"] > truth + 0.5  # β/β̃ is k/(k − 1) at the last steps, where C is not 0


@pytest.mark.parametrize("kind", ["small", "large"])
def test_the_bound_of_data_is_that_of_the_table_in_the_mean(kind: str) -> None:
    path, n, prior = chain(10, 2.0), 400, ring(PROCESS)
    x = prior.sample(Streams.count(0, n))
    found = gaussian_bound(
        prior, x, Streams.count(1, n), grid=TIMES[path], variance=kind,
        budget=Budget(draws=44, batch=16384),
    )  # fmt: skip
    last = float(PROCESS.level(TIMES[path[-2]]).ratio)
    decoder = math.log(math.tau * math.e * last**2)  # of a density, with the noise's own width
    top = PROCESS.level(1.0)
    first = float((top.alpha / top.sigma) ** 2) * float(x.square().sum(dim=1).mean()) / 2
    expected = bound(path, kind) - 2 * float(costs(kind)[path[-2], -1]) + decoder + first
    error = float(found.nats.std()) / math.sqrt(n)
    assert float(found.nats.mean()) == pytest.approx(expected, abs=5 * error)
