"""Samplers of tokens draw the law that they promise, from exact beliefs on enumerable states."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from sfumato.denoisers.categorical import Beliefs, TokenDenoiser
from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.noise import Streams
from sfumato.processes import (
    Absorbing,
    Categorical,
    CosineSurvival,
    Hybrid,
    Marginal,
    TokenLevel,
    Uniform,
)
from sfumato.samplers.base import Step
from sfumato.samplers.tokens import (
    GRIDS,
    SAMPLERS,
    Ancestral,
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

K, SHAPE = 3, (2, 2)
PLACES = math.prod(SHAPE)
STATES = torch.tensor(list(itertools.product(range(K), repeat=PLACES)))
ALL = [
    *(kind() for kind in SAMPLERS.values()),
    Confidence("margin", temperature=1.0, noise=2.0),
    Confidence("entropy", threshold=-0.5),
    Confidence("random", temperature=1.0),
    DiscreteDDIM(eta=0.5),
    PredictorCorrector(corrector="forward-backward"),
    Remasking(0.3, "rescale"),
    Remasking(0.3, "conf"),
    Remasking(0.3, "loop"),
]


def law() -> Tensor:
    """A distribution of 2×2 states in which neighbours hold each other, [81]."""
    generator = torch.Generator().manual_seed(1)
    alone = torch.randn(PLACES, K, generator=generator, dtype=torch.float64) * 0.5
    score = sum(alone[i, STATES[:, i]] for i in range(PLACES))
    for i, j in [(0, 1), (1, 3), (3, 2), (2, 0)]:
        score = score + 1.2 * (STATES[:, i] == STATES[:, j])
    return score.softmax(dim=0)


P = law()


@dataclass(eq=False)
class Table(TokenDenoiser):
    """The exact beliefs; extra leading axes of the state are independent copies."""

    process: Categorical
    takes_time: bool = True
    calls: list[Tensor] = field(default_factory=list)
    tables: dict[float, Tensor] = field(default_factory=dict)

    def __call__(self, x_t: Tensor, t: TokenLevel, condition: object = None) -> Beliefs:
        self.calls.append(x_t)
        # beliefs of absorbing processes do not depend on the level
        alpha = 0.5 if self.process.frequencies[-1] == 1 else float(t.alpha.clamp(max=1 - 1e-12))
        if alpha not in self.tables:
            self.tables[alpha] = self.tabulated(alpha)
        radix = self.process.states ** torch.arange(PLACES - 1, -1, -1)
        code = (x_t.flatten(-len(SHAPE)) * radix).sum(dim=-1)
        return Beliefs(self.tables[alpha][code].reshape(*x_t.shape, K))

    def tabulated(self, alpha: float) -> Tensor:
        """ln p(x₀,i = v | x_t) for all x_t, [states^places, places, K]."""
        noisy = torch.tensor(list(itertools.product(range(self.process.states), repeat=PLACES)))
        level = TokenLevel(torch.tensor(0.5), torch.tensor(alpha, dtype=torch.float64))
        own = self.process.log_likelihood(noisy, level)
        weight = P.log() + sum(own[:, i, STATES[:, i]] for i in range(PLACES))
        post = (weight - weight.amax(dim=1, keepdim=True)).exp()
        hot = torch.nn.functional.one_hot(STATES, K).double()
        found = torch.einsum("ns,siv->niv", post, hot)
        return (found / found.sum(dim=-1, keepdim=True)).log()


def drawn(
    sampler: TokenSampler, process: Categorical, grid: Tensor, *, copies: int = 10_000, seed: int = 0
) -> Tensor:
    """Counts of the clean states, [81]; all copies are in one item, which is quick."""
    streams = Streams.count(seed, 1)
    start = process.start((1, copies, *SHAPE), streams)
    return counted(run_tokens(sampler, Table(process), start, grid, streams))


def counted(x: Tensor) -> Tensor:
    code = (x.reshape(-1, PLACES) * K ** torch.arange(PLACES - 1, -1, -1)).sum(dim=1)
    return torch.bincount(code, minlength=len(STATES))


def chi2(counts: Tensor, p: Tensor = P) -> float:
    """χ² in standard deviations above its mean; above 5 chance is out of question."""
    n, df = counts.sum(), len(p) - 1
    value = ((counts - n * p) ** 2 / (n * p)).sum()
    return float((value - df) / math.sqrt(2 * df))


def distance(counts: Tensor, p: Tensor = P) -> float:
    """Total variation."""
    return float((counts / counts.sum() - p).abs().sum() / 2)


PROCESSES = [
    Absorbing(K),
    Absorbing(K, CosineSurvival()),
    Uniform(K),
    Hybrid(K, 0.3),
    Marginal((0.5, 0.3, 0.2)),
]


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: f"{p.frequencies}")
def test_many_ancestral_steps_draw_the_exact_law(process: Categorical) -> None:
    assert chi2(drawn(Ancestral(), process, uniform(process, 400))) < 5


@pytest.mark.parametrize("sampler", [Ancestral(), TauLeaping(), DiscreteDDIM()], ids=repr)
@pytest.mark.parametrize("process", [Absorbing(K), Uniform(K)], ids=["absorbing", "uniform"])
def test_more_steps_make_less_error(sampler: TokenSampler, process: Categorical) -> None:
    few, some, many = (
        distance(drawn(sampler, process, uniform(process, steps))) for steps in (3, 12, 200)
    )
    chance = math.sqrt(len(P) / 10_000) * 0.5  # what 10,000 exact draws show
    assert few > 2 * some - chance > chance
    assert many < 1.5 * chance


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: f"{p.frequencies}")
def test_many_leaps_draw_the_exact_law(process: Categorical) -> None:
    assert distance(drawn(TauLeaping(), process, uniform(process, 600))) < 0.06


def test_first_hitting_is_exact_on_any_grid() -> None:
    process = Absorbing(K)
    n = 8_000
    streams = Streams.count(3, n)
    start = process.start((n, *SHAPE), streams)
    for times in ([1.0, 0.0], [1.0, 0.6, 0.3, 0.0]):
        grid = torch.tensor(times, dtype=torch.float64)
        x = run_tokens(FirstHitting(), Table(process), start, grid, streams)
        assert chi2(counted(x)) < 5
