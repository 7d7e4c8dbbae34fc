"""Which places are revealed first, and how many at once."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from waves import PLACES, SHAPE, K, Network, ran

from sfumato.denoisers.categorical import Beliefs
from sfumato.noise import Streams
from sfumato.processes import Absorbing, TokenLevel
from sfumato.samplers.tokens import (
    Confidence,
    EntropyBounded,
    Remasking,
    TokenSampler,
    reveals,
    run_tokens,
    uniform,
)


def test_counts_on_a_uniform_grid_are_as_even_as_can_be() -> None:
    _, hidden = ran(Confidence(), uniform(Absorbing(K), 5), items=1)
    assert hidden == [12, 9, 6, 4, 2]  # 3, 3, 2, 2, 2, as LLaDA counts


@pytest.mark.parametrize("sampler", [Confidence(), EntropyBounded(0.3, temperature=0.0)], ids=repr)
def test_at_temperature_zero_nothing_is_left_to_chance(sampler: TokenSampler) -> None:
    grid = uniform(Absorbing(K), PLACES)
    assert torch.equal(ran(sampler, grid, seed=0)[0], ran(sampler, grid, seed=1)[0])


@pytest.mark.parametrize("score", ["probability", "margin", "entropy"])
def test_the_surest_place_is_revealed_first_and_by_its_likeliest_token(score: str) -> None:
    process = Absorbing(K)
    x = process.start((1, *SHAPE), Streams.count(0, 1))
    p = Network(process)(x, process.level(1.0)).probs[0].flatten(0, -2)
    top = p.sort(dim=1, descending=True).values
    sure = {
        "probability": top[:, 0],
        "margin": top[:, 0] - top[:, 1],
        "entropy": (p * p.log()).sum(dim=1),
    }[score]
    sampler, grid = Confidence(score), reveals(process, PLACES)[:2]
    found = run_tokens(sampler, Network(process), x, grid, Streams.count(0, 1)).flatten()
    first = int(sure.argmax())
    assert (found < K).nonzero().flatten().tolist() == [first]
    assert found[first] == p[first].argmax()


def test_equally_sure_places_are_revealed_in_order() -> None:
    process = Absorbing(K)

    class Even(Network):
        def __call__(self, x_t: Tensor, t: TokenLevel, condition: object = None) -> Beliefs:
            return Beliefs(torch.full((*x_t.shape, K), -math.log(K)))

    x = process.start((1, 6), Streams.count(0, 1))
    for sampler in (Confidence(), EntropyBounded(0.0, temperature=0.0)):
        grid = reveals(process, 6, 2)[:2] if sampler == Confidence() else reveals(process, 6)[:2]
        found = run_tokens(sampler, Even(process), x, grid, Streams.count(0, 1))
        count = 2 if sampler == Confidence() else 1
        assert found[0].tolist() == [0] * count + [K] * (6 - count)


def test_noise_on_the_confidence_changes_the_order_until_it_is_annealed() -> None:
    process = Absorbing(K)
    start = process.start((40, *SHAPE), Streams.count(0, 40))

    def orders(sampler: Confidence, t: float, s: float) -> set[tuple[bool, ...]]:
        grid = torch.tensor([t, s], dtype=torch.float64)
        x = run_tokens(sampler, Network(process), start, grid, Streams.count(0, 40))
        return {tuple(row) for row in (x.flatten(1) < K).tolist()}

    assert len(orders(Confidence(noise=4.5), 1.0, 0.5)) > 20
    # the same share of the places, but hardly anything would be hidden afterwards
    assert orders(Confidence(noise=4.5), 2e-4, 1e-4) == orders(Confidence(), 1.0, 0.5)


def test_places_above_the_threshold_do_not_wait() -> None:
    _, patient = ran(Confidence(), uniform(Absorbing(K), PLACES), items=1, sharpness=40.0)
    _, eager = ran(
        Confidence(threshold=0.9), uniform(Absorbing(K), PLACES), items=1, sharpness=40.0
    )
    assert len(patient) == PLACES
    assert len(eager) < PLACES / 2


def test_gamma_zero_reveals_one_place_at_a_time_and_a_large_one_all() -> None:
    grid = uniform(Absorbing(K), 2 * PLACES)
    assert ran(EntropyBounded(0.0), grid, items=1)[1] == list(range(PLACES, 0, -1))
    assert ran(EntropyBounded(1e9), grid, items=1)[1] == [PLACES]


@pytest.mark.parametrize("gamma", [0.5, 2.0, 6.0])
def test_the_error_bound_is_kept_and_used(gamma: float) -> None:
    process, streams = Absorbing(K), Streams.count(0, 1)
    x = process.start((1, *SHAPE), streams)
    grid = torch.tensor([1.0, 0.9], dtype=torch.float64)
    found = run_tokens(EntropyBounded(gamma), Network(process), x, grid, streams).flatten()
    entropy = Network(process)(x, process.level(1.0)).entropy.flatten()
    taken = entropy[found < K]
    assert float(taken.sum() - taken.max()) <= gamma
    assert float(taken.sum()) > gamma  # the next place would break it
    assert float(taken.max()) <= float(entropy[found == K].min())


def test_doubtful_tokens_are_hidden_again_first() -> None:
    # one place in two is drawn from a flat belief, the others are certain
    process = Absorbing(K)

    class Half(Network):
        def __call__(self, x_t: Tensor, t: TokenLevel, condition: object = None) -> Beliefs:
            log_p = torch.full((*x_t.shape, K), -math.log(K), dtype=torch.float64)
            log_p[..., ::2, :] = -torch.inf
            log_p[..., ::2, 0] = 0.0
            return Beliefs(log_p)

    n, streams = 4_000, Streams.count(0, 1)
    x = process.start((1, n), streams)
    hidden = []
    grid = torch.tensor([1.0, 0.3, 0.2999], dtype=torch.float64)
    run_tokens(
        Remasking(0.5, "conf"), Half(process), x, grid, streams,
        callback=lambda step: hidden.append(step.x[0] == K),
    )  # fmt: skip
    again = hidden[1] & ~hidden[0]
    sure, doubtful = again[::2].double().mean(), again[1::2].double().mean()
    # softmax of −ψ with ψ = 1 and 1/5
    assert float(doubtful / sure) == pytest.approx(math.exp(0.8), rel=0.2)
