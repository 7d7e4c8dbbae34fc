"""Samplers of tokens draw the law that they promise, from exact beliefs on enumerable states."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from sfumato.denoisers.categorical import Beliefs, TokenDenoiser
from sfumato.errors import UnsupportedError
from sfumato.noise import Streams
from sfumato.processes import (
    Absorbing,
    Categorical,
    CosineSurvival,
    Hybrid,
    Marginal,
    Mixing,
    Rates,
    Steps,
    TokenLevel,
    Uniform,
)
from sfumato.samplers.tokens import (
    Ancestral,
    Confidence,
    DiscreteDDIM,
    EntropyBounded,
    FirstHitting,
    PredictorCorrector,
    Remasking,
    TauLeaping,
    TokenSampler,
    loop,
    reveals,
    run_tokens,
    uniform,
)
from sfumato.samplers.tokens.base import absorbing

K, SHAPE, N = 3, (2, 2), 5_000
PLACES = math.prod(SHAPE)
STATES = torch.tensor(list(itertools.product(range(K), repeat=PLACES)))


def law(coupling: float) -> Tensor:
    """A distribution of 2×2 states whose neighbours like to be equal, [81]."""
    generator = torch.Generator().manual_seed(1)
    alone = torch.randn(PLACES, K, generator=generator, dtype=torch.float64) * 0.5
    score = torch.stack([alone[i, STATES[:, i]] for i in range(PLACES)]).sum(dim=0)
    for i, j in [(0, 1), (1, 3), (3, 2), (2, 0)]:
        score = score + coupling * (STATES[:, i] == STATES[:, j])
    return score.softmax(dim=0)


P, ALONE = law(1.2), law(0.0)


@dataclass(eq=False)
class Table(TokenDenoiser):
    """The exact beliefs; extra leading axes of the state are independent copies."""

    process: Categorical
    p: Tensor = field(default_factory=lambda: P)
    takes_time: bool = True
    calls: list[Tensor] = field(default_factory=list)
    tables: dict[float, Tensor] = field(default_factory=dict)

    def __call__(self, x_t: Tensor, t: TokenLevel, condition: object = None) -> Beliefs:
        self.calls.append(x_t)
        # beliefs of absorbing processes do not depend on the level
        level = self.process.level(0.5) if absorbing(self.process) else t
        time = float(level.t)
        if time not in self.tables:
            self.tables[time] = self.tabulated(level)
        radix = self.process.states ** torch.arange(PLACES - 1, -1, -1)
        code = (x_t.flatten(-len(SHAPE)) * radix).sum(dim=-1)
        return Beliefs(self.tables[time][code].reshape(*x_t.shape, K))

    def tabulated(self, level: TokenLevel) -> Tensor:
        """ln p(x₀,i = v | x_t) for all x_t, [states^places, places, K]."""
        weight = self.weights(level)
        post = (weight - weight.amax(dim=1, keepdim=True)).exp()
        hot = torch.nn.functional.one_hot(STATES, K).double()
        found = torch.einsum("ns,siv->niv", post, hot)
        return (found / found.sum(dim=-1, keepdim=True)).log()

    def weights(self, level: TokenLevel) -> Tensor:
        """ln p(x₀) q(x_t | x₀), [states^places, 81]."""
        noisy = torch.tensor(list(itertools.product(range(self.process.states), repeat=PLACES)))
        return self.p.log() + seen(self.process.log_likelihood(noisy, level))


def seen(own: Tensor) -> Tensor:
    """Σ_i of ``own`` [n, places, K] at the tokens of all states, [n, 81]."""
    return torch.stack([own[:, i, STATES[:, i]] for i in range(PLACES)]).sum(dim=0)


def drawn(
    sampler: TokenSampler, process: Categorical, steps: int, *, p: Tensor = P, seed: int = 0
) -> Tensor:
    """Counts of the clean states, [81]; all copies are in one item, which is quick."""
    streams = Streams.count(seed, 1)
    start = process.start((1, N, *SHAPE), streams)
    grid = uniform(process, steps)
    return counted(run_tokens(sampler, Table(process, p), start, grid, streams))


def counted(x: Tensor, states: int = K) -> Tensor:
    code = (x.reshape(-1, PLACES) * states ** torch.arange(PLACES - 1, -1, -1)).sum(dim=1)
    return torch.bincount(code, minlength=states**PLACES)


def chi2(counts: Tensor, p: Tensor = P) -> float:
    """χ² in standard deviations above its mean; above 5 chance is out of question.

    States that are expected fewer than 5 times are counted together.
    """
    n = counts.sum()
    rare = n * p < 5
    seen = torch.cat([counts[~rare].double(), counts[rare].sum().double().reshape(1)])
    mean = torch.cat([n * p[~rare], n * p[rare].sum().reshape(1)]).clamp(min=1e-9)
    df = int((~rare).sum())
    return float((((seen - mean) ** 2 / mean).sum() - df) / math.sqrt(2 * df))


def distance(counts: Tensor, p: Tensor = P) -> float:
    """Total variation."""
    return float((counts / counts.sum() - p).abs().sum() / 2)


def noisy_law(process: Categorical, level: TokenLevel) -> Tensor:
    """p_t of all noisy states, [states^places]."""
    return Table(process).weights(level).exp().sum(dim=1)


PROCESSES = [
    Absorbing(K),
    Absorbing(K, CosineSurvival()),
    Uniform(K),
    Hybrid(K, 0.3),
    Marginal((0.5, 0.3, 0.2)),
]
KINDS = [Ancestral(), TauLeaping(), DiscreteDDIM()]


@pytest.mark.parametrize("sampler", KINDS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: f"{p.frequencies[-1]:.1f}")
def test_many_steps_draw_the_exact_law(sampler: TokenSampler, process: Mixing) -> None:
    assert chi2(drawn(sampler, process, 150)) < 5


@pytest.mark.parametrize("sampler", [Ancestral(), TauLeaping()], ids=repr)
def test_jumps_at_any_rates_draw_the_exact_law(sampler: TokenSampler) -> None:
    rates = torch.tensor([[-1.5, 1.0, 0.5], [0.1, -0.3, 0.2], [2.0, 0.5, -2.5]]).double()
    assert chi2(drawn(sampler, Rates(K, rates - rates.sum(dim=1).diag()), 150)) < 5


def test_a_process_in_discrete_time_is_sampled_at_its_steps() -> None:
    near = torch.tensor([[0.9, 0.1, 0.0], [0.05, 0.9, 0.05], [0.0, 0.1, 0.9]]).double()
    process = Steps(K, near.expand(60, K, K))
    assert chi2(drawn(Ancestral(), process, 60, p=ALONE), ALONE) < 5
    with pytest.raises(UnsupportedError, match="continuous time"):
        drawn(TauLeaping(), process, 60)


@pytest.mark.parametrize("sampler", KINDS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("process", [Absorbing(K), Uniform(K)], ids=["absorbing", "uniform"])
def test_more_steps_make_less_error(sampler: TokenSampler, process: Mixing) -> None:
    chance = 0.5 * math.sqrt(2 / math.pi / N) * float((P * (1 - P)).sqrt().sum())
    few, some = (distance(drawn(sampler, process, steps)) - chance for steps in (3, 12))
    assert few > 0.1
    assert some < few / 2  # first order would be a quarter; chance moves either by 0.01


@pytest.mark.parametrize(
    "sampler",
    [
        Ancestral(),
        DiscreteDDIM(),
        DiscreteDDIM(eta=0.4),
        DiscreteDDIM(eta=1.0),
        PredictorCorrector(places=N),
        PredictorCorrector(corrector="forward-backward"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("process", PROCESSES[1:], ids=lambda p: f"{p.frequencies[-1]:.1f}")
def test_independent_places_are_exact_in_any_number_of_steps(
    sampler: TokenSampler, process: Mixing
) -> None:
    assert chi2(drawn(sampler, process, 3, p=ALONE), ALONE) < 5


@pytest.mark.parametrize("rule", ["cap", "rescale", "conf"])
def test_remasking_of_independent_places_is_exact(rule: str) -> None:
    sampler = Remasking(0.3 if rule != "conf" else 0.0, rule)
    assert chi2(drawn(sampler, Absorbing(K), 5, p=ALONE), ALONE) < 5


@pytest.mark.parametrize("sampler", [Remasking(0.02), Remasking(0.05, "rescale")], ids=repr)
def test_remasking_draws_the_exact_law_with_many_steps(sampler: TokenSampler) -> None:
    assert chi2(drawn(sampler, Absorbing(K), 200)) < 5


def test_remasking_in_a_loop_draws_the_exact_law() -> None:
    process, streams = Absorbing(K), Streams.count(2, 1)
    start = process.start((1, N, *SHAPE), streams)
    sampler = Remasking(0.02, "loop")
    x = run_tokens(sampler, Table(process), start, loop(process, 300), streams)
    assert chi2(counted(x)) < 5


def test_standing_still_and_remasking_repairs_what_was_drawn_apart() -> None:
    # all places at once give the product of the marginals; hiding and redrawing few mends that
    process, streams = Absorbing(K), Streams.count(2, 1)
    start = process.start((1, N, *SHAPE), streams)
    still = torch.tensor([1.0, *[0.2] * 150], dtype=torch.float64)
    last = torch.linspace(0.2, 0, 30, dtype=torch.float64)
    grid = torch.cat([still, last])
    once = distance(counted(run_tokens(Remasking(0.0), Table(process), start, grid, streams)))
    mended = run_tokens(Remasking(0.05, "loop"), Table(process), start, grid, streams)
    assert distance(counted(mended)) < once / 2


@pytest.mark.parametrize("rule", ["cap", "rescale", "conf"])
def test_remasking_keeps_the_share_of_hidden_places(rule: str) -> None:
    process, streams = Absorbing(K), Streams.count(4, 1)
    start = process.start((1, N, *SHAPE), streams)
    grid = uniform(process, 20)[:13]
    sampler = Remasking(0.3, rule)
    x = run_tokens(sampler, Table(process), start, grid, streams)
    share, n = float(grid[-1]), start.numel()
    five_sigma = 5 * math.sqrt(share * (1 - share) / n)
    assert float((x == process.mask).double().mean()) == pytest.approx(share, abs=five_sigma)


@pytest.mark.parametrize("times", [[1.0, 0.0], [1.0, 0.6, 0.3, 0.0]], ids=["one step", "three"])
def test_first_hitting_is_exact_on_any_grid(times: list[float]) -> None:
    process, streams = Absorbing(K, CosineSurvival()), Streams.count(3, N)
    start = process.start((N, *SHAPE), streams)
    grid = torch.tensor(times, dtype=torch.float64)
    assert chi2(counted(run_tokens(FirstHitting(), Table(process), start, grid, streams))) < 5


def test_first_hitting_has_the_law_of_the_process_on_the_way() -> None:
    process, streams = Absorbing(K, CosineSurvival()), Streams.count(3, N)
    start = process.start((N, *SHAPE), streams)
    grid = torch.tensor([1.0, 0.7, 0.4], dtype=torch.float64)
    x = run_tokens(FirstHitting(), Table(process), start, grid, streams)
    assert chi2(counted(x, K + 1), noisy_law(process, process.level(0.4))) < 5


@pytest.mark.parametrize("sampler", [EntropyBounded(0.0), Confidence("random", 1.0)], ids=repr)
def test_one_place_at_a_time_is_exact(sampler: TokenSampler) -> None:
    process, streams = Absorbing(K), Streams.count(5, N)
    start = process.start((N, *SHAPE), streams)
    grid = reveals(process, PLACES)
    assert chi2(counted(run_tokens(sampler, Table(process), start, grid, streams))) < 5


def test_revealing_likely_tokens_first_is_no_draw_from_the_law() -> None:
    process, streams = Absorbing(K), Streams.count(5, N)
    start = process.start((N, *SHAPE), streams)
    sampler = Confidence(temperature=1.0)
    x = run_tokens(sampler, Table(process), start, reveals(process, PLACES), streams)
    assert chi2(counted(x)) > 20
    assert float(P[counted(x).argmax()]) == float(P.max())


@pytest.mark.parametrize("process", [Absorbing(K), Uniform(K), Hybrid(K, 0.3)], ids=["a", "u", "h"])
def test_gibbs_corrections_reach_the_law_of_their_level(process: Mixing) -> None:
    n, level = 500, process.level(0.4)
    streams = Streams.count(6, n)
    wrong = torch.zeros((n, *SHAPE), dtype=torch.long)
    # on a grid that stands still the predictor does nothing
    grid = torch.full((81,), 0.4, dtype=torch.float64)
    x = run_tokens(PredictorCorrector(), Table(process), wrong, grid, streams)
    assert chi2(counted(x, process.states), noisy_law(process, level)) < 5


@pytest.mark.parametrize("corrector", ["gibbs", "forward-backward"])
def test_corrections_make_up_for_few_steps(corrector: str) -> None:
    process = Absorbing(K)
    sampler = PredictorCorrector(corrector=corrector, corrections=8, places=N // 2)
    assert distance(drawn(sampler, process, 4)) < 0.75 * distance(drawn(Ancestral(), process, 4))


@pytest.mark.slow
def test_rare_tokens_of_a_large_vocabulary_survive_many_steps() -> None:
    tokens, places, steps = 20_000, 12_000, 5_000
    zipf = (1 / torch.arange(1, tokens + 1, dtype=torch.float64)).log().log_softmax(dim=0)

    class Zipf(TokenDenoiser):
        process = Absorbing(tokens)
        takes_time = False

        def __call__(self, x_t: Tensor, t: TokenLevel, condition: object = None) -> Beliefs:
            return Beliefs(zipf.expand(*x_t.shape, -1))

    streams, process = Streams.count(0, 1), Zipf.process
    start = process.start((1, places), streams)
    half = run_tokens(
        Ancestral(), Zipf(), start, uniform(process, steps)[: steps // 2 + 1], streams
    )
    revealed = float((half < tokens).double().mean())
    assert revealed == pytest.approx(0.5, rel=0.02)  # 2 σ of 12,000 places
    rest = uniform(process, steps)[steps // 2 :]
    x = run_tokens(Ancestral(), Zipf(), half, rest, streams)
    found = -zipf[x[0]] / math.log(2)
    entropy = -float((zipf.exp() * zipf).sum()) / math.log(2)
    assert float(found.mean()) == pytest.approx(entropy, abs=0.1)
    assert 2.5 * float(found.std()) / math.sqrt(places) < 0.1  # so that chance cannot fail it
