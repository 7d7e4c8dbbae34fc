"""Laws of lattices: what forward-backward and enumeration say, they say; with a beam, nearly."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from numpy import ndarray
from torch import Tensor

from sfumato.denoisers.markov import MarkovChain
from sfumato.denoisers.sequential import Coarse, MarkovSequence, Sequential, draw, walk
from sfumato.denoisers.tables import JointTable
from sfumato.errors import ImpossibleError, UnsupportedError
from sfumato.factors import Machine, pattern, weigh
from sfumato.inverse.tokens import registry
from sfumato.inverse.tokens.histories import Chained, grouped
from sfumato.inverse.tokens.lattice import Lattice
from sfumato.inverse.tokens.problems import TokenProblem
from sfumato.inverse.tokens.promises import filtered, last_token, reached
from sfumato.inverse.tokens.thinning import resampled, sampled, survivors
from sfumato.noise import Streams
from sfumato.processes import TokenLevel
from sfumato.processes.mixing import Absorbing, Mixing, Uniform

K, LENGTH = 4, 12
RNG = np.random.default_rng(0)
START = torch.from_numpy(RNG.dirichlet(np.ones(K)))
TABLE = torch.from_numpy(RNG.dirichlet(np.full(K, 0.5), K))
CHAIN = MarkovChain(Absorbing(K), START, TABLE)
EXACT = Lattice(floor=0)


@dataclass(frozen=True, eq=False)
class Trigram(Sequential):
    """A chain of order two that looks ahead with one letter of memory; states u·K + v."""

    tokens: int = K
    rows: ndarray = field(default_factory=lambda: RNG.dirichlet(np.full(K, 0.3), K * K))

    @property
    def coarse(self) -> Coarse:  # type: ignore[override]
        probs = self.rows.reshape(K, K, K).mean(axis=0)
        return Coarse(probs, np.tile(np.arange(K), (K, 1)))

    def initial(self) -> tuple[ndarray, ndarray]:
        return np.array([0, K + 1]), np.array([0.25, 0.75])

    def follow(self, states: ndarray) -> tuple[ndarray, ndarray]:
        return self.rows[states], (states % K)[:, None] * K + np.arange(K)

    def coarsen(self, states: ndarray) -> ndarray:
        return states % K


TRIGRAM = Trigram()


def evidence(items: int = 1, seed: int = 1) -> Tensor:
    """Likelihoods with free and known places and one token excluded."""
    sites = torch.from_numpy(np.random.default_rng(seed).normal(size=(items, LENGTH, K)))
    sites[:, 3:6] = 0
    sites[:, 8] = -torch.inf
    sites[:, 8, 2] = 0
    sites[:, 10, 1] = -torch.inf
    return sites


def problem(sites: Tensor, chain: object = None, **options: object) -> TokenProblem:
    denoiser = CHAIN if chain is None else Chained(Absorbing(K), chain)  # type: ignore[arg-type]
    return TokenProblem(denoiser, sites, **options)  # type: ignore[arg-type]


def enumerated(chain: Sequential, sites: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """All rows, and ln p(x) p(y | x) of each."""
    length = sites.shape[0]
    rows = np.array(list(itertools.product(range(K), repeat=length)))
    own = sites.numpy()[np.arange(length), rows].sum(axis=1)
    return rows, np.array([each.sum() for each in walk(chain, list(rows))]) + own


def marginals_of(rows: np.ndarray, logs: np.ndarray) -> np.ndarray:
    weight = np.exp(logs - np.logaddexp.reduce(logs))
    return np.stack([((rows == v) * weight[:, None]).sum(axis=0) for v in range(K)], axis=1)


def test_marginals_and_evidence_of_a_markov_chain_are_those_of_forward_backward() -> None:
    sites = evidence(3)
    found = EXACT(problem(sites), Streams.count(0, 3))
    marginals, log_evidence = CHAIN.posterior(sites)
    assert found.marginals is not None
    torch.testing.assert_close(found.marginals, marginals.exp(), atol=1e-12, rtol=0)
    torch.testing.assert_close(found.log_evidence, log_evidence, atol=1e-10, rtol=0)


def test_a_chain_of_order_two_is_summed_as_enumeration_sums_it() -> None:
    sites = evidence()[:, 2:9]
    found = EXACT(problem(sites, TRIGRAM), Streams.count(0, 1))
    rows, logs = enumerated(TRIGRAM, sites[0])
    assert found.marginals is not None
    np.testing.assert_allclose(found.marginals[0].numpy(), marginals_of(rows, logs), atol=1e-12)
    assert float(found.log_evidence[0]) == pytest.approx(np.logaddexp.reduce(logs), abs=1e-10)


def test_the_likeliest_row_is_the_likeliest_of_all() -> None:
    sites = evidence()[:, 2:9]
    groups = grouped(sites, torch.ones(sites.shape[:2], dtype=torch.bool))
    best = EXACT.solve(problem(sites, TRIGRAM), groups)[0].best[0]
    rows, logs = enumerated(TRIGRAM, sites[0])
    assert best.tolist() == rows[logs.argmax()].tolist()


def test_samples_follow_the_posterior() -> None:
    sites, n = evidence()[:, 2:6], 20_000
    found = Lattice(floor=0)(problem(sites.expand(n, -1, -1), TRIGRAM), Streams.count(0, n))
    rows, logs = enumerated(TRIGRAM, sites[0])
    expected = np.exp(logs - np.logaddexp.reduce(logs)) * n
    index = (found.x.numpy() * K ** np.arange(rows.shape[1])[::-1]).sum(axis=1)
    seen = np.bincount(index, minlength=len(rows))
    often = expected > 5
    chi2 = ((seen - expected)[often] ** 2 / expected[often]).sum()
    freedom = often.sum() - 1
    assert seen[expected == 0].sum() == 0
    assert chi2 < freedom + 5 * math.sqrt(2 * freedom)


def test_windows_change_nothing() -> None:
    sites = evidence(2)
    whole = EXACT(problem(sites, TRIGRAM), Streams.count(0, 2))
    parts = replace(EXACT, window=5)(problem(sites, TRIGRAM), Streams.count(0, 2))
    assert torch.equal(whole.x, parts.x)
    torch.testing.assert_close(whole.marginals, parts.marginals, atol=1e-12, rtol=0)
    torch.testing.assert_close(whole.log_evidence, parts.log_evidence, atol=1e-10, rtol=0)


def test_a_machine_joins_the_histories() -> None:
    machine = pattern("a(b|c)*d.*", "abcd")
    sites = evidence()[:, 2:7].clamp(min=-20)
    found = EXACT(problem(sites, TRIGRAM, machine=machine), Streams.count(0, 1))
    rows, logs = enumerated(TRIGRAM, sites[0])
    logs = logs + weigh(machine, torch.from_numpy(rows)).numpy()
    assert found.marginals is not None
    np.testing.assert_allclose(found.marginals[0].numpy(), marginals_of(rows, logs), atol=1e-12)
    assert float(found.log_evidence[0]) == pytest.approx(np.logaddexp.reduce(logs), abs=1e-10)


RULE = pattern("(a|b|c)*d.*", "abcd")


@pytest.mark.parametrize(
    ("machine", "work"), [(None, 0), (RULE, 1e9), (RULE, 400), (RULE, 0)],
    ids=["free", "rule", "rule by last token", "rule by itself"],
)  # fmt: skip
def test_a_narrow_beam_keeps_evidence_and_marginals_in_the_mean(
    machine: Machine | None, work: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfumato.inverse.tokens.promises.WORK", work)
    sites, runs = evidence()[:, 2:7].clamp(min=-20) / 2, 150
    groups = grouped(sites, torch.ones(sites.shape[:2], dtype=torch.bool))
    posed = problem(sites, TRIGRAM, machine=machine)
    whole = EXACT.solve(posed, groups)[0]
    found = [Lattice(beam=5, floor=0).solve(posed, groups, seed=seed)[0] for seed in range(runs)]
    ratio = np.exp(np.array([each.log_evidence[0] for each in found]) - whole.log_evidence[0])
    tables = np.stack([r * each.marginals[0] for r, each in zip(ratio, found, strict=True)])
    error = np.maximum(tables.std(axis=0) / math.sqrt(runs), 1e-9)
    assert whole.lost[0] == pytest.approx(0, abs=1e-12)
    assert found[0].lost[0] > 0.01
    assert ratio.std() > 0.01  # the beam is narrow enough for chance to matter
    assert ratio.mean() == pytest.approx(1, abs=5 * ratio.std() / math.sqrt(runs))
    assert np.abs((tables.mean(axis=0) - whole.marginals[0]) / error).max() < 5


@pytest.mark.parametrize("machine", [None, RULE], ids=["free", "rule"])
def test_where_all_that_follows_is_foreseen_the_narrowest_beam_knows_the_evidence(
    machine: Machine | None,
) -> None:
    sites = evidence()[:, :8].clamp(min=-10)
    posed = problem(sites, MarkovSequence(START, TABLE), machine=machine)
    groups = grouped(sites, torch.ones(sites.shape[:2], dtype=torch.bool))
    whole, narrow = (Lattice(beam=beam, floor=0).solve(posed, groups)[0] for beam in (64, 2))
    assert whole.lost[0] == pytest.approx(0, abs=1e-12)
    assert narrow.lost[0] > 0.01
    assert narrow.log_evidence[0] == pytest.approx(whole.log_evidence[0], abs=1e-9)


@pytest.mark.parametrize("by", ["coarse", "token"])
def test_what_a_machine_promises_is_what_the_chain_will_write(by: str) -> None:
    chain = MarkovSequence(START, TABLE)
    like = np.exp(evidence()[0, :5].numpy())
    coarse = chain.coarse if by == "coarse" else last_token(chain.coarse)
    table = filtered(RULE, coarse, like, reached(RULE, len(like)))
    rest = np.array(list(itertools.product(range(K), repeat=3)))
    for context in range(K):
        before = np.concatenate([np.full(len(rest), context)[:, None], rest], axis=1)
        weight = TABLE.numpy()[before[:, :-1], before[:, 1:]].prod(axis=1)
        weight = weight * like[np.arange(2, 5), rest].prod(axis=1)
        accepts = np.array([3 in row for row in rest])
        share = table[1, :, context] / table[1].max()
        # of the two states that are left, one has seen its letter
        expected = (weight * accepts).sum() / weight.sum()
        low, high = np.sort(share[share > 0])
        assert low / high == pytest.approx(expected, rel=1e-4)


def test_of_many_entries_as_many_survive_as_there_is_room_and_no_sum_changes_in_the_mean() -> None:
    worth = np.random.default_rng(2).gamma(0.3, size=40)
    factors = np.stack([resampled(worth, 12, u) for u in (np.arange(4000) + 0.5) / 4000])
    assert ((factors > 0).sum(axis=1) == 12).all()
    heavy = (factors == 1).all(axis=0)
    c = (factors * worth)[:, ~heavy].max()
    assert heavy.any()
    assert worth[heavy].min() >= c >= worth[~heavy].max()
    # u takes 4,000 values, so that a mean is off by one of them at most
    np.testing.assert_allclose((factors * worth).mean(axis=0), worth, atol=c / 4000 + 1e-12)


def test_without_sorting_as_many_survive_at_most_in_the_mean_and_no_sum_changes() -> None:
    worth = np.random.default_rng(3).gamma(0.3, size=40)
    factors = np.stack([sampled(worth, 12, u) for u in (np.arange(4000) + 0.5) / 4000])
    number = (factors > 0).sum(axis=1)
    assert number.max() - number.min() <= 1
    assert number.mean() <= 12
    c = worth.sum() / 12
    assert (factors[:, worth >= c] == 1).all()
    np.testing.assert_allclose((factors * worth).mean(axis=0), worth, atol=c / 4000 + 1e-12)


def test_crowded_items_are_thinned_each_by_itself() -> None:
    worth, item = np.random.default_rng(4).gamma(0.5, size=30), np.repeat([0, 1, 2], [5, 15, 10])
    for rule in (resampled, sampled):
        factors = survivors(worth, item, 6, 0.3, rule=rule)
        assert (factors[:5] == 1).all()
        for own in (slice(5, 20), slice(20, 30)):
            np.testing.assert_array_equal(factors[own], rule(worth[own], 6, 0.3))


def test_an_item_is_the_same_alone_as_in_a_batch() -> None:
    sites, streams = evidence(3), Streams.count(5, 3)
    solver = Lattice(beam=4)
    found = solver(problem(sites, TRIGRAM), streams)
    alone = solver(problem(sites[1:2], TRIGRAM), Streams.count(5, 1, first=1))
    assert found.marginals is not None
    assert alone.marginals is not None
    assert torch.equal(found.x[1:2], alone.x)
    torch.testing.assert_close(found.marginals[1:2], alone.marginals, atol=1e-12, rtol=0)


def test_known_tokens_come_back() -> None:
    sites = evidence(2)
    found = Lattice(beam=3)(problem(sites, TRIGRAM), Streams.count(0, 2))
    assert (found.x[:, 8] == 2).all()
    assert found.marginals is not None
    assert (found.marginals[:, 8, 2] == 1).all()


@pytest.mark.parametrize("process", [Absorbing(K), Uniform(K)], ids=["absorbing", "uniform"])
def test_the_denoiser_of_a_chain_is_that_of_forward_backward(process: object) -> None:
    exact = MarkovChain(process, START, TABLE)  # type: ignore[arg-type]
    ours = Chained(process, MarkovSequence(START, TABLE))  # type: ignore[arg-type]
    x_0 = exact.draw((5, LENGTH), Streams.count(0, 5))
    t = exact.process.level(0.6)
    x_t = exact.process.corrupt(x_0, t, Streams.count(1, 5))
    valid = torch.ones_like(x_t, dtype=torch.bool)
    valid[1, 9:] = False
    valid[2, :4] = False
    told = {"valid": valid}
    found, expected = ours(x_t, t, told).log_probs, exact(x_t, t, told).log_probs
    torch.testing.assert_close(found[valid].exp(), expected[valid].exp(), atol=1e-9, rtol=0)


def test_padding_does_not_change_what_is_believed() -> None:
    ours = Chained(Absorbing(K), TRIGRAM)
    t = ours.process.level(0.5)
    x = torch.tensor([[0, K, 1, K, K, 2]])
    wide = torch.cat([x, torch.full((1, 3), K)], dim=1)
    valid = torch.arange(9)[None] < 6
    alone, padded = ours(x, t), ours(wide, t, {"valid": valid})
    torch.testing.assert_close(alone.log_probs, padded.log_probs[:, :6])
    assert torch.isfinite(padded.log_probs[:, 6:]).all()


def test_what_no_row_agrees_with_is_refused_with_item_and_place() -> None:
    never = MarkovSequence(torch.tensor([1.0, 0, 0, 0]), torch.eye(K))
    sites = torch.zeros(2, 5, K)
    sites[1, 2, 0] = -torch.inf
    with pytest.raises(ImpossibleError, match="place 2 of item 1"):
        Lattice()(problem(sites, never), Streams.count(0, 2))


def test_a_prior_that_is_no_chain_is_refused_before_any_compute() -> None:
    table = JointTable(Absorbing(2), torch.full((2, 2), 0.25).double())
    with pytest.raises(UnsupportedError, match="n-grams"):
        Lattice()(TokenProblem(table, torch.zeros(1, 2, 2)), Streams.count(0, 1))


def test_the_lattice_is_the_default_for_chains() -> None:
    assert registry.choose(problem(evidence()))[0] == "lattice"


class Unasked(Mixing):
    """A process whose noise takes too long to look at."""

    def log_likelihood(self, x_t: Tensor, t: TokenLevel) -> Tensor:
        raise AssertionError("asked whether the channel is the process's own noise")


def test_what_the_default_does_not_need_is_not_found_out() -> None:
    chain = Chained(Unasked(K, (0.0,) * K + (1.0,)), MarkovSequence(START, TABLE))
    assert registry.choose(TokenProblem(chain, evidence()))[0] == "lattice"


def test_rows_are_scored_by_the_chain_rule() -> None:
    rows = [np.array([0, 1, 2]), np.array([3]), np.array([2, 2])]
    exact = [CHAIN.log_prob(torch.from_numpy(row)[None]).item() for row in rows]
    found = [each.sum() for each in walk(MarkovSequence(START, TABLE), rows)]
    np.testing.assert_allclose(found, exact)


def test_rows_written_from_left_to_right_follow_the_chain() -> None:
    n, length = 40_000, 3
    rows = np.array(list(itertools.product(range(K), repeat=length)))
    expected = n * np.exp([each.sum() for each in walk(TRIGRAM, list(rows))])
    x = draw(TRIGRAM, np.random.default_rng(3).random((n, length + 1)))
    seen = np.bincount(x @ K ** np.arange(length)[::-1], minlength=len(rows))
    often = expected > 5
    chi2 = ((seen - expected)[often] ** 2 / expected[often]).sum()
    freedom = often.sum() - 1
    assert chi2 < freedom + 5 * math.sqrt(2 * freedom)
