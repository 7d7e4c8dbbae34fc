"""Exact denoisers of tokens: the chain equals enumeration under any noise, mask or channel."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy import stats
from torch import Tensor

from sfumato.denoisers import JointTable, MarkovChain
from sfumato.errors import ImpossibleError, InvalidOptionError, ShapeError
from sfumato.noise import Streams
from sfumato.processes import Absorbing, Categorical, Hybrid, Marginal, Rates, Uniform

K, L = 3, 4


def seeded(*shape: int, seed: int = 3) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distributions(*shape: int, seed: int = 3) -> Tensor:
    found = seeded(*shape, seed=seed) ** 3
    return found / found.sum(dim=-1, keepdim=True)


def rates() -> Tensor:
    off = seeded(K, K).fill_diagonal_(0)
    return off - off.sum(dim=1).diag()


PROCESSES: dict[str, Categorical] = {
    "absorbing": Absorbing(K),
    "uniform": Uniform(K),
    "hybrid": Hybrid(K, 0.3),
    "marginal": Marginal((0.5, 0.3, 0.2)),
    "rates": Rates(K, rates()),
}
EVERY = pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
STATES = torch.tensor(list(itertools.product(range(K), repeat=L)))


def chain(process: Categorical) -> MarkovChain:
    return MarkovChain(process, distributions(K), distributions(K, K))


def table(prior: MarkovChain, length: int = L, shape: tuple[int, ...] = ()) -> JointTable:
    states = torch.tensor(list(itertools.product(range(K), repeat=length)))
    log_p = prior.initial.log()[states[:, 0]]
    for i in range(1, length):
        log_p = log_p + prior.transition.log()[states[:, i - 1], states[:, i]]
    return JointTable(prior.process, log_p.reshape((K,) * length), shape)


@EVERY
def test_a_chain_believes_what_enumeration_finds(process: Categorical) -> None:
    prior = chain(process)
    t = process.level(torch.linspace(0.1, 0.9, 8, dtype=torch.float64))
    x_t = process.corrupt(prior.draw((8, L), Streams.count(0, 8)), t, Streams.count(1, 8))
    found = prior(x_t, t).log_probs
    torch.testing.assert_close(found, table(prior)(x_t, t).log_probs)
    torch.testing.assert_close(found.exp().sum(dim=-1), torch.ones(8, L).double())


@EVERY
def test_a_table_is_bayes_rule_written_out(process: Categorical) -> None:
    p = distributions(K**L).reshape((K,) * L)
    t = process.level(0.4)
    x_t = process.corrupt(STATES[[17]], t, Streams.count(1, 1))
    Q = process.matrix(process.level(0.0), t)[:K]
    weight = p.flatten().clone()
    for n, state in enumerate(STATES):
        for i in range(L):
            weight[n] *= Q[state[i], x_t[0, i]]
    found = JointTable(process, p.log())(x_t, t).probs[0]
    for i, v in itertools.product(range(L), range(K)):
        expected = weight[STATES[:, i] == v].sum() / weight.sum()
        assert float(found[i, v]) == pytest.approx(float(expected), rel=1e-9)


@EVERY
@pytest.mark.parametrize("where", ["after", "before", "between"])
def test_a_belief_does_not_depend_on_padding(process: Categorical, where: str) -> None:
    prior, t = chain(process), process.level(0.5)
    x_t = process.corrupt(prior.draw((5, L), Streams.count(0, 5)), t, Streams.count(1, 5))
    places = {"after": [0, 1, 2, 3], "before": [3, 4, 5, 6], "between": [0, 2, 3, 6]}[where]
    padded = torch.full((5, 7), process.states - 1)
    valid = torch.zeros(5, 7, dtype=torch.bool)
    padded[:, places], valid[:, places] = x_t, True
    for junk in (0, process.states - 1):
        filled = torch.where(valid, padded, junk)
        found = prior(filled, t, {"valid": valid}).log_probs[:, places]
        torch.testing.assert_close(found, prior(x_t, t).log_probs, rtol=0, atol=1e-12)


def test_rows_of_a_batch_may_have_different_lengths() -> None:
    process = Uniform(K)
    prior, t = chain(process), process.level(0.5)
    x_t = process.start((3, 6), Streams.count(0, 3))
    lengths = [6, 4, 1]
    valid = torch.arange(6) < torch.tensor(lengths).unsqueeze(1)
    sites = process.log_likelihood(x_t, t)
    together, evidence = prior.posterior(sites, valid)
    for i, n in enumerate(lengths):
        alone, one = prior.posterior(sites[i : i + 1, :n])
        torch.testing.assert_close(together[i, :n], alone[0])
        torch.testing.assert_close(evidence[i], one[0])


@pytest.mark.parametrize("kind", ["chain", "table"])
def test_a_belief_does_not_depend_on_the_batch(kind: str) -> None:
    process = Hybrid(K, 0.5)
    prior = chain(process) if kind == "chain" else table(chain(process))
    t = process.level(torch.linspace(0.1, 0.9, 6, dtype=torch.float64))
    x_t = process.start((6, L), Streams.count(0, 6))
    together = prior(x_t, t).log_probs
    for i in range(6):
        alone = prior(x_t[i : i + 1], process.level(t.t[i : i + 1])).log_probs
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-12)


def test_a_state_with_two_axes_is_read_row_by_row() -> None:
    process = Uniform(K)
    prior, t = chain(process), process.level(0.5)
    x_t = process.start((4, 2, 2), Streams.count(0, 4))
    flat = prior(x_t.reshape(4, 4), t).log_probs
    torch.testing.assert_close(prior(x_t, t).log_probs, flat.reshape(4, 2, 2, K))
    grid = table(prior, shape=(2, 2))
    torch.testing.assert_close(grid(x_t, t).log_probs, flat.reshape(4, 2, 2, K))
    assert grid.draw(5, Streams.count(0, 5)).shape == (5, 2, 2)


@pytest.mark.parametrize("kind", ["chain", "table"])
def test_posteriors_are_enumerated(kind: str) -> None:
    prior = chain(Absorbing(K))
    exact = table(prior)
    solver = prior if kind == "chain" else exact
    sites = seeded(1, L, K, seed=5).log()
    sites[0, 1, 0] = -torch.inf  # a channel that rules a token out
    weight = exact.log_prob(STATES)
    for i in range(L):
        weight = weight + sites[0, i, STATES[:, i]]
    marginals, log_evidence = solver.posterior(sites)
    torch.testing.assert_close(log_evidence[0], torch.logsumexp(weight, dim=0))
    law = weight.softmax(dim=0)
    for i, v in itertools.product(range(L), range(K)):
        expected = float(law[STATES[:, i] == v].sum())
        assert float(marginals[0, i, v].exp()) == pytest.approx(expected, abs=1e-12)
    n = 20_000
    x = solver.posterior_draw(sites.expand(n, L, K), Streams.count(0, n))
    number = (x * K ** torch.arange(L - 1, -1, -1)).sum(dim=1)
    counts = torch.bincount(number, minlength=K**L).double()
    assert counts[law == 0].sum() == 0
    expected = n * law[law > 0]
    statistic = float(((counts[law > 0] - expected) ** 2 / expected).sum())
    assert stats.chi2.sf(statistic, len(expected) - 1) > 1e-6


def test_probabilities_of_rows_sum_to_1_and_give_the_entropy() -> None:
    prior = chain(Absorbing(K))
    log_p = prior.log_prob(STATES)
    torch.testing.assert_close(log_p, table(prior).log_prob(STATES))
    assert float(log_p.exp().sum()) == pytest.approx(1)
    entropy = -float((log_p.exp() * log_p).sum())
    assert prior.entropy(L) == pytest.approx(entropy)
    assert table(prior).entropy == pytest.approx(entropy)


def test_a_long_row_does_not_underflow() -> None:
    prior = chain(Uniform(K))
    x_t = prior.draw((1, 3000), Streams.count(0, 1))
    marginals, log_evidence = prior.posterior(
        prior.process.log_likelihood(x_t, prior.process.level(0.5))
    )
    assert bool(torch.isfinite(marginals).all())
    assert -6000 < float(log_evidence) < -1000


@pytest.mark.parametrize("kind", ["chain", "table"])
def test_impossible_evidence_is_refused_and_believed_place_by_place(kind: str) -> None:
    alternating = torch.tensor([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
    prior = MarkovChain(Absorbing(K), torch.full((K,), 1 / K), alternating)
    solver = prior if kind == "chain" else table(prior)
    sites = torch.zeros(2, L, K, dtype=torch.float64)
    sites[1, 0, 1:] = sites[1, 1, 1:] = -torch.inf  # two zeros in a row
    with pytest.raises(ImpossibleError, match="item 1"):
        solver.posterior_draw(sites, Streams.count(0, 2))
    marginals, log_evidence = solver.posterior(sites)
    assert torch.isfinite(log_evidence).tolist() == [True, False]
    assert marginals[1, 0].exp().tolist() == [1.0, 0.0, 0.0]


def test_draws_of_an_item_do_not_depend_on_its_neighbours() -> None:
    for prior in (chain(Absorbing(K)), table(chain(Absorbing(K)))):
        blank = torch.zeros(4, L, K).double()
        together = prior.posterior_draw(blank, Streams.count(0, 4))
        alone = prior.posterior_draw(blank[:1], Streams.count(0, 1, first=2))
        assert torch.equal(together[2:3], alone)


def test_tables_that_are_no_distributions_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="transition"):
        MarkovChain(Absorbing(K), distributions(K), torch.ones(K, K))
    with pytest.raises(InvalidOptionError, match="initial"):
        MarkovChain(Absorbing(K), distributions(K + 1), distributions(K, K))
    with pytest.raises(ShapeError, match="joint distribution"):
        JointTable(Absorbing(K), torch.zeros(K, K + 1))
