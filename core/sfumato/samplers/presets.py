"""The samplers of the survey by their papers' names: settings of the few rules in this package.

A preset is a rule with options, and the grid and the number of steps that go with it. Those that
need more than a prior, such as data to measure a variance on, are listed with what they need and
where it is; the others can be given by name wherever a sampler is chosen.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from sfumato.denoisers import Denoiser
from sfumato.errors import UnknownNameError, UnsupportedError
from sfumato.processes import Riemannian
from sfumato.samplers.base import Sampler

__all__ = [
    "MEANING",
    "PRESETS",
    "Preset",
    "lacking",
    "load",
    "make",
    "named",
    "presets",
    "require",
    "settings",
]

MEANING = {
    "variance": "a prior that reports its variance",
    "interpolation": "a prior with a learned reverse variance",
    "data": "data to measure on",
    "head": "a head that is trained on squares",
    "estimate": "an estimate to start from",
    "generator": "another generator to start from",
    "levels": "an estimator of noise levels",
    "degradation": "a degradation that is no noise",
    "manifold": "a prior on a manifold",
    "even": "a prior whose elements are all at one level",
    "noise": "a prior whose noise comes in independent steps",
}

OWNED = frozenset({"variance", "interpolation", "manifold", "even", "noise"})
"""What a prior has or has not; the rest only a caller has."""


@dataclass(frozen=True)
class Preset:
    """One row of the table.

    Args:
        part: ``"module:name"`` below ``sfumato``: a sampler, or what makes one of the rest.
        summary: One line.
        paper: Authors and year.
        arxiv: Number of the paper.
        options: Of the sampler.
        grid: Name of the grid that goes with it.
        steps: Its number of steps.
        cost: Network evaluations per step; ``None`` if that depends.
        needs: Keys of ``MEANING``; what only a caller has is not selectable by name.
    """

    part: str
    summary: str
    paper: str
    arxiv: str
    options: tuple[tuple[str, Any], ...] = ()
    grid: str = "karras"
    steps: int = 20
    cost: int | None = 1
    needs: tuple[str, ...] = ()

    @property
    def selectable(self) -> bool:
        """Whether its name is enough."""
        return OWNED.issuperset(self.needs)


def opts(**options: Any) -> tuple[tuple[str, Any], ...]:
    return tuple(options.items())


EXP, ONE = "samplers.exponential:Exponential", "samplers.singlestep:SingleStep"
DPM, DDPM = "samplers.dpm_solver:DPMSolver", "samplers.ddim:DDPM"
LU, BAO = "Lu et al., 2022", "Bao et al., 2022"

PRESETS: dict[str, Preset] = {
    "ddpm": Preset(DDPM, "ancestral sampling with the bridge's variance", "Ho, Jain & Abbeel, 2020", "2006.11239", steps=100, needs=("noise",)),
    "ddpm-large": Preset(DDPM, "ancestral sampling with the forward step's variance", "Ho, Jain & Abbeel, 2020", "2006.11239", opts(variance="large"), steps=100, needs=("noise",)),
    "ddpm-learned": Preset(DDPM, "ancestral sampling with a learned variance", "Nichol & Dhariwal, 2021", "2102.09672", opts(variance="learned"), steps=50, needs=("interpolation", "noise")),
    "ddpm-fibonacci": Preset(DDPM, "ancestral sampling with variances that grow as Fibonacci's numbers", "San-Roman, Nachmani & Wolf, 2021", "2104.02600", grid="fibonacci", steps=12, needs=("noise",)),
    "ddpm-calibrated": Preset(DDPM, "ancestral sampling from draws of x₀", "cf. Bao et al., 2022", "2206.07309", opts(variance="calibrated"), needs=("variance", "noise")),
    "gibbs": Preset("samplers.gibbs:Gibbs", "draws of x₀ and of x_t in turn at every level", "cf. Wu et al., 2024", "2405.18782", cost=4, needs=("variance", "noise")),
    "ddim": Preset("samplers.ddim:DDIM", "the probability flow, first order", "Song, Meng & Ermon, 2021", "2010.02502"),
    "ddim-calibrated": Preset("samplers.ddim:DDIM", "DDIM with the spread of x₀ as noise", BAO, "2201.06503", opts(calibrated=True), needs=("variance", "noise")),
    "euler": Preset("samplers.euler:Euler", "DDIM with churn, if any is given", "Karras et al., 2022", "2206.00364"),
    "heun": Preset("samplers.heun:Heun", "the probability flow, second order", "Karras et al., 2022", "2206.00364", cost=2),
    "edm": Preset("samplers.heun:Heun", "Heun with churn", "Karras et al., 2022", "2206.00364", opts(churn=(0.2, 0.05, 50.0, 1.003)), steps=40, cost=2, needs=("even", "noise")),
    "dpm-solver": Preset(DPM, "DPM-Solver++(2M)", LU, "2211.01095"),
    "dpm-solver-3m": Preset(DPM, "DPM-Solver++(3M) with exact weights", LU, "2211.01095", opts(order=3)),
    "dpm-solver-eps": Preset(EXP, "DPM-Solver, multistep, second order in ε", LU, "2206.00927", opts(order=2, prediction="eps", rule="bh2"), "log-snr"),
    "dpm-solver-2s": Preset(ONE, "DPM-Solver-2, single step in ε", LU, "2206.00927", opts(order=2), "log-snr", 10, 2, needs=("even",)),
    "dpm-solver-3s": Preset(ONE, "DPM-Solver-3, single step in ε", LU, "2206.00927", opts(order=3), "log-snr", 7, 3, needs=("even",)),
    "dpm-solver-2s++": Preset(ONE, "DPM-Solver++(2S)", LU, "2211.01095", opts(order=2, prediction="x0"), "karras", 10, 2, needs=("even",)),
    "deis": Preset(EXP, "tAB-DEIS of third degree", "Zhang & Chen, 2023", "2204.13902", opts(order=4, prediction="eps", coordinate="time"), needs=("even",)),
    "deis-2": Preset(EXP, "tAB-DEIS of second degree", "Zhang & Chen, 2023", "2204.13902", opts(order=3, prediction="eps", coordinate="time"), needs=("even",)),
    "deis-rho": Preset(EXP, "ρAB-DEIS of second degree", "Zhang & Chen, 2023", "2204.13902", opts(order=3, prediction="eps", coordinate="ratio")),
    "deis-log-rho": Preset(EXP, "DEIS in ln ρ, second degree, as in diffusers", "Zhang & Chen, 2023", "2204.13902", opts(order=3, prediction="eps")),
    "pndm": Preset("samplers.pndm:PNDM", "F-PNDM: Runge–Kutta start, then Adams–Bashforth", "Liu et al., 2022", "2202.09778", grid="uniform"),
    "s-pndm": Preset("samplers.pndm:PNDM", "S-PNDM, second order", "Liu et al., 2022", "2202.09778", opts(order=2), "uniform"),
    "ipndm": Preset(EXP, "Adams–Bashforth from lower orders", "Liu et al., 2022", "2202.09778", opts(order=4, prediction="eps", coordinate="index"), "uniform"),
    "unipc": Preset(EXP, "UniPC-2 with B₂", "Zhao et al., 2023", "2302.04867", opts(order=2, corrector=True, rule="bh2")),
    "unipc-bh1": Preset(EXP, "UniPC-2 with B₁", "Zhao et al., 2023", "2302.04867", opts(order=2, corrector=True, rule="bh1")),
    "unipc-3": Preset(EXP, "UniPC-3 with B₂", "Zhao et al., 2023", "2302.04867", opts(order=3, corrector=True, rule="bh2")),
    "euler-maruyama": Preset("samplers.sde:EulerMaruyama", "the reverse SDE, first order", "Song et al., 2021", "2011.13456", steps=100, needs=("noise",)),
    "sde-dpm-solver": Preset(DPM, "SDE-DPM-Solver++(2M)", LU, "2211.01095", opts(order=2, eta=1.0), steps=30, needs=("noise",)),
    "seeds": Preset(EXP, "the reverse SDE in ε, exponential, first order", "Gonzalez et al., 2023", "2305.14267", opts(order=1, prediction="eps", eta=1.0), steps=60, needs=("noise",)),
    "seeds-2m": Preset(EXP, "the same with two nodes", "Gonzalez et al., 2023", "2305.14267", opts(order=2, prediction="eps", eta=1.0), steps=40, needs=("noise",)),
    "seeds-2": Preset(ONE, "SEEDS-2: the reverse SDE, single step in x₀", "Gonzalez et al., 2023", "2305.14267", opts(order=2, prediction="x0", eta=1.0), "log-snr", 15, 2, needs=("even", "noise")),
    "seeds-3": Preset(ONE, "SEEDS-3: the reverse SDE, single step in x₀", "Gonzalez et al., 2023", "2305.14267", opts(order=3, prediction="x0", eta=1.0), "log-snr", 10, 3, needs=("even", "noise")),
    "sa-solver": Preset(EXP, "stochastic Adams predictor and corrector", "Xue et al., 2023", "2309.05019", opts(order=2, corrector=True, eta=1.0), steps=25, needs=("noise",)),
    "momentum": Preset("samplers.momentum:Momentum", "the reverse SDE of a linear corruption with noise", "Daras et al., 2022", "2209.05442", steps=100, needs=("noise",)),
    "reverse-diffusion": Preset("samplers.reverse_diffusion:ReverseDiffusion", "the reverse SDE in the steps of the process", "Song et al., 2021", "2011.13456", grid="uniform", steps=200, needs=("noise",)),
    "adaptive": Preset("samplers.adaptive:Adaptive", "the reverse SDE with a step size per sample", "Jolicoeur-Martineau et al., 2021", "2105.14080", grid="log-snr", steps=2, cost=None, needs=("even", "noise")),
    "predictor-corrector": Preset("samplers.predictor_corrector:PredictorCorrector", "the reverse SDE with Langevin steps", "Song et al., 2021", "2011.13456", steps=100, cost=2, needs=("noise",)),
    "restart": Preset("samplers.restart:Restart", "Heun with restarts between σ/α 0.14 and 0.3", "Xu et al., 2023", "2306.14878", steps=18, cost=None, needs=("even", "noise")),
    "fastdpm-step": Preset("samplers.ddim:DDIM", "FastDPM, steps of the table (quadratic)", "Kong & Ping, 2021", "2106.00132", opts(eta=0.0), "quadratic"),
    "fastdpm-var": Preset("samplers.ddim:DDIM", "FastDPM, variances (quadratic)", "Kong & Ping, 2021", "2106.00132", opts(eta=0.0), "var-quadratic"),
    "analytic-dpm": Preset("denoisers.analytic:AnalyticVariance.measured", "DDPM with the best variance per level", BAO, "2201.06503", needs=("data", "noise")),
    "sn-dpm": Preset("denoisers.heads:SquareHead", "DDPM with a head for E[ε²]", BAO, "2206.07309", opts(kind="sn"), needs=("head", "noise")),
    "npr-dpm": Preset("denoisers.heads:SquareHead", "DDPM with a head for E[(ε − ε̂)²]", BAO, "2206.07309", opts(kind="npr"), needs=("head", "noise")),
    "dynamic-grid": Preset("samplers.planning:dynamic_grid", "the grid with the least bound", "Watson et al., 2021", "2106.03802", needs=("data", "noise")),
    "ccdf": Preset("samplers.starts:Estimated", "start from a noised estimate", "Chung, Sim & Ye, 2022", "2112.05146", needs=("estimate",)),
    "es-ddpm": Preset("samplers.starts:Generated", "start from another generator's draws", "Lyu et al., 2022", "2205.12524", needs=("generator",)),
    "noise-estimation": Preset("samplers.relevelled:Relevelled", "levels looked up in the state", "San-Roman, Nachmani & Wolf, 2021", "2104.02600", grid="fibonacci", steps=12, needs=("levels", "even", "noise")),
    "cold": Preset("samplers.cold:Cold", "undoes a degradation step by step", "Bansal et al., 2023", "2208.09392", needs=("degradation",)),
    "heat-dissipation": Preset("samplers.cold:Cold", "undoes blur, with a little noise", "Rissanen et al., 2023", "2206.13397", opts(rule="naive", noise=0.0125), steps=200, needs=("degradation", "noise")),
    "geodesic": Preset("samplers.geodesic:Geodesic", "random walks on a torus or sphere", "De Bortoli et al., 2022", "2202.02763", grid="log-snr", steps=100, needs=("manifold",)),
    "horizons": Preset("samplers.horizons:horizons", "the best time to start at, and an auxiliary density", "Franzese et al., 2023", "2206.05173", needs=("data", "noise")),
}  # fmt: skip


def presets() -> Mapping[str, Preset]:
    """Every sampler of the survey by name: what it is, its paper, its needs and its cost."""
    return MappingProxyType(PRESETS)


def named(name: str) -> Preset:
    """The preset called ``name``.

    Raises:
        UnknownNameError: If there is none.
        UnsupportedError: If it needs what only a caller has.
    """
    able = [key for key, preset in PRESETS.items() if preset.selectable]
    if name not in PRESETS:
        raise UnknownNameError("sampler", name, able)
    preset = PRESETS[name]
    if not preset.selectable:
        missing = " and ".join(MEANING[need] for need in preset.needs if need not in OWNED)
        home = [f"sfumato.{preset.part}"]
        raise UnsupportedError(name, missing, "a name alone does not give it", home)
    return preset


def make(name: str, **options: Any) -> Sampler:
    """The sampler called ``name``.

    Args:
        name: Of a preset.
        options: Fields of its class that differ from the preset's.

    Raises:
        UnknownNameError: If there is no such preset or option.
        UnsupportedError: If it needs what only a caller has.
    """
    preset = named(name)
    kind = load(preset.part)
    known = {entry.name for entry in fields(kind) if entry.init}
    for option in options:
        if option not in known:
            raise UnknownNameError(f"option of sampler {name}", option, known)
    sampler: Sampler = kind(**settings(preset) | options)
    return sampler


def settings(preset: Preset) -> dict[str, Any]:
    """The preset's options as the class takes them."""
    given = dict(preset.options)
    if "churn" in given:
        given["churn"] = load("samplers.churn:Churn")(*given["churn"])
    return given


def lacking(preset: Preset, denoiser: Denoiser) -> list[str]:
    """What a preset needs and this prior's denoiser has not, in words."""
    curved = isinstance(denoiser.process, Riemannian)
    has = {getattr(denoiser, "head", "")}
    has |= {"variance"} if denoiser.reports_variance else set()
    has |= {"manifold"} if curved else set()
    has |= {"even"} if denoiser.process.even else set()
    has |= {"noise"} if denoiser.process.stepwise else set()
    missing = [MEANING[need] for need in preset.needs if need not in has]
    return (
        ["a prior in flat space", *missing]
        if curved and "manifold" not in preset.needs
        else missing
    )


def require(name: str, denoiser: Denoiser) -> None:
    """Refuses a preset that does not go with a prior, before any compute.

    Raises:
        UnsupportedError: Naming what is missing and those that can be used.
    """
    missing = lacking(named(name), denoiser)
    if missing:
        others = [
            key for key, row in PRESETS.items() if row.selectable and not lacking(row, denoiser)
        ]
        raise UnsupportedError(name, " and ".join(missing), "this one is not", others)


def load(reference: str) -> Any:
    """What a preset's ``part`` names."""
    module, _, name = reference.partition(":")
    found: Any = importlib.import_module(f"sfumato.{module}")
    for part in name.split("."):
        found = getattr(found, part)
    return found
