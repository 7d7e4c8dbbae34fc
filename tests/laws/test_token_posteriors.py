"""Posterior solvers over tokens against enumerated posteriors."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch import Tensor

from sfumato.denoisers import JointTable, MarkovChain
from sfumato.denoisers.base import Condition
from sfumato.denoisers.categorical import Beliefs, TokenDenoiser
from sfumato.errors import (
    ImpossibleError,
    InvalidOptionError,
    NotFiniteError,
    ShapeError,
    UnknownNameError,
    UnsupportedError,
)
from sfumato.evaluation.token_truth import KnownTokens, Patch, Row
from sfumato.factors import weigh
from sfumato.inverse.tokens.beam import Beam
from sfumato.inverse.tokens.channel_start import ChannelStart
from sfumato.inverse.tokens.clamp import Clamp
from sfumato.inverse.tokens.gibbs import Gibbs
from sfumato.inverse.tokens.importance import Importance
from sfumato.inverse.tokens.levels import as_state
from sfumato.inverse.tokens.problems import TokenProblem, TokenSolver
from sfumato.inverse.tokens.registry import TABLE, applicable, auto, choose, explain, make, require
from sfumato.inverse.tokens.split_gibbs import SplitGibbs
from sfumato.inverse.tokens.tilted import Tilted
from sfumato.inverse.tokens.twisted import TwistedSMC
from sfumato.noise import Streams
from sfumato.processes import Absorbing, Categorical, Confusion, Hybrid, Uniform
from sfumato.samplers.tokens import FirstHitting

PROBLEMS: dict[str, KnownTokens] = {
    "gaps": Row("gaps"),
    "letters replaced": Row("replaced"),
    "channel with zeros": Row("confused"),
    "insertions and deletions": Row("edited", length=6),
    "pattern": Row("pattern", tokens=3),
    "grid": Patch(),
}
EVERY = pytest.mark.parametrize("known", PROBLEMS.values(), ids=PROBLEMS)
SMALL: dict[str, TokenSolver] = {
    "twisted": TwistedSMC(particles=8),
    "sure": TwistedSMC(particles=8, steps=3, order="sure"),
    "tilted": Tilted(),
    "gibbs": Gibbs(sweeps=3),
    "split-gibbs": SplitGibbs(rounds=4),
    "importance": Importance(particles=64),
    "beam": Beam(width=4),
}


class Counted(TokenDenoiser):
    """A denoiser that counts what it was asked about, and shows nothing but its answers."""

    def __init__(self, prior: TokenDenoiser) -> None:
        self.prior, self.process, self.asked = prior, prior.process, 0
        self.takes_time = prior.takes_time

    def __call__(self, x_t: Tensor, t: object, condition: Condition = None) -> Beliefs:
        self.asked += len(x_t)
        return self.prior(x_t, t, condition)  # type: ignore[arg-type]


def absorbing(known: KnownTokens, n: int) -> TokenProblem:
    return known.problem(Absorbing(known.tokens), n)


def chance(known: KnownTokens, n: int) -> float:
    """What n independent draws leave of the total variation: above its mean by half."""
    return 1.5 * 0.5 * math.sqrt((known.tokens - 1) / n)


def chi_square(known: KnownTokens, x: Tensor) -> float:
    """p-value of whole states; those expected less than five times count as one."""
    number = {tuple(state): i for i, state in enumerate(known.states.flatten(1).tolist())}
    found = Counter(number[tuple(row)] for row in x.flatten(1).tolist())
    expected = known.log_joint.softmax(dim=0) * len(x)
    seen = torch.tensor([found[i] for i in range(len(expected))], dtype=torch.float64)
    often = expected >= 5
    counts = [*seen[often].tolist(), float(seen[~often].sum())]
    wanted = [*expected[often].tolist(), float(expected[~often].sum())]
    if wanted[-1] < 1e-9:
        assert counts[-1] == 0  # impossible states
        counts, wanted = counts[:-1], wanted[:-1]
    return float(stats.chisquare(counts, wanted).pvalue)


@EVERY
def test_twisted_particles_find_marginals_and_evidence(known: KnownTokens) -> None:
    found = TwistedSMC(particles=256)(absorbing(known, 12), Streams.count(0, 12))
    truth = known.score(found)
    assert truth.tv < 0.01
    assert truth.evidence < 0.02


@pytest.mark.parametrize("kind", ["replaced", "edited"])
def test_tilted_beliefs_are_biased_and_twisted_particles_are_not(kind: str) -> None:
    known = Row(kind, length=6)
    tilted = known.score(Tilted()(absorbing(known, 1000), Streams.count(0, 1000))).tv
    assert tilted - chance(known, 1000) > 0.06
    few = known.score(TwistedSMC(particles=16)(absorbing(known, 150), Streams.count(0, 150))).tv
    assert few < 0.015


def test_tilted_beliefs_are_exact_where_places_are_known_or_free() -> None:
    known = Row("gaps")
    found = Tilted()(absorbing(known, 2000), Streams.count(0, 2000))
    assert known.score(found).tv < chance(known, 2000)


@pytest.mark.parametrize("sampler", [None, FirstHitting()], ids=["default", "first-hitting"])
def test_clamped_gaps_have_the_posterior_law(sampler: FirstHitting | None) -> None:
    known = Row("gaps", length=5, tokens=3, seed=1)
    problem = absorbing(known, 1500)
    x = Clamp(sampler, steps=1)(problem, Streams.count(0, 1500)).x
    sure = problem.known[0]
    assert torch.equal(x[:, sure], known.truth[sure].expand(1500, -1))
    assert 1 < int((~sure).sum()) < 5
    assert chi_square(known, x) > 1e-3


def test_a_pattern_is_always_met_and_its_members_have_the_right_chances() -> None:
    known = Row("pattern", length=5, tokens=3)
    problem = absorbing(known, 500)
    x = TwistedSMC(particles=24)(problem, Streams.count(3, 500)).x
    assert problem.machine is not None
    assert bool((weigh(problem.machine, x) == 0).all())
    assert chi_square(known, x) > 1e-3


def test_several_places_at_a_time_are_the_law_of_the_parallel_sampler() -> None:
    """With all places shown at once, p(x | y) is that of independent marginals."""
    known = Row("replaced", length=3)
    found = TwistedSMC(particles=256, steps=1)(absorbing(known, 12), Streams.count(0, 12))
    process = Absorbing(known.tokens)
    blank = torch.full((1, 3), process.tokens)
    beliefs = known.prior(process)(blank, process.level(1.0)).log_probs[0] + known.sites
    assert found.marginals is not None
    marginals = found.marginals.mean(dim=0)
    assert torch.allclose(marginals, beliefs.softmax(dim=-1), atol=0.01)
    assert found.log_evidence == pytest.approx(float(beliefs.logsumexp(dim=-1).sum()))


def test_the_probability_of_known_tokens_is_scored_on_request() -> None:
    known = Row("gaps")
    found = TwistedSMC(particles=8, score_known=True)(absorbing(known, 3), Streams.count(0, 3))
    assert found.log_evidence == pytest.approx(known.log_evidence)
    found = TwistedSMC(particles=8)(absorbing(known, 3), Streams.count(0, 3))
    assert found.log_evidence == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("kind", ["replaced", pytest.param("edited", marks=pytest.mark.slow)])
def test_gibbs_sweeps_reach_the_posterior(kind: str) -> None:
    known = Row(kind, length=5)
    found = Gibbs(sweeps=30)(absorbing(known, 40), Streams.count(0, 40))
    # 40 chains of 24 sweeps; neighbouring sweeps are alike, so count every third
    assert known.score(found).tv < chance(known, 320)


@pytest.mark.parametrize(
    ("kind", "block"), [("replaced", 4), pytest.param("edited", 2, marks=pytest.mark.slow)]
)
def test_split_gibbs_is_exact_where_tokens_are_hidden(kind: str, block: int) -> None:
    known = Row(kind, length=5)
    solver = SplitGibbs(rounds=16, block=block, particles=3)
    found = solver(absorbing(known, 100), Streams.count(0, 100))
    # 100 chains of 8 rounds; neighbouring rounds are alike, so count every fourth
    assert known.score(found).tv < chance(known, 200)


def test_importance_weights_find_marginals_and_evidence() -> None:
    known = Row("replaced", length=4)
    found = Importance(particles=2000)(absorbing(known, 12), Streams.count(0, 12))
    truth = known.score(found)
    assert truth.tv < 0.01
    assert truth.evidence < 0.05


def test_the_best_of_many_samples_has_the_largest_weight() -> None:
    known = Row("replaced", length=4)
    problem = absorbing(known, 5)
    x = Importance(particles=2000, pick="best")(problem, Streams.count(0, 5)).x
    best = known.sites.amax(dim=-1).sum()
    assert problem.log_evidence_of(x) == pytest.approx(best.expand(5))


@pytest.mark.parametrize(
    ("solver", "bias"),
    [(Gibbs(sweeps=30), 0.01), (SplitGibbs(rounds=30, low=0.03), 0.015), (ChannelStart(), 0.0)],
    ids=["gibbs", "split-gibbs", "channel-start"],
)
def test_processes_that_replace_tokens_have_solvers_too(solver: TokenSolver, bias: float) -> None:
    known = Row("replaced", length=5)
    n = 1000 if isinstance(solver, ChannelStart) else 100
    found = solver(known.problem(Uniform(4), n), Streams.count(0, n))
    assert known.score(found).tv < chance(known, 800) + bias


def test_importance_takes_processes_that_replace_tokens() -> None:
    known = Row("replaced", length=3)
    found = Importance(particles=100, steps=32)(known.problem(Uniform(4), 12), Streams.count(0, 12))
    # 1,200 samples whose weights count as about a fifth of them
    assert known.score(found).tv < chance(known, 240)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gibbs", "split-gibbs", "importance"])
def test_grids_are_as_good_as_rows(name: str) -> None:
    known = Patch()
    options = {
        "importance": {"particles": 500}, "gibbs": {"sweeps": 20}, "split-gibbs": {"rounds": 30}
    }  # fmt: skip
    found = make(name, **options[name])(absorbing(known, 24), Streams.count(0, 24))
    # as good as every tenth of the states that were seen
    assert known.score(found).tv < chance(known, 200)


def ones(x: Tensor) -> Tensor:
    """An expert that likes letters 1, and wants at least one."""
    count = (x == 1).flatten(1).sum(dim=1)
    return torch.where(count > 0, 1.2 * count.double(), -torch.inf)


@pytest.mark.parametrize(
    ("solver", "runs", "limit"),
    [
        (TwistedSMC(particles=256), 120, 0.02),
        (TwistedSMC(particles=256, expert="twist"), 120, 0.02),
        pytest.param(
            SplitGibbs(rounds=40, particles=8), 60, 0.035, marks=pytest.mark.slow
        ),  # 20 rounds each, alike
        (Importance(particles=2000), 24, 0.02),
    ],
    ids=["weight", "twist", "split-gibbs", "importance"],
)
def test_an_expert_counts(solver: TokenSolver, runs: int, limit: float) -> None:
    known = Row("replaced", length=4)
    problem = replace(absorbing(known, runs), expert=ones)
    found = solver(problem, Streams.count(0, runs))
    p = (known.log_joint + ones(known.states)).softmax(dim=0)
    hot = torch.nn.functional.one_hot(known.states, 4).double()
    exact = torch.einsum("s,slk->lk", p, hot)
    assert found.marginals is not None
    assert (found.marginals.mean(dim=0) - exact).abs().sum(dim=-1).mean() / 2 < limit
    assert (known.marginals - exact).abs().sum(dim=-1).mean() / 2 > 3 * limit  # without expert
    assert bool(torch.isfinite(ones(found.x)).all())


def test_a_beam_ranks_states_by_their_exact_probability() -> None:
    known = Row("replaced")
    found = Beam(width=32).rank(absorbing(known, 1))
    best = known.log_joint.sort(descending=True)
    assert found.log_scores[0, :5] == pytest.approx(best.values[:5])
    assert torch.equal(found.x[0, :5], known.states[best.indices[:5]])
    assert float(found.shares.sum()) == pytest.approx(1.0)


def test_a_wide_beam_finds_all_there_is() -> None:
    known = Row("edited", length=3)
    found = Beam(width=100).rank(absorbing(known, 1))
    possible = int(torch.isfinite(known.log_joint).sum())
    assert int(torch.isfinite(found.log_scores).sum()) == possible
    assert float(found.log_scores.logsumexp(dim=1)) == pytest.approx(known.log_evidence)


def mixed() -> TokenProblem:
    """Three items with different evidence and different numbers of unknown places."""
    rows = [Row("gaps", seed=0), Row("replaced", seed=1), Row("confused", seed=2)]
    sites = torch.stack([row.sites for row in rows])
    return TokenProblem(rows[1].prior(Absorbing(4)), sites)


@pytest.mark.parametrize("solver", SMALL.values(), ids=SMALL)
def test_an_item_of_a_batch_is_the_item_alone(solver: TokenSolver) -> None:
    together = solver(mixed(), Streams.count(5, 3))
    for item in range(3):
        alone = solver(mixed().select([item]), Streams.count(5, 1, first=item))
        assert torch.equal(alone.x[0], together.x[item])
        if together.marginals is not None and alone.marginals is not None:
            assert torch.allclose(alone.marginals[0], together.marginals[item])


def test_places_that_do_not_exist_count_for_nothing() -> None:
    known = Row("replaced", length=5)
    sites = torch.cat([known.sites, torch.full((3, 4), -7.0).double()]).expand(12, -1, -1)
    valid = torch.arange(8).expand(12, -1) < 5
    problem = TokenProblem(known.prior(Absorbing(4)), sites, condition={"valid": valid})
    found = TwistedSMC(particles=256)(problem, Streams.count(0, 12))
    assert found.marginals is not None
    truth = known.score(replace(found, x=found.x[:, :5], marginals=found.marginals[:, :5]))
    assert truth.tv < 0.01
    assert truth.evidence < 0.02
    assert bool((found.x[:, 5:] == 0).all())


@pytest.mark.parametrize("solver", SMALL.values(), ids=SMALL)
def test_evidence_without_a_token_is_refused_before_compute(solver: TokenSolver) -> None:
    problem = mixed()
    problem.sites[1, 4] = -torch.inf
    counted = Counted(problem.denoiser)
    with pytest.raises(ImpossibleError, match="at place 4 of item 1"):
        solver(replace(problem, denoiser=counted), Streams.count(0, 3))
    assert counted.asked == 0


def test_a_pattern_that_the_known_tokens_contradict_is_refused_before_compute() -> None:
    known = Row("pattern", length=5, tokens=3)
    sites = known.sites.clone().expand(2, -1, -1).clone()
    sites[1, 2, 1:] = -torch.inf
    sites[1, 3, [0, 2]] = -torch.inf  # 0, then 1
    counted = Counted(known.prior(Absorbing(3)))
    problem = TokenProblem(counted, sites, known.machine)
    with pytest.raises(ImpossibleError, match="at place 3 of item 1"):
        TwistedSMC()(problem, Streams.count(0, 2))
    assert counted.asked == 0


@pytest.mark.parametrize("name", ["twisted", "tilted", "beam", "importance"])
def test_evidence_that_the_prior_excludes_is_refused_with_its_place(name: str) -> None:
    step = torch.eye(3, dtype=torch.float64).roll(1, 1)  # 0 1 2 0 1 2 …
    prior = MarkovChain(Absorbing(3), torch.full((3,), 1 / 3).double(), step)
    sites = torch.zeros(2, 6, 3, dtype=torch.float64)
    sites[:, 0, 1:] = -torch.inf
    sites[1, 4, 1] = -torch.inf
    match = "in item 1" if name == "importance" else "at place 4 of item 1"
    with pytest.raises(ImpossibleError, match=match):
        make(name)(TokenProblem(prior, sites), Streams.count(0, 2))


def test_places_of_grids_are_named_by_row_and_column() -> None:
    problem = absorbing(Patch(), 2)
    sites = problem.sites.clone()
    sites[1, 0, 2] = -torch.inf
    with pytest.raises(ImpossibleError, match=r"at place \(0, 2\) of item 1"):
        TwistedSMC()(replace(problem, sites=sites), Streams.count(0, 2))


def test_evidence_that_is_no_evidence_is_refused() -> None:
    problem = mixed()
    with pytest.raises(ShapeError, match="table of evidence"):
        TwistedSMC()(replace(problem, sites=problem.sites[..., :3]), Streams.count(0, 3))
    with pytest.raises(NotFiniteError, match="log-evidence"):
        TwistedSMC()(replace(problem, sites=problem.sites * torch.nan), Streams.count(0, 3))
    machine = Row("pattern", tokens=3).machine
    with pytest.raises(ShapeError, match="alphabet of the machine"):
        TwistedSMC()(replace(problem, machine=machine), Streams.count(0, 3))
    with pytest.raises(UnsupportedError, match="row of tokens"):
        TwistedSMC()(replace(absorbing(Patch(), 1), machine=machine), Streams.count(0, 1))


def test_equal_particles_are_asked_about_once() -> None:
    known = Row("replaced", length=6)
    counted = Counted(known.prior(Absorbing(4)))
    problem = replace(absorbing(known, 2), denoiser=counted)
    TwistedSMC(particles=64)(problem, Streams.count(0, 2))
    # all alike at first, at most four kinds after one place; and nobody asks when all is shown
    assert counted.asked <= 2 * (1 + 4 + 16 + 3 * 64)


def opaque(known: KnownTokens, process: Categorical | None = None) -> TokenProblem:
    """One item, with a prior of which nothing is known but what it answers."""
    problem = known.problem(process or Absorbing(known.tokens), 1)
    return replace(problem, denoiser=Counted(problem.denoiser))


def test_the_default_follows_from_process_and_evidence() -> None:
    assert choose(opaque(Row("gaps")))[0] == "clamp"
    assert choose(opaque(Row("edited")))[0] == "twisted"
    assert choose(opaque(Row("edited")), budget=10)[0] == "tilted"
    assert choose(opaque(Row("replaced"), Uniform(4)))[0] == "channel-start"
    assert choose(opaque(Row("confused"), Uniform(4)))[0] == "split-gibbs"
    assert choose(absorbing(Row("edited"), 1))[0] == "lattice"
    solver, reason = auto(opaque(Row("gaps")))
    assert isinstance(solver, Clamp)
    assert reason.startswith("clamp: ")


def test_a_method_that_does_not_apply_is_refused_with_those_that_do() -> None:
    problem = opaque(Row("replaced"), Uniform(4))
    with pytest.raises(UnsupportedError, match=r"hides tokens.*channel-start, split-gibbs"):
        require("twisted", problem)
    with pytest.raises(UnsupportedError, match="known with certainty or not measured"):
        Clamp()(absorbing(Row("replaced"), 1), Streams.count(0, 1))
    with pytest.raises(UnknownNameError, match="twisted"):
        make("twistd")
    with pytest.raises(UnknownNameError, match="particles"):
        make("twisted", particle=3)
    said = str(explain(problem))
    assert "twisted" in said
    assert "no: needs a process that hides tokens" in said
    assert set(applicable(problem)) == {
        "channel-start", "split-gibbs", "gibbs", "importance", "tilted"
    }  # fmt: skip


def test_the_table_is_read_without_torch() -> None:
    code = "import sys, sfumato.inverse.tokens.registry; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", TABLE)
def test_the_table_names_the_needs_of_its_classes(name: str) -> None:
    assert set(TABLE[name].needs) == make(name).needs


@pytest.mark.parametrize(
    "options",
    [{"particles": 1}, {"order": "any"}, {"expert": "no"}, {"threshold": 0.0}, {"steps": 0}],
    ids=str,
)
def test_options_without_sense_are_refused(options: dict[str, int | float | str]) -> None:
    with pytest.raises(InvalidOptionError, match="TwistedSMC"):
        make("twisted", **options)


def neighbours() -> Tensor:
    return torch.tensor([[0.8, 0.2, 0.0], [0.1, 0.7, 0.2], [0.05, 0.15, 0.8]]).double()


CHANNELS: dict[str, tuple[Categorical, float, list[int]]] = {
    "uniform": (Uniform(3), 0.3, [0, 2, 1]),
    "hybrid": (Hybrid(3, 0.3), 0.6, [3, 2, 3]),
    "confusion": (Confusion(neighbours(), tolerance=0.05)[0], 0.4, [0, 1, 2]),
}


@pytest.mark.parametrize(("process", "tau", "y"), CHANNELS.values(), ids=CHANNELS)
def test_a_channel_is_recognised_as_noise_of_the_process(
    process: Categorical, tau: float, y: list[int]
) -> None:
    state = torch.tensor([y])
    sites = process.log_likelihood(state, process.level(tau))
    prior = JointTable(process, torch.zeros(3, 3, 3))
    found = as_state(TokenProblem(prior, sites - 1.7))
    assert found is not None
    assert torch.equal(found[0], state)
    assert float(found[1].t) == pytest.approx(tau, abs=1e-6)


def test_another_channel_is_not_taken_for_noise_of_the_process() -> None:
    assert as_state(Row("confused").problem(Uniform(4), 1)) is None
