"""Every bound equals −ln p with the exact denoiser, and none lies below it.

With exact beliefs the reverse process is the data's own noise run backwards, so that the bound of
each single x₀ is an equality, in continuous time or one place at a time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import Beliefs, Condition, JointTable, MarkovChain, TokenDenoiser
from sfumato.errors import InvalidOptionError, ShapeError, UnsupportedError
from sfumato.likelihood import (
    Bound,
    Budget,
    bits_per_character,
    chain_rule,
    importance_bound,
    k_uniform,
    masked_bound,
    pseudo_likelihood,
    score_bound,
    terms,
    uniform_bound,
    variational_bound,
)
from sfumato.noise import Streams
from sfumato.processes import (
    Absorbing,
    Categorical,
    CosineSurvival,
    Hybrid,
    Marginal,
    Rates,
    Steps,
    TableSurvival,
    TokenLevel,
    Uniform,
)

K, L, ITEMS = 3, 5, 24
BUDGET = Budget(draws=64, batch=768)

Estimator = Callable[..., Bound]


def distributions(*shape: int, seed: int = 3) -> Tensor:
    found = torch.rand(shape, generator=torch.Generator().manual_seed(seed)).double() ** 2
    return found / found.sum(dim=-1, keepdim=True)


def rates() -> Tensor:
    off = distributions(K, K).fill_diagonal_(0)
    return off - off.sum(dim=1).diag()


def chain(process: Categorical) -> MarkovChain:
    return MarkovChain(process, distributions(K), distributions(K, K))


def data(prior: MarkovChain, length: int = L) -> Tensor:
    return prior.draw((ITEMS, length), Streams.count(11, ITEMS))


def excess(bound: Bound, nll: Tensor) -> tuple[float, float]:
    """Mean of bound − nll over items, and its standard error."""
    n = len(nll)
    return float((bound.nats - nll).mean()), float(bound.error.square().sum().sqrt()) / n


@dataclass(frozen=True, eq=False)
class Flattened(TokenDenoiser):
    """Beliefs that are less sure than they should be."""

    inner: TokenDenoiser

    @property
    def process(self) -> Categorical:  # type: ignore[override]
        return self.inner.process

    def __call__(self, x_t: Tensor, t: TokenLevel, condition: Condition = None) -> Beliefs:
        log_probs = self.inner(x_t, t, condition).log_probs
        return Beliefs((0.5 * log_probs).log_softmax(dim=-1))


CASES: dict[str, tuple[Estimator, Categorical]] = {
    "k-uniform": (k_uniform, Absorbing(K)),
    "masked": (masked_bound, Absorbing(K)),
    "masked, cosine": (masked_bound, Absorbing(K, CosineSurvival())),
    "score, absorbing": (score_bound, Absorbing(K, TableSurvival((1.0, 0.6, 0.3, 0.0)))),
    "score, uniform": (score_bound, Uniform(K)),
    "score, hybrid": (score_bound, Hybrid(K, 0.4)),
    "score, marginal": (score_bound, Marginal((0.5, 0.3, 0.2), CosineSurvival())),
    "score, rates": (score_bound, Rates(K, 2 * rates())),
    "uniform": (uniform_bound, Uniform(K)),
    "uniform, cosine": (uniform_bound, Uniform(K, CosineSurvival())),
    "importance": (importance_bound, Absorbing(K)),
}


def estimate(
    case: str, denoiser: TokenDenoiser, x_0: Tensor, *, draws: int = 64, **options: object
) -> Bound:
    estimator, _ = CASES[case]
    if estimator is not importance_bound:
        options["budget"] = Budget(draws, 1024)
    return estimator(denoiser, x_0, Streams.count(5, len(x_0)), **options)


@pytest.mark.parametrize("case", CASES)
def test_a_bound_with_exact_beliefs_is_the_likelihood(case: str) -> None:
    prior = chain(CASES[case][1])
    x_0 = data(prior)
    gap, error = excess(estimate(case, prior, x_0, draws=256), -prior.log_prob(x_0))
    assert error < 0.04 * prior.entropy(L)  # sharp enough to see a wrong weight
    assert abs(gap) <= 3 * error + 1e-9


@pytest.mark.parametrize("case", CASES)
def test_a_bound_with_worse_beliefs_is_above_the_likelihood(case: str) -> None:
    prior = chain(CASES[case][1])
    x_0 = data(prior)
    gap, error = excess(estimate(case, Flattened(prior), x_0), -prior.log_prob(x_0))
    assert gap > 3 * error


@pytest.mark.parametrize("case", CASES)
def test_a_bound_counts_places_that_exist_and_no_others(case: str) -> None:
    prior = chain(CASES[case][1])
    x_0 = data(prior, 3)
    padded = torch.cat([x_0, torch.full((ITEMS, 4), 99)], dim=1)
    valid = (torch.arange(7) < 3).expand(ITEMS, 7)
    bound = estimate(case, prior, padded, condition={"valid": valid})
    gap, error = excess(bound, -prior.log_prob(x_0))
    assert abs(gap) <= 3 * error + 1e-9


@pytest.mark.parametrize("case", CASES)
def test_an_item_alone_has_the_bound_that_it_has_in_a_batch(case: str) -> None:
    prior = chain(CASES[case][1])
    x_0 = data(prior)[:3]
    valid = torch.arange(L) < torch.tensor([[5], [3], [4]])
    together = estimate(case, prior, x_0, condition={"valid": valid})
    estimator, _ = CASES[case]
    options = {} if estimator is importance_bound else {"budget": BUDGET}
    alone = estimator(
        prior, x_0[1:2], Streams.count(5, 1, first=1), condition={"valid": valid[1:2]}, **options
    )
    torch.testing.assert_close(together.nats[1:2], alone.nats)
    torch.testing.assert_close(together.error[1:2], alone.error, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("case", ["k-uniform", "masked", "score, uniform", "uniform"])
def test_standard_errors_are_those_of_repeated_estimates(case: str) -> None:
    prior = Flattened(chain(CASES[case][1]))  # exact beliefs would leave k-uniform little to vary
    x_0 = data(prior.inner)[:1].expand(200, L)  # type: ignore[attr-defined]
    estimator, _ = CASES[case]
    bound = estimator(prior, x_0, Streams.count(5, 200), budget=Budget(16, 800))
    spread, stated = float(bound.nats.std()), float(bound.error.square().mean().sqrt())
    # stratification may make the truth smaller; 1 standard deviation of 200 draws is 5 %
    assert 0.4 * stated < spread < 1.2 * stated


PROCESSES: dict[str, Categorical] = {
    "absorbing": Absorbing(K),
    "uniform": Uniform(K),
    "hybrid": Hybrid(K, 0.3),
    "rates": Rates(K, 2 * rates()),
    "steps": Steps(K, 0.9 * torch.eye(K) + 0.1 * distributions(64, K, K)),
    "steps with mask": Steps(K, 0.9 * torch.eye(K + 1) + 0.1 * distributions(64, K + 1, K + 1)),
}


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_the_sum_over_steps_of_a_single_place_is_the_likelihood(process: Categorical) -> None:
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    prior = JointTable(process, p.log())
    x_0 = torch.arange(K).repeat_interleave(8).reshape(-1, 1)
    bound = variational_bound(
        prior, x_0, Streams.count(5, len(x_0)), steps=16, budget=Budget(512, 1024)
    )
    gap, error = excess(bound, -p.log()[x_0[:, 0]])
    assert error < 0.05
    assert abs(gap) <= 3 * error


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_the_sum_over_steps_is_above_and_falls_with_their_number(process: Categorical) -> None:
    prior = chain(process)
    x_0 = data(prior)
    nll, budget = -prior.log_prob(x_0), Budget(64, 768)
    few, many = (
        variational_bound(prior, x_0, Streams.count(5, ITEMS), steps=T, budget=budget)
        for T in (2, 64)
    )
    (gap_few, error_few), (gap_many, error_many) = excess(few, nll), excess(many, nll)
    assert gap_few > 3 * error_few
    assert gap_many > -3 * error_many
    assert gap_many < gap_few / 2 + 3 * error_many


def test_one_step_of_masking_costs_the_marginals() -> None:
    prior = chain(Absorbing(K))
    x_0 = data(prior)
    blank = torch.full_like(x_0, K)
    log_probs = prior(blank, prior.process.level(1.0)).log_probs
    expected = -log_probs.gather(-1, x_0.unsqueeze(-1)).flatten(1).sum(dim=1)
    for bound in (
        masked_bound(prior, x_0, Streams.count(5, ITEMS), steps=1, budget=BUDGET),
        variational_bound(prior, x_0, Streams.count(5, ITEMS), steps=1, budget=BUDGET),
    ):
        torch.testing.assert_close(bound.nats, expected)


def test_the_masked_bound_with_steps_is_the_variational_sum() -> None:
    prior = chain(Absorbing(K, CosineSurvival()))
    x_0 = data(prior)
    found = masked_bound(prior, x_0, Streams.count(5, ITEMS), steps=8, budget=BUDGET)
    general = variational_bound(prior, x_0, Streams.count(5, ITEMS), steps=8, budget=BUDGET)
    torch.testing.assert_close(found.nats, general.nats)


def test_uniform_and_score_terms_are_one_formula() -> None:
    prior, process = chain(Uniform(K)), Uniform(K)
    x_0 = data(prior)
    t = process.level(torch.linspace(0.05, 0.95, ITEMS, dtype=torch.float64))
    x_t = process.corrupt(x_0, t, Streams.count(0, ITEMS))
    log_probs, valid = prior(x_t, t).log_probs, torch.ones_like(x_0, dtype=torch.bool)
    rest = process.leave_one_out(log_probs, x_t, t)
    torch.testing.assert_close(
        terms.uniform_entropy(rest, x_0, x_t, t, valid),
        terms.score_entropy(process, log_probs, x_0, x_t, t, valid),
    )


def test_the_uniform_term_needs_leave_one_out_beliefs() -> None:
    # what many write: the network's posterior straight into the formula; it is far from −ln p
    prior, process, n = chain(Uniform(K)), Uniform(K), 20_000
    x_0 = prior.draw((1, L), Streams.count(0, 1)).expand(n, L)
    u = (torch.arange(n) + 0.5).double() / n
    t = process.level(u**2)
    x_t = process.corrupt(x_0, t, Streams.count(1, n))
    log_probs, valid = prior(x_t, t).log_probs, torch.ones_like(x_0, dtype=torch.bool)
    nll = -float(prior.log_prob(x_0[:1]))
    for beliefs, right in ((process.leave_one_out(log_probs, x_t, t), True), (log_probs, False)):
        values = 2 * u * terms.uniform_entropy(beliefs, x_0, x_t, t, valid)
        error = float(values.std()) / math.sqrt(n)
        assert (abs(float(values.mean()) - nll) < 3 * error) == right
        if not right:
            assert float(values.mean()) > nll + 5 * error


@pytest.mark.parametrize("order", [None, [4, 2, 0, 1, 3]], ids=["in a row", "any"])
def test_the_chain_rule_is_exact_in_every_order(order: list[int] | None) -> None:
    prior = chain(Absorbing(K))
    x_0 = data(prior)
    places = None if order is None else torch.tensor(order)
    bound = chain_rule(prior, x_0, order=places, batch=50)
    torch.testing.assert_close(bound.nats, -prior.log_prob(x_0))
    assert bound.error.tolist() == [0.0] * ITEMS


def test_the_chain_rule_passes_over_places_that_do_not_exist() -> None:
    prior = chain(Absorbing(K))
    x_0 = data(prior)
    valid = torch.rand(ITEMS, L, generator=torch.Generator().manual_seed(0)) < 0.6
    bound = chain_rule(prior, x_0.masked_fill(~valid, -7), condition={"valid": valid})
    torch.testing.assert_close(bound.nats, -prior.log_prob(x_0, valid))


def test_orders_matter_to_a_denoiser_that_is_not_exact() -> None:
    flattened = Flattened(chain(Absorbing(K)))
    x_0 = data(flattened.inner)  # type: ignore[arg-type]
    forwards = chain_rule(flattened, x_0).nats
    backwards = chain_rule(flattened, x_0, order=torch.arange(L - 1, -1, -1)).nats
    assert float((forwards - backwards).abs().max()) > 1e-3


def test_more_orders_make_the_importance_bound_tighter() -> None:
    flattened = Flattened(chain(Absorbing(K)))
    x_0 = data(flattened.inner)  # type: ignore[arg-type]
    every = torch.stack(
        [
            chain_rule(flattened, x_0, order=torch.tensor(order)).nats
            for order in itertools.permutations(range(L))
        ]
    )
    exact = -(torch.logsumexp(-every, dim=0) - math.log(len(every)))
    found = importance_bound(flattened, x_0, Streams.count(0, ITEMS), orders=32)
    gap, error = excess(found, exact)
    assert abs(gap) < 3 * error
    assert float(exact.mean()) < float(every.mean())  # Jensen: below the mean over orders
    mean = k_uniform(flattened, x_0, Streams.count(0, ITEMS), budget=BUDGET)
    gap, error = excess(mean, every.mean(dim=0))
    assert abs(gap) < 3 * error


def test_pseudo_likelihood_is_below_the_likelihood_and_has_no_bits() -> None:
    prior = chain(Absorbing(K))
    x_0 = data(prior)
    pseudo = pseudo_likelihood(prior, x_0)
    assert float(pseudo.mean()) < float(-prior.log_prob(x_0).mean())
    with pytest.raises(UnsupportedError, match="bits_per_character needs a bound"):
        bits_per_character(pseudo, L)  # type: ignore[arg-type]


def test_pseudo_likelihood_of_independent_places_is_their_likelihood() -> None:
    p = distributions(K)
    prior = MarkovChain(Absorbing(K), p, p.expand(K, K))
    x_0 = data(prior)
    torch.testing.assert_close(pseudo_likelihood(prior, x_0), -prior.log_prob(x_0))


def test_bits_per_character_are_those_of_all_items_together() -> None:
    bound = Bound(torch.tensor([math.log(4), math.log(2)]), torch.tensor([0.3, 0.4]))
    bits = bits_per_character(bound, [1, 2])
    assert bits.value == pytest.approx(3 / 3)
    assert bits.error == pytest.approx(0.5 / math.log(2) / 3)
    assert bits_per_character(bound, 3).value == pytest.approx(0.5)
    with pytest.raises(ShapeError, match="one number per item"):
        bits_per_character(bound, [1, 2, 3])


@pytest.mark.parametrize("estimator", [k_uniform, masked_bound, importance_bound])
def test_bounds_that_need_masks_refuse_other_processes(estimator: Estimator) -> None:
    prior = chain(Uniform(K))
    with pytest.raises(UnsupportedError, match="an absorbing process"):
        estimator(prior, data(prior), Streams.count(0, ITEMS))


def test_bounds_refuse_what_they_cannot_bound() -> None:
    absorbing, streams = chain(Absorbing(K)), Streams.count(0, ITEMS)
    x_0 = data(absorbing)
    with pytest.raises(UnsupportedError, match="a uniform process"):
        uniform_bound(absorbing, x_0, streams)
    discrete = chain(PROCESSES["steps"])
    with pytest.raises(UnsupportedError, match="rates of jumps"):
        score_bound(discrete, x_0, streams)
    with pytest.raises(InvalidOptionError, match="the process has 64"):
        variational_bound(discrete, x_0, streams, steps=100)
    short = chain(Absorbing(K, TableSurvival((1.0, 0.2))))
    with pytest.raises(InvalidOptionError, match="ends at 0"):
        masked_bound(short, x_0, streams)
    with pytest.raises(InvalidOptionError, match="every place once"):
        chain_rule(absorbing, x_0, order=torch.tensor([0, 0, 1, 2, 3]))
    with pytest.raises(InvalidOptionError, match="even number"):
        Budget(draws=3)


@pytest.mark.parametrize("estimator", [score_bound, uniform_bound, variational_bound])
def test_what_noise_does_not_forget_is_paid_for(estimator: Estimator) -> None:
    # four in ten tokens survive to t = 1, where sampling starts from the prior: the likelihood
    # gains E[ln q(x₁)/prior(x₁)] over q(x₁ | x₀)
    p = torch.tensor([0.8, 0.15, 0.05], dtype=torch.float64)
    process = Uniform(K, TableSurvival((1.0, 0.4)))
    Q = process.matrix(process.level(0.0), process.level(1.0))
    expected = -p.log() + Q @ ((p @ Q).log() - process.prior().log())
    x_0 = torch.arange(K).repeat_interleave(8)
    bound = estimator(
        JointTable(process, p.log()), x_0.reshape(-1, 1), Streams.count(5, len(x_0)),
        budget=Budget(512, 1024),
    )  # fmt: skip
    gap, error = excess(bound, expected[x_0])
    assert abs(gap) < 3 * error < 0.15 < float((expected + p.log()).abs().max())


def test_data_with_masks_is_refused_and_an_item_without_places_costs_nothing() -> None:
    prior = chain(Absorbing(K))
    x_0 = data(prior)
    x_0[2, 3] = K
    for estimator in (k_uniform, masked_bound, importance_bound):
        with pytest.raises(InvalidOptionError, match=r"3 at place \[3\] of item 2"):
            estimator(prior, x_0, Streams.count(0, ITEMS))
    valid = torch.arange(L) < torch.tensor([[0], [2]])
    for estimator in (k_uniform, masked_bound, importance_bound):
        bound = estimator(prior, x_0[:2], Streams.count(0, 2), condition={"valid": valid})
        assert float(bound.nats[0]) == 0
        assert float(bound.nats[1]) > 0
