"""Categorical processes keep their laws: all of them, by enumeration and by counting draws."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy import stats
from torch import Tensor

from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.noise import Streams
from sfumato.processes import (
    Absorbing,
    Categorical,
    Confusion,
    CosineSurvival,
    Hybrid,
    LinearSurvival,
    Marginal,
    Mixing,
    NearestNeighbour,
    Rates,
    Steps,
    Survival,
    TableSurvival,
    Uniform,
)

K = 4
DRAWS = 20_000


def seeded(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def rates(states: int, *, absorbing: bool = False) -> Tensor:
    off = seeded(states, states).fill_diagonal_(0)
    if absorbing:
        off[-1] = 0
    return off - off.sum(dim=1).diag()


def channel(error: float = 0.2) -> Tensor:
    wrong = seeded(K, K).fill_diagonal_(0)
    return (1 - error) * torch.eye(K) + error * wrong / wrong.sum(dim=1, keepdim=True)


def distributions(*shape: int) -> Tensor:
    found = seeded(*shape)
    return found / found.sum(dim=-1, keepdim=True)


def steps(states: int) -> Tensor:
    return 0.8 * torch.eye(states) + 0.2 * distributions(8, states, states)


PROCESSES: dict[str, Categorical] = {
    "absorbing": Absorbing(K),
    "absorbing, cosine": Absorbing(K, CosineSurvival()),
    "uniform": Uniform(K),
    "uniform, own schedule": Uniform(K, TableSurvival((1.0, 0.9, 0.3, 0.0))),
    "uniform, dead before the end": Uniform(K, TableSurvival((1.0, 0.5, 0.0, 0.0))),
    "hybrid": Hybrid(K, 0.3),
    "marginal": Marginal((0.1, 0.2, 0.3, 0.4), CosineSurvival()),
    "mixing with a zero": Mixing(K, (0.5, 0.0, 0.2, 0.2, 0.1)),
    "rates": Rates(K, rates(K)),
    "rates, dead before the end": Rates(K, rates(K), TableSurvival((1.0, 0.5, 0.0, 0.0))),
    "rates with mask": Rates(K, rates(K + 1, absorbing=True), CosineSurvival()),
    "steps": Steps(K, steps(K)),
    "steps with mask": Steps(K, steps(K + 1)),
    "neighbours": NearestNeighbour(torch.arange(K).reshape(-1, 1), 2),
    "channel": Confusion(channel())[0],
}
EVERY = pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)


def require_law(x: Tensor, law: Tensor) -> None:
    """χ² of the counts of ``x``; a right law fails once in a million."""
    counts = torch.bincount(x.flatten(), minlength=len(law)).double()
    assert counts[law <= 1e-12].sum() == 0
    possible = law > 1e-12
    expected = law[possible] * x.numel()
    statistic = float(((counts[possible] - expected) ** 2 / expected).sum())
    assert stats.chi2.sf(statistic, max(1, int(possible.sum()) - 1)) > 1e-6


def belief() -> Tensor:
    return distributions(K).log()


def bayes(process: Categorical, x_t: int, s: float, t: float, p: Tensor) -> Tensor:
    """p(x_s | x_t) from the joint distribution of x₀, x_s and x_t."""
    clean, s_level, t_level = process.level(0.0), process.level(s), process.level(t)
    joint = process.matrix(clean, s_level)[:K] * process.matrix(s_level, t_level)[:, x_t]
    marginal = joint.sum(dim=1)
    possible = marginal > 0
    given = joint[possible] / marginal[possible].unsqueeze(1)
    return (p[possible].unsqueeze(1) * given).sum(dim=0)


def possible_belief(process: Categorical, x_t: int, t: float) -> Tensor:
    """A belief that the state allows."""
    seen = torch.isfinite(process.log_likelihood(torch.tensor([x_t]), process.level(t))[0])
    return torch.where(seen, belief(), -torch.inf).log_softmax(dim=-1)


def reachable(process: Categorical, t: float) -> list[int]:
    Q = process.matrix(process.level(0.0), process.level(t))[:K]
    return [x for x in range(process.states) if Q[:, x].max() > 0]


@EVERY
def test_rows_of_transition_matrices_are_distributions(process: Categorical) -> None:
    for s, t in itertools.pairwise([0.0, 0.125, 0.5, 0.875, 1.0]):
        Q = process.matrix(process.level(s), process.level(t))
        assert Q.shape == (process.states, process.states)
        assert Q.min() >= 0
        torch.testing.assert_close(Q.sum(dim=1), torch.ones(process.states).double())


@EVERY
def test_two_transitions_are_one(process: Categorical) -> None:
    r, s, t = (process.level(time) for time in (0.125, 0.5, 0.875))
    both = process.matrix(r, s) @ process.matrix(s, t)
    torch.testing.assert_close(both, process.matrix(r, t), rtol=0, atol=1e-12)


@EVERY
def test_time_0_is_data_and_time_1_is_the_prior_where_noise_forgets(process: Categorical) -> None:
    clean = process.level(0.0)
    assert clean.clean
    torch.testing.assert_close(
        process.matrix(clean, clean), torch.eye(process.states, dtype=torch.float64)
    )
    assert process.level(1.0).pure
    if not isinstance(process, Steps):
        Q = process.matrix(clean, process.level(1.0))[:K]
        torch.testing.assert_close(Q, process.prior().expand_as(Q), rtol=0, atol=1e-12)


@EVERY
def test_corruption_draws_from_its_law(process: Categorical) -> None:
    t = process.level(0.375)
    for v in range(K):
        x_t = process.corrupt(torch.full((1, DRAWS), v), t, Streams.count(v, 1))
        require_law(x_t, process.matrix(process.level(0.0), t)[v])


@EVERY
def test_renoising_draws_from_its_law(process: Categorical) -> None:
    s, t = process.level(0.25), process.level(0.75)
    for x in range(process.states):
        x_t = process.renoise(torch.full((1, DRAWS), x), s, t, Streams.count(x, 1))
        require_law(x_t, process.matrix(s, t)[x])


@EVERY
def test_the_start_draws_from_the_prior(process: Categorical) -> None:
    require_law(process.start((1, DRAWS), Streams.count(0, 1)), process.prior())


@EVERY
def test_the_likelihood_is_a_column_of_the_matrix(process: Categorical) -> None:
    t = process.level(0.625)
    x_t = torch.arange(process.states).reshape(1, -1)
    Q = process.matrix(process.level(0.0), t)[:K]
    torch.testing.assert_close(process.log_likelihood(x_t, t)[0].exp(), Q.T)


@EVERY
@pytest.mark.parametrize("s", [0.0, 0.375])
def test_the_reverse_step_is_bayes_rule(process: Categorical, s: float) -> None:
    t = 0.75
    for x in reachable(process, t):
        log_probs = possible_belief(process, x, t)
        found = process.reverse(
            log_probs.reshape(1, 1, K), torch.tensor([[x]]), process.level(t), process.level(s)
        )
        torch.testing.assert_close(found[0, 0], bayes(process, x, s, t, log_probs.exp()))


@EVERY
def test_a_step_draws_from_the_reverse(process: Categorical) -> None:
    s, t = process.level(0.375), process.level(0.75)
    for x in reachable(process, 0.75):
        log_probs = possible_belief(process, x, 0.75).expand(1, DRAWS, K)
        x_t = torch.full((1, DRAWS), x)
        x_s = process.step(log_probs, x_t, t, s, Streams.count(x, 1))
        require_law(x_s, process.reverse(log_probs[:, :1], x_t[:, :1], t, s)[0, 0])


@EVERY
def test_leaving_a_place_out_is_enumeration_without_its_own_evidence(process: Categorical) -> None:
    # two places, any joint distribution; the belief about the first given both or the second alone
    joint, t = distributions(K * K).reshape(K, K), process.level(0.5)
    for x, y in itertools.product(reachable(process, 0.5), repeat=2):
        own, other = process.log_likelihood(torch.tensor([[x, y]]), t)[0].exp()
        rest = joint @ other
        rest, full = rest / rest.sum(), rest * own
        if full.sum() == 0:
            continue
        log_probs = (full / full.sum()).log()
        found = process.leave_one_out(log_probs.reshape(1, 1, K), torch.tensor([[x]]), t).exp()
        kept = torch.where(own > 0, rest, 0.0)
        torch.testing.assert_close(found[0, 0], kept / kept.sum())


@EVERY
def test_ratios_are_those_of_the_noisy_marginal(process: Categorical) -> None:
    joint, t = distributions(K * K).reshape(K, K), process.level(0.5)
    Q = process.matrix(process.level(0.0), t)[:K]
    marginal = Q.T @ joint @ Q
    for x, y in itertools.product(reachable(process, 0.5), repeat=2):
        if marginal[x, y] == 0:
            continue
        belief = Q[:, x] * (joint @ Q[:, y])
        log_probs = (belief / belief.sum()).log().reshape(1, 1, K)
        found = process.ratios(log_probs, torch.tensor([[x]]), t)[0, 0]
        possible = Q[:, x] > 0  # a state that rules tokens out says nothing about their ratios
        if bool(possible.all()):
            torch.testing.assert_close(found, marginal[:, y] / marginal[x, y])


@EVERY
def test_rates_are_the_slope_of_the_matrix(process: Categorical) -> None:
    if isinstance(process, Steps):
        with pytest.raises(UnsupportedError, match="rates of jumps"):
            process.inflow(torch.tensor([[0]]))
        return
    s = process.level(0.25)
    t = process.level(process.survival.time_of(s.alpha * (1 - 1e-6)))
    clock = (s.alpha / t.alpha).log()
    slope = (process.matrix(s, t) - torch.eye(process.states)) / clock
    inflow = process.inflow(torch.arange(process.states).reshape(1, -1))[0]
    torch.testing.assert_close(inflow, slope.T.fill_diagonal_(0), rtol=1e-4, atol=1e-5)


@EVERY
def test_each_item_may_have_its_own_level(process: Categorical) -> None:
    times = torch.tensor([0.25, 0.5, 1.0], dtype=torch.float64)
    x_t = process.start((3, 5), Streams.count(0, 3))
    log_probs = belief().expand(3, 5, K)
    together = process.reverse(log_probs, x_t, process.level(times), process.level(times / 2))
    likelihood = process.log_likelihood(x_t, process.level(times))
    ratios = process.ratios(log_probs, x_t, process.level(times))
    for i, time in enumerate(times):
        one, t, s = x_t[i : i + 1], process.level(time), process.level(time / 2)
        alone = process.reverse(log_probs[:1], one, t, s)
        torch.testing.assert_close(together[i : i + 1], alone)
        torch.testing.assert_close(likelihood[i : i + 1], process.log_likelihood(one, t))
        torch.testing.assert_close(ratios[i : i + 1], process.ratios(log_probs[:1], one, t))


@EVERY
def test_an_item_alone_is_the_item_in_its_batch(process: Categorical) -> None:
    # a state with two axes: nothing knows which places are neighbours
    x_0 = (seeded(5, 3, 2) * K).long()
    log_probs = distributions(5, 3, 2, K).log()
    s, t = process.level(0.375), process.level(0.75)

    def everything(keep: slice) -> list[Tensor]:
        streams = Streams(0, range(5)[keep])
        x_s = process.corrupt(x_0[keep], s, streams)
        x_t = process.renoise(x_s, s, t, streams)
        back = process.step(log_probs[keep], x_t, t, s, streams)
        start = process.start((len(streams), 3, 2), streams)
        return [x_s, x_t, back, start]

    batch = everything(slice(0, 5))
    for i in range(5):
        for found, alone in zip(batch, everything(slice(i, i + 1)), strict=True):
            assert torch.equal(found[i : i + 1], alone)


def test_nothing_to_forget_is_forgotten_exactly() -> None:
    # 1e-15 instead of 0 would call impossible tokens possible
    process = Rates(K, rates(K + 1, absorbing=True))
    Q = process.matrix(process.level(0.25), process.level(0.5))
    assert Q[-1].tolist() == [0.0] * K + [1.0]


def test_small_chances_keep_their_digits() -> None:
    # 0 → 1 → 2 → 3 takes three jumps: σ³/6 for unit rates
    R = torch.diag(torch.ones(3), 1) - torch.diag(torch.tensor([1.0, 1, 1, 0]))
    process = Rates(K, R)
    alpha = 1 - 1e-6
    t = process.level(process.survival.time_of(torch.tensor(alpha, dtype=torch.float64)))
    sigma = float(-t.alpha.log())
    chance = float(process.matrix(process.level(0.0), t)[0, 3])
    assert chance == pytest.approx(sigma**3 / 6, rel=2e-6)


def test_a_channel_is_a_level_of_its_process() -> None:
    true = Rates(K, rates(K))
    C = true.matrix(true.level(0.0), true.level(0.2))
    process, tau = Confusion(C)
    found = process.matrix(process.level(0.0), tau)
    torch.testing.assert_close(found, C, rtol=0, atol=1e-12)
    assert float(-process.rates.diagonal().mean()) == pytest.approx(1)  # a jump per unit of time


def test_a_channel_that_is_almost_a_level_is_met_within_the_tolerance() -> None:
    C = channel(0.2).double()
    process, tau = Confusion(C, tolerance=2e-3)
    gap = (process.matrix(process.level(0.0), tau) - C).abs().sum(dim=1) / 2
    assert 1e-9 < float(gap.max()) < 2e-3


def test_uniform_noise_as_a_channel_is_the_uniform_process() -> None:
    keep = 0.7
    C = keep * torch.eye(K) + (1 - keep) / K
    process, _ = Confusion(C)
    off = process.rates[~torch.eye(K, dtype=torch.bool)]
    torch.testing.assert_close(off, off.mean().expand_as(off))


@pytest.mark.parametrize(
    ("C", "reason"),
    [
        (torch.eye(3), "changes nothing"),
        (torch.tensor([[0.9, 0.2], [0.1, 0.9]]), "no distributions"),
        (torch.full((3, 3), 1 / 3), "real logarithm"),
        (torch.tensor([[0.1, 0.9], [0.9, 0.1]]), "real logarithm"),
        # from 0 to 2 through 1 in two steps, but never directly
        (torch.tensor([[0.6, 0.4, 0.0], [0.0, 0.6, 0.4], [0.4, 0.0, 0.6]]), "comes nearer"),
    ],
)
def test_a_channel_that_no_process_passes_through_is_refused(C: Tensor, reason: str) -> None:
    with pytest.raises(InvalidOptionError, match=reason):
        Confusion(C)


def test_neighbours_are_visited_first_and_all_are_alike_in_the_end() -> None:
    process = NearestNeighbour(torch.arange(10).reshape(-1, 1), 2)
    early = process.matrix(process.level(0.0), process.level(0.01))[4]
    assert early[[3, 5]].min() > 10 * early[[2, 6]].max()
    torch.testing.assert_close(process.prior(), torch.full((10,), 0.1, dtype=torch.float64))


def test_a_discrete_process_rests_between_its_steps() -> None:
    process = Steps(K, steps(K))
    early, late = process.level(0.251), process.level(0.375)
    assert torch.equal(process.matrix(early, late), torch.eye(K, dtype=torch.float64))
    torch.testing.assert_close(
        process.matrix(process.level(0.25), late), process.matrices[2], rtol=0, atol=1e-15
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: Rates(3, torch.eye(3)),
        lambda: Rates(3, torch.zeros(5, 5)),
        lambda: Rates(2, torch.tensor([[1.0, -1.0], [-1.0, 1.0]])),
        lambda: Steps(2, torch.ones(4, 2, 2)),
        lambda: Mixing(3, (0.5, 0.5)),
        lambda: Mixing(2, (1.5, -0.5)),
        lambda: NearestNeighbour(torch.zeros(3, 1), 3),
        lambda: TableSurvival((1.0, 0.2, 0.5)),
    ],
)
def test_processes_that_make_no_sense_are_refused(make: object) -> None:
    with pytest.raises(InvalidOptionError):
        make()  # type: ignore[operator]


SURVIVALS = [LinearSurvival(), CosineSurvival(), TableSurvival((1.0, 0.9, 0.4, 0.1, 0.0))]


@pytest.mark.parametrize("survival", SURVIVALS, ids=lambda s: type(s).__name__)
def test_survival_falls_from_1_to_0_with_its_slope_and_inverse(survival: Survival) -> None:
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)
    alpha = survival.alpha(t)
    assert alpha[0] == 1
    assert alpha[-1] == 0
    assert bool((alpha.diff() < 0).all())
    torch.testing.assert_close(survival.time_of(alpha), t, rtol=0, atol=1e-9)
    inside, h = t[1:-1] + 3e-4, 1e-6
    numeric = (survival.alpha(inside + h) - survival.alpha(inside - h)) / (2 * h)
    torch.testing.assert_close(survival.slope(inside), numeric, rtol=0, atol=1e-8)
