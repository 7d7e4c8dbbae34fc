"""What ``survey.py`` samples, and how far the samples are from what they should be."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import sfumato as sf
from digit_reader import read, train
from sfumato.denoisers import (
    AnalyticVariance,
    Condition,
    Denoiser,
    Estimate,
    GaussianPrior,
    MixturePrior,
    mean_square_errors,
)
from sfumato.evaluation.distances import gaussian_w2, moments, sliced_w2
from sfumato.noise import Streams
from sfumato.processes import EDM, Gaussian, Level, log_snr
from sfumato.processes.grids import GRIDS
from sfumato.samplers import (
    DDPM,
    PRESETS,
    Adaptive,
    DPMSolver,
    Generated,
    Noise,
    Sampler,
    Start,
    make,
    run,
)
from sfumato.samplers.horizons import auxiliary
from sfumato.samplers.planning import dynamic_grid
from sfumato.samplers.presets import lacking

__all__ = ["BUDGETS", "Counted", "Target", "digits", "gauss", "photo", "ring"]

BUDGETS = (10, 20, 50)
PROCESS = Gaussian(EDM())
TOLERANCES = (0.5, 0.35, 0.25, 0.18, 0.12, 0.08)
COMPONENTS = 24
END = 0.06
"""σ/α from which the priors' grids step to clean data; steps below are lost on pictures."""
STOCHASTIC = (
    "ddpm", "ddpm-large", "ddpm-fibonacci", "ddpm-learned", "ddpm-calibrated", "ddim-calibrated",
    "gibbs", "edm", "euler-maruyama", "sde-dpm-solver", "seeds", "seeds-2m", "seeds-2", "seeds-3",
    "sa-solver", "momentum", "adaptive", "predictor-corrector", "restart",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Counted(Denoiser):
    """A denoiser that counts its calls."""

    inner: Denoiser
    calls: list[int] = field(default_factory=lambda: [0])

    @property
    def process(self) -> Gaussian:  # type: ignore[override]
        return self.inner.process

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        self.calls[0] += 1
        return self.inner(x_t, t, condition)


@dataclass(frozen=True, eq=False)
class Plan:
    """A sampler with what goes with it."""

    sampler: Sampler
    grid: Tensor
    denoiser: Denoiser
    start: Start = field(default_factory=Noise)


class Source:
    """Something to sample.

    Attributes:
        items: Samples of one score.
        denoiser: The prior, in model units.
        shape: Of one sample.
        data: Clean data to measure variances on, in model units; ``None`` if there are none.
        end: Smallest σ/α of the grids other than 0; the process's if ``None``.
    """

    items: int
    denoiser: Denoiser
    shape: tuple[int, ...]
    data: Tensor | None = None
    end: float | None = None

    def condition(self, first: int, count: int) -> Condition:
        """What the prior is told about these samples."""
        return None

    def draw(self, plan: Plan, batch: int = 250) -> Tensor | None:
        """Samples; ``None`` if they are not finite."""
        size = self.items if len(self.shape) == 1 else batch
        parts = []
        for low in range(0, self.items, size):
            count = min(size, self.items - low)
            streams = Streams.count(0, count, first=low)
            blank = torch.zeros(count, *self.shape, dtype=self.dtype)
            level = plan.denoiser.process.level(plan.grid[0])
            x = plan.start(plan.denoiser.process, blank, level, streams)
            told = self.condition(low, count)
            try:
                parts.append(
                    run(plan.sampler, plan.denoiser, x, plan.grid, streams, condition=told)
                )
            except sf.errors.NotFiniteError:
                return None
        return torch.cat(parts)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if len(self.shape) == 1 else torch.float32

    def plan(self, name: str, budget: int) -> Plan | None:
        """How a preset spends a budget; ``None`` where it does not apply."""
        process = self.denoiser.process
        if name in {"analytic-dpm", "dynamic-grid"}:
            if self.data is None:
                return None
            model = self.analytic
            grid = GRIDS["karras"](process, budget, end=self.end)
            if name == "dynamic-grid":
                times, errors = self.errors
                grid = dynamic_grid(process, budget, times, errors)
            return Plan(DDPM("calibrated"), grid, model)
        if name == "horizons":
            if self.data is None:
                return None
            density = auxiliary(process, self.data)
            start = Generated(density.sample, 2.0)
            grid = GRIDS["karras"](process, budget, start=2.0, end=self.end)
            return Plan(DPMSolver(), grid, self.denoiser, start)
        preset = PRESETS[name]
        if not preset.selectable or lacking(preset, self.denoiser):
            return None
        if name == "adaptive":
            return self.tolerant(budget)
        steps = most_steps(name, budget, self.end)
        if steps is None:
            return None
        grid = GRIDS[preset.grid](process, steps, end=self.end)
        return Plan(make(name), grid, self.denoiser)

    def tolerant(self, budget: int) -> Plan | None:
        """The adaptive sampler with the least tolerance that keeps to the budget."""
        best = None
        few = replace_items(self, 20)
        for tolerance in TOLERANCES:
            counted = Counted(self.denoiser)
            grid = log_snr(self.denoiser.process, 2, end=self.end)
            plan = Plan(Adaptive(tolerance, tolerance / 2), grid, counted)
            few.draw(plan)
            if counted.calls[0] > budget:
                break
            best = replace(plan, denoiser=self.denoiser)
        return best

    @cached_property
    def analytic(self) -> AnalyticVariance:
        assert self.data is not None
        streams = Streams.count(77, len(self.data))
        return AnalyticVariance.measured(self.denoiser, self.data, streams, levels=24)

    @cached_property
    def errors(self) -> tuple[Tensor, Tensor]:
        """A fine grid and the mean square errors on it."""
        assert self.data is not None
        times = GRIDS["karras"](self.denoiser.process, 80)
        streams = Streams.count(78, len(self.data))
        return times, mean_square_errors(self.denoiser, self.data, times[:-1], streams)


def replace_items(target: Target, items: int) -> Target:
    import copy

    other = copy.copy(target)
    other.items = items
    return other


class Target(Source, ABC):
    """A source whose samples have a score.

    Attributes:
        name: Its name in the tables.
        note: What there is to say about the numbers.
    """

    name: str
    note: str

    @abstractmethod
    def distance(self, x: Tensor) -> float:
        """How far samples are from what they should be."""

    def score(self, name: str, budget: int) -> float | None:
        """The distance of a sampler's samples with a budget of evaluations, if it can be had."""
        plan = self.plan(name, budget)
        if plan is None:
            return None
        found = self.draw(plan)
        return None if found is None else self.distance(found)


def most_steps(name: str, budget: int, end: float | None) -> int | None:
    """The most steps of a preset that keep to a budget, by counting on a toy."""
    toy = Counted(GaussianPrior(PROCESS, torch.zeros(1).double(), torch.ones(1).double()))
    for steps in range(budget, 0, -1):
        toy.calls[0] = 0
        try:
            grid = GRIDS[PRESETS[name].grid](PROCESS, steps, end=end)
        except sf.errors.InvalidOptionError:  # a grid for few steps alone
            continue
        run(make(name), toy, torch.zeros(1, 1).double(), grid, Streams.count(0, 1))
        if toy.calls[0] <= budget:
            return steps
    return None


class Known(Target):
    """A target in closed form, two-dimensional or more."""

    def __init__(self, name: str, prior: GaussianPrior | MixturePrior, items: int) -> None:
        self.name, self.denoiser, self.items, self.shape = name, prior, items, prior.shape
        self.data = prior.sample(Streams.count(5, items))
        self.truth = prior.sample(Streams.count(6, 5 * items))
        floor = self.distance(self.data)
        self.note = f"{name}: {items} samples; as many exact draws have {floor:.2g}."

    def distance(self, x: Tensor) -> float:
        if isinstance(self.denoiser, GaussianPrior):
            return float(gaussian_w2(*moments(x), *self.denoiser.moments()))
        return float(sliced_w2(x, self.truth))


def gauss(items: int) -> Target:
    """Four correlated elements."""
    place = torch.arange(4, dtype=torch.float64)
    covariance = 0.3 * 0.8 ** (place[:, None] - place).abs()
    return Known("gauss", GaussianPrior(PROCESS, place / 4, covariance), items)


def ring(items: int) -> Target:
    """Five Gaussians of standard deviation 0.15 on the unit circle."""
    angle = torch.arange(5, dtype=torch.float64) * math.tau / 5
    means = torch.stack([angle.cos(), angle.sin()], dim=1)
    prior = MixturePrior(PROCESS, torch.ones(5), means, torch.full_like(means, 0.15**2))
    return Known("ring", prior, items)


class Digits(Target):
    """The bundled digits."""

    name, end = "digits", END

    def __init__(self, archive: Path, items: int, epochs: int) -> None:
        prior = sf.Prior.load("digits", plugin="image")
        self.prior, self.items, self.shape = prior, items, (1, 28, 28)
        self.denoiser = prior.sized(self.shape)
        x, label, apart, _ = read(archive)
        self.data = prior.codec.encode(x[:: max(1, len(x) // 150)])
        net = train(x, label, epochs=epochs)
        assert isinstance(net, nn.Sequential)
        self.layers = net[:-1]
        seen = self.features(x)
        _, axes = torch.linalg.eigh(moments(seen.double())[1])  # the largest last
        self.basis = axes[:, -COMPONENTS:]
        self.truth = moments(seen.double() @ self.basis)
        floor = self.frechet(self.features(apart[:items]))
        self.note = (
            f"digits: {items} samples in {COMPONENTS} components, extrapolated to endlessly "
            f"many; as many held-out digits have {floor:.2g}."
        )

    def condition(self, first: int, count: int) -> Condition:
        return {"label": torch.arange(first, first + count) % 10}

    def features(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([self.layers(part) for part in torch.split(x, 500)])

    def frechet(self, seen: Tensor) -> float:
        """The distance for endlessly many samples.

        Its bias is in 1/n, so twice that of all minus that of halves has none (cf. Chong & Forsyth,
        2020).
        """
        rows = seen.double() @ self.basis

        def plain(part: Tensor) -> float:
            return float(gaussian_w2(*moments(part), *self.truth) ** 2)

        halves = [plain(part) for part in rows.chunk(2)]  # each with all classes
        return 2 * plain(rows) - sum(halves) / 2

    def distance(self, x: Tensor) -> float:
        return self.frechet(self.features(self.prior.codec.decode(x).clamp(0, 1)))


class Photo(Target):
    """The bundled photographs."""

    name, end = "photo", END

    def __init__(self, items: int, side: int, reference: int) -> None:
        prior = sf.Prior.load("photo", plugin="image")
        self.prior, self.items, self.shape = prior, items, (3, side, side)
        self.denoiser = prior.sized(self.shape)
        grid = GRIDS["karras"](prior.process, reference, end=self.end)
        found = self.draw(Plan(DPMSolver(3), grid, self.denoiser))
        assert found is not None
        self.solution = prior.codec.decode(found)
        self.note = (
            f"photo: {items} samples of {side}² pixels, root mean square of the deviation from "
            f"{reference} steps, in units of the range of pixels, whose spread is "
            f"{float(self.solution.std()):.2g}."
        )

    def plan(self, name: str, budget: int) -> Plan | None:
        able = PRESETS[name].selectable and name not in STOCHASTIC
        return super().plan(name, budget) if able else None

    def distance(self, x: Tensor) -> float:
        gap: Any = (self.prior.codec.decode(x) - self.solution).square().mean().sqrt()
        return float(gap)


def digits(archive: Path, items: int, epochs: int) -> Target:
    """The bundled digits prior; see ``Digits``."""
    return Digits(archive, items, epochs)


def photo(items: int, side: int, reference: int) -> Target:
    """The bundled photo prior; see ``Photo``."""
    return Photo(items, side, reference)
