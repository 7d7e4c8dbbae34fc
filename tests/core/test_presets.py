"""Presets: samplers by name, what they need, and where they can be chosen."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import sfumato as sf
from sfumato.denoisers import Condition, Denoiser, Estimate, Preconditioned, Tangent
from sfumato.errors import InvalidOptionError, UnknownNameError, UnsupportedError
from sfumato.inverse import registry
from sfumato.inverse.guides.ddnm import DDNM
from sfumato.inverse.problems import Problem
from sfumato.inverse.solvers.guided import Guided
from sfumato.inverse.standard import Mask
from sfumato.noise import Streams
from sfumato.processes import Gaussian, Level, Riemannian, Student, log_snr
from sfumato.processes.grids import GRIDS
from sfumato.samplers import DDPM, PRESETS, DPMSolver, Exponential, Heun, Sampler, make
from sfumato.samplers.presets import MEANING, lacking, load, named, require

SELECTABLE = [name for name, preset in PRESETS.items() if preset.selectable]


def network(x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    return 0.1 * x


def denoiser(head: str = "") -> Preconditioned:
    return Preconditioned(network, Gaussian(), head=head)


@pytest.mark.parametrize("name", SELECTABLE)
def test_a_preset_makes_a_sampler_with_the_cost_that_it_states(name: str) -> None:
    preset, sampler = PRESETS[name], make(name)
    assert isinstance(sampler, Sampler)
    assert preset.grid in GRIDS
    if preset.cost is not None:
        assert sampler.evaluations == preset.cost


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_names_its_paper_and_its_needs(name: str) -> None:
    preset = PRESETS[name]
    assert preset.paper
    assert len(preset.arxiv) == 10
    assert set(preset.needs) <= set(MEANING)
    assert callable(load(preset.part))


def test_presets_are_public_and_cannot_be_changed() -> None:
    table = sf.presets()
    assert isinstance(table, Mapping)
    assert table["unipc"].paper.startswith("Zhao")
    with pytest.raises(TypeError):
        table["mine"] = table["unipc"]  # type: ignore[index]


def test_the_options_of_a_name_can_be_changed() -> None:
    assert make("dpm-solver", order=3) == DPMSolver(3)
    assert make("edm") != Heun()
    with pytest.raises(UnknownNameError, match="option of sampler ddim"):
        make("ddim", order=2)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unipc"):
        named("unipcc")


def test_what_only_a_caller_has_is_not_in_a_name() -> None:
    with pytest.raises(UnsupportedError, match=r"data to measure on.*AnalyticVariance"):
        make("analytic-dpm")


def test_a_prior_without_a_head_is_refused_what_needs_one() -> None:
    assert lacking(PRESETS["ddpm-calibrated"], denoiser("variance")) == []
    require("ddpm-calibrated", denoiser("variance"))
    with pytest.raises(UnsupportedError, match="reports its variance"):
        require("ddpm-calibrated", denoiser())
    with pytest.raises(UnsupportedError, match="learned reverse variance"):
        require("ddpm-learned", denoiser("variance"))


def test_walks_on_a_manifold_go_with_priors_on_one_and_nothing_else_does() -> None:
    curved = Tangent(network, Riemannian())
    require("geodesic", curved)
    with pytest.raises(UnsupportedError, match=r"flat space; .* Use one of: geodesic"):
        require("deis", curved)
    with pytest.raises(UnsupportedError, match="manifold"):
        require("geodesic", denoiser())


def test_what_adds_noise_says_so_and_needs_noise_in_steps() -> None:
    for name in SELECTABLE:
        told = "noise" in PRESETS[name].needs
        assert told == (make(name).stochastic and name != "geodesic"), name


@pytest.mark.parametrize("degrees", [1, 64])
def test_under_students_noise_only_the_flow_is_run(degrees: int) -> None:
    prior = Preconditioned(network, Student(degrees=degrees), prediction="edm", head="variance")
    x, streams = torch.zeros(2, 2), Streams.count(0, 2)
    grid = log_snr(prior.process, 5)
    refused = [name for name in SELECTABLE if lacking(PRESETS[name], prior)]
    assert {"ddpm", "edm", "restart", "seeds-2", "adaptive", "ddim-calibrated"} < set(refused)
    assert not {"ddim", "deis", "heun", "pndm", "unipc", "dpm-solver"} & set(refused)
    with pytest.raises(UnsupportedError, match=r"independent steps; .* Use one of: ddim, euler"):
        require("ddpm", prior)
    for name in refused:
        sampler = make(name)
        if sampler.stochastic and name != "geodesic":
            with pytest.raises(UnsupportedError, match="independent steps; that of Student"):
                sf.samplers.run(sampler, Untouched(prior.process), x, grid, streams)


@dataclass(frozen=True, eq=False)
class Untouched(Denoiser):
    """Not to be asked: what is refused is refused before any compute."""

    process: Gaussian

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        raise AssertionError


def test_a_guide_takes_a_sampler_by_name() -> None:
    made = registry.make("ddnm", sampler="unipc", steps=7)
    assert isinstance(made, Guided)
    assert made.sampler == Exponential(2, corrector=True, rule="bh2")
    assert made.steps == 7
    assert registry.make("ddnm", sampler="dpm-solver", order=3).sampler == DPMSolver(3)  # type: ignore[attr-defined]
    assert registry.make("ddnm").sampler == DDPM("small")  # type: ignore[attr-defined]
    with pytest.raises(UnknownNameError, match="unipc"):
        registry.make("ddnm", sampler="unipcc")


def test_a_guided_solver_can_start_from_a_noised_estimate() -> None:
    exact = sf.denoisers.GaussianPrior(
        Gaussian(), torch.full((1, 4, 4), 0.5).double(), torch.full((1, 4, 4), 0.01).double()
    )
    keep = torch.ones(1, 4, 4)
    keep[0, 0, 0] = 0
    truth = exact.sample(Streams.count(1, 2))
    problem = Problem(exact, Mask(keep), truth * keep)
    solver = Guided(DDNM(), DPMSolver(), steps=6, start=0.3, initial="pinv")
    found = solver(problem, Streams.count(0, 2))
    assert float(((found - truth) * keep).abs().max()) < 1e-6
    with pytest.raises(InvalidOptionError, match="give a ratio"):
        Guided(DDNM(), initial="pinv")
    with pytest.raises(InvalidOptionError, match="initial"):
        Guided(DDNM(), initial="zeros")


def test_every_preset_of_a_name_runs_in_single_precision() -> None:
    prior = sf.denoisers.GaussianPrior(Gaussian(), torch.zeros(2), torch.ones(2))
    x = 80 * Streams.count(0, 2).normal(torch.zeros(2, 2))
    for name in SELECTABLE:
        if {"interpolation", "manifold"} & set(PRESETS[name].needs) or PRESETS[name].cost is None:
            continue
        grid = log_snr(prior.process, 5)
        found = sf.samplers.run(make(name), prior, x, grid, Streams.count(0, 2))
        assert found.dtype == torch.float32, name


def test_a_row_can_be_read_as_data() -> None:
    row = dataclasses.asdict(PRESETS["deis"])
    assert row["arxiv"] == "2204.13902"
