"""Samplers of tokens keep to their rules: what they change, how much, and in how many calls."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from waves import PLACES, SHAPE, K, Network, ran

from sfumato.denoisers.categorical import Beliefs
from sfumato.errors import InvalidOptionError, NotFiniteError, UnsupportedError
from sfumato.noise import Streams
from sfumato.processes import Absorbing, Categorical, CosineSurvival, Hybrid, TokenLevel, Uniform
from sfumato.samplers.base import Step
from sfumato.samplers.tokens import (
    GRIDS,
    SAMPLERS,
    Ancestral,
    Believe,
    Confidence,
    DiscreteDDIM,
    EntropyBounded,
    FirstHitting,
    PredictorCorrector,
    Remasking,
    TauLeaping,
    TokenSampler,
    cosine,
    loop,
    reveals,
    run_tokens,
    uniform,
)
from sfumato.testing import check_token_sampler

ALL = [
    *(kind() for kind in SAMPLERS.values()),
    Confidence("margin", temperature=1.0, noise=2.0),
    Confidence("probability", temperature=1.0, noise=4.5),
    Confidence("entropy", threshold=-0.5),
    Confidence("random", temperature=1.0),
    DiscreteDDIM(eta=0.5),
    PredictorCorrector(corrector="forward-backward"),
    PredictorCorrector(Remasking(0.3, "conf"), places=3),
    Remasking(0.3, "rescale"),
    Remasking(0.3, "conf"),
    Remasking(0.3, "loop"),
]


def fits(sampler: TokenSampler, process: Categorical) -> bool:
    try:
        sampler.check(process)
    except UnsupportedError:
        return False
    return True


@pytest.mark.parametrize(
    ("sampler", "process"),
    [(s, p) for s in ALL for p in (Absorbing(K), Hybrid(K), Uniform(K)) if fits(s, p)],
    ids=lambda v: repr(v)[:70],
)
def test_a_sampler_keeps_its_contract(sampler: TokenSampler, process: Categorical) -> None:
    stands = getattr(sampler, "rule", "") == "loop"
    check_token_sampler(sampler, process=process, grid=loop(process, 12) if stands else None)


class Careless(Ancestral):
    """Draws more where a neighbour needs it."""

    def step(
        self, believe: Believe, x_t: Tensor, t: TokenLevel, s: TokenLevel, frozen: Tensor,
        streams: Streams,
    ) -> Tensor:  # fmt: skip
        x_s = super().step(believe, x_t, t, s, frozen, streams)
        if bool((x_s[0] == K).any()):
            streams.uniform(x_s.double())
        return x_s


def test_a_sampler_that_looks_at_other_items_is_found_out() -> None:
    with pytest.raises(AssertionError, match="neighbours"):
        check_token_sampler(Careless())


@pytest.mark.parametrize("kind", [k for k in SAMPLERS.values() if k.hides])
def test_a_process_that_does_more_than_hide_is_refused_before_computing(
    kind: type[TokenSampler],
) -> None:
    process, streams = Uniform(K), Streams.count(0, 1)
    network = Network(process)
    with pytest.raises(UnsupportedError, match="hides tokens"):
        run_tokens(kind(), network, torch.zeros(1, 3).long(), uniform(process, 2), streams)
    assert not network.calls


@pytest.mark.parametrize("sampler", [kind() for kind in SAMPLERS.values()], ids=repr)
@pytest.mark.parametrize("wrong", [math.nan, -math.inf])
def test_beliefs_that_are_no_distribution_are_refused(sampler: TokenSampler, wrong: float) -> None:
    process, streams = Absorbing(K), Streams.count(0, 1)

    class Broken(Network):
        def __call__(self, x_t: Tensor, t: TokenLevel, condition: object = None) -> Beliefs:
            return Beliefs(torch.full((*x_t.shape, K), wrong))

    start = process.start((1, 4), streams)
    with pytest.raises(NotFiniteError, match="beliefs"):
        run_tokens(sampler, Broken(process), start, uniform(process, 2), streams)


def test_every_sampler_says_what_it_is() -> None:
    for kind in SAMPLERS.values():
        assert kind.kind in {"exact in the limit", "MAP-like"}
        assert "\n" not in kind.summary
        assert 0 < len(kind.summary) < 90


@pytest.mark.parametrize(
    "make",
    [
        lambda: Confidence("luck"),
        lambda: Confidence(temperature=-1),
        lambda: EntropyBounded(-0.1),
        lambda: Remasking(1.5),
        lambda: Remasking(rule="never"),
        lambda: PredictorCorrector(corrections=0),
        lambda: DiscreteDDIM(eta=2.0),
        lambda: uniform(Absorbing(K), 0),
        lambda: reveals(Absorbing(K), 0),
        lambda: loop(Absorbing(K), 10, hold=1.0),
    ],
)
def test_options_without_meaning_are_refused(make: object) -> None:
    with pytest.raises(InvalidOptionError):
        make()  # type: ignore[operator]


def test_first_hitting_reveals_exactly_one_place_per_call() -> None:
    _, hidden = ran(FirstHitting(), torch.tensor([1.0, 0.5, 0.0]), items=1)
    assert hidden == list(range(PLACES, 0, -1))


def test_first_hitting_tells_the_denoiser_when_the_place_is_revealed() -> None:
    process, n, count = Absorbing(K, CosineSurvival()), 3_000, 3
    noise = []

    class Timed(Network):
        def __call__(self, x_t: Tensor, t: TokenLevel, condition: object = None) -> Beliefs:
            assert torch.allclose(process.survival.alpha(t.t), t.alpha)
            noise.append(1 - t.alpha)
            return super().__call__(x_t, t, condition)

    streams = Streams.count(0, n)
    start, grid = process.start((n, count), streams), uniform(process, 1)
    run_tokens(FirstHitting(), Timed(process), start, grid, streams)
    for call, alive in enumerate(noise):  # order statistics of uniform numbers
        mean, five_sigma = (count - call) / (count + 1), 5 * 0.2 / math.sqrt(n)
        assert float(alive.mean()) == pytest.approx(mean, abs=five_sigma)


def test_ddim_without_eta_keeps_what_it_has_until_it_takes_a_clean_token() -> None:
    process, streams = Absorbing(K), Streams.count(0, 3)
    states: list[Tensor] = [process.start((3, *SHAPE), streams)]
    run_tokens(
        DiscreteDDIM(), Network(process), states[0], uniform(process, 10), streams,
        callback=lambda step: states.append(step.x),
    )  # fmt: skip
    for before, after in itertools.pairwise(states):
        assert bool((after < K)[before < K].all())


def test_ancestral_steps_that_reveal_nothing_cost_no_call() -> None:
    x, hidden = ran(Ancestral(), uniform(Absorbing(K), 3_000), items=1)
    assert hidden == list(range(PLACES, 0, -1))
    assert bool((x < K).all())


def test_beliefs_without_time_are_asked_once_for_each_state() -> None:
    process, streams = Absorbing(K), Streams.count(0, 1)
    network = Network(process)
    start = process.start((1, *SHAPE), streams)
    run_tokens(TauLeaping(), network, start, uniform(process, 300), streams)
    states = [tuple(call.flatten().tolist()) for call in network.calls]
    assert len(states) == len(set(states)) <= PLACES + 1


@pytest.mark.parametrize("each", [1, 3, 5])
@pytest.mark.parametrize("survival", [None, CosineSurvival()], ids=["linear", "cosine"])
def test_a_reveal_grid_reveals_a_set_number_per_step(
    each: int, survival: CosineSurvival | None
) -> None:
    process, streams = Absorbing(K, survival), Streams.count(0, 2)
    start = process.start((2, *SHAPE), streams)
    frozen = torch.zeros(2, *SHAPE, dtype=torch.bool)
    frozen[1, 0] = True
    free = [PLACES, PLACES - SHAPE[1]]
    left: list[list[int]] = []

    def watch(step: Step) -> None:
        left.append(((step.x == K) & ~frozen).flatten(1).sum(dim=1).tolist())

    grid = reveals(process, torch.tensor(free), each)
    run_tokens(Confidence(), Network(process), start, grid, streams, frozen=frozen, callback=watch)
    assert left == [[max(n - each * (k + 1), 0) for n in free] for k in range(len(left))]
    assert left[-1] == [0, 0]


def test_a_cosine_grid_reveals_few_first_and_many_later() -> None:
    process = Absorbing(K, CosineSurvival())
    grid = cosine(process, 8)
    noise = 1 - process.survival.alpha(grid)
    expected = torch.cos(math.pi / 16 * torch.arange(9, dtype=torch.float64))
    assert torch.allclose(noise, expected, atol=1e-12)
    assert grid[0] == 1
    assert grid[-1] == 0


def test_a_loop_stands_still_at_the_share_it_was_given() -> None:
    process = Absorbing(K, CosineSurvival())
    alpha = process.survival.alpha(loop(process, 20, hold=0.5, first=0.25, alive=0.8))
    assert torch.allclose(alpha[5:16], torch.tensor(0.8, dtype=torch.float64))
    assert bool((alpha.diff()[:5] > 0).all())
    assert bool((alpha.diff()[15:] > 0).all())


def test_grids_have_names() -> None:
    for make in GRIDS.values():
        grid = make(Absorbing(K), 20)
        assert grid.shape == (21,)
        assert grid[0] == 1
        assert grid[-1] == 0
        assert bool((grid.diff() <= 0).all())
