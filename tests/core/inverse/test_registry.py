"""The table of methods: what is made, what is refused, what is the default."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from sfumato.denoisers import Denoiser, Estimate, GaussianPrior
from sfumato.errors import UnknownNameError, UnsupportedError
from sfumato.inverse import registry
from sfumato.inverse.guides import MMPS, PiGDM
from sfumato.inverse.likelihoods import Gaussian as Noise
from sfumato.inverse.likelihoods import Poisson
from sfumato.inverse.problems import Guide, Problem, Solver
from sfumato.inverse.registry import METHODS
from sfumato.inverse.solvers import Guided, RePaint
from sfumato.inverse.standard import Convolve, Identity, Mask, Pointwise
from sfumato.noise import Streams
from sfumato.processes import Gaussian
from sfumato.samplers import DDPM

MASK = Mask(torch.tensor([1, 0, 1, 1]), Noise(0.1))
PRIOR = GaussianPrior(Gaussian(), torch.zeros(4), torch.ones(4))


class Plain(Denoiser):
    """A denoiser that returns a mean, and a variance if its head says so."""

    process = PRIOR.process
    spread = 1.0

    def __init__(self, head: str = "") -> None:
        self.head = head

    def __call__(self, x_t, t, condition=None) -> Estimate:
        estimate = PRIOR(x_t, t, condition)
        return Estimate(estimate.mean, variance=estimate.variance if self.head else None)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_made_with_its_defaults(name: str) -> None:
    assert isinstance(registry.make(name), Solver)
    assert isinstance(registry.make(name, steps=3), Solver)


@pytest.mark.parametrize("name", METHODS)
def test_the_table_states_the_needs_of_the_class(name: str) -> None:
    part = registry.load(METHODS[name].part)
    own = set(part.needs)
    # the table may be stricter: the same guide with options that presume more
    assert own <= set(METHODS[name].needs)
    assert issubclass(part, Guide) == (METHODS[name].sampler is not None)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("denoiser", [Plain(), Plain("variance"), PRIOR])
@pytest.mark.parametrize(
    "operator",
    [
        MASK,
        Identity(Noise(0.1)),
        Convolve(torch.tensor([1.0, 2, 3]), (4,), "reflect", Noise(0.1)),
        Identity(Noise(0.0)),
        Identity(Poisson(2.0)),
        Pointwise(torch.exp, Noise(0.1)),
    ],
    ids=lambda operator: f"{type(operator).__name__}-{operator.likelihood}",
)
def test_a_method_runs_exactly_where_the_table_says_so(name, denoiser, operator) -> None:
    problem = Problem(denoiser, operator, torch.ones(2, 4))
    if name in registry.applicable(operator, denoiser):
        options = {"langevin": 2} if name in {"daps", "gibbs"} else {}
        x = registry.make(name, steps=2, **options)(problem, Streams.count(0, 2))
        assert torch.isfinite(x).all()
    else:
        with pytest.raises(UnsupportedError, match="Use one of"):
            registry.require(name, operator, denoiser)


def test_options_go_to_guide_sampler_and_solver_by_name() -> None:
    solver = registry.make("mmps", iterations=7, variance="small", steps=9, grid="karras")
    assert solver == Guided(MMPS(iterations=7), DDPM("small"), steps=9, grid="karras")
    assert registry.make("repaint", repeats=2) == RePaint(repeats=2)


def test_a_sampler_may_be_given_as_a_whole() -> None:
    sampler = DDPM("large")
    assert registry.make("pigdm", sampler=sampler) == Guided(PiGDM(), sampler, steps=50)


def test_unknown_names_and_options_suggest_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'mmps'"):
        registry.make("mmp")
    with pytest.raises(UnknownNameError, match="Did you mean 'iterations'"):
        registry.make("mmps", iteration=3)


def test_defaults_follow_what_operator_and_prior_offer() -> None:
    nonlinear = Pointwise(torch.exp, Noise(0.1))
    assert registry.choose(MASK, PRIOR)[0] == "mmps-exact"
    assert registry.choose(MASK, Plain())[0] == "mmps"
    assert registry.choose(nonlinear, Plain())[0] == "daps"
    assert registry.choose(Identity(Poisson(1.0)), PRIOR)[0] == "daps"


def test_a_budget_is_kept_where_a_method_allows_it() -> None:
    for budget in (25, 60, 120, 250):
        name, _ = registry.choose(MASK, Plain(), budget=budget)
        assert METHODS[name].evaluations <= budget
    name, reason = registry.choose(MASK, Plain(), budget=1)
    assert METHODS[name].evaluations == min(METHODS[n].evaluations for n in METHODS if n in
                                            registry.applicable(MASK, Plain()))  # fmt: skip
    assert "cheapest" in reason


def test_the_default_of_a_prior_that_knows_its_variance_has_no_backward_pass() -> None:
    name, _ = registry.choose(MASK, Plain("variance"))
    assert METHODS[name].cost[1] == 0


def test_the_default_solver_comes_with_its_reason() -> None:
    solver, reason = registry.auto(MASK, Plain())
    assert solver == registry.make("mmps")
    assert reason.startswith("mmps: ")


def test_an_explanation_has_a_row_for_every_method_and_names_the_one_for_several_modes() -> None:
    found = registry.explain(MASK, Plain())
    assert [row.name for row in found.rows] == list(METHODS)
    lacking = {row.name: row.lacks for row in found.rows if not row.applies}
    assert lacking["diagonal"] == ("a denoiser that reports its variance",)
    assert found.default == "mmps"
    assert "tds" in found.multimodal
    text = str(found)
    assert all(name in text for name in METHODS)
    assert "1 network + 8 backward" in text


def test_where_particles_do_not_apply_the_explanation_says_so() -> None:
    found = registry.explain(Pointwise(torch.exp, Noise(0.1)), Plain())
    assert "no method" in found.multimodal


def test_a_refusal_names_what_is_missing_and_what_can_be_used() -> None:
    with pytest.raises(UnsupportedError, match=r"ddrm needs .*decomposition.*Use one of: .*mmps"):
        registry.require("ddrm", Convolve(torch.tensor([1.0, 2, 3]), (4,)), Plain())


def test_the_table_is_read_without_torch() -> None:
    code = (
        "import sys, sfumato.inverse.registry as r; r.METHODS; "
        "sys.exit('torch' in sys.modules)"
    )  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
