"""Tokens: processes, samplers, posterior solvers and estimates, on a device as on the CPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from devices import agree

import sfumato as sf
from sfumato.denoisers import JointTable, MarkovChain
from sfumato.evaluation.known_tokens import KnownTokens
from sfumato.evaluation.token_truth import Patch, Row
from sfumato.inverse.tokens import registry
from sfumato.inverse.tokens.problems import TokenProblem
from sfumato.likelihood import (
    Bound,
    Budget,
    chain_rule,
    importance_bound,
    k_uniform,
    masked_bound,
    pseudo_likelihood,
    score_bound,
    uniform_bound,
    variational_bound,
)
from sfumato.noise import Streams
from sfumato.processes import Absorbing, Categorical, Hybrid, Marginal, NearestNeighbour, Uniform
from sfumato.samplers.tokens import SAMPLERS, TokenSampler, run_tokens, uniform

pytestmark = pytest.mark.gpu
K, LENGTH, N = 4, 6, 3
PROCESSES = [
    Absorbing(K), Uniform(K), Hybrid(K), Marginal((0.4, 0.3, 0.2, 0.1)),
    NearestNeighbour(torch.arange(K).reshape(-1, 1), 2),
]  # fmt: skip


def chain(process: Categorical) -> MarkovChain:
    made = torch.Generator().manual_seed(0)
    table = torch.rand(K + 1, K, generator=made, dtype=torch.float64) ** 2
    table = table / table.sum(dim=1, keepdim=True)
    return MarkovChain(process, table[0], table[1:])


def fits(sampler: TokenSampler, process: Categorical) -> bool:
    try:
        sampler.check(process)
    except sf.errors.UnsupportedError:
        return False
    return True


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_token_processes_corrupt_alike(device: str, process: Categorical) -> None:
    x = torch.arange(N * LENGTH).reshape(N, LENGTH) % K
    ends = []
    for x_0 in (x, x.to(device)):
        streams, s, t = Streams.count(0, N), process.level(0.3), process.level(0.7)
        x_s = process.corrupt(x_0, s, streams)
        ends.append(process.renoise(x_s, s, t, streams))
    assert torch.equal(ends[1].cpu(), ends[0])


@pytest.mark.parametrize(
    ("sampler", "process"),
    [(s(), p) for s in SAMPLERS.values() for p in PROCESSES if fits(s(), p)],
    ids=lambda v: type(v).__name__,
)
def test_a_token_sampler_agrees(device: str, sampler: TokenSampler, process: Categorical) -> None:
    ends = []
    for where in ("cpu", device):
        streams = Streams.count(1, N)
        x = process.start((N, LENGTH), streams).to(where)
        ends.append(run_tokens(sampler, chain(process), x, uniform(process, 6), streams))
    assert torch.equal(ends[1].cpu(), ends[0])


PROBLEMS: dict[str, KnownTokens] = {
    "gaps": Row("gaps"),
    "replaced": Row("replaced"),
    "edited": Row("edited", length=6),
    "pattern": Row("pattern", tokens=3),
    "grid": Patch(),
}
OPTIONS: dict[str, dict[str, object]] = {
    "twisted": {"particles": 8}, "gibbs": {"sweeps": 3}, "split-gibbs": {"rounds": 4},
    "importance": {"particles": 512}, "beam": {"width": 4},
}  # fmt: skip


def posed(known: KnownTokens, process: Categorical) -> TokenProblem:
    return known.problem(process, N)


SOLVED = [
    (name, solver, process)
    for name, known in PROBLEMS.items()
    for process in (Absorbing(known.tokens), Uniform(known.tokens))
    for solver in registry.applicable(posed(known, process))
]


@pytest.mark.parametrize(
    ("name", "solver", "process"), SOLVED, ids=lambda v: v if isinstance(v, str) else repr(v)
)
def test_a_token_solver_agrees(device: str, name: str, solver: str, process: Categorical) -> None:
    problem = posed(PROBLEMS[name], process)
    method = registry.make(solver, **OPTIONS.get(solver, {}))
    expected = method(problem, Streams.count(2, N))
    found = method(replace(problem, sites=problem.sites.to(device)), Streams.count(2, N))
    assert found.x.device == torch.empty(0, device=device).device
    assert torch.equal(found.x.cpu(), expected.x)
    agree(found.log_evidence, expected.log_evidence)
    if expected.marginals is not None:
        agree(found.marginals, expected.marginals)


ESTIMATES = {
    "k-uniform": (k_uniform, Absorbing(K)),
    "masked": (masked_bound, Absorbing(K)),
    "score, absorbing": (score_bound, Absorbing(K)),
    "score, hybrid": (score_bound, Hybrid(K)),
    "uniform": (uniform_bound, Uniform(K)),
    "variational": (variational_bound, Uniform(K)),
    "importance": (importance_bound, Absorbing(K)),
    "chain rule": (chain_rule, Absorbing(K)),
    "pseudo": (pseudo_likelihood, Absorbing(K)),
}


@pytest.mark.parametrize("name", ESTIMATES)
def test_an_estimate_of_the_likelihood_agrees(device: str, name: str) -> None:
    estimate, process = ESTIMATES[name]
    prior = chain(process)
    x = prior.draw((N, LENGTH), Streams.count(0, N))
    found = []
    for where in ("cpu", device):
        given = (prior, x.to(where))
        if name == "pseudo":
            nats = pseudo_likelihood(*given)
            found.append(Bound(nats, torch.zeros_like(nats)))
        elif name == "chain rule":
            found.append(chain_rule(*given))
        else:
            options = {} if name == "importance" else {"budget": Budget(draws=8, batch=64)}
            found.append(estimate(*given, Streams.count(5, N), **options))
    agree(found[1].nats, found[0].nats)
    agree(found[1].error, found[0].error)


def test_tables_agree(device: str) -> None:
    process = Absorbing(3)
    table = torch.randn((3,) * 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prior = JointTable(process, table, (2, 2))
    x_t = torch.tensor([[[0, 3], [3, 3]], [[3, 1], [2, 3]]])
    t = process.level(0.5)
    expected = prior(x_t, t).log_probs
    agree(prior(x_t.to(device), t).log_probs, expected)


def kjv() -> sf.Prior:
    pytest.importorskip("rapidfuzz")
    return sf.Prior.load("kjv")


def page(text: str) -> sf.Signal:
    documents = pytest.importorskip("sfumato_text.files.documents")
    return sf.Signal(documents.codes_of(text))


@pytest.mark.parametrize(
    ("operator", "options", "text"),
    [
        ("fill", {}, "in the beginning god created the hea[...] and the earth"),
        ("restore", {"rate": 0.05}, "in the beginming god created the heaven and the earth"),
    ],
)
def test_the_shipped_prior_reads_alike(
    device: str, operator: str, options: dict[str, float], text: str
) -> None:
    prior, task = kjv(), sf.load_plugin("text").operator(operator, **options)
    given = {"n": 2, "seed": 0}
    expected = sf.reconstruct(prior, task, page(text), **given)
    found = sf.reconstruct(prior, task, page(text), device=device, **given)
    assert torch.equal(found.estimate, expected.estimate)
    agree(found.confidence, expected.confidence, 1e-3)


def test_the_shipped_prior_writes_on_a_device(device: str) -> None:
    prior = kjv()
    expected = sf.sample(prior, n=2, seed=1, shape=(24,))
    assert sf.sample(prior, n=2, seed=1, shape=(24,), device=device) == expected
